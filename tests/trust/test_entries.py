"""Entries, records, uploads: what parses encodes to the same bytes, all else is refused."""

import cbor2
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.entries import (
    Boot,
    Deleted,
    DeleteIntent,
    Dropped,
    Gap,
    HotlistSeen,
    IoFailure,
    PolicySeen,
    Recovered,
    RefusedReceipt,
    Retired,
    Sealed,
    Stop,
    UpdateSeen,
    Uploaded,
    decode_entry,
    encode_entry,
)
from agent.trust.journal import OVERHEAD_BYTES, encode_record, take_record
from agent.trust.uploads import (
    BATCH_LIMIT_BYTES,
    FRAMES_LIMIT,
    Upload,
    decode_upload,
    encode_upload,
    gather_batches,
)
from tests.independent_msgpack import read_value, write_value

SEGMENT = "1780315200000-626f6f74-000000"
counts = st.integers(0, 2**63 - 1)
texts = st.text(max_size=200)
hashes = st.binary(min_size=32, max_size=32)
lanes = st.sampled_from(Lane)
boots = st.binary(min_size=16, max_size=16)
reasons = st.sampled_from(["receipt", "expired", "quota", "retired"])
segments = st.from_regex(r"[0-9]{13}-[0-9a-f]{8}-[0-9]{6}", fullmatch=True)
spans = st.tuples(counts, counts).map(sorted)
entries = st.one_of(
    st.builds(
        Boot,
        at_ms=counts,
        boot=boots,
        version=texts,
        policy_hash=hashes,
        model_hash=st.none() | hashes,
    ),
    st.builds(
        lambda span, **fields: Sealed(first=span[0], last=span[1], **fields),
        span=spans,
        at_ms=counts,
        lane=lanes,
        boot=boots,
        frame=hashes,
        length=counts,
        segment=segments,
    ),
    st.builds(
        Dropped,
        at_ms=counts,
        lane=lanes,
        boot=boots,
        first=st.none() | counts,
        count=counts,
        reason=texts,
    ),
    st.builds(Stop, at_ms=counts, counters=st.dictionaries(texts, counts, max_size=5)),
    st.builds(Gap, at_ms=counts, cut_bytes=counts, kept=counts, unsigned=counts),
    st.builds(Recovered, at_ms=counts, segments=counts, adopted=counts, damaged_bytes=counts),
    st.builds(
        Uploaded, at_ms=counts, lane=lanes, segment=segments, reads=counts, receipt=st.binary()
    ),
    st.builds(
        DeleteIntent,
        at_ms=counts,
        lane=lanes,
        segment=segments,
        reason=reasons,
        damaged_bytes=counts,
    ),
    st.builds(Deleted, at_ms=counts, lane=lanes, segment=segments, reason=reasons),
    st.builds(RefusedReceipt, at_ms=counts, lane=lanes, segment=segments, detail=texts),
    st.builds(IoFailure, at_ms=counts, place=texts, detail=texts),
    st.builds(
        PolicySeen,
        at_ms=counts,
        policy_hash=hashes,
        accepted=st.booleans(),
        detail=texts,
        version=counts,
        root_version=counts,
        flashed_root=hashes,
    ),
    st.builds(
        Retired,
        at_ms=counts,
        watch_key=hashes,
        send_key=hashes,
        tls_key=hashes,
        reads=counts,
        reason=texts,
    ),
    st.builds(
        HotlistSeen,
        at_ms=counts,
        version=counts,
        count=counts,
        accepted=st.booleans(),
        detail=texts,
    ),
    st.builds(
        UpdateSeen,
        at_ms=counts,
        version=texts,
        archive=hashes,
        step=st.sampled_from(["fetched", "refused", "switched", "proven", "fallen-back"]),
        detail=texts,
    ),
)
frames = st.lists(st.binary(min_size=1), min_size=1, max_size=4).map(tuple)
uploads = frames.flatmap(
    lambda frames: st.builds(
        Upload,
        frames=st.just(frames),
        checkpoint=st.text(max_size=100),
        previous_size=counts,
        proof=st.lists(hashes, max_size=4).map(tuple),
        segment=segments,
        places=st.tuples(*[st.tuples(counts, counts)] * len(frames)),
        membership=st.lists(hashes, max_size=4).map(tuple),
    )
)
GOOD = ["gap", 5, 7, 0, 0]


def pack(*values):
    return msgspec.msgpack.encode(values)


@given(entries)
def test_an_entry_comes_back_as_it_was(entry):
    content = encode_entry(entry)
    assert decode_entry(content) == entry
    assert content == write_value(read_value(content))


@given(entries, st.data())
def test_no_changed_byte_gives_the_same_entry(entry, data):
    content = bytearray(encode_entry(entry))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        found = decode_entry(bytes(content))
    except IntegrityError:
        return
    assert found != entry
    assert encode_entry(found) == content


def test_the_fields_of_an_entry_stand_in_the_order_of_the_formats_page():
    entry = Dropped(
        at_ms=5, lane=Lane.CROPS, boot=bytes(16), first=None, count=3, reason="disk full"
    )
    expected = ["dropped", 5, 2, bytes(16), None, 3, "disk full"]
    assert read_value(encode_entry(entry)) == expected


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(msgspec.msgpack.encode({"gap": 5}), id="a map"),
        pytest.param(pack(), id="an empty array"),
        pytest.param(pack("gap", 5, 7, 0), id="a field missing"),
        pytest.param(pack(*GOOD, 0), id="a field too many"),
        pytest.param(pack("gaps", 5, 7, 0, 0), id="an unknown kind"),
        pytest.param(pack("gap", -1, 7, 0, 0), id="a time below zero"),
        pytest.param(pack("gap", 5, True, 0, 0), id="a bool for a number"),  # noqa: FBT003
        pytest.param(pack("gap", 5, 7.0, 0, 0), id="a float for a number"),
        pytest.param(pack("gap", 5, 2**63, 0, 0), id="a number too large"),
        pytest.param(pack(b"gap", 5, 7, 0, 0), id="bytes for a text"),
        pytest.param(pack(*GOOD) + b"\0", id="a byte after it"),
        pytest.param(b"\xdc\x00\x05\xa3gap\x05\x07\x00\x00", id="a long head of the array"),
        pytest.param(b"\x95\xd9\x03gap\x05\x07\x00\x00", id="a long head of the kind"),
        pytest.param(b"\x95\xa3gap\xcc\x05\x07\x00\x00", id="a long number"),
        pytest.param(b"\x95\xa3gap\xd0\x05\x07\x00\x00", id="a signed number"),
        pytest.param(b"\x95\xa3gap\x05\xc7\x01\x05\x07\x00\x00", id="an extension"),
        pytest.param(pack("stop", 5, {"b": 1, "a": 1}), id="counters out of order"),
        pytest.param(b"\x93\xa4stop\x05\x82\xa1a\x01\xa1a\x02", id="a counter twice"),
        pytest.param(pack("deleted", 5, 1, SEGMENT, "because"), id="a reason"),
        pytest.param(pack("deleted", 5, 1, "../../etc", "quota"), id="a path"),
        pytest.param(pack("deleted", 5, 3, SEGMENT, "quota"), id="a fourth lane"),
        pytest.param(
            pack("sealed", 5, 1, bytes(16), 9, 8, bytes(32), 1, SEGMENT),
            id="a span that runs back",
        ),
    ],
)
def test_what_is_no_entry_is_refused(content):
    with pytest.raises(IntegrityError):
        decode_entry(content)


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(0, 30))
def test_records_are_taken_one_after_the_other(contents, cut):
    buffer = b"".join(encode_record(content) for content in contents)
    buffer = buffer[: len(buffer) - cut] if contents else buffer
    at, found = 0, []
    while (content := take_record(buffer, at)) is not None:
        found.append(content)
        at += len(content) + OVERHEAD_BYTES
    assert found == contents[: len(found)]
    assert len(buffer) - at < 50 + OVERHEAD_BYTES


def test_any_flipped_bit_of_a_record_is_refused():
    record = encode_record(b"an entry")
    for bit in range(8 * len(record)):
        changed = bytearray(record)
        changed[bit // 8] ^= 1 << bit % 8
        assert take_record(bytes(changed), 0) is None


@given(uploads)
def test_an_upload_comes_back_as_it_was(upload):
    assert decode_upload(encode_upload(upload)) == upload


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({0: 2}, id="version"),
        pytest.param({1: []}, id="no frames"),
        pytest.param({1: [b"x"] * (FRAMES_LIMIT + 1)}, id="too many frames"),
        pytest.param({1: [b""]}, id="an empty frame"),
        pytest.param({2: "x" * 1025}, id="a long checkpoint"),
        pytest.param({2: b"x"}, id="a checkpoint of bytes"),
        pytest.param({3: -1}, id="a size below zero"),
        pytest.param({4: [bytes(31)]}, id="a short hash"),
        pytest.param({4: [bytes(32)] * 65}, id="a long proof"),
        pytest.param({5: "../segment"}, id="a segment with a path"),
        pytest.param({6: []}, id="a frame without its place"),
        pytest.param({6: [[0, 5, 0]]}, id="a place of three numbers"),
        pytest.param({7: [bytes(33)]}, id="a long hash"),
        pytest.param({8: 0}, id="a field too many"),
    ],
)
def test_what_is_no_upload_is_refused(changes):
    good = {0: 1, 1: [b"frame"], 2: "note", 3: 0, 4: [], 5: SEGMENT, 6: [[0, 5]], 7: []}
    assert decode_upload(cbor2.dumps(good)).frames == (b"frame",)
    with pytest.raises(IntegrityError):
        decode_upload(cbor2.dumps(good | changes, canonical=True))


@given(st.lists(st.integers(1, 700_000), max_size=20))
def test_batches_keep_order_and_limits(lengths):
    frames = [bytes(length) for length in lengths]
    batches = list(gather_batches(frames))
    assert [frame for batch in batches for frame in batch] == frames
    assert all(len(batch) == 1 or sum(map(len, batch)) <= BATCH_LIMIT_BYTES for batch in batches)


def test_many_small_frames_are_gathered_up_to_the_limit():
    sizes = [len(batch) for batch in gather_batches([b"x"] * (2 * FRAMES_LIMIT + 1))]
    assert sizes == [FRAMES_LIMIT, FRAMES_LIMIT, 1]
    assert list(gather_batches([bytes(2 * BATCH_LIMIT_BYTES)])) == [(bytes(2 * BATCH_LIMIT_BYTES),)]
