"""Records of an append-only file: length, content, CRC32C (formats.md, chapter 6)."""

import struct
from typing import Final

import google_crc32c

from agent.trust.entries import ENTRY_LIMIT_BYTES

_NUMBER: Final = struct.Struct("<L")
OVERHEAD_BYTES: Final = 2 * _NUMBER.size
_RESIDUE: Final = 0x48674BC7
"""CRC32C over anything and its own CRC32C, smallest byte first: always this."""


def encode_record(content: bytes) -> bytes:
    """Return the record of one entry."""
    head = _NUMBER.pack(len(content)) + content
    return head + _NUMBER.pack(google_crc32c.value(head))


def take_records(buffer: bytes, offset: int, end: int) -> tuple[list[bytes], int]:
    """Return the contents of the whole, correct records from `offset` on, and where they end.

    Args:
        buffer: Holds records.
        offset: Where the first begins.
        end: No record that ends behind this is taken.
    """
    contents = []
    take, value, size, residue = _NUMBER.unpack_from, google_crc32c.value, _NUMBER.size, _RESIDUE
    while (body := offset + size) <= end:
        (length,) = take(buffer, offset)
        tail = body + length + size
        if tail > end or not 1 <= length <= ENTRY_LIMIT_BYTES:
            break
        record = buffer[offset:tail]
        if value(record) != residue:
            break
        contents.append(record[size:-size])
        offset = tail
    return contents, offset


def find_records(buffer: bytes) -> list[bytes]:
    """Return the contents of all whole, correct records in `buffer`, wherever they begin."""
    found, at = [], 0
    while at + OVERHEAD_BYTES < len(buffer):
        contents, end = take_records(buffer, at, len(buffer))
        found += contents
        at = max(end, at + 1)
    return found


def take_record(buffer: bytes, offset: int) -> bytes | None:
    """Return the content of the record at `offset`; None where no whole, correct one stands."""
    length = int.from_bytes(buffer[offset : offset + _NUMBER.size], "little")
    end = min(len(buffer), offset + length + OVERHEAD_BYTES)
    contents, _ = take_records(buffer, offset, end)
    return contents[0] if contents else None
