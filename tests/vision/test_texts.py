"""Texts of plates compared."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.texts import count_changes, is_same_plate

texts = st.text("AB1", max_size=6)


@given(texts, texts, texts)
def test_changes_are_a_distance(one, other, third):
    assert (count_changes(one, other) == 0) == (one == other)
    assert count_changes(one, third) <= count_changes(one, other) + count_changes(other, third)


@pytest.mark.parametrize(
    ("one", "other", "changes"),
    [("", "", 0), ("ABC", "ABC", 0), ("ABC", "", 3), ("ABC", "XABC", 1), ("ABC", "AXC", 1),
     ("KITTEN", "SITTING", 3), ("ABCD", "BCDE", 2)],
)  # fmt: skip
def test_changes_between_texts_are_counted(one, other, changes):
    assert count_changes(one, other) == count_changes(other, one) == changes


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [("7KXR482", "7KXR482", True), ("7KXR482", "KXR4", True), ("XR4", "7KXR482", False),
     ("7KXR482", "7KXR483", False), ("", "7KXR482", False), ("", "", False), ("1J", "1J", False)],
)  # fmt: skip
def test_a_part_of_a_text_is_the_same_plate_and_a_neighbour_in_number_is_not(one, other, same):
    assert is_same_plate(one, other) is is_same_plate(other, one) is same
