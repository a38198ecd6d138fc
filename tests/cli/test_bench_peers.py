"""`deploy/bench-peers`: side by side with a peer that is there, and plain words where it is not."""

import json
import sys
from pathlib import Path

import pytest

from deploy.peers.__main__ import main

DATA = Path(__file__).parents[1] / "data"
CLIP = ["--clip", str(DATA / "demo.mp4"), "--truth", str(DATA / "demo.truth.jsonl")]
PACKAGE = '''
from types import SimpleNamespace
import time

class ALPR:
    """As fast-alpr's: the same arguments, the same answers."""

    def __init__(self, *, detector_model, detector_providers, detector_sess_options, ocr_model,
                 ocr_providers, ocr_sess_options):
        print("words that are no answer")
        assert detector_sess_options.intra_op_num_threads == 1
        assert ocr_sess_options.intra_op_num_threads == 1
        assert "license-plate" in detector_model and ocr_model
        assert detector_providers == ocr_providers == ["CPUExecutionProvider"]
        {start}

    def predict(self, frame):
        assert frame.shape == (720, 1280, 3) and frame.dtype == "uint8"
        until = time.process_time() + 0.05
        while time.process_time() < until:
            pass
        texts = TEXTS if frame.mean() > 10 else []
        return [SimpleNamespace(ocr=SimpleNamespace(text=text)) for text in texts] + [
            SimpleNamespace(ocr=None)
        ]
'''


@pytest.fixture
def install(tmp_path):
    """Return a function that gives a Python with a small package of fast-alpr's interface."""

    def run(texts=(), start="pass"):
        folder = tmp_path / "peer"
        (folder / "fast_alpr").mkdir(parents=True)
        body = PACKAGE.replace("{start}", start) + f"\nTEXTS = {list(texts)!r}\n"
        (folder / "fast_alpr/__init__.py").write_text(body)
        info = folder / "fast_alpr-0.4.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fast-alpr\nVersion: 0.4.0\n")
        python = tmp_path / "python"
        start_up = f"import runpy, sys; sys.path.insert(0, {str(folder)!r}); "
        start_up += "runpy.run_path(sys.argv[1], run_name='__main__')"
        python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{start_up}" "$2"\n')
        python.chmod(0o755)
        return str(python)

    return run


def test_both_look_at_the_same_frames_and_the_ratio_is_printed(install, capsys):
    first = json.loads((DATA / "demo.truth.jsonl").read_text().splitlines()[0])
    middle = (first["first_frame"] + first["last_frame"]) // 2
    given = [*CLIP, "--every", str(middle), "--limit", "2"]
    assert main([*given, "--peer-python", install([first["text"], "NOPLATE"])]) == 0
    ours, theirs, ratio = capsys.readouterr().out.splitlines()[1:]
    assert theirs.startswith("fast-alpr 0.4.0")
    peer_ms, right, wrong = theirs.split()[-3:]
    assert float(peer_ms) >= 50
    assert (int(right), int(wrong)) == (1, 1)
    assert int(ours.split()[-2]) >= 1
    share = float(ours.split()[-3]) / float(peer_ms)
    assert float(ratio.split()[2]) == pytest.approx(share, abs=2e-3)


def test_pictures_with_an_index_can_be_compared(install, capsys, tmp_path):
    import cv2  # noqa: PLC0415
    import numpy as np  # noqa: PLC0415

    cv2.imwrite(str(tmp_path / "a.png"), np.full((720, 1280), 90, np.uint8))
    (tmp_path / "index.csv").write_text("path\na.png\n")
    given = ["--pictures", str(tmp_path), "--index", str(tmp_path / "index.csv")]
    assert main([*given, "--peer-python", install()]) == 0
    assert "Homeplate takes 0." in capsys.readouterr().out
    (tmp_path / "a.png").unlink()
    assert main([*given, "--peer-python", str(tmp_path / "python")]) == 66
    assert "cannot be read" in capsys.readouterr().err


def test_an_absent_peer_is_named_with_the_way_to_it(capsys):
    assert main([*CLIP, "--limit", "1"]) == 78
    words = capsys.readouterr().err
    assert "fast-alpr is not installed" in words
    assert "--peer-python" in words


def test_missing_weights_are_not_fetched(install, capsys):
    fetch = "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9/weights')"
    assert main([*CLIP, "--limit", "1", "--peer-python", install(start=fetch)]) == 78
    words = capsys.readouterr().err
    assert "its weights are missing" in words
    assert "bench-peers downloads nothing" in words


@pytest.mark.parametrize(
    "given",
    [[], ["--pictures", "x"], [*CLIP, "--every", "0"], ["--clip", "a", "--pictures", "b"]],
    ids=["nothing", "no index", "no step", "both"],
)
def test_a_wrong_call_shows_how_to_call(given, capsys):
    with pytest.raises(SystemExit):
        main(given)
    assert "bench-peers" in capsys.readouterr().err


def test_a_python_that_is_none_is_refused(tmp_path, capsys):
    assert main([*CLIP, "--peer-python", str(tmp_path / "none")]) == 78
    assert "expected a Python" in capsys.readouterr().err
