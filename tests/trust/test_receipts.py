"""Receipts: only the city's, only for what was sent."""

from pathlib import Path

import cbor2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.trust.keys import generate_signer
from agent.trust.receipts import (
    Receipt,
    open_receipt,
    peek_receipt,
    require_receipt_for,
    sign_receipt,
)
from agent.trust.signatures import load_public_key

VECTORS = sorted((Path(__file__).parent.parent / "vectors" / "receipts").glob("*.txt"))
SIGNER = generate_signer()
MESSAGES = {
    "malformed": "receipt|CBOR",
    "unknown key": "which the policy does not name",
    "bad signature": "does not verify",
}
hashes = st.binary(min_size=32, max_size=32)
numbers = st.integers(0, 2**63 - 1)
receipts = st.builds(
    Receipt,
    unit=st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True),
    frames=st.lists(hashes, min_size=1, max_size=5).map(tuple),
    log_size=numbers,
    log_root=hashes,
    time_ms=numbers,
    previous=st.binary(min_size=32, max_size=32),
)


def case(path):
    values = dict(line.split(": ", 1) for line in path.read_text().splitlines())
    key = load_public_key(bytes.fromhex(values["public_key"]), place=path.name)
    return values["expect"], key, bytes.fromhex(values["receipt"])


def vectors(*, good):
    paths = [path for path in VECTORS if (case(path)[0] == "opens") == good]
    assert paths
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def example(**changes):
    fields = {
        "unit": "unit-a",
        "frames": (bytes(32), bytes(31) + b"1"),
        "log_size": 4,
        "log_root": bytes(32),
        "time_ms": 5,
    }
    return Receipt(**(fields | changes))


@vectors(good=True)
def test_good_vectors_open(path):
    _, key, signed = case(path)
    receipt = open_receipt(signed, (key,))
    assert (receipt.unit, receipt.log_size) == ("test-unit-1", 42)
    assert cbor2.loads(sign_receipt(SIGNER, receipt))[0] == cbor2.loads(signed)[0]


@vectors(good=False)
def test_bad_vectors_are_refused_for_their_reason(path):
    expect, key, signed = case(path)
    with pytest.raises(IntegrityError, match=MESSAGES[expect]):
        open_receipt(signed, (key,))


@given(receipts)
def test_what_is_signed_opens(receipt):
    signed = sign_receipt(SIGNER, receipt)
    other = generate_signer().public_key
    assert open_receipt(signed, (other, SIGNER.public_key)) == receipt
    assert peek_receipt(signed) == receipt


def test_any_flipped_bit_is_refused():
    signed = sign_receipt(SIGNER, example())
    for bit in range(8 * len(signed)):
        changed = bytearray(signed)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(IntegrityError):
            open_receipt(bytes(changed), (SIGNER.public_key,))


def test_any_cut_is_refused():
    signed = sign_receipt(SIGNER, example())
    for length in range(len(signed)):
        with pytest.raises(IntegrityError):
            open_receipt(signed[:length], (SIGNER.public_key,))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({"unit": "unit-b"}, "for the unit unit-b", id="another unit"),
        pytest.param({"frames": (bytes(32),)}, "for other frames", id="one frame less"),
        pytest.param(
            {"frames": (bytes(31) + b"1", bytes(32))}, "for other frames", id="other order"
        ),
        pytest.param({"log_size": 2}, "expected 3 to 4", id="a log without the frames"),
        pytest.param({"log_size": 5}, "expected 3 to 4", id="a log that was never sent"),
        pytest.param({"log_root": b"1" * 32}, "another log of 4", id="another log"),
        pytest.param({"log_size": 3, "log_root": b"1" * 32}, "log of 3", id="another older log"),
    ],
)
def test_a_receipt_for_others_is_refused(changes, message):
    with pytest.raises(IntegrityError, match=message):
        require(example(**changes))


@pytest.mark.parametrize("size", [3, 4], ids=["of the first delivery", "of this one"])
def test_a_receipt_for_what_was_sent_is_returned(size):
    receipt = example(log_size=size)
    assert require(receipt) is receipt


def require(receipt):
    """Hold a receipt against an upload under a log of 4 entries, the third of them its last."""
    return require_receipt_for(
        receipt,
        unit="unit-a",
        frames=example().frames,
        sizes=range(3, 5),
        root_at=lambda _: bytes(32),
    )
