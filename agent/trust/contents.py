"""Plain text inside a sealed frame (deploy/docs/formats.md, chapter 2): reads and crops."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import zstandard

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.header import SEQUENCE_LIMIT, TIME_LIMIT_MS

VERSION: Final = 1
PLAINTEXT_LIMIT_BYTES: Final = 16_777_216
DIRECTIONS: Final = ("toward", "away", "left", "right", "still")
"""The index is what is stored."""
QUARTERS: Final = 4
"""Corners are stored in quarters of a pixel."""

_READS: Final = 1
_CROPS: Final = 2
_ZSTD_LEVEL_READS: Final = 3
_ZSTD_LEVEL_CROPS: Final = 1  # 10.5 % off: each JPEG repeats its tables; no more at level 3
_CORNER_LIMIT: Final = 2**31
_CORNER_NUMBERS: Final = 8
_TEXT: Final = re.compile(r"[A-Z0-9]{0,16}")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRead:
    """A plate read as it stands in a frame.

    Raises:
        IntegrityError: A field is of the wrong type or out of its range.
    """

    sequence: int
    text: str = field(repr=False)
    confidences: bytes = field(repr=False)
    """One byte a character; 255 = certain."""
    abstained: bool
    frames_seen: int
    frames_agreed: int
    first_ms: int
    last_ms: int
    first_frame: int
    last_frame: int
    direction: int
    """Index into `DIRECTIONS`."""
    corners: tuple[int, ...]
    """x1, y1 … x4, y4 in quarters of a pixel."""

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        _require(type(self.text) is str and _TEXT.fullmatch(self.text) is not None, "text")
        _require_type(self.confidences, bytes, "confidences")
        _require(len(self.confidences) == len(self.text), "number of confidences")
        _require_type(self.abstained, bool, "abstained")
        for name in ("sequence", "frames_seen", "frames_agreed", "first_frame", "last_frame"):
            _require_number(getattr(self, name), name, SEQUENCE_LIMIT)
        for name in ("first_ms", "last_ms"):
            _require_number(getattr(self, name), name, TIME_LIMIT_MS)
        _require_number(self.direction, "direction", len(DIRECTIONS))
        _require(len(self.corners) == _CORNER_NUMBERS, "number of corner coordinates")
        for number in self.corners:
            _require(type(number) is int and abs(number) < _CORNER_LIMIT, "corner coordinate")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCrop:
    """A plate's picture as it stands in a frame; its boot is the frame header's.

    Raises:
        IntegrityError: A field is of the wrong type or out of its range.
    """

    sequence: int
    """In the lane crops."""
    lane: Lane
    """Of its read."""
    read_sequence: int
    """Of its read in that lane."""
    time_ms: int
    jpeg: bytes = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        for name in ("sequence", "read_sequence"):
            _require_number(getattr(self, name), name, SEQUENCE_LIMIT)
        _require_number(self.time_ms, "time_ms", TIME_LIMIT_MS)
        _require(self.lane in (Lane.HITS, Lane.READS), "lane of the read")
        _require_type(self.jpeg, bytes, "jpeg")


def encode_reads_text(reads: Sequence[StoredRead]) -> bytes:
    """Return the plain text of a frame in the lanes hits and reads.

    Raises:
        IntegrityError: Longer than the format allows.
    """
    return _compress({0: VERSION, _READS: [_read_map(read) for read in reads]}, _ZSTD_LEVEL_READS)


def encode_crops_text(crops: Sequence[StoredCrop]) -> bytes:
    """Return the plain text of a frame in the lane crops.

    Raises:
        IntegrityError: Longer than the format allows.
    """
    return _compress({0: VERSION, _CROPS: [_crop_map(crop) for crop in crops]}, _ZSTD_LEVEL_CROPS)


def decode_reads_text(plaintext: bytes) -> tuple[StoredRead, ...]:
    """Return the reads of an opened frame in the lanes hits and reads.

    Raises:
        IntegrityError: Not in the format, or larger than it allows.
    """
    return tuple(_parse_read(item) for item in _items(plaintext, _READS))


def decode_crops_text(plaintext: bytes) -> tuple[StoredCrop, ...]:
    """Return the crops of an opened frame in the lane crops.

    Raises:
        IntegrityError: Not in the format, or larger than it allows.
    """
    return tuple(_parse_crop(item) for item in _items(plaintext, _CROPS))


def _compress(value: object, level: int) -> bytes:
    content = encode_cbor(value)
    if len(content) > PLAINTEXT_LIMIT_BYTES:
        message = f"plain text: {len(content)} bytes; expected at most {PLAINTEXT_LIMIT_BYTES}"
        raise IntegrityError(message)
    return zstandard.ZstdCompressor(level=level).compress(content)


def _decompress(plaintext: bytes) -> bytes:
    """Return the CBOR; the size is read before a byte is decompressed."""
    try:
        size = zstandard.get_frame_parameters(plaintext).content_size
        if not 0 < size <= PLAINTEXT_LIMIT_BYTES:  # unknown is a huge number
            message = f"plain text: states {size} bytes; expected 1 to {PLAINTEXT_LIMIT_BYTES}"
            raise IntegrityError(message)
        return zstandard.ZstdDecompressor().decompress(plaintext, allow_extra_data=False)
    except zstandard.ZstdError as error:
        message = "plain text: not one zstd frame"
        raise IntegrityError(message) from error


def _items(plaintext: bytes, key: int) -> list[Any]:
    value = decode_cbor(_decompress(plaintext))
    _require(isinstance(value, dict) and list(value) == [0, key], "map of version and items")
    fields: dict[int, Any] = dict(value)  # type: ignore[call-overload] # checked above
    _require((type(fields[0]), fields[0]) == (int, VERSION), "version")  # True equals 1
    _require_type(fields[key], list, "list of items")
    items: list[Any] = fields[key]
    return items


def _read_map(read: StoredRead) -> dict[int, object]:
    return {
        0: read.sequence,
        1: read.text,
        2: read.confidences,
        3: read.abstained,
        4: read.frames_seen,
        5: read.frames_agreed,
        6: read.first_ms,
        7: read.last_ms,
        8: read.first_frame,
        9: read.last_frame,
        10: read.direction,
        11: list(read.corners),
    }


def _parse_read(item: object) -> StoredRead:
    fields = _fields(item, 12)
    _require_type(fields[11], list, "corners")
    return StoredRead(
        sequence=fields[0],
        text=fields[1],
        confidences=fields[2],
        abstained=fields[3],
        frames_seen=fields[4],
        frames_agreed=fields[5],
        first_ms=fields[6],
        last_ms=fields[7],
        first_frame=fields[8],
        last_frame=fields[9],
        direction=fields[10],
        corners=tuple(fields[11]),
    )


def _crop_map(crop: StoredCrop) -> dict[int, object]:
    return {
        0: crop.sequence,
        1: int(crop.lane),
        2: crop.read_sequence,
        3: crop.time_ms,
        4: crop.jpeg,
    }


def _parse_crop(item: object) -> StoredCrop:
    fields = _fields(item, 5)
    _require(type(fields[1]) is int and fields[1] in tuple(Lane), "lane of the read")
    return StoredCrop(
        sequence=fields[0],
        lane=Lane(fields[1]),
        read_sequence=fields[2],
        time_ms=fields[3],
        jpeg=fields[4],
    )


def _fields(item: object, count: int) -> dict[int, Any]:
    if not isinstance(item, dict) or list(item) != list(range(count)):
        message = f"plain text: found another item; expected a map with the keys 0 to {count - 1}"
        raise IntegrityError(message)
    return item


def _require_number(value: object, name: str, limit: int) -> None:
    _require(type(value) is int and 0 <= value < limit, name)


def _require_type(value: object, kind: type, name: str) -> None:
    _require(type(value) is kind, name)


def _require(condition: bool, name: str) -> None:  # noqa: FBT001 -- the condition is the subject
    if not condition:
        message = f"plain text: {name} is not what the format says"
        raise IntegrityError(message)
