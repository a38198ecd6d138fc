"""The shipped detector keeps its contract, and its corner arithmetic is exact."""

import hashlib
import json
import tomllib
from pathlib import Path

import av
import numpy as np
import pytest

from models.detector.evaluate import find_plates, open_model

ROOT = Path(__file__).parents[2]
MANIFEST = tomllib.loads((ROOT / "models" / "manifest.toml").read_text())["detector"]


@pytest.fixture(scope="module")
def model():
    return open_model(ROOT / "models" / "detector.onnx")


def test_the_manifest_names_the_shipped_file() -> None:
    shipped = (ROOT / "models" / "detector.onnx").read_bytes()
    assert hashlib.sha256(shipped).hexdigest() == MANIFEST["sha256"]


@pytest.mark.parametrize("size", [(64, 64), (384, 640), (480, 640), (96, 320)], ids=str)
def test_any_multiple_of_the_stride_is_taken(model, size: tuple[int, int]) -> None:
    scores, corners = model.run(None, {"image": np.full((1, 1, *size), 90, np.uint8)})
    assert scores.shape == (MANIFEST["top_k"],)
    assert corners.shape == (MANIFEST["top_k"], 4, 2)
    assert scores.dtype == corners.dtype == np.float32
    assert (np.diff(scores) <= 0).all()


def test_an_empty_picture_has_no_plate(model) -> None:
    scores, _ = model.run(None, {"image": np.full((1, 1, 384, 640), 90, np.uint8)})
    assert scores[0] < MANIFEST["threshold"]


def test_the_plates_of_the_clip_are_found_with_their_corners(model) -> None:
    lines = (ROOT / "tests" / "data" / "demo.truth.jsonl").read_text().splitlines()
    wanted: dict[int, list[np.ndarray]] = {}
    for row in map(json.loads, lines):
        number = list(row["corners"])[len(row["corners"]) // 2]
        wanted.setdefault(int(number), []).append(np.array(row["corners"][number]))
    errors = []
    with av.open(str(ROOT / "tests" / "data" / "demo.mp4")) as container:
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                errors += _errors(model, frame.to_ndarray(format="gray"), wanted[number])
    assert len(errors) == len(lines)
    assert np.mean(np.array(errors) < 0.1) >= 0.9


def _errors(model, gray: np.ndarray, quads: list[np.ndarray]) -> list[float]:
    """Return the mean corner error of each plate in shares of its width; inf if not found."""
    scores, corners = find_plates(model, gray, MANIFEST["input_width_px"])
    found = corners[scores > MANIFEST["threshold"]]
    gaps = [np.linalg.norm(found - quad, axis=-1).mean(axis=-1) for quad in quads]
    widths = [np.linalg.norm(quad[1] - quad[0]) for quad in quads]
    return [float(gap.min(initial=np.inf)) / width for gap, width in zip(gaps, widths, strict=True)]


def test_both_corner_steps_recover_a_plate_written_into_the_maps() -> None:
    torch = pytest.importorskip("torch", reason="training code needs the extra `train`")
    from models.detector import network  # noqa: PLC0415  (imports torch)

    quad = torch.tensor([[100.0, 60.0], [180.0, 66.0], [178.0, 106.0], [98.0, 100.0]])
    row, column = 83 // 8, 139 // 8
    maps = torch.zeros(18, 24, 32)
    maps[network.WIDTH, row, column] = np.log(80 / network.BASE_WIDTH_PX)
    rough = quad + torch.tensor([[3.0, -2.0], [-4.0, 3.0], [2.0, 2.0], [-3.0, -3.0]])
    middle = (torch.tensor([column, row]) + 0.5) * 8
    maps[network.COARSE, row, column] = ((rough - middle) / 80).flatten()
    rows, columns = torch.meshgrid(torch.arange(24), torch.arange(32), indexing="ij")
    centres = (torch.stack([columns, rows]) + 0.5) * 8
    for corner, place in enumerate(quad):
        maps[10 + 2 * corner : 12 + 2 * corner] = (place[:, None, None] - centres) / 8
    coarse = network.coarse_corners(maps, torch.tensor([row * 32 + column]))
    torch.testing.assert_close(coarse[0], rough)
    torch.testing.assert_close(network.refine(maps, coarse)[0], quad)


def test_mirroring_a_window_keeps_the_corners_in_reading_order() -> None:
    pytest.importorskip("torch", reason="training code needs the extra `train`")
    from models.detector import samples  # noqa: PLC0415  (imports torch)

    quad = np.array([[200, 150], [300, 160], [298, 210], [198, 200]], np.float32)
    scenes = samples.Scenes(
        images=np.zeros((1, 384, 512), np.uint8),
        corners=quad[None, None],
        kinds=np.ones((1, 1), np.int8),
        ignored=np.zeros((1, 1, 4), np.float32),
    )
    for seed in range(20):
        _, _, _, quads, _ = samples._sample(np.random.default_rng(seed), scenes, 0)
        for x, y in quads.transpose(0, 2, 1):
            assert x[0] < x[1]
            assert x[3] < x[2]
            assert y[0] < y[3]
