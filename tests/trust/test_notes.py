"""Checkpoints: only the unit's own, only in one spelling."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.trust.keys import generate_signer
from agent.trust.notes import (
    NO_NOTE,
    Checkpoint,
    last_note,
    log_origin,
    open_checkpoint,
    peek_checkpoint,
    require_head,
    sign_checkpoint,
    split_notes,
)
from agent.trust.signatures import load_public_key

VECTORS = sorted((Path(__file__).parent.parent / "vectors" / "checkpoints").glob("*.txt"))
ORIGIN = "homeplate/test-unit-1/watch"
SIGNER = generate_signer()
MESSAGES = {
    "no note": "not a signed note|only allowed form",
    "other origin": "expected homeplate/test-unit-1/watch",
    "unknown key": "unknown key",
    "bad signature": "does not verify",
}
checkpoints = st.builds(
    Checkpoint,
    origin=st.sampled_from([log_origin("u-1", "watch"), log_origin("u-1", "send")]),
    size=st.integers(0, 10**18),
    root=st.binary(min_size=32, max_size=32),
    number=st.integers(1, 10**18),
    previous=st.binary(min_size=32, max_size=32),
)


def case(path):
    head, _, note = path.read_bytes().decode().partition("\n\n")
    expect, key = (line.split(": ")[1] for line in head.split("\n"))
    return expect, load_public_key(bytes.fromhex(key), place=path.name), note


def vectors(*, good):
    paths = [path for path in VECTORS if (case(path)[0] == "opens") == good]
    assert paths
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def note_of(number):
    head = Checkpoint(origin=ORIGIN, size=number, root=bytes(32), number=number, previous=NO_NOTE)
    return sign_checkpoint(SIGNER, head)


@vectors(good=True)
def test_good_vectors_open(path):
    _, key, note = case(path)
    head = open_checkpoint(note, (key,), origin=ORIGIN)
    assert (head.root, head.number) == (bytes(range(32)), 7)
    assert head.previous == bytes(range(32, 64))


@vectors(good=False)
def test_bad_vectors_are_refused_for_their_reason(path):
    expect, key, note = case(path)
    with pytest.raises(IntegrityError, match=MESSAGES[expect]):
        open_checkpoint(note, (key,), origin=ORIGIN)


@given(checkpoints)
def test_what_is_signed_opens(head):
    note = sign_checkpoint(SIGNER, head)
    other = generate_signer().public_key
    assert open_checkpoint(note, (other, SIGNER.public_key), origin=head.origin) == head
    assert peek_checkpoint(note) == head


def test_any_flipped_bit_is_refused():
    note = note_of(5).encode()
    for bit in range(8 * len(note)):
        changed = bytearray(note)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            open_checkpoint(
                bytes(changed).decode(errors="replace"), (SIGNER.public_key,), origin=ORIGIN
            )


@given(st.integers(0, 4), st.integers(0, 250))
def test_a_file_of_notes_is_split_into_the_whole_ones(count, torn):
    notes = tuple(note_of(number) for number in range(1, count + 1))
    rest = note_of(9)[:torn]
    text = "".join(f"{note}\n" for note in notes) + rest
    assert split_notes(text) == (notes, rest)
    assert last_note(text) == (notes[-1] if notes else None)


@pytest.mark.parametrize("cut", range(0, 200, 7))
def test_the_last_note_is_found_in_the_end_of_a_file(cut):
    text = f"{note_of(1)}\n{note_of(2)}\n"
    assert last_note(text[cut:]) == note_of_text(text)


def note_of_text(text):
    return split_notes(text)[0][1]


def test_a_log_is_held_against_its_checkpoint():
    head = Checkpoint(origin=ORIGIN, size=3, root=bytes(32), number=1, previous=NO_NOTE)
    assert require_head(head, size=3, root=bytes(32)) is head
    with pytest.raises(IntegrityError, match="found 2 whole entries on disk; expected the 3"):
        require_head(head, size=2, root=bytes(32))
    with pytest.raises(IntegrityError, match="found other entries"):
        require_head(head, size=3, root=bytes(31) + b"1")
