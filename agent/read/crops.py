"""The reader network on the plates of a frame, with more looks where one is weak."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.base.records import Corners, Plane
from agent.vision import looks
from agent.vision.decode import Slots, collapse_columns, measure_surety, normalise
from agent.vision.patterns import Patterns, weigh_patterns
from agent.vision.session import Network, run_batches
from agent.vision.voting import join_slots, merge_looks, pick_slots, pick_surer, put_slots

USUAL_THRESHOLD = 0.7
"""Of a reader whose manifest does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """The reader and how it is to be fed."""

    network: Network
    """Crops (N, 1, h, w) → log-probabilities (N, columns, classes)."""
    size_px: tuple[int, int]
    """Width and height of a crop."""
    margin: tuple[float, float]
    """Share of the plate's width and height that a crop shows beyond each edge."""
    alphabet: str
    """The classes in their order; blank comes after them."""
    temperature: float = 1.0
    """What its log-probabilities are divided by, so that its confidences are probabilities."""
    threshold: float = USUAL_THRESHOLD
    """Lowest confidence of a whole plate that is no guess."""
    patterns: Patterns | None = None
    """Of letters and digits, where its manifest knows how often they are."""


def read_crops(
    y: Plane,
    corners: Corners,
    reader: Reader,
    *,
    turn: int = 0,
    doubt: looks.Doubt = looks.ALONE,
) -> Slots:
    """Return what the plates at `corners` show, in one call of the network, up to three if weak.

    Args:
        y: (H, W).
        corners: (N, 4, 2).
        reader: The network.
        turn: Number of the frame. Each turn shows a little more or less around the plate, so that
            the looks at a vehicle that stands still differ, and an error of its corners does not
            become an error of every look.
        doubt: Which looks get more crops.
    """
    slots = _read_columns(y, corners, reader, turn=turn, doubt=doubt)
    return weigh_patterns(slots, reader.patterns) if reader.patterns else slots


def _read_columns(
    y: Plane, corners: Corners, reader: Reader, *, turn: int, doubt: looks.Doubt
) -> Slots:
    """Return what is seen, whatever the patterns say."""
    more = looks.MARGIN_TURNS[turn % len(looks.MARGIN_TURNS)]
    columns = look_at(y, corners, reader, (more,))
    slots = collapse_columns(columns)
    weak = find_doubtful(slots, doubt)
    if not len(weak):
        return slots
    seconds = tuple((more[0] + x, more[1] + y_more) for x, y_more in doubt.seconds)
    again = collapse_columns(look_at(y, corners[weak], reader, seconds))
    every = join_slots((pick_slots(slots, weak), again))
    slots = put_slots(slots, weak, merge_looks(every, 1 + len(seconds)))
    weak = weak[find_doubtful(pick_slots(slots, weak), doubt)]
    margin_x = reader.margin[0] + more[0]
    off, quads = looks.centre_corners(columns[weak], corners[weak], margin_x=margin_x)
    if not len(off):
        return slots
    closer = collapse_columns(look_at(y, quads, reader, looks.CENTRED_LOOKS))
    closest = merge_looks(closer, len(looks.CENTRED_LOOKS))
    return put_slots(slots, weak[off], pick_surer(pick_slots(slots, weak[off]), closest))


def find_doubtful(slots: Slots, doubt: looks.Doubt) -> NDArray[np.int64]:
    """Return the looks that get more crops."""
    sure = measure_surety(slots)
    return np.flatnonzero((sure >= doubt.least) & (sure < doubt.below))


def look_at(
    y: Plane, corners: Corners, reader: Reader, more: tuple[tuple[float, float], ...]
) -> NDArray[np.float32]:
    """Return the columns (L * N, T, C) for `corners` with each of `more` added to the margin.

    All plates with the first margin come first. One call of the network, or a few for many plates.
    """
    if not len(corners):
        return np.zeros((0, 1, len(reader.alphabet) + 1), np.float32)
    crops = looks.cut_looks(y, corners, size_px=reader.size_px, margin=reader.margin, more=more)
    columns = run_batches(reader.network, crops)
    if reader.temperature != 1:
        columns = normalise(columns / np.float32(reader.temperature))
    return columns
