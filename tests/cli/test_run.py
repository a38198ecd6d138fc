"""`homeplate run`: both services in one terminal, on a real clip against a real endpoint."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from agent.spool import SpoolReader
from deploy.demo.__main__ import find_free_port, serving
from deploy.demo.city import found_city, publish_policy, settle_endpoint, settle_unit

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "demo.mp4"
pytestmark = pytest.mark.slow


@pytest.fixture
def city(tmp_path):
    (tmp_path / "logs").mkdir()
    city, port = found_city(tmp_path / "city"), find_free_port()
    publish_policy(city, port=port)
    settle_endpoint(city, port=port)
    settle_unit(city, source=CLIP, realtime=False)
    return city


def run(city):
    return subprocess.run(
        [sys.executable, "-m", "agent", "run", "--config", city.unit_settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def last_counters(done, name):
    lines = map(json.loads, done.stdout.splitlines())
    return [line for line in lines if name in line][-1]


def test_both_run_until_the_clip_has_ended_and_all_is_sent(city, tmp_path):
    with serving(city, tmp_path / "logs"):
        done = run(city)
    assert done.returncode == 0, done.stderr
    assert last_counters(done, "sealed")["sealed"] > 0
    assert SpoolReader(city.unit / "state/spool").segments() == ()


def test_a_second_run_watches_again(city, tmp_path):
    with serving(city, tmp_path / "logs"):
        first, second = run(city), run(city)
    assert second.returncode == 0, second.stderr
    sealed = [last_counters(done, "sealed")["sealed"] for done in (first, second)]
    assert sealed[1] == sealed[0] > 0
    assert SpoolReader(city.unit / "state/spool").segments() == ()


def test_when_one_fails_the_other_is_ended_and_its_exit_code_is_returned(city):
    (city.unit / "credentials/watch.key").write_text("no key")
    done = run(city)
    assert done.returncode == 77
    assert "watch.key" in done.stderr
