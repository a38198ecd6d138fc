"""Pairs from costs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from agent.vision.matching import match_nearest

tables = arrays.arrays(
    np.float32,
    st.tuples(st.integers(0, 6), st.integers(0, 6)),
    elements=st.one_of(st.integers(0, 30).map(float), st.just(float("inf"))),
    unique=False,
)


def match_one_by_one(costs: np.ndarray) -> list[int]:
    """Take the cheapest pair left, again and again."""
    owner = [-1] * costs.shape[1]
    order = sorted((cost, pair) for pair, cost in np.ndenumerate(costs) if np.isfinite(cost))
    rows: set[int] = set()
    for _, (row, column) in order:
        if row not in rows and owner[column] < 0:
            owner[column] = row
            rows.add(row)
    return owner


@given(st.integers(0, 6), st.integers(0, 6), st.randoms(use_true_random=False))
def test_pairs_are_those_of_the_greedy_order(rows, columns, random):
    costs = list(range(rows * columns))
    random.shuffle(costs)
    table = np.array(costs, np.float32).reshape(rows, columns)
    table[table % 4 == 3] = np.inf
    assert match_nearest(table).tolist() == match_one_by_one(table)


@given(tables)
def test_no_row_is_given_twice_and_no_impossible_pair_is_made(costs):
    owner = match_nearest(costs)
    pairs = [(row, column) for column, row in enumerate(owner.tolist()) if row >= 0]
    assert len({row for row, _ in pairs}) == len(pairs)
    assert all(np.isfinite(costs[pair]) for pair in pairs)


@given(tables)
def test_no_possible_pair_is_left_over(costs):
    owner = match_nearest(costs)
    free_rows = sorted(set(range(costs.shape[0])) - set(owner.tolist()))
    free_columns = np.flatnonzero(owner < 0)
    assert not np.isfinite(costs[np.ix_(free_rows, free_columns)]).any()


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_an_empty_table_has_no_pairs(shape):
    assert match_nearest(np.zeros(shape, np.float32)).tolist() == [-1] * shape[1]
