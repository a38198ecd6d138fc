"""What was read of one track: when it is certain, when it abstains, when two are one vehicle."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.base.clock import to_ms
from agent.base.records import Passage, Plane, merge_passages
from agent.base.settings import ReadSettings
from agent.vision.decode import Slots, measure_surety
from agent.vision.texts import is_same_plate
from agent.vision.voting import Vote, count_votes, join_slots, weigh_looks

LEAST_AGREED = 2 / 3
"""Share of the looks that must show the outcome, by weight. Many doubtful looks add up to a sure
vote, though they doubt for one reason: a 6 that is a smeared G won with 8 of 13 looks."""
MERGE_MS = 1500
"""The same text again within this time is the same vehicle: it was hidden for a moment."""


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
    widths_px: NDArray[np.float32]
    """(N,) of the plate in each look."""
    vote: Vote
    checks: int
    """Looks that agreed after the track was certain; they are counted, not kept."""
    streak: int
    """Looks up to the last one that agreed without a break."""
    calm: bool
    """Whether the last look was sure, and of the outcome."""
    strange: int
    """Looks in a row that showed another plate."""
    began_ms: int
    best: BestCrop

    @property
    def agreed(self) -> int:
        """Looks whose own text is the outcome."""
        return self.vote.agreed + self.checks

    @property
    def share(self) -> float:
        """Weight of those looks in that of all; a check weighs as much as they do in the mean."""
        more = self.vote.share * self.checks / max(self.vote.agreed, 1)
        return (self.vote.share + more) / (1 + more)


def count_looks(
    looks: Slots, widths_px: NDArray[np.float32], *, alphabet: str, alike: bool
) -> Vote:
    """Return the outcome of the looks at one track; `alike` = each counts as much as the others."""
    weights = None if alike else weigh_looks(widths_px, measure_surety(looks))
    return count_votes(looks, alphabet=alphabet, weights=weights)


def must_abstain(
    vote: Vote, *, agreed: int, share: float, settings: ReadSettings, threshold: float
) -> bool:
    """Tell whether the outcome is too weak to be used as a read.

    Args:
        vote: The outcome.
        agreed: Looks that show it.
        share: Their weight in that of all looks.
        settings: May ask for more than the reader.
        threshold: The reader's own, chosen with its calibration.
    """
    return (
        len(vote.characters) < settings.min_characters
        or agreed < settings.min_frames_agreed
        or min(vote.confidences, default=0.0) < settings.min_char_confidence
        or vote.confidence < threshold
        or share < LEAST_AGREED
    )


def count_streak(ballot: Ballot, look: Vote, outcome: Vote) -> int:
    """Return how many looks up to this one agreed in a row with the new outcome."""
    if look.characters != outcome.characters:
        return 0
    return ballot.streak + 1 if outcome.characters == ballot.vote.characters else 1


def join_passages(
    over: list[tuple[Passage, Ballot]],
    passage: Passage,
    ballot: Ballot,
    *,
    alphabet: str,
    alike: bool,
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
                merge_ballots(known, ballot, alphabet=alphabet, alike=alike),
            )
            return [*over[:row], joined, *over[row + 1 :]]
    return [*over, (passage, ballot)]


def merge_ballots(one: Ballot, other: Ballot, *, alphabet: str, alike: bool) -> Ballot:
    """Return the ballot with the looks of both; checks count where they were of the outcome."""
    looks = join_slots((one.looks, other.looks))
    widths_px = np.concatenate([one.widths_px, other.widths_px])
    vote = count_looks(looks, widths_px, alphabet=alphabet, alike=alike)
    checks = sum(part.checks for part in (one, other) if part.vote.characters == vote.characters)
    return Ballot(
        looks=looks,
        widths_px=widths_px,
        vote=vote,
        checks=checks,
        streak=0,
        calm=False,
        strange=0,
        began_ms=min(one.began_ms, other.began_ms),
        best=max(one.best, other.best, key=lambda best: best.quality),
    )
