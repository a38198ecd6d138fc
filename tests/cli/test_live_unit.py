"""Check and status beside the two services as they run, against a real endpoint."""

import json
import subprocess
import sys
import time
from pathlib import Path

import av
import pytest

from agent.base.health_file import health_path, read_health
from deploy.demo.__main__ import find_free_port, serving
from deploy.demo.city import found_city, publish_policy, settle_endpoint, settle_unit

ROOT = Path(__file__).parents[2]
CLIP = ROOT / "tests" / "data" / "demo.mp4"
TRUTH = ROOT / "tests" / "data" / "demo.truth.jsonl"
SLOWER = 10
"""The clip is played so much slower: it must not end before a busy machine has looked at it."""
PATIENCE_S = 120
"""Until a test that waits for something gives up; it measures nothing."""
pytestmark = pytest.mark.slow


def homeplate(city, *words):
    return subprocess.run(
        [sys.executable, "-m", "agent", *words, "--config", city.unit_settings],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )


def start(city, command):
    return subprocess.Popen(
        [sys.executable, "-m", "agent", command, "--config", city.unit_settings],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def await_that(holds):
    until_s = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < until_s, "it did not come about"
        time.sleep(0.2)


def counted(city, service, name):
    health = read_health(health_path(city.unit / "run", service))
    return health.counters.get(name, 0) if health else 0


def slow_down(clip, path):
    """Write the same video with its frames further apart."""
    with av.open(str(clip)) as source, av.open(str(path), "w") as target:
        video = source.streams.video[0]
        copy = target.add_stream_from_template(video)
        for packet in source.demux(video):
            if packet.dts is None:
                continue
            packet.pts, packet.dts = packet.pts * SLOWER, packet.dts * SLOWER
            packet.stream = copy
            target.mux(packet)
    return path


@pytest.fixture
def city(tmp_path):
    (tmp_path / "logs").mkdir()
    city, port = found_city(tmp_path / "city"), find_free_port()
    publish_policy(city, port=port)
    settle_endpoint(city, port=port)
    settle_unit(city, source=slow_down(CLIP, tmp_path / "slow.mp4"), realtime=True)
    return city


@pytest.fixture
def live(city, tmp_path):
    """Run the endpoint and both services until something was read and receipted."""
    with serving(city, tmp_path / "logs"):
        processes = [start(city, "watch"), start(city, "send")]
        try:
            await_that(lambda: counted(city, "send", "uploads") > 0)
            yield city
        finally:
            for process in processes:
                process.terminate()
            for process in processes:
                _, errors = process.communicate(timeout=PATIENCE_S)
                assert process.returncode == 0, errors


def test_a_live_unit_is_told_of_and_found_fit(live):
    status = homeplate(live, "status", "--json")
    told = json.loads(status.stdout)
    assert status.returncode == 0, status.stdout
    watch, send = (told["services"][name] for name in ("watch", "send"))
    assert (watch["runs"], send["runs"]) == (True, True)
    assert watch["health"]["counters"]["frames"] > 0
    assert send["health"]["facts"]["last_receipt_ms"] > 0
    assert watch["health"]["facts"]["policy_hash"] == send["health"]["facts"]["policy_hash"]
    people = homeplate(live, "status").stdout
    assert people.count("●") == 2

    check = homeplate(live, "check", "--json")
    found = {item["code"]: item for item in json.loads(check.stdout)["checks"]}
    for code in ("HP-101", "HP-105", "HP-201", "HP-301", "HP-303", "HP-304", "HP-305", "HP-401"):
        assert found[code]["level"] == "ok", found[code]
    assert found["HP-402"]["level"] == "ok", found["HP-402"]
    assert found["HP-405"]["level"] == "ok", found["HP-405"]
    texts = [json.loads(line)["text"] for line in TRUTH.read_text().splitlines()]
    shown = status.stdout + people + check.stdout + check.stderr
    assert not any(text in shown for text in texts)


def test_who_ends_in_good_order_does_not_run_any_more(city):
    settle_unit(city, source=CLIP, realtime=False)
    done = homeplate(city, "watch")
    assert done.returncode == 0, done.stderr
    assert homeplate(city, "status").returncode == 69
    assert not list((city.unit / "run").glob("*.health"))
