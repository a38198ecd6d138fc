"""Plates that a person can read from afar: what a clip's truth must be able to ask for."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.synth.plates import RenderedPlate, render_plate
from models.synth.vehicles import Vehicle, make_vehicle

LAYOUTS = {"ca": 0.7, "ca_truck": 0.06, "us": 0.16, "europe": 0.08}
"""Names in `layouts.LAYOUTS` with their shares on this road."""

UNUSED = frozenset("IOQG")
"""California leaves I, O and Q out of its serials, because nobody tells O from 0 on them. At 50
pixels a plate nobody tells a thin G from a 6 either."""

LONG_ASPECT = 3.0

SHORT_M, LONG_M = 0.305, 0.52
"""Widths of American and European plates."""

SMALLEST_CONTRAST = 150

SMALLEST_INK = 0.24
"""The thinner strokes are, the sooner they vanish at 80 pixels a plate."""

CROWDED = 90

MIDDLE = (0.35, 0.65)

SLASHED = 0.1
"""More ink than this in the middle of a nought makes it an eight from afar."""


def make_distinct(
    rng: np.random.Generator, texts: set[str], *, front: bool, true_size: bool = True
) -> Vehicle:
    """Return a vehicle whose plate text is not in `texts` yet, and note it there.

    Plates are as large as the law says, or larger for a road that is seen from far away.
    """
    plate = _render_clean(rng)
    while plate.text in texts or set(plate.text) & UNUSED or not is_clear(plate):
        plate = _render_clean(rng)
    texts.add(plate.text)
    height, width = plate.gray.shape
    long = width > LONG_ASPECT * height
    width_m = (LONG_M if long else SHORT_M) if true_size else (0.54 if long else 0.42)
    return make_vehicle(rng, plate, front=front, plate_width_m=width_m)


def _render_clean(rng: np.random.Generator) -> RenderedPlate:
    """Return a plate with the contrast of clean paint."""
    layout = str(rng.choice(list(LAYOUTS), p=list(LAYOUTS.values())))
    plate = render_plate(rng, layout=layout, clean=True)
    low, high = np.percentile(plate.gray, (3, 97))
    gray = np.clip((plate.gray - low) / (high - low), 0, 1) * 255
    return replace(plate, gray=np.round(gray).astype(np.uint8))


def is_clear(plate: RenderedPlate) -> bool:
    """Say whether a person can read the plate from afar: bold characters with nothing beside."""
    boxes = np.round(plate.boxes).astype(int)
    if _is_crowded(plate.gray, boxes):
        return False
    for letter, (left, top, right, bottom) in zip(plate.text, boxes, strict=True):
        part = plate.gray[top:bottom, left:right]
        low, high = np.percentile(part, (8, 92))
        ink = part > (low + high) / 2
        ink = ink if ink.mean() < 0.5 else ~ink
        if high - low < SMALLEST_CONTRAST or ink.mean() < SMALLEST_INK:
            return False
        rows, columns = (np.array(ink.shape)[:, None] * MIDDLE).astype(int)
        if letter == "0" and ink[slice(*rows), slice(*columns)].mean() > SLASHED:
            return False
    return True


def _is_crowded(gray: NDArray[np.uint8], boxes: NDArray[np.int_]) -> bool:
    """Say whether stickers or small letters touch the serial or stand within or beside it."""
    (left, top), (right, bottom) = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    parts = [gray[top:bottom, 8 : max(left - 2, 9)], gray[top:bottom, right + 2 : -8]]
    parts += [gray[max(top - 5, 0) : max(top - 1, 1), left:right]]
    parts += [gray[bottom + 1 : bottom + 5, left:right]]
    order = boxes[np.argsort(boxes[:, 0])]
    parts += [gray[top:bottom, one[2] + 2 : two[0] - 2] for one, two in pairwise(order)]
    spreads = [float(np.ptp(np.percentile(part, (3, 97)))) for part in parts if part.size]
    return max(spreads, default=0.0) > CROWDED
