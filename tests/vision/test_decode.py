"""CTC columns to characters."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.decode import (
    MAX_SLOTS,
    collapse_columns,
    mask_slots,
    measure_confidence,
    normalise,
    spell,
)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
BLANK = len(ALPHABET)
COLUMNS = 32
labels = st.lists(st.integers(0, BLANK), min_size=COLUMNS, max_size=COLUMNS)


def make_columns(rows: list[list[int]], probability: float = 0.9) -> np.ndarray:
    """Return log-probabilities in which column t of crop n favours `rows[n][t]`."""
    best = np.array(rows)
    rest = (1 - probability) / BLANK
    out = np.full((*best.shape, BLANK + 1), np.log(rest), np.float32)
    np.put_along_axis(out, best[..., None], np.float32(np.log(probability)), axis=2)
    return out


def collapse_by_the_book(row: list[int]) -> str:
    """The definition of Graves et al.: drop repetitions, then blanks."""
    fresh = [one for one, before in zip(row, [None, *row[:-1]], strict=True) if one != before]
    return "".join(ALPHABET[one] for one in fresh if one != BLANK)


def texts_of(columns: np.ndarray) -> list[str]:
    slots = collapse_columns(columns)
    best = slots.log_probs.argmax(axis=2)
    return [spell(row[:length], ALPHABET) for row, length in zip(best, slots.lengths, strict=True)]


@given(st.lists(labels, min_size=1, max_size=6))
def test_collapsing_many_crops_equals_the_definition_one_by_one(rows):
    expected = [collapse_by_the_book(row)[:MAX_SLOTS] for row in rows]
    assert texts_of(make_columns(rows)) == expected


@given(st.lists(labels, min_size=1, max_size=4))
def test_slots_hold_probabilities_and_nothing_beyond_the_length(rows):
    slots = collapse_columns(make_columns(rows))
    within = mask_slots(slots.lengths)
    sums = np.exp(slots.log_probs).sum(axis=2)
    np.testing.assert_allclose(sums[within], 1, rtol=1e-4)
    assert (slots.log_probs[~within] == 0).all()


def test_the_same_character_twice_needs_a_blank_between():
    a, gap = ALPHABET.index("A"), BLANK
    rows = [[a, a, gap, a] + [gap] * 28, [a, a, a, a] + [gap] * 28]
    assert texts_of(make_columns(rows)) == ["AA", "A"]


def test_a_slot_takes_the_surest_column_of_its_run():
    columns = make_columns([[5] * 3 + [BLANK] * 29])
    columns[0, 1] = make_columns([[5]], probability=0.99)[0, 0]
    slots = collapse_columns(columns)
    assert np.exp(slots.log_probs[0, 0, 5]) == pytest.approx(0.99, abs=0.001)


def test_runs_do_not_reach_into_the_next_crop():
    rows = [[BLANK] * 31 + [7], [7] + [BLANK] * 31]
    assert texts_of(make_columns(rows)) == ["7", "7"]


def test_more_characters_than_slots_are_cut():
    row = [value for number in range(16) for value in (number, number + 16)]
    assert len(texts_of(make_columns([row]))[0]) == MAX_SLOTS


@pytest.mark.parametrize("crops", [0, 3], ids=["no crop", "blank crops"])
def test_nothing_to_read_gives_no_characters(crops):
    slots = collapse_columns(make_columns([[BLANK] * COLUMNS] * 3)[:crops])
    assert slots.lengths.tolist() == [0] * crops
    assert slots.log_probs.shape == (crops, MAX_SLOTS, BLANK)
    assert measure_confidence(slots).tolist() == [0.0] * crops


def test_confidence_is_the_mean_probability_of_the_characters():
    columns = make_columns([[1, BLANK, 2] + [BLANK] * 29], probability=0.8)
    expected = 0.8 / (1 - 0.2 / BLANK)  # blank left out of the sum
    assert measure_confidence(collapse_columns(columns))[0] == pytest.approx(expected, abs=1e-4)


def test_columns_are_left_as_they_were():
    columns = make_columns([[1] * COLUMNS])
    before = columns.copy()
    collapse_columns(columns)
    np.testing.assert_array_equal(columns, before)


def test_normalising_very_unlikely_numbers_stays_finite():
    sure = normalise(np.array([[-1000.0, -1001.0]], np.float32))
    assert np.exp(sure).sum() == pytest.approx(1)


def test_a_clear_gap_says_that_nothing_was_overlooked() -> None:
    columns = make_columns([[1, BLANK, BLANK, 2, BLANK, BLANK]], probability=0.9999)
    assert collapse_columns(columns).complete[0] == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize("place", [0, 2, 5], ids=["before", "between", "after"])
def test_a_doubtful_gap_makes_the_text_doubtful(place) -> None:
    columns = make_columns([[BLANK, 1, BLANK, BLANK, 2, BLANK]], probability=0.9999)
    columns[0, place] = np.log(1e-6)
    columns[0, place, [BLANK, 7]] = np.log([0.6, 0.4])
    assert np.exp(collapse_columns(columns).complete[0]) == pytest.approx(0.6, abs=0.01)


def test_a_neighbour_that_reaches_into_a_gap_is_no_doubt() -> None:
    columns = make_columns([[1, BLANK, BLANK, 2]], probability=0.9999)
    columns[0, 1] = columns[0, 2] = np.log(1e-6)
    columns[0, 1, [BLANK, 1]] = np.log([0.6, 0.4])
    columns[0, 2, [BLANK, 2]] = np.log([0.6, 0.4])
    assert collapse_columns(columns).complete[0] == pytest.approx(0, abs=1e-2)


@given(st.lists(labels, min_size=1, max_size=4))
def test_a_crop_is_as_complete_alone_as_among_others(rows) -> None:
    together = collapse_columns(make_columns(rows)).complete
    alone = [collapse_columns(make_columns([row])).complete[0] for row in rows]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert (together <= 0).all()
