"""The whole road, once, with real parts: the demo under strace, and what it left behind."""

import base64
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from agent.cli.bench_truth import load_truth
from deploy.demo.__main__ import traced_calls

ROOT = Path(__file__).parent.parent
TRUTH = ROOT / "tests" / "data" / "demo.truth.jsonl"
needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace not installed")


def spellings(text: str) -> list[bytes]:
    """Return how a plate may stand in a file: bytes, UTF-16, and base64 at each alignment."""
    plain = text.encode()
    wide = [text.encode("utf-16-le"), text.encode("utf-16-be")]
    coded = []
    for content in (plain, *wide):
        for before in range(3):
            whole = base64.b64encode(bytes(before) + content)
            first = -(-before * 8 // 6)
            last = (before + len(content)) * 8 // 6
            coded.append(whole[first:last])
    return [plain, plain.lower(), *wide, *coded]


def find_plates(folder: Path, texts: list[str]) -> list[str]:
    """Return the files under `folder` in which a plate occurs in any spelling."""
    wanted = [spelling for text in texts for spelling in spellings(text)]
    files = (path for path in folder.rglob("*") if path.is_file())
    contents = ((path, path.read_bytes()) for path in files)
    return [str(path) for path, content in contents if any(one in content for one in wanted)]


@pytest.fixture(scope="module")
def texts():
    return [vehicle.text for vehicle in load_truth(TRUTH)]


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """Run the demo once; everything that it or its processes write lies under one folder."""
    root = tmp_path_factory.mktemp("road")
    (root / "tmp").mkdir()
    traced = ["--trace"] if shutil.which("strace") else []
    run = subprocess.run(
        [sys.executable, "-m", "deploy.demo", "--folder", root / "demo", "--json", *traced],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(root / "tmp"), "HOME": str(root / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.stdout, run.stderr
    return root, json.loads(run.stdout), run


@pytest.mark.slow
def test_every_promise_of_the_demo_holds(demo):
    _, outcome, run = demo
    assert outcome["holds"], run.stdout
    assert run.returncode == 0


@pytest.mark.slow
def test_the_clip_is_read_almost_without_fault(demo):
    score = demo[1]["score"]
    assert score["vehicles"] >= 20
    assert score["strict_percent"] >= 95


@pytest.mark.slow
def test_everything_is_accounted_for(demo):
    _, outcome, _ = demo
    watch, send = outcome["watch"], outcome["send"]
    assert watch["passages"] == watch["hits"] + watch["reads"] + watch["turned_away"]
    assert watch["hits"] + watch["reads"] == watch["sealed"] + watch["dropped"]
    assert watch["sealed"] == send["reads_uploaded"] == outcome["score"]["reads"]
    assert watch["frames_sealed"] == send["frames_uploaded"]
    assert outcome["audit"]["exit_code"] == 0


@pytest.mark.slow
def test_no_plate_is_found_in_any_file(demo, texts):
    root, _, run = demo
    assert find_plates(root, texts) == []
    assert not any(
        spelling in run.stderr.encode() for text in texts for spelling in spellings(text)
    )


@pytest.mark.parametrize("spelling", spellings("4XKQ193"), ids=repr)
def test_the_search_for_plates_finds_what_is_there(tmp_path, spelling):
    (tmp_path / "file").write_bytes(b"\x00before" + spelling + b"after\x00")
    assert find_plates(tmp_path, ["4XKQ193"]) == [str(tmp_path / "file")]


def test_the_search_for_plates_finds_a_plate_inside_longer_base64(tmp_path):
    for before in range(3):
        text = base64.b64encode(b"x" * before + b'{"text":"4XKQ193","n":1}')
        (tmp_path / "file").write_bytes(text)
        assert find_plates(tmp_path, ["4XKQ193"])


@pytest.mark.slow
def test_the_units_own_keys_open_nothing(demo):
    _, outcome, _ = demo
    assert outcome["frames_tried"] > 0
    assert outcome["opened_by_unit"] == 0


@pytest.mark.slow
def test_no_opening_key_is_on_the_unit_or_the_endpoint(demo):
    root, _, _ = demo
    key = (root / "demo/city/opening.key").read_bytes()
    body = b"".join(key.splitlines()[1:-1])
    for folder in ("unit", "endpoint", "logs"):
        for path in (root / "demo" / folder).rglob("*"):
            if path.is_file():
                content = path.read_bytes().replace(b"\n", b"")
                assert body not in content, path


def test_only_system_calls_count_as_network_calls(tmp_path):
    lines = [
        "21671 socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, IPPROTO_IP) = 4",
        "21671 connect(4, {sa_family=AF_INET}, 16 <unfinished ...>",
        "21671 <... connect resumed>) = 0",
        "30224 --- SIGSTOP {si_signo=SIGSTOP, si_code=SI_USER} ---",
        "30228 --- stopped by SIGSTOP ---",
        "30228 +++ exited with 0 +++",
    ]
    (tmp_path / "watch.strace").write_text("\n".join(lines))
    assert traced_calls(tmp_path, "watch") == 2


@needs_strace
@pytest.mark.slow
def test_the_sender_calls_one_address_and_the_watcher_none(demo):
    root, outcome, _ = demo
    assert outcome["addresses"] == ["127.0.0.1"]
    assert outcome["watcher_calls"] == 0, (root / "demo/logs/watch.strace").read_text()
