"""Many looks at one plate become one text: evidence is added, not words counted."""

from dataclasses import dataclass, field
from math import prod

import numpy as np
from numpy.typing import NDArray

from agent.vision.decode import (
    MAX_SLOTS,
    SMALLEST,
    Slots,
    measure_confidence,
    measure_surety,
    normalise,
    spell,
)
from agent.vision.texts import count_changes

STRANGE_CONFIDENCE, STRANGE_SHARE = 0.8, 0.5
"""A look that is that sure of a text in which that share of the characters differs shows another
vehicle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The outcome over all looks at one plate."""

    characters: str = field(repr=False)
    confidences: tuple[float, ...]
    """Of each character, 0 to 1."""
    agreed: int
    """Looks whose own text is the outcome."""
    looks: int = 1
    """All looks that were counted."""
    complete: float = 1.0
    """Probability that no character was overlooked, 0 to 1."""

    @property
    def confidence(self) -> float:
        """Probability that all of the text is right; 0 without characters."""
        return prod(self.confidences) * self.complete if self.confidences else 0.0


def count_votes(slots: Slots, *, alphabet: str) -> Vote:
    """Return the outcome of the looks `slots` at one plate.

    Looks with the length that gathers most confidence take part. Their log-probabilities are added
    slot by slot. Looks at one passing plate are not independent (same dirt, same light, same
    network), so n of them count as √n: confidence grows with agreement, but slowly.
    """
    length = choose_length(slots)
    taking_part = slots.lengths == length
    if length == 0:
        return Vote(characters="", confidences=(), agreed=int(taking_part.sum()))
    looks = slots.log_probs[taking_part, :length]
    evidence = normalise(looks.sum(axis=0) / np.float32(np.sqrt(len(looks))))
    winner = evidence.argmax(axis=1)
    agreed = (looks.argmax(axis=2) == winner).all(axis=1).sum()
    return Vote(
        characters=spell(winner, alphabet),
        confidences=tuple(np.exp(evidence.max(axis=1)).tolist()),
        agreed=int(agreed),
        looks=len(slots.lengths),
        complete=join_odds(slots.complete[taking_part], count=float(np.sqrt(len(looks)))),
    )


def merge_looks(looks: tuple[Slots, ...]) -> Slots:
    """Return one look at each of N plates from several: `looks` hold the same plates, N rows each.

    The evidence is averaged, not added: these looks are at one and the same picture, so what
    misleads one misleads all. Added as in `count_votes`, twice as many of the answers were wrong.
    """
    plates = len(looks[0].lengths)
    merged = Slots(
        log_probs=np.zeros_like(looks[0].log_probs),
        lengths=np.zeros(plates, np.int64),
        complete=np.zeros(plates, np.float32),
    )
    for plate in range(plates):
        part = join_slots(tuple(pick_slots(look, np.array([plate])) for look in looks))
        length = choose_length(part)
        taking_part = part.lengths == length
        merged.log_probs[plate, :length] = normalise(
            part.log_probs[taking_part, :length].mean(axis=0)
        )
        merged.lengths[plate] = length
        joined = join_odds(part.complete[taking_part], count=float(taking_part.sum()))
        merged.complete[plate] = np.log(joined)
    return merged


def pick_surer(one: Slots, other: Slots) -> Slots:
    """Return of each plate the surer of two looks; both hold the same plates."""
    surer = np.flatnonzero(measure_surety(other) > measure_surety(one))
    return put_slots(one, surer, pick_slots(other, surer))


def join_odds(log_probs: NDArray[np.float32], *, count: float) -> float:
    """Return the probability that all looks together give, from that of each (n,), n at least 1.

    As with characters: the logarithms of the odds are added and divided by `count`.
    """
    chances = np.clip(np.exp(log_probs.astype(np.float64)), SMALLEST, 1 - SMALLEST)
    odds = np.log(chances / (1 - chances)).sum() / count
    return float(1 / (1 + np.exp(-odds)))


def choose_length(slots: Slots) -> int:
    """Return the number of characters with the greatest sum of confidence; 0 without looks.

    Of two that are equal the longer: a plate that was cut shows less, hardly ever more.
    """
    confidence = measure_confidence(slots)
    weights = np.bincount(slots.lengths, confidence, minlength=MAX_SLOTS + 1).round(3)
    return MAX_SLOTS - int(weights[::-1].argmax()) if weights.any() else 0


def join_slots(parts: tuple[Slots, ...]) -> Slots:
    """Return the looks of all `parts`, at least one, in their order."""
    return Slots(
        log_probs=np.concatenate([part.log_probs for part in parts]),
        lengths=np.concatenate([part.lengths for part in parts]),
        complete=np.concatenate([part.complete for part in parts]),
    )


def pick_slots(slots: Slots, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Slots:
    """Return copies of the `chosen` looks."""
    return Slots(
        log_probs=slots.log_probs[chosen],
        lengths=slots.lengths[chosen],
        complete=slots.complete[chosen],
    )


def put_slots(slots: Slots, chosen: NDArray[np.int64], others: Slots) -> Slots:
    """Return a copy of `slots` whose looks `chosen` are those of `others`, in their order."""
    copy = pick_slots(slots, np.arange(len(slots.lengths)))
    copy.log_probs[chosen] = others.log_probs
    copy.lengths[chosen] = others.lengths
    copy.complete[chosen] = others.complete
    return copy


def is_strange(look: Vote, outcome: Vote) -> bool:
    """Tell whether one look shows another plate than the outcome so far, surely."""
    longest = max(len(look.characters), len(outcome.characters), 1)
    changes = count_changes(look.characters, outcome.characters)
    sure = min(look.confidences, default=0.0) >= STRANGE_CONFIDENCE
    return sure and changes / longest >= STRANGE_SHARE
