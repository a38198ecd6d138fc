"""Clock, disk, heat and files of a unit, on machines written down as folders."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from msgspec.structs import replace

from agent.base.clock import to_ms
from agent.base.clock_quality import ask_clock_error_us
from agent.base.errors import ConfigError
from agent.base.settings import CameraSettings, ModelSettings, Settings
from agent.cli.check.clock import judge_source, judge_time
from agent.cli.check.disk import (
    judge_health,
    judge_room,
    judge_speed,
    look_at_disk,
    time_writes,
)
from agent.cli.check.files import judge_credentials, judge_exchange, judge_folders, judge_models
from agent.cli.check.findings import Level, safely
from agent.cli.check.heat import judge_temperature, judge_throttling, look_at_heat
from agent.cli.check.subject import LogFacts, Subject
from agent.cli.machine import Machine
from tests.fakes import NOON, FakeClock

NO_POLICY = ConfigError("no policy")


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def mounts(root: Path, *rows: tuple[str, str, str]) -> Machine:
    """Return a machine with mounts: point, options, file system."""
    lines = [
        f"{20 + n} 1 179:{n} / {point} {options} shared:1 - {kind} /dev/mmcblk0p{n} rw\n"
        for n, (point, options, kind) in enumerate(rows, 1)
    ]
    put(root, "proc/self/mountinfo", "".join(lines))
    return Machine(root)


def subject(tmp_path, **settings) -> Subject:
    return Subject(
        place=tmp_path / "unit.toml",
        settings=Settings(
            unit="unit-7",
            camera=CameraSettings(source="none"),
            state_directory=str(tmp_path / "state"),
            policy=str(tmp_path / "policy.bundle"),
            root=str(tmp_path / "root.json"),
            **settings,
        ),
        decision=NO_POLICY,
        logs=LogFacts(),
        machine=Machine(tmp_path),
        clock=FakeClock(),
    )


@pytest.mark.parametrize(
    ("now", "latest", "level"),
    [
        (NOON, None, Level.GOOD),
        (NOON, NOON - timedelta(days=1), Level.GOOD),
        (NOON, NOON + timedelta(seconds=1), Level.GOOD),
        (NOON, NOON + timedelta(seconds=10), Level.BAD),
        (datetime(1970, 1, 1, tzinfo=UTC), None, Level.BAD),
        (datetime(2100, 1, 1, tzinfo=UTC), None, Level.BAD),
    ],
)
def test_the_clock_must_be_plausible_and_not_behind_the_logs(now, latest, level):
    logs = LogFacts(latest_ms=to_ms(latest) if latest else 0)
    assert judge_time(now, logs).level is level


@pytest.mark.parametrize(
    ("error_us", "level"),
    [(None, Level.UNKNOWN), (12_000, Level.GOOD), (16_000_000, Level.DOUBT)],
)
def test_a_clock_that_nothing_keeps_right_is_told(error_us, level):
    assert judge_source(error_us).level is level


def test_the_kernel_tells_the_error_of_its_clock():
    assert ask_clock_error_us() >= 0


def test_a_mount_below_another_is_the_one_that_counts(tmp_path):
    machine = mounts(tmp_path, ("/", "ro", "ext4"), ("/var/lib/home\\040plate", "rw", "f2fs"))
    mount = machine.mount_of(Path("/var/lib/home plate/spool"))
    assert (mount.kind, mount.read_only, mount.device) == ("f2fs", False, "179:2")
    assert machine.mount_of(Path("/etc")).read_only


def card(root: Path, *, errors="0", spare="0x01", life="0x01 0x02", options="rw") -> Machine:
    machine = mounts(root, ("/", options, "ext4"))
    put(root, "sys/fs/ext4/mmcblk0p1/errors_count", errors + "\n")
    put(root, "sys/block/mmcblk0/device/pre_eol_info", spare + "\n")
    put(root, "sys/block/mmcblk0/device/life_time", life + "\n")
    (root / "sys/dev/block").mkdir(parents=True)
    (root / "sys/dev/block/179:1").symlink_to("../../devices/mmc0/block/mmcblk0/mmcblk0p1")
    return machine


@pytest.mark.parametrize(
    ("state", "level", "word"),
    [
        ({}, Level.GOOD, "little worn"),
        ({"errors": "3"}, Level.BAD, "3 errors"),
        ({"options": "ro"}, Level.BAD, "read-only"),
        ({"spare": "0x02"}, Level.DOUBT, "spare"),
        ({"spare": "0x03"}, Level.DOUBT, "9 of 10"),
        ({"life": "0x09 0x01"}, Level.DOUBT, "90 %"),
        ({"life": "nonsense"}, Level.GOOD, "no error noted"),
    ],
)
def test_a_card_that_failed_or_is_worn_is_told(tmp_path, state, level, word):
    finding = judge_health(card(tmp_path, **state), Path("/var/lib"))
    assert finding.level is level
    assert word in finding.found


def test_a_file_system_without_counts_is_no_error(tmp_path):
    machine = mounts(tmp_path, ("/", "rw", "btrfs"))
    assert judge_health(machine, Path("/var")).level is Level.GOOD
    assert judge_health(Machine(tmp_path / "empty"), Path("/var")).level is Level.UNKNOWN


def test_the_disk_is_tried_and_nothing_stays(tmp_path):
    assert len(time_writes(tmp_path / "probe")) == 20
    assert judge_speed(tmp_path).found.startswith("20 writes of 16 KiB")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_is_wrong(tmp_path):
    finding = safely("HP-205", lambda: judge_speed(tmp_path / "missing"))
    assert finding.level is Level.BAD
    assert "No such file" in finding.found


def test_without_a_policy_only_the_room_itself_is_judged(tmp_path):
    finding = judge_room(tmp_path, NO_POLICY)
    assert "no policy" in finding.found
    assert finding.level is Level.GOOD


def test_a_missing_state_folder_answers_all_questions_about_the_disk(tmp_path):
    codes = [(item.code, item.level) for item in look_at_disk(subject(tmp_path))]
    assert codes == [
        ("HP-203", Level.BAD),
        ("HP-204", Level.UNKNOWN),
        ("HP-205", Level.UNKNOWN),
    ]


@pytest.mark.parametrize(
    ("celsius", "level"),
    [(None, Level.UNKNOWN), (45.0, Level.GOOD), (72.0, Level.DOUBT), (78.0, Level.BAD)],
)
def test_heat_is_judged_by_what_the_agent_does_at_it(celsius, level):
    assert judge_temperature(celsius).level is level


@pytest.mark.parametrize(
    ("word", "level", "text"),
    [
        ("0", Level.GOOD, "full speed"),
        ("50005", Level.BAD, "now: the supply voltage is too low, the clock is throttled"),
        ("50000", Level.DOUBT, "since the start: the supply voltage is too low"),
        ("80000", Level.DOUBT, "soft temperature limit"),
    ],
)
def test_the_firmware_s_word_is_read_bit_by_bit(tmp_path, word, level, text):
    put(tmp_path, "sys/devices/platform/soc/soc:firmware/get_throttled", word + "\n")
    put(tmp_path, "sys/class/thermal/thermal_zone0/temp", "48312\n")
    temperature, throttling = look_at_heat(Machine(tmp_path))
    assert temperature.found == "48 °C"
    assert throttling.level is level
    assert text in throttling.found


def test_a_machine_that_tells_neither_is_no_error():
    assert judge_throttling(None).level is Level.UNKNOWN


def enrol(folder: Path) -> Path:
    folder.mkdir(mode=0o700)
    for name in ("watch.key", "send.key", "tls.key", "tls.crt"):
        (folder / name).touch(mode=0o600)
    return folder


def test_credentials_closed_to_others_are_good(tmp_path):
    assert judge_credentials(enrol(tmp_path / "keys")).level is Level.GOOD


@pytest.mark.parametrize(
    ("name", "mode"),
    [("watch.key", 0o644), ("tls.key", 0o660), ("send.key", 0o601), ("", 0o755), ("", 0o770)],
)
def test_credentials_open_to_others_are_wrong(tmp_path, name, mode):
    folder = enrol(tmp_path / "keys")
    (folder / name).chmod(mode)
    finding = judge_credentials(folder)
    assert (finding.level, finding.exit_code) == (Level.BAD, 77)


def test_a_unit_without_keys_is_told_to_enrol(tmp_path):
    assert "not enrolled" in judge_credentials(tmp_path).found
    folder = enrol(tmp_path / "keys")
    (folder / "tls.crt").unlink()
    assert judge_credentials(folder).found.endswith("tls.crt missing")


def test_folders_that_everybody_may_write_are_wrong(tmp_path):
    unit = subject(tmp_path)
    assert judge_folders(unit).level is Level.UNKNOWN
    (tmp_path / "state/spool/hits").mkdir(parents=True)
    assert judge_folders(unit).level is Level.GOOD
    (tmp_path / "state/spool/hits").chmod(0o777)
    assert judge_folders(unit).level is Level.BAD


@pytest.mark.parametrize(("kind", "level"), [("tmpfs", Level.GOOD), ("ext4", Level.DOUBT)])
def test_the_exchange_folder_belongs_into_memory(tmp_path, kind, level):
    folder = tmp_path / "exchange"
    assert judge_exchange(Machine(tmp_path), folder).level is Level.DOUBT
    folder.mkdir(mode=0o700)
    machine = mounts(tmp_path, ("/", "rw", "ext4"), (str(tmp_path), "rw", kind))
    assert judge_exchange(machine, folder).level is level
    folder.chmod(0o777)
    assert judge_exchange(machine, folder).level is Level.BAD


def test_models_are_run_and_missing_ones_named(tmp_path):
    settings = subject(tmp_path).settings
    assert judge_models(settings).level is Level.GOOD
    elsewhere = replace(settings, models=ModelSettings(directory=str(tmp_path)))
    finding = judge_models(elsewhere)
    assert (finding.level, finding.exit_code) == (Level.BAD, 78)
    assert "manifest.toml" in finding.found
