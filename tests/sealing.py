"""Makers of reads, headers and frames for the tests of sealing and spool."""

import os
import shutil
import tempfile
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from hypothesis import strategies as st

from agent.base.clock import to_ms
from agent.base.hits import Hit, HitEnd, Match
from agent.base.lanes import Lane
from agent.base.records import Direction, PlateRead, PlateText
from agent.trust.envelope import SUITE_NAME
from agent.trust.frames import SealedFrame, encode_frame
from agent.trust.header import NO_FRAME, TIME_LIMIT_MS, FrameHeader

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
BOOT = bytes(range(16))
NOBODY = 65_534


@contextmanager
def folder_with_binding_permissions():
    """A new folder whose permissions bind us: root gives up its rights as long."""
    folder = Path(tempfile.mkdtemp())
    was_root = os.geteuid() == 0
    if was_root:
        os.chown(folder, NOBODY, os.getegid())
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if was_root:
            os.seteuid(0)
        shutil.rmtree(folder)


def plate_read(number=0, **changes):
    text = f"TEST{number % 1000:03d}"
    fields = {
        "text": PlateText(text),
        "confidences": tuple(1 - 0.01 * i for i in range(len(text))),
        "abstained": False,
        "frames_seen": 24,
        "frames_agreed": 19,
        "first_seen": NOON + timedelta(seconds=number),
        "last_seen": NOON + timedelta(seconds=number + 0.9),
        "first_frame": 30 * number,
        "last_frame": 30 * number + 27,
        "direction": Direction.TOWARD,
        "corners": (400.0, 200.25, 510.5, 201.0, 510.5, 227.5, 400.0, 226.75),
        "crop_jpeg": b"",
    }
    return PlateRead(**(fields | changes))


def plate_hit(number=0, *, read=None, hit=None, **changes):
    """Return an alert; `hit` replaces fields of it, `changes` those of its read."""
    at_ms = to_ms(NOON) + number * 1000
    match = Match(
        state="CA",
        purpose="stolen-vehicle",
        agency="Police Department",
        case="26-0117",
        expires_ms=at_ms + 86_400_000,
    )
    fields = {
        "read": read or plate_read(number, **changes),
        "matches": (match,),
        "list_version": 7,
        "list_issued_ms": at_ms - 3_600_000,
        "matched_ms": at_ms,
        "complete": False,
    }
    return Hit(**(fields | (hit or {})))


def hit_end(number=0, *, alert_sequence=0, confirmed=True, **changes):
    """Return the end of an alert's passage."""
    read = plate_read(number, **changes)
    return HitEnd(alert_sequence=alert_sequence, confirmed=confirmed, read=read)


def frame_header(**changes):
    fields = {
        "suite": SUITE_NAME,
        "key_id": bytes(8),
        "unit": "test-unit-1",
        "boot": BOOT,
        "lane": Lane.READS,
        "first_sequence": 0,
        "last_sequence": 0,
        "first_ms": 1_790_000_000_000,
        "last_ms": 1_790_000_000_000,
        "policy_sha256": bytes(32),
        "model_sha256": bytes(32),
        "previous_sha256": NO_FRAME,
    }
    return FrameHeader(**(fields | changes))


def frame_bytes(number=0, *, size=50):
    """A frame that parses; what is sealed in it does not matter to a spool."""
    header = frame_header(first_sequence=number, last_sequence=number)
    return encode_frame(SealedFrame(header=header, sealed=bytes([number % 256]) * size))


@st.composite
def headers(draw):
    first = draw(st.integers(0, 2**63 - 5000))
    first_ms = draw(st.integers(0, TIME_LIMIT_MS - 1))
    return FrameHeader(
        suite=draw(st.text("A2-", min_size=1, max_size=64)),
        key_id=draw(st.binary(min_size=8, max_size=8)),
        unit=draw(st.from_regex(r"[a-z0-9][a-z0-9-]{0,62}", fullmatch=True)),
        boot=draw(st.binary(min_size=16, max_size=16)),
        lane=draw(st.sampled_from(Lane)),
        first_sequence=first,
        last_sequence=first + draw(st.integers(0, 4095)),
        first_ms=first_ms,
        last_ms=draw(st.integers(first_ms, TIME_LIMIT_MS - 1)),
        policy_sha256=draw(st.binary(min_size=32, max_size=32)),
        model_sha256=draw(st.binary(min_size=32, max_size=32)),
        previous_sha256=draw(st.binary(min_size=32, max_size=32)),
    )


frames = st.builds(SealedFrame, header=headers(), sealed=st.binary(min_size=1, max_size=300))

plate_texts = st.text("ABCXYZ0189", max_size=16)


@st.composite
def plate_reads(draw):
    text = draw(plate_texts)
    share = st.floats(0, 1, allow_nan=False)
    instant = st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    pixel = st.floats(-4000, 8000, allow_nan=False, width=32)
    return plate_read(
        text=PlateText(text),
        confidences=tuple(draw(st.lists(share, min_size=len(text), max_size=len(text)))),
        abstained=draw(st.booleans()),
        frames_seen=draw(st.integers(0, 10**6)),
        frames_agreed=draw(st.integers(0, 10**6)),
        first_seen=draw(instant),
        last_seen=draw(instant),
        first_frame=draw(st.integers(0, 2**40)),
        last_frame=draw(st.integers(0, 2**40)),
        direction=draw(st.sampled_from(Direction)),
        corners=tuple(draw(st.lists(pixel, min_size=8, max_size=8))),
    )
