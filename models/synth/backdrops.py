"""Pictures to stand plates before: real ones marked for training, or painted streets."""

import csv
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.roads import mottle
from models.synth.space import fill

Gray = NDArray[np.uint8]

Boxes = NDArray[np.float32]
"""(N, 4) x1, y1, x2, y2 in pixels."""

WIDTH_PX, HEIGHT_PX = 512, 384


@dataclass(frozen=True, slots=True, kw_only=True)
class Backdrop:
    """A picture to stand plates before."""

    gray: Gray
    plates: Boxes
    ignored: Boxes


def load_backdrops(folder: Path) -> tuple[Backdrop, ...]:
    """Return the training pictures of `folder`, at most 1280 pixels wide."""
    rows = defaultdict(list)
    with (folder / "index.csv").open() as lines:
        for row in csv.DictReader(lines):
            if row["use"].startswith("train"):
                rows[row["path"]].append(row)
    ignored = defaultdict(list)
    with (folder / "ignore.csv").open() as lines:
        for row in csv.DictReader(lines):
            ignored[row["path"]].append([float(row[key]) for key in ("x1", "y1", "x2", "y2")])
    return tuple(_load_backdrop(folder / path, rows[path], ignored[path]) for path in sorted(rows))


def _load_backdrop(path: Path, rows: list[dict[str, str]], ignored: list[list[float]]) -> Backdrop:
    """Return one picture with its boxes, shrunk when it is larger than a camera's."""
    gray = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    scale = min(1.0, 1280 / max(gray.shape))
    plates = [[float(row[key]) for key in ("x1", "y1", "x3", "y3")] for row in rows if row["x1"]]
    if scale < 1:
        gray = cv2.resize(gray, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return Backdrop(
        gray=np.asarray(gray, np.uint8),
        plates=np.array(plates, np.float32).reshape(-1, 4) * np.float32(scale),
        ignored=np.array(ignored, np.float32).reshape(-1, 4) * np.float32(scale),
    )


def choose_backdrop(rng: np.random.Generator, backdrops: tuple[Backdrop, ...]) -> Backdrop:
    """Return a crop of a picture, or a painted street, of the scene's size."""
    if not backdrops or rng.random() < 0.3:
        empty = np.empty((0, 4), np.float32)
        return Backdrop(gray=_paint_street(rng), plates=empty, ignored=empty)
    return _crop(backdrops[rng.integers(len(backdrops))], rng)


def _crop(backdrop: Backdrop, rng: np.random.Generator) -> Backdrop:
    """Return a random window of `backdrop`, resized to the scene."""
    height, width = backdrop.gray.shape
    largest = min(width / WIDTH_PX, height / HEIGHT_PX)
    share = largest * rng.uniform(0.45, 1.0)
    size = np.array([WIDTH_PX, HEIGHT_PX]) * share
    corner = rng.uniform(0, np.maximum(np.array([width, height]) - size, 1e-6))
    if len(backdrop.plates) and rng.random() < 0.7:
        middle = backdrop.plates[rng.integers(len(backdrop.plates))].reshape(2, 2).mean(axis=0)
        corner = np.clip(middle - size * rng.uniform(0.2, 0.8, 2), 0, [width, height] - size)
    x, y = np.floor(np.maximum(corner, 0)).astype(int)
    window = backdrop.gray[y : y + max(8, int(size[1])), x : x + max(8, int(size[0]))]
    way = cv2.INTER_AREA if share > 1 else cv2.INTER_LINEAR
    gray = np.asarray(cv2.resize(window, (WIDTH_PX, HEIGHT_PX), interpolation=way), np.uint8)
    scale = np.tile([WIDTH_PX / window.shape[1], HEIGHT_PX / window.shape[0]], 2)

    def moved(boxes: Boxes) -> Boxes:
        inside = ((boxes - [x, y, x, y]) * scale).astype(np.float32)
        overlap = (inside[:, 2:] > 0).all(axis=1) & (inside[:, :2] < gray.shape[::-1]).all(axis=1)
        return inside[overlap]

    return Backdrop(gray=gray, plates=moved(backdrop.plates), ignored=moved(backdrop.ignored))


def _paint_street(rng: np.random.Generator) -> Gray:
    """Return a made-up street: sky, blocks with windows, ground, posts."""
    shape = (HEIGHT_PX, WIDTH_PX)
    horizon = int(rng.uniform(-0.2, 0.6) * HEIGHT_PX)
    tones = rng.uniform(20, 235, 3)
    down = np.arange(HEIGHT_PX, dtype=np.float32)[:, None]
    picture = np.where(
        down < horizon, tones[0], tones[1] + (tones[2] - tones[1]) * down / HEIGHT_PX
    )
    for grain in (90, 20, 3):
        picture = picture + rng.uniform(1, 9) * mottle(rng, shape, grain)
    gray = np.clip(picture, 0, 255).astype(np.uint8)
    for _ in range(int(rng.integers(0, 7))):
        left, width = rng.uniform(-50, WIDTH_PX), rng.uniform(10, 200)
        top, bottom = horizon - rng.uniform(10, 200), horizon + rng.uniform(0, 60)
        tone = rng.uniform(15, 240)
        fill(
            gray,
            np.array([[left, top], [left + width, top], [left + width, bottom], [left, bottom]]),
            (tone,),
        )
        for x in np.arange(left + 5, left + width - 14, rng.uniform(16, 40)):
            for y in np.arange(top + 5, bottom - 14, rng.uniform(16, 40)):
                fill(
                    gray,
                    np.array([[x, y], [x + 9, y], [x + 9, y + 11], [x, y + 11]]),
                    (rng.uniform(15, 240),),
                )
    for _ in range(int(rng.integers(0, 5))):
        ends = rng.uniform(-0.2, 1.2, (2, 2)) * [WIDTH_PX, HEIGHT_PX]
        across = rng.uniform(1, 6, 2)
        fill(gray, np.vstack([ends, ends[::-1] + across]), (rng.uniform(20, 250),))
    return gray
