"""Two clips of a road by day, from a pole and from a bridge: `demo` and `rush`."""

from dataclasses import dataclass

import cv2
import numpy as np

from models.synth.film import FPS, Reel, Shot, develop
from models.synth.roads import paint_road
from models.synth.space import Camera, Picture
from models.synth.traffic import Flow, Passage, Stretch, blend_exposures, expose, plan_passages


@dataclass(frozen=True, slots=True, kw_only=True)
class Roadside:
    """A camera beside a road, and what passes it."""

    camera: Camera
    lanes: tuple[tuple[float, bool], ...]
    """Middle of each in metres, and whether its traffic comes towards the camera."""
    lane_width_m: float
    divided: bool
    stretch: Stretch
    flow: Flow
    seconds: float
    exposure_s: float
    noise_levels: float
    crf: float

    def plan(self, seed: int) -> tuple[tuple[Passage, ...], Picture]:
        """Return the vehicles and the empty road.

        Plates are a third larger than the law says: so many lanes must fit into the detector's
        640 pixels.
        """
        rng = np.random.default_rng(seed)
        lanes_m = tuple(lane_m for lane_m, _ in self.lanes)
        road = paint_road(
            rng,
            self.camera,
            lanes_m=lanes_m,
            lane_width_m=self.lane_width_m,
            divided=self.divided,
        )
        passages = plan_passages(
            rng, self.lanes, self.flow, self.stretch, seconds=self.seconds, true_size=False
        )
        return passages, road

    def make(self, seed: int) -> Reel:
        """Return the clip."""
        passages, road = self.plan(seed)
        half_s = self.exposure_s / 2

        def shoot(number: int) -> Shot:
            at_s = number / FPS
            picture, corners = blend_exposures(
                expose(passages, road, self.camera, at_s - half_s),
                expose(passages, road, self.camera, at_s + half_s),
            )
            rng = np.random.default_rng((seed, number))
            return develop(picture, rng, noise_levels=self.noise_levels), corners

        return Reel(
            shoot=shoot,
            texts=tuple(passage.vehicle.plate.text for passage in passages),
            frames=round(self.seconds * FPS),
            crf=self.crf,
        )


DEMO = Roadside(
    camera=Camera(
        x_m=0.3,
        height_m=6.0,
        yaw_rad=-0.016,
        pitch_rad=0.312,
        roll_rad=0.008,
        focal_px=3200.0,
        width_px=1280,
        height_px=720,
    ),
    lanes=((-2.75, True), (0.0, False), (2.75, False)),
    lane_width_m=2.75,
    divided=True,
    stretch=Stretch(from_m=12.0, to_m=34.0),
    flow=Flow(speed_m_s=(11.0, 12.5), first_s=(0.1, 0.7), every_s=(1.0, 1.3)),
    seconds=13.0,
    exposure_s=1 / 450,
    noise_levels=1.6,
    crf=22,
)
"""A long lens on a pole: the road from 14 to 30 m in front of it fills the picture."""

RUSH = Roadside(
    camera=Camera(
        x_m=0.0,
        height_m=14.8,
        yaw_rad=0.0,
        pitch_rad=0.45,
        roll_rad=0.004,
        focal_px=6000.0,
        width_px=1920,
        height_px=1080,
    ),
    lanes=((-3.75, False), (-1.25, False), (1.25, False), (3.75, False)),
    lane_width_m=2.5,
    divided=False,
    stretch=Stretch(from_m=22.5, to_m=40.0),
    flow=Flow(speed_m_s=(50.0, 52.0), first_s=(0.0, 0.05), gap_m=(0.6, 0.9)),
    seconds=10.4,
    exposure_s=1 / 2500,
    noise_levels=1.2,
    crf=23,
)
"""A long lens on a bridge: four lanes fill the width, from 23 to 39 m in front of it.

No road carries that: bumper to bumper at 184 km/h, as 50 lanes in their rush hour would. What the
reader must do is real: a new vehicle every 30 ms, a third of a second in view.
"""

POSTER_BITS = 0xF8
"""Fewer shades make the poster a quarter as large."""


def render_poster(*, seed: int, at_s: float, width_px: int) -> Picture:
    """Return one frame of `demo` without its noise, small enough for a page."""
    passages, road = DEMO.plan(seed)
    frame, _ = expose(passages, road, DEMO.camera, at_s)
    size = (width_px, round(width_px * DEMO.camera.height_px / DEMO.camera.width_px))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small & POSTER_BITS, np.uint8)
