"""Quadrilaterals: homographies, sampling grids, crops, overlap. Many at once, never one by one.

Coordinates count from the outer edge of the first pixel: its centre is at (0.5, 0.5).
"""

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
"""(H, W) luminance."""
Quads = NDArray[np.float32]
"""(N, 4, 2) x, y in pixels; top left, top right, bottom right, bottom left."""
Grid = NDArray[np.float32]
"""(N, h, w, 2) x, y in the plane for every pixel of N crops."""

FINEST = 2.0
"""Source pixels per crop pixel up to which bilinear sampling still touches every one of them."""
NEXT = np.array([1, 2, 3, 0])
"""The corner after each corner."""
NO_SECOND_MAP = np.empty(0, np.float32)
"""The grid holds x and y side by side; OpenCV takes an empty second map for that."""
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


def make_grid(quads: Quads, *, size_px: tuple[int, int], margin: tuple[float, float]) -> Grid:
    """Return where each pixel of N crops lies in the plane the `quads` belong to.

    Args:
        quads: Convex.
        size_px: Width and height of a crop.
        margin: Share of the plate's width and of its height shown beyond each edge.

    Returns:
        (N, height, width, 2) float32, as `cv2.remap` wants it (pixel centres at whole numbers).
    """
    u, v = (
        ((np.arange(size, dtype=np.float32) + np.float32(0.5)) / size * (1 + 2 * edge) - edge)
        for size, edge in zip(size_px, margin, strict=True)
    )
    maps = compute_homographies(quads)[..., None, None]
    along = maps[:, :, 0] * u.astype(np.float32)
    down = maps[:, :, 1] * v.astype(np.float32)[:, None] + maps[:, :, 2]
    depth = np.maximum(along[:, 2] + down[:, 2], SMALLEST_DEPTH)
    grid = np.empty((len(quads), size_px[1], size_px[0], 2), np.float32)
    for axis in (0, 1):
        np.add(along[:, axis], down[:, axis], out=grid[..., axis])
        grid[..., axis] /= depth
    grid -= np.float32(0.5)
    return grid


def cut_crops(
    plane: Plane,
    quads: Quads,
    *,
    size_px: tuple[int, int],
    margin: tuple[float, float],
    out: NDArray[np.uint8] | None = None,
) -> NDArray[np.uint8]:
    """Return the plates of one plane, straightened, (N, height, width); in `out` if it is given.

    One `cv2.remap` for all crops of one fineness; nearly always that is all crops. A plate much
    larger than the crop is sampled finer and averaged, so that no stroke falls between samples.
    """
    width, height = size_px
    crops = np.empty((len(quads), height, width), np.uint8) if out is None else out
    fineness = choose_fineness(quads, size_px=size_px)
    for factor in np.unique(fineness).tolist():
        chosen = fineness == factor
        fine = (width * factor, height * factor)
        grid = make_grid(quads[chosen], size_px=fine, margin=margin)
        sheet = cv2.remap(
            plane,
            grid.reshape(-1, fine[0], 2),
            NO_SECOND_MAP,
            cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_REPLICATE,
        )
        if factor > 1:
            rows = len(sheet) // factor
            sheet = cv2.resize(sheet, (width, rows), interpolation=cv2.INTER_AREA)
        crops[chosen] = sheet.reshape(-1, height, width)
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
    ratio = np.maximum(sides[:, 0] / size_px[0], sides[:, 1] / size_px[1])
    fineness: NDArray[np.int64] = 2 ** np.clip(np.ceil(np.log2(ratio / FINEST)), 0, 2).astype(int)
    return fineness


def measure_sides(quads: Quads) -> NDArray[np.float32]:
    """Return (N, 2): the mean length of the two long sides and of the two short sides."""
    edges = quads[:, NEXT] - quads
    lengths = np.hypot(edges[..., 0], edges[..., 1])
    return np.asarray((lengths[:, :2] + lengths[:, 2:]) / 2, np.float32)


def measure_quality(plane: Plane, quads: Quads) -> NDArray[np.float32]:
    """Return (N,) how much a crop of each quad would show: its width times its sharpness.

    Sharpness is the mean step in grey levels from pixel to pixel along the rows of the bounding
    box: blur by motion or focus lowers it. To compare looks at one plate, not two plates.
    """
    low = np.maximum(np.floor(quads.min(axis=1)), 0).astype(np.int64).tolist()
    high = np.ceil(quads.max(axis=1)).astype(np.int64).tolist()
    steps = [
        measure_steps(plane[top:bottom, left:right])
        for (left, top), (right, bottom) in zip(low, high, strict=True)
    ]
    return np.asarray(measure_sides(quads)[:, 0] * np.array(steps, np.float32), np.float32)


def measure_steps(patch: Plane) -> float:
    """Return the mean difference of neighbours along the rows in grey levels; 0 without any."""
    if patch.shape[0] < 1 or patch.shape[1] < 2:  # noqa: PLR2004  two neighbours
        return 0.0
    return cv2.norm(patch[:, 1:], patch[:, :-1], cv2.NORM_L1) / (patch.size - len(patch))


def find_convex(quads: Quads, *, least_px: float) -> NDArray[np.bool_]:
    """Return (N,) True where all corners turn right and no triangle of three is below `least_px`.

    Args:
        quads: Any numbers, also not finite ones.
        least_px: Square pixels; above 0.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        edges = quads[:, NEXT] - quads
        turns = cross(edges, edges[:, NEXT]) / 2
    finite = np.isfinite(quads).all(axis=(1, 2))
    return np.asarray((turns >= least_px).all(axis=1) & finite)


def bound_quads(quads: Quads) -> NDArray[np.float32]:
    """Return (N, 4) upright boxes x1, y1, x2, y2 around `quads`."""
    return np.concatenate([quads.min(axis=1), quads.max(axis=1)], axis=1)


def measure_overlap(boxes: NDArray[np.float32], others: NDArray[np.float32]) -> Quads:
    """Return (N, M) shared area of upright boxes as a share of the smaller one of each pair."""
    low = np.maximum(boxes[:, None, :2], others[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], others[None, :, 2:])
    shared = np.maximum(high - low, 0).prod(axis=2)
    smaller = np.minimum(measure_boxes(boxes)[:, None], measure_boxes(others)[None])
    share: Quads = shared / np.maximum(smaller, np.float32(1e-6))
    return share


def measure_boxes(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return (N,) areas of upright boxes in square pixels."""
    areas: NDArray[np.float32] = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    return areas


def find_firsts(quads: Quads, *, limit: float) -> NDArray[np.bool_]:
    """Return (N,) False where an earlier quad of the list covers more than `limit` of it.

    Args:
        quads: Best first.
        limit: Share of the smaller of two bounding boxes, 0 to 1.
    """
    if len(quads) <= 1:
        return np.ones(len(quads), np.bool_)
    order = np.arange(len(quads))
    boxes = bound_quads(quads)
    covered = (measure_overlap(boxes, boxes) > limit) & (order[:, None] < order)
    return np.asarray(~covered.any(axis=0))


def cross(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the z part of the cross product of plane vectors in the last axis."""
    product: NDArray[np.floating] = first[..., 0] * second[..., 1] - first[..., 1] * second[..., 0]
    return product
