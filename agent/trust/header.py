"""The open part of a sealed frame (deploy/docs/formats.md, section 1.1)."""

import re
from dataclasses import dataclass
from typing import Final

from agent.base.errors import IntegrityError
from agent.base.lanes import Lane
from agent.trust.cbor import decode_cbor, encode_in_order

VERSION: Final = 1
READS_LIMIT: Final = 4096
TIME_LIMIT_MS: Final = 253_402_300_800_000
"""The year 10000: times from here on are no times."""
SEQUENCE_LIMIT: Final = 2**63
NO_FRAME: Final = bytes(32)
"""Stands for the previous frame in the first one of a boot and lane."""

_FIELDS: Final = list(range(13))
_SUITE_LIMIT: Final = 64
_UNIT: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_BYTES_SIZES: Final = {"key_id": 8, "boot": 16} | dict.fromkeys(
    ("policy_sha256", "model_sha256", "previous_sha256"), 32
)


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameHeader:
    """What stands in the open on a sealed frame; its encoding is the seal's HPKE `info`.

    Raises:
        IntegrityError: A field is of the wrong type or out of its range.
    """

    suite: str
    key_id: bytes
    """8 bytes of the city's key to which the frame is sealed."""
    unit: str
    boot: bytes
    """16 bytes, random per start of the watcher."""
    lane: Lane
    first_sequence: int
    last_sequence: int
    first_ms: int
    last_ms: int
    policy_sha256: bytes
    model_sha256: bytes
    previous_sha256: bytes
    """Frame hash of the frame made before in this boot and lane; `NO_FRAME` for the first."""

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        for name, size in _BYTES_SIZES.items():
            _require_bytes(name, getattr(self, name), size)
        _require_range("sequence", self.first_sequence, self.last_sequence, SEQUENCE_LIMIT)
        _require_range("ms", self.first_ms, self.last_ms, TIME_LIMIT_MS)
        if self.last_sequence - self.first_sequence >= READS_LIMIT:
            message = f"header: more than {READS_LIMIT} reads in one frame"
            raise IntegrityError(message)
        if type(self.unit) is not str or not _UNIT.fullmatch(self.unit):
            message = "header: unit is not a name of 1 to 63 of a-z, 0-9 and -"
            raise IntegrityError(message)
        if type(self.suite) is not str or not 1 <= len(self.suite) <= _SUITE_LIMIT:
            message = f"header: suite is not a text of 1 to {_SUITE_LIMIT} characters"
            raise IntegrityError(message)
        if type(self.lane) is not Lane:
            message = "header: lane is not one of 0 to 2"
            raise IntegrityError(message)

    @property
    def count(self) -> int:
        """Reads or crops in the frame."""
        return self.last_sequence - self.first_sequence + 1


def encode_header(header: FrameHeader) -> bytes:
    """Return the header's bytes: deterministic CBOR, and the HPKE `info` of the seal."""
    return encode_in_order(
        {
            0: VERSION,
            1: header.suite,
            2: header.key_id,
            3: header.unit,
            4: header.boot,
            5: int(header.lane),
            6: header.first_sequence,
            7: header.last_sequence,
            8: header.first_ms,
            9: header.last_ms,
            10: header.policy_sha256,
            11: header.model_sha256,
            12: header.previous_sha256,
        }
    )


def parse_header(content: bytes) -> FrameHeader:
    """Return the header whose bytes are `content`.

    Raises:
        IntegrityError: Not the deterministic encoding of a header.
    """
    fields = decode_cbor(content)
    if not isinstance(fields, dict) or list(fields) != _FIELDS:
        message = "header: found other fields; expected a map with the keys 0 to 12"
        raise IntegrityError(message)
    if (type(fields[0]), fields[0]) != (int, VERSION):  # True equals 1
        message = f"header: found another version; expected {VERSION}"
        raise IntegrityError(message)
    if type(fields[5]) is not int or fields[5] not in tuple(Lane):
        message = "header: found an unknown lane; expected 0 to 2"
        raise IntegrityError(message)
    return FrameHeader(
        suite=fields[1],
        key_id=fields[2],
        unit=fields[3],
        boot=fields[4],
        lane=Lane(fields[5]),
        first_sequence=fields[6],
        last_sequence=fields[7],
        first_ms=fields[8],
        last_ms=fields[9],
        policy_sha256=fields[10],
        model_sha256=fields[11],
        previous_sha256=fields[12],
    )


def _require_bytes(name: str, value: object, size: int) -> None:
    if type(value) is not bytes or len(value) != size:
        message = f"header: {name} is not {size} bytes"
        raise IntegrityError(message)


def _require_range(name: str, first: object, last: object, limit: int) -> None:
    if type(first) is not int or type(last) is not int or not 0 <= first <= last < limit:
        message = f"header: first and last {name} are not a range of numbers from 0 up"
        raise IntegrityError(message)
