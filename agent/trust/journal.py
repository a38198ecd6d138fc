"""Records of an append-only file: length, content, CRC32C (formats.md, chapter 6)."""

import struct
from typing import Final

import google_crc32c

from agent.trust.entries import ENTRY_LIMIT_BYTES

_NUMBER: Final = struct.Struct("<L")
OVERHEAD_BYTES: Final = 2 * _NUMBER.size


def encode_record(content: bytes) -> bytes:
    """Return the record of one entry."""
    head = _NUMBER.pack(len(content)) + content
    return head + _NUMBER.pack(google_crc32c.value(head))


def take_record(buffer: bytes, offset: int) -> bytes | None:
    """Return the content of the record at `offset`; None where no whole, correct one stands."""
    if len(buffer) - offset < OVERHEAD_BYTES:
        return None
    (length,) = _NUMBER.unpack_from(buffer, offset)
    end = offset + _NUMBER.size + length
    if not 1 <= length <= ENTRY_LIMIT_BYTES or len(buffer) < end + _NUMBER.size:
        return None
    if (google_crc32c.value(buffer[offset:end]),) != _NUMBER.unpack_from(buffer, end):
        return None
    return buffer[offset + _NUMBER.size : end]
