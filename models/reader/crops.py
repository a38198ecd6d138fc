"""Make the reader's training material once: rendered plates as a camera sees them, on canvases.

`python -m models.reader.crops OUT_FOLDER --count 100000 --seed 1` writes one part: `canvas.npy`
(count, 64, 176) uint8, `texts.npy`, `centres.npy` and `aspects.npy`. A canvas shows the plate in
`PLATE_ON_CANVAS` with wide surroundings; training cuts its jittered crops from there. Run one
process per core, each with its own folder and seed.
"""

import argparse
import sys
import time
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from models.reader.negatives import draw_nothing
from models.synth import weights
from models.synth.decor import draw_words
from models.synth.fonts import installed_faces
from models.synth.photo import degrade
from models.synth.plates import RenderedPlate, render_plate

CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX = 64, 176
PLATE_ON_CANVAS = (30.0, 11.5, 146.0, 52.5)  # x1, y1, x2, y2
MAX_CHARACTERS = 10
SOURCE_WIDTH_PX = (32.0, 240.0)  # of the plate in the camera's picture, log-uniform
SMALLEST_PITCH_PX = 5.2  # width a character at least has in the picture, or it is unreadable
USUAL_ASPECT = 2.0  # of what is no plate
AROUND = (0.42, 0.5)  # surroundings, parts of the plate's width and height on each side

Gray = NDArray[np.uint8]
Points = NDArray[np.float32]


def draw_background(rng: np.random.Generator, height: int, width: int) -> Gray:
    """Return car-like surroundings: a shade, some edges, some texture, sometimes letters."""
    shade = rng.uniform(5, 245)
    out = np.full((height, width), shade, np.float32)
    out += np.linspace(-1, 1, height, dtype=np.float32)[:, None] * np.float32(rng.uniform(-60, 60))
    for _ in range(int(rng.integers(0, 5))):
        x, y = int(rng.uniform(-0.2, 1) * width), int(rng.uniform(-0.2, 1) * height)
        end = (x + int(rng.uniform(0.1, 1) * width), y + int(rng.uniform(0.03, 0.6) * height))
        cv2.rectangle(out, (x, y), end, float(rng.uniform(0, 255)), -1)
    out += rng.standard_normal(out.shape, np.float32) * np.float32(rng.uniform(0, 8))
    picture = np.clip(out, 0, 255).astype(np.uint8)
    if rng.random() < weights.BARS_BESIDE:
        _draw_bars(rng, picture)
    if rng.random() < weights.LETTERED_SURROUNDINGS:
        low = float(rng.choice((0.0, 0.8)))
        ink = float(rng.uniform(0, 255))
        draw_words(rng, picture, top=low + 0.02, bottom=low + 0.19, ink=ink, script=0.1)
    return picture


def _draw_bars(rng: np.random.Generator, picture: Gray) -> None:
    """Draw upright edges where the plate will end: lamps and the rims of a recess."""
    height, width = picture.shape
    edge = AROUND[0] / (1 + 2 * AROUND[0])
    for _ in range(int(rng.integers(1, 5))):
        off, wide = rng.uniform(0.0, 0.14) * width, rng.uniform(0.006, 0.06) * width
        left = (edge * width - off - wide) if rng.random() < 0.5 else ((1 - edge) * width + off)
        top, bottom = np.sort(rng.uniform(0.0, 1.0, 2)) * height
        lean, taper = rng.normal(0, 0.025, 2) * width
        corners = [[left, top], [left + wide, top],
                   [left + wide + lean + taper, bottom], [left + lean, bottom]]  # fmt: skip
        shade = float(rng.uniform(0, 255))
        cv2.fillConvexPoly(picture, np.rint(corners).astype(np.int32), shade, cv2.LINE_AA)


def add_holder(rng: np.random.Generator, face: Gray) -> tuple[Gray, tuple[int, int]]:
    """Return the face in a holder that reaches beyond the plate, and where the plate begins."""
    height, width = face.shape
    top, bottom = (int(v * height) + 1 for v in rng.uniform(0.02, 0.28, 2) * rng.uniform(0.4, 1))
    side = int(rng.uniform(0.01, 0.07) * width) + 1
    tone = float(rng.uniform(5, 245))
    held = cv2.copyMakeBorder(face, top, bottom, side, side, cv2.BORDER_CONSTANT, value=tone)
    ink = tone + (120 if tone < 128 else -120)
    for low, high in ((0, top), (top + height, top + height + bottom)):
        if high - low > 0.12 * height and rng.random() < 0.75:
            share = held.shape[0]
            draw_words(
                rng, held, top=(low + 1) / share, bottom=(high - 1) / share, ink=ink, script=0.1
            )
    return held, (side, top)


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
    face, (left, top) = plate.gray, (0, 0)
    size = (width, width * face.shape[0] / face.shape[1])
    if width * 1.2 < face.shape[1]:
        near = (max(int(width * 1.2), 8), max(int(size[1] * 1.2), 4))
        face = cv2.resize(face, near, interpolation=cv2.INTER_AREA)
    h, w = face.shape
    if rng.random() < weights.HOLDER:
        face, (left, top) = add_holder(rng, face)
    corners = source_corners(rng, size)
    picture = draw_background(
        rng, int(size[1] * (1 + 2 * AROUND[1])), int(size[0] * (1 + 2 * AROUND[0]))
    )
    flat = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
    flat += np.float32((left - 0.5, top - 0.5))
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


def make_empty(rng: np.random.Generator) -> tuple[Gray, Points]:
    """Return a canvas without a plate, and no centres."""
    panel = draw_background(rng, 2 * CANVAS_HEIGHT_PX, 2 * CANVAS_WIDTH_PX)
    nothing = draw_nothing(rng, panel, size_px=(CANVAS_WIDTH_PX, CANVAS_HEIGHT_PX))
    return nothing, np.zeros((0, 2), np.float32)


def write_part(folder: Path, *, count: int, seed: int, faces: tuple[Path, ...]) -> None:
    """Fill one folder; progress goes to standard error."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    shape = (count, CANVAS_HEIGHT_PX, CANVAS_WIDTH_PX)
    canvases = np.lib.format.open_memmap(folder / "canvas.npy", "w+", np.uint8, shape)
    texts = np.zeros(count, f"S{MAX_CHARACTERS}")
    centres = np.zeros((count, MAX_CHARACTERS, 2), np.float32)
    aspects = np.zeros(count, np.float32)
    began = time.monotonic()
    for i in range(count):
        plate = None if rng.random() < weights.NO_PLATE else render_plate(rng, faces=faces)
        canvases[i], places = make_canvas(rng, plate) if plate else make_empty(rng)
        texts[i] = plate.text if plate else ""
        aspects[i] = plate.gray.shape[1] / plate.gray.shape[0] if plate else USUAL_ASPECT
        centres[i, : len(places)] = places
        if (i + 1) % 5000 == 0:
            rate = (i + 1) / (time.monotonic() - began)
            sys.stderr.write(f"{folder}: {i + 1} of {count}, {rate:.0f} a second\n")
    canvases.flush()
    np.save(folder / "texts.npy", texts)
    np.save(folder / "aspects.npy", aspects)
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
        self.aspects = np.concatenate([np.load(part / "aspects.npy") for part in parts])
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
