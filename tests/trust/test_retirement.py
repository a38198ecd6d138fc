"""The certificate of destruction: only the last entry of the unit's own log, and only whole."""

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.trust.entries import Gap, Retired, encode_entry
from agent.trust.keys import generate_signer
from agent.trust.merkle import Tree, leaf_hash
from agent.trust.notes import NO_NOTE, Checkpoint, log_origin, sign_checkpoint
from agent.trust.retirement import decode_statement, make_statement, open_statement

SIGNER = generate_signer()
RETIRED = Retired(
    at_ms=7, watch_key=bytes(32), send_key=bytes(32), tls_key=bytes(32), reads=3, reason="done"
)


def gap(at_ms, cut_bytes):
    return Gap(at_ms=at_ms, cut_bytes=cut_bytes, kept=0, unsigned=0)


def statement(*, entries=(), last=RETIRED, unit="unit-a", origin=None, signer=SIGNER):
    """Return the statement over a log with some entries before the last."""
    contents = (*(encode_entry(entry) for entry in entries), encode_entry(last))
    tree = Tree(leaf_hash(content) for content in contents)
    head = Checkpoint(
        origin=origin or log_origin(unit, "send"),
        size=len(contents),
        root=tree.root(),
        number=1,
        previous=NO_NOTE,
    )
    return make_statement(unit, contents, sign_checkpoint(signer, head))


def open_it(content, *, unit="unit-a", signer=SIGNER):
    return open_statement(content, unit=unit, key=signer.public_key)


@given(st.integers(0, 40))
def test_it_opens_whatever_the_length_of_the_log(length):
    found = open_it(statement(entries=[gap(i, i) for i in range(length)]))
    assert found.retired == RETIRED
    assert found.head.size == length + 1


GOOD = statement(entries=[gap(1, 2)] * 4)


@given(st.data())
def test_any_flipped_bit_is_refused(data):
    place = data.draw(st.integers(0, 8 * len(GOOD) - 1))
    flipped = bytearray(GOOD)
    flipped[place // 8] ^= 1 << place % 8
    with pytest.raises(IntegrityError):
        open_it(bytes(flipped))


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(content):
    with pytest.raises(IntegrityError):
        decode_statement(content)


def fields(**changes):
    found = cbor2.loads(GOOD) | {int(name[1:]): value for name, value in changes.items()}
    return cbor2.dumps(found, canonical=True)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        pytest.param(statement(unit="unit-b"), "expected unit-a", id="another unit"),
        pytest.param(
            statement(origin="homeplate/unit-a/watch"), "expected homeplate", id="another log"
        ),
        pytest.param(statement(signer=generate_signer()), "unknown key", id="another key"),
        pytest.param(
            statement(last=gap(1, 1)),
            "another kind",
            id="another entry",
        ),
        pytest.param(fields(k4=[]), "inclusion proof", id="no proof"),
        pytest.param(fields(k4=[bytes(32)] * 3), "inclusion proof", id="another proof"),
        pytest.param(fields(k4=[bytes(31)]), "retirement: ", id="a hash cut"),
        pytest.param(fields(k5=0), "found 6 fields", id="a field too many"),
        pytest.param(fields(k0=2), "retirement: ", id="version two"),
        pytest.param(fields(k1="../x"), "retirement: ", id="unit with a path"),
    ],
)
def test_a_fault_is_refused_for_its_reason(content, said):
    with pytest.raises(IntegrityError, match=said):
        open_it(content)
