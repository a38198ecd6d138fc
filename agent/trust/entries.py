"""Entries of the audit logs: what a unit did, never what it saw.

An entry is a MessagePack array: the kind, the time, the fields of the kind in the order of its
class, each in its shortest form. `deploy/docs/formats.md` describes them to the byte; ADR 0008 says
why not CBOR.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
BootId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
_SEGMENT: Final = r"^[0-9]{13}-[0-9a-f]{8}-[0-9]{6}\Z"
SegmentName = Annotated[str, Meta(pattern=_SEGMENT)]
"""A segment's file name without its ending, which changes when the segment is closed."""
Text = Annotated[str, Meta(max_length=200)]
Reason = Literal["receipt", "expired", "quota", "retired"]

ENTRY_LIMIT_BYTES = 65_536


class _Entry(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    array_like=True,
    forbid_unknown_fields=True,
    gc=False,  # nothing in an entry can lead back to it, and an audit holds a million
):
    """What all kinds have; the fields stand in the entry in the order of their class."""

    at_ms: Count


class Boot(_Entry, frozen=True, kw_only=True, array_like=True, tag="boot"):
    """A process started."""

    boot: BootId
    version: Text
    policy_hash: Hash
    model_hash: Hash | None = None
    """SHA-256 of the models' manifest; the sender has none."""


class Sealed(_Entry, frozen=True, kw_only=True, array_like=True, tag="sealed"):
    """A frame was sealed and is on disk."""

    lane: Lane
    boot: BootId
    first: Count
    last: Count
    frame: Hash
    length: Count
    """Bytes of the whole frame."""
    segment: str
    """A `SegmentName`; looked at by the decoders, once for all frames of a segment."""

    @property
    def reads(self) -> int:
        """Reads (or crops) in the frame."""
        return self.last - self.first + 1


class Dropped(_Entry, frozen=True, kw_only=True, array_like=True, tag="dropped"):
    """Reads that were recorded but could not be kept."""

    lane: Lane
    boot: BootId
    first: Count | None
    """First sequence; None when the reads had none yet."""
    count: Count
    reason: Text


class Stop(_Entry, frozen=True, kw_only=True, array_like=True, tag="stop"):
    """A process ended in good order."""

    counters: dict[Text, Count]


class Gap(_Entry, frozen=True, kw_only=True, array_like=True, tag="gap"):
    """The log did not end in good order: what a start found of its last moments."""

    cut_bytes: Count
    """At its end, of no whole entry: torn by a power cut, or damaged."""
    kept: Count
    """Whole entries behind a damaged place; they follow this one."""
    unsigned: Count
    """Entries just before this one, and those kept, that no signature had vouched for."""


class Recovered(_Entry, frozen=True, kw_only=True, array_like=True, tag="recovered"):
    """What a start found in the spool."""

    segments: Count
    """Left open by an earlier start."""
    adopted: Count
    """Frames on disk that had not reached the log; their sealed entries follow."""
    damaged_bytes: Count


class Uploaded(_Entry, frozen=True, kw_only=True, array_like=True, tag="uploaded"):
    """Frames of one segment reached the city, which signed for them."""

    lane: Lane
    segment: SegmentName
    reads: Count
    receipt: bytes
    """As signed by the city; names the frames."""


class DeleteIntent(_Entry, frozen=True, kw_only=True, array_like=True, tag="delete-intent"):
    """A segment is about to be deleted."""

    lane: Lane
    segment: SegmentName
    reason: Reason
    damaged_bytes: Count
    """Bytes in it that are no frame."""


class Deleted(_Entry, frozen=True, kw_only=True, array_like=True, tag="deleted"):
    """A segment is gone."""

    lane: Lane
    segment: SegmentName
    reason: Reason


class RefusedReceipt(_Entry, frozen=True, kw_only=True, array_like=True, tag="refused-receipt"):
    """An answer that is no valid receipt for what was sent; the frames stay."""

    lane: Lane
    segment: SegmentName
    detail: Text


class IoFailure(_Entry, frozen=True, kw_only=True, array_like=True, tag="io-error"):
    """The disk failed."""

    place: Text
    detail: Text


class PolicySeen(_Entry, frozen=True, kw_only=True, array_like=True, tag="policy"):
    """A policy was taken over, or refused."""

    policy_hash: Hash
    """Of the whole bundle where it was refused."""
    accepted: bool
    detail: Text
    version: Count
    """0 where it was refused: then nothing in it is believed; as of the next."""
    root_version: Count
    flashed_root: Hash
    """SHA-256 of the root file on the unit, under which it was judged."""


class Retired(_Entry, frozen=True, kw_only=True, array_like=True, tag="retired"):
    """The last entry of a unit: its spool is gone, and these keys go next."""

    watch_key: Hash
    """SHA-256 of the public half, as of the next two."""
    send_key: Hash
    tls_key: Hash
    reads: Count
    """Reads and crops that were destroyed and had not reached the city."""
    reason: Text


class HotlistSeen(_Entry, frozen=True, kw_only=True, array_like=True, tag="hotlist"):
    """A hotlist came in; no plate of it stands here, nor anything made of one."""

    version: Count
    """0 where it was refused: then nothing in it is believed."""
    count: Count
    """Entries."""
    accepted: bool
    detail: Text


class UpdateSeen(_Entry, frozen=True, kw_only=True, array_like=True, tag="update"):
    """Something became of an update of the application."""

    version: Text
    archive: Hash
    """SHA-256."""
    step: Literal["fetched", "refused", "switched", "proven", "fallen-back", "forgotten"]
    detail: Text


Entry = (
    Boot
    | Sealed
    | Dropped
    | Stop
    | Gap
    | Recovered
    | Uploaded
    | DeleteIntent
    | Deleted
    | RefusedReceipt
    | IoFailure
    | PolicySeen
    | Retired
    | HotlistSeen
    | UpdateSeen
)

_SEGMENT_NAME: Final = re.compile(_SEGMENT)
_DECODER: Final = msgspec.msgpack.Decoder(Entry)
_ENCODER: Final = msgspec.msgpack.Encoder(order="deterministic")
"""Writes each value in its shortest form and maps by their sorted keys: one entry, one spelling."""


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes that the Merkle tree is built over."""
    return _ENCODER.encode(entry)


def decode_entry(content: bytes) -> Entry:
    """Return the entry.

    Raises:
        IntegrityError: Not the bytes that `encode_entry` makes of an entry.
    """
    try:
        entry: Entry = _DECODER.decode(content)
        _require_sealed([entry])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"audit entry: {error}; expected an entry of a known kind"
        raise IntegrityError(message) from error
    if _ENCODER.encode(entry) != content:
        message = "audit entry: found another spelling; expected the shortest"
        raise IntegrityError(message)
    return entry


def decode_entries(contents: list[bytes]) -> list[Entry]:
    """Return many entries; in half the time of as many calls.

    Raises:
        IntegrityError: One of them is none; `decode_entry` tells which.
    """
    try:
        entries = list(map(_DECODER.decode, contents))
        _require_sealed(entries)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"audit entry: {error}; expected an entry of a known kind"
        raise IntegrityError(message) from error
    count = len(entries)
    head = _ENCODER.encode([None] * count)[:-count]  # of an array of so many
    if count and _ENCODER.encode(entries) != head + b"".join(contents):
        message = "audit entry: found another spelling; expected the shortest"
        raise IntegrityError(message)
    return entries


def times_of(entries: Sequence[Entry]) -> tuple[int, int]:
    """Return the earliest and the latest time of one or more entries.

    A gap does not count among others: the start that wrote it may be long after what it found.
    """
    times_ms = [entry.at_ms for entry in entries if not isinstance(entry, Gap)]
    times_ms = times_ms or [entries[-1].at_ms]
    return min(times_ms), max(times_ms)


def _require_sealed(entries: Sequence[Entry]) -> None:
    """Refuse what the types alone cannot, many at a time: one by one takes as long as the rest.

    Raises:
        ValueError: Another name of a segment, or sequences from the last to the first.
    """
    sealed = [entry for entry in entries if type(entry) is Sealed]
    if not all(map(_SEGMENT_NAME.match, {entry.segment for entry in sealed})):
        message = "found another name of a segment; expected <first_ms>-<boot>-<n>"
        raise ValueError(message)
    if [entry for entry in sealed if entry.last < entry.first]:
        message = "found a last sequence before the first"
        raise ValueError(message)
