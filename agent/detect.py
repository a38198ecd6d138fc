"""Find the plates of a frame: the detector on the low-resolution view, corners in full pixels."""

from dataclasses import dataclass, field

import numpy as np

from agent.base.records import Detections, Frame
from agent.base.settings import DetectSettings
from agent.vision.image import Canvas, Plane
from agent.vision.mask import find_hidden
from agent.vision.motion import average_blocks, has_changed
from agent.vision.plates import list_plates
from agent.vision.session import Network

SAME_PLATE = 0.5
"""Two quads that share this much of the smaller one are one plate seen twice."""
MOVING_FRAMES = 3
"""After something moved and plates were seen, so many frames are looked at without asking again."""
QUIET_LOOKS = 3
"""So many looks in a row must have left nothing to be read before a frame is passed over."""
SMALLEST_PX2 = 4.0
"""A corner's triangle of less area belongs to no plate that could be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """The detector and how it is to be used."""

    network: Network
    """`image` (1, 1, h, w) → scores (K,) falling, corners (K, 4, 2) in pixels of the image."""
    stride: int
    threshold: float
    """Lowest score of a plate."""
    max_plates: int
    canvas: Canvas = field(default_factory=Canvas, repr=False)
    """Memory for the padded picture."""


class Stillness:
    """Remembers the last look at the road; while nothing moves, its plates are still there.

    Pictures are compared with the one that was looked at last, not with the one before, so that a
    vehicle that creeps is noticed once it has moved far enough. Whatever the pictures show, a look
    is taken after `longest_still_s`. While plates move, a look is taken at once and the question is
    asked only now and then.
    """

    def __init__(self, settings: DetectSettings) -> None:
        """Begin without a look."""
        self._settings = settings
        self._blocks: Plane | None = None
        """Of the last picture that was compared."""
        self._looked_ns = 0
        self._found: Detections | None = None
        """Of the last look, if it was at that picture."""
        self._moved = False
        """Whether something had moved when the question was asked last."""
        self._moving = 0
        """Frames until the question is asked again."""
        self._unasked = False
        """Whether the look that is taken now is at a picture that was not compared."""

    def recall(self, frame: Frame) -> Detections | None:
        """Return the plates of the last look if they are still there, None = look again."""
        waited_s = (frame.sensor_ns - self._looked_ns) / 1e9
        timely = 0 <= waited_s < self._settings.longest_still_s
        self._unasked = self._moving > 0 and timely
        if self._unasked:
            self._moving -= 1
            return None
        blocks, before = average_blocks(frame.lores), self._blocks
        levels = self._settings.motion_levels
        moved = before is not None and has_changed(blocks, before, least_levels=levels)
        if self._found is not None and timely and not moved:
            return self._found
        self._moved = moved
        self._found, self._blocks, self._looked_ns = None, blocks, frame.sensor_ns
        return None

    def remember(self, found: Detections) -> None:
        """Take note of what the look shows that `recall` asked for."""
        self._found = None if self._unasked else found
        if not self._unasked:
            self._moving = MOVING_FRAMES if self._moved and len(found.scores) else 0


class Pace:
    """Says which frames may be passed over: some of a road on which nothing is left to be read."""

    def __init__(self, settings: DetectSettings) -> None:
        """Begin with a look."""
        self._interval_ns = round(settings.quiet_interval_s * 1e9)
        self._looked_ns = 0
        self._quiet_looks = 0

    def passes(self, frame: Frame) -> bool:
        """Tell whether a frame needs no look."""
        since_ns = frame.sensor_ns - self._looked_ns
        return self._quiet_looks >= QUIET_LOOKS and 0 <= since_ns < self._interval_ns

    def note(self, frame: Frame, *, quiet: bool) -> None:
        """Take note of a look; `quiet` = no plate is in view that is to be read."""
        self._looked_ns = frame.sensor_ns
        self._quiet_looks = self._quiet_looks + 1 if quiet else 0


def detect_plates(frame: Frame, detector: Detector) -> Detections:
    """Return the plates of `frame`, best first, at most `detector.max_plates`.

    Left out are quads that are no convex quadrilateral, those that show a better one again, and
    those whose crops would reach into what the privacy mask hides.
    """
    image = detector.canvas.pad(frame.lores, multiple_px=detector.stride)
    scores, corners = detector.network.run(image[None, None])
    count = sum(score >= detector.threshold for score in scores.tolist())
    if not count:
        return Detections(scores=scores[:0], corners=corners[:0])
    good = list_plates(
        corners[:count], least_px2=SMALLEST_PX2, limit=SAME_PLATE, most=detector.max_plates
    )
    rows, columns = frame.y.shape
    scale = np.array([columns / frame.lores.shape[1], rows / frame.lores.shape[0]], np.float32)
    scores, corners = scores[good], corners[good] * scale
    if frame.hidden is not None and len(scores):
        shown = ~find_hidden(corners, frame.hidden)
        scores, corners = scores[shown], corners[shown]
    return Detections(scores=scores, corners=corners)
