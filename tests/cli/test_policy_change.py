"""`homeplate watch` as a real process while the city changes its policy: no read is lost."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.audit import RecordFile
from agent.base.lanes import Lane
from agent.cli.bench_truth import load_truth
from agent.spool import SpoolReader
from agent.trust.entries import Boot, Dropped, PolicySeen, decode_entry
from deploy.demo.city import found_city, publish_policy, settle_unit

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "demo.mp4"
TRUTH = ROOT / "tests" / "data" / "demo.truth.jsonl"
ENOUGH = 8
"""Vehicles that have passed before the policy changes; there are 30."""
pytestmark = pytest.mark.slow


def watch(city, while_watching):
    """Run the watcher; call back once enough vehicles have passed."""
    process = subprocess.Popen(
        [sys.executable, "-m", "agent", "watch", "--progress", "--config", city.unit_settings],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    called, counters = False, {}
    for line in process.stdout:
        counters = json.loads(line)
        if not called and counters["passages"] >= ENOUGH:
            called = True
            while_watching()
    process.stdout.close()
    assert process.wait() == 0
    assert called
    return counters


@pytest.fixture
def city(tmp_path):
    city = found_city(tmp_path)
    publish_policy(city, port=9)
    settle_unit(city, source=CLIP, realtime=True)
    return city


def entries(city, *kinds):
    contents = RecordFile(city.unit / "state/audit/watch/entries").follow()
    return [entry for entry in map(decode_entry, contents) if isinstance(entry, kinds)]


def opened(city):
    command = [sys.executable, "-m", "agent", "open", city.unit / "state/spool"]
    run = subprocess.run(
        [*command, "--key", city.opening_key, "--json"], cwd=ROOT, capture_output=True, check=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_a_policy_that_comes_in_the_middle_of_a_clip_costs_no_read(city):
    changes = {"retention": {"hits": "30d", "reads": "7d", "crops": "24h"}, "crops": "none"}
    counters = watch(city, lambda: publish_policy(city, port=9, changes=changes))
    wanted = sorted(vehicle.text for vehicle in load_truth(TRUTH))
    items = opened(city)
    assert sorted(item["text"] for item in items if item["kind"] == "read") == wanted
    assert (counters["dropped"], counters["passages"]) == (0, len(wanted))
    reader = SpoolReader(city.unit / "state/spool")
    policies = {
        item.frame.header.policy_sha256
        for segment in reader.segments()
        if segment.lane is Lane.READS
        for item in reader.frames(segment)
    }
    (boot,) = entries(city, Boot)
    first, seen = entries(city, PolicySeen)
    assert (first.version, first.policy_hash) == (1, boot.policy_hash)
    assert policies == {boot.policy_hash, seen.policy_hash}
    assert (seen.accepted, seen.detail) == (True, "version 2, root 1, signed by police, clerk")
    crops = sum(item["kind"] == "crop" for item in items)
    assert ENOUGH <= crops < len(wanted)
    assert entries(city, Dropped) == []
