"""Reads become frames: gathered in time, encoded without loss, chained without forks."""

import tracemalloc
from datetime import timedelta

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from agent import seal
from agent.base.clock import to_ms
from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.base.records import Direction, PlateText
from agent.cli.open import open_items
from agent.seal import COMMIT_BYTES, COMMIT_READS, Batch, Crop, Sealer, encode_hits
from agent.trust.alerts import StoredAlert, StoredEnd, decode_hits_text, encode_hits_text
from agent.trust.contents import (
    DIRECTIONS,
    PLAINTEXT_LIMIT_BYTES,
    StoredCrop,
    StoredRead,
    decode_crops_text,
    decode_reads_text,
    encode_crops_text,
    encode_reads_text,
)
from agent.trust.frames import frame_hash, parse_frame
from agent.trust.header import NO_FRAME
from agent.trust.keys import generate_opener
from tests.sealing import BOOT, NOON, hit_end, plate_hit, plate_read, plate_reads

CITY = generate_opener()
SECOND_NS = 1_000_000_000


def encode_reads(items):
    """Return the plain text of sequences and their reads."""
    return encode_reads_text([seal._stored_read(*item) for item in items])


def encode_crops(items):
    """Return the plain text of sequences and their crops."""
    return encode_crops_text([seal._stored_crop(*item) for item in items])


def new_sealer():
    return Sealer(
        city_key=CITY.public_key,
        policy_sha256=bytes([1] * 32),
        unit="test-unit-1",
        boot=BOOT,
        model_sha256=bytes([2] * 32),
    )


def seal_some(sealer, lane, count):
    match lane:
        case Lane.HITS:
            return sealer.seal_hits([plate_hit(number) for number in range(count)])
        case Lane.CROPS:
            return sealer.seal_crops([crop(number) for number in range(count)])
        case _:
            return sealer.seal_reads([plate_read(number) for number in range(count)])


def crop(number=0, jpeg=b"\xff\xd8 made up"):
    return Crop(read_sequence=number, seen_at=NOON, jpeg=jpeg)


stored_crops = st.builds(
    StoredCrop,
    sequence=st.integers(0, 2**63 - 1),
    lane=st.sampled_from([Lane.HITS, Lane.READS]),
    read_sequence=st.integers(0, 2**63 - 1),
    time_ms=st.integers(0, 10**14),
    jpeg=st.binary(max_size=200),
)


@given(st.lists(plate_reads(), max_size=5), st.integers(0, 2**40))
@settings(deadline=None)
def test_reads_come_back_as_they_were(reads, first):
    stored = decode_reads_text(encode_reads(list(enumerate(reads, first))))
    assert [item.sequence for item in stored] == list(range(first, first + len(reads)))
    for item, read in zip(stored, reads, strict=True):
        assert item.text == read.text.characters
        assert item.abstained == read.abstained
        assert (item.frames_seen, item.frames_agreed) == (read.frames_seen, read.frames_agreed)
        assert (item.first_frame, item.last_frame) == (read.first_frame, read.last_frame)
        assert (item.first_ms, item.last_ms) == (to_ms(read.first_seen), to_ms(read.last_seen))
        assert DIRECTIONS[item.direction] == read.direction
        assert [value / 255 for value in item.confidences] == pytest.approx(
            read.confidences, abs=0.5 / 255
        )
        assert [number / 4 for number in item.corners] == pytest.approx(read.corners, abs=0.125)


@given(st.lists(stored_crops, max_size=5))
@settings(deadline=None)
def test_crops_come_back_as_they_were(crops):
    assert decode_crops_text(encode_crops_text(crops)) == tuple(crops)


@given(st.lists(plate_reads(), max_size=3))
@settings(deadline=None)
def test_decoded_reads_encode_to_the_same_plain_text(reads):
    plaintext = encode_reads(list(enumerate(reads)))
    assert encode_reads_text(decode_reads_text(plaintext)) == plaintext


@given(st.binary(max_size=300))
def test_hostile_plain_text_is_refused_by_our_own_error(content):
    for decode in (decode_reads_text, decode_hits_text, decode_crops_text):
        with pytest.raises(IntegrityError):
            decode(content)
        with pytest.raises(IntegrityError):
            decode(zstandard.compress(content))


def test_a_crop_finds_its_read():
    stored = decode_crops_text(encode_crops([(7, crop(42))]))
    assert [(item.sequence, item.lane, item.read_sequence) for item in stored] == [
        (7, Lane.READS, 42)
    ]


def test_pictures_are_not_changed():
    jpeg = bytes(range(256)) * 80
    assert decode_crops_text(encode_crops([(0, crop(jpeg=jpeg))]))[0].jpeg == jpeg


def test_a_bomb_is_refused_before_it_is_blown_up():
    bomb = zstandard.compress(bytes(200_000_000))
    tracemalloc.start()
    with pytest.raises(IntegrityError, match="states 200000000 bytes"):
        decode_reads_text(bomb)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < PLAINTEXT_LIMIT_BYTES


def test_too_much_plain_text_is_refused():
    with pytest.raises(IntegrityError, match="plain text"):
        encode_crops([(0, crop(jpeg=bytes(PLAINTEXT_LIMIT_BYTES)))])


@pytest.mark.parametrize("direction", Direction)
def test_every_direction_has_its_number(direction):
    stored = decode_reads_text(encode_reads([(0, plate_read(direction=direction))]))
    assert DIRECTIONS[stored[0].direction] == direction.value


def test_a_confidence_a_little_over_one_is_certain():
    read = plate_read(text=PlateText("A"), confidences=(1.01,))
    assert decode_reads_text(encode_reads([(0, read)]))[0].confidences == b"\xff"


@pytest.mark.parametrize(
    "changes",
    [
        {"text": PlateText("lower")},
        {"text": PlateText("A" * 17)},
        {"confidences": (0.5,)},
        {"frames_seen": -1},
        {"last_frame": 2**63},
        {"corners": (1.0,) * 7},
        {"corners": (1e12,) * 8},
    ],
    ids=["letters", "long", "confidences", "negative", "huge", "corners", "far_corner"],
)
def test_a_read_that_the_format_cannot_hold_is_refused(changes):
    sealer = new_sealer()
    with pytest.raises(IntegrityError, match="plain text"):
        sealer.seal_reads([plate_read(**changes)])
    assert sealer.next_sequence(Lane.READS) == 0


def test_a_stored_read_hides_the_plate():
    stored = decode_reads_text(encode_reads([(0, plate_read(7))]))[0]
    assert isinstance(stored, StoredRead)
    assert "TEST007" not in repr(stored)


def test_a_frame_opens_to_its_reads():
    commit = new_sealer().seal_reads([plate_read(number) for number in range(3)])
    frame = parse_frame(commit.content)
    assert frame.header == commit.header
    assert [item.text for item in open_items(frame, CITY)] == ["TEST000", "TEST001", "TEST002"]


def test_a_frame_states_what_the_city_must_know():
    header = new_sealer().seal_hits([plate_hit(5), hit_end(3)]).header
    assert (header.unit, header.boot, header.lane) == ("test-unit-1", BOOT, Lane.HITS)
    assert (header.first_ms, header.last_ms) == (to_ms(NOON) + 3900, to_ms(NOON) + 5900)
    assert (header.policy_sha256, header.model_sha256) == (bytes([1] * 32), bytes([2] * 32))
    assert header.key_id == CITY.key_id


@given(st.lists(st.tuples(st.sampled_from(Lane), st.integers(1, 4)), max_size=8))
@settings(deadline=None)
def test_sequences_and_chain_have_no_hole_and_no_fork(commits):
    sealer = new_sealer()
    following = dict.fromkeys(Lane, 0)
    previous = dict.fromkeys(Lane, NO_FRAME)
    for lane, count in commits:
        commit = seal_some(sealer, lane, count)
        assert commit.header.first_sequence == following[lane]
        assert commit.header.count == count
        assert commit.header.previous_sha256 == previous[lane]
        assert commit.sha256 == frame_hash(commit.content)
        following[lane] += count
        previous[lane] = commit.sha256
        assert sealer.next_sequence(lane) == following[lane]


def test_a_given_up_frame_leaves_a_hole_that_shows():
    sealer = new_sealer()
    given_up = sealer.seal_reads([plate_read()])
    stored = sealer.seal_reads([plate_read()])
    assert stored.header.first_sequence == 1
    assert stored.header.previous_sha256 == given_up.sha256


@pytest.mark.parametrize("count", [0, 4097])
def test_a_commit_holds_1_to_4096_reads(count):
    sealer = new_sealer()
    with pytest.raises(IntegrityError):
        sealer.seal_reads([plate_read()] * count)
    assert sealer.next_sequence(Lane.READS) == 0


def test_alerts_and_ends_come_back_as_they_were():
    commit = new_sealer().seal_hits([plate_hit(1, crop_jpeg=b"\xff\xd8 made up"), hit_end(2)])
    alert, end = open_items(parse_frame(commit.content), CITY)
    assert isinstance(alert, StoredAlert)
    assert (alert.read.text, alert.sequence, alert.complete) == ("TEST001", 0, False)
    assert (alert.list_version, alert.matched_ms - alert.list_issued_ms) == (7, 3_600_000)
    assert [(m.purpose, m.agency, m.case) for m in alert.matches] == [
        ("stolen-vehicle", "Police Department", "26-0117")
    ]
    assert alert.jpeg == b"\xff\xd8 made up"
    assert isinstance(end, StoredEnd)
    assert (end.sequence, end.alert_sequence, end.confirmed) == (1, 0, True)
    assert end.last_ms == to_ms(NOON) + 2900
    assert "TEST" not in repr(alert) + repr(end)


@given(st.lists(plate_reads(), max_size=3), st.booleans())
@settings(deadline=None)
def test_decoded_alerts_encode_to_the_same_plain_text(reads, confirmed):
    items = [plate_hit(0, read=read) for read in reads] + [hit_end(1, confirmed=confirmed)]
    plaintext = encode_hits(list(enumerate(items, 5)))
    assert encode_hits_text(decode_hits_text(plaintext)) == plaintext


def test_an_end_holds_no_plate_and_no_picture():
    plaintext = encode_hits([(5, hit_end(2, crop_jpeg=b"\xff\xd8 made up"))])
    content = zstandard.decompress(plaintext)
    assert b"TEST" not in content
    assert b"made up" not in content


@pytest.mark.parametrize(
    "changes",
    [
        {"matches": ()},
        {"list_version": -1},
        {"matched_ms": -1},
        {"list_issued_ms": 1 << 62},
        {"complete": 1},
    ],
    ids=["no match", "version", "time", "far time", "number for a truth"],
)
def test_an_alert_that_the_format_cannot_hold_is_refused_and_uses_up_no_sequence(changes):
    sealer = new_sealer()
    with pytest.raises(IntegrityError):
        sealer.seal_hits([plate_hit(1, hit=changes)])
    assert sealer.next_sequence(Lane.HITS) == 0


def test_an_end_of_an_alert_that_comes_later_is_refused():
    with pytest.raises(IntegrityError, match="alert_sequence"):
        encode_hits([(0, hit_end(1))])


def test_a_commit_does_not_show_its_bytes():
    commit = new_sealer().seal_crops([crop()])
    assert "content" not in repr(commit)
    assert "made up" not in repr(crop())


def test_an_empty_batch_is_never_due():
    assert not any(Batch(lane, interval_s=1).is_due(10**18) for lane in Lane)


def test_hits_are_due_at_once():
    batch = Batch(Lane.HITS, interval_s=1)
    batch.add("hit", now_ns=5)
    assert batch.is_due(5)


@pytest.mark.parametrize("lane", [Lane.READS, Lane.CROPS])
def test_others_are_due_when_the_oldest_has_waited(lane):
    batch = Batch(lane, interval_s=0.5)
    batch.add("first", now_ns=SECOND_NS)
    batch.add("second", now_ns=SECOND_NS + SECOND_NS // 4)
    assert not batch.is_due(SECOND_NS + SECOND_NS // 2 - 1)
    assert batch.is_due(SECOND_NS + SECOND_NS // 2)


def test_a_batch_is_due_when_it_has_many_reads():
    batch = Batch(Lane.READS, interval_s=1)
    for number in range(COMMIT_READS):
        assert not batch.is_due(0)
        batch.add(number, now_ns=0)
    assert batch.is_due(0)


def test_a_batch_is_due_when_it_is_large():
    batch = Batch(Lane.CROPS, interval_s=1)
    batch.add("small", size_bytes=COMMIT_BYTES - 1, now_ns=0)
    assert not batch.is_due(0)
    batch.add("more", size_bytes=1, now_ns=0)
    assert batch.is_due(0)


def test_taking_starts_anew():
    batch = Batch(Lane.CROPS, interval_s=1)
    batch.add("first", size_bytes=COMMIT_BYTES, now_ns=0)
    batch.add("second", now_ns=1)
    assert len(batch) == 2
    assert batch.take() == ("first", "second")
    assert len(batch) == 0
    batch.add("third", now_ns=10 * SECOND_NS)
    assert not batch.is_due(10 * SECOND_NS)
    assert batch.take() == ("third",)


def test_times_of_a_frame_are_those_of_its_reads_whatever_their_order():
    late = plate_read(last_seen=NOON + timedelta(hours=1))
    early = plate_read(last_seen=NOON)
    header = new_sealer().seal_reads([late, early]).header
    assert header.last_ms - header.first_ms == 3_600_000
