"""Nothing readable in what an aborted run leaves.

Both processes are aborted in the midst of a run with core dumps forced, and every byte that is
left is searched for the clip's plates.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.bench_truth import load_truth
from deploy.demo.__main__ import find_free_port, serving
from deploy.demo.city import found_city, publish_policy, settle_endpoint, settle_unit
from tests.custody_net.counts import count
from tests.test_road import ROOT, TRUTH, find_plates

pytestmark = [pytest.mark.custody, pytest.mark.slow]
CLIP = ROOT / "tests" / "data" / "demo.mp4"
CANARY = "7CANARY4"
UNLIMITED = resource.RLIM_INFINITY


def force_cores():
    """Run in a child before it begins: as a careless administrator would set it."""
    hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
    resource.setrlimit(resource.RLIMIT_CORE, (UNLIMITED if os.geteuid() == 0 else hard, hard))


def start(arguments, folder, **options):
    """Start one of our programs with cores forced, in a folder where they would land."""
    paths = os.pathsep.join((str(ROOT), str(ROOT / "deploy/endpoint")))
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": paths, "TMPDIR": str(folder), "HOME": str(folder)},
        preexec_fn=force_cores,  # noqa: PLW1509 -- a limit, nothing that may hang
        **options,
    )


def bytes_in(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def aborted(tmp_path):
    """A city and a unit whose two processes were aborted after three reads were sealed."""
    (tmp_path / "logs").mkdir()
    (tmp_path / "work").mkdir()
    city, port = found_city(tmp_path / "city"), find_free_port()
    publish_policy(city, port=port)
    settle_endpoint(city, port=port)
    settle_unit(city, source=CLIP, realtime=True)
    with (
        serving(city, tmp_path / "logs"),
        (tmp_path / "logs/watch").open("wb") as watch_log,
        (tmp_path / "logs/send").open("wb") as send_log,
    ):
        config = ["--config", city.unit_settings]
        work = tmp_path / "work"
        watcher = start(
            ["-m", "agent", "watch", "--progress", *config],
            work,
            stdout=subprocess.PIPE,
            stderr=watch_log,
        )
        sender = start(
            ["-m", "agent", "send", *config], work, stdout=subprocess.DEVNULL, stderr=send_log
        )
        sealed = 0
        for line in watcher.stdout:
            sealed = json.loads(line)["sealed"]
            if sealed >= 3:
                break
        for process in (watcher, sender):
            process.send_signal(signal.SIGABRT)
            process.wait()
        watcher.stdout.close()
    return tmp_path, sealed, (watcher.returncode, sender.returncode)


def test_an_aborted_run_leaves_no_core_and_no_plate_in_any_byte(aborted):
    folder, sealed, codes = aborted
    assert sealed >= 3
    assert codes == (-signal.SIGABRT, -signal.SIGABRT)
    assert [path.name for path in folder.rglob("core*")] == []
    assert find_plates(folder, [vehicle.text for vehicle in load_truth(TRUTH)]) == []
    assert any((folder / "city/unit/state").rglob("*.open"))
    count("bytes searched for plates after an abort", bytes_in(folder))


HOLDER = f"""
import os, sys
plate = "".join(reversed({CANARY[::-1]!r}))
if sys.argv[1] == "guarded":
    from agent.base.memory import forbid_dumps
    forbid_dumps()
os.abort()
"""


def abort_with_a_plate_in_memory(folder, kind):
    assert start(["-c", HOLDER, kind], folder).wait() == -signal.SIGABRT
    return [path for path in folder.iterdir() if path.name.startswith("core")]


def test_without_the_guard_a_core_holds_the_plate_and_with_it_there_is_none(tmp_path):
    """The search would find a plate in a core; the guard is what prevents it."""
    pattern = Path("/proc/sys/kernel/core_pattern").read_text()
    cores = abort_with_a_plate_in_memory(tmp_path, "bare")
    if not cores:
        pytest.skip(f"this machine writes no cores into the working folder ({pattern.strip()})")
    assert find_plates(tmp_path, [CANARY]) == [str(cores[0])]
    cores[0].unlink()
    assert abort_with_a_plate_in_memory(tmp_path, "guarded") == []
