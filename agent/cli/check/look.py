"""A short look at the road: what the frames and the plates in them measure. No picture is kept."""

from dataclasses import dataclass, field
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.base.errors import HomeplateError
from agent.base.records import Frame, Plane
from agent.base.settings import DetectSettings, Settings
from agent.camera import Camera
from agent.cli.check.picture import Light, measure_blur_px, measure_light, measure_scene_blur_px
from agent.cli.check.subject import Subject
from agent.cli.models import open_models
from agent.detect import Detector, detect_plates
from agent.track import Tracker
from agent.vision.geometry import cut_upright, measure_sides

FRAMES: Final = 90
"""Three seconds of a usual camera."""
LOOK_S: Final = 15.0
SCENE_EVERY: Final = 30
"""The whole picture is measured that seldom: it costs more than a plate."""
LOOKS_LIMIT: Final = 300
PLAIN_LEVELS: Final = 6
"""Less contrast than this is nothing written, but a wall that the detector took for a plate."""
WIDEST_PX: Final = 4096
STROKE_SHARE: Final = 0.03
"""Of a plate's width: the strokes of US plates are 8 to 10 mm of 305."""


@dataclass(slots=True, kw_only=True)
class Looks:
    """What a short look at the road showed; numbers only, no picture is kept."""

    frames: int = 0
    broken: int = 0
    shape: tuple[int, int] = (0, 0)
    first_ns: int = 0
    last_ns: int = 0
    hidden_share: float = 0.0
    hidden_lanes: list[str] = field(default_factory=list)
    widths_px: list[float] = field(default_factory=list)
    """Of plates."""
    strokes: list[float] = field(default_factory=list)
    """Blur of plates, in strokes of their characters."""
    lights: list[Light] = field(default_factory=list)
    """Of plates."""
    scenes: list[Light] = field(default_factory=list)
    scene_blurs_px: list[float] = field(default_factory=list)
    moves: list[float] = field(default_factory=list)
    """How far plates moved, in their widths a second."""

    @property
    def fps(self) -> float:
        """Frames a second, 0 with fewer than two."""
        span_ns = self.last_ns - self.first_ns
        return (self.frames - 1) * 1e9 / span_ns if span_ns > 0 else 0.0


def open_detector(settings: Settings) -> Detector | None:
    """Return the detector, None where the models are not in order: HP-401 says why."""
    try:
        return open_models(settings.models, DetectSettings()).detector
    except HomeplateError:
        return None


def watch_road(camera: Camera, subject: Subject, detector: Detector | None) -> Looks:
    """Look at the road for a few seconds.

    Raises:
        HomeplateError: The camera fails, or gives no frame.
    """
    looks, tracker = Looks(), Tracker(subject.settings.track)
    began_ns = subject.clock.monotonic_ns()
    for frame in islice(camera.frames(), FRAMES):
        note_frame(looks, frame, subject.settings)
        if detector is not None:
            note_plates(looks, frame, detector, tracker)
        if subject.clock.monotonic_ns() - began_ns > LOOK_S * 1e9:
            break
    looks.broken = camera.broken_frames
    return looks


def note_frame(looks: Looks, frame: Frame, settings: Settings) -> None:
    """Take down what a whole frame shows."""
    if not looks.frames:
        looks.first_ns, looks.shape = frame.sensor_ns, (frame.y.shape[0], frame.y.shape[1])
        if frame.hidden is not None:
            looks.hidden_share = float(frame.hidden.mean())
            looks.hidden_lanes = find_hidden_lanes(frame.hidden, settings)
    looks.last_ns = frame.sensor_ns
    if looks.frames % SCENE_EVERY == 0:
        shown = None if frame.hidden is None else ~frame.hidden
        pixels = frame.y if shown is None else frame.y[shown]
        blur_px = measure_scene_blur_px(frame.y, shown)
        looks.scenes += [measure_light(pixels)] if pixels.size else []
        looks.scene_blurs_px += [] if blur_px is None else [blur_px]
    looks.frames += 1


def note_plates(looks: Looks, frame: Frame, detector: Detector, tracker: Tracker) -> None:
    """Take down what the plates of a frame show."""
    found = detect_plates(frame, detector)
    tracks = tracker.follow(found, frame).tracks
    for track in tracks[tracks["seen"] > 1]:
        width_px = float(measure_sides(track["corners"][None])[0, 0])
        a_frame = float(np.hypot(*track["velocity"])) / max(width_px, 1.0)
        looks.moves.append(a_frame * looks.fps)
    for quad in found.corners:
        note_plate(looks, cut_upright(frame.y, quad, width_px=WIDEST_PX, margin=(0.0, 0.0)))


def note_plate(looks: Looks, crop: Plane) -> None:
    """Take down what one look at a plate shows; a plain area is no plate."""
    light, width_px = measure_light(crop), crop.shape[1]
    if light.contrast < PLAIN_LEVELS or len(looks.widths_px) >= LOOKS_LIMIT:
        return
    blur_px = measure_blur_px(crop)
    looks.widths_px.append(float(width_px))
    looks.lights.append(light)
    looks.strokes += [] if blur_px is None else [blur_px / (STROKE_SHARE * width_px)]


def find_hidden_lanes(hidden: NDArray[np.bool_], settings: Settings) -> list[str]:
    """Return the lanes of which the mask hides a part at the place where plates are read."""
    rows, columns = hidden.shape
    across = np.linspace(0, 1, 64)[:, None]
    found = []
    for lane in settings.lanes:
        places = (1 - across) * np.array(lane.left) + across * np.array(lane.right)
        x = np.minimum(places[:, 0] * columns, columns - 1).astype(int)
        y = np.minimum(places[:, 1] * rows, rows - 1).astype(int)
        found += [lane.name] if hidden[y, x].any() else []
    return found
