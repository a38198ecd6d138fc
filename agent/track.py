"""Follow plates over frames, say which crops are worth reading, and when a passage is over.

A detection belongs to the track whose predicted place is nearest, measured in plate widths;
movement is taken as even between two frames. `step_tracks` is a pure function on an array with one
row a track; `Tracker` only keeps that array.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.base.clock import from_ms, to_ms
from agent.base.records import Corners, Detections, Direction, Frame, Passage
from agent.base.settings import TrackSettings
from agent.vision.geometry import measure_quality, measure_sides
from agent.vision.matching import match_nearest

Rows = NDArray[np.int64]
"""(N,) indices or numbers, one a track or detection."""

TRACK = np.dtype(
    [
        ("id", np.int64),
        ("corners", np.float32, (4, 2)),  # as last seen
        ("centre", np.float32, (2,)),  # of them
        ("width", np.float32),  # of them
        ("velocity", np.float32, (2,)),  # of the centre, pixels a frame
        ("first_corners", np.float32, (4, 2)),
        ("first_frame", np.int64),
        ("last_frame", np.int64),
        ("gap", np.int64),  # frames from the sighting before to the last one
        ("first_ms", np.int64),
        ("last_ms", np.int64),
        ("seen", np.int64),  # frames in which the plate was found
        ("reads", np.int64),  # crops handed on to be read
        ("read_frame", np.int64),  # frame of the last of them
        ("quality", np.float32),  # of the best crop so far, `measure_quality`
    ]
)
"""One plate being followed."""
Tracks = NDArray[np.void]
"""(N,) of `TRACK`."""

REACH_NEW, REACH_KNOWN, REACH_PER_FRAME = 3.0, 1.0, 0.25
"""How far from its predicted place a plate may turn up, in plate widths: movement unknown, known,
and more for each frame unseen. Plates of two vehicles are about 6 widths apart across lanes (US
plate 0.3 m, lane 3.5 m), and a plate at 50 km/h moves 1.5 widths in 1/30 s."""
SIZE_RATIO = 1.6
"""How much wider or narrower a plate may get between two sightings."""
SMALLEST_WIDTH_PX = 24.0
"""Seven characters of less than 3 pixels cannot be told apart."""
BORDER_PX = 2.0
"""A plate nearer to the edge of the frame is cut, or may be."""
DENSE_READS = 5
"""The first crops of a track are read one after the other; the spacing grows by 1 after each 5."""
CALM_FRAMES = 1
"""Frames left out after a crop that was read surely: two looks at nearly the same picture are one,
and a vehicle that covered a part of the plate has moved on."""
SURE_READS = 2
"""Two crops are enough for most; only where more are read is it worth to weigh their quality."""
BEST_SHARE, PATIENCE_FRAMES = 0.5, 4
"""A crop is read when its quality is that share of the best one's, or no better one came for so
many frames after it was due. Measured on a dense road: with 0.8 two crops of a hundred are spared
and one read of a hundred is lost, with 0.5 none."""
CHECK_FRAMES = 15
"""A certain track is still read that often, lest another vehicle took its place."""
GROWTH = 1.15
"""Change of a plate's width that shows a vehicle coming or going."""
STILL_WIDTHS = 0.5
"""A plate that moved less, in plate widths, stood still."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one frame did to the tracks."""

    tracks: Tracks
    """Those still followed after the frame."""
    track_ids: Rows
    """(M,) the track of each detection."""
    wanted: Rows
    """Indices of the detections whose crops are worth reading."""
    ended: tuple[Passage, ...]


class Tracker:
    """Keeps the tracks from frame to frame."""

    def __init__(self, settings: TrackSettings) -> None:
        """Begin without tracks."""
        self._settings = settings
        self._tracks: Tracks = np.zeros(0, TRACK)
        self._next_id = 0
        self._index: int | None = None
        """Of the frame before."""

    def follow(
        self,
        detections: Detections,
        frame: Frame,
        *,
        certain: frozenset[int] = frozenset(),
        calm: frozenset[int] = frozenset(),
        swapped: frozenset[int] = frozenset(),
    ) -> Step:
        """Take in the detections of the next frame.

        Args:
            detections: Of `frame`.
            frame: Its index is greater than that of the frame before.
            certain: Tracks whose text needs no more crops.
            calm: Tracks whose last crop was read surely: the next one may wait.
            swapped: Tracks that turned out to show another plate now: they end, and what they
                follow goes on under a new number.
        """
        tracks, next_id = self._tracks, self._next_id
        parted: tuple[Passage, ...] = ()
        if swapped and len(rows := np.flatnonzero(find_members(tracks, swapped))):
            parted = list_passages(tracks[rows], self._settings)
            tracks = renew_tracks(tracks, rows, next_id=next_id)
            next_id += len(rows)
        step = step_tracks(
            tracks,
            detections,
            frame,
            certain=certain,
            calm=calm,
            next_id=next_id,
            step_frames=1 if self._index is None else frame.index - self._index,
            settings=self._settings,
        )
        ended = parted + step.ended
        # Last, so that a failure above changes nothing: the next frame takes up the same tracks.
        self._tracks, self._index = step.tracks, frame.index
        self._next_id = max(next_id, int(step.track_ids.max(initial=-1)) + 1)
        return Step(tracks=step.tracks, track_ids=step.track_ids, wanted=step.wanted, ended=ended)

    def passages(self, ids: Rows) -> tuple[Passage, ...]:
        """Return the passages so far of the tracks with these numbers, but for mere glimpses."""
        if not len(ids):
            return ()
        rows = find_members(self._tracks, frozenset(ids.tolist()))
        return list_passages(self._tracks[rows], self._settings)

    def finish(self) -> tuple[Passage, ...]:
        """Return the passages that were still going on; nothing is followed any more."""
        ended = list_passages(self._tracks, self._settings)
        self._tracks = self._tracks[:0]
        return ended


def step_tracks(  # noqa: PLR0913  all that a step depends on
    tracks: Tracks,
    detections: Detections,
    frame: Frame,
    *,
    certain: frozenset[int],
    calm: frozenset[int],
    next_id: int,
    step_frames: int,
    settings: TrackSettings,
) -> Step:
    """Return the tracks after one more frame; see `Tracker.follow`.

    Args:
        tracks: Before it.
        detections: Of `frame`.
        frame: The next one.
        certain: Tracks that need no more crops.
        calm: Tracks whose next crop may wait.
        next_id: Number of the first new track.
        step_frames: From the frame before that was looked at to this one.
        settings: Patience and limits.
    """
    if not len(tracks) and not len(detections.scores):
        nothing = np.zeros(0, np.int64)
        return Step(tracks=tracks, track_ids=nothing, wanted=nothing, ended=())
    seen = begin_tracks(detections.corners, frame, next_id=next_id)
    owner = match_nearest(measure_costs(tracks, seen, frame.index))
    new = np.flatnonzero(owner < 0)
    grown = tracks.copy()
    if len(new) < len(owner):
        move_tracks(grown, seen, owner, frame)
    if len(new):
        owner[new] = len(tracks) + np.arange(len(new))
        seen["id"][new] = next_id + np.arange(len(new))
        grown = add_tracks(grown, seen[new])
    now = grown[owner]
    now["gap"] -= step_frames
    wanted = find_worthy(now, frame, certain=certain, calm=calm, settings=settings)
    if settings.choose_crops and (now["reads"][wanted] >= SURE_READS).any():
        wanted = choose_crops(grown, owner, wanted, frame, certain=certain)
    if len(wanted):
        grown["reads"][owner[wanted]] += 1
        grown["read_frame"][owner[wanted]] = frame.index
    over = frame.index - grown["last_frame"] > settings.max_gap_frames
    ids = now["id"]
    if not over.any():
        return Step(tracks=grown, track_ids=ids, wanted=wanted, ended=())
    ended = list_passages(grown[over], settings)
    return Step(tracks=grown[~over], track_ids=ids, wanted=wanted, ended=ended)


def choose_crops(
    tracks: Tracks, owner: Rows, wanted: Rows, frame: Frame, *, certain: frozenset[int]
) -> Rows:
    """Return those of `wanted` that are not much worse than the best crop of their tracks so far.

    The first looks are never put off, nor the check of a certain track, nor any look for long. The
    quality of all is noted in `tracks`.
    """
    rows = owner[wanted]
    quality = measure_quality(frame.y, tracks["corners"][rows], tracks["width"][rows])
    best, reads = tracks["quality"][rows], tracks["reads"][rows]
    late = frame.index - tracks["read_frame"][rows] > reads // DENSE_READS + PATIENCE_FRAMES
    good = quality >= best * BEST_SHARE
    tracks["quality"][rows] = np.maximum(best, quality)
    chosen: Rows = wanted[good | late | (reads < DENSE_READS) | find_members(tracks[rows], certain)]
    return chosen


def measure_costs(tracks: Tracks, seen: Tracks, index: int) -> NDArray[np.float32]:
    """Return (N, M) distances from the predicted places in plate widths; inf = out of reach."""
    if not len(tracks) or not len(seen):
        return np.zeros((len(tracks), len(seen)), np.float32)
    gap = (index - tracks["last_frame"]).astype(np.float32)
    place = tracks["centre"] + tracks["velocity"] * gap[:, None]
    width, other = tracks["width"][:, None], seen["width"]
    wider = np.maximum(width, other)
    way = place[:, None] - seen["centre"]
    costs = np.hypot(way[..., 0], way[..., 1]) / wider
    reach = np.where(tracks["seen"] > 1, REACH_KNOWN, REACH_NEW) + REACH_PER_FRAME * (gap - 1)
    far = (costs > reach[:, None]) | (
        wider > SIZE_RATIO * np.maximum(np.minimum(width, other), 1e-3)
    )
    costs[far] = np.inf
    return np.asarray(costs, np.float32)


def move_tracks(tracks: Tracks, seen: Tracks, owner: Rows, frame: Frame) -> None:
    """Move those of `tracks` that own something `seen` there; `owner` is below 0 for new ones."""
    rows = owner
    if owner.min() < 0:
        found = owner >= 0
        rows, seen = owner[found], seen[found]
    old = tracks[rows]
    gap = (frame.index - old["last_frame"]).astype(np.float32)[:, None]
    way = (seen["centre"] - old["centre"]) / gap
    known = (old["seen"] > 1)[:, None]
    old["velocity"] = np.where(known, (old["velocity"] + way) / 2, way)
    old["gap"] = frame.index - old["last_frame"]
    for name in ("corners", "centre", "width", "last_frame", "last_ms"):
        old[name] = seen[name]
    old["seen"] += 1
    tracks[rows] = old


def begin_tracks(corners: Corners, frame: Frame, *, next_id: int) -> Tracks:
    """Return a new track for each of `corners`, the first one numbered `next_id`."""
    born = np.zeros(len(corners), TRACK)
    born["id"] = next_id + np.arange(len(corners))
    born["corners"] = born["first_corners"] = corners
    born["centre"], born["width"] = find_centres(corners), measure_sides(corners)[:, 0]
    born["first_frame"] = born["last_frame"] = frame.index
    born["first_ms"] = born["last_ms"] = to_ms(frame.captured_at)
    born["seen"] = 1
    return born


def add_tracks(tracks: Tracks, born: Tracks) -> Tracks:
    """Return both; `np.concatenate` takes longer to compare the fields than all of this."""
    joined = np.empty(len(tracks) + len(born), TRACK)
    joined[: len(tracks)], joined[len(tracks) :] = tracks, born
    return joined


def renew_tracks(tracks: Tracks, rows: Rows, *, next_id: int) -> Tracks:
    """Return a copy of `tracks` in which those at `rows` begin anew where they are."""
    renewed = tracks.copy()
    renewed["id"][rows] = next_id + np.arange(len(rows))
    for name in ("corners", "frame", "ms"):
        here = name if name == "corners" else f"last_{name}"
        renewed[f"first_{name}"][rows] = tracks[here][rows]
    renewed["seen"][rows], renewed["reads"][rows], renewed["quality"][rows] = 1, 0, 0
    return renewed


def find_worthy(
    now: Tracks,
    frame: Frame,
    *,
    certain: frozenset[int],
    calm: frozenset[int],
    settings: TrackSettings,
) -> Rows:
    """Return which detections have crops that are worth reading.

    A crop is, when it is due and its plate is wide enough and whole.

    Args:
        now: (M,) the tracks of the detections after `frame`; their gaps are frames in which they
            were not found.
        frame: The frame.
        certain: Tracks that need no more crops.
        calm: Tracks whose next crop may wait.
        settings: Limits.
    """
    sure = frozenset() if settings.reread_certain else certain
    columns = (now["id"], now["reads"], frame.index - now["read_frame"], now["gap"])
    due = [
        is_due(track in sure, track in calm, reads, since, gap, most=settings.max_reads)
        for track, reads, since, gap in zip(*(column.tolist() for column in columns), strict=True)
    ]
    rows = np.flatnonzero(due)
    if not len(rows):  # mostly: all are certain, or were read a moment ago
        return rows
    height, width = frame.y.shape
    corners, edge = now["corners"][rows], np.array([width - BORDER_PX, height - BORDER_PX])
    whole = ((corners >= BORDER_PX) & (corners <= edge)).all(axis=(1, 2))
    return rows[whole & (now["width"][rows] >= SMALLEST_WIDTH_PX)]


def is_due(certain: bool, calm: bool, reads: int, since: int, gap: int, *, most: int) -> bool:  # noqa: FBT001
    """Tell whether a crop of a track is to be read: plain numbers, quicker than arrays of a few.

    A certain track's is when it was out of sight or unchecked for long; another's when it was not
    read too often or a moment ago.

    Args:
        certain: Its text needs no more crops.
        calm: The last crop was read surely.
        reads: Crops read so far.
        since: Frames since the last of them.
        gap: Frames that were looked at and in which it was not found, since it was seen before.
        most: Crops of one track that are read.
    """
    if certain:
        return gap > 0 or since >= CHECK_FRAMES
    wait = max(reads // DENSE_READS, CALM_FRAMES * calm)
    return reads == 0 or (reads < most and since > wait)


def list_passages(tracks: Tracks, settings: TrackSettings) -> tuple[Passage, ...]:
    """Return the passages of `tracks` that were seen often enough to be one."""
    return tuple(
        Passage(
            track_id=int(row["id"]),
            frames_seen=int(row["seen"]),
            first_seen=from_ms(int(row["first_ms"])),
            last_seen=from_ms(int(row["last_ms"])),
            first_frame=int(row["first_frame"]),
            last_frame=int(row["last_frame"]),
            direction=judge_direction(row["first_corners"], row["corners"]),
        )
        for row in tracks
        if row["seen"] >= settings.min_frames
    )


def judge_direction(first: NDArray[np.float32], last: NDArray[np.float32]) -> Direction:
    """Return how a plate moved from the corners `first` to the corners `last`, (4, 2) each."""
    widths = measure_sides(np.stack([first, last]))[:, 0].tolist()
    growth = widths[1] / max(widths[0], 1e-3)
    if growth > GROWTH:
        return Direction.TOWARD
    if growth < 1 / GROWTH:
        return Direction.AWAY
    way_x, way_y = (find_centres(np.stack([last - first]))[0] / max(*widths, 1e-3)).tolist()
    if max(abs(way_x), abs(way_y)) < STILL_WIDTHS:
        return Direction.STILL
    if abs(way_x) >= abs(way_y):
        return Direction.RIGHT if way_x > 0 else Direction.LEFT
    return Direction.TOWARD if way_y > 0 else Direction.AWAY


def find_centres(corners: Corners) -> NDArray[np.float32]:
    """Return (N, 2) the middles of quads."""
    return np.asarray(corners.sum(axis=1) * np.float32(0.25), np.float32)


def find_members(tracks: Tracks, ids: frozenset[int]) -> NDArray[np.bool_]:
    """Return (N,) True for the tracks whose number is in `ids`."""
    if not ids:
        return np.zeros(len(tracks), np.bool_)
    return np.fromiter((track in ids for track in tracks["id"].tolist()), np.bool_, len(tracks))
