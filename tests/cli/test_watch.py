"""`homeplate watch` as a real process on the shipped clip."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.cli.bench_truth import load_truth
from agent.cli.models import open_models
from agent.cli.unit import load_unit
from agent.cli.watch import build_seeing, limit_segment_age
from agent.read import CERTAIN_LOOKS
from agent.spool import SpoolReader
from agent.trust.policy import RETENTION_S
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


@pytest.mark.parametrize(("asked", "looks"), [(1, CERTAIN_LOOKS), (7, 7)], ids=["less", "more"])
def test_the_policy_may_ask_for_more_looks_than_usual_never_for_fewer(tmp_path, asked, looks):
    city = found_city(tmp_path / "city")
    publish_policy(city, port=9)
    settle_unit(city, source=CLIP, realtime=False)
    path = city.unit / "policy.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"min_hit_frames": asked}))
    unit = load_unit(city.unit_settings)
    models = open_models(unit.settings.models, unit.settings.detect)
    assert build_seeing(unit, models).ballots._certain_looks == looks


@pytest.mark.parametrize(
    ("preset", "limit_s"), [("nh-3min", 60.0), ("24h", 3600.0)], ids=["minutes", "days"]
)
def test_a_segment_closes_well_within_the_shortest_retention(preset, limit_s):
    retention = dict.fromkeys(Lane, RETENTION_S["60d"]) | {Lane.READS: RETENTION_S[preset]}
    settings = limit_segment_age(SpoolSettings(segment_limit_s=3600), retention)
    assert settings.segment_limit_s == limit_s
