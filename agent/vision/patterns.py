"""What the patterns of plates say of a doubtful character: a 0 or an O, a 1 or an I, a 2 or a Z.

Bayes' rule over patterns of letters and digits. Each pattern has a share of all plates; what is
left over belongs to plates of no pattern, on which every order of letters and digits is as likely.
A pattern never forbids: what the reader sees clearly stands, on whatever plate.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from agent.vision.decode import MAX_SLOTS, SMALLEST, Slots, mask_slots, normalise

LETTER, DIGIT = "L", "D"
TRUST = 0.75
"""Of the shares' logarithms: the reader has learned a part of them from its neighbours' sight."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patterns:
    """P patterns, and last the one of plates that follow none."""

    letters: NDArray[np.float32]
    """(P, 16) 1 where a letter stands."""
    digits: NDArray[np.float32]
    """(P, 16) 1 where a digit stands."""
    shares: NDArray[np.float32]
    """(P,) logarithms."""
    free: float
    """Logarithm of the share that is left over."""
    letter_classes: NDArray[np.bool_]
    """(C,) True for letters of the alphabet."""


def make_patterns(shares: Mapping[str, float], *, alphabet: str) -> Patterns:
    """Return a manifest's patterns: words of `L` and `D` with their shares, at most 1 in all."""
    words = [word[:MAX_SLOTS].ljust(MAX_SLOTS) for word in shares]
    marks = np.array([list(word) for word in words], "U1").reshape(-1, MAX_SLOTS)
    return Patterns(
        letters=(marks == LETTER).astype(np.float32),
        digits=(marks == DIGIT).astype(np.float32),
        shares=np.log(np.array(list(shares.values()), np.float32)),
        free=float(np.log(max(1.0 - sum(shares.values()), SMALLEST))),
        letter_classes=np.array([not mark.isdigit() for mark in alphabet]),
    )


def weigh_patterns(slots: Slots, patterns: Patterns) -> Slots:
    """Return the looks with what the patterns say of letters and digits."""
    if not len(patterns.shares) or not len(slots.lengths):
        return slots
    logs, letters = slots.log_probs, patterns.letter_classes
    as_letter = np.logaddexp.reduce(logs[..., letters], axis=2)
    as_digit = np.logaddexp.reduce(logs[..., ~letters], axis=2)
    chance = _find_letters(as_letter, as_digit, slots.lengths, patterns)
    shift = np.where(
        letters,
        (np.log(chance) - as_letter)[..., None],
        (np.log1p(-chance) - as_digit)[..., None],
    )
    shown = mask_slots(slots.lengths)[..., None]
    return replace(slots, log_probs=np.where(shown, normalise(logs + shift), 0).astype(np.float32))


def _find_letters(
    as_letter: NDArray[np.float32],
    as_digit: NDArray[np.float32],
    lengths: NDArray[np.int64],
    patterns: Patterns,
) -> NDArray[np.float32]:
    """Return (N, 16) how probable it is that a letter stands there."""
    fits = TRUST * patterns.shares + as_letter @ patterns.letters.T + as_digit @ patterns.digits.T
    sizes = (patterns.letters + patterns.digits).sum(axis=1)
    fits[sizes != lengths[:, None]] = -np.inf
    alone = TRUST * (patterns.free - lengths * np.log(2.0))
    odds = np.exp(normalise(np.column_stack([fits, alone]).astype(np.float32)))
    chance = odds[:, :-1] @ patterns.letters + odds[:, -1:] * np.exp(as_letter)
    return np.asarray(np.clip(chance, SMALLEST, 1 - SMALLEST), np.float32)
