"""What became of one labelled plate. No text is kept here: only whether it was right.

The agent's own road does the seeing (`agent.cli.bench_images.look_at`); this module only compares.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from agent.base.settings import ReadSettings
from agent.cli.bench_images import Look
from agent.cli.bench_index import Label, find_nearest
from agent.vision.voting import Vote
from models.evaluate.texts import align, fold, list_confusions

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """One labelled plate and what the road said of it."""

    known: bool
    """Whether the label has a text."""
    found: bool
    """A find's centre lies in the labelled box."""
    strict: bool = False
    folded: bool = False
    """Right when O counts as 0 and I as 1."""
    abstained: bool = True
    confidence: float = 0.0
    """Of the whole text."""
    confidences: tuple[float, ...] = ()
    right: tuple[bool, ...] = ()
    """Of each character read."""
    confusions: tuple[tuple[str, str], ...] = ()
    """(true, read) of characters that differ; "" for one missing or too many."""
    corner_error: float | None = None
    """Mean distance of the four corners, in shares of the plate's width."""
    width_px: float = 0.0
    private: tuple[str, str] = field(default=("", ""), repr=False)
    """(true, read) where the caller asked for texts; else empty."""

    @property
    def wrong(self) -> bool:
        """Answered, and not the text."""
        return self.found and not self.abstained and not self.strict


def judge(look: Look, label: Label, *, exact: bool, keep_texts: bool) -> Outcome:
    """Compare a look with one label.

    Args:
        look: What the road saw in the whole picture.
        label: One plate of it.
        exact: The label's corners are those of the plate, not of a box around it.
        keep_texts: Keep the texts of a wrong read in the outcome.
    """
    row = find_nearest(label, look.corners)
    width_px = measure_width(label.corners)
    if row is None:
        return Outcome(known=bool(label.text), found=False, width_px=width_px)
    vote, error = look.votes[row], None
    if exact:
        gaps = np.linalg.norm(look.corners[row] - label.corners, axis=-1)
        error = float(gaps.mean()) / max(width_px, 1.0)
    if not label.text:
        return Outcome(known=False, found=True, corner_error=error, width_px=width_px)
    wrong = vote.characters != label.text
    return Outcome(
        known=True,
        found=True,
        strict=not wrong,
        folded=fold(vote.characters) == fold(label.text),
        abstained=look.abstained[row],
        confidence=vote.confidence,
        confidences=vote.confidences,
        right=flag_characters(label.text, vote),
        confusions=list_confusions(label.text, vote.characters),
        corner_error=error,
        width_px=width_px,
        private=(label.text, vote.characters) if keep_texts and wrong else ("", ""),
    )


def flag_characters(true: str, vote: Vote) -> tuple[bool, ...]:
    """Return whether each character read stands in the text at its place."""
    flags = [False] * len(vote.characters)
    for wanted, found in align(true, vote.characters):
        if found is not None and wanted is not None:
            flags[found] = true[wanted] == vote.characters[found]
    return tuple(flags)


def measure_width(corners: NDArray[np.float32]) -> float:
    """Return the mean length of the upper and lower side of a plate (4, 2)."""
    upper, lower = corners[1] - corners[0], corners[2] - corners[3]
    return float(np.linalg.norm(upper) + np.linalg.norm(lower)) / 2


def gather_characters(outcomes: tuple[Outcome, ...]) -> tuple[Floats, Flags]:
    """Return confidence and truth of every character that was read of a plate with known text."""
    pairs = [pair for one in outcomes for pair in zip(one.confidences, one.right, strict=True)]
    table = np.array(pairs, np.float64).reshape(-1, 2)
    return table[:, 0], table[:, 1].astype(np.bool_)


def gather_plates(outcomes: tuple[Outcome, ...]) -> tuple[Floats, Flags]:
    """Return confidence and truth of every plate with a known text.

    A plate that was not found, or that the settings withhold whatever the reader's threshold is,
    has confidence 0.
    """
    known = [one for one in outcomes if one.known]
    sure = [one.confidence if may_answer(one) else 0.0 for one in known]
    return np.array(sure, np.float64), np.array([one.strict for one in known], np.bool_)


def may_answer(one: Outcome) -> bool:
    """Tell whether the usual settings allow an answer, so that the threshold decides alone."""
    usual = ReadSettings()
    weakest = min(one.confidences, default=0.0)
    return len(one.confidences) >= usual.min_characters and weakest >= usual.min_char_confidence
