"""Finds the FAT boot partition inside an image file: MBR or GPT, or an image of that alone."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from agent.base.errors import ConfigError, DeviceError

SECTOR_BYTES: Final = 512
_MBR_ENTRIES: Final = range(446, 510, 16)
_FAT_KINDS: Final = frozenset({0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF})
_GPT_KIND: Final = 0xEE
_GPT_ENTRIES_LIMIT: Final = 128
_FAT_GUIDS: Final = frozenset(
    {
        bytes.fromhex("a2a0d0ebe5b9334487c068b6b72699c7"),  # basic data
        bytes.fromhex("28732ac11ff8d211ba4b00a0c93ec93b"),  # EFI system
    }
)
"""As they stand on the disk: the first three groups little-endian."""


def find_boot_partition(image: Path) -> int:
    """Return where the first FAT partition of an image begins, in bytes.

    Raises:
        ConfigError: There is none, or the image is cut off.
        DeviceError: The file cannot be read.
    """
    try:
        with image.open("rb") as file:
            size_bytes = file.seek(0, 2)
            for offset in _candidates(file):
                if offset < size_bytes and _is_fat(_read(file, offset)):
                    return offset
    except OSError as error:
        message = f"{image}: cannot be read ({error.strerror})"
        raise DeviceError(message) from error
    message = f"{image}: wrong file: no FAT partition in it; expected an image of a unit's card"
    raise ConfigError(message)


def _candidates(file: BinaryIO) -> Iterator[int]:
    """Yield where a FAT file system might begin."""
    first = _read(file, 0)
    yield 0
    if first[510:512] != b"\x55\xaa":
        return
    for at in _MBR_ENTRIES:
        kind, (start,) = first[at + 4], struct.unpack_from("<I", first, at + 8)
        if kind == _GPT_KIND:
            yield from _gpt_candidates(file)
        elif kind in _FAT_KINDS:
            yield start * SECTOR_BYTES


def _gpt_candidates(file: BinaryIO) -> Iterator[int]:
    """Yield the starts of FAT partitions in a GUID partition table (UEFI 2.10, section 5.3)."""
    header = _read(file, SECTOR_BYTES)
    if header[:8] != b"EFI PART":
        return
    table, count, size = struct.unpack_from("<QII", header, 72)
    if size < 128:  # noqa: PLR2004 -- the smallest entry there is
        return
    for number in range(min(count, _GPT_ENTRIES_LIMIT)):
        entry = _read(file, table * SECTOR_BYTES + number * size)
        if entry[:16] in _FAT_GUIDS:
            yield struct.unpack_from("<Q", entry, 32)[0] * SECTOR_BYTES


def _is_fat(sector: bytes) -> bool:
    """Tell whether a boot sector is that of a FAT file system."""
    named = sector[54:57] == b"FAT" or sector[82:85] == b"FAT"
    return named and sector[510:512] == b"\x55\xaa"


def _read(file: BinaryIO, offset: int) -> bytes:
    """Return a sector, filled with zeros beyond the end of the file."""
    if offset >= 1 << 62:
        return bytes(SECTOR_BYTES)
    file.seek(offset)
    return file.read(SECTOR_BYTES).ljust(SECTOR_BYTES, b"\0")
