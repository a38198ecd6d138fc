"""Shares with their intervals, reliability, and what a threshold costs."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NORMAL_95 = 1.959964
"""Two-sided 95 % point of the normal distribution."""
BINS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """How many of how many, with the interval in which the true share lies at 95 %."""

    count: int
    of: int

    @property
    def percent(self) -> float | None:
        """Return 100 times the share; None without any case."""
        return 100 * self.count / self.of if self.of else None

    @property
    def interval_percent(self) -> tuple[float, float] | None:
        """Return the score interval (Wilson, 1927): honest near 0 and 100 too."""
        if not self.of:
            return None
        p, z2 = self.count / self.of, NORMAL_95**2 / self.of
        middle = (p + z2 / 2) / (1 + z2)
        half = float(np.sqrt(p * (1 - p) * z2 + z2**2 / 4)) / (1 + z2)
        return 100 * max(0.0, middle - half), 100 * min(1.0, middle + half)

    def as_dict(self) -> dict[str, object]:
        """Return the share for a JSON file."""
        percent, interval = self.percent, self.interval_percent
        return {
            "count": self.count,
            "of": self.of,
            "percent": None if percent is None else round(percent, 2),
            "interval_95_percent": interval and [round(bound, 2) for bound in interval],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bin:
    """Guesses whose confidence lies in one range."""

    low: float
    high: float
    confidence: float
    """Mean of the guesses; 0 without any."""
    right: Share


def count_share(flags: NDArray[np.bool_]) -> Share:
    """Return how many of `flags` are true."""
    return Share(count=int(flags.sum()), of=int(flags.size))


def bin_reliability(
    confidences: NDArray[np.float64], right: NDArray[np.bool_], *, bins: int = BINS
) -> tuple[Bin, ...]:
    """Return how often guesses of each range of confidence are right; ranges are equally wide."""
    rows = np.minimum((confidences * bins).astype(int), bins - 1)
    return tuple(
        Bin(
            low=row / bins,
            high=(row + 1) / bins,
            confidence=float(confidences[rows == row].mean()) if (rows == row).any() else 0.0,
            right=count_share(right[rows == row]),
        )
        for row in range(bins)
    )


def measure_gap(bins: tuple[Bin, ...]) -> float:
    """Return the expected calibration error in points: how far confidence lies from the truth.

    Naeini, Cooper, Hauskrecht, "Obtaining well calibrated probabilities", 2015.
    """
    total = sum(one.right.of for one in bins)
    gaps = [abs(100 * one.confidence - (one.right.percent or 0)) * one.right.of for one in bins]
    return sum(gaps) / max(total, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operating:
    """What one threshold gives, in shares of all plates."""

    threshold: float
    answered: Share
    wrong: Share
    right: Share


def operate(
    confidences: NDArray[np.float64], right: NDArray[np.bool_], *, threshold: float
) -> Operating:
    """Return what is answered, and how, when guesses below `threshold` are withheld."""
    answered = confidences >= threshold
    return Operating(
        threshold=threshold,
        answered=count_share(answered),
        wrong=count_share(answered & ~right),
        right=count_share(answered & right),
    )


def trace_thresholds(
    confidences: NDArray[np.float64], right: NDArray[np.bool_]
) -> tuple[Operating, ...]:
    """Return the outcome of thresholds from 0 to just above 1, closer together near 1."""
    steps = [*np.linspace(0, 0.9, 19), 0.93, 0.95, 0.97, 0.98, 0.99, 0.995, 0.998, 0.999]
    return tuple(operate(confidences, right, threshold=float(step)) for step in steps)


def choose_threshold(
    confidences: NDArray[np.float64],
    right: NDArray[np.bool_],
    *,
    share: float = 1 / 5,
    grid: float = 0.05,
) -> float:
    """Return the lowest threshold that leaves at most `share` of the wrong guesses as answers.

    A reader that never abstains answers all of them, and the peer hardly ever does. Measured
    against our own guesses the rule holds for easy and hard plates alike. A fifth: the peer answers
    3.6 % of the Californian plates wrongly, a third of that is wanted, and our guesses are wrong
    on 5 to 6 % of them.

    Args:
        confidences: (N,) of the guesses.
        right: (N,) whether each is right.
        share: Of the wrong guesses.
        grid: Thresholds are multiples of it. Where none is strict enough, the last below 1.
    """
    allowed = share * int((~right).sum())
    steps = np.round(np.arange(round(1 / grid)) * grid, 6)
    enough = [step for step in steps if ((confidences >= step) & ~right).sum() <= allowed]
    return float(enough[0] if enough else steps[-1])


def show_percent(percent: float | None) -> str:
    """Return a percentage with one decimal."""
    return "-" if percent is None else f"{percent:.1f}"
