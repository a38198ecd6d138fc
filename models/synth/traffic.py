"""Vehicles on a road before a fixed camera: when each comes, and the picture at an instant."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.synth.bodies import BODIES
from models.synth.legible import make_distinct
from models.synth.pasting import cut_patch
from models.synth.space import Camera, Picture, Points
from models.synth.vehicles import Pose, Vehicle, draw_vehicle

LONGEST_M = 5.2
"""Of all bodies."""
LOW_PLATE_M, SIGHT_SLOPE = 0.55, 0.37
"""Height of a low plate, and how steeply the camera of a dense road looks at it."""
COVERED_LEVELS = 2.0
"""Mean change of a plate's pixels that shows something before it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """The part of the road in which a vehicle's face can be in the picture."""

    from_m: float
    to_m: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One vehicle and its way through the picture."""

    vehicle: Vehicle
    stretch: Stretch
    lane_m: float
    speed_m_s: float
    """Negative towards the camera."""
    start_s: float
    """When its face crosses the first of its two limits."""
    sway_m: float

    def pose(self, at_s: float) -> Pose:
        """Return where the face is at a time."""
        start_m = self.stretch.to_m if self.speed_m_s < 0 else self.stretch.from_m
        y_m = start_m + self.speed_m_s * (at_s - self.start_s)
        swing = np.sin(0.9 * (at_s - self.start_s) + 40 * self.sway_m)
        return Pose(x_m=self.lane_m + self.sway_m * float(swing), y_m=y_m)

    def is_near(self, at_s: float) -> bool:
        """Say whether any part of the vehicle can be in the picture."""
        behind = LONGEST_M + 1.8
        return self.stretch.from_m - behind <= self.pose(at_s).y_m <= self.stretch.to_m + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Flow:
    """How vehicles follow each other in a lane."""

    speed_m_s: tuple[float, float]
    first_s: tuple[float, float]
    every_s: tuple[float, float] | None = None
    """From one vehicle to the next."""
    gap_m: tuple[float, float] | None = None
    """Or from bumper to bumper, in a lane that leads away."""


def plan_passages(
    rng: np.random.Generator,
    lanes: tuple[tuple[float, bool], ...],
    flow: Flow,
    stretch: Stretch,
    *,
    seconds: float,
    true_size: bool = True,
) -> tuple[Passage, ...]:
    """Return the vehicles of all lanes; each passes wholly within the clip.

    Args:
        rng: Source of every choice.
        lanes: Middle of each in metres, and whether its traffic comes towards the camera.
        flow: How dense and fast.
        stretch: What the camera sees.
        seconds: Of the clip.
        true_size: As large as plates are, else as large as in the demo's clip.
    """
    passages: list[Passage] = []
    texts: set[str] = set()
    for lane_m, approaching in lanes:
        speed = float(rng.uniform(*flow.speed_m_s))
        at_s = float(rng.uniform(*flow.first_s))
        last_s = seconds - (stretch.to_m - stretch.from_m) / speed
        while at_s < last_s:
            vehicle = make_distinct(rng, texts, front=approaching, true_size=true_size)
            if flow.gap_m:
                gap_m = max(float(rng.uniform(*flow.gap_m)), clear_gap_m(vehicle.body))
                at_s += (BODIES[vehicle.body][-1][0] + gap_m) / speed
            passages.append(
                Passage(
                    vehicle=vehicle,
                    stretch=stretch,
                    lane_m=lane_m + float(rng.normal(0, 0.08)),
                    speed_m_s=-speed if approaching else speed,
                    start_s=at_s,
                    sway_m=float(rng.uniform(-0.1, 0.1)),
                )
            )
            if flow.every_s:
                at_s += float(rng.uniform(*flow.every_s))
    return tuple(passage for passage in passages if passage.start_s < last_s + 1)


def clear_gap_m(body: str) -> float:
    """Return how far a vehicle must stay behind so as not to hide the plate ahead from a camera."""
    length_m = BODIES[body][-1][0]
    return max(
        (height_m - LOW_PLATE_M) / SIGHT_SLOPE - (length_m - along_m)
        for along_m, height_m, _ in BODIES[body]
    )


def expose(
    passages: tuple[Passage, ...], road: Picture, camera: Camera, at_s: float
) -> tuple[Picture, dict[int, Points]]:
    """Return the picture at one instant, and the corners of the plates nothing stands before."""
    picture = road.copy()
    near = [index for index, passage in enumerate(passages) if passage.is_near(at_s)]
    drawn = {}
    for index in sorted(near, key=lambda index: -passages[index].pose(at_s).y_m):
        pose = passages[index].pose(at_s)
        quad = draw_vehicle(picture, passages[index].vehicle, camera, pose)
        drawn[index] = (quad, cut_patch(picture, quad).copy())
    return picture, {
        index: quad
        for index, (quad, patch) in drawn.items()
        if not is_covered(patch, cut_patch(picture, quad))
    }


def is_covered(before: Picture, now: Picture) -> bool:
    """Say whether something was painted over a patch since; one outside the picture is not."""
    return bool(now.size) and float(cv2.absdiff(now, before).mean()) > COVERED_LEVELS


def blend_exposures(
    one: tuple[Picture, dict[int, Points]], other: tuple[Picture, dict[int, Points]]
) -> tuple[Picture, dict[int, Points]]:
    """Return what a shutter that is open from one instant to the other sees."""
    (opened, corners), (closed, later) = one, other
    middle = {index: (corners[index] + later[index]) / 2 for index in corners if index in later}
    return np.asarray(cv2.addWeighted(opened, 0.5, closed, 0.5, 0), np.uint8), middle
