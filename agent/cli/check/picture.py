"""How good a picture is for reading plates: light, contrast, sharpness. Arithmetic only."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import pi, sqrt
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.base.records import Plane

DARK, BRIGHT = 12, 250
"""Levels beyond which a pixel tells nothing."""
TILE_PX, INSET_PX = 32, 8
STRONG_EDGES: Final = 99.0
"""Percentile of the gradient that stands for the sharpest edges; the very sharpest may be noise."""
PLAIN: Final = 24
"""A tile with less contrast has no edge to measure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Light:
    """Of one part of a picture."""

    middle: float
    """Median level, 0 to 255."""
    contrast: float
    """Levels between the darkest and the brightest twentieth."""
    dark_share: float
    """Of the pixels, at or below `DARK`."""
    bright_share: float
    """At or above `BRIGHT`."""


def measure_light(plane: Plane) -> Light:
    """Return how a part of a picture is lit."""
    low, middle, high = np.percentile(plane, (5, 50, 95)).tolist()
    return Light(
        middle=middle,
        contrast=high - low,
        dark_share=float((plane <= DARK).mean()),
        bright_share=float((plane >= BRIGHT).mean()),
    )


def combine_light(parts: Sequence[Light]) -> Light:
    """Return the median of several measurements; at least one."""
    table = np.array([[p.middle, p.contrast, p.dark_share, p.bright_share] for p in parts])
    middle, contrast, dark, bright = np.median(table, axis=0).tolist()
    return Light(middle=middle, contrast=contrast, dark_share=dark, bright_share=bright)


def measure_blur_px(plane: Plane, *, inset_px: int = 1) -> float | None:
    """Return how wide the sharpest edges are, as the deviation of a Gaussian; None without edges.

    A step of height A that was blurred by a Gaussian of deviation s rises by A / (s √2π) a pixel at
    its steepest. The gradient is taken over three pixels, so a lens in focus gives 0.8 to 1.1.

    Args:
        plane: (H, W).
        inset_px: The steepest place is looked for that far from the border: an edge that the
            border cuts shows a part of its height, and would seem sharper than it is.
    """
    low, high = np.percentile(plane, (2, 98)).tolist()
    if high - low < PLAIN:
        return None
    level = plane.astype(np.float32)
    across, down = (
        cv2.Scharr(level, cv2.CV_32F, dx, dy, scale=1 / 32) for dx, dy in ((1, 0), (0, 1))
    )
    inner = np.s_[inset_px:-inset_px, inset_px:-inset_px]
    steepest = float(np.percentile(np.hypot(across, down)[inner], STRONG_EDGES))
    return float((high - low) / (max(steepest, 1e-3) * sqrt(2 * pi)))


def measure_scene_blur_px(plane: Plane, shown: NDArray[np.bool_] | None = None) -> float | None:
    """Return the blur of the sharpest tenth of the tiles of a scene; None where all is plain.

    Args:
        plane: (H, W).
        shown: (H, W) True where the picture may be used; None = everywhere.
    """
    rows, columns = plane.shape
    found: list[float] = []
    for top in range(0, rows - TILE_PX + 1, TILE_PX):
        for left in range(0, columns - TILE_PX + 1, TILE_PX):
            part = np.s_[top : top + TILE_PX, left : left + TILE_PX]
            if shown is None or shown[part].all():
                blur = measure_blur_px(plane[part], inset_px=INSET_PX)
                found += [blur] if blur is not None else []
    return float(np.percentile(found, 10)) if found else None
