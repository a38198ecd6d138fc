"""Make the reader's training material once: rendered plates as a camera sees them, on canvases.

`python -m models.reader.crops OUT_FOLDER --count 100000 --seed 1` writes one part: `canvas.npy`
(count, 64, 176) uint8, `texts.npy` and `centres.npy`. A canvas shows the plate in `PLATE_ON_CANVAS`
with wide surroundings; training cuts its jittered crops from there. Run one process per core, each
with its own folder and seed.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.fonts import installed_faces
from models.synth.photo import degrade
from models.synth.plates import RenderedPlate, render_plate

CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX = 64, 176
PLATE_ON_CANVAS = (30.0, 11.5, 146.0, 52.5)  # x1, y1, x2, y2
MAX_CHARACTERS = 10
SOURCE_WIDTH_PX = (32.0, 240.0)  # of the plate in the camera's picture, log-uniform
SMALLEST_PITCH_PX = 5.2  # width a character at least has in the picture, or it is unreadable
AROUND = (0.42, 0.5)  # surroundings, parts of the plate's width and height on each side

Gray = NDArray[np.uint8]
Points = NDArray[np.float32]


def draw_background(rng: np.random.Generator, height: int, width: int) -> Gray:
    """Return car-like surroundings: a shade, some edges, some texture."""
    shade = rng.uniform(5, 245)
    out = np.full((height, width), shade, np.float32)
    out += np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(rng.uniform(-60, 60))
    for _ in range(int(rng.integers(0, 5))):
        x, y = int(rng.uniform(-0.2, 1) * width), int(rng.uniform(-0.2, 1) * height)
        end = (x + int(rng.uniform(0.1, 1) * width), y + int(rng.uniform(0.03, 0.6) * height))
        cv2.rectangle(out, (x, y), end, float(rng.uniform(0, 255)), -1)
    out += rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(0, 8))
    return np.clip(out, 0, 255).astype(np.uint8)


def source_corners(rng: np.random.Generator, size: tuple[float, float]) -> Points:
    """Return the corners TL, TR, BR, BL of a plate seen from the side and rolled a little."""
    width, height = size
    left, top = width * AROUND[0], height * AROUND[1]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float64)
    corners[:, 0] *= rng.uniform(0.72, 1.0)
    slope = np.tan(rng.normal(0, 0.07))
    corners[:, 1] += (corners[:, 0] - width / 2) * slope
    corners[:, 0] += (corners[:, 1] - height / 2) * rng.normal(0, 0.06)
    corners += rng.normal(0, 0.012, (4, 2)) * (width, height)
    return (corners + np.array([left, top])).astype(np.float32)


def photograph(rng: np.random.Generator, plate: RenderedPlate) -> tuple[Gray, Points]:
    """Return a camera's picture of the plate and the plate's corners in it."""
    low = max(SOURCE_WIDTH_PX[0], SMALLEST_PITCH_PX * (len(plate.text) + 1))
    width = float(np.exp(rng.uniform(np.log(low), np.log(SOURCE_WIDTH_PX[1]))))
    face = plate.gray
    size = (width, width * face.shape[0] / face.shape[1])
    if width * 1.2 < face.shape[1]:
        near = (max(int(width * 1.2), 8), max(int(size[1] * 1.2), 4))
        face = cv2.resize(face, near, interpolation=cv2.INTER_AREA)
    corners = source_corners(rng, size)
    picture = draw_background(
        rng, int(size[1] * (1 + 2 * AROUND[1])), int(size[0] * (1 + 2 * AROUND[0]))
    )
    h, w = face.shape
    flat = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32) - 0.5
    matrix = cv2.getPerspectiveTransform(flat, corners)
    size_px = picture.shape[::-1]
    cover = cv2.warpPerspective(np.ones(face.shape, np.float32), matrix, size_px)
    laid = cv2.warpPerspective(face, matrix, size_px, borderMode=cv2.BORDER_REPLICATE)
    picture = np.rint(picture + cover * (laid.astype(np.float32) - picture)).astype(np.uint8)
    return degrade(picture, rng, plate_width_px=width), corners


def make_canvas(rng: np.random.Generator, plate: RenderedPlate) -> tuple[Gray, Points]:
    """Return the canvas and the character centres (n, 2) on it."""
    picture, corners = photograph(rng, plate)
    x1, y1, x2, y2 = PLATE_ON_CANVAS
    place = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, place)
    canvas = cv2.warpPerspective(
        picture, matrix, (CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX), flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )  # fmt: skip
    h, w = plate.gray.shape
    middle = (plate.boxes[:, :2] + plate.boxes[:, 2:]) / 2
    centres = middle / (w, h) * (x2 - x1, y2 - y1) + (x1, y1)
    return canvas, centres.astype(np.float32)


def write_part(folder: Path, *, count: int, seed: int, faces: tuple[Path, ...]) -> None:
    """Fill one folder; progress goes to standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shape = (count, CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
    canvases = np.lib.format.open_memmap(folder / "canvas.npy", "w+", np.uint8, shape)
    texts = np.zeros(count, f"S{MAX_CHARACTERS}")
    centres = np.zeros((count, MAX_CHARACTERS, 2), np.float32)
    began = time.monotonic()
    for i in range(count):
        plate = render_plate(rng, faces=faces)
        canvases[i], places = make_canvas(rng, plate)
        texts[i] = plate.text
        centres[i, : len(places)] = places
        if (i + 1) % 5000 == 0:
            rate = (i + 1) / (time.monotonic() - began)
            sys.stderr.write(f"{folder}: {i + 1} of {count}, {rate:.0f} a second\n")
    canvases.flush()
    np.save(folder / "texts.npy", texts)
    np.save(folder / "centres.npy", centres)


class Material:
    """Canvases, texts and character centres of all complete parts below a folder."""

    def __init__(self, root: Path) -> None:
        """Open the parts; canvases stay on disk.

        Raises:
            FileNotFoundError: No complete part.
        """
        parts = [file.parent for file in sorted(root.glob("*/centres.npy"))]
        if not parts:
            message = f"{root}: no complete part; make one with python -m models.reader.crops"
            raise FileNotFoundError(message)
        self.canvases = [np.load(part / "canvas.npy", mmap_mode="r") for part in parts]
        self.texts = np.concatenate([np.load(part / "texts.npy") for part in parts])
        self.centres = np.concatenate([np.load(part / "centres.npy") for part in parts])
        self.starts = np.cumsum([0] + [len(c) for c in self.canvases])

    def canvas(self, index: int) -> NDArray[np.uint8]:
        """Return one canvas."""
        part = int(np.searchsorted(self.starts, index, "right")) - 1
        return self.canvases[part][index - self.starts[part]]


def main() -> int:
    """Make one part from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--count", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--fonts", type=Path, default=Path("/usr/share/fonts"))
    args = parser.parse_args()
    cv2.setNumThreads(1)
    faces = installed_faces(args.fonts)
    sys.stderr.write(f"{len(faces)} fonts installed beside the own glyphs\n")
    write_part(args.out, count=args.count, seed=args.seed, faces=faces)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
