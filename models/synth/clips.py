"""Render a road camera's video of imaginary vehicles, and the truth about their plates.

python -m models.synth.clips tests/data/demo.mp4 --truth tests/data/demo.truth.jsonl --seed 7
"""

import argparse
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from models.synth.legible import make_distinct
from models.synth.roads import paint_road
from models.synth.space import Camera, Picture, Points
from models.synth.vehicles import Pose, Vehicle, draw_vehicle

CAMERA = Camera(
    x_m=0.3,
    height_m=6.0,
    yaw_rad=-0.016,
    pitch_rad=0.312,
    roll_rad=0.008,
    focal_px=3200.0,
    width_px=1280,
    height_px=720,
)
"""A long lens on a pole: the road from 14 to 30 m in front of it fills the picture."""

LANES_M = (-2.75, 0.0, 2.75)
LANE_WIDTH_M = 2.75
APPROACHING = (True, False, False)
FACE_FROM_M, FACE_TO_M = 12.0, 34.0
"""Distances between which a vehicle's face can be in the picture."""
EXPOSURE_S = 1 / 450
NOISE_LEVELS = 1.6
TRUTH_EVERY_FRAMES = 5
POSTER_BITS = 0xF8
"""Fewer shades make the poster a quarter as large."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """One vehicle and its way through the picture."""

    vehicle: Vehicle
    lane_m: float
    speed_m_s: float
    """Negative towards the camera."""
    start_s: float
    """When its face crosses the first of its two limits."""
    sway_m: float

    def pose(self, at_s: float) -> Pose:
        """Return where the face is at a time."""
        start_m = FACE_TO_M if self.speed_m_s < 0 else FACE_FROM_M
        y_m = start_m + self.speed_m_s * (at_s - self.start_s)
        swing = np.sin(0.9 * (at_s - self.start_s) + 40 * self.sway_m)
        return Pose(x_m=self.lane_m + self.sway_m * float(swing), y_m=y_m)

    def is_near(self, at_s: float) -> bool:
        """Say whether any part of the vehicle can be in the picture."""
        return FACE_FROM_M - 7 <= self.pose(at_s).y_m <= FACE_TO_M + 1


@dataclass(slots=True)
class Sighting:
    """The frames in which one plate is wholly inside the picture."""

    text: str = field(repr=False)
    corners: dict[int, Points] = field(default_factory=dict)

    def as_json(self) -> str:
        """Return the truth's line."""
        frames = sorted(self.corners)
        kept = {str(f): np.round(self.corners[f], 1).tolist() for f in frames[::TRUTH_EVERY_FRAMES]}
        row = {"text": self.text, "first_frame": frames[0], "last_frame": frames[-1]}
        return json.dumps({**row, "corners": kept})


def plan_passages(rng: np.random.Generator, *, seconds: float) -> tuple[Passage, ...]:
    """Return the vehicles of all lanes; each passes wholly within the clip."""
    passages: list[Passage] = []
    texts: set[str] = set()
    for lane_m, approaching in zip(LANES_M, APPROACHING, strict=True):
        speed = float(rng.uniform(11.0, 12.5))
        at_s = float(rng.uniform(0.1, 0.7))
        while at_s + (FACE_TO_M - FACE_FROM_M) / speed < seconds:
            vehicle = make_distinct(rng, texts, front=approaching)
            passages.append(
                Passage(
                    vehicle=vehicle,
                    lane_m=lane_m + float(rng.normal(0, 0.08)),
                    speed_m_s=-speed if approaching else speed,
                    start_s=at_s,
                    sway_m=float(rng.uniform(-0.1, 0.1)),
                )
            )
            at_s += float(rng.uniform(1.0, 1.3))
    return tuple(passages)


def render_frames(
    passages: tuple[Passage, ...], road: Picture, *, seconds: float, fps: int, seed: int
) -> Iterator[tuple[Picture, dict[int, Points]]]:
    """Yield each frame with the corners (4, 2) of the plates in it, by index of the passage."""
    for number in range(round(seconds * fps)):
        at_s = number / fps
        opened, corners = _expose(passages, road, at_s - EXPOSURE_S / 2)
        closed, later = _expose(passages, road, at_s + EXPOSURE_S / 2)
        rng = np.random.default_rng((seed, number))
        middle = {index: (corners[index] + later[index]) / 2 for index in corners if index in later}
        yield _develop(cv2.addWeighted(opened, 0.5, closed, 0.5, 0), rng), middle


def render_clip(path: Path, *, seed: int, seconds: float, fps: int) -> tuple[Sighting, ...]:
    """Write the video to `path` and return what can be seen in it."""
    rng = np.random.default_rng(seed)
    road = paint_road(rng, CAMERA, lanes_m=LANES_M, lane_width_m=LANE_WIDTH_M)
    passages = plan_passages(rng, seconds=seconds)
    sightings = tuple(Sighting(passage.vehicle.plate.text) for passage in passages)
    total = round(seconds * fps)
    frames = render_frames(passages, road, seconds=seconds, fps=fps, seed=seed)
    with _Recorder(path, fps=fps) as recorder:
        for number, (frame, corners) in enumerate(frames):
            recorder.write(frame)
            for index, quad in corners.items():
                if _is_inside(quad):
                    sightings[index].corners[number] = quad
            print(f"\rframe {number + 1} of {total}", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    return tuple(sighting for sighting in sightings if sighting.corners)


class _Recorder:
    """An H.264 file that frames are appended to."""

    def __init__(self, path: Path, *, fps: int) -> None:
        self._container = av.open(str(path), "w")
        self._stream = self._container.add_stream("libx264", rate=fps)
        self._stream.width, self._stream.height = CAMERA.width_px, CAMERA.height_px
        self._stream.pix_fmt = "yuv420p"
        self._stream.options = {"crf": "22", "preset": "slow", "g": "60", "threads": "1"}

    def __enter__(self) -> Self:
        return self

    def write(self, frame: Picture) -> None:
        """Append one frame."""
        image = av.VideoFrame.from_ndarray(frame, format="bgr24")
        self._container.mux(self._stream.encode(image))

    def __exit__(self, *_: object) -> None:
        self._container.mux(self._stream.encode())
        self._container.close()


def render_poster(*, seed: int, seconds: float, at_s: float, width_px: int) -> Picture:
    """Return one frame of a clip without its noise, small enough for a page."""
    rng = np.random.default_rng(seed)
    road = paint_road(rng, CAMERA, lanes_m=LANES_M, lane_width_m=LANE_WIDTH_M)
    frame, _ = _expose(plan_passages(rng, seconds=seconds), road, at_s)
    size = (width_px, round(width_px * CAMERA.height_px / CAMERA.width_px))
    small = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    return np.asarray(small & POSTER_BITS, np.uint8)


def _expose(
    passages: tuple[Passage, ...], road: Picture, at_s: float
) -> tuple[Picture, dict[int, Points]]:
    """Return the picture at one instant, and the plates' corners by index of the passage."""
    picture = road.copy()
    near = [index for index, passage in enumerate(passages) if passage.is_near(at_s)]
    corners = {}
    for index in sorted(near, key=lambda index: -passages[index].pose(at_s).y_m):
        pose = passages[index].pose(at_s)
        corners[index] = draw_vehicle(picture, passages[index].vehicle, CAMERA, pose)
    return picture, corners


def _develop(picture: Picture, rng: np.random.Generator) -> Picture:
    """Return the picture as a sensor and lens give it: a little soft, a little noisy."""
    soft = cv2.GaussianBlur(picture, (0, 0), 0.45)
    noise = NOISE_LEVELS * rng.standard_normal((*picture.shape[:2], 1)).astype(np.float32)
    return np.clip(np.round(soft + noise), 0, 255).astype(np.uint8)


def _is_inside(quad: NDArray[np.float64]) -> bool:
    """Say whether all corners lie inside the picture."""
    limit = [CAMERA.width_px, CAMERA.height_px]
    return bool((quad >= 0).all() and (quad <= limit).all())


def main() -> None:
    """Render a clip from the command line."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("video", type=Path, help="the H.264 file to write")
    parser.add_argument("--truth", type=Path, required=True, help="the JSON lines to write")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=13.0)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--poster", type=Path, help="a PNG of one frame to write as well")
    parser.add_argument("--poster-at", type=float, default=8.35, metavar="SECONDS")
    args = parser.parse_args()
    if args.poster:
        poster = render_poster(
            seed=args.seed, seconds=args.seconds, at_s=args.poster_at, width_px=720
        )
        cv2.imwrite(str(args.poster), poster, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    sightings = render_clip(args.video, seed=args.seed, seconds=args.seconds, fps=args.fps)
    args.truth.write_text("".join(f"{s.as_json()}\n" for s in sightings))
    print(f"{len(sightings)} vehicles, {args.video.stat().st_size / 1e6:.2f} MB", file=sys.stderr)


if __name__ == "__main__":
    main()
