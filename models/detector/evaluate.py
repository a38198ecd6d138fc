"""Measure an exported detector on composed scenes: what is found, how well placed, by kind.

    python -m models.synth.scenes FRESH --count 500 --seed 2 --pictures DATA
    python -m models.detector.evaluate models/detector.onnx FRESH

Real pictures and the whole road are measured by `python -m models.evaluate`.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

Gray = NDArray[np.uint8]
Corners = NDArray[np.float32]
"""(N, 4, 2) TL, TR, BR, BL in pixels."""

GREY = 114
WIDTHS_PX = ((20, 45), (45, 80), (80, 130), (130, 260))
LONG_ASPECT = 3.0
FAINT = 16.0
"""Deviation of the grey levels on a plate that is hardly visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plate:
    """A drawn plate of a scene, and how it was found."""

    width_px: float
    aspect: float
    contrast: float
    """Deviation of the grey levels within its upright box."""
    error: float
    """Mean distance of the corners in shares of the width; not a number where it was missed."""


def open_model(path: Path) -> onnxruntime.InferenceSession:
    """Return a session on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def find_plates(
    model: onnxruntime.InferenceSession, gray: Gray, width_px: int
) -> tuple[NDArray[np.float32], Corners]:
    """Return scores (K,) and corners of a picture shrunk to `width_px`, in its own pixels."""
    scale = width_px / gray.shape[1]
    size = (width_px, round(gray.shape[0] * scale))
    small = gray if scale == 1 else cv2.resize(gray, size, interpolation=cv2.INTER_AREA)
    rest = (0, -small.shape[0] % 32, 0, -small.shape[1] % 32)
    padded = cv2.copyMakeBorder(small, *rest, cv2.BORDER_CONSTANT, value=GREY)
    scores, corners = model.run(["scores", "corners"], {"image": padded[None, None]})
    return scores, corners / np.float32(scale)


def measure_scenes(
    model: onnxruntime.InferenceSession, folder: Path, threshold: float
) -> dict[str, object]:
    """Return recall, false finds and corner errors on composed scenes with true corners."""
    names = ("images", "corners", "kinds", "ignored")
    arrays = [np.load(folder / f"{name}.npy", "r") for name in names]
    plates: list[Plate] = []
    false = 0
    for image, quads, kinds, ignored in zip(*arrays, strict=True):
        scores, found = find_plates(model, image, image.shape[1])
        found = found[scores > threshold]
        middles = found.mean(axis=1)
        known = [*quads[kinds > 0], *ignored.reshape(-1, 2, 2)]
        near = [_close(middles, quad) for quad in known]
        false += len(found) - int(np.any([*near, np.zeros(len(found), bool)], axis=0).sum())
        plates += [look_at(image, quad, found) for quad in quads[kinds == 1]]
    groups = {"all": plates} | {
        f"width {low}-{high}": [one for one in plates if low <= one.width_px < high]
        for low, high in WIDTHS_PX
    }
    groups["long"] = [one for one in plates if one.aspect > LONG_ASPECT]
    groups["faint"] = [one for one in plates if one.contrast < FAINT]
    table: dict[str, object] = {"false_per_picture": round(false / len(arrays[0]), 3)}
    return table | {name: sum_up(group) for name, group in groups.items()}


def look_at(image: Gray, quad: NDArray[np.float32], found: Corners) -> Plate:
    """Return how one drawn plate was found; of several finds the best counts."""
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    width, height = (sides[0] + sides[2]) / 2, (sides[1] + sides[3]) / 2
    hits = np.flatnonzero(_close(found.mean(axis=1), quad))
    gaps = np.linalg.norm(found[hits[:1]] - quad, axis=-1).mean(axis=-1)
    low, high = np.maximum(quad.min(axis=0), 0).astype(int), quad.max(axis=0).astype(int)
    return Plate(
        width_px=float(width),
        aspect=float(width / height),
        contrast=float(image[low[1] : high[1], low[0] : high[0]].std()),
        error=float(gaps[0] / width) if len(gaps) else float("nan"),
    )


def sum_up(plates: list[Plate]) -> dict[str, float]:
    """Return how many, how many missed, and the corner errors of the others, in percent."""
    errors = 100 * np.array([one.error for one in plates])
    kept = errors[~np.isnan(errors)]
    middle, worst = np.percentile(kept, (50, 90)) if len(kept) else (np.nan, np.nan)
    return {
        "plates": len(plates),
        "missed_percent": round(100 * (1 - len(kept) / max(len(plates), 1)), 1),
        "corner_error_median": round(float(middle), 2),
        "corner_error_p90": round(float(worst), 2),
    }


def _close(middles: NDArray[np.float32], quad: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which points (N, 2) lie within the upright box around `quad`."""
    low, high = quad.min(axis=0), quad.max(axis=0)
    return np.asarray(((middles >= low) & (middles <= high)).all(axis=-1), np.bool_)


def main() -> int:
    """Print the measures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("scenes", type=Path, help="scenes of a seed not trained on")
    parser.add_argument("--threshold", type=float, default=0.4)
    args = parser.parse_args()
    table = measure_scenes(open_model(args.model), args.scenes, args.threshold)
    print(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
