"""The watcher as a real process: on a quarter of a core, and on a disk that is slow."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from agent.cli.bench_truth import load_truth
from deploy.demo.city import found_city, publish_policy, settle_unit
from tests.cli.test_watch import CLIP, ROOT, TRUTH, homeplate

pytestmark = pytest.mark.slow
CPU = Path("/sys/fs/cgroup/cpu")
PERIOD_US, QUOTA_US = 10_000, 2_500
"""A quarter of one core, given out in pieces so short that no frame gets a whole one."""
POINTS = 2.0


@pytest.fixture
def quarter_core():
    """Return a control group with that quota, or skip."""
    group = CPU / f"homeplate-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "cpu.cfs_period_us").write_text(str(PERIOD_US))
        (group / "cpu.cfs_quota_us").write_text(str(QUOTA_US))
    except OSError as error:
        pytest.skip(f"{CPU}: no control group (version 1) can be made here: {error.strerror}")
    yield group
    for _ in range(100):  # the kernel lets go of ended processes a moment later
        try:
            group.rmdir()
            break
        except OSError:
            time.sleep(0.05)


def settle(root):
    city = found_city(root)
    publish_policy(city, port=9, mode="all")
    settle_unit(city, source=CLIP, realtime=True, shedding=True)
    return city


def watch(city, *, group=None, before=()):
    """Return the counters at the end of the clip, at its own pace, and what was logged."""
    command = [*before, sys.executable, "-m", "agent", "watch"]
    command += ["--config", str(city.unit_settings)]
    if group is not None:
        enter = f'echo $$ > {group}/tasks && exec "$@"'
        command = ["sh", "-c", enter, "sh", *command]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


def share_right(city):
    """Return the percentage of answered reads that are right, and how many were answered."""
    opened = homeplate("open", city.unit / "state/spool", "--key", city.opening_key, "--json")
    items = [json.loads(line) for line in opened.stdout.splitlines()]
    answered = [item["text"] for item in items if item["kind"] == "read" and not item["abstained"]]
    known = {vehicle.text for vehicle in load_truth(TRUTH)}
    return 100 * sum(text in known for text in answered) / len(answered), len(answered)


def adds_up(counters):
    kinds = ("looked", "motionless", "passed", "shed")
    parts = (*(f"frames_{kind}" for kind in kinds), "failed_frames")
    return counters["frames"] == sum(counters[name] for name in parts)


def test_a_quarter_of_a_core_sheds_frames_and_says_so_and_reads_no_worse(tmp_path, quarter_core):
    city = settle(tmp_path / "city")
    counters, told = watch(city, group=quarter_core)
    frames = sum(1 for _ in iter_frames())
    assert counters["frames"] == frames  # the camera gave all it had: nobody held it up
    assert adds_up(counters)
    assert counters["frames_shed"] > 0
    assert "looking at fewer frames" in told
    right, answered = share_right(city)
    assert answered > 0
    assert right >= 100 - POINTS


def iter_frames():
    import av  # noqa: PLC0415  only here

    with av.open(str(CLIP)) as clip:
        yield from clip.decode(video=0)


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace not installed")
def test_on_a_disk_that_takes_half_a_second_for_a_sync_nothing_is_lost_in_silence(tmp_path):
    city = settle(tmp_path / "city")
    slow = ["strace", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]
    slow += ["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:delay_enter=500000"]
    counters, _ = watch(city, before=slow)
    assert counters["frames"] == sum(1 for _ in iter_frames())
    assert adds_up(counters)
    assert counters["passages"] == counters["reads"] == counters["sealed"] > 0
    assert counters["dropped"] == counters["failed_frames"] == 0
