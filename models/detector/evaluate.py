r"""Measure an exported detector: on fresh scenes, on indexed pictures, and with the reader.

python -m models.detector.evaluate models/detector.onnx --scenes FRESH --pictures DATA \\
        --datasets ucsd_stills ucsd_extra [--reader models/reader.onnx --margins 0.04 0.08]
"""

import argparse
import csv
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
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CROP = (128, 48)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A plate of an indexed picture."""

    path: str
    box: tuple[float, ...]
    text: str


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
    images, corners, kinds, ignored = (np.load(folder / f"{name}.npy", "r") for name in names)
    errors, widths, false, missed = [], [], 0, 0
    for image, quads, kind, dark in zip(images, corners, kinds, ignored, strict=True):
        scores, found = find_plates(model, image, image.shape[1])
        found = found[scores > threshold]
        middles = found.mean(axis=1)
        known = [*quads[kind > 0], *dark.reshape(-1, 2, 2)]
        near = [_close(middles, quad) for quad in known]
        false += len(found) - int(np.any([*near, np.zeros(len(found), bool)], axis=0).sum())
        for quad in quads[kind == 1]:
            hits = np.flatnonzero(_close(middles, quad))
            width = float(np.linalg.norm(quad[1] - quad[0]) + np.linalg.norm(quad[2] - quad[3])) / 2
            widths.append(width)
            missed += not len(hits)
            gaps = np.linalg.norm(found[hits[:1]] - quad, axis=-1).mean(axis=-1)
            errors.append(float(gaps[0]) / width * 100 if len(gaps) else np.nan)
    table = {"plates": len(errors), "missed": missed, "false_per_picture": false / len(images)}
    widths, errors = np.array(widths), np.array(errors)
    for low, high in ((0, 999), (20, 45), (45, 80), (80, 130), (130, 260)):
        part = errors[(widths >= low) & (widths < high)]
        part, lost = part[~np.isnan(part)], float(np.isnan(part).mean() * 100)
        middle, worst = np.percentile(part, (50, 90))
        table[f"width {low}-{high}"] = (
            f"median {middle:.2f} %, p90 {worst:.2f} % of width, {lost:.1f} % missed of {len(part)}"
        )
    return table


def _close(middles: NDArray[np.float32], quad: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which points (N, 2) lie within the upright box around `quad`."""
    low, high = quad.min(axis=0), quad.max(axis=0)
    return np.asarray(((middles >= low) & (middles <= high)).all(axis=-1), np.bool_)


def load_rows(folder: Path, dataset: str) -> list[Row]:
    """Return the index rows of a dataset."""
    with (folder / "index.csv").open() as lines:
        return [
            Row(
                path=row["path"],
                text=row["text"],
                box=tuple(float(row[key]) for key in ("x1", "y1", "x3", "y3")),
            )
            for row in csv.DictReader(lines)
            if row["dataset"] == dataset
        ]


def measure_pictures(
    model: onnxruntime.InferenceSession, folder: Path, rows: list[Row], threshold: float
) -> dict[str, object]:
    """Return how often the labelled plate is among the first finds, and the false finds."""
    first = third = above = false = 0
    for row in rows:
        gray = cv2.imread(str(folder / row.path), cv2.IMREAD_GRAYSCALE)
        scores, corners = find_plates(model, gray, 640)
        hits = _close(corners.mean(axis=1), np.reshape(row.box, (2, 2)))
        first += bool(hits[0])
        third += bool(hits[:3].any())
        above += bool((hits & (scores > threshold)).any())
        false += int((~hits & (scores > threshold)).sum())
    share = {"top1": first, "top3": third, "above_threshold": above}
    table: dict[str, object] = {k: round(100 * v / len(rows), 1) for k, v in share.items()}
    return {"pictures": len(rows), **table, "false_per_picture": round(false / len(rows), 3)}


def measure_reads(
    model: onnxruntime.InferenceSession,
    reader: onnxruntime.InferenceSession,
    folder: Path,
    rows: list[Row],
    margins: tuple[float, float],
) -> float:
    """Return the percentage of rows whose text is read exactly from the best find."""
    right = 0
    for row in rows:
        gray = cv2.imread(str(folder / row.path), cv2.IMREAD_GRAYSCALE)
        crop = rectify(gray, find_plates(model, gray, 640)[1][0], margins)
        right += read(reader, crop) == row.text
    return 100 * right / len(rows)


def rectify(gray: Gray, quad: NDArray[np.float32], margins: tuple[float, float]) -> Gray:
    """Return the upright crop of a plate with margins in shares of its width and height."""
    across, down = margins
    x0, y0 = CROP[0] * across / (1 + 2 * across), CROP[1] * down / (1 + 2 * down)
    x1, y1 = CROP[0] - x0, CROP[1] - y0
    flat = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]], np.float32)
    warp = cv2.getPerspectiveTransform(quad - np.float32(0.5), flat - np.float32(0.5))
    return np.asarray(cv2.warpPerspective(gray, warp, CROP, borderMode=cv2.BORDER_REPLICATE))


def read(reader: onnxruntime.InferenceSession, crop: Gray) -> str:
    """Return the most likely characters of a crop."""
    best = reader.run(["log_probs"], {reader.get_inputs()[0].name: crop[None, None]})[0][0].argmax(
        -1
    )
    kept = [b for a, b in zip([-1, *best[:-1]], best, strict=True) if a != b and b < len(ALPHABET)]
    return "".join(ALPHABET[index] for index in kept)


def main() -> None:
    """Print the measures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--scenes", type=Path, help="scenes of a seed not trained on")
    parser.add_argument("--pictures", type=Path, help="folder with index.csv")
    parser.add_argument("--datasets", nargs="*", default=[])
    parser.add_argument("--threshold", type=float, default=0.3)
    parser.add_argument("--reader", type=Path)
    parser.add_argument("--margins", type=float, nargs=2, default=(0.04, 0.08))
    args = parser.parse_args()
    model = open_model(args.model)
    if args.scenes:
        print(json.dumps({"scenes": measure_scenes(model, args.scenes, args.threshold)}, indent=1))
    for dataset in args.datasets:
        rows = load_rows(args.pictures, dataset)
        table = measure_pictures(model, args.pictures, rows, args.threshold)
        if args.reader:
            reader = open_model(args.reader)
            table["read_exactly"] = round(
                measure_reads(model, reader, args.pictures, rows, tuple(args.margins)), 1
            )
        print(json.dumps({dataset: table}))


if __name__ == "__main__":
    main()
