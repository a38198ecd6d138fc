"""`homeplate watch` as a real process on the shipped clip."""

import json
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import pytest

from agent.audit import RecordFile
from agent.base.clock import SystemClock, to_ms
from agent.base.errors import PolicyError
from agent.base.files import write_whole
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.cli.arrivals import log_arrivals
from agent.cli.bench_truth import load_truth
from agent.cli.machine import Machine
from agent.cli.models import open_models
from agent.cli.policies import limit_segment_age
from agent.cli.unit import load_unit, refresh_policy
from agent.cli.watch import build_seeing, warn_of_disk
from agent.pipeline.keeping import POLICY_GONE
from agent.spool import SpoolReader
from agent.trust.entries import Dropped, PolicySeen, decode_entry
from agent.trust.hotlist import open_request, seal_hotlist
from agent.trust.keys import load_signer
from agent.trust.policy import RETENTION_S
from deploy.demo.city import found_city, publish_policy, settle_unit
from tests.lists import sign_list

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "demo.mp4"
TRUTH = ROOT / "tests" / "data" / "demo.truth.jsonl"
pytestmark = pytest.mark.slow


def homeplate(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "agent", *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("kind", ["ext4", "tmpfs"])
def test_an_exchange_folder_on_a_disk_is_told_once(tmp_path, caplog, kind):
    place = tmp_path / "proc/self/mountinfo"
    place.parent.mkdir(parents=True)
    place.write_text(f"1 0 8:1 / / rw - {kind} /dev/x rw\n")
    warn_of_disk(tmp_path, Machine(tmp_path))
    assert ("exchange folder is on a disk" in caplog.messages) == (kind == "ext4")


LATER_FRAME = 120
"""By then the list has come: four seconds after the clip begins."""


def bring_list(city, signed, *, ended):
    """Do the sender's and the endpoint's part: seal the list to the key that the watcher names."""
    exchange = city.unit / "run"
    key = load_signer(
        bytearray((city.unit / "credentials/watch.key").read_bytes()), place="watch.key"
    ).public_key
    while not ended() and not (exchange / "hotlist.request").exists():
        time.sleep(0.02)
    request = (exchange / "hotlist.request").read_bytes()
    sealed = seal_hotlist(signed, request, open_request(request, key).key)
    write_whole(exchange / "hotlist.sealed", sealed)


def watch_with_list(city, plates):
    """Run the watcher on the clip at its own pace; the list comes while it watches."""
    signer = load_signer(
        bytearray((city.root / "city/hotlist.key").read_bytes()), place="hotlist.key"
    )
    signed = sign_list(*plates, signer=signer, issued_ms=to_ms(datetime.now(UTC)))
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "watch", "--config", city.unit_settings],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        bring_list(city, signed, ended=lambda: process.poll() is not None)
    finally:
        out, err = process.communicate()
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def test_hits_only_keeps_the_hits_and_nothing_else_touches_the_disk(tmp_path):
    late = [vehicle.text for vehicle in load_truth(TRUTH) if vehicle.first_frame > LATER_FRAME]
    wanted = sorted(late[::3])
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9, mode="hits-only")
    settle_unit(city, source=CLIP, realtime=True)

    counters = watch_with_list(city, wanted)

    forgotten = counters["turned_away"] + counters["unreadable"]
    assert counters["passages"] == counters["hits"] + forgotten
    lifetimes = [count for name, count in counters.items() if name.startswith("forgotten_")]
    assert sum(lifetimes) == forgotten > 0
    assert counters["forgotten_later"] == 0
    assert counters["reads"] == counters["crops_sealed"] == 0
    assert counters["sealed"] == counters["alerts"] + counters["ends"]
    spool = city.unit / "state/spool"
    assert {segment.lane for segment in SpoolReader(spool).segments()} == {Lane.HITS}
    opened = homeplate("open", spool, "--key", city.opening_key, "--json")
    items = [json.loads(line) for line in opened.stdout.splitlines()]
    alerts = [item for item in items if item["kind"] == "alert"]
    assert sorted(alert["text"] for alert in alerts) == wanted
    assert all(alert["notice"].startswith("LEAD ONLY") for alert in alerts)
    assert all(alert["jpeg_bytes"] > 0 and not alert["complete"] for alert in alerts)
    ends = [item for item in items if item["kind"] == "end"]
    assert sorted(end["alert_sequence"] for end in ends) == [alert["sequence"] for alert in alerts]
    latest = {end["alert_sequence"]: end["last_frame"] for end in ends}
    assert all(alert["last_frame"] < latest[alert["sequence"]] for alert in alerts)


def test_a_watch_without_a_list_ends_with_a_plain_warning(tmp_path):
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9, mode="hits-only")
    settle_unit(city, source=CLIP, realtime=False)
    ran = homeplate("watch", "--config", city.unit_settings)
    assert ran.returncode == 0, ran.stderr
    counters = json.loads(ran.stdout.splitlines()[-1])
    assert counters["passed_before_list"] == counters["passages"] > 0
    last = ran.stderr.splitlines()[-1]
    assert last.startswith("homeplate: warning: no hotlist came, so nothing was kept of ")


def test_a_watcher_whose_policy_was_rolled_back_keeps_nothing_and_says_why(tmp_path):
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9)
    settle_unit(city, source=CLIP, realtime=False)
    flashed = (city.unit / "policy.bundle").read_bytes()
    publish_policy(city, port=9, changes={"min_hit_frames": 4})
    unit, seen = refresh_policy(load_unit(city.unit_settings, "watch"), SystemClock())
    log_arrivals(unit, "watch", seen, SystemClock())
    shutil.rmtree(city.unit / "state/policy")
    (city.unit / "policy.bundle").write_bytes(flashed)

    ran = homeplate("watch", "--config", city.unit_settings)

    assert ran.returncode == 0, ran.stderr
    counters = json.loads(ran.stdout.splitlines()[-1])
    assert (counters["sealed"], counters["dropped"]) == (0, counters["reads"])
    assert counters["reads"] > 0
    assert SpoolReader(city.unit / "state/spool").segments() == ()
    contents = RecordFile(city.unit / "state/audit/watch/entries").follow()
    found = list(map(decode_entry, contents))
    taken, lost = (entry for entry in found if isinstance(entry, PolicySeen))
    assert (taken.accepted, taken.version, lost.accepted) == (True, 2, False)
    assert lost.detail.startswith("memory: nothing is kept or sent until version 2 is here")
    assert {entry.reason for entry in found if isinstance(entry, Dropped)} >= {POLICY_GONE}


@pytest.mark.parametrize("process", ["watch", "send"])
def test_a_flashed_policy_with_which_nothing_begins_is_in_the_log_once(tmp_path, process):
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9)
    settle_unit(city, source=CLIP, realtime=False)
    (city.unit / "policy.bundle").write_bytes(b"{}")
    for _ in range(2):
        assert (
            homeplate(process, "--config", city.unit_settings).returncode == PolicyError.exit_code
        )
    contents = RecordFile(city.unit / f"state/audit/{process}/entries").follow()
    (seen,) = map(decode_entry, contents)
    assert (seen.accepted, seen.policy_hash) == (False, sha256(b"{}").digest())
    assert seen.detail.startswith("format: ")


@pytest.mark.parametrize(("asked", "looks"), [(1, 2), (7, 7)], ids=["less", "more"])
def test_the_policy_may_ask_for_more_looks_than_usual_never_for_fewer(tmp_path, asked, looks):
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9, changes={"min_hit_frames": asked})
    settle_unit(city, source=CLIP, realtime=False)
    unit = load_unit(city.unit_settings, "watch")
    models = open_models(unit.settings.models, unit.settings.detect)
    assert build_seeing(unit, models).ballots._certain_looks == looks


@pytest.mark.parametrize(
    ("preset", "limit_s"), [("nh-3min", 60.0), ("24h", 3600.0)], ids=["minutes", "days"]
)
def test_a_segment_closes_well_within_the_shortest_retention(preset, limit_s):
    retention = dict.fromkeys(Lane, RETENTION_S["60d"]) | {Lane.READS: RETENTION_S[preset]}
    settings = limit_segment_age(SpoolSettings(segment_limit_s=3600), retention)
    assert settings.segment_limit_s == limit_s
