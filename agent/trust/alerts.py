"""Plain text inside a sealed frame of the lane hits (deploy/docs/formats.md, chapter 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from agent.base.errors import IntegrityError
from agent.base.hits import LEAD_ONLY
from agent.trust.cbor import encode_in_order
from agent.trust.contents import (
    DIRECTIONS,
    VERSION,
    ZSTD_LEVEL_READS,
    StoredRead,
    compress,
    decode_items,
    parse_read,
    place_map,
    read_map,
    require,
    require_fields,
    require_numbers,
    require_type,
)
from agent.trust.header import SEQUENCE_LIMIT, TIME_LIMIT_MS

MATCHES_LIMIT: Final = 16
TEXT_LIMIT: Final = 64

_HITS: Final = 3
_ALERT_FIELDS: Final = 19
_END_FIELDS: Final = 8
_MATCH_FIELDS: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredMatch:
    """Why a plate is looked for, as it stands in an alert.

    Raises:
        IntegrityError: A field is of the wrong type or out of its range.
    """

    state: str = field(repr=False)
    purpose: str = field(repr=False)
    agency: str = field(repr=False)
    case: str = field(repr=False)
    expires_ms: int

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        for name in ("state", "purpose", "agency", "case"):
            text = getattr(self, name)
            require(type(text) is str and len(text) <= TEXT_LIMIT and text.isprintable(), name)
        require_numbers((self.expires_ms,), "expires_ms", TIME_LIMIT_MS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredAlert:
    """An alert as it stands in a frame: a read, why it is looked for, and its picture.

    Raises:
        IntegrityError: A field is of the wrong type or out of its range.
    """

    read: StoredRead
    list_version: int
    list_issued_ms: int
    matched_ms: int
    complete: bool
    """The passage was over; no end follows."""
    matches: tuple[StoredMatch, ...] = field(repr=False)
    jpeg: bytes = field(repr=False)
    """The plate alone; empty where the policy keeps no pictures."""

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        require_numbers((self.list_version,), "list_version", SEQUENCE_LIMIT)
        for name in ("list_issued_ms", "matched_ms"):
            require_numbers((getattr(self, name),), name, TIME_LIMIT_MS)
        require_type(self.complete, bool, "complete")
        require(0 < len(self.matches) <= MATCHES_LIMIT, "number of matches")
        require_type(self.jpeg, bytes, "jpeg")

    @property
    def sequence(self) -> int:
        """Its place in the lane hits."""
        return self.read.sequence


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEnd:
    """How the passage ended for which an alert was made, as it stands in a frame.

    Raises:
        IntegrityError: A field is of the wrong type or out of its range.
    """

    sequence: int
    alert_sequence: int
    """Of the same boot."""
    confirmed: bool
    frames_seen: int
    frames_agreed: int
    last_ms: int
    last_frame: int
    direction: int
    """Index into `DIRECTIONS`."""

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        for name in ("sequence", "alert_sequence", "frames_seen", "frames_agreed", "last_frame"):
            require_numbers((getattr(self, name),), name, SEQUENCE_LIMIT)
        require(self.alert_sequence < self.sequence, "alert_sequence")
        require_type(self.confirmed, bool, "confirmed")
        require_numbers((self.last_ms,), "last_ms", TIME_LIMIT_MS)
        require_numbers((self.direction,), "direction", len(DIRECTIONS))


def encode_hits_text(items: Sequence[StoredAlert | StoredEnd]) -> bytes:
    """Return the plain text of a frame in the lane hits.

    Raises:
        IntegrityError: Longer than the format allows.
    """
    maps = [_alert_map(item) if isinstance(item, StoredAlert) else _end_map(item) for item in items]
    return compress(encode_in_order({0: VERSION, _HITS: maps}), ZSTD_LEVEL_READS)


def decode_hits_text(plaintext: bytes) -> tuple[StoredAlert | StoredEnd, ...]:
    """Return the alerts and ends of an opened frame in the lane hits.

    Raises:
        IntegrityError: Not in the format, or larger than it allows.
    """
    return tuple(_parse_item(item) for item in decode_items(plaintext, _HITS))


def _parse_item(item: object) -> StoredAlert | StoredEnd:
    if isinstance(item, dict) and len(item) == _END_FIELDS:
        return _parse_end(require_fields(item, _END_FIELDS))
    return _parse_alert(require_fields(item, _ALERT_FIELDS, and_maybe=1))


def _alert_map(alert: StoredAlert) -> dict[int, object]:
    return read_map(alert.read) | {
        12: LEAD_ONLY,
        13: alert.list_version,
        14: alert.list_issued_ms,
        15: alert.matched_ms,
        16: alert.complete,
        17: [
            [match.state, match.purpose, match.agency, match.case, match.expires_ms]
            for match in alert.matches
        ],
        18: alert.jpeg,
        **place_map(alert.read, _ALERT_FIELDS),
    }


def _parse_alert(fields: Mapping[int, Any]) -> StoredAlert:
    read = parse_read(fields, place_key=_ALERT_FIELDS)
    require(fields[12] == LEAD_ONLY, "wording of an alert")
    require_type(fields[17], list, "matches")
    return StoredAlert(
        read=read,
        list_version=fields[13],
        list_issued_ms=fields[14],
        matched_ms=fields[15],
        complete=fields[16],
        matches=tuple(_parse_match(item) for item in fields[17]),
        jpeg=fields[18],
    )


def _parse_match(item: object) -> StoredMatch:
    if not isinstance(item, list) or len(item) != _MATCH_FIELDS:
        message = f"plain text: found another match; expected a list of {_MATCH_FIELDS}"
        raise IntegrityError(message)
    state, purpose, agency, case, expires_ms = item
    return StoredMatch(
        state=state, purpose=purpose, agency=agency, case=case, expires_ms=expires_ms
    )


def _end_map(end: StoredEnd) -> dict[int, object]:
    return {
        0: end.sequence,
        1: end.alert_sequence,
        2: end.confirmed,
        3: end.frames_seen,
        4: end.frames_agreed,
        5: end.last_ms,
        6: end.last_frame,
        7: end.direction,
    }


def _parse_end(fields: Mapping[int, Any]) -> StoredEnd:
    return StoredEnd(
        sequence=fields[0],
        alert_sequence=fields[1],
        confirmed=fields[2],
        frames_seen=fields[3],
        frames_agreed=fields[4],
        last_ms=fields[5],
        last_frame=fields[6],
        direction=fields[7],
    )
