"""Many looks at one plate become one text: evidence is added, not words counted."""

from dataclasses import dataclass, field
from math import exp, prod

import numpy as np
from numpy.typing import NDArray

from agent.vision.decode import (
    MAX_SLOTS,
    SMALLEST,
    Slots,
    mask_slots,
    measure_confidence,
    measure_surety,
    normalise,
    spell,
    spell_rows,
)
from agent.vision.texts import count_changes

STRANGE_CONFIDENCE, STRANGE_SHARE = 0.8, 0.5
"""A look that is that sure of a text in which that share of the characters differs shows another
vehicle."""
SIZE_POWER = 2
"""Of the width: a plate twice as wide shows four times as much."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """The outcome over all looks at one plate."""

    characters: str = field(repr=False)
    confidences: tuple[float, ...]
    """Of each character, 0 to 1."""
    agreed: int
    """Looks whose own text is the outcome."""
    share: float = 1.0
    """Weight of those looks in that of all, 0 to 1."""
    complete: float = 1.0
    """Probability that no character was overlooked, 0 to 1."""

    @property
    def confidence(self) -> float:
        """Probability that all of the text is right; 0 without characters."""
        return prod(self.confidences) * self.complete if self.confidences else 0.0


def count_votes(slots: Slots, *, alphabet: str, weights: NDArray[np.float32] | None = None) -> Vote:
    """Return the outcome of the looks `slots` at one plate.

    Looks with the length that gathers most confidence take part. Their log-probabilities are added
    slot by slot. Looks at one passing plate are not independent (same dirt, same light, same
    network), so n of them count as √n: confidence grows with agreement, but slowly. With weights
    n is (Σw)² / Σw²: a look without weight changes nothing.

    Args:
        slots: At least one look.
        alphabet: Of the reader.
        weights: (N,) how much each look counts, above 0, see `weigh_looks`; None = all alike.
    """
    weights = np.ones(len(slots.lengths), np.float32) if weights is None else weights
    length = choose_length(slots, weights)
    taking_part = slots.lengths == length
    if length == 0:
        share = float(weights[taking_part].sum() / weights.sum())
        return Vote(characters="", confidences=(), agreed=int(taking_part.sum()), share=share)
    looks, part = slots.log_probs[taking_part, :length], weights[taking_part]
    count = float(np.sqrt(part @ part))
    evidence = normalise((part @ looks.reshape(len(part), -1)).reshape(looks.shape[1:]) / count)
    winner = evidence.argmax(axis=1)
    agreed = (looks.argmax(axis=2) == winner).all(axis=1)
    return Vote(
        characters=spell(winner, alphabet),
        confidences=tuple(np.exp(evidence.max(axis=1)).tolist()),
        agreed=int(agreed.sum()),
        share=float(part[agreed].sum() / weights.sum()),
        complete=join_odds(slots.complete[taking_part], weights=part, count=count),
    )


def judge_looks(slots: Slots, *, alphabet: str) -> tuple[Vote, ...]:
    """Return the outcome of each look by itself, as `count_votes` of it alone gives it."""
    texts, best = slots.log_probs.argmax(axis=2), np.exp(slots.log_probs.max(axis=2)).tolist()
    complete = np.clip(np.exp(slots.complete), SMALLEST, 1 - SMALLEST).tolist()
    lengths = slots.lengths.tolist()
    return tuple(
        Vote(
            characters=text[:length],
            confidences=tuple(sure[:length]),
            agreed=1,
            complete=whole if length else 1.0,
        )
        for text, sure, length, whole in zip(
            spell_rows(texts, alphabet), best, lengths, complete, strict=True
        )
    )


def weigh_looks(
    widths_px: NDArray[np.float32], sureties: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (N,) how much each of several looks at one plate counts, the weightiest 1.

    That is by its area in the picture times the probability that its text is right: a vehicle that
    comes nearer is first seen too small to be read, and what was guessed then is no disagreement
    with what all can read later.

    Args:
        widths_px: (N,) of the plate in the frame.
        sureties: (N,) `measure_surety`.
    """
    weights = np.maximum(widths_px**SIZE_POWER * sureties, np.float32(SMALLEST))
    return np.asarray(weights / weights.max(), np.float32)


def merge_looks(slots: Slots, looks: int) -> Slots:
    """Return one look at each of N plates from `looks` at each: all first looks, all second, ...

    The evidence is averaged, not added: these looks are at one and the same picture, so what
    misleads one misleads all. Added as in `count_votes`, twice as many of the answers were wrong.
    """
    plates = len(slots.lengths) // looks
    lengths = slots.lengths.reshape(looks, plates)
    confidence = measure_confidence(slots).reshape(looks, plates)
    sums = np.zeros((plates, MAX_SLOTS + 1))
    np.add.at(sums, (np.arange(plates), lengths), confidence)
    length = np.where(sums.any(axis=1), MAX_SLOTS - sums.round(3)[:, ::-1].argmax(axis=1), 0)
    part = lengths == length
    count = np.maximum(part.sum(axis=0), 1).astype(np.float32)
    logs = slots.log_probs.reshape(looks, plates, MAX_SLOTS, -1)
    evidence = normalise((logs * part[..., None, None]).sum(axis=0) / count[:, None, None])
    odds = (find_odds(slots.complete).reshape(looks, plates) * part).sum(axis=0) / count
    return Slots(
        log_probs=evidence * mask_slots(length)[..., None],
        lengths=length,
        complete=np.log(1 / (1 + np.exp(-odds))).astype(np.float32),
    )


def pick_surer(one: Slots, other: Slots) -> Slots:
    """Return of each plate the surer of two looks; both hold the same plates."""
    surer = np.flatnonzero(measure_surety(other) > measure_surety(one))
    return put_slots(one, surer, pick_slots(other, surer))


def join_odds(
    log_probs: NDArray[np.float32], *, weights: NDArray[np.float32], count: float
) -> float:
    """Return the probability that all looks together give, from that of each (n,), n at least 1.

    As with characters: the logarithms of the odds are added by weight and divided by `count`.
    """
    odds = float(weights @ find_odds(log_probs)) / count
    return 1 / (1 + exp(-odds))


def find_odds(log_probs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the logarithms of the odds of probabilities given by their logarithms."""
    chances = np.clip(np.exp(log_probs, dtype=np.float64), SMALLEST, 1 - SMALLEST)
    return np.asarray(np.log(chances / (1 - chances)), np.float64)


def choose_length(slots: Slots, weights: NDArray[np.float32] | None = None) -> int:
    """Return the number of characters with the greatest sum of confidence; 0 without looks.

    Of two that are equal the longer: a plate that was cut shows less, hardly ever more.
    """
    confidence = measure_confidence(slots)
    if weights is not None:
        confidence = confidence * weights
    sums = np.bincount(slots.lengths, confidence, minlength=MAX_SLOTS + 1).round(3)
    return MAX_SLOTS - int(sums[::-1].argmax()) if sums.any() else 0


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
