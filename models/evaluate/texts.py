"""Texts of plates compared character by character; what leaves here are pairs, never texts."""

import numpy as np

FOLDED = str.maketrans("OI", "01")

Pair = tuple[int | None, int | None]
"""Place in the true text, place in the text read; None where the other has one more."""


def fold(text: str) -> str:
    """Return `text` with O written as 0 and I as 1: on most plates nobody can tell."""
    return text.translate(FOLDED)


def align(true: str, read: str) -> tuple[Pair, ...]:
    """Return which character of `read` stands for which of `true`, with the fewest changes.

    Wagner and Fischer, "The string-to-string correction problem", 1974.
    """
    costs = np.zeros((len(true) + 1, len(read) + 1), np.int64)
    costs[:, 0], costs[0] = np.arange(len(true) + 1), np.arange(len(read) + 1)
    for row, wanted in enumerate(true, start=1):
        for column, found in enumerate(read, start=1):
            change = costs[row - 1, column - 1] + (wanted != found)
            gap = min(costs[row - 1, column], costs[row, column - 1]) + 1
            costs[row, column] = min(change, gap)
    return _walk_back(costs, true, read)


def _walk_back(costs: np.ndarray, true: str, read: str) -> tuple[Pair, ...]:
    """Return the pairs along the cheapest way through the table of costs."""
    row, column = len(true), len(read)
    pairs: list[Pair] = []
    while row or column:
        here = costs[row, column]
        both = row > 0 and column > 0
        if both and costs[row - 1, column - 1] + (true[row - 1] != read[column - 1]) == here:
            row, column = row - 1, column - 1
            pairs.append((row, column))
        elif row and costs[row - 1, column] + 1 == here:
            row -= 1
            pairs.append((row, None))
        else:
            column -= 1
            pairs.append((None, column))
    return tuple(reversed(pairs))


def list_confusions(true: str, read: str) -> tuple[tuple[str, str], ...]:
    """Return (true, read) of every character that differs; "" for one missing or too many."""
    pairs = [
        ("" if a is None else true[a], "" if b is None else read[b]) for a, b in align(true, read)
    ]
    return tuple(pair for pair in pairs if pair[0] != pair[1])
