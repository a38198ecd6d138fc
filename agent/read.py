"""Read the plates of a frame in one call, vote over a passage, abstain rather than guess.

`read_crops` is the hot path. `Ballots` gathers what was read of each track, tells the tracker
which tracks are certain and which were taken over by another vehicle, and turns a passage that
is over into one `PlateRead`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from agent.base.clock import to_ms
from agent.base.records import Corners, Frame, Passage, Plane, PlateRead, PlateText, merge_passages
from agent.base.settings import ReadSettings
from agent.vision import looks
from agent.vision.decode import Slots, collapse_columns, measure_surety, normalise
from agent.vision.geometry import cut_upright, measure_sides
from agent.vision.image import encode_jpeg
from agent.vision.patterns import Patterns, weigh_patterns
from agent.vision.session import Network, run_batches
from agent.vision.texts import is_same_plate
from agent.vision.voting import (
    Vote,
    count_votes,
    is_strange,
    join_slots,
    merge_looks,
    pick_slots,
    pick_surer,
    put_slots,
)

CERTAIN_CONFIDENCE, CERTAIN_LOOKS, CERTAIN_SHARE = 0.95, 3, 0.6
"""A track whose weakest character is that sure needs no more looks, when that many in a row agreed,
and more than that share of all."""
STRANGE_LOOKS = 2
"""That many looks in a row that show another vehicle part a track."""
LEAST_AGREED = 2 / 3
"""Share of the looks that must show the outcome. Many doubtful looks add up to a sure vote, though
they doubt for one reason: a 6 that is a smeared G won with 8 of 13 looks."""
USUAL_THRESHOLD = 0.7
"""Of a reader whose manifest does not say."""
MERGE_MS = 1500
"""The same text again within this time is the same vehicle: it was hidden for a moment."""
JPEG_WIDTH_PX, JPEG_QUALITY, JPEG_MARGIN = 192, 70, (0.06, 0.12)
"""Shows the frame of the plate too; 4 kB at most, mostly 2."""
BETTER_CROP = 1.3
"""A crop that is better by this factor replaces the one kept; cutting every one costs too much."""


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


def read_crops(y: Plane, corners: Corners, reader: Reader, *, turn: int = 0) -> Slots:
    """Return what the plates at `corners` show, in one call of the network, up to three if weak.

    Args:
        y: (H, W).
        corners: (N, 4, 2).
        reader: The network.
        turn: Number of the frame. Each turn shows a little more or less around the plate, so that
            the looks at a vehicle that stands still differ, and an error of its corners does not
            become an error of every look.
    """
    slots = _read_columns(y, corners, reader, turn=turn)
    return weigh_patterns(slots, reader.patterns) if reader.patterns else slots


def _read_columns(y: Plane, corners: Corners, reader: Reader, *, turn: int) -> Slots:
    """Return what is seen, whatever the patterns say."""
    more = looks.MARGIN_TURNS[turn % len(looks.MARGIN_TURNS)]
    (columns,) = look_at(y, corners, reader, (more,))
    slots = collapse_columns(columns)
    weak = np.flatnonzero(measure_surety(slots) < looks.WEAK_CONFIDENCE)
    if not len(weak):
        return slots
    seconds = tuple((more[0] + x, more[1] + y_more) for x, y_more in looks.SECOND_LOOKS)
    again = map(collapse_columns, look_at(y, corners[weak], reader, seconds))
    slots = put_slots(slots, weak, merge_looks((pick_slots(slots, weak), *again)))
    weak = weak[measure_surety(pick_slots(slots, weak)) < looks.WEAK_CONFIDENCE]
    margin_x = reader.margin[0] + more[0]
    off, quads = looks.centre_corners(columns[weak], corners[weak], margin_x=margin_x)
    closer = map(collapse_columns, look_at(y, quads, reader, looks.CENTRED_LOOKS))
    surer = pick_surer(pick_slots(slots, weak[off]), merge_looks(tuple(closer)))
    return put_slots(slots, weak[off], surer)


def look_at(
    y: Plane, corners: Corners, reader: Reader, more: tuple[tuple[float, float], ...]
) -> tuple[NDArray[np.float32], ...]:
    """Return the columns for `corners` with each of `more` added to the margin, in one call."""
    if not len(corners):
        return (np.zeros((0, 1, len(reader.alphabet) + 1), np.float32),) * len(more)
    crops = looks.cut_looks(y, corners, size_px=reader.size_px, margin=reader.margin, more=more)
    columns = run_batches(reader.network, crops)
    if reader.temperature != 1:
        columns = normalise(columns / np.float32(reader.temperature))
    return tuple(np.split(columns, len(more)))


@dataclass(frozen=True, slots=True, kw_only=True)
class BestCrop:
    """The best look at a plate so far."""

    quality: float
    corners: tuple[float, ...]
    plane: Plane = field(repr=False)
    """A copy; empty where crops are not kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ballot:
    """What was read of one track."""

    looks: Slots
    vote: Vote
    checks: int
    """Looks that agreed after the track was certain; they are counted, not kept."""
    streak: int
    """Looks up to the last one that agreed without a break."""
    strange: int
    """Looks in a row that showed another plate."""
    began_ms: int
    best: BestCrop

    @property
    def agreed(self) -> int:
        """Looks whose own text is the outcome."""
        return self.vote.agreed + self.checks


class Ballots:
    """The ballots of all tracks, and the passages that may still turn out to be one vehicle."""

    def __init__(
        self,
        settings: ReadSettings,
        *,
        alphabet: str,
        keep_crops: bool,
        certain_looks: int = CERTAIN_LOOKS,
        threshold: float = USUAL_THRESHOLD,
    ) -> None:
        """Begin without ballots.

        Args:
            settings: When to abstain.
            alphabet: Of the reader.
            keep_crops: Whether a `PlateRead` carries a picture of the plate.
            certain_looks: Agreeing looks after which a track may be certain: at least what the
                settings and the policy ask of a read.
            threshold: Of the reader: a read whose confidence is below abstains.
        """
        self._threshold = threshold
        self._settings, self._alphabet, self._keep_crops = settings, alphabet, keep_crops
        self._certain_looks = max(certain_looks, settings.min_frames_agreed)
        self._open: dict[int, Ballot] = {}
        self._over: list[tuple[Passage, Ballot]] = []
        self.unread = 0
        """Passages that were over and of whose plate nothing was read."""

    def follow(self, *, keep_crops: bool, certain_looks: int) -> None:
        """Hold to another policy from now on; the arguments are those of the constructor."""
        self._keep_crops = keep_crops
        self._certain_looks = max(certain_looks, self._settings.min_frames_agreed)

    @property
    def waiting(self) -> int:
        """Tracks and passages whose reads are still to come."""
        return len(self._open) + len(self._over)

    @property
    def certain(self) -> frozenset[int]:
        """Tracks that need no more crops."""
        return frozenset(track for track, ballot in self._open.items() if self._is_certain(ballot))

    @property
    def swapped(self) -> frozenset[int]:
        """Tracks that show another plate than they began with."""
        return frozenset(
            track for track, ballot in self._open.items() if ballot.strange >= STRANGE_LOOKS
        )

    def count(
        self, frame: Frame, *, track_ids: NDArray[np.int64], corners: Corners, slots: Slots
    ) -> None:
        """Add one look at each of the tracks; all arrays have one row a look."""
        for row, track in enumerate(track_ids.tolist()):
            look = pick_slots(slots, np.array([row]))
            self._open[track] = self._add(self._open.get(track), look, corners[row], frame)

    def preview(
        self, passages: tuple[Passage, ...], *, wanted: Callable[[PlateRead], bool]
    ) -> tuple[PlateRead, ...]:
        """Return what is known so far of passages that go on.

        Args:
            passages: So far; one of whose plate nothing was read yet leaves no read.
            wanted: Asked of each read before its picture is encoded, which takes longest.
        """
        reads = []
        for passage in passages:
            ballot = self._open.get(passage.track_id)
            if ballot is not None and wanted(read := self._judge(passage, ballot)):
                reads.append(_add_picture(read, ballot))
        return tuple(reads)

    def close(
        self, passages: tuple[Passage, ...], *, alive: NDArray[np.int64], now_ms: int
    ) -> tuple[PlateRead, ...]:
        """Take in passages that are over; return the reads of those that nothing can join any more.

        Args:
            passages: Just ended. One of whose plate nothing was read leaves no read.
            alive: Tracks still followed; what was read of others that are no passage is forgotten.
            now_ms: Time of the frame, milliseconds since 1970.
        """
        for passage in passages:
            ballot = self._open.pop(passage.track_id, None)
            self.unread += ballot is None
            if ballot is not None:
                self._over = join_passages(self._over, passage, ballot, alphabet=self._alphabet)
        kept = set(alive.tolist())
        self._open = {track: ballot for track, ballot in self._open.items() if track in kept}
        waits = [self._may_go_on(*pair, now_ms=now_ms) for pair in self._over]
        pairs = list(zip(self._over, waits, strict=True))
        self._over = [pair for pair, wait in pairs if wait]
        over = (pair for pair, wait in pairs if not wait)
        return tuple(_add_picture(self._judge(*pair), pair[1]) for pair in over)

    def finish(self, passages: tuple[Passage, ...]) -> tuple[PlateRead, ...]:
        """Take in the last passages, return the reads of all, and forget the rest."""
        nothing = np.zeros(0, np.int64)
        last_ms = max([to_ms(passage.last_seen) for passage in passages], default=0)
        reads = self.close(passages, alive=nothing, now_ms=last_ms)
        done, self._over = self._over, []
        return reads + tuple(_add_picture(self._judge(*pair), pair[1]) for pair in done)

    def _is_certain(self, ballot: Ballot) -> bool:
        """Tell whether more looks would change nothing; one that differs asks for others."""
        weakest = min(ballot.vote.confidences, default=0.0)
        steady = ballot.vote.agreed > len(ballot.looks.lengths) * CERTAIN_SHARE
        return ballot.streak >= self._certain_looks and weakest >= CERTAIN_CONFIDENCE and steady

    def _may_go_on(self, passage: Passage, ballot: Ballot, *, now_ms: int) -> bool:
        """Tell whether the vehicle may turn up again, or has under another track."""
        last_ms = to_ms(passage.last_seen)
        waited_ms = now_ms - last_ms  # below 0: the clock was set back, nobody knows how long
        return 0 <= waited_ms <= MERGE_MS or any(
            other.began_ms <= last_ms + MERGE_MS
            and is_same_plate(other.vote.characters, ballot.vote.characters)
            for other in self._open.values()
        )

    def _add(
        self, ballot: Ballot | None, look: Slots, corners: NDArray[np.float32], frame: Frame
    ) -> Ballot:
        """Return the ballot with one more look."""
        alone = count_votes(look, alphabet=self._alphabet)
        if ballot is None:
            return Ballot(
                looks=look,
                vote=alone,
                checks=0,
                streak=1,
                strange=0,
                began_ms=to_ms(frame.captured_at),
                best=self._cut(alone, corners, frame, None),
            )
        if self._is_certain(ballot) and alone.characters == ballot.vote.characters:
            return replace(ballot, checks=ballot.checks + 1)
        if ballot.vote.agreed >= self._certain_looks and is_strange(alone, ballot.vote):
            return replace(ballot, strange=ballot.strange + 1, streak=0)
        shown = join_slots((ballot.looks, look))
        vote = count_votes(shown, alphabet=self._alphabet)
        return replace(
            ballot,
            looks=shown,
            vote=vote,
            streak=count_streak(ballot, alone, vote),
            strange=0,
            best=self._cut(alone, corners, frame, ballot.best),
        )

    def _cut(
        self, vote: Vote, corners: NDArray[np.float32], frame: Frame, best: BestCrop | None
    ) -> BestCrop:
        """Return the better of `best` and the plate at `corners` of `frame`."""
        width, height = measure_sides(corners[None])[0].tolist()
        quality = width * height * sum(vote.confidences) / max(len(vote.confidences), 1)
        if best is not None and quality < best.quality * BETTER_CROP:
            return best
        plane = np.zeros((0, 0), np.uint8)
        if self._keep_crops:
            plane = cut_upright(frame.y, corners, width_px=JPEG_WIDTH_PX, margin=JPEG_MARGIN)
        return BestCrop(quality=quality, corners=tuple(corners.ravel().tolist()), plane=plane)

    def _judge(self, passage: Passage, ballot: Ballot) -> PlateRead:
        """Return what is known of a passage, without its picture."""
        vote = ballot.vote
        return PlateRead(
            text=PlateText(vote.characters),
            confidences=vote.confidences,
            abstained=must_abstain(
                vote, agreed=ballot.agreed, settings=self._settings, threshold=self._threshold
            ),
            frames_seen=passage.frames_seen,
            frames_agreed=ballot.agreed,
            first_seen=passage.first_seen,
            last_seen=passage.last_seen,
            first_frame=passage.first_frame,
            last_frame=passage.last_frame,
            direction=passage.direction,
            corners=ballot.best.corners,
            crop_jpeg=b"",
            tracks=(passage.track_id, *passage.also),
        )


def _add_picture(read: PlateRead, ballot: Ballot) -> PlateRead:
    """Return the read with the best look at its plate, where pictures are kept."""
    plane = ballot.best.plane
    if not plane.size:
        return read
    return replace(read, crop_jpeg=encode_jpeg(plane, quality=JPEG_QUALITY))


def must_abstain(vote: Vote, *, agreed: int, settings: ReadSettings, threshold: float) -> bool:
    """Tell whether the outcome is too weak to be used as a read.

    `threshold` is the reader's own, chosen with its calibration; the settings may ask for more.
    """
    return (
        len(vote.characters) < settings.min_characters
        or agreed < settings.min_frames_agreed
        or min(vote.confidences, default=0.0) < settings.min_char_confidence
        or vote.confidence < threshold
        or agreed < LEAST_AGREED * (vote.looks + agreed - vote.agreed)
    )


def count_streak(ballot: Ballot, look: Vote, outcome: Vote) -> int:
    """Return how many looks up to this one agreed in a row with the new outcome."""
    if look.characters != outcome.characters:
        return 0
    return ballot.streak + 1 if outcome.characters == ballot.vote.characters else 1


def join_passages(
    over: list[tuple[Passage, Ballot]], passage: Passage, ballot: Ballot, *, alphabet: str
) -> list[tuple[Passage, Ballot]]:
    """Return `over` with one more passage, joined to an earlier one of the same vehicle.

    It is the same vehicle, when the text is the same or part of the other, and it was out of sight
    for a moment only, or was followed twice at the same time.
    """
    for row, (earlier, known) in enumerate(over):
        same = is_same_plate(known.vote.characters, ballot.vote.characters)
        if same and to_ms(passage.first_seen) - to_ms(earlier.last_seen) <= MERGE_MS:
            joined = (
                merge_passages(earlier, passage),
                merge_ballots(known, ballot, alphabet=alphabet),
            )
            return [*over[:row], joined, *over[row + 1 :]]
    return [*over, (passage, ballot)]


def merge_ballots(one: Ballot, other: Ballot, *, alphabet: str) -> Ballot:
    """Return the ballot with the looks of both; checks count where they were of the outcome."""
    looks = join_slots((one.looks, other.looks))
    vote = count_votes(looks, alphabet=alphabet)
    checks = sum(part.checks for part in (one, other) if part.vote.characters == vote.characters)
    return Ballot(
        looks=looks,
        vote=vote,
        checks=checks,
        streak=0,
        strange=0,
        began_ms=min(one.began_ms, other.began_ms),
        best=max(one.best, other.best, key=lambda best: best.quality),
    )
