"""Sealing and opening: what is sealed opens with the city's key only, and as it was."""

from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import CredentialError, IntegrityError
from agent.cli.open import open_items
from agent.trust.envelope import OVERHEAD_BYTES, open_sealed, seal_frame
from agent.trust.frames import SealedFrame, encode_frame, parse_frame
from agent.trust.keys import Opener, generate_opener
from tests.independent_opener import RefusedError, open_frame
from tests.sealing import frame_header

VECTORS = sorted((Path(__file__).parent.parent / "vectors" / "frames").glob("*.txt"))
CITY = generate_opener()


def seal_to_city(plaintext, header, key):
    return parse_frame(seal_frame(plaintext, header, key))


def read_vector(path):
    return dict(line.split(": ") if ": " in line else (line[:-1], "") for line in lines(path))


def lines(path):
    return path.read_text().splitlines()


def vectors(*expected):
    paths = [path for path in VECTORS if lines(path)[0].removeprefix("expect: ") in expected]
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def city_header(**changes):
    return frame_header(key_id=CITY.key_id, **changes)


def opener_of(vector):
    scalar = int(vector["test_only_key"], 16)
    return Opener(ec.derive_private_key(scalar, ec.SECP256R1()))


def test_there_are_vectors_of_every_kind():
    kinds = [lines(path)[0] for path in VECTORS]
    expected = {"opens", "no frame", "does not open", "other key", "bad contents"}
    assert {kind.removeprefix("expect: ") for kind in kinds} == expected
    assert len(kinds) >= 20


@vectors("opens")
def test_good_vectors_open(path):
    vector = read_vector(path)
    content = bytes.fromhex(vector["frame"])
    frame = parse_frame(content)
    assert encode_frame(frame) == content
    assert open_sealed(frame, opener_of(vector)).hex() == vector["plaintext"]
    assert len(open_items(frame, opener_of(vector))) == frame.header.count


@vectors("opens")
def test_an_independent_implementation_opens_good_vectors(path):
    vector = read_vector(path)
    frame = bytes.fromhex(vector["frame"])
    plaintext, _ = open_frame(frame, int(vector["test_only_key"], 16))
    assert plaintext.hex() == vector["plaintext"]


@vectors("no frame", "does not open", "other key", "bad contents")
def test_an_independent_implementation_refuses_bad_vectors(path):
    vector = read_vector(path)
    with pytest.raises(RefusedError):
        open_frame(bytes.fromhex(vector["frame"]), int(vector["test_only_key"], 16))


@vectors("no frame")
def test_malformed_vectors_do_not_parse(path):
    with pytest.raises(IntegrityError):
        parse_frame(bytes.fromhex(read_vector(path)["frame"]))


@vectors("does not open")
def test_altered_vectors_do_not_open(path):
    vector = read_vector(path)
    with pytest.raises(IntegrityError, match="altered"):
        open_sealed(parse_frame(bytes.fromhex(vector["frame"])), opener_of(vector))


@vectors("other key")
def test_vectors_for_another_key_are_refused_as_such(path):
    vector = read_vector(path)
    with pytest.raises(CredentialError):
        open_sealed(parse_frame(bytes.fromhex(vector["frame"])), opener_of(vector))


@vectors("bad contents")
def test_vectors_with_bad_contents_open_and_are_refused(path):
    vector = read_vector(path)
    frame = parse_frame(bytes.fromhex(vector["frame"]))
    open_sealed(frame, opener_of(vector))
    with pytest.raises(IntegrityError, match=r"plain text|items|CBOR"):
        open_items(frame, opener_of(vector))


@given(st.binary(max_size=500))
def test_what_is_sealed_opens_as_it_was(plaintext):
    frame = seal_to_city(plaintext, city_header(), CITY.public_key)
    assert open_sealed(parse_frame(encode_frame(frame)), CITY) == plaintext
    assert len(frame.sealed) == len(plaintext) + OVERHEAD_BYTES


@given(st.binary(min_size=8, max_size=200))
def test_nothing_of_the_plain_text_shows(plaintext):
    frame = seal_to_city(plaintext, city_header(), CITY.public_key)
    assert plaintext not in frame.sealed


def test_the_same_text_is_never_sealed_to_the_same_bytes():
    sealed = {seal_to_city(b"text", city_header(), CITY.public_key).sealed for _ in range(8)}
    assert len(sealed) == 8


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("unit", "other-unit"),
        ("boot", bytes(16)),
        ("first_ms", 1),
        ("last_sequence", 5),
        ("policy_sha256", bytes([1] * 32)),
        ("model_sha256", bytes([1] * 32)),
        ("previous_sha256", bytes([1] * 32)),
    ],
)
def test_every_header_field_is_bound(name, value):
    frame = seal_to_city(b"text", city_header(), CITY.public_key)
    moved = SealedFrame(header=city_header(**{name: value}), sealed=frame.sealed)
    with pytest.raises(IntegrityError, match="altered"):
        open_sealed(moved, CITY)


def test_another_city_s_key_is_named_in_the_refusal():
    other = generate_opener()
    frame = seal_to_city(b"text", city_header(), CITY.public_key)
    with pytest.raises(CredentialError, match=f"{CITY.key_id.hex()}.*{other.key_id.hex()}"):
        open_sealed(frame, other)


def test_a_header_of_another_key_or_suite_is_not_sealed():
    with pytest.raises(IntegrityError, match="another suite or key"):
        seal_to_city(b"text", frame_header(), CITY.public_key)
    with pytest.raises(IntegrityError, match="another suite or key"):
        seal_to_city(b"text", city_header(suite="other"), CITY.public_key)
