"""Which of a detector's quads are plates: a few in plain numbers.

A frame has one to eight plates. After a network ran, NumPy's code is out of the processor's cache,
and its first dozen calls take ten times as long as this arithmetic (deploy/docs/performance.md).
"""

from collections.abc import Sequence
from math import inf

import numpy as np
from numpy.typing import NDArray

Quad = Sequence[Sequence[float]]
"""Four corners x, y in pixels: top left, top right, bottom right, bottom left."""
Box = tuple[float, float, float, float]
"""Upright: x1, y1, x2, y2."""

SMALLEST_PX2 = 1e-6
"""An area that is nothing, but may be divided by."""


def list_plates(
    quads: NDArray[np.float32], *, least_px2: float, limit: float, most: int
) -> list[int]:
    """Return which of `quads` (N, 4, 2) are plates, each shown once, at most `most`.

    Args:
        quads: Best first; any numbers, also not finite ones.
        least_px2: Area of each triangle of three corners, above 0.
        limit: Share of the smaller of two boxes that both cover, above which the worse of the two
            shows the same plate.
        most: How many.
    """
    rows: list[int] = []
    boxes: list[Box] = []
    for row, quad in enumerate(quads.tolist()):
        if not is_convex(quad, least_px2=least_px2):
            continue
        box = bound_quad(quad)
        if not is_covered(box, boxes, limit=limit):
            rows.append(row)
        boxes.append(box)
    return rows[:most]


def is_covered(box: Box, others: Sequence[Box], *, limit: float) -> bool:
    """Tell whether one of `others` shares more than `limit` of the smaller area with `box`."""
    x1, y1, x2, y2 = box
    for other in others:
        apart = other[0] >= x2 or other[2] <= x1 or other[1] >= y2 or other[3] <= y1
        if not apart and measure_overlap(box, other) > limit:
            return True
    return False


def is_convex(quad: Quad, *, least_px2: float) -> bool:
    """Tell whether all corners turn right and no triangle of three is below `least_px2`."""
    for corner in range(4):
        (x, y), (next_x, next_y), (far_x, far_y) = (quad[corner - back] for back in (2, 1, 0))
        turn = (next_x - x) * (far_y - next_y) - (next_y - y) * (far_x - next_x)
        if not 2 * least_px2 <= turn < inf:
            return False
    return True


def bound_quad(quad: Quad) -> Box:
    """Return the upright box around a quad."""
    x, y = zip(*quad, strict=True)
    return min(x), min(y), max(x), max(y)


def measure_overlap(box: Box, other: Box) -> float:
    """Return the area that two boxes share, as a share of the smaller one."""
    width = min(box[2], other[2]) - max(box[0], other[0])
    height = min(box[3], other[3]) - max(box[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / max(min(measure_box(box), measure_box(other)), SMALLEST_PX2)


def measure_box(box: Box) -> float:
    """Return the area of a box in square pixels."""
    return (box[2] - box[0]) * (box[3] - box[1])
