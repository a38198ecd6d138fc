"""Training the detector: the same seed gives the same weights, also across a stop."""

import json

import numpy as np
import onnxruntime
import pytest

torch = pytest.importorskip("torch", reason="training code needs the extra `train`")

from models.detector import samples, train  # noqa: E402  (they import torch)
from models.detector.evaluate import look_at, sum_up  # noqa: E402
from models.detector.export import publish, renew_table  # noqa: E402
from models.detector.network import Detector  # noqa: E402


@pytest.fixture(scope="module")
def scenes():
    rng = np.random.default_rng(1)
    quad = np.array([[200, 150], [300, 160], [298, 210], [198, 200]], np.float32)
    count = 2 * samples.BATCH
    return samples.Scenes(
        images=rng.integers(0, 255, (count, 384, 512), np.uint8),
        corners=np.repeat(quad[None, None], count, axis=0),
        kinds=np.ones((count, 1), np.int8),
        ignored=np.zeros((count, 1, 4), np.float32),
    )


def test_a_run_that_was_stopped_ends_with_the_weights_of_one_that_was_not(scenes, tmp_path):
    settings = train.Settings(steps=4)
    whole = train.train((scenes,), tmp_path / "whole", settings)
    stopped = train.begin(settings)
    batches = samples.make_batches((scenes,), seed=settings.seed)
    for _ in range(2):
        train.step_once(stopped, next(batches), settings)
    (tmp_path / "parts").mkdir()
    train.save(stopped, tmp_path / "parts" / "checkpoint.pt")
    parts = train.train((scenes,), tmp_path / "parts", settings)
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_batches_follow_from_the_seed_and_their_number(scenes):
    early = samples.make_batches((scenes,), seed=3)
    third = [next(early) for _ in range(4)][3]
    alone = next(samples.make_batches((scenes,), seed=3, first=3))
    other = next(samples.make_batches((scenes,), seed=4, first=3))
    assert torch.equal(third.images, alone.images)
    assert torch.equal(third.corner_places, alone.corner_places)
    assert not torch.equal(third.images, other.images)


def test_a_report_adds_a_line_and_draws_the_curves(scenes, tmp_path, capsys):
    settings = train.Settings(steps=200)
    run = train.begin(settings)
    for step in (100, 200):
        run.step, run.recent, run.spent_s = step, [2.0, 4.0], step / 2
        train.report(run, tmp_path, settings, None)
    rows = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [row["loss"] for row in rows] == [3.0, 3.0]
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")
    assert "step 100 of 200, 1 min left" in capsys.readouterr().err


def test_a_run_may_begin_with_the_averaged_weights_of_another(tmp_path):
    first = train.begin(train.Settings(steps=1, seed=1))
    train.save(first, tmp_path / "checkpoint.pt")
    second = train.begin(train.Settings(steps=1, seed=2, start=tmp_path / "checkpoint.pt"))
    for one, other in zip(
        first.average.module.parameters(), second.model.parameters(), strict=True
    ):
        assert torch.equal(one, other)


def test_publishing_writes_a_file_that_computes_the_same_and_its_facts(tmp_path):
    (tmp_path / "manifest.toml").write_text(
        '[reader]\nfile = "reader.onnx"\n\n[detector]\nfile = "detector.onnx"\nsha256 = "0"\n'
        "threshold = 0.4\n\n[detector.accuracy]\nold = 1\n"
    )
    publish(Detector(), tmp_path / "detector.onnx")
    manifest = (tmp_path / "manifest.toml").read_text()
    assert "threshold = 0.4" in manifest
    assert "[reader]" in manifest
    assert "old = 1" not in manifest
    again = renew_table(manifest, tmp_path / "detector.onnx", parameters=5)
    assert again.count("sha256") == 1
    assert "parameters = 5" in again


def test_the_command_goes_from_nothing_to_a_file(tmp_path, monkeypatch):
    (tmp_path / "manifest.toml").write_text('[detector]\nfile = "detector.onnx"\nsha256 = "0"\n')
    monkeypatch.setattr(train, "CHECK_SCENES", 2)
    few = ["--count", "16", "--steps", "2", "--device", "cpu"]
    out = ["--onnx", str(tmp_path / "detector.onnx")]
    monkeypatch.setattr("sys.argv", ["train", str(tmp_path / "run"), *few, *out])
    assert train.main() == 0
    session = onnxruntime.InferenceSession(tmp_path / "detector.onnx")
    scores, corners = session.run(None, {"image": np.zeros((1, 1, 96, 128), np.uint8)})
    assert scores.shape == (32,)
    assert corners.shape == (32, 4, 2)
    assert "parameters = 94168" in (tmp_path / "manifest.toml").read_text()


def test_a_missed_plate_counts_and_has_no_error():
    quad = np.array([[20, 20], [120, 20], [120, 70], [20, 70]], np.float32)
    image = np.zeros((100, 200), np.uint8)
    missed = look_at(image, quad, np.zeros((0, 4, 2), np.float32))
    found = look_at(image, quad, quad[None] + np.float32(3))
    table = sum_up([missed, found])
    assert table["missed_percent"] == 50
    assert table["corner_error_median"] == pytest.approx(100 * np.hypot(3, 3) / 100, abs=0.01)
