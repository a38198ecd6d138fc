"""Values that the seeing stages hand to each other, from a camera frame to a finished read."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.uint8]
"""(H, W) luminance, 0 black to 255 white; rows may be longer in memory than W (`strides`)."""

Corners = NDArray[np.float32]
"""(N, 4, 2) x, y in pixels of the full frame; order top left, top right, bottom right, bottom left
as the plate's text is read."""

Hidden = NDArray[np.bool_]
"""(H, W) True for the pixels of the full frame that no stage may use."""

LogProbs = NDArray[np.float32]
"""(N, S, C) natural logarithms of probabilities: crops, slots, classes; the last class is blank."""


class Direction(StrEnum):
    """How a vehicle moved through the picture, judged by its plate."""

    TOWARD = "toward"
    AWAY = "away"
    LEFT = "left"
    RIGHT = "right"
    STILL = "still"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture of the camera.

    The planes are views into the camera's buffer: they hold until the next frame is asked for,
    and whoever wants to keep pixels longer copies them.
    """

    index: int
    captured_at: datetime
    sensor_ns: int
    """Monotonic time of the sensor in nanoseconds; only differences mean something."""
    y: Plane = field(repr=False)
    """(H, W) at full resolution."""
    lores: Plane = field(repr=False)
    """(h, w) the same view at low resolution, for the detector; what is hidden is grey here."""
    hidden: Hidden | None = field(default=None, repr=False)
    """The privacy mask; None = nothing is hidden. In `y` these pixels still show what the sensor
    saw: no plate that reaches into them is handed on, and whoever shows a frame blanks them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """The plates found in one frame, best first."""

    scores: NDArray[np.float32]
    """(N,) 0 to 1."""
    corners: Corners


@dataclass(frozen=True, slots=True, kw_only=True)
class Passage:
    """A plate that was followed through the picture: all the way, or so far.

    It is over when the plate is gone or was told apart from its heir. What was read of it is known
    to the reading stage under `track_id`.
    """

    track_id: int
    frames_seen: int
    """Frames in which the plate was found."""
    first_seen: datetime
    last_seen: datetime
    first_frame: int
    last_frame: int
    direction: Direction
    also: tuple[int, ...] = ()
    """Numbers of further tracks of the same vehicle, which was out of sight for a moment."""


def merge_passages(one: Passage, other: Passage) -> Passage:
    """Return the passage that covers both."""
    first, last = sorted((one, other), key=lambda passage: passage.first_frame)
    tracks = {one.track_id, *one.also, other.track_id, *other.also}
    longer = max(one, other, key=lambda passage: passage.frames_seen)
    return Passage(
        track_id=first.track_id,
        frames_seen=one.frames_seen + other.frames_seen,
        first_seen=first.first_seen,
        last_seen=max(one.last_seen, other.last_seen),
        first_frame=first.first_frame,
        last_frame=max(one.last_frame, last.last_frame),
        direction=longer.direction,
        also=tuple(sorted(tracks - {first.track_id})),
    )


@dataclass(frozen=True, slots=True)
class PlateText:
    """Characters of a plate: personal data, kept out of reprs, so out of logs and tracebacks."""

    characters: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class PlateRead:
    """What was read of one vehicle passing by, after voting over its frames."""

    text: PlateText
    """The best guess, also where the read abstains; 0 to 16 characters of A-Z and 0-9."""
    confidences: tuple[float, ...]
    """Of each character, 0 to 1."""
    abstained: bool
    """True = unreadable: the guess is too weak to be used as a read."""
    frames_seen: int
    """Frames in which the plate was found."""
    frames_agreed: int
    """Frames whose own read equals the text."""
    first_seen: datetime
    last_seen: datetime
    first_frame: int
    last_frame: int
    direction: Direction
    corners: tuple[float, ...]
    """x1, y1 … x4, y4 of the best crop, pixels of the full frame."""
    crop_jpeg: bytes = field(repr=False)
    """The plate alone, rectified; empty where no crop was kept."""
    tracks: tuple[int, ...] = ()
    """Numbers of the vehicle's tracks; they end with this start and are not kept."""

    @property
    def confidence(self) -> float:
        """Mean confidence of the characters; 0 without characters."""
        return sum(self.confidences) / len(self.confidences) if self.confidences else 0.0

    @property
    def min_char_confidence(self) -> float:
        """Confidence of the weakest character; 0 without characters."""
        return min(self.confidences, default=0.0)
