"""Recorded = uploaded + present + expired + dropped + lost, whatever happens to an honest unit."""

from collections import Counter
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.lanes import Lane
from agent.trust.balance import (
    Book,
    LaneBalance,
    Origin,
    SegmentContent,
    balance_reads,
    check_sequences,
    check_spool,
    check_uploads,
    count_uncommitted,
)
from agent.trust.entries import Boot, Deleted, DeleteIntent, Dropped, Sealed, Uploaded
from agent.trust.keys import generate_signer
from agent.trust.receipts import Receipt, sign_receipt

SIGNER = generate_signer()
BOOT = b"boot of the unit"
lanes = st.sampled_from(Lane)
fates = st.sampled_from(["uploaded", "kept", "present", "expired", "dropped", "lost", "never"])
events = st.lists(st.tuples(lanes, st.integers(1, 9), fates), max_size=20)


class Story:
    """A unit's life in entries: one frame a segment."""

    def __init__(self):
        self.book, self.spool = Book(), {}
        self.next = Counter()
        self.expected = Counter()
        self.number = 0
        self.sealed = []

    def happen(self, lane, reads, fate):
        first = self.next[lane]
        self.next[lane] += reads
        self.expected[lane, "recorded"] += reads
        self.expected[lane, {"kept": "uploaded", "never": "dropped"}.get(fate, fate)] += reads
        if fate == "never":
            self.book.enter(
                [Dropped(at_ms=0, lane=lane, boot=BOOT, first=first, count=reads, reason="full")]
            )
            return
        self.number += 1
        frame, segment = self.number.to_bytes(32), f"{self.number:013d}-626f6f74-000000"
        entry = Sealed(
            at_ms=0,
            lane=lane,
            boot=BOOT,
            first=first,
            last=first + reads - 1,
            frame=frame,
            length=1,
            segment=segment,
        )
        self.sealed.append(entry)
        self.book.enter([entry])
        self.settle(lane, segment, frame, reads, fate)

    def settle(self, lane, segment, frame, reads, fate):
        if fate in {"uploaded", "kept"}:
            self.book.enter([uploaded(lane, segment, frame, reads)])
        if fate in {"present", "kept"}:
            self.spool[lane, segment] = content(frame)
            return
        reason = {"uploaded": "receipt", "lost": "receipt", "dropped": "quota"}.get(fate, "expired")
        damaged = 7 if fate == "lost" else 0
        self.book.enter(
            [
                DeleteIntent(
                    at_ms=0, lane=lane, segment=segment, reason=reason, damaged_bytes=damaged
                )
            ]
        )
        self.book.enter([Deleted(at_ms=0, lane=lane, segment=segment, reason=reason)])


def uploaded(lane, segment, frame, reads):
    receipt = Receipt(unit="u", frames=(frame,), log_size=1, log_root=bytes(32), time_ms=0)
    signed = sign_receipt(SIGNER, receipt)
    return Uploaded(at_ms=0, lane=lane, segment=segment, reads=reads, receipt=signed)


def content(*frames, closed=True, damaged_bytes=0):
    return SegmentContent(
        frames=dict.fromkeys(frames, Origin("u", BOOT, 0)),
        closed=closed,
        damaged_bytes=damaged_bytes,
    )


@given(events)
def test_whatever_happens_is_accounted_for(events):
    story = Story()
    story.book.enter([Boot(at_ms=0, boot=BOOT, version="1", policy_hash=bytes(32))])
    for event in events:
        story.happen(*event)
    lanes, missing = balance_reads(story.book, story.spool)
    for lane in lanes:
        assert lane.balances
        for name in ("recorded", "uploaded", "present", "expired", "dropped", "lost"):
            assert getattr(lane, name) == story.expected[lane.lane, name]
    findings = (*missing, *check_sequences(story.book), *check_uploads(story.book))
    logged = story.book.logged()
    strange = check_spool(story.book, logged, story.spool, unit="u")
    assert (*findings, *strange, *story.book.findings) == ()
    assert count_uncommitted(logged, story.spool) == 0


@given(events, st.data())
def test_a_segment_taken_away_in_silence_breaks_the_balance(events, data):
    story = Story()
    for event in (*events, (Lane.READS, 3, "present")):
        story.happen(*event)
    present = [key for key in story.spool if not uploaded_from(story.book, key)]
    taken = data.draw(st.sampled_from(present))
    del story.spool[taken]
    lanes, (finding,) = balance_reads(story.book, story.spool)
    assert not lanes[taken[0]].balances
    assert finding.reason == "missing-segment"
    assert taken[1] in finding.detail


def uploaded_from(book, key):
    return any((claim.entry.lane, claim.entry.segment) == key for claim in book.claims)


def test_reads_that_had_no_sequence_yet_are_dropped_reads_all_the_same():
    book = Book()
    book.enter([Dropped(at_ms=0, lane=Lane.READS, boot=BOOT, first=None, count=4, reason="hot")])
    assert balance_reads(book, {})[0][Lane.READS] == LaneBalance(
        lane=Lane.READS, recorded=4, dropped=4
    )
    assert check_sequences(book) == ()


def strange(story, spool):
    return check_spool(story.book, story.book.logged(), spool, unit="u")


def test_a_frame_that_stands_in_the_spool_twice_is_known():
    story = Story()
    story.happen(Lane.READS, 2, "present")
    (known,) = story.spool.values()
    story.spool[Lane.READS, "0000000000009-626f6f74-000009"] = known
    story.book.boots.add(BOOT)
    assert strange(story, story.spool) == ()
    assert balance_reads(story.book, story.spool)[0][Lane.READS].present == 2


def test_what_is_sealed_while_the_spool_is_looked_at_is_known_but_not_counted():
    story, later = Story(), Story()
    later.happen(Lane.READS, 2, "present")
    sealed = later.sealed
    boot = Boot(at_ms=0, boot=BOOT, version="", policy_hash=bytes(32))
    story.book.enter_recent([*sealed, boot])
    assert strange(story, later.spool) == ()
    assert balance_reads(story.book, later.spool)[0][Lane.READS].recorded == 0


@pytest.mark.parametrize("closed", [True, False])
@pytest.mark.parametrize(
    ("origin", "reason"),
    [
        pytest.param(Origin("other", BOOT, 0), "foreign-frame", id="another unit"),
        pytest.param(Origin("u", bytes(16), 0), "unknown-start", id="a start that is not logged"),
    ],
)
def test_a_frame_from_elsewhere_is_told_even_in_an_open_segment(closed, origin, reason):
    story = Story()
    story.book.boots.add(BOOT)
    frames = {bytes(32): origin, bytes(31) + b"1": origin}
    found = SegmentContent(frames=frames, closed=closed, damaged_bytes=0)
    (finding,) = strange(story, {(Lane.READS, "0000000000009-626f6f74-000009"): found})
    assert finding.reason == reason
    assert finding.detail.startswith("2 frames in reads/0000000000009-626f6f74-000009 are of the ")


@pytest.mark.parametrize(
    ("first", "reason", "severity"),
    [(4, "given-up-frame", "warning"), (7, "unlogged-frame", "fault")],
)
def test_a_frame_that_was_dropped_and_came_back_is_told_as_such(first, reason, severity):
    story = Story()
    story.book.boots.add(BOOT)
    drop = {"at_ms": 0, "lane": Lane.READS, "boot": BOOT, "reason": "the spool refused"}
    story.book.enter([Dropped(first=3, count=3, **drop), Dropped(first=None, count=9, **drop)])
    frames = {bytes(32): Origin("u", BOOT, first)}
    found = SegmentContent(frames=frames, closed=True, damaged_bytes=0)
    (finding,) = strange(story, {(Lane.READS, "0000000000009-626f6f74-000009"): found})
    assert (finding.reason, finding.severity) == (reason, severity)


def test_a_sequence_that_two_starts_use_is_no_finding():
    story = Story()
    story.happen(Lane.READS, 2, "present")
    other = msgspec.structs.replace(story.sealed[0], boot=bytes(16), frame=bytes(32))
    story.book.enter([other])
    assert check_sequences(story.book) == ()
    assert story.book.findings == []
    story.book.enter([other])
    assert [finding.reason for finding in check_sequences(story.book)] == ["sequence-twice"]
    assert [finding.reason for finding in story.book.findings] == ["frame-twice"]


def sealed_entry(first, last):
    return Sealed(
        at_ms=0,
        lane=Lane.READS,
        boot=BOOT,
        first=first,
        last=last,
        frame=sha256(f"{first} {last}".encode()).digest(),
        length=1,
        segment="0000000000001-626f6f74-000000",
    )


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), max_size=8), st.integers(0, 8))
def test_a_hole_or_a_double_is_found_wherever_a_batch_ends(spans, cut):
    """Against the definition: in order, each sequence from 0 on stands in exactly one entry."""
    entries = [sealed_entry(first, first + more) for first, more in dict(spans).items()]
    book = Book()
    book.enter(entries[:cut])
    book.enter(entries[cut:])
    numbers = sorted(n for entry in entries for n in range(entry.first, entry.last + 1))
    assert (check_sequences(book) == ()) == (numbers == list(range(len(numbers))))
