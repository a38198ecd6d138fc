"""The reader's training code; needs PyTorch, which the agent does not."""

import tomllib
from pathlib import Path

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs the extra `train`")

from models.reader import export, train  # noqa: E402
from models.reader.crops import PLATE_ON_CANVAS, write_part  # noqa: E402
from models.reader.evaluate import ALPHABET, BLANK  # noqa: E402
from models.reader.network import Reader  # noqa: E402


def test_columns_carry_the_character_at_its_centre() -> None:
    labels = train.column_labels("A1", np.array([26.0, 90.0]))
    assert labels[6] == ALPHABET.index("A")
    assert labels[22] == ALPHABET.index("1")
    assert (labels[[5, 7, 21, 23]] == train.IGNORED).all()
    assert (np.delete(labels, [5, 6, 7, 21, 22, 23]) == BLANK).all()


def test_jitter_without_errors_cuts_the_plate_with_its_margin() -> None:
    settings = train.Settings(
        minutes=1, threads=1, corner_sigma=0, scale=(0, 0), shift_sigma=0, rolled=0
    )
    matrix = train.jitter_matrix(np.random.default_rng(1), settings)
    x1, y1, x2, y2 = PLATE_ON_CANVAS
    corners = np.array([[[x1, y1], [x2, y2]]], np.float64)
    found = cv2.perspectiveTransform(corners, matrix)[0]
    assert found == pytest.approx(np.array([[5.8, 3.3], [122.2, 44.7]]), abs=3)


def test_two_steps_run_and_a_checkpoint_continues(tmp_path: Path) -> None:
    write_part(tmp_path / "data" / "part", count=8, seed=1, faces=())
    settings = train.Settings(minutes=1, threads=1, batch=4)
    run = train.start_run(settings)
    rng = np.random.default_rng(1)
    material = train.Material(tmp_path / "data")
    for _ in range(2):
        batch = train.make_batch(rng, material, rng.integers(0, 8, 4), settings)
        assert np.isfinite(train.train_step(run, batch, settings))
    run.save(tmp_path / "last.pt")
    again = train.start_run(settings)
    again.load(tmp_path / "last.pt")
    assert again.steps == 2
    crops = batch.crops
    with torch.no_grad():
        assert torch.equal(again.average(crops), run.average(crops))


def test_folding_does_not_change_what_is_read() -> None:
    network = Reader().eval()
    crops = torch.randint(0, 256, (2, 1, 48, 128), dtype=torch.uint8)
    with torch.no_grad():
        assert torch.allclose(network(crops), export.fold_normalisation(network)(crops), atol=1e-4)


def test_the_network_stays_within_its_budget() -> None:
    assert export.count_macs(Reader().eval()) <= 60e6


def test_only_the_readers_own_table_is_replaced(tmp_path: Path) -> None:
    manifest = tmp_path / "manifest.toml"
    manifest.write_text(
        '[reader]\nversion = "old"\n[reader.accuracy]\na = 1\n\n[detector]\nstride = 4\n'
    )
    export.replace_table(manifest, '[reader]\nversion = "new"\n')
    assert tomllib.loads(manifest.read_text()) == {
        "reader": {"version": "new"},
        "detector": {"stride": 4},
    }
