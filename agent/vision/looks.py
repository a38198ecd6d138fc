"""How a plate is looked at: margins in turn, again when in doubt, closer where corners are off."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.vision.decode import LogProbs, find_spans
from agent.vision.geometry import Plane, Quads, cut_crops

MARGIN_TURNS = ((0.0, 0.0), (0.02, 0.0), (-0.015, 0.0), (0.01, 0.025), (0.03, 0.0))
"""Shares of width and height added to the reader's margin in turn. Measured on vehicles that stand
still: 1 to 3 % more plates right, a quarter of the wrong ones less, with as many looks."""
SECOND_LOOKS = ((-0.03, -0.05), (0.03, 0.05))
"""Added to the margin for them. The corners of a plate in a frame, in the shade or seen from the
side are some pixels off; a tighter and a wider crop fail in other ways than the first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """Which looks get more crops of the same frame, and which."""

    least: float
    """Confidence from which on that helps."""
    below: float
    """Confidence from which on nobody needs it."""
    seconds: tuple[tuple[float, float], ...]
    """Of `SECOND_LOOKS`."""


ALONE = Doubt(least=0.0, below=0.9, seconds=SECOND_LOOKS)
"""At a single picture."""
PASSING = Doubt(least=0.05, below=0.8, seconds=SECOND_LOOKS[:1])
"""At a vehicle that is followed: the next frame shows it again, so a look that is nearly sure can
wait for that, and one that shows next to nothing (far away, covered) is not helped."""
CENTRED_LOOKS = ((0.0, 0.0), (0.03, 0.05))
"""Added to the reader's margin, for a look at corners that were drawn in."""
FEWEST_CHARACTERS = 3
ROOM_BESIDE = 0.05
"""A plate leaves that share of the number's width beside it."""
LEAST_MOVED, NARROWEST = 0.06, 0.4
"""Ends that move by a smaller share of the width are not worth a look, and a number that takes up
a smaller share is none."""


def cut_looks(
    plane: Plane,
    quads: Quads,
    *,
    size_px: tuple[int, int],
    margin: tuple[float, float],
    more: Sequence[tuple[float, float]],
) -> NDArray[np.uint8]:
    """Return the crops (L * N, 1, height, width) of N plates with each of `more` on the margin."""
    width, height = size_px
    crops = np.empty((len(more), len(quads), height, width), np.uint8)
    for part, (more_x, more_y) in zip(crops, more, strict=True):
        wider = (margin[0] + more_x, margin[1] + more_y)
        cut_crops(plane, quads, size_px=size_px, margin=wider, out=part)
    return crops.reshape(-1, 1, height, width)


def centre_corners(
    columns: LogProbs, corners: Quads, *, margin_x: float
) -> tuple[NDArray[np.int64], Quads]:
    """Return which plates end further in than their corners say, and their better corners.

    A lamp or the rim of a recess beside a plate is easily taken for its end. The characters show
    where it ends, as far as a plate leaves usual room beside them.

    Args:
        columns: (N, T, C) what the reader said of the plates at `corners`.
        corners: (N, 4, 2).
        margin_x: Share of the width that the crops showed beyond each end.

    Returns:
        (M,) rows, and (M, 4, 2) corners inside the given ones.
    """
    counts, spans = find_spans(columns)
    ends = spans * (1 + 2 * margin_x) - margin_x
    pitch = (ends[:, 1] - ends[:, 0]) / np.maximum(counts - 1, 1)
    room = pitch / 2 + ROOM_BESIDE * (ends[:, 1] - ends[:, 0] + pitch)
    ends = np.clip(ends + np.stack([-room, room], axis=1), 0.0, 1.0)
    wide = ends[:, 1] - ends[:, 0]
    moved = np.maximum(ends[:, 0], 1 - ends[:, 1]) > LEAST_MOVED
    off = np.flatnonzero(moved & (counts >= FEWEST_CHARACTERS) & (wide > NARROWEST))
    left, right = corners[off][:, (0, 3)], corners[off][:, (1, 2)]
    first, last = (ends[off, side, None, None] * (right - left) + left for side in (0, 1))
    quads = np.stack([first[:, 0], last[:, 0], last[:, 1], first[:, 1]], axis=1)
    return off, quads.astype(np.float32)
