"""Many looks at one plate become one text: evidence is added, not words counted."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.vision.decode import MAX_SLOTS, Slots, measure_confidence, normalise, spell


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The outcome over all looks at one plate."""

    characters: str = field(repr=False)
    confidences: tuple[float, ...]
    """Of each character, 0 to 1."""
    agreed: int
    """Looks whose own text is the outcome."""


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
    )


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
    )


def pick_slots(slots: Slots, chosen: NDArray[np.int64] | NDArray[np.bool_]) -> Slots:
    """Return copies of the `chosen` looks."""
    return Slots(log_probs=slots.log_probs[chosen], lengths=slots.lengths[chosen])
