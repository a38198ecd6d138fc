"""Many looks, one text."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.decode import MAX_SLOTS, Slots, normalise
from agent.vision.voting import (
    count_votes,
    join_slots,
    judge_looks,
    merge_looks,
    pick_slots,
    put_slots,
    weigh_looks,
)

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def look(text: str, sureness: float | list[float] = 0.9, complete: float = 0.999) -> Slots:
    """Return one look that shows `text`, and how surely that is all of it."""
    sure = [sureness] * len(text) if isinstance(sureness, float) else sureness
    log_probs = np.zeros((1, MAX_SLOTS, len(ALPHABET)), np.float32)
    for place, (character, share) in enumerate(zip(text, sure, strict=True)):
        row = np.full(len(ALPHABET), (1 - share) / (len(ALPHABET) - 1))
        row[ALPHABET.index(character)] = share
        log_probs[0, place] = normalise(np.log(row).astype(np.float32))
    return Slots(
        log_probs=log_probs,
        lengths=np.array([len(text)]),
        complete=np.log([complete]).astype(np.float32),
    )


def vote_on(*looks: Slots):
    return count_votes(join_slots(looks), alphabet=ALPHABET)


texts = st.text(ALPHABET, min_size=1, max_size=10)


@given(texts, st.floats(0.2, 0.99))
def test_one_look_is_its_own_outcome(text, sureness):
    outcome = vote_on(look(text, sureness))
    assert outcome.characters == text
    assert outcome.agreed == 1
    assert outcome.confidences == pytest.approx([sureness] * len(text), abs=0.01)


@given(texts, st.integers(2, 9))
def test_agreeing_looks_are_surer_than_one_but_never_certain(text, count):
    outcome = vote_on(*[look(text, 0.8)] * count)
    assert outcome.agreed == count
    assert all(0.8 < sure <= 1 for sure in outcome.confidences)


def test_nine_looks_count_as_three():
    nine = vote_on(*[look("A", 0.6)] * 9).confidences[0]
    odds = (0.6 / (0.4 / 35)) ** 3
    assert nine == pytest.approx(odds / (odds + 35), abs=0.001)


def test_evidence_is_added_slot_by_slot():
    outcome = vote_on(look("8BC", [0.6, 0.9, 0.9]), look("BBC", [0.5, 0.9, 0.9]), look("8BC", 0.9))
    assert outcome.characters == "8BC"
    assert outcome.agreed == 2


def test_a_surer_minority_outweighs_an_unsure_majority():
    unsure = [look("O1", [0.3, 0.9])] * 2
    assert vote_on(*unsure, look("Q1", [0.99, 0.9])).characters == "Q1"


def test_looks_of_another_length_take_no_part():
    outcome = vote_on(look("ABC123"), look("ABC12"), look("ABC123"))
    assert outcome.characters == "ABC123"
    assert outcome.agreed == 2


def test_the_length_with_most_confidence_wins_not_the_most_frequent():
    outcome = vote_on(look("ABCD", 0.99), look("ABC", 0.3), look("ABC", 0.3))
    assert outcome.characters == "ABCD"


def test_of_two_equal_lengths_the_longer_wins():
    assert vote_on(look("BCD"), look("ABCD")).characters == "ABCD"


def test_blank_looks_lose_against_any_character():
    assert vote_on(look(""), look(""), look("A", 0.3)).characters == "A"


def test_only_blank_looks_end_in_no_text():
    outcome = vote_on(look(""), look(""))
    assert (outcome.characters, outcome.confidences) == ("", ())


def test_the_outcome_hides_its_text():
    assert "7XYZ" not in repr(vote_on(look("7XYZ")))


@given(st.lists(texts, min_size=1, max_size=6), st.randoms())
def test_the_order_of_the_looks_does_not_matter(found, random):
    looks = [look(text, 0.5 + 0.4 * place / 6) for place, text in enumerate(found)]
    expected = vote_on(*looks)
    random.shuffle(looks)
    again = vote_on(*looks)
    assert again.characters == expected.characters
    assert again.confidences == pytest.approx(expected.confidences, abs=1e-4)


def test_picked_looks_are_copies():
    looks = join_slots((look("A"), look("B")))
    picked = pick_slots(looks, np.array([1]))
    picked.log_probs[:] = 0
    assert count_votes(looks, alphabet=ALPHABET).characters in {"A", "B"}
    assert (looks.log_probs[1, 0] != 0).any()


def test_a_plate_is_as_sure_as_all_its_characters_and_gaps_together() -> None:
    outcome = vote_on(look("7KXR", [0.9, 0.8, 1.0 - 1e-7, 0.5], complete=0.6))
    assert outcome.confidence == pytest.approx(0.9 * 0.8 * 0.5 * 0.6, rel=1e-3)
    assert vote_on(look("", [], complete=0.9)).confidence == 0


def test_looks_that_agree_make_a_gap_surer_and_doubtful_ones_do_not() -> None:
    assert vote_on(*[look("7KXR", complete=0.8)] * 4).complete > 0.9
    assert vote_on(*[look("7KXR", complete=0.5)] * 9).complete == pytest.approx(0.5)
    assert vote_on(*[look("7KXR", complete=0.2)] * 4).complete < 0.1


@given(st.lists(st.tuples(texts, st.floats(0.3, 0.98)), min_size=1, max_size=5))
def test_merged_looks_say_what_the_looks_vote_for_and_are_no_surer_than_the_surest(shown):
    looks = [look(text, sureness) for text, sureness in shown]
    alone = count_votes(merge_looks(join_slots(tuple(looks)), len(looks)), alphabet=ALPHABET)
    assert alone.characters == vote_on(*looks).characters
    assert max(alone.confidences) <= max(sureness for _, sureness in shown) + 1e-3


def test_the_same_look_many_times_is_no_surer_than_once():
    once = look("7KXR482", 0.8, complete=0.7)
    again = count_votes(merge_looks(join_slots((once,) * 5), 5), alphabet=ALPHABET)
    assert again.confidences == pytest.approx((0.8,) * 7, abs=1e-4)
    assert again.complete == pytest.approx(0.7, abs=1e-4)


def test_looks_at_several_plates_are_merged_each_with_its_own():
    first, second = (
        join_slots((look("7KXR"), look("3CE"))),
        join_slots((look("7KXR"), look("3CEH"))),
    )
    merged = merge_looks(join_slots((first, second)), 2)
    found = [count_votes(pick_slots(merged, np.array([row])), alphabet=ALPHABET) for row in (0, 1)]
    assert [one.characters for one in found] == ["7KXR", "3CEH"]
    assert (merged.log_probs[0, 4:] == 0).all()


def test_looks_that_are_replaced_leave_the_others_as_they_were():
    three = join_slots((look("AB"), look("C"), look("DEF")))
    changed = put_slots(three, np.array([1]), look("XYZ"))
    one_by_one = [
        count_votes(pick_slots(changed, np.array([k])), alphabet=ALPHABET).characters
        for k in range(3)
    ]
    assert one_by_one == ["AB", "XYZ", "DEF"]
    assert three.lengths.tolist() == [2, 1, 3]


@given(st.lists(st.tuples(texts, st.floats(0.3, 0.98)), min_size=1, max_size=5))
def test_looks_judged_together_are_judged_as_one_by_one(shown):
    looks = [look(text, sureness) for text, sureness in shown]
    for one, judged in zip(
        looks, judge_looks(join_slots(tuple(looks)), alphabet=ALPHABET), strict=True
    ):
        alone = count_votes(one, alphabet=ALPHABET)
        assert judged.characters == alone.characters
        assert judged.confidences == pytest.approx(alone.confidences, abs=1e-5)
        assert judged.complete == pytest.approx(alone.complete, abs=1e-5)
        assert (judged.agreed, judged.share) == (alone.agreed, alone.share) == (1, 1.0)


weights = st.lists(st.floats(0.125, 1, width=32), min_size=3, max_size=3)


@given(weights, st.floats(0.125, 8, width=32))
def test_only_the_ratio_of_weights_counts(found, factor):
    looks = join_slots((look("7KXR", 0.8), look("7KXR", 0.7), look("3KXR", 0.6)))
    weighed = np.array(found, np.float32)
    one = count_votes(looks, alphabet=ALPHABET, weights=weighed)
    other = count_votes(looks, alphabet=ALPHABET, weights=weighed * np.float32(factor))
    assert one.characters == other.characters
    assert one.confidences == pytest.approx(other.confidences, abs=1e-3)
    assert one.share == pytest.approx(other.share, abs=1e-4)


def test_equal_weights_are_none():
    looks = join_slots((look("7KXR", 0.8), look("7KXR", 0.7), look("3KXR", 0.6)))
    plain = count_votes(looks, alphabet=ALPHABET)
    alike = count_votes(looks, alphabet=ALPHABET, weights=np.full(3, 0.3, np.float32))
    assert alike.confidences == pytest.approx(plain.confidences, abs=1e-4)
    assert plain.share == pytest.approx(2 / 3)
    assert alike.share == pytest.approx(2 / 3)


def test_a_look_without_weight_changes_nothing():
    sure, guess = look("7KXR", 0.8), look("3KXB", 0.9)
    weighed = np.array([1, 1e-6], np.float32)
    outcome = count_votes(join_slots((sure, guess)), alphabet=ALPHABET, weights=weighed)
    alone = count_votes(sure, alphabet=ALPHABET)
    assert outcome.characters == alone.characters
    assert outcome.confidences == pytest.approx(alone.confidences, abs=1e-4)
    assert outcome.share > 0.999


def test_a_look_counts_by_its_area_and_its_surety():
    weighed = weigh_looks(np.float32([40, 80, 80, 80]), np.float32([1, 1, 0.5, 0]))
    assert weighed == pytest.approx([0.25, 1, 0.5, 0], abs=1e-6)
    assert weigh_looks(np.float32([50]), np.float32([0])) == pytest.approx([1])
