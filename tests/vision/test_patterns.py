"""Patterns settle what the reader left open, and nothing else."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.vision.decode import MAX_SLOTS, Slots, normalise
from agent.vision.patterns import make_patterns, weigh_patterns

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
CALIFORNIA = make_patterns({"DLLLDDD": 0.5, "DLDDDDD": 0.2, "LLL": 0.1}, alphabet=ALPHABET)


def look(*characters):
    """Return one look; each character is a mapping of marks to their probabilities."""
    log_probs = np.zeros((1, MAX_SLOTS, len(ALPHABET)), np.float32)
    for place, chances in enumerate(characters):
        row = np.full(len(ALPHABET), 1e-4)
        for mark, chance in chances.items():
            row[ALPHABET.index(mark)] = chance
        log_probs[0, place] = normalise(np.log(row).astype(np.float32))
    lengths = np.array([len(characters)])
    return Slots(log_probs=log_probs, lengths=lengths, complete=np.zeros(1, np.float32))


def sure(text, chance=0.99):
    return [{mark: chance} for mark in text]


def read(slots):
    return "".join(ALPHABET[i] for i in slots.log_probs[0, : slots.lengths[0]].argmax(axis=1))


def test_a_doubtful_nought_among_digits_is_no_letter():
    slots = look(*sure("6J"), {"O": 0.55, "0": 0.44}, *sure("1992"))
    assert read(slots) == "6JO1992"
    assert read(weigh_patterns(slots, CALIFORNIA)) == "6J01992"


def test_the_same_doubt_among_letters_ends_the_other_way():
    slots = look(*sure("6J"), {"0": 0.55, "O": 0.44}, *sure("B992"))
    assert read(weigh_patterns(slots, CALIFORNIA)) == "6JOB992"


def test_what_is_seen_clearly_stands_on_a_plate_of_no_pattern():
    slots = look(*sure("ILUVYOU", 0.9999))
    after = weigh_patterns(slots, CALIFORNIA)
    assert read(after) == "ILUVYOU"
    assert np.exp(after.log_probs[0, :7].max(axis=1)).min() > 0.9


def test_which_letter_it_is_no_pattern_says():
    slots = look({"8": 0.9}, {"O": 0.5, "Q": 0.3, "0": 0.1}, *sure("AB123"))
    before, after = (
        np.exp(one.log_probs[0, 1]) for one in (slots, weigh_patterns(slots, CALIFORNIA))
    )
    q, o = ALPHABET.index("Q"), ALPHABET.index("O")
    assert after[q] / after[o] == pytest.approx(before[q] / before[o], rel=1e-4)
    assert after[o] > before[o]


def test_without_patterns_and_without_plates_nothing_changes():
    slots = look(*sure("6J01992"))
    assert weigh_patterns(slots, make_patterns({}, alphabet=ALPHABET)) is slots
    none = Slots(
        log_probs=slots.log_probs[:0], lengths=slots.lengths[:0], complete=slots.complete[:0]
    )
    assert weigh_patterns(none, CALIFORNIA) is none


@given(st.integers(0, MAX_SLOTS), st.integers(0, 2**32 - 1))
def test_probabilities_stay_probabilities_and_lengths_stay(length, seed):
    logs = np.random.default_rng(seed).normal(0, 4, (1, MAX_SLOTS, len(ALPHABET)))
    logs = normalise(logs.astype(np.float32))
    logs[:, length:] = 0
    slots = Slots(log_probs=logs, lengths=np.array([length]), complete=np.full(1, -0.1, np.float32))
    after = weigh_patterns(slots, CALIFORNIA)
    assert np.exp(after.log_probs[0, :length]).sum(axis=1) == pytest.approx(1, abs=1e-3)
    assert (after.log_probs[0, length:] == 0).all()
    assert after.lengths.tolist() == [length]
    assert after.complete == slots.complete
