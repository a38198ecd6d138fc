"""Rendered plates in a picture, for tests that need something to read."""

import cv2
import numpy as np

from models.synth.plates import render_plate

FRAME_GRAY = 90


def render(text: str, *, seed: int = 1, layout: str = "ca") -> np.ndarray:
    """Return the face of a plate with `text` (H, W)."""
    return render_plate(np.random.default_rng(seed), text=text, layout=layout).gray


def make_corners(x: float, y: float, width: float, height: float) -> np.ndarray:
    """Return the corners (4, 2) of an upright plate whose top left corner is at x, y."""
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]], np.float32)


def paste_plate(picture: np.ndarray, face: np.ndarray, corners: np.ndarray) -> None:
    """Lay `face` onto `picture` at `corners`, smoothly, as a lens would."""
    width = float(np.linalg.norm(corners[1] - corners[0]))
    scale = min(1.0, 1.3 * width / face.shape[1])
    small = cv2.resize(face, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    rows, columns = small.shape
    flat = np.array([[0, 0], [columns, 0], [columns, rows], [0, rows]], np.float32)
    warp = cv2.getPerspectiveTransform(flat - 0.5, corners - np.float32(0.5))
    size = (picture.shape[1], picture.shape[0])
    laid = cv2.warpPerspective(small, warp, size, borderMode=cv2.BORDER_REPLICATE)
    inside = cv2.warpPerspective(np.full_like(small, 255), warp, size) > 127
    picture[inside] = laid[inside]


def show_plates(
    plates: dict[str, np.ndarray], *, width: int = 1280, height: int = 720
) -> np.ndarray:
    """Return a picture (height, width) of plates by text at their corners."""
    picture = np.full((height, width), FRAME_GRAY, np.uint8)
    for text, corners in plates.items():
        paste_plate(picture, render(text), corners)
    return picture
