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

import msgspec

from agent.base.clock import to_ms
from agent.base.errors import IntegrityError
from agent.base.hits import Hit, HitEnd
from agent.base.lanes import Lane
from agent.base.place import Locator, Place, nowhere
from agent.base.records import Direction, PlateRead
from agent.trust.alerts import StoredAlert, StoredEnd, StoredMatch, encode_hits_text
from agent.trust.contents import (
    DIRECTIONS,
    QUARTERS,
    StoredCrop,
    StoredRead,
    encode_crops_text,
    encode_reads_text,
)
from agent.trust.envelope import SUITE_NAME, seal_frame
from agent.trust.frames import frame_hash
from agent.trust.header import NO_FRAME, FrameHeader
from agent.trust.signatures import PublicKey

COMMIT_READS: Final = 64
COMMIT_BYTES: Final = 1_048_576
WAITING_LIMIT: Final = 1024
"""Items of a lane that wait for a disk that stalls: half a minute of 1,800 vehicles a minute."""

_READ_BYTES: Final = 200  # of one read before compression, rounded up
_CERTAIN: Final = 255
_CODES: Final = {Direction(name): code for code, name in enumerate(DIRECTIONS)}

T = TypeVar("T")


class Crop(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A plate's picture on its way into the lane crops; that of a hit stands in its alert."""

    read_sequence: int
    """Of its read in the lane reads."""
    seen_at: datetime
    """When the vehicle was last seen."""
    jpeg: bytes

    def __repr__(self) -> str:
        return f"Crop(read_sequence={self.read_sequence})"


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
        self.lane = lane
        self._refused = 0
        self._interval_ns = int(interval_s * 1e9)
        self._items: list[T] = []
        self._size_bytes = 0
        self._oldest_ns = 0

    def __len__(self) -> int:
        return len(self._items)

    def add(self, item: T, *, size_bytes: int = _READ_BYTES, now_ns: int) -> bool:
        """Take an item, if there is room; what is refused is counted.

        Args:
            item: What waits.
            size_bytes: About its length once encoded.
            now_ns: Monotonic time.
        """
        if len(self._items) >= WAITING_LIMIT:
            self._refused += 1
            return False
        if not self._items:
            self._oldest_ns = now_ns
        self._items.append(item)
        self._size_bytes += size_bytes
        return True

    def take_refused(self) -> int:
        """Return how many items found no room, and count anew."""
        refused, self._refused = self._refused, 0
        return refused

    def is_due(self, now_ns: int) -> bool:
        """Tell whether to commit now: hits at once, others when old, many or large enough."""
        if not self._items:
            return False
        return (
            self.lane is Lane.HITS
            or len(self._items) >= COMMIT_READS
            or self._size_bytes >= COMMIT_BYTES
            or now_ns - self._oldest_ns >= self._interval_ns
        )

    def take(self) -> tuple[T, ...]:
        """Return all items in the order they came and start anew."""
        items, self._items, self._size_bytes = tuple(self._items), [], 0
        return items


class Sealer:
    """Makes the frames of one start: keeps each lane's next sequence and previous frame hash.

    A vehicle unit's `locate` gives each read and alert the place where its vehicle was last seen.
    """

    def __init__(
        self,
        *,
        city_key: PublicKey,
        policy_sha256: bytes,
        unit: str,
        boot: bytes,
        model_sha256: bytes,
        locate: Locator = nowhere,
    ) -> None:
        self._city_key, self._locate = city_key, locate
        self._policy_sha256 = policy_sha256
        self._unit = unit
        self._boot = boot
        self._model_sha256 = model_sha256
        self._next = dict.fromkeys(Lane, 0)
        self._previous = dict.fromkeys(Lane, NO_FRAME)

    def follow(self, *, city_key: PublicKey, policy_sha256: bytes) -> None:
        """Seal to the key of another policy, and name it, from the next frame on."""
        self._city_key, self._policy_sha256 = city_key, policy_sha256

    def next_sequence(self, lane: Lane) -> int:
        """Return the sequence that the lane's next item gets."""
        return self._next[lane]

    def seal_reads(self, reads: Sequence[PlateRead]) -> Commit:
        """Make the next frame of the lane reads.

        Args:
            reads: 1 to 4,096; they get the next sequences in this order.

        Raises:
            IntegrityError: No reads, too many, or one that the format cannot hold; no sequence
                is used up.
        """
        stored = [
            _stored_read(sequence, read, self._locate(read.last_seen))
            for sequence, read in enumerate(reads, self._next[Lane.READS])
        ]
        times_ms = [read.last_ms for read in stored]
        return self._make(Lane.READS, encode_reads_text(stored), times_ms)

    def seal_hits(self, items: Sequence[Hit | HitEnd]) -> Commit:
        """Make the next frame of the lane hits.

        Args:
            items: 1 to 4,096; they get the next sequences in this order.

        Raises:
            IntegrityError: No items, too many, or one that the format cannot hold; no sequence
                is used up.
        """
        numbered = tuple(enumerate(items, self._next[Lane.HITS]))
        plaintext = encode_hits(numbered, self._locate)
        return self._make(Lane.HITS, plaintext, [to_ms(item.read.last_seen) for item in items])

    def seal_crops(self, crops: Sequence[Crop]) -> Commit:
        """Make the next frame of the lane crops.

        Args:
            crops: 1 to 4,096; they get the next sequences in this order.

        Raises:
            IntegrityError: No crops, too many, or one that the format cannot hold; no sequence
                is used up.
        """
        stored = [_stored_crop(*item) for item in enumerate(crops, self._next[Lane.CROPS])]
        return self._make(Lane.CROPS, encode_crops_text(stored), [crop.time_ms for crop in stored])

    def _make(self, lane: Lane, plaintext: bytes, times_ms: Sequence[int]) -> Commit:
        """Seal, then move the lane on: the frame exists from here on, whatever the disk does."""
        header = self._header(lane, times_ms)
        content = seal_frame(plaintext, header, self._city_key)
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


def encode_hits(items: Sequence[tuple[int, Hit | HitEnd]], locate: Locator = nowhere) -> bytes:
    """Return the plain text of sequences and their alerts or ends; `locate` adds places to alerts.

    Raises:
        IntegrityError: One that the format cannot hold.
    """
    return encode_hits_text(
        [
            _stored_alert(sequence, item, locate(item.read.last_seen))
            if isinstance(item, Hit)
            else _stored_end(sequence, item)
            for sequence, item in items
        ]
    )


def _stored_read(sequence: int, read: PlateRead, place: Place | None = None) -> StoredRead:
    return StoredRead(
        sequence=sequence,
        text=read.text.characters,
        confidences=bytes([min(round(value * _CERTAIN), _CERTAIN) for value in read.confidences]),
        abstained=read.abstained,
        frames_seen=read.frames_seen,
        frames_agreed=read.frames_agreed,
        first_ms=to_ms(read.first_seen),
        last_ms=to_ms(read.last_seen),
        first_frame=read.first_frame,
        last_frame=read.last_frame,
        direction=_CODES[read.direction],
        corners=tuple([round(number * QUARTERS) for number in read.corners]),
        place=place,
    )


def _stored_alert(sequence: int, hit: Hit, place: Place | None) -> StoredAlert:
    return StoredAlert(
        read=_stored_read(sequence, hit.read, place),
        list_version=hit.list_version,
        list_issued_ms=hit.list_issued_ms,
        matched_ms=hit.matched_ms,
        complete=hit.complete,
        matches=tuple(
            StoredMatch(
                state=match.state,
                purpose=match.purpose,
                agency=match.agency,
                case=match.case,
                expires_ms=match.expires_ms,
            )
            for match in hit.matches
        ),
        jpeg=hit.read.crop_jpeg,
    )


def _stored_end(sequence: int, end: HitEnd) -> StoredEnd:
    return StoredEnd(
        sequence=sequence,
        alert_sequence=end.alert_sequence,
        confirmed=end.confirmed,
        frames_seen=end.read.frames_seen,
        frames_agreed=end.read.frames_agreed,
        last_ms=to_ms(end.read.last_seen),
        last_frame=end.read.last_frame,
        direction=_CODES[end.read.direction],
    )


def _stored_crop(sequence: int, crop: Crop) -> StoredCrop:
    return StoredCrop(
        sequence=sequence,
        lane=Lane.READS,
        read_sequence=crop.read_sequence,
        time_ms=to_ms(crop.seen_at),
        jpeg=crop.jpeg,
    )
