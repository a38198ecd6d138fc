"""How the unit is: temperature, power, clock, disk, queue, wear; and the file for monitoring."""

import os
import stat

import msgspec
import pytest

from agent.base.clock_quality import MARKER, ClockQuality, judge_clock
from agent.base.errors import DeviceError
from agent.base.health import CameraState
from agent.base.health_file import Facts, HealthFile, read_health
from agent.base.heat import THROTTLED, ZONE
from agent.base.textfile import render_metrics
from agent.base.unit_state import UnitLook, UnitState
from agent.base.wear import measure_wear, per_day
from tests.fakes import FakeClock

FACTS = Facts(
    service="watch",
    unit="unit-7",
    pid=7,
    version="1",
    boot="00",
    started_ms=0,
    policy_version=1,
    policy_hash="00",
    policy_expires_ms=1,
    mode="all",
)


def put(root, path, text):
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


def put_disk(root, path, sectors, *, partition=True):
    """Lay out what the kernel shows of the disk that holds `path`."""
    device = path.stat().st_dev
    disk = "sys/devices/platform/mmc/block/mmcblk0"
    place = f"{disk}/mmcblk0p2" if partition else disk
    put(root, f"{disk}/stat", f" 10 0 80 5 20 0 {sectors} 9 0 1 2\n")
    if partition:
        put(root, f"{place}/partition", "2\n")
        put(root, f"{place}/stat", " 1 0 8 5 2 0 7 9 0 1 2\n")
    link = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
    link.parent.mkdir(parents=True)
    link.symlink_to(root / place)


def test_everything_that_a_unit_tells_is_seen(tmp_path):
    root, state = tmp_path / "root", tmp_path
    put(root, ZONE, "71234\n")
    put(root, THROTTLED, "50005\n")
    put(root, MARKER, "")
    put_disk(root, state, sectors=2048)
    seen = UnitLook(state, lambda: ({"reads": 4096}, 17), root)()
    assert seen.celsius == 71.234
    assert seen.throttled_now == ("the supply voltage is too low", "the clock is throttled")
    assert seen.throttled_before == seen.throttled_now
    assert 0 < seen.free_bytes <= seen.disk_bytes
    assert (seen.queue_bytes, seen.oldest_ms) == ({"reads": 4096}, 17)
    assert seen.wear.device_bytes == 2048 * 512
    assert seen.clock.synchronised is not None


def test_a_machine_that_tells_nothing_is_no_error(tmp_path):
    def sick():
        raise DeviceError("spool: cannot be read")

    seen = UnitLook(tmp_path / "missing", sick, tmp_path)()
    assert (seen.celsius, seen.throttled_now, seen.free_bytes) == (None, (), None)
    assert (seen.queue_bytes, seen.oldest_ms) == ({}, None)
    assert seen.wear.device_bytes is None


@pytest.mark.parametrize(
    ("error_us", "marker", "quality"),
    [
        (40_000, False, ClockQuality(synchronised=True, error_ms=40, told_by="kernel")),
        (16_000_000, True, ClockQuality(synchronised=False, told_by="kernel")),
        (None, True, ClockQuality(synchronised=True, told_by="timesyncd")),
        (None, False, ClockQuality()),
    ],
    ids=["kernel", "kernel says no", "not to be asked", "nobody tells"],
)
def test_the_quality_of_the_clock(tmp_path, error_us, marker, quality):
    if marker:
        put(tmp_path, MARKER, "")
    assert judge_clock(error_us, tmp_path) == quality


@pytest.mark.parametrize("partition", [True, False], ids=["partition", "whole disk"])
def test_writes_are_those_of_the_whole_disk_a_day(tmp_path, partition):
    root = tmp_path / "root"
    put_disk(root, tmp_path, sectors=1000, partition=partition)
    wear = measure_wear(tmp_path, running_s=43_200, uptime_s=8_640, root=root)
    assert wear.device_bytes_a_day == 10 * 512_000
    assert wear.own_bytes_a_day == 2 * wear.own_bytes


def test_what_this_process_writes_is_counted(tmp_path):
    def written():
        return measure_wear(tmp_path, running_s=1, uptime_s=1).own_bytes

    before = written()
    with (tmp_path / "a").open("wb") as file:
        file.write(bytes(1_000_000))
        file.flush()
        os.fsync(file.fileno())
    grown = written() - before
    assert grown == 0 or grown >= 1_000_000  # 0 where the folder is in memory


@pytest.mark.parametrize(("count", "seconds", "rate"), [(None, 9e9, None), (5, 599, None)])
def test_a_day_is_not_told_from_minutes(count, seconds, rate):
    assert per_day(count, seconds) == rate


def test_monitoring_gets_numbers_and_nothing_else():
    text = render_metrics(
        "watch",
        {"plate": "7KXR482", "at_ms": 5, "camera": {"gain": 2.5, "is_night": True}, "list": (1,)},
    )
    assert text == (
        'homeplate_at_ms{service="watch"} 5\n'
        'homeplate_camera_gain{service="watch"} 2.5\n'
        'homeplate_camera_is_night{service="watch"} 1\n'
    )


def test_camera_and_unit_are_told_in_the_health_and_the_monitoring_file(tmp_path):
    camera = CameraState(dropped_frames=3, exposure_us=500)
    health = HealthFile(
        tmp_path / "watch.health",
        facts=lambda: FACTS,
        clock=FakeClock(),
        look=lambda: UnitState(celsius=60.0, queue_bytes={"hits": 9}),
        camera=camera,
        textfile=tmp_path,
    )
    health.tell(lambda: {"frames": 12})
    told = read_health(tmp_path / "watch.health")
    assert told.camera == camera
    assert (told.cpu_celsius, told.unit.queue_bytes) == (60.0, {"hits": 9})
    file = tmp_path / "homeplate-watch.prom"
    lines = file.read_text().splitlines()
    assert 'homeplate_camera_dropped_frames{service="watch"} 3' in lines
    assert 'homeplate_unit_queue_bytes_hits{service="watch"} 9' in lines
    assert 'homeplate_counters_frames{service="watch"} 12' in lines
    assert stat.S_IMODE(file.stat().st_mode) == 0o644
    assert "unit-7" not in file.read_text()


def test_a_monitoring_folder_that_is_missing_is_no_one_s_loss(tmp_path):
    health = HealthFile(
        tmp_path / "a", facts=lambda: FACTS, clock=FakeClock(), textfile=tmp_path / "missing"
    )
    health.tell(dict)
    assert read_health(tmp_path / "a").unit is None


def test_nothing_of_the_unit_s_state_says_where_it_is():
    names = set(msgspec.structs.asdict(UnitState())) | set(CameraState.__dataclass_fields__)
    assert not {name for name in names if "position" in name or "place" in name or "lat" in name}
