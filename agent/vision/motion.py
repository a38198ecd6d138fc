"""Whether a picture shows the same as one before: asked of every frame, so it must cost little."""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
"""(H, W) luminance."""

HALVINGS = 2
"""Of the low-resolution picture along each axis, to blocks of 4 by 4 pixels: sensor noise falls to
a quarter, and the smallest plate that can be read still covers three blocks."""
LEAST_BLOCKS = 3
"""So many blocks must differ; one or two are noise that the limit below let through."""
NOISE_FACTOR = 5.0
"""The limit lies that many standard deviations of the noise above 0."""
MEAN_TO_DEVIATION = 1.2533
"""Of normally distributed noise: its standard deviation by the mean of its amounts."""
MOST_LEVELS = 16
"""Grey levels that are always a change, however noisy: a plate's letters differ from its ground by
30 and more, or nobody could read them."""


def average_blocks(plane: Plane) -> Plane:
    """Return `plane` averaged over blocks; halving twice takes a sixth of the time of one step."""
    blocks = plane
    for _ in range(HALVINGS):
        size = (max(blocks.shape[1] // 2, 1), max(blocks.shape[0] // 2, 1))
        blocks = np.asarray(cv2.resize(blocks, size, interpolation=cv2.INTER_AREA), np.uint8)
    return blocks


def has_changed(blocks: Plane, before: Plane, *, least_levels: float) -> bool:
    """Tell whether something in the picture moved or changed.

    The limit rises with the noise, which is told from the mean change over all blocks: a vehicle
    covers a part of the picture, noise all of it. It rises to `MOST_LEVELS` only: where the whole
    picture moves, that is no noise.

    Args:
        blocks: Of a picture, `average_blocks`.
        before: Of another one.
        least_levels: A change of fewer grey levels never counts.
    """
    if blocks.shape != before.shape:
        return True
    change = cv2.absdiff(blocks, before)
    noise = MEAN_TO_DEVIATION * cv2.mean(np.minimum(change, MOST_LEVELS))[0]
    limit = min(max(least_levels, NOISE_FACTOR * noise), max(MOST_LEVELS, least_levels))
    _, above = cv2.threshold(change, limit, 1, cv2.THRESH_BINARY)
    return cv2.countNonZero(above) >= LEAST_BLOCKS
