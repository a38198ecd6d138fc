"""Pairs from a table of costs."""

import numpy as np
from numpy.typing import NDArray


def match_nearest(costs: NDArray[np.float32]) -> NDArray[np.int64]:
    """Return (M,) the row that each column of `costs` (N, M) belongs to, -1 for none.

    Nearest pairs first, each row and each column once: pairs that are each other's nearest are
    taken until none is left. That is the greedy order without a loop over pairs.

    Args:
        costs: 0 and more; infinite where a pair is impossible. Left as it was.
    """
    rows, columns = costs.shape
    owner = np.full(columns, -1, np.int64)
    if rows == columns == 1:  # one vehicle in view: the usual case, and no table
        return np.where(np.isfinite(costs[0]), 0, owner)
    left = costs.copy()
    for _ in range(min(rows, columns)):
        nearest = left.argmin(axis=0)
        mutual = left.argmin(axis=1)[nearest] == np.arange(columns)
        found = np.flatnonzero(mutual & np.isfinite(left[nearest, np.arange(columns)]))
        if not len(found):
            break
        owner[found] = nearest[found]
        left[nearest[found]] = np.inf
        left[:, found] = np.inf
    return owner
