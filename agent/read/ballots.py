"""The ballots of all tracks: what was read of each, and who needs no more looks."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

import numpy as np
from numpy.typing import NDArray

from agent.base.clock import to_ms
from agent.base.records import Corners, Frame, Passage, PlateRead, PlateText
from agent.base.settings import ReadSettings
from agent.read.crops import USUAL_THRESHOLD
from agent.read.judging import (
    MERGE_MS,
    Ballot,
    BestCrop,
    count_looks,
    count_streak,
    join_passages,
    must_abstain,
)
from agent.vision import looks
from agent.vision.decode import Slots
from agent.vision.geometry import cut_upright, measure_sides
from agent.vision.image import encode_jpeg
from agent.vision.texts import is_same_plate
from agent.vision.voting import Vote, is_strange, join_slots, judge_looks, pick_slots

CERTAIN_CONFIDENCE, CERTAIN_LOOKS, CERTAIN_SHARE = 0.95, 3, 0.7
"""A track whose weakest character is that sure needs no more looks, when that many in a row agreed,
and more than that share of all, by weight."""
EARLY_CONFIDENCE, EARLY_LOOKS = 0.95, 2
"""Fewer are enough where they are that sure of the whole plate together."""
CALM_CONFIDENCE = 0.9
"""After a look that is that sure of the whole plate, the next one may wait."""
STRANGE_LOOKS = 2
"""That many looks in a row that show another vehicle part a track."""
JPEG_WIDTH_PX, JPEG_QUALITY, JPEG_MARGIN = 192, 70, (0.06, 0.12)
"""Shows the frame of the plate too; 4 kB at most, mostly 2."""
BETTER_CROP = 1.3
"""A crop that is better by this factor replaces the one kept; cutting every one costs too much."""


class Ballots:
    """The ballots of all tracks, and the passages that may still turn out to be one vehicle."""

    def __init__(
        self,
        settings: ReadSettings,
        *,
        alphabet: str,
        keep_crops: bool,
        certain_looks: int = 1,
        threshold: float = USUAL_THRESHOLD,
    ) -> None:
        """Begin without ballots.

        Args:
            settings: When to abstain.
            alphabet: Of the reader.
            keep_crops: Whether a `PlateRead` carries a picture of the plate.
            certain_looks: Agreeing looks that the policy asks of a read: no track is certain
                before.
            threshold: Of the reader: a read whose confidence is below abstains.
        """
        self._threshold = threshold
        self._settings, self._alphabet, self._keep_crops = settings, alphabet, keep_crops
        self._certain_looks = max(certain_looks, settings.min_frames_agreed)
        self._open: dict[int, Ballot] = {}
        self._certain: set[int] = set()
        self._calm: set[int] = set()
        self._swapped: set[int] = set()
        self._over: list[tuple[Passage, Ballot]] = []
        self._now_ms = 0
        """Latest time that was seen: of a frame, or of a passage."""
        self._due_ms = inf
        """Until then nothing that waits is over."""
        self.unread = 0
        """Passages that were over and of whose plate nothing was read."""

    def follow(self, *, keep_crops: bool, certain_looks: int) -> None:
        """Hold to another policy from now on; the arguments are those of the constructor."""
        self._keep_crops = keep_crops
        self._certain_looks = max(certain_looks, self._settings.min_frames_agreed)
        for track, ballot in self._open.items():
            self._put(track, ballot)

    @property
    def waiting(self) -> int:
        """Tracks and passages whose reads are still to come."""
        return len(self._open) + len(self._over)

    @property
    def doubt(self) -> looks.Doubt:
        """Which looks are repeated in the same frame."""
        return looks.PASSING if self._settings.spare_looks else looks.ALONE

    @property
    def _alike(self) -> bool:
        """Whether each look counts as much as the others."""
        return not self._settings.weigh_looks

    @property
    def certain(self) -> frozenset[int]:
        """Tracks that need no more crops."""
        return frozenset(self._certain)

    @property
    def calm(self) -> frozenset[int]:
        """Tracks whose next look may wait, because the last one was sure."""
        return frozenset(self._calm)

    @property
    def swapped(self) -> frozenset[int]:
        """Tracks that show another plate than they began with."""
        return frozenset(self._swapped)

    def _put(self, track: int, ballot: Ballot) -> None:
        """Keep the ballot of a track, and note what follows from it."""
        self._open[track] = ballot
        calm = ballot.calm and self._settings.certain_early
        strange = ballot.strange >= STRANGE_LOOKS
        for holds, members in (
            (self._is_certain(ballot), self._certain),
            (calm, self._calm),
            (strange, self._swapped),
        ):
            if holds:
                members.add(track)
            else:
                members.discard(track)

    def count(
        self, frame: Frame, *, track_ids: NDArray[np.int64], corners: Corners, slots: Slots
    ) -> None:
        """Add one look at each of the tracks; all arrays have one row a look."""
        if not len(track_ids):
            return
        sides_px = measure_sides(corners)
        votes = judge_looks(slots, alphabet=self._alphabet)
        for row, (track, alone) in enumerate(zip(track_ids.tolist(), votes, strict=True)):
            ballot = self._open.get(track)
            if ballot is not None and (checked := self._check(ballot, alone)) is not None:
                self._put(track, checked)
                continue
            best = self._cut(alone, corners[row], sides_px[row], frame, ballot)
            look = pick_slots(slots, np.array([row]))
            self._put(track, self._add(ballot, look, alone, sides_px[row, :1], best, frame))

    def list_ripe(self, track_ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the tracks of which enough looks agree for a read that counts."""
        ballots = map(self._open.get, track_ids.tolist())
        ripe = [one is not None and one.agreed >= self._certain_looks for one in ballots]
        return track_ids[np.flatnonzero(ripe)]

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
            ballot = self._open.get(passage.track_id)
            self._forget({passage.track_id})
            self.unread += ballot is None
            if ballot is not None:
                self._over = join_passages(
                    self._over, passage, ballot, alphabet=self._alphabet, alike=self._alike
                )
                last_ms = to_ms(passage.last_seen)
                self._due_ms = min(self._due_ms, last_ms + MERGE_MS)
                self._now_ms = max(self._now_ms, last_ms)
        self._forget(self._open.keys() - alive.tolist())
        back, self._now_ms = now_ms < self._now_ms, now_ms
        if now_ms <= self._due_ms and not back:
            return ()
        waits = [self._may_go_on(*pair, now_ms=now_ms) for pair in self._over]
        pairs = list(zip(self._over, waits, strict=True))
        self._over = [pair for pair, wait in pairs if wait]
        self._due_ms = min((to_ms(one.last_seen) + MERGE_MS for one, _ in self._over), default=inf)
        over = (pair for pair, wait in pairs if not wait)
        return tuple(_add_picture(self._judge(*pair), pair[1]) for pair in over)

    def _forget(self, tracks: set[int]) -> None:
        """Drop the ballots of these tracks."""
        for track in tracks:
            self._open.pop(track, None)
            for members in (self._certain, self._calm, self._swapped):
                members.discard(track)

    def finish(self, passages: tuple[Passage, ...]) -> tuple[PlateRead, ...]:
        """Take in the last passages, return the reads of all, and forget the rest."""
        nothing = np.zeros(0, np.int64)
        last_ms = max([to_ms(passage.last_seen) for passage in passages], default=0)
        reads = self.close(passages, alive=nothing, now_ms=last_ms)
        done, self._over = self._over, []
        return reads + tuple(_add_picture(self._judge(*pair), pair[1]) for pair in done)

    def _is_certain(self, ballot: Ballot) -> bool:
        """Tell whether more looks would change nothing; one that differs asks for others."""
        vote, asked = ballot.vote, self._certain_looks
        if ballot.streak < max(EARLY_LOOKS, asked) or vote.share <= CERTAIN_SHARE:
            return False
        if self._settings.certain_early and vote.confidence >= EARLY_CONFIDENCE:
            return True
        weakest = min(vote.confidences, default=0.0)
        return ballot.streak >= max(CERTAIN_LOOKS, asked) and weakest >= CERTAIN_CONFIDENCE

    def _may_go_on(self, passage: Passage, ballot: Ballot, *, now_ms: int) -> bool:
        """Tell whether the vehicle may turn up again, or has under another track."""
        last_ms = to_ms(passage.last_seen)
        waited_ms = now_ms - last_ms  # below 0: the clock was set back, nobody knows how long
        return 0 <= waited_ms <= MERGE_MS or any(
            other.began_ms <= last_ms + MERGE_MS
            and is_same_plate(other.vote.characters, ballot.vote.characters)
            for other in self._open.values()
        )

    def _check(self, ballot: Ballot, alone: Vote) -> Ballot | None:
        """Return the ballot after a look that is not to be kept, None where it is."""
        if self._is_certain(ballot) and alone.characters == ballot.vote.characters:
            return replace(ballot, checks=ballot.checks + 1)
        known = ballot.vote.agreed >= max(EARLY_LOOKS, self._certain_looks)
        if known and is_strange(alone, ballot.vote):
            return replace(ballot, strange=ballot.strange + 1, streak=0, calm=False)
        return None

    def _add(
        self,
        ballot: Ballot | None,
        look: Slots,
        alone: Vote,
        width_px: NDArray[np.float32],
        best: BestCrop,
        frame: Frame,
    ) -> Ballot:
        """Return the ballot with one more look."""
        if ballot is None:
            return Ballot(
                looks=look,
                widths_px=width_px,
                vote=alone,
                checks=0,
                streak=1,
                calm=alone.confidence >= CALM_CONFIDENCE,
                strange=0,
                began_ms=to_ms(frame.captured_at),
                best=best,
            )
        shown = join_slots((ballot.looks, look))
        widths_px = np.concatenate([ballot.widths_px, width_px])
        vote = count_looks(shown, widths_px, alphabet=self._alphabet, alike=self._alike)
        streak = count_streak(ballot, alone, vote)
        return replace(
            ballot,
            looks=shown,
            widths_px=widths_px,
            vote=vote,
            streak=streak,
            calm=streak > 0 and alone.confidence >= CALM_CONFIDENCE,
            strange=0,
            best=best,
        )

    def _cut(
        self,
        alone: Vote,
        corners: NDArray[np.float32],
        sides_px: NDArray[np.float32],
        frame: Frame,
        ballot: Ballot | None,
    ) -> BestCrop:
        """Return the best crop of the ballot, or the plate at `corners` of `frame` if better."""
        width, height = sides_px.tolist()
        quality = width * height * sum(alone.confidences) / max(len(alone.confidences), 1)
        if ballot is not None and quality < ballot.best.quality * BETTER_CROP:
            return ballot.best
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
                vote,
                agreed=ballot.agreed,
                share=ballot.share,
                settings=self._settings,
                threshold=self._threshold,
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
