"""Rendered pictures of one vehicle under conditions that are set, with true corners and text."""

from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.backdrops import choose_backdrop
from models.synth.pasting import worn_plate
from models.synth.plates import RenderedPlate, render_plate
from models.synth.space import Camera
from models.synth.vehicles import Pose, Vehicle, draw_vehicle, make_vehicle

Gray = NDArray[np.uint8]

WIDTH_PX, HEIGHT_PX = 1280, 720
DISTANCE_M = 12.0
PLATE_M = 0.32
LONG_M, LONG_ASPECT = 0.52, 3.0
MIDDLE_M = 0.75
"""Height of a plate above the road, about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Condition:
    """How a vehicle is seen; the defaults are an easy day."""

    width_px: float = 120.0
    """Of the plate in the camera's picture, before it is turned away."""
    yaw_deg: float = 10.0
    """Between the plate and the camera, seen from above."""
    pitch_deg: float = 8.0
    """How far the camera looks down."""
    roll_deg: float = 0.0
    blur_px: float = 0.6
    """Deviation of the lens's Gaussian."""
    motion_px: float = 0.0
    """Length of a level smear."""
    light: float = 0.8
    """Exposure: white paint has this share of the sensor's range; above 1 it is clipped."""
    noise: float = 2.0
    """Deviation of the sensor's noise in grey levels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A vehicle before a street, and the numbers that its pictures' noise begins with."""

    vehicle: Vehicle
    street: NDArray[np.uint8]
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A picture of a subject."""

    gray: Gray
    corners: NDArray[np.float32]
    """(4, 2) TL, TR, BR, BL."""
    text: str


def make_subject(seed: int, *, worn: bool) -> Subject:
    """Return the vehicle number `seed`, in our own glyphs: the same on every machine.

    Args:
        seed: Any number.
        worn: With dirt, holders over the rim and tones of age; without, clean.
    """
    rng = np.random.default_rng((0x5EE, seed))
    plate = worn_plate(rng) if worn else render_plate(rng)
    vehicle = make_vehicle(
        rng,
        plate,
        front=bool(rng.random() < 0.4),
        plate_width_m=choose_width(plate),
        holder_m=float(rng.uniform(0, 0.006)),
    )
    backdrop = choose_backdrop(rng, ()).gray
    size = (WIDTH_PX, WIDTH_PX * backdrop.shape[0] // backdrop.shape[1])
    street = cv2.resize(backdrop, size, interpolation=cv2.INTER_LINEAR)[:HEIGHT_PX]
    return Subject(vehicle=vehicle, street=cv2.cvtColor(street, cv2.COLOR_GRAY2BGR), seed=seed)


def choose_width(plate: RenderedPlate) -> float:
    """Return the width of a real plate of this shape, metres."""
    height, width = plate.gray.shape
    return LONG_M if width > LONG_ASPECT * height else PLATE_M


def take_picture(subject: Subject, condition: Condition) -> Shot:
    """Return the subject as a camera sees it; the same arguments give the same picture."""
    rng = np.random.default_rng((0x5E7, subject.seed))
    picture = subject.street.copy()
    pose = Pose(
        x_m=float(rng.normal(0, 0.5)) * 120 / condition.width_px,
        y_m=DISTANCE_M,
        yaw_rad=np.deg2rad(condition.yaw_deg) * (1 if rng.random() < 0.5 else -1),
    )
    camera = aim_camera(subject, condition, roll=1 if rng.random() < 0.5 else -1)
    corners = draw_vehicle(picture, subject.vehicle, camera, pose)
    gray = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)
    return Shot(
        gray=expose(gray, condition, rng),
        corners=corners.astype(np.float32),
        text=subject.vehicle.plate.text,
    )


def aim_camera(subject: Subject, condition: Condition, *, roll: int) -> Camera:
    """Return the camera that sees the plate as wide as asked, from as far above as asked."""
    pitch = np.deg2rad(condition.pitch_deg)
    return Camera(
        x_m=0.0,
        height_m=MIDDLE_M + DISTANCE_M * float(np.tan(pitch)),
        yaw_rad=0.0,
        pitch_rad=float(pitch),
        roll_rad=roll * float(np.deg2rad(condition.roll_deg)),
        focal_px=condition.width_px
        * float(np.hypot(DISTANCE_M, DISTANCE_M * np.tan(pitch)))
        / subject.vehicle.plate_size_m[0],
        width_px=WIDTH_PX,
        height_px=HEIGHT_PX,
    )


def expose(gray: Gray, condition: Condition, rng: np.random.Generator) -> Gray:
    """Return the scene after lens, movement, exposure and sensor."""
    levels = gray.astype(np.float32)
    if condition.blur_px > 0:
        levels = cv2.GaussianBlur(levels, (0, 0), condition.blur_px)
    if condition.motion_px >= 1:
        levels = cv2.filter2D(levels, -1, smear_kernel(condition.motion_px))
    levels = levels * np.float32(condition.light)
    levels += np.float32(condition.noise) * rng.standard_normal(gray.shape, np.float32)
    return np.clip(np.rint(levels), 0, 255).astype(np.uint8)


def smear_kernel(length_px: float) -> NDArray[np.float32]:
    """Return a level line of any length, its ends weighted by what they cover."""
    half = int(np.ceil((length_px - 1) / 2))
    kernel = np.ones((1, 2 * half + 1), np.float32)
    kernel[0, [0, -1]] = (length_px - (2 * half - 1)) / 2 if half else 1.0
    return kernel / kernel.sum()


def draw_condition(rng: np.random.Generator) -> Condition:
    """Return a condition as a camera has it that was aimed with care: easy ones and hard ones."""
    width = float(np.clip(np.exp(rng.normal(np.log(110), 0.35)), 44, 320))
    return Condition(
        width_px=width,
        yaw_deg=min(abs(float(rng.normal(0, 15))), 50.0),
        pitch_deg=float(rng.uniform(2, 22)),
        roll_deg=min(abs(float(rng.normal(0, 4))), 15.0),
        blur_px=0.3 + abs(float(rng.normal(0, 0.5))) * max(width / 110, 0.7),
        motion_px=float(rng.uniform(1, 4)) * width / 110 if rng.random() < 0.2 else 0.0,
        light=float(np.exp(rng.uniform(np.log(0.25), np.log(1.3)))),
        noise=abs(float(rng.normal(0, 3))) + 0.5,
    )


def vary(condition: Condition, axis: str, value: float) -> Condition:
    """Return `condition` with one field set."""
    return replace(condition, **{axis: value})
