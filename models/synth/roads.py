"""Paint an empty road as a fixed camera above it sees it."""

import itertools

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.space import Camera, Picture

TEXELS_PER_METRE = 100
NEAR_M, FAR_M = 10.0, 45.0
"""Distances between which the ground is painted."""
HALF_WIDTH_M = 12.0
WHITE, YELLOW = (205.0, 208.0, 208.0), (70.0, 165.0, 200.0)


def paint_road(
    rng: np.random.Generator,
    camera: Camera,
    *,
    lanes_m: tuple[float, ...],
    lane_width_m: float,
    divided: bool = True,
) -> Picture:
    """Return the picture (H, W, 3) of an empty road with a lane around each of `lanes_m`.

    Where it is `divided`, a double line parts the first lane from the others.
    """
    ground = _asphalt(rng)
    left, right = lanes_m[0] - lane_width_m / 2, lanes_m[-1] + lane_width_m / 2
    for lane in lanes_m:
        for track in (lane - 0.75, lane + 0.75):
            _streak(ground, track, 0.28, 0.93)
        _streak(ground, lane, 0.35, 0.96)
    _patch_repairs(ground, rng)
    _verge(ground, rng, left - 0.7, right + 0.7)
    for edge in (left, right):
        _line(ground, edge, WHITE, dashed=False)
    for aside in (-0.09, 0.09) if divided else ():
        _line(ground, (lanes_m[0] + lanes_m[1]) / 2 + aside, YELLOW, dashed=False)
    for one, other in itertools.pairwise(lanes_m):
        _line(ground, (one + other) / 2, WHITE, dashed=True)
    return _seen_from(camera, ground, rng)


def mottle(rng: np.random.Generator, shape: tuple[int, int], grain: int) -> NDArray[np.float32]:
    """Return smooth noise (H, W) of about unit strength whose blotches are `grain` pixels wide."""
    small = (max(2, shape[0] // grain + 2), max(2, shape[1] // grain + 2))
    noise = rng.standard_normal(small).astype(np.float32)
    return np.asarray(cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)


def _asphalt(rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the bare ground seen from above (far edge first), blue green red."""
    shape = (round((FAR_M - NEAR_M) * TEXELS_PER_METRE), round(2 * HALF_WIDTH_M * TEXELS_PER_METRE))
    tone = (
        104 + 5 * mottle(rng, shape, 160) + 3 * mottle(rng, shape, 40) + 5 * mottle(rng, shape, 3)
    )
    return np.repeat(tone[..., None], 3, axis=2) * np.float32([1.02, 1.0, 0.98])


def _columns(ground: NDArray[np.float32], left_m: float, right_m: float) -> NDArray[np.float32]:
    """Return the view of the ground between two sideways distances."""
    low, high = (round((v + HALF_WIDTH_M) * TEXELS_PER_METRE) for v in (left_m, right_m))
    return ground[:, max(low, 0) : max(high, 0)]


def _streak(ground: NDArray[np.float32], middle_m: float, width_m: float, factor: float) -> None:
    """Darken a soft stripe along the road: tyres and oil."""
    stripe = _columns(ground, middle_m - width_m, middle_m + width_m)
    across = np.cos(np.linspace(-np.pi / 2, np.pi / 2, stripe.shape[1])).astype(np.float32)
    stripe *= (1 - (1 - factor) * across)[None, :, None]


def _patch_repairs(ground: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Paint cracks filled with tar, and one newer rectangle."""
    height, width = ground.shape[:2]
    for _ in range(9):
        at = np.array([rng.uniform(0.25, 0.75) * width, rng.uniform(0, height)])
        steps = rng.normal(0, 1, (14, 2)) * [14, 9] + rng.normal(0, 1, 2) * [10, 26]
        path = np.round(at + np.cumsum(steps, axis=0)).astype(np.int32)
        cv2.polylines(ground, [path], isClosed=False, color=(66, 66, 66), thickness=3)
    low = rng.uniform([0.45, 0.3], [0.55, 0.6]) * [width, height]
    high = low + np.array([1.4, 2.6]) * TEXELS_PER_METRE
    (x0, y0), (x1, y1) = low.astype(int), high.astype(int)
    ground[y0:y1, x0:x1] *= 0.86


def _verge(
    ground: NDArray[np.float32], rng: np.random.Generator, left_m: float, right_m: float
) -> None:
    """Paint a kerb and grass outside the carriageway."""
    for inner, outer in ((left_m, -HALF_WIDTH_M), (right_m, HALF_WIDTH_M)):
        side = _columns(ground, min(inner, outer), max(inner, outer))
        blotches = mottle(rng, side.shape[:2], 30) * 9 + mottle(rng, side.shape[:2], 4) * 11
        side[:] = np.float32([58, 98, 84]) + blotches[..., None]
        step = 0.22 if outer > inner else -0.22
        kerb = _columns(ground, min(inner, inner + step), max(inner, inner + step))
        kerb[:] = 158 + 5 * mottle(rng, kerb.shape[:2], 6)[..., None]
        gap = kerb[:: TEXELS_PER_METRE * 2]
        gap[:] = 90


def _line(
    ground: NDArray[np.float32], middle_m: float, colour: tuple[float, ...], *, dashed: bool
) -> None:
    """Paint a worn lane line 11 cm wide."""
    line = _columns(ground, middle_m - 0.055, middle_m + 0.055)
    worn = np.clip(0.8 + (line[..., :1] - 104) / 60, 0.45, 0.97)
    if dashed:
        along = np.arange(line.shape[0]) / TEXELS_PER_METRE % 6.0 < 3.0
        worn = worn * along[:, None, None]
    line[:] += worn * (np.float32(colour) - line)


def _seen_from(camera: Camera, ground: NDArray[np.float32], rng: np.random.Generator) -> Picture:
    """Return the ground as the camera sees it, lighter and hazier far away."""
    height, width = ground.shape[:2]
    corners_m = np.array(
        [
            [-HALF_WIDTH_M, FAR_M, 0],
            [HALF_WIDTH_M, FAR_M, 0],
            [HALF_WIDTH_M, NEAR_M, 0],
            [-HALF_WIDTH_M, NEAR_M, 0],
        ]
    )
    flat = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    warp = cv2.getPerspectiveTransform(flat, camera.project(corners_m).astype(np.float32))
    size = (camera.width_px, camera.height_px)
    seen = cv2.warpPerspective(ground, warp, size, flags=cv2.INTER_AREA)
    haze = np.linspace(0.12, 0.0, size[1], dtype=np.float32)[:, None, None]
    seen = seen * (1 - haze) + 178 * haze
    grain = 2.5 * rng.standard_normal((size[1], size[0], 1)).astype(np.float32)
    return np.clip(np.round(seen + grain), 0, 255).astype(np.uint8)
