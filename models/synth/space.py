"""Turn points of a small road world into pixels, and paint flat pieces of it.

World axes: x to the right, y away from the camera along the road, z up; metres.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
"""(N, 3) metres in the world, or (N, 2) pixels of a picture."""
Picture = NDArray[np.uint8]
"""(H, W, 3) blue, green, red."""
Colour = tuple[float, float, float]
"""Blue, green, red, 0 to 255."""

SHIFT = 4
"""Fractional bits of the coordinates given to OpenCV's polygon filler."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """A pinhole camera without lens distortion."""

    x_m: float
    height_m: float
    yaw_rad: float
    """Positive turns to the right."""
    pitch_rad: float
    """Positive looks down."""
    roll_rad: float
    focal_px: float
    width_px: int
    height_px: int

    def project(self, points: Points) -> Points:
        """Return the pixels (N, 2) of world points (N, 3) that lie in front of the camera."""
        seen = (points - np.array([self.x_m, 0.0, self.height_m])) @ self._axes().T
        depth = np.maximum(seen[:, 2:], 0.1)
        centre = np.array([self.width_px, self.height_px]) / 2
        return seen[:, :2] / depth * self.focal_px + centre

    def _axes(self) -> Points:
        """Return the camera's right, down and forward axes as rows (3, 3)."""
        cos_y, sin_y = np.cos(self.yaw_rad), np.sin(self.yaw_rad)
        cos_p, sin_p = np.cos(self.pitch_rad), np.sin(self.pitch_rad)
        cos_r, sin_r = np.cos(self.roll_rad), np.sin(self.roll_rad)
        right = np.array([cos_y, -sin_y, 0.0])
        forward = np.array([sin_y * cos_p, cos_y * cos_p, -sin_p])
        down = np.cross(forward, right)
        return np.stack([right * cos_r + down * sin_r, down * cos_r - right * sin_r, forward])


def fill(picture: Picture, pixels: Points, colour: Colour) -> None:
    """Paint the polygon `pixels` (N, 2) onto `picture` with smooth edges."""
    fixed = np.round((np.clip(pixels, -4000, 8000) - 0.5) * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(picture, [fixed], colour, cv2.LINE_AA, SHIFT)


def shrink(texture: NDArray[np.uint8], width_px: float) -> NDArray[np.uint8]:
    """Return `texture` area-averaged to at most about `width_px` wide: no moiré when warped."""
    scale = width_px / texture.shape[1]
    if scale >= 1:
        return texture
    height_px = max(2, round(texture.shape[0] * scale))
    size = (max(2, round(width_px)), height_px)
    return np.asarray(cv2.resize(texture, size, interpolation=cv2.INTER_AREA), np.uint8)


def paste(picture: Picture, texture: NDArray[np.uint8], quad: Points) -> None:
    """Paint `texture` (H, W) or (H, W, 3) onto the four pixels `quad` TL, TR, BR, BL.

    The texture's outer edges meet the quad's sides; parts outside the picture are cut.
    """
    low = np.maximum(np.floor(quad.min(axis=0)).astype(int) - 1, 0)
    high = np.minimum(np.ceil(quad.max(axis=0)).astype(int) + 2, picture.shape[1::-1])
    if (high - low < 1).any():
        return
    sides = np.linalg.norm(np.roll(quad, -1, axis=0) - quad, axis=1)
    small = shrink(texture, max(4.0, 1.3 * max(sides[0], sides[2])))
    height, width = small.shape[:2]
    # Pixel centres sit at whole numbers, so the outer edges sit half a pixel further out.
    flat = np.array([[0, 0], [width, 0], [width, height], [0, height]]) - 0.5
    local = (quad - low).astype(np.float32)
    warp = cv2.getPerspectiveTransform(flat.astype(np.float32), local - np.float32(0.5))
    size = tuple(int(v) for v in high - low)
    patch = cv2.warpPerspective(small, warp, size, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpPerspective(np.full((height, width), 255, np.uint8), warp, size)
    blend(picture[low[1] : high[1], low[0] : high[0]], patch, mask)


def blend(region: NDArray[np.uint8], patch: NDArray[np.uint8], mask: NDArray[np.uint8]) -> None:
    """Lay `patch` over `region` (same height and width) where `mask` (H, W) is 255, in place."""
    if patch.ndim < region.ndim:
        patch = np.repeat(patch[..., None], region.shape[-1], axis=-1)
    share = (mask.astype(np.float32) / 255)[(..., *(None,) * (region.ndim - 2))]
    region[:] = np.round(region + share * (patch.astype(np.float32) - region)).astype(np.uint8)


def darken(picture: Picture, pixels: Points, *, to: float, blur_px: float) -> None:
    """Multiply the polygon `pixels` of `picture` by `to` (0 to 1), with an edge `blur_px` soft."""
    pad = int(3 * blur_px) + 2
    low = np.maximum(np.floor(pixels.min(axis=0)).astype(int) - pad, 0)
    high = np.minimum(np.ceil(pixels.max(axis=0)).astype(int) + pad, picture.shape[1::-1])
    if (high - low < 1).any():
        return
    mask = np.ones((high[1] - low[1], high[0] - low[0]), np.float32)
    fixed = np.round((pixels - low) * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(mask, [fixed], to, cv2.LINE_8, SHIFT)
    mask = cv2.GaussianBlur(mask, (0, 0), max(0.3, blur_px))
    region = picture[low[1] : high[1], low[0] : high[0]]
    region[:] = np.round(region * mask[(..., *(None,) * (picture.ndim - 2))]).astype(np.uint8)
