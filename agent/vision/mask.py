"""The privacy mask: what it hides of a picture, and which plates reach into it.

The full picture is a view into the camera's buffer and stays as it is. Of the low-resolution
picture a copy is blanked before plates are looked for; a plate whose crop, margins included, would
touch one hidden pixel is not handed on, so no crop ever holds one.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray

from agent.vision.geometry import SMALLEST_DEPTH, compute_homographies
from agent.vision.image import PAD_GRAY

Plane = NDArray[np.uint8]
"""(H, W) luminance."""
Quads = NDArray[np.float32]
"""(N, 4, 2) x, y in pixels; top left, top right, bottom right, bottom left."""
Hidden = NDArray[np.bool_]
"""(H, W) True for hidden pixels."""
Polygons = Sequence[Sequence[tuple[float, float]]]
"""x, y in shares of the picture."""

CROP_MARGIN = 0.25
"""Share of a plate's width and height around it that a crop may show at most: what the mask keeps
clear of. The reader's own margin is 0.17 at most; its turns and second looks add up to 0.06 and
0.075 to that."""
GUARD_PX = 2
"""A hidden area is larger by this on each side: sampling blends neighbours, also those of the
camera's own low-resolution picture."""
SHIFT_BITS, SHIFT = 4, 16
"""OpenCV draws corners in sixteenths of a pixel."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mask:
    """What is hidden of pictures of one size."""

    hidden: Hidden = field(repr=False)
    """Of the full picture."""
    keep: Plane = field(repr=False)
    """(h, w) of the low-resolution picture: 255 where it shows, 0 where it is hidden."""
    fill: Plane = field(repr=False)
    """(h, w) 0 where it shows, grey where it is hidden."""

    @property
    def share(self) -> float:
        """Of the picture that is hidden, 0 to 1."""
        return float(self.hidden.mean())


def draw_mask(polygons: Polygons, *, shape: tuple[int, int], lores_shape: tuple[int, int]) -> Mask:
    """Return the mask for pictures of a size.

    Args:
        polygons: None of them crosses or touches itself.
        shape: Rows and columns of the full picture.
        lores_shape: Rows and columns of the low-resolution picture.
    """
    lores = draw_hidden(polygons, shape=lores_shape)
    keep = np.where(lores, 0, 255).astype(np.uint8)
    fill = np.where(lores, PAD_GRAY, 0).astype(np.uint8)
    return Mask(hidden=draw_hidden(polygons, shape=shape), keep=keep, fill=fill)


def draw_hidden(polygons: Polygons, *, shape: tuple[int, int]) -> Hidden:
    """Return (H, W) True for every pixel that a polygon touches, and `GUARD_PX` around it.

    One polygon after the other: drawn in one call, where two overlap nothing would be hidden.
    """
    drawn = np.zeros(shape, np.uint8)
    size = np.array([shape[1], shape[0]])
    for polygon in polygons:
        corners = np.asarray(polygon) * size - 0.5  # OpenCV counts from the middle of a pixel
        points = np.round(corners * SHIFT).astype(np.int32)
        cv2.fillPoly(drawn, [points], 1, cv2.LINE_8, SHIFT_BITS)
    side = 2 * GUARD_PX + 1
    grown = cv2.dilate(drawn, np.ones((side, side), np.uint8))
    return grown.astype(np.bool_)


def blank_plane(plane: Plane, mask: Mask) -> Plane:
    """Return a copy of a low-resolution picture in which what is hidden is grey."""
    blanked: Plane = np.bitwise_and(plane, mask.keep)
    return np.bitwise_or(blanked, mask.fill, out=blanked)


def find_hidden(quads: Quads, hidden: Hidden) -> NDArray[np.bool_]:
    """Return (N,) True for the plates whose surroundings, `CROP_MARGIN` wide, touch what is hidden.

    Args:
        quads: Convex, in pixels of the full picture.
        hidden: Of the full picture.
    """
    return np.array([_touches(quad, hidden) for quad in grow_quads(quads)], np.bool_)


def grow_quads(quads: Quads) -> Quads:
    """Return the quads with `CROP_MARGIN` around them, as a crop shows it.

    The corners of a quad so oblique that its margin lies beyond the horizon are not finite.
    """
    low, high = -CROP_MARGIN, 1 + CROP_MARGIN
    square = np.array([[low, low, 1], [high, low, 1], [high, high, 1], [low, high, 1]], np.float32)
    corners = np.einsum("nij,kj->nki", compute_homographies(quads), square)
    depth = corners[..., 2:]
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = np.where(depth > SMALLEST_DEPTH, corners[..., :2] / depth, np.nan)
    return np.asarray(flat, np.float32)


def _touches(quad: NDArray[np.float32], hidden: Hidden) -> bool:
    """Tell whether a convex quad covers a hidden pixel; one without finite corners does.

    Beyond the edges a crop shows the pixels of the edge again, so there its whole box counts.
    """
    if not np.isfinite(quad).all():
        return True
    size = np.array([hidden.shape[1], hidden.shape[0]])
    low, high = quad.min(axis=0) - 1, quad.max(axis=0) + 2
    left, top = np.clip(np.floor(low), 0, size - 1).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 1, size).astype(int).tolist()
    part = hidden[top:bottom, left:right]
    if not part.any() or (low < 0).any() or (high > size).any():
        return bool(part.any())
    covered = np.zeros(part.shape, np.uint8)
    points = np.round((quad - (left, top) - 0.5) * SHIFT).astype(np.int32)
    cv2.fillConvexPoly(covered, points, 1, cv2.LINE_8, SHIFT_BITS)
    return bool((part & (covered > 0)).any())
