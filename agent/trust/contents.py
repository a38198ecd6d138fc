"""Plain text inside a sealed frame (deploy/docs/formats.md, chapter 2): reads and crops.

`agent.trust.alerts` has that of the lane hits.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import zstandard

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.base.place import Place
from agent.trust.cbor import decode_cbor, encode_head, encode_in_order
from agent.trust.header import SEQUENCE_LIMIT, TIME_LIMIT_MS

VERSION: Final = 1
PLAINTEXT_LIMIT_BYTES: Final = 16_777_216
DIRECTIONS: Final = ("toward", "away", "left", "right", "still")
"""The index is what is stored."""
QUARTERS: Final = 4
"""Corners are stored in quarters of a pixel."""

READ_FIELDS: Final = 12
"""Without the place."""
_PLACE_FIELDS: Final = 4
_LATITUDE_LIMIT, _LONGITUDE_LIMIT = 900_000_001, 1_800_000_001
_ERROR_LIMIT: Final = 2**31

_READS: Final = 1
_CROPS: Final = 2
_BYTES, _ARRAY = 2, 4  # major types of CBOR
_MAP_OF_CROPS: Final = bytes((0xA2, 0, VERSION, _CROPS))
ZSTD_LEVEL_READS: Final = 3
_ZSTD_LEVEL_CROPS: Final = -3
"""Finds the tables that each JPEG repeats (5 % of a picture of 6 KB) and leaves the rest alone.
Level 1 takes 3 to 17 times the CPU for 0.2 to 1.2 % of the bytes."""
_CORNER_LIMIT: Final = 2**31
_CORNER_NUMBERS: Final = 8
_INT: Final = frozenset({int})
_TEXT: Final = re.compile(r"[A-Z0-9]{0,16}")


class StoredRead(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A plate read as it stands in a frame.

    Raises:
        IntegrityError: A field is of the wrong type or out of its range.
    """

    sequence: int
    text: str
    confidences: bytes
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
    place: Place | None = None
    """Where a vehicle unit was then."""

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        if self.place is not None:
            require_place(self.place)
        require(type(self.text) is str and _TEXT.fullmatch(self.text) is not None, "text")
        require_type(self.confidences, bytes, "confidences")
        require(len(self.confidences) == len(self.text), "number of confidences")
        require_type(self.abstained, bool, "abstained")
        seen = (self.sequence, self.frames_seen, self.frames_agreed)
        frames = (self.first_frame, self.last_frame)
        require_numbers((*seen, *frames, self.direction), "number", SEQUENCE_LIMIT)
        require_numbers((self.first_ms, self.last_ms), "time", TIME_LIMIT_MS)
        require(self.direction < len(DIRECTIONS), "direction")
        require(len(self.corners) == _CORNER_NUMBERS, "number of corner coordinates")
        require_numbers(self.corners, "corner coordinate", _CORNER_LIMIT, low=1 - _CORNER_LIMIT)

    def __repr__(self) -> str:
        return f"StoredRead(sequence={self.sequence})"


class StoredCrop(msgspec.Struct, frozen=True, kw_only=True, gc=False):
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
    jpeg: bytes

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        require_numbers((self.sequence, self.read_sequence), "sequence", SEQUENCE_LIMIT)
        require_numbers((self.time_ms,), "time", TIME_LIMIT_MS)
        require(self.lane in (Lane.HITS, Lane.READS), "lane of the read")
        require_type(self.jpeg, bytes, "jpeg")

    def __repr__(self) -> str:
        return f"StoredCrop(sequence={self.sequence})"


def encode_reads_text(reads: Sequence[StoredRead]) -> bytes:
    """Return the plain text of a frame in the lane reads.

    Raises:
        IntegrityError: Longer than the format allows.
    """
    maps = [read_map(read) | place_map(read, READ_FIELDS) for read in reads]
    content = encode_in_order({0: VERSION, _READS: maps})
    return compress(content, ZSTD_LEVEL_READS)


def encode_crops_text(crops: Sequence[StoredCrop]) -> bytes:
    """Return the plain text of a frame in the lane crops.

    Raises:
        IntegrityError: Longer than the format allows.
    """
    parts = [_MAP_OF_CROPS, encode_head(_ARRAY, len(crops))]
    for crop in crops:
        parts += _crop_parts(crop)
    return compress(b"".join(parts), _ZSTD_LEVEL_CROPS)


def decode_reads_text(plaintext: bytes) -> tuple[StoredRead, ...]:
    """Return the reads of an opened frame in the lane reads.

    Raises:
        IntegrityError: Not in the format, or larger than it allows.
    """
    return tuple(_parse_read_item(item) for item in decode_items(plaintext, _READS))


def _parse_read_item(item: object) -> StoredRead:
    fields = require_fields(item, READ_FIELDS, and_maybe=1)
    return parse_read(fields, place_key=READ_FIELDS)


def decode_crops_text(plaintext: bytes) -> tuple[StoredCrop, ...]:
    """Return the crops of an opened frame in the lane crops.

    Raises:
        IntegrityError: Not in the format, or larger than it allows.
    """
    return tuple(_parse_crop(item) for item in decode_items(plaintext, _CROPS))


def compress(content: bytes, level: int) -> bytes:
    """Return CBOR as the plain text of a frame.

    Raises:
        IntegrityError: Longer than the format allows.
    """
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


def decode_items(plaintext: bytes, key: int) -> list[Any]:
    """Return the items of a plain text that has them under `key`.

    Raises:
        IntegrityError: Not in the format, or larger than it allows.
    """
    value = decode_cbor(_decompress(plaintext))
    require(isinstance(value, dict) and list(value) == [0, key], "map of version and items")
    fields: dict[int, Any] = dict(value)  # type: ignore[call-overload] # checked above
    require((type(fields[0]), fields[0]) == (int, VERSION), "version")  # True equals 1
    require_type(fields[key], list, "list of items")
    items: list[Any] = fields[key]
    return items


def read_map(read: StoredRead) -> dict[int, object]:
    """Return a read's fields by their keys."""
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


def place_map(read: StoredRead, key: int) -> dict[int, object]:
    """Return a read's place under `key`, nothing where it has none."""
    place = read.place
    if place is None:
        return {}
    return {key: [place.latitude_e7, place.longitude_e7, place.error_dm, place.fix_ms]}


def parse_place(item: object) -> Place:
    """Return the place in an array.

    Raises:
        IntegrityError: It is something else.
    """
    if not isinstance(item, list) or len(item) != _PLACE_FIELDS:
        message = f"plain text: found another place; expected an array of {_PLACE_FIELDS} numbers"
        raise IntegrityError(message)
    latitude, longitude, error_dm, fix_ms = item
    return Place(latitude_e7=latitude, longitude_e7=longitude, error_dm=error_dm, fix_ms=fix_ms)


def require_place(place: Place) -> None:
    """Refuse a place that is not on the globe; IntegrityError."""
    for value, limit in (
        (place.latitude_e7, _LATITUDE_LIMIT),
        (place.longitude_e7, _LONGITUDE_LIMIT),
    ):
        require_numbers((value,), "place", limit, low=1 - limit)
    require_numbers((place.error_dm,), "error of the place", _ERROR_LIMIT)
    require_numbers((place.fix_ms,), "time of the place", TIME_LIMIT_MS)


def parse_read(fields: Mapping[int, Any], *, place_key: int) -> StoredRead:
    """Return the read in the fields 0 to 11, and its place where it has one.

    Raises:
        IntegrityError: One is not what the format says.
    """
    require_type(fields[11], list, "corners")
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
        place=parse_place(fields[place_key]) if place_key in fields else None,
    )


def _crop_parts(crop: StoredCrop) -> tuple[bytes, ...]:
    """Return a crop's map in pieces: a general encoder copies the pictures at 25 MB/s."""
    fields = {
        0: crop.sequence,
        1: int(crop.lane),
        2: crop.read_sequence,
        3: crop.time_ms,
        4: b"",
    }
    head = encode_in_order(fields)[:-1]  # less the length of the empty picture
    return head + encode_head(_BYTES, len(crop.jpeg)), crop.jpeg


def _parse_crop(item: object) -> StoredCrop:
    fields = require_fields(item, 5)
    require(type(fields[1]) is int and fields[1] in tuple(Lane), "lane of the read")
    return StoredCrop(
        sequence=fields[0],
        lane=Lane(fields[1]),
        read_sequence=fields[2],
        time_ms=fields[3],
        jpeg=fields[4],
    )


def require_fields(item: object, count: int, *, and_maybe: int = 0) -> dict[int, Any]:
    """Return an item that is a map with the keys 0 to `count` - 1, or `and_maybe` more.

    Raises:
        IntegrityError: It is something else.
    """
    counts = (count, count + and_maybe)
    if not isinstance(item, dict) or len(item) not in counts or list(item) != [*range(len(item))]:
        message = f"plain text: found another item; expected a map with the keys 0 to {count - 1}"
        raise IntegrityError(message)
    return item


def require_numbers(values: Sequence[int], name: str, limit: int, *, low: int = 0) -> None:
    """Refuse what is no integer from `low` to below `limit`; a bool is none; IntegrityError."""
    right = _INT.issuperset(map(type, values)) and min(values) >= low and max(values) < limit
    require(right, name)


def require_type(value: object, kind: type, name: str) -> None:
    """Refuse another type; IntegrityError."""
    require(type(value) is kind, name)


def require(condition: bool, name: str) -> None:  # noqa: FBT001 -- the condition is the subject
    """Refuse what does not hold; IntegrityError names the field, never its value."""
    if not condition:
        message = f"plain text: {name} is not what the format says"
        raise IntegrityError(message)
