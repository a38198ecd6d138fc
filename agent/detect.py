"""Find the plates of a frame: the detector on the low-resolution view, corners in full pixels."""

from dataclasses import dataclass

import numpy as np

from agent.base.records import Detections, Frame
from agent.vision.geometry import find_convex, find_firsts
from agent.vision.image import pad_plane
from agent.vision.mask import find_hidden
from agent.vision.session import Network

SAME_PLATE = 0.5
"""Two quads that share this much of the smaller one are one plate seen twice."""
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


def detect_plates(frame: Frame, detector: Detector) -> Detections:
    """Return the plates of `frame`, best first, at most `detector.max_plates`.

    Left out are quads that are no convex quadrilateral, those that show a better one again, and
    those whose crops would reach into what the privacy mask hides.
    """
    image = pad_plane(frame.lores, multiple_px=detector.stride)
    scores, corners = detector.network.run(image[None, None])
    count = int((scores >= detector.threshold).sum())
    scores, corners = scores[:count], corners[:count]
    convex = find_convex(corners, least_px=SMALLEST_PX2)
    if not convex.all():
        scores, corners = scores[convex], corners[convex]
    firsts = np.flatnonzero(find_firsts(corners, limit=SAME_PLATE))[: detector.max_plates]
    rows, columns = frame.y.shape
    scale = np.array([columns / frame.lores.shape[1], rows / frame.lores.shape[0]], np.float32)
    scores, corners = scores[firsts], corners[firsts] * scale
    if frame.hidden is not None and len(scores):
        shown = ~find_hidden(corners, frame.hidden)
        scores, corners = scores[shown], corners[shown]
    return Detections(scores=scores, corners=corners)
