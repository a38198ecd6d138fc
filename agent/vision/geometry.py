"""Quadrilaterals: homographies and crops. Many at once, never one by one.

Coordinates count from the outer edge of the first pixel: its centre is at (0.5, 0.5).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
"""(H, W) luminance."""
Quads = NDArray[np.float32]
"""(N, 4, 2) x, y in pixels; top left, top right, bottom right, bottom left."""
FINEST = 2.0
"""Source pixels per crop pixel up to which bilinear sampling still touches every one of them."""
NEXT = np.array([1, 2, 3, 0])
"""The corner after each corner."""
HALF_PX = np.float32(0.5)
WARP, EDGE = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
SMALLEST_CUT_PX = 8
SMALLEST_DEPTH = np.float32(0.05)
"""Keeps a point beyond the horizon of a very oblique plate finite."""


def compute_homographies(quads: Quads) -> NDArray[np.float32]:
    """Return (N, 3, 3) maps from the unit square onto each of `quads`, which must be convex.

    Closed form of Heckbert, "Fundamentals of Texture Mapping and Image Warping", 1989, 2.2.3.
    """
    corner = np.asarray(quads, np.float64)
    top_left, top_right, bottom_right, bottom_left = np.moveaxis(corner, 1, 0)
    right, below = top_right - bottom_right, bottom_left - bottom_right
    rest = top_left - top_right + bottom_right - bottom_left
    area = cross(right, below)
    bend_u, bend_v = cross(rest, below) / area, cross(right, rest) / area
    maps = np.ones((len(corner), 3, 3))
    maps[:, :2, 0] = top_right - top_left + bend_u[:, None] * top_right
    maps[:, :2, 1] = bottom_left - top_left + bend_v[:, None] * bottom_left
    maps[:, :2, 2] = top_left
    maps[:, 2, 0], maps[:, 2, 1] = bend_u, bend_v
    return maps.astype(np.float32)


def map_crop(
    quad: NDArray[np.float32], *, size_px: tuple[int, int], margin: tuple[float, float]
) -> NDArray[np.float64]:
    """Return (3, 3) where each pixel of a crop lies in the plane the convex `quad` belongs to.

    From and to pixel centres at whole numbers, as `cv2.warpPerspective` wants it.

    Args:
        quad: (4, 2).
        size_px: Width and height of the crop.
        margin: Share of the plate's width and of its height shown beyond each edge.
    """
    (left, right), (top, bottom) = (
        ((edge / (1 + 2 * edge)) * size - 0.5, ((1 + edge) / (1 + 2 * edge)) * size - 0.5)
        for size, edge in zip(size_px, margin, strict=True)
    )
    inner = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    return np.asarray(cv2.getPerspectiveTransform(inner, quad - HALF_PX), np.float64)


def cut_crops(
    plane: Plane,
    quads: Quads,
    *,
    size_px: tuple[int, int],
    margin: tuple[float, float],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return the plates of one plane, straightened, (N, height, width); in `out` if it is given.

    One call of OpenCV a plate: that takes half the time of a sampling grid for all in NumPy. A
    plate much larger than the crop is sampled finer and averaged, so that no stroke falls between
    samples.
    """
    width, height = size_px
    crops = np.empty((len(quads), height, width), np.uint8) if out is None else out
    if not len(quads):
        return crops
    fineness = choose_fineness(quads, size_px=size_px).tolist()
    for quad, crop, factor in zip(quads, crops, fineness, strict=True):
        fine = (width * factor, height * factor)
        onto = map_crop(quad, size_px=fine, margin=margin)
        if factor == 1:
            cv2.warpPerspective(plane, onto, fine, dst=crop, flags=WARP, borderMode=EDGE)
            continue
        sheet = cv2.warpPerspective(plane, onto, fine, flags=WARP, borderMode=EDGE)
        cv2.resize(sheet, size_px, dst=crop, interpolation=cv2.INTER_AREA)
    return crops


def cut_upright(
    plane: Plane, quad: NDArray[np.float32], *, width_px: int, margin: tuple[float, float]
) -> Plane:
    """Return one plate, straightened, in its own proportions, as it is or `width_px` wide."""
    width, height = measure_sides(quad[None])[0].tolist()
    columns = int(np.clip(round(width), SMALLEST_CUT_PX, width_px))
    rows = int(np.clip(round(columns * height / max(width, 1.0)), SMALLEST_CUT_PX, width_px))
    crop: Plane = cut_crops(plane, quad[None], size_px=(columns, rows), margin=margin)[0]
    return crop


def choose_fineness(quads: Quads, *, size_px: tuple[int, int]) -> NDArray[np.int64]:
    """Return (N,) samples per crop pixel along each axis: 1, 2 or 4."""
    sides = measure_sides(quads)
    ratio = (sides / np.array(size_px, np.float32)).max(axis=1)
    return np.where(ratio > 2 * FINEST, 4, np.where(ratio > FINEST, 2, 1))


def measure_sides(quads: Quads) -> NDArray[np.float32]:
    """Return (N, 2): the mean length of the two long sides and of the two short sides."""
    edges = quads[:, NEXT] - quads
    lengths = np.hypot(edges[..., 0], edges[..., 1])
    return np.asarray((lengths[:, :2] + lengths[:, 2:]) / 2, np.float32)


def measure_quality(
    plane: Plane, quads: Quads, widths_px: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (N,) how much a crop of each quad would show: its width times its sharpness.

    Sharpness is the mean step in grey levels from pixel to pixel along the rows of the bounding
    box: blur by motion or focus lowers it. To compare looks at one plate, not two plates.
    """
    low = np.maximum(quads.min(axis=1), 0).astype(np.int64).tolist()
    high = np.ceil(quads.max(axis=1)).astype(np.int64).tolist()
    steps = [
        measure_steps(plane[top:bottom, left:right])
        for (left, top), (right, bottom) in zip(low, high, strict=True)
    ]
    return np.asarray(widths_px * np.array(steps, np.float32), np.float32)


def measure_steps(patch: Plane) -> float:
    """Return the mean difference of neighbours along the rows in grey levels; 0 without any."""
    if patch.shape[0] < 1 or patch.shape[1] < 2:  # noqa: PLR2004  two neighbours
        return 0.0
    return cv2.norm(patch[:, 1:], patch[:, :-1], cv2.NORM_L1) / (patch.size - len(patch))


def cross(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the z part of the cross product of plane vectors in the last axis."""
    product: NDArray[np.floating] = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return product
