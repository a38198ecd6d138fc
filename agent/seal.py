"""Reads to sealed frames: gather a commit in RAM, encode it, seal it to the city's key.

A sequence is used up when its frame is made. A frame that the disk refused is put again as the
same bytes, never sealed again, so one unit never makes two frames with the same sequences; a
frame that is given up leaves a hole in the sequences and in the chain, which the log explains
(formats.md, section 1.1).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Generic, TypeVar

from agent.base.clock import to_ms
from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.base.records import Direction, PlateRead
from agent.trust.contents import (
    DIRECTIONS,
    QUARTERS,
    StoredCrop,
    StoredRead,
    encode_crops_text,
    encode_reads_text,
)
from agent.trust.envelope import SUITE_NAME, seal_to_city
from agent.trust.frames import encode_frame, frame_hash
from agent.trust.header import NO_FRAME, FrameHeader
from agent.trust.signatures import PublicKey

COMMIT_READS: Final = 64
COMMIT_BYTES: Final = 1_048_576

_READ_BYTES: Final = 200  # of one read before compression, rounded up
_CERTAIN: Final = 255
_CODES: Final = {Direction(name): code for code, name in enumerate(DIRECTIONS)}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """A plate's picture on its way into the lane crops."""

    lane: Lane
    """Of its read."""
    read_sequence: int
    """Of its read in that lane."""
    seen_at: datetime
    """When the vehicle was last seen."""
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A frame that was made and is to be stored."""

    header: FrameHeader
    content: bytes = field(repr=False)
    """The whole frame; put exactly these bytes, again after an error."""
    sha256: bytes
    """The frame hash."""


class Batch(Generic[T]):
    """Items of one lane that wait in RAM for their commit."""

    def __init__(self, lane: Lane, *, interval_s: float) -> None:
        self._lane = lane
        self._interval_ns = int(interval_s * 1e9)
        self._items: list[T] = []
        self._size_bytes = 0
        self._oldest_ns = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T, *, size_bytes: int = _READ_BYTES, now_ns: int) -> None:
        """Take an item.

        Args:
            item: What waits.
            size_bytes: About its length once encoded.
            now_ns: Monotonic time.
        """
        if not self._items:
            self._oldest_ns = now_ns
        self._items.append(item)
        self._size_bytes += size_bytes

    def is_due(self, now_ns: int) -> bool:
        """Tell whether to commit now: hits at once, others when old, many or large enough."""
        if not self._items:
            return False
        return (
            self._lane is Lane.HITS
            or len(self._items) >= COMMIT_READS
            or self._size_bytes >= COMMIT_BYTES
            or now_ns - self._oldest_ns >= self._interval_ns
        )

    def take(self) -> tuple[T, ...]:
        """Return all items in the order they came and start anew."""
        items, self._items, self._size_bytes = tuple(self._items), [], 0
        return items


class Sealer:
    """Makes the frames of one start: keeps each lane's next sequence and previous frame hash."""

    def __init__(
        self,
        *,
        city_key: PublicKey,
        policy_sha256: bytes,
        unit: str,
        boot: bytes,
        model_sha256: bytes,
    ) -> None:
        self._city_key = city_key
        self._policy_sha256 = policy_sha256
        self._unit = unit
        self._boot = boot
        self._model_sha256 = model_sha256
        self._next = dict.fromkeys(Lane, 0)
        self._previous = dict.fromkeys(Lane, NO_FRAME)

    def next_sequence(self, lane: Lane) -> int:
        """Return the sequence that the lane's next item gets."""
        return self._next[lane]

    def seal(self, lane: Lane, reads: Sequence[PlateRead]) -> Commit:
        """Make the next frame of the lanes hits and reads.

        Args:
            lane: Hits or reads.
            reads: 1 to 4,096; they get the next sequences in this order.

        Raises:
            IntegrityError: No reads, too many, or one that the format cannot hold; no sequence
                is used up.
        """
        if lane is Lane.CROPS:
            message = "seal: found the lane crops for reads; expected hits or reads"
            raise IntegrityError(message)
        plaintext = encode_reads(tuple(enumerate(reads, self._next[lane])))
        return self._make(lane, plaintext, [to_ms(read.last_seen) for read in reads])

    def seal_crops(self, crops: Sequence[Crop]) -> Commit:
        """Make the next frame of the lane crops.

        Args:
            crops: 1 to 4,096; they get the next sequences in this order.

        Raises:
            IntegrityError: No crops, too many, or one that the format cannot hold; no sequence
                is used up.
        """
        plaintext = encode_crops(tuple(enumerate(crops, self._next[Lane.CROPS])))
        return self._make(Lane.CROPS, plaintext, [to_ms(crop.seen_at) for crop in crops])

    def _make(self, lane: Lane, plaintext: bytes, times_ms: Sequence[int]) -> Commit:
        """Seal, then move the lane on: the frame exists from here on, whatever the disk does."""
        header = self._header(lane, times_ms)
        content = encode_frame(seal_to_city(plaintext, header, self._city_key))
        sha256 = frame_hash(content)
        self._next[lane] = header.last_sequence + 1
        self._previous[lane] = sha256
        return Commit(header=header, content=content, sha256=sha256)

    def _header(self, lane: Lane, times_ms: Sequence[int]) -> FrameHeader:
        if not times_ms:
            message = "seal: no reads; expected 1 or more"
            raise IntegrityError(message)
        first = self._next[lane]
        return FrameHeader(
            suite=SUITE_NAME,
            key_id=self._city_key.key_id,
            unit=self._unit,
            boot=self._boot,
            lane=lane,
            first_sequence=first,
            last_sequence=first + len(times_ms) - 1,
            first_ms=min(times_ms),
            last_ms=max(times_ms),
            policy_sha256=self._policy_sha256,
            model_sha256=self._model_sha256,
            previous_sha256=self._previous[lane],
        )


def encode_reads(reads: Sequence[tuple[int, PlateRead]]) -> bytes:
    """Return the plain text of sequences and their reads.

    Raises:
        IntegrityError: A read that the format cannot hold.
    """
    return encode_reads_text([_stored_read(sequence, read) for sequence, read in reads])


def encode_crops(crops: Sequence[tuple[int, Crop]]) -> bytes:
    """Return the plain text of sequences and their crops.

    Raises:
        IntegrityError: A crop that the format cannot hold.
    """
    return encode_crops_text([_stored_crop(sequence, crop) for sequence, crop in crops])


def _stored_read(sequence: int, read: PlateRead) -> StoredRead:
    return StoredRead(
        sequence=sequence,
        text=read.text.characters,
        confidences=bytes(min(round(value * _CERTAIN), _CERTAIN) for value in read.confidences),
        abstained=read.abstained,
        frames_seen=read.frames_seen,
        frames_agreed=read.frames_agreed,
        first_ms=to_ms(read.first_seen),
        last_ms=to_ms(read.last_seen),
        first_frame=read.first_frame,
        last_frame=read.last_frame,
        direction=_CODES[read.direction],
        corners=tuple(round(number * QUARTERS) for number in read.corners),
    )


def _stored_crop(sequence: int, crop: Crop) -> StoredCrop:
    return StoredCrop(
        sequence=sequence,
        lane=crop.lane,
        read_sequence=crop.read_sequence,
        time_ms=to_ms(crop.seen_at),
        jpeg=crop.jpeg,
    )
