"""Entries of the audit logs: what a unit did, never what it saw.

An entry is a deterministic CBOR map: 0 the kind, 1 the time, 2 and on the fields of the kind in
the order of its class. `deploy/docs/formats.md` describes them to the byte.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.cbor import decode_cbor_list, encode_cbor

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
BootId = Annotated[bytes, Meta(min_length=16, max_length=16)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
SegmentName = Annotated[str, Meta(pattern=r"^[0-9]{13}-[0-9a-f]{8}-[0-9]{6}$")]
"""A segment's file name without its ending, which changes when the segment is closed."""
Text = Annotated[str, Meta(max_length=200)]
Reason = Literal["receipt", "expired", "quota"]

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
    segment: SegmentName

    def __post_init__(self) -> None:
        if self.last < self.first:
            message = f"sequences {self.first} to {self.last}"
            raise ValueError(message)

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
    """The log itself had a torn end, which was cut: the last moments before a power cut."""

    cut_bytes: Count


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
    """A policy came in."""

    policy_hash: Hash
    accepted: bool
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
)

_DECODER = msgspec.msgpack.Decoder(Entry)
"""By way of MessagePack, which has the same types: five times as quick as `msgspec.convert`."""


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes that the Merkle tree is built over."""
    fields = msgspec.to_builtins(entry, builtin_types=(bytes,))
    return encode_cbor(dict(enumerate(fields)))


def decode_entry(content: bytes) -> Entry:
    """Return the entry.

    Raises:
        IntegrityError: Not the bytes that `encode_entry` makes of an entry.
    """
    fields = decode_cbor_list(content, place="audit entry")
    try:
        entry: Entry = _DECODER.decode(msgspec.msgpack.encode(fields))
    except (msgspec.MsgspecError, ValueError, TypeError, OverflowError) as error:
        message = f"audit entry: {error}; expected an entry of a known kind"
        raise IntegrityError(message) from error
    return entry
