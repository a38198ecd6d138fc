"""Processes that are killed and disks that fail, for real."""

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from agent.base.disk import SYSTEM_DISK, require_journal
from agent.base.errors import DeviceError
from agent.cli.audit import review_state
from agent.spool import SpoolReader
from agent.trust.entries import Dropped
from tests.custody.sick_disk import FAULTS, Disk
from tests.pipeline.test_send import Road
from tests.sealing import plate_read

pytestmark = [pytest.mark.custody, pytest.mark.slow]

ROOT = Path(__file__).parent.parent.parent
KILLS, LONG_KILLS = 500, 5000
CUTS, LONG_CUTS = 4, 100
ILLNESSES, LONG_ILLNESSES = 3, 50
NONE_BAD = {"lost": 0, "altered": 0, "doubled": 0, "findings": 0, "left_in_spool": 0}


def run_program(name: str, *arguments: str) -> dict[str, int]:
    command = [sys.executable, "-m", f"tests.custody.{name}", *arguments]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kill_9_at_any_moment_loses_nothing_that_was_acknowledged(tmp_path, counts, long_run):
    kills = LONG_KILLS if long_run else KILLS
    found = run_program("kills", "--kills", str(kills), "--state", str(tmp_path))
    counts["kill -9"] = (
        f"{found['kills']} kills, {found['acknowledged']} frames acknowledged, "
        f"{found['lost']} lost, {found['altered']} altered, {found['doubled']} doubled"
    )
    assert found | NONE_BAD == found
    assert found["acknowledged"] >= kills


@contextmanager
def mounted(place: Path, *options: str):
    """A file system that is mounted at `place`, where we may."""
    command = ["mount", *options, str(place)]
    done = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False)
    if not done or done.returncode:
        pytest.skip("nothing can be mounted here: needs root and the right to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


@pytest.fixture
def loop_devices(tmp_path):
    """The right to mount an image file."""
    if not shutil.which("mkfs.ext4"):
        pytest.skip("mkfs.ext4 is not installed")
    image, place = tmp_path / "probe.img", tmp_path / "probe"
    place.mkdir()
    subprocess.run(["truncate", "-s", "8M", str(image)], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", str(image)], check=True)
    with mounted(place, "-o", "loop", str(image)):
        pass


def test_a_power_cut_on_a_real_file_system_loses_nothing(tmp_path, loop_devices, counts, long_run):
    work = tmp_path / "work"
    work.mkdir()
    cuts = LONG_CUTS if long_run else CUTS
    found = run_program("cuts", "--cuts", str(cuts), "--work", str(work))
    counts["power cuts on ext4"] = (
        f"{found['cuts']} cuts, {found['acknowledged']} frames acknowledged, {found['lost']} lost"
    )
    assert found | NONE_BAD == found
    assert found["acknowledged"] > cuts


@pytest.mark.parametrize("fault", FAULTS)
def test_a_disk_that_falls_ill_loses_nothing_that_was_acknowledged(
    tmp_path, loop_devices, counts, long_run, fault
):
    work = tmp_path / "work"
    work.mkdir()
    rounds = LONG_ILLNESSES if long_run else ILLNESSES
    found = run_program("sick_disk", "--fault", fault, "--rounds", str(rounds), "--work", str(work))
    counts[f"ill disk ({fault})"] = (
        f"{found['rounds']} times, {found['ended_69']} ends with 69, {found['ended_otherwise']} "
        f"with another code, {found['acknowledged']} frames acknowledged, {found['lost']} lost"
    )
    assert found | NONE_BAD == found
    assert found["ended_otherwise"] == 0
    assert found["ended_69"] >= rounds
    assert found["acknowledged"] > 0


def test_a_sync_is_not_believed_when_the_journal_was_given_up(tmp_path, loop_devices):
    disk = Disk(tmp_path, "read-only")
    path = disk.place / "file"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        require_journal(descriptor)  # an empty file: not asked, and still empty
        assert path.stat().st_size == 0
        os.write(descriptor, b"content")
        SYSTEM_DISK.sync_data(descriptor)
        assert path.read_bytes() == b"content"
        disk.fall_ill()
        with pytest.raises(OSError, match="Read-only"):
            require_journal(descriptor)
        os.close(descriptor)
    finally:
        disk.give_back()


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 512 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    with mounted(place, "-t", "tmpfs", "-o", "size=512k", "tmpfs"):
        yield place


def fill(path: Path) -> None:
    """Write a file until nothing more fits."""
    with path.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


def commit(road: Road, number: int) -> None:
    road.unit.keeping.take((plate_read(number, crop_jpeg=b"\xff\xd8" + bytes(3000)),))
    for _ in range(2):
        road.clock.advance(1)
        road.unit.keeping.commit()


def passes_audit(road: Road) -> bool:
    """Bring the unit to rest and ask the auditor; the road keeps its logs in folders of its own."""
    (road.folder / "as-audited/audit").mkdir(parents=True)
    shutil.copytree(road.folder / "audit", road.folder / "as-audited/audit/watch")
    shutil.copytree(road.folder / "send", road.folder / "as-audited/audit/send")
    shutil.copytree(road.folder / "spool", road.folder / "as-audited/spool")
    report = review_state(
        road.folder / "as-audited",
        watch_key=road.unit.signer.public_key,
        send_key=road.send_key.public_key,
        city_keys=(road.city.signer.public_key,),
    )
    assert report.faults == ()
    return all(lane.balances for lane in report.lanes)


def test_a_full_disk_drops_with_a_count_and_goes_on_when_there_is_room(small_disk):
    road = Road(small_disk, reads=(1,), close=False)
    ballast = small_disk / "ballast"
    fill(ballast)
    for number in range(2, 30):
        commit(road, number)
    assert road.unit.keeping.counters.dropped > 0
    ballast.unlink()
    commit(road, 30)
    road.unit.keeping.close()
    road.sending.work()
    counters = road.unit.keeping.counters
    assert counters.sealed + counters.dropped == counters.hits + counters.reads == 30
    assert sum(entry.count for entry in road.unit.entries(Dropped)) > 0
    assert passes_audit(road)


def test_on_a_read_only_disk_neither_starts_and_nothing_is_lost(small_disk):
    road = Road(small_disk, reads=(1, 2), close=False)
    road.unit.audit._release()
    road.audit._release()
    for current in road.unit.spool._current.values():
        current.file.close()
    os.close(road.unit.spool._lock)
    road.unit.boot = bytes(16)
    remount(small_disk, "ro")
    for start in (road.unit.start, road.start):
        with pytest.raises(DeviceError, match="Read-only"):
            start()
    remount(small_disk, "rw")
    road.unit.start()
    road.start()
    commit(road, 4)
    road.unit.keeping.close()
    road.sending.work()
    assert SpoolReader(small_disk / "spool").segments() == ()
    assert passes_audit(road)


def remount(place: Path, mode: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{mode}", str(place)], check=True)
