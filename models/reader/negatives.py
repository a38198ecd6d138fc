"""Crops that show no plate: what a detector takes for one, to be read as nothing.

Lettering that runs on beyond the crop, several lines of small print, grilles and plain panels.
"""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.decor import HERSHEY, draw_words, put_words
from models.synth.layouts import ALIKE_LETTERS, DIGITS, LETTERS
from models.synth.photo import degrade
from models.synth.plates import render_plate

Gray = NDArray[np.uint8]
SMALL_PRINT, CUT_WORD, ZOOMED, GRILLE = 0.35, 0.3, 0.15, 0.2
"""How often each kind is drawn."""
WIDTH_PX = (48.0, 300.0)
"""Of the whole canvas in the camera's picture, log-uniform."""
ZOOM = (1.9, 3.2)
"""So much too near that no plate could be read in it."""


def draw_nothing(rng: np.random.Generator, panel: Gray, *, size_px: tuple[int, int]) -> Gray:
    """Return a canvas of `size_px` (width, height) without a plate.

    Args:
        rng: Source of every choice.
        panel: Surroundings to draw on, in place.
        size_px: Of the canvas.
    """
    kinds = (_write_small, _write_cut, _zoom, _draw_grille)
    kind = kinds[int(rng.choice(len(kinds), p=(SMALL_PRINT, CUT_WORD, ZOOMED, GRILLE)))]
    drawn = kind(rng, panel)
    width = int(np.exp(rng.uniform(*np.log(WIDTH_PX))))
    near = (width, max(round(width * size_px[1] / size_px[0]), 8))
    taken = cv2.resize(drawn, near, interpolation=cv2.INTER_AREA)
    taken = degrade(taken, rng, plate_width_px=width * 0.66)
    return cv2.resize(taken, size_px, interpolation=cv2.INTER_LINEAR)


def _draw_ink(rng: np.random.Generator, panel: Gray) -> float:
    """Return a tone that stands out from the panel."""
    return float(
        rng.uniform(150, 255) if panel.mean() < rng.uniform(90, 160) else rng.uniform(0, 90)
    )


def _write_small(rng: np.random.Generator, panel: Gray) -> Gray:
    """Write two to five lines, as on a sticker or a van's door."""
    lines = int(rng.integers(2, 6))
    ink, pitch = _draw_ink(rng, panel), rng.uniform(0.1, 0.2)
    top = rng.uniform(0.0, max(1 - lines * pitch, 0.05))
    for line in range(lines):
        low = top + line * pitch
        draw_words(rng, panel, top=low, bottom=low + pitch * rng.uniform(0.5, 0.9), ink=ink,
                   script=0.15)  # fmt: skip
    return panel


def _write_cut(rng: np.random.Generator, panel: Gray) -> Gray:
    """Write one word that goes on beyond both ends of the canvas, or beyond one."""
    height, width = panel.shape
    source = (LETTERS, ALIKE_LETTERS, LETTERS + DIGITS)[int(rng.integers(3))]
    word = "".join(source[int(i)] for i in rng.integers(0, len(source), int(rng.integers(8, 15))))
    wide = width * rng.uniform(1.5, 2.6)
    left = rng.uniform(width - wide, 0.0)
    middle, half = rng.uniform(0.35, 0.65) * height, rng.uniform(0.12, 0.3) * height
    box = (left, middle - half, left + wide, middle + half)
    face = HERSHEY[int(rng.integers(4))]
    put_words(panel, word, box=box, ink=_draw_ink(rng, panel), face=face,
              thick=int(rng.integers(1, 6)))  # fmt: skip
    return panel


def _zoom(rng: np.random.Generator, panel: Gray) -> Gray:
    """Return the middle of a plate, so near that its first and last characters are out of view."""
    face = render_plate(rng).gray
    factor = rng.uniform(*ZOOM) * panel.shape[1] / face.shape[1] / 1.5
    grown = cv2.resize(face, None, fx=factor, fy=factor, interpolation=cv2.INTER_LINEAR)
    places = [
        rng.integers(0, max(g - p, 0) + 1) for g, p in zip(grown.shape, panel.shape, strict=True)
    ]
    part = grown[places[0] :, places[1] :][: panel.shape[0], : panel.shape[1]]
    panel[: part.shape[0], : part.shape[1]] = part
    return panel


def _draw_grille(rng: np.random.Generator, panel: Gray) -> Gray:
    """Draw level or upright bars at even distances."""
    height, width = panel.shape
    length = (width, height)[upright := int(rng.random() < 0.3)]
    pitch = rng.uniform(0.06, 0.25) * height
    thick, shade = max(int(pitch * rng.uniform(0.2, 0.7)), 1), _draw_ink(rng, panel)
    for at in np.arange(rng.uniform(0, pitch), (height, width)[upright], pitch):
        first = (0, int(at)) if not upright else (int(at), 0)
        last = (length, int(at)) if not upright else (int(at), length)
        cv2.line(panel, first, last, shade, thick, cv2.LINE_AA)
    return panel
