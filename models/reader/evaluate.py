"""Measure a reader on real crops: `python -m models.reader.evaluate reader.onnx DATA_FOLDER`.

DATA_FOLDER holds `index.csv` with one row a plate: dataset, path, corners x1,y1 ... x4,y4, text.
Prints one JSON object a dataset: strict accuracy, and accuracy with O counted as 0.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BLANK = len(ALPHABET)
CROP_HEIGHT_PX, CROP_WIDTH_PX = 48, 128
MARGIN_X, MARGIN_Y = 0.08, 0.13
DATASETS = ("ucsd_stills", "ucsd_extra", "openalpr_us_crops", "openalpr_br_crops")

Crops = NDArray[np.uint8]


def plate_in_crop() -> NDArray[np.float32]:
    """Return where the plate's corners TL, TR, BR, BL (4, 2) lie in the crop, margins around."""
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    margin = np.array([MARGIN_X, MARGIN_Y], np.float32)
    return (unit + margin) / (1 + 2 * margin) * np.float32([CROP_WIDTH_PX, CROP_HEIGHT_PX])


def rectify(gray: NDArray[np.uint8], corners: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the reader's crop (48, 128) of the plate with `corners` TL, TR, BR, BL (4, 2)."""
    shrink = max(float(np.ptp(corners[:, 0])) / (2 * CROP_WIDTH_PX), 1.0)
    if shrink > 1:  # against aliasing
        gray = cv2.resize(gray, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    matrix = cv2.getPerspectiveTransform(
        (corners / shrink).astype(np.float32) - 0.5, plate_in_crop() - 0.5
    )
    return cv2.warpPerspective(
        gray, matrix, (CROP_WIDTH_PX, CROP_HEIGHT_PX), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip


def load_dataset(root: Path, dataset: str) -> tuple[Crops, list[str]]:
    """Return the crops (n, 1, 48, 128) and texts of one dataset of `index.csv`."""
    crops, texts = [], []
    with (root / "index.csv").open(newline="") as lines:
        rows = [r for r in csv.DictReader(lines) if r["dataset"] == dataset and r["text"]]
    for row in rows:
        gray = cv2.imread(str(root / row["path"]), cv2.IMREAD_GRAYSCALE)
        corners = np.array([[row[f"x{i}"], row[f"y{i}"]] for i in (1, 2, 3, 4)], np.float32)
        crops.append(rectify(gray, corners))
        texts.append(row["text"])
    return np.stack(crops)[:, None], texts


def decode(log_probs: NDArray[np.float32]) -> list[str]:
    """Return the greedy CTC text of each crop; `log_probs` (n, columns, 37)."""
    best = log_probs.argmax(2)
    fresh = (best != BLANK) & (best != np.pad(best, ((0, 0), (1, 0)), constant_values=-1)[:, :-1])
    return ["".join(ALPHABET[i] for i in row[keep]) for row, keep in zip(best, fresh, strict=True)]


def score(read: list[str], texts: list[str]) -> dict[str, float]:
    """Return strict accuracy and accuracy with O folded into 0, in percent."""
    strict = np.mean([a == b for a, b in zip(read, texts, strict=True)])
    folded = np.mean(
        [a.replace("O", "0") == b.replace("O", "0") for a, b in zip(read, texts, strict=True)]
    )
    return {"strict": round(100 * float(strict), 1), "o_as_0": round(100 * float(folded), 1)}


def open_reader(path: Path) -> onnxruntime.InferenceSession:
    """Open the ONNX file with one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])


def read_onnx(session: onnxruntime.InferenceSession, crops: Crops) -> list[str]:
    """Return the text of each crop, in batches of 32."""
    parts = [session.run(None, {"crops": crops[i : i + 32]})[0] for i in range(0, len(crops), 32)]
    return decode(np.concatenate(parts))


def main() -> int:
    """Measure one ONNX file on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("data", type=Path)
    parser.add_argument("--errors", action="store_true", help="also list wrong reads")
    args = parser.parse_args()
    session = open_reader(args.model)
    for dataset in DATASETS:
        crops, texts = load_dataset(args.data, dataset)
        read = read_onnx(session, crops)
        line = {"dataset": dataset, "plates": len(texts), **score(read, texts)}
        sys.stdout.write(json.dumps(line) + "\n")
        if args.errors:
            wrong = [f"{t}->{r}" for r, t in zip(read, texts, strict=True) if r != t]
            sys.stdout.write("  " + " ".join(wrong) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
