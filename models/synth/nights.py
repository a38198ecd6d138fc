"""The clip `night`: an infrared camera, plates that throw its light back, headlamps with halos."""

from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.film import FPS, Reel, Shot
from models.synth.roads import paint_road
from models.synth.space import Camera, Picture, Points
from models.synth.traffic import Flow, Passage, Stretch, expose, plan_passages

CAMERA = Camera(
    x_m=0.2,
    height_m=6.0,
    yaw_rad=0.0,
    pitch_rad=0.33,
    roll_rad=-0.006,
    focal_px=4300.0,
    width_px=1280,
    height_px=720,
)
"""Two lanes, from 14 to 24 m: plates of their true size are 50 to 90 pixels wide."""
LANES = ((-1.5, True), (1.5, False))
LANE_WIDTH_M = 3.0
STRETCH = Stretch(from_m=12.5, to_m=25.0)
FLOW = Flow(speed_m_s=(13.0, 16.0), first_s=(0.1, 0.6), every_s=(1.2, 1.7))
SECONDS = 12.0

SCENE_SHARE = 0.2
"""Of the daylight picture, under the camera's own lamp."""
PLATE_SHARE = 0.9
"""A plate throws that much of its brightness back."""
LAMP_HEIGHT_M, LAMP_RADIUS_M, LAMP_INSET_M = 0.68, 0.085, 0.24
HEADLAMP_LEVELS, TAIL_LAMP_LEVELS = 900.0, (40.0, 220.0)
"""Far more than the sensor can show. A bulb in a tail lamp glows in infrared, a diode hardly."""
HALOS = ((2.5, 0.5), (11.0, 1.5), (40.0, 1.8))
"""Radius in pixels and strength of the rings that a lens and a dirty window make."""
POOL_LEVELS, POOL_M = 26.0, (1.5, 9.0)
"""Light on the road before a headlamp."""
READ_NOISE_LEVELS, SHOT_NOISE = 3.2, 0.16
Levels = NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Night:
    """A road at night."""

    passages: tuple[Passage, ...]
    dark: tuple[Passage, ...]
    """The same with black plates: the difference is the light that the plates throw back."""
    road: Picture
    tails: tuple[float, ...]
    """How bright each vehicle's tail lamps are."""
    beam: Levels
    """(H, W) how much light the camera's own lamp throws where."""


def make_night(seed: int) -> Reel:
    """Return two lanes at night."""
    rng = np.random.default_rng(seed)
    lanes_m = tuple(lane_m for lane_m, _ in LANES)
    road = paint_road(rng, CAMERA, lanes_m=lanes_m, lane_width_m=LANE_WIDTH_M)
    passages = plan_passages(rng, LANES, FLOW, STRETCH, seconds=SECONDS)
    tails = rng.uniform(*TAIL_LAMP_LEVELS, len(passages))
    dark = tuple(_blacken(passage) for passage in passages)
    night = _Night(
        passages=passages, dark=dark, road=road, tails=tuple(tails.tolist()), beam=_make_beam()
    )
    return Reel(
        shoot=partial(_shoot, night, seed),
        texts=tuple(passage.vehicle.plate.text for passage in passages),
        frames=round(SECONDS * FPS),
        crf=24,
    )


def _shoot(night: _Night, seed: int, number: int) -> Shot:
    """Return a frame with the corners of the plates in it."""
    at_s = number / FPS
    lit, corners = expose(night.passages, night.road, CAMERA, at_s)
    unlit, _ = expose(night.dark, night.road, CAMERA, at_s)
    scene, plates = _gray(unlit), _gray(lit) - _gray(unlit)
    levels = SCENE_SHARE * night.beam * scene + PLATE_SHARE * np.maximum(plates, 0)
    levels += _shine(night, at_s)
    return _develop(levels, np.random.default_rng((seed, number))), corners


def _blacken(passage: Passage) -> Passage:
    """Return the passage of a vehicle with a black plate."""
    black = np.zeros_like(passage.vehicle.plate_bgr)
    return replace(passage, vehicle=replace(passage.vehicle, plate_bgr=black))


def _make_beam() -> Levels:
    """Return how the camera's lamp lights the scene: most in the middle."""
    rows, columns = np.mgrid[0 : CAMERA.height_px, 0 : CAMERA.width_px].astype(np.float32)
    far = ((columns / CAMERA.width_px - 0.5) / 0.62) ** 2
    far += ((rows / CAMERA.height_px - 0.58) / 0.7) ** 2
    return np.asarray(np.exp(-far), np.float32)


def _gray(picture: Picture) -> Levels:
    return cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY).astype(np.float32)


def _shine(night: _Night, at_s: float) -> Levels:
    """Return the light (H, W) of all lamps with their halos."""
    lamps = np.zeros((CAMERA.height_px, CAMERA.width_px), np.float32)
    pools = np.zeros_like(lamps)
    for passage, tail in zip(night.passages, night.tails, strict=True):
        if not passage.is_near(at_s):
            continue
        coming = passage.speed_m_s < 0
        for place in _lamp_places(passage, at_s):
            _draw_lamp(lamps, place, HEADLAMP_LEVELS if coming else tail)
        if coming:
            cv2.fillConvexPoly(pools, _pool(passage, at_s), POOL_LEVELS, cv2.LINE_AA)
    light = np.minimum(lamps, 255) + cv2.GaussianBlur(pools, (0, 0), 24)
    for radius_px, strength in HALOS:
        light += strength * cv2.GaussianBlur(lamps, (0, 0), radius_px)
    return np.asarray(light, np.float32)


def _lamp_places(passage: Passage, at_s: float) -> Points:
    """Return the two lamps (2, 3) of a vehicle, metres in the world."""
    pose, half = passage.pose(at_s), passage.vehicle.width_m / 2 - LAMP_INSET_M
    return np.array([[pose.x_m + side * half, pose.y_m, LAMP_HEIGHT_M] for side in (-1, 1)])


def _draw_lamp(lamps: Levels, place: Points, levels: float) -> None:
    """Add a round lamp."""
    edge = place + np.array([LAMP_RADIUS_M, 0, 0])
    (x, y), (x_edge, _) = CAMERA.project(np.stack([place, edge]))
    cv2.circle(lamps, (round(x), round(y)), max(1, round(x_edge - x)), levels, -1, cv2.LINE_AA)


def _pool(passage: Passage, at_s: float) -> NDArray[np.int32]:
    """Return the piece of road before a vehicle that its headlamps light, in pixels."""
    pose, (near, far) = passage.pose(at_s), POOL_M
    ring = [(-1.0, -near), (1.0, -near), (1.7, -far), (-1.7, -far)]
    ground = np.array([[pose.x_m + x, max(pose.y_m + y, 3.0), 0.0] for x, y in ring])
    return np.rint(CAMERA.project(ground)).astype(np.int32)


def _develop(levels: Levels, rng: np.random.Generator) -> Picture:
    """Return the picture as a sensor with its gain turned up gives it."""
    soft = cv2.GaussianBlur(levels, (0, 0), 0.55)
    sigma = READ_NOISE_LEVELS + SHOT_NOISE * np.sqrt(np.maximum(soft, 0))
    rows = rng.standard_normal((soft.shape[0], 1)).astype(np.float32)
    noise = sigma * rng.standard_normal(soft.shape).astype(np.float32) + 0.7 * rows
    gray = np.clip(np.round(soft + 7 + noise), 0, 255).astype(np.uint8)
    return np.repeat(gray[..., None], 3, axis=2)
