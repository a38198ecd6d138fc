"""From the reader's columns to characters: CTC collapse for all crops at once.

Graves et al., "Connectionist Temporal Classification", 2006; why a run of columns becomes one
slot with all its probabilities is in deploy/docs/adr/0003-ctc-columns-as-slots.md.
"""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

LogProbs = NDArray[np.float32]
"""(N, S, C) natural logarithms of probabilities; the last class is blank."""

SMALLEST = 1e-6
"""Probabilities below, and as close to 1, make no difference."""
MAX_SLOTS = 16
"""No plate of the world has more characters; what lies beyond is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slots:
    """What N crops show, one slot a character, from the left."""

    log_probs: LogProbs = field(repr=False)
    """(N, 16, C - 1), no blank: log-probabilities of the characters; 0 beyond the length."""
    lengths: NDArray[np.int64]
    """(N,) characters, 0 to 16."""
    complete: NDArray[np.float32]
    """(N,) log-probability that no further character hides between or beside the slots."""


def collapse_columns(columns: LogProbs) -> Slots:
    """Return the characters of N crops from per-column log-probabilities (N, T, C).

    Neighbouring columns with the same best class are one run; a run that is not blank is a
    character. Its slot takes the run's column in which that character is most probable.
    """
    crops, width, classes = columns.shape
    best = columns.argmax(axis=2)
    starts = np.ones((crops, width), np.bool_)
    starts[:, 1:] = best[:, 1:] != best[:, :-1]
    first = np.flatnonzero(starts)
    if not len(first):
        return Slots(
            log_probs=np.zeros((crops, MAX_SLOTS, classes - 1), np.float32),
            lengths=np.zeros(crops, np.int64),
            complete=np.zeros(crops, np.float32),
        )
    peaks = find_peaks(columns.max(axis=2).ravel(), first)
    shown = best.ravel()[first] != classes - 1
    crop, place = number_runs(first // width, shown, crops)
    kept = place < MAX_SLOTS
    log_probs = np.zeros((crops, MAX_SLOTS, classes - 1), np.float32)
    chosen = columns.reshape(-1, classes)[peaks[shown][kept], :-1]
    log_probs[crop[kept], place[kept]] = normalise(chosen)
    lengths = np.minimum(np.bincount(crop, minlength=crops), MAX_SLOTS)
    complete = measure_gaps(columns, best, first)
    return Slots(log_probs=log_probs, lengths=lengths, complete=complete)


def measure_gaps(
    columns: LogProbs, best: NDArray[np.int64], first: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Return (N,) the log-probability that no gap hides a character.

    In a gap only blank and the two characters beside it may stand. What a gap's worst column gives
    to all others is the chance that something was overlooked there: a thin 1, a first letter in
    the shade. With it a plate's confidence parts right from wrong reads better than the weakest
    character does (area under the ROC curve 0.97 against 0.92 on Californian plates).

    Args:
        columns: (N, T, C).
        best: (N, T) best class of each column.
        first: (R,) flat index at which each run of one class begins.
    """
    crops, width, classes = columns.shape
    labels, crop = best.ravel()[first], first // width
    left, right = np.full(len(first), classes - 1), np.full(len(first), classes - 1)
    same = crop[1:] == crop[:-1]
    left[1:][same], right[:-1][same] = labels[:-1][same], labels[1:][same]
    run = np.zeros(crops * width, np.int64)
    run[first[1:]] = 1
    run = np.cumsum(run)
    allowed = np.zeros(columns.shape, np.bool_).reshape(-1, classes)
    allowed[:, -1] = True
    rows = np.arange(len(run))
    allowed[rows, left[run]] = allowed[rows, right[run]] = True
    shares = (np.exp(columns.reshape(-1, classes)) * allowed).sum(axis=1)
    worst = np.minimum.reduceat(shares, first)
    gaps = labels == classes - 1
    logs = np.log(np.clip(worst[gaps], SMALLEST, 1.0))
    return np.bincount(crop[gaps], logs, minlength=crops).astype(np.float32)


def find_spans(columns: LogProbs) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return how many characters N crops show, and from where to where.

    Returns:
        (N,) counts, and (N, 2) middles of the first and the last column that shows a character, in
        shares of the crop's width; 0 and 1 where nothing is shown.
    """
    width, classes = columns.shape[1:]
    best = columns.argmax(axis=2)
    shown = best != classes - 1
    fresh = shown.copy()
    fresh[:, 1:] &= best[:, 1:] != best[:, :-1]
    counts = fresh.sum(axis=1)
    first, last = shown.argmax(axis=1), width - 1 - shown[:, ::-1].argmax(axis=1)
    spans = (np.stack([first, last], axis=1) + 0.5) / width
    spans[counts == 0] = (0.0, 1.0)
    return counts, spans


def find_peaks(values: NDArray[np.float32], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the index of the highest of `values` in each run; `first` are the runs' beginnings."""
    highest = np.maximum.reduceat(values, first)
    run = np.zeros(len(values), np.int64)
    run[first[1:]] = 1
    far = np.where(values == highest[np.cumsum(run)], np.arange(len(values)), len(values))
    peaks: NDArray[np.int64] = np.minimum.reduceat(far, first)
    return peaks


def number_runs(
    crop: NDArray[np.int64], shown: NDArray[np.bool_], crops: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return crop and slot of each shown run, counted from 0 within its crop.

    Args:
        crop: (R,) the crop of each run, rising.
        shown: (R,) True for a character.
        crops: How many there are.
    """
    owner = crop[shown]
    before = np.cumsum(np.bincount(owner, minlength=crops)) - np.bincount(owner, minlength=crops)
    return owner, np.arange(len(owner)) - before[owner]


def normalise(log_probs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return `log_probs` (..., C) shifted so that the probabilities sum to 1."""
    shifted = log_probs - log_probs.max(axis=-1, keepdims=True)
    total: NDArray[np.float32] = shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
    return total


def measure_confidence(slots: Slots) -> NDArray[np.float32]:
    """Return (N,) the mean probability of the best character of each slot; 0 without slots."""
    best = np.exp(slots.log_probs.max(axis=2)) * mask_slots(slots.lengths)
    mean: NDArray[np.float32] = best.sum(axis=1) / np.maximum(slots.lengths, 1)
    return mean


def measure_surety(slots: Slots) -> NDArray[np.float32]:
    """Return (N,) the probability that all of the text is right; 0 without slots."""
    best = slots.log_probs.max(axis=2) * mask_slots(slots.lengths)
    sure: NDArray[np.float32] = np.exp(best.sum(axis=1) + slots.complete) * (slots.lengths > 0)
    return sure


def mask_slots(lengths: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return (N, 16) True where a slot holds a character."""
    return np.asarray(np.arange(MAX_SLOTS) < lengths[:, None])


def spell(indices: NDArray[np.int64], alphabet: str) -> str:
    """Return the characters at `indices` of `alphabet`."""
    letters = np.frombuffer(alphabet.encode("ascii"), np.uint8)
    return letters[indices].tobytes().decode("ascii")


def spell_rows(indices: NDArray[np.int64], alphabet: str) -> list[str]:
    """Return the characters at each row of `indices` (N, S) of `alphabet`."""
    width, text = indices.shape[1], spell(indices.ravel(), alphabet)
    return [text[at : at + width] for at in range(0, len(text), width)]
