"""The clip `mobile`: a camera on a moving vehicle; parked, leading and oncoming vehicles; shake."""

from dataclasses import dataclass, replace
from functools import partial

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.film import FPS, Reel, Shot, develop
from models.synth.legible import make_distinct
from models.synth.pasting import cut_patch
from models.synth.roads import mottle
from models.synth.space import Camera, Picture, fill, paste
from models.synth.traffic import LONGEST_M, blend_exposures, is_covered
from models.synth.vehicles import Pose, Vehicle, draw_vehicle

SECONDS = 12.0
EXPOSURE_S, NOISE_LEVELS = 1 / 900, 1.5
SPEED_M_S, ONCOMING_M_S = 8.0, 9.0
CAMERA = Camera(
    x_m=0.0,
    height_m=1.7,
    yaw_rad=0.0,
    pitch_rad=0.035,
    roll_rad=0.0,
    focal_px=2600.0,
    width_px=1280,
    height_px=720,
)
"""Behind the windscreen. Plates in the next lane leave the picture 13 m ahead, 60 pixels wide."""
PARKED_M, ONCOMING_M = 3.1, -3.1
PARKED_EVERY_M, ONCOMING_EVERY_M = (9.5, 12.0), (17.0, 24.0)
LEADER_M = 15.0
SEEN_TO_M = 44.0
"""Farther vehicles are hazy and too small to be read."""
READABLE_PX = 26.0
"""Narrower plates are not in the truth: nobody can read them."""
SHAKE_RAD = (0.0022, 0.0016, 0.004)
"""Strength of the shake sideways, up and down, and around the line of sight."""
SHAKE_HZ = (1.3, 3.1, 7.7)

TEXELS_PER_METRE, STREET_M = 40, (8.0, 150.0)
HALF_STREET_M, PAVEMENT_M = 4.4, 6.6
HOUSE_M, STOREY_M = 9.0, 3.0
SKY = (214.0, 206.0, 198.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Other:
    """Another vehicle on the street."""

    vehicle: Vehicle
    x_m: float
    start_m: float
    speed_m_s: float

    def ahead_m(self, at_s: float) -> float:
        """Return how far before the camera its face is."""
        return self.start_m + (self.speed_m_s - SPEED_M_S) * at_s


@dataclass(frozen=True, slots=True, kw_only=True)
class _Street:
    """What there is to see."""

    others: tuple[Other, ...]
    ground: NDArray[np.uint8]
    """From above, far edge first."""
    houses: tuple[NDArray[np.uint8], ...]
    sway: NDArray[np.float64]
    """(3, 3) phase of each frequency of the shake, an axis a row."""


def make_mobile(seed: int) -> Reel:
    """Return a drive along a street."""
    rng = np.random.default_rng(seed)
    street = _Street(
        others=_plan_others(rng),
        ground=_paint_ground(rng),
        houses=tuple(_paint_house(rng) for _ in range(14)),
        sway=rng.uniform(0, 2 * np.pi, (3, 3)),
    )
    return Reel(
        shoot=partial(_shoot, street, seed),
        texts=tuple(other.vehicle.plate.text for other in street.others),
        frames=round(SECONDS * FPS),
        crf=24,
    )


def _plan_others(rng: np.random.Generator) -> tuple[Other, ...]:
    """Return the parked ones on the right, the oncoming ones on the left, and one ahead."""
    texts: set[str] = set()

    def make(x_m: float, start_m: float, speed_m_s: float) -> Other:
        vehicle = make_distinct(rng, texts, front=speed_m_s < 0)
        aside = x_m + float(rng.normal(0, 0.08))
        return Other(vehicle=vehicle, x_m=aside, start_m=start_m, speed_m_s=speed_m_s)

    others = [make(0.0, LEADER_M, SPEED_M_S)]
    end_m = SPEED_M_S * SECONDS
    at_m = 18.0
    while at_m < end_m:
        others.append(make(PARKED_M, at_m, 0.0))
        at_m += float(rng.uniform(*PARKED_EVERY_M))
    end_m, at_m = (SPEED_M_S + ONCOMING_M_S) * SECONDS, 26.0
    while at_m < end_m:
        others.append(make(ONCOMING_M, at_m, -ONCOMING_M_S))
        at_m += float(rng.uniform(*ONCOMING_EVERY_M))
    return tuple(others)


def _shoot(street: _Street, seed: int, number: int) -> Shot:
    """Return a frame with the corners of the plates in it."""
    at_s = number / FPS
    picture, corners = blend_exposures(
        _expose(street, at_s - EXPOSURE_S / 2), _expose(street, at_s + EXPOSURE_S / 2)
    )
    rng = np.random.default_rng((seed, number))
    return develop(picture, rng, noise_levels=NOISE_LEVELS), corners


def _expose(street: _Street, at_s: float) -> Shot:
    """Return the picture at one instant, and the corners of the plates that can be read."""
    camera = _shake(street.sway, at_s)
    picture = np.empty((camera.height_px, camera.width_px, 3), np.uint8)
    picture[:] = np.uint8(SKY)
    _draw_ground(picture, street.ground, camera, SPEED_M_S * at_s)
    _draw_houses(picture, street.houses, camera, SPEED_M_S * at_s)
    seen = [
        (index, other)
        for index, other in enumerate(street.others)
        if STREET_M[0] - LONGEST_M < other.ahead_m(at_s) < SEEN_TO_M
    ]
    drawn = {}
    for index, other in sorted(seen, key=lambda pair: -pair[1].ahead_m(at_s)):
        pose = Pose(x_m=other.x_m, y_m=max(other.ahead_m(at_s), 3.0))
        quad = draw_vehicle(picture, other.vehicle, camera, pose)
        drawn[index] = (quad, cut_patch(picture, quad).copy())
    return picture, {
        index: quad
        for index, (quad, patch) in drawn.items()
        if np.linalg.norm(quad[1] - quad[0]) >= READABLE_PX
        and not is_covered(patch, cut_patch(picture, quad))
    }


def _shake(sway: NDArray[np.float64], at_s: float) -> Camera:
    """Return the camera as the road shakes it."""
    waves = np.sin(2 * np.pi * np.array(SHAKE_HZ) * at_s + sway) @ [0.55, 0.3, 0.15]
    yaw, pitch, roll = np.array(SHAKE_RAD) * waves
    return replace(
        CAMERA,
        yaw_rad=CAMERA.yaw_rad + yaw,
        pitch_rad=CAMERA.pitch_rad + pitch,
        roll_rad=CAMERA.roll_rad + roll,
        height_m=CAMERA.height_m + 0.01 * waves[1],
    )


def _paint_ground(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the street and its pavements from above, as long as the drive and the view."""
    long_m = STREET_M[1] + SPEED_M_S * SECONDS
    shape = (round(long_m * TEXELS_PER_METRE), round(2 * PAVEMENT_M * TEXELS_PER_METRE))
    tone = (
        100 + 6 * mottle(rng, shape, 120) + 4 * mottle(rng, shape, 12) + 4 * mottle(rng, shape, 3)
    )
    ground = np.repeat(tone[..., None], 3, axis=2)

    def columns(left_m: float, right_m: float) -> NDArray[np.float32]:
        low, high = (round((v + PAVEMENT_M) * TEXELS_PER_METRE) for v in (left_m, right_m))
        return ground[:, low:high]

    for side in (-1, 1):
        low, high = sorted((side * HALF_STREET_M, side * PAVEMENT_M))
        columns(low, high)[:] += 48
        columns(low, high)[:: TEXELS_PER_METRE * 2] -= 40
    dashed = np.arange(shape[0]) / TEXELS_PER_METRE % 6 < 3
    columns(-1.6, -1.48)[dashed] = 205
    return np.clip(ground, 0, 255).astype(np.uint8)


def _draw_ground(
    picture: Picture, ground: NDArray[np.uint8], camera: Camera, driven_m: float
) -> None:
    """Paint the street in view."""
    near, far = STREET_M[0], STREET_M[1]
    last = ground.shape[0] - round((near + driven_m) * TEXELS_PER_METRE)
    first = max(0, ground.shape[0] - round((far + driven_m) * TEXELS_PER_METRE))
    part = ground[first:last]
    corners_m = [[-PAVEMENT_M, far, 0], [PAVEMENT_M, far, 0], [PAVEMENT_M, near, 0]]
    quad = camera.project(np.array([*corners_m, [-PAVEMENT_M, near, 0]], float))
    height, width = part.shape[:2]
    flat = np.float32([[0, 0], [width, 0], [width, height], [0, height]])
    warp = cv2.getPerspectiveTransform(flat, quad.astype(np.float32))
    size = (picture.shape[1], picture.shape[0])
    cv2.warpPerspective(
        part, warp, size, dst=picture, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT
    )


def _paint_house(rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return the front of a house 9 m wide and three storeys high."""
    wall = np.empty((3 * 60, 3 * 60, 3), np.float32)
    wall[:] = rng.uniform(90, 190) * np.array([1.0, 1.02, 1.05]) + rng.uniform(-14, 14, 3)
    wall += 5 * mottle(rng, wall.shape[:2], 8)[..., None]
    for x in range(14, 170, 44):
        for y in (14, 72):
            wall[y : y + 34, x : x + 24] = rng.uniform(40, 110)
    wall[130:180, 60:84] = rng.uniform(30, 90)
    return np.clip(wall, 0, 255).astype(np.uint8)


def _draw_houses(
    picture: Picture, houses: tuple[NDArray[np.uint8], ...], camera: Camera, driven_m: float
) -> None:
    """Paint both rows of houses, far ones first."""
    first, last = int((driven_m + STREET_M[0]) // HOUSE_M), int((driven_m + STREET_M[1]) // HOUSE_M)
    for number in range(last, first - 1, -1):
        near = max(number * HOUSE_M - driven_m, 4.0)
        far = (number + 1) * HOUSE_M - driven_m
        for side in (-1, 1):
            x, high = side * PAVEMENT_M, 3 * STOREY_M
            left, right = (near, far) if side < 0 else (far, near)
            corners_m = [[x, left, high], [x, right, high], [x, right, 0], [x, left, 0]]
            quad = camera.project(np.array(corners_m, float))
            fill(picture, quad, (120, 120, 120))
            paste(picture, houses[(2 * number + side) % len(houses)], quad)
