"""Sealed frames on disk and wire (deploy/docs/formats.md, chapter 1): encode, parse, find."""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Protocol

import google_crc32c

from agent.base.errors import IntegrityError
from agent.trust.header import VERSION, FrameHeader, encode_header, parse_header

MAGIC: Final = b"\x89HPF"
HEADER_LIMIT_BYTES: Final = 4096
SEALED_LIMIT_BYTES: Final = 8_388_608

_PREFIX: Final = struct.Struct("<4sBBHL")
_CHECKSUM: Final = struct.Struct("<L")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFrame:
    """One commit as it is stored and uploaded.

    Raises:
        IntegrityError: The sealed bytes are none or more than the format allows.
    """

    header: FrameHeader
    sealed: bytes = field(repr=False)
    """HPKE `enc || ct`."""

    def __post_init__(self) -> None:
        """Refuse what the format cannot hold."""
        if not 1 <= len(self.sealed) <= SEALED_LIMIT_BYTES:
            message = f"sealed bytes: found {len(self.sealed)}; expected 1 to {SEALED_LIMIT_BYTES}"
            raise IntegrityError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A correct frame in a buffer."""

    offset: int
    length: int
    frame: SealedFrame


@dataclass(frozen=True, slots=True, kw_only=True)
class Damage:
    """Bytes of a buffer that belong to no correct frame."""

    offset: int
    length: int
    tail: bool
    """It ends the buffer and may be the beginning of a frame that is still being written."""


class Buffer(Protocol):
    """What can be searched for frames: bytes or a memory map."""

    def __len__(self) -> int:
        """Return the number of bytes."""
        ...

    def __getitem__(self, index: slice, /) -> bytes:
        """Return a copy of some bytes."""
        ...

    def find(self, sub: bytes, start: int, /) -> int:
        """Return where `sub` stands at or after `start`, or -1."""
        ...


class _IncompleteError(IntegrityError):
    """The buffer ends inside what may be a frame."""


def encode_frame(frame: SealedFrame) -> bytes:
    """Return the frame's bytes, from magic to last checksum."""
    return join_frame(encode_header(frame.header), frame.sealed)


def join_frame(header: bytes, sealed: bytes) -> bytes:
    """Return the bytes of the frame with an encoded header and these sealed bytes."""
    head = _PREFIX.pack(MAGIC, VERSION, 0, len(header), len(sealed)) + header
    return b"".join((head, _checksum(head), sealed, _checksum(sealed)))


def frame_hash(content: bytes) -> bytes:
    """Return the SHA-256 of a whole frame's bytes: its name in chain, log and receipt."""
    return hashlib.sha256(content).digest()


def parse_frame(content: bytes) -> SealedFrame:
    """Return the frame whose bytes are `content`, no fewer and no more.

    Raises:
        IntegrityError: Not exactly one correct frame; what parses encodes to the same bytes.
    """
    found = _frame_at(content, 0)
    if found.length != len(content):
        message = f"frame: {len(content) - found.length} bytes after its end"
        raise IntegrityError(message)
    return found.frame


def scan_frames(buffer: Buffer) -> Iterator[Found | Damage]:
    """Yield what `buffer` holds, in order and without gaps.

    After damage the search goes on at the next magic, so one bad frame costs one frame.
    """
    offset = 0
    while offset < len(buffer):
        try:
            found = _frame_at(buffer, offset)
        except IntegrityError:
            rest = _next_frame(buffer, offset)
            yield from rest
            last = rest[-1]
            offset = last.offset + last.length
        else:
            yield found
            offset += found.length


def _next_frame(buffer: Buffer, start: int) -> tuple[Found | Damage, ...]:
    """Return the damage from `start` on, then the frame that ends it, where there is one."""
    unfinished = -1
    offset = start
    while offset >= 0:
        try:
            found = _frame_at(buffer, offset)
        except _IncompleteError:
            unfinished = offset if unfinished < 0 else unfinished
        except IntegrityError:
            pass
        else:
            return (Damage(offset=start, length=offset - start, tail=False), found)
        offset = buffer.find(MAGIC, offset + 1)
    return _last_damage(len(buffer), start, unfinished)


def _last_damage(end: int, start: int, unfinished: int) -> tuple[Damage, ...]:
    """Return the damage from `start` to `end`, split where an unfinished frame begins."""
    if unfinished < 0:
        return (Damage(offset=start, length=end - start, tail=False),)
    tail = Damage(offset=unfinished, length=end - unfinished, tail=True)
    if unfinished == start:
        return (tail,)
    return (Damage(offset=start, length=unfinished - start, tail=False), tail)


def _frame_at(buffer: Buffer, offset: int) -> Found:
    """Return the frame that begins at `offset`.

    Raises:
        _IncompleteError: The buffer ends before the frame does.
        IntegrityError: There is no frame.
    """
    header_size, sealed_size = _parse_prefix(buffer[offset : offset + _PREFIX.size])
    body = offset + _PREFIX.size + header_size + _CHECKSUM.size
    end = body + sealed_size + _CHECKSUM.size
    head = _checked(buffer[offset:body], "header", _PREFIX.size + header_size)
    sealed = _checked(buffer[body:end], "sealed bytes", sealed_size)
    frame = SealedFrame(header=parse_header(head[_PREFIX.size :]), sealed=sealed)
    return Found(offset=offset, length=end - offset, frame=frame)


def _parse_prefix(prefix: bytes) -> tuple[int, int]:
    """Return the lengths of header and sealed bytes."""
    if len(prefix) < _PREFIX.size:
        if MAGIC.startswith(prefix[: len(MAGIC)]):
            message = "frame: ends within its first 12 bytes"
            raise _IncompleteError(message)
        prefix = prefix.ljust(_PREFIX.size, b"\0")
    magic, version, zero, header_size, sealed_size = _PREFIX.unpack(prefix)
    if magic != MAGIC:
        message = "frame: found no magic; expected 89 48 50 46"
        raise IntegrityError(message)
    if (version, zero) != (VERSION, 0):
        message = f"frame: found version {version}.{zero}; expected {VERSION}.0"
        raise IntegrityError(message)
    if not (1 <= header_size <= HEADER_LIMIT_BYTES and 1 <= sealed_size <= SEALED_LIMIT_BYTES):
        message = f"frame: found lengths {header_size} and {sealed_size}; expected smaller ones"
        raise IntegrityError(message)
    return header_size, sealed_size


def _checked(content: bytes, name: str, size: int) -> bytes:
    """Return the first `size` bytes of `content`, which its last four must fit.

    Raises:
        _IncompleteError: There are fewer bytes.
        IntegrityError: The checksum differs.
    """
    if len(content) < size + _CHECKSUM.size:
        message = f"frame: ends within its {name}"
        raise _IncompleteError(message)
    kept = content[:size]
    if _checksum(kept) != content[size:]:
        message = f"frame: checksum of its {name} differs"
        raise IntegrityError(message)
    return kept


def _checksum(content: bytes) -> bytes:
    return _CHECKSUM.pack(google_crc32c.value(content))
