"""`homeplate watch` as a real process on the shipped clip."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.base.lanes import Lane
from agent.cli.bench_truth import load_truth
from agent.spool import SpoolReader
from deploy.demo.city import found_city, publish_policy, settle_unit

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


def test_hits_only_keeps_the_hits_and_nothing_else_touches_the_disk(tmp_path):
    wanted = sorted(vehicle.text for vehicle in load_truth(TRUTH))[::6]
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9, mode="hits-only")
    settle_unit(city, source=CLIP, realtime=False)
    hotlist = tmp_path / "hotlist.csv"
    hotlist.write_text("plate\n" + "\n".join(wanted))
    settings = city.unit_settings.read_text()
    city.unit_settings.write_text(f'hotlist = "{hotlist}"\n{settings}')

    watched = homeplate("watch", "--config", city.unit_settings)

    assert watched.returncode == 0, watched.stderr
    counters = json.loads(watched.stdout.splitlines()[-1])
    assert counters["passages"] == counters["hits"] + counters["turned_away"]
    assert counters["reads"] == 0
    assert counters["hits"] == counters["sealed"] == counters["crops_sealed"]
    spool = city.unit / "state/spool"
    assert {segment.lane for segment in SpoolReader(spool).segments()} == {Lane.HITS, Lane.CROPS}
    opened = homeplate("open", spool, "--key", city.opening_key, "--json")
    reads = [json.loads(line) for line in opened.stdout.splitlines()]
    texts = sorted(read["text"] for read in reads if read["kind"] == "read")
    assert texts == wanted
