"""Frames parse strictly, and a scan loses no more than what was hit."""

import hashlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.frames import (
    MAGIC,
    SEALED_LIMIT_BYTES,
    Damage,
    Found,
    SealedFrame,
    encode_frame,
    frame_hash,
    parse_frame,
    scan_frames,
)
from agent.trust.header import encode_header, parse_header
from tests.sealing import frame_bytes, frame_header, frames, headers


def flipped(content, bit):
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def numbers(found):
    return [item.frame.header.first_sequence for item in found if isinstance(item, Found)]


def covered(found):
    return [(item.offset, item.length) for item in found]


@given(frames)
def test_a_frame_comes_back_from_its_bytes(frame):
    assert parse_frame(encode_frame(frame)) == frame


@given(headers())
def test_a_header_comes_back_from_its_bytes(header):
    assert parse_header(encode_header(header)) == header


@given(st.binary(max_size=400) | frames.map(encode_frame))
def test_what_parses_encodes_to_the_same_bytes(content):
    try:
        frame = parse_frame(content)
    except IntegrityError:
        return
    assert encode_frame(frame) == content


@given(frames, st.data())
def test_any_flipped_bit_of_a_frame_is_refused(frame, data):
    content = encode_frame(frame)
    bit = data.draw(st.integers(0, len(content) * 8 - 1))
    with pytest.raises(IntegrityError):
        parse_frame(flipped(content, bit))


def test_every_bit_of_a_frame_is_guarded():
    content = frame_bytes()
    for bit in range(len(content) * 8):
        with pytest.raises(IntegrityError):
            parse_frame(flipped(content, bit))


@given(frames, st.data())
def test_a_cut_frame_is_refused(frame, data):
    content = encode_frame(frame)
    with pytest.raises(IntegrityError):
        parse_frame(content[: data.draw(st.integers(0, len(content) - 1))])


def test_the_frame_hash_is_the_sha256_of_all_its_bytes():
    content = frame_bytes()
    assert frame_hash(content) == hashlib.sha256(content).digest()


@pytest.mark.parametrize("sealed", [b"", bytes(SEALED_LIMIT_BYTES + 1)], ids=["none", "too many"])
def test_sealed_bytes_have_limits(sealed):
    with pytest.raises(IntegrityError, match="sealed bytes"):
        SealedFrame(header=frame_header(), sealed=sealed)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("suite", ""),
        ("suite", "S" * 65),
        ("suite", b"S"),
        ("key_id", bytes(7)),
        ("key_id", bytearray(8)),
        ("unit", "Unit"),
        ("unit", "u" * 64),
        ("unit", "unit\n"),
        ("unit", 1),
        ("boot", bytes(17)),
        ("lane", 1),
        ("first_sequence", -1),
        ("first_sequence", 1),
        ("last_sequence", 4096),
        ("last_sequence", 0.0),
        ("last_sequence", False),
        ("first_ms", True),
        ("last_ms", 253_402_300_800_000),
        ("policy_sha256", "x" * 32),
        ("model_sha256", None),
        ("previous_sha256", b""),
    ],
)
def test_a_header_refuses_what_the_format_cannot_hold(name, value):
    with pytest.raises(IntegrityError, match="header"):
        frame_header(**{name: value})


def test_a_header_tells_how_many_reads_are_inside():
    assert frame_header(first_sequence=7, last_sequence=9).count == 3


def test_lanes_stand_in_the_header_by_number():
    assert [decode_cbor(encode_header(frame_header(lane=lane)))[5] for lane in Lane] == [0, 1, 2]


@given(st.binary(max_size=200))
def test_cbor_is_refused_or_comes_back_the_same(content):
    try:
        value = decode_cbor(content)
    except IntegrityError:
        return
    assert encode_cbor(value) == content


@given(st.binary(max_size=120))
def test_hostile_headers_are_refused_by_our_own_error(content):
    head = MAGIC + struct.pack("<BBHL", 1, 0, max(len(content), 1), 5) + content
    with pytest.raises(IntegrityError):
        parse_frame(head)


def test_deeply_nested_cbor_is_refused():
    with pytest.raises(IntegrityError):
        decode_cbor(b"\x81" * 4000 + b"\0")


@given(st.lists(frames, max_size=4))
def test_a_scan_finds_all_frames_without_gaps(sealed):
    content = b"".join(map(encode_frame, sealed))
    found = list(scan_frames(content))
    assert [item.frame for item in found] == sealed
    ends = [offset + length for offset, length in covered(found)]
    assert [0, *ends[:-1]] == [item.offset for item in found] or not found


@given(st.lists(frames.map(encode_frame) | st.binary(min_size=1, max_size=60), max_size=6))
def test_a_scan_covers_every_byte_once(pieces):
    content = b"".join(pieces)
    end = 0
    for offset, length in covered(scan_frames(content)):
        assert offset == end
        assert length > 0
        end += length
    assert end == len(content)


@given(st.binary(max_size=80), frames, st.binary(max_size=80))
def test_a_scan_finds_a_frame_between_rubbish(before, frame, after):
    found = list(scan_frames(before + encode_frame(frame) + after))
    assert frame in [item.frame for item in found if isinstance(item, Found)]


def test_truncation_at_every_offset_gives_a_clean_prefix():
    pieces = [frame_bytes(number, size=20 + number) for number in range(4)]
    content = b"".join(pieces)
    ends = [sum(map(len, pieces[:count])) for count in range(5)]
    for length in range(len(content) + 1):
        found = list(scan_frames(content[:length]))
        whole = sum(end <= length for end in ends) - 1
        assert numbers(found) == list(range(whole))
        rest = length - ends[whole]
        expected = [Damage(offset=ends[whole], length=rest, tail=True)] if rest else []
        assert [item for item in found if isinstance(item, Damage)] == expected


def test_every_flipped_bit_of_a_segment_costs_one_frame_and_forges_none():
    pieces = [frame_bytes(number, size=30) for number in range(3)]
    content = b"".join(pieces)
    for bit in range(len(content) * 8):
        hit = bit // 8 // len(pieces[0])
        found = list(scan_frames(flipped(content, bit)))
        assert numbers(found) == [number for number in range(3) if number != hit]


def test_damage_before_an_unfinished_frame_is_told_apart():
    good = frame_bytes()
    damaged = flipped(good, 200)
    found = list(scan_frames(damaged + good[:40]))
    assert found == [
        Damage(offset=0, length=len(good), tail=False),
        Damage(offset=len(good), length=40, tail=True),
    ]


def test_a_frame_inside_a_correct_frame_is_not_found():
    inner = frame_bytes(1)
    outer = encode_frame(SealedFrame(header=frame_header(), sealed=inner))
    assert numbers(scan_frames(outer)) == [0]


def test_rubbish_that_ends_a_buffer_is_no_tail():
    found = list(scan_frames(frame_bytes() + b"rubbish"))
    assert found[1] == Damage(offset=len(frame_bytes()), length=7, tail=False)
