"""`homeplate status`: what two processes tell, for people and machines; no plate can be in it."""

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from msgspec.structs import replace

from agent.base.clock import to_ms
from agent.base.clock_quality import ClockQuality
from agent.base.health import CameraState, WatchCounters
from agent.base.health_file import STALE_S, Facts, Health, health_path
from agent.base.settings import CameraSettings, Settings, SiteSettings
from agent.base.unit_state import UnitState
from agent.base.wear import Wear
from agent.cli.status import draw_report, encode_report, look_at_unit
from agent.cli.terminal import Screen
from tests.fakes import NOON

ROOT = Path(__file__).parents[2]
SCREEN = Screen(columns=100, colours=False, symbols=True)
NOW_MS = to_ms(NOON)
FACTS = Facts(
    service="watch",
    unit="unit-7",
    pid=71,
    version="0.1.0",
    boot="00" * 16,
    started_ms=NOW_MS - 7_300_000,
    policy_version=3,
    policy_hash="abcdef0123456789" * 4,
    policy_expires_ms=NOW_MS + 86_400_000,
    mode="hits-only",
    hotlist_version=12,
    hotlist_entries=204_113,
    hotlist_issued_ms=NOW_MS - 3_600_000,
    hotlist_expires_ms=NOW_MS + 82_800_000,
)
WATCH = Health(
    at_ms=NOW_MS - 2_000,
    facts=FACTS,
    counters={"frames": 54_000, "passages": 812, "hits": 2, "turned_away": 790, "dropped": 1},
    lately={"frames": 1799, "passages": 31, "plates": 640},
    lately_s=60.0,
)
SEND = Health(
    at_ms=NOW_MS - 1_000,
    facts=replace(FACTS, service="send", pid=72, last_receipt_ms=NOW_MS - 95_000),
    counters={"uploads": 2, "failures": 0},
    lately={},
    lately_s=0.0,
)


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "state").mkdir()
    return Settings(
        unit="unit-7",
        state_directory=str(tmp_path / "state"),
        exchange_directory=str(tmp_path),
        camera=CameraSettings(source="none"),
        site=SiteSettings(name="5th and Main"),
    )


def put(settings, *healths):
    for health in healths:
        path = health_path(Path(settings.exchange_directory), health.facts.service)
        path.write_bytes(msgspec.json.encode(health))
    return look_at_unit(settings, now_ms=NOW_MS)


def shown(report):
    return "\n".join(draw_report(report, SCREEN))


def test_a_running_unit_tells_pace_queue_receipt_and_rules(settings):
    text = shown(put(settings, WATCH, SEND))
    assert text.splitlines()[0] == "unit-7, 5th and Main"
    for part in (
        "● watcher       runs for 2 hours, version 0.1.0, process 71",
        "31 vehicles and 640 plates in 1799 frames",
        "54000 frames, 812 passages, 2 hits, 790 turned away",
        "1 dropped",
        "2 receipts, 0 failures",
        "1 minute ago",
        "version 3, mode hits-only, abcdef0123456789…, until 2026-06-02 12:00 UTC",
        "version 12, 204113 entries, 1 hour old, until 2026-06-02 11:00 UTC",
    ):
        assert part in text


def test_a_process_that_is_silent_does_not_count_as_running(settings):
    old = msgspec.structs.replace(WATCH, at_ms=NOW_MS - round(STALE_S * 1000))
    report = put(settings, old, SEND)
    assert not report.runs("watch")
    assert "○ watcher       silent for 30 s: hangs or died" in shown(report)
    assert report.runs("send")


def test_trouble_is_said(settings):
    facts = replace(FACTS, trouble="no hotlist: nothing is kept", hotlist_version=None)
    text = shown(put(settings, msgspec.structs.replace(WATCH, facts=facts)))
    assert "no hotlist: nothing is kept" in text
    assert "hotlist       none" in text
    assert "sender        does not run" in text


def test_a_unit_that_does_not_run_says_so(settings):
    text = shown(put(settings))
    assert text.count("does not run") == 2
    assert "queue" in text


def test_what_waits_is_measured_on_the_disk(settings):
    lane = Path(settings.state_directory) / "spool" / "hits"
    lane.mkdir(parents=True)
    (lane / f"{NOW_MS - 600_000:013d}-00000000-000001.seg").write_bytes(bytes(2048))
    text = shown(put(settings))
    assert "hits 2.0 KiB, reads 0 bytes, crops 0 bytes; the oldest since 10 minutes" in text


def test_how_long_reads_lived_is_a_histogram(settings):
    counters = WatchCounters(forgotten_within_2s=700, forgotten_later=3).as_dict()
    text = shown(put(settings, msgspec.structs.replace(WATCH, counters=counters)))
    assert "≤ 2 s: 700, later: 3" in text


def test_the_same_for_machines(settings):
    told = json.loads(encode_report(put(settings, WATCH)))
    assert (told["unit"], told["site"]["name"]) == ("unit-7", "5th and Main")
    assert told["services"]["watch"]["runs"] is True
    assert told["services"]["watch"]["health"]["counters"]["hits"] == 2
    assert told["services"]["send"] == {"runs": False, "health": None}


def test_the_command_ends_with_69_while_something_does_not_run(tmp_path):
    place = tmp_path / "unit.toml"
    place.write_text(
        f'unit = "unit-7"\nexchange_directory = "{tmp_path}"\n[camera]\nsource = "none"\n'
    )
    done = subprocess.run(
        [sys.executable, "-m", "agent", "status", "--config", str(place)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (69, "")
    assert done.stdout.startswith("unit-7\n")
    (tmp_path / "watch.health").write_text("no health")
    again = subprocess.run(
        [sys.executable, "-m", "agent", "status", "--config", str(place), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert again.returncode == 65
    assert "Traceback" not in again.stderr


def test_camera_exposure_power_clock_and_wear_are_shown(settings):
    camera = CameraState(dropped_frames=31, stalls=2, restarts=1, exposure_us=1000, gain=16.0)
    unit = UnitState(
        throttled_now=("the clock is throttled",),
        throttled_before=("the clock is throttled",),
        clock=ClockQuality(synchronised=True, error_ms=12, told_by="gps"),
        wear=Wear(own_bytes_a_day=200 << 20, device_bytes_a_day=310 << 20),
    )
    text = shown(put(settings, replace(WATCH, camera=camera, unit=unit), replace(SEND, unit=unit)))
    assert "31 frames dropped, 2 stalls, 1 restarts" in text
    assert "1000 µs, gain 16.0, day" in text
    assert "the clock is throttled; since the start: the clock is throttled" in text
    assert "synchronised, off by at most 12 ms" in text
    assert "watcher 200 MiB a day, sender 200 MiB a day, all 310 MiB a day" in text
    young = replace(unit, wear=Wear(device_bytes_a_day=310 << 20))
    assert "a day" not in shown(
        put(settings, replace(WATCH, unit=young), replace(SEND, unit=young))
    )


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"is_night": True}, "night"),
        ({"at_ceiling": True}, "at its ceiling: too dark"),
        ({}, "day"),
    ],
    ids=["night", "too dark", "day"],
)
def test_the_light_of_the_camera_is_told(settings, state, told):
    camera = CameraState(exposure_us=500, gain=8.0, **state)
    assert f"gain 8.0, {told}" in shown(put(settings, replace(WATCH, camera=camera)))


def test_a_unit_that_plays_a_file_has_no_line_of_a_camera(settings):
    text = shown(put(settings, WATCH, SEND))
    assert "camera" not in text
    assert "written" not in text
