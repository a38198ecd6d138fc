"""The clip `idle`: an empty street with noise, a tree's shadow, a passing shadow, leaves."""

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.film import FPS, Reel, Shot, develop
from models.synth.roads import paint_road
from models.synth.roadside import DEMO
from models.synth.space import Picture, fill

CAMERA = DEMO.camera
SECONDS = 10.0
STILL_UNTIL_S, SHADOW_FROM_S, LEAVES_FROM_S = 3.0, 5.5, 7.5
"""Nothing but noise first; then the wind; then a vehicle that is out of view throws its shadow in;
then leaves."""
NOISE_LEVELS = 1.8
LEAF_COUNT, LEAF_PX = 14, 7.0
CROWN_PX, CROWN_BLOBS = (260, 210), 90
SHADE = 0.6
Shade = NDArray[np.float32]


def make_idle(seed: int) -> Reel:
    """Return a street without any plate."""
    rng = np.random.default_rng(seed)
    lanes_m = tuple(lane_m for lane_m, _ in DEMO.lanes)
    road = paint_road(rng, CAMERA, lanes_m=lanes_m, lane_width_m=DEMO.lane_width_m)
    crown = _draw_crown(rng)
    leaves = rng.uniform(0, 1, (LEAF_COUNT, 5))

    def shoot(number: int) -> Shot:
        at_s = number / FPS
        shade = _sway(crown, at_s) * _pass_by(at_s)
        picture = np.round(road * shade[..., None]).astype(np.uint8)
        if at_s > LEAVES_FROM_S:
            _blow(picture, leaves, at_s - LEAVES_FROM_S)
        own = np.random.default_rng((seed, number))
        return develop(picture, own, noise_levels=NOISE_LEVELS), {}

    return Reel(shoot=shoot, texts=(), frames=round(SECONDS * FPS), crf=23)


def _draw_crown(rng: np.random.Generator) -> Shade:
    """Return the shadow (H, W) of a tree that stands beside the street: what it leaves of light."""
    crown = np.ones((CAMERA.height_px, CAMERA.width_px), np.float32)
    for across, down, size in rng.normal(0, 1, (CROWN_BLOBS, 3)):
        middle = (round(980 + 0.5 * CROWN_PX[0] * across), round(170 + 0.5 * CROWN_PX[1] * down))
        cv2.ellipse(crown, (middle, (30 + 12 * abs(size), 22), 40 * size), SHADE, -1)
    return cv2.GaussianBlur(crown, (0, 0), 3)


def _sway(crown: Shade, at_s: float) -> Shade:
    """Return the crown's shadow, moved by the wind once that has risen."""
    wind = np.clip(at_s - STILL_UNTIL_S, 0, 1)
    shift = wind * np.array(
        [5 * np.sin(2.1 * at_s) + 2 * np.sin(5.3 * at_s), 2 * np.sin(3.4 * at_s)]
    )
    move = np.float32([[1, 0, shift[0]], [0, 1, shift[1]]])
    return cv2.warpAffine(crown, move, crown.shape[::-1], borderMode=cv2.BORDER_REPLICATE)


def _pass_by(at_s: float) -> Shade:
    """Return the shadow of a vehicle that drives by on the far side of the picture's edge."""
    shade = np.ones((CAMERA.height_px, CAMERA.width_px), np.float32)
    top = 1500 * (at_s - SHADOW_FROM_S) - 700
    if -700 < top < CAMERA.height_px:
        ring = np.array([[0, top], [170, top + 40], [210, top + 560], [0, top + 600]])
        cv2.fillPoly(shade, [np.rint(ring).astype(np.int32)], SHADE)
        shade = cv2.GaussianBlur(shade, (0, 0), 6)
    return shade


def _blow(picture: Picture, leaves: NDArray[np.float64], for_s: float) -> None:
    """Paint leaves that tumble across the road."""
    for x, y, speed, turn, tone in leaves:
        middle = np.array([-40 - 300 * x + (320 + 240 * speed) * for_s, 120 + 560 * y])
        middle[1] += 26 * np.sin(4 * for_s + 6 * turn)
        angle = (3 + 5 * turn) * for_s
        along = LEAF_PX * (1 + speed) * np.array([np.cos(angle), np.sin(angle)])
        across = 0.5 * LEAF_PX * np.sin(5 * for_s + 6 * tone) * np.array([-along[1], along[0]]) / 8
        ring = np.stack([middle + along, middle + across, middle - along, middle - across])
        fill(picture, ring, (30 + 30 * tone, 90 + 60 * tone, 120 + 80 * tone))
