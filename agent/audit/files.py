"""The files of a log: records that are only added, and signed notes (formats.md, chapter 6)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent.base.disk import SYSTEM_DISK, Disk
from agent.base.segments import disk_errors
from agent.trust.entries import ENTRY_LIMIT_BYTES
from agent.trust.journal import OVERHEAD_BYTES, take_record, take_records
from agent.trust.notes import NOTE_LIMIT_BYTES, last_note, split_notes

ENTRIES: Final = "entries"
CHECKPOINTS: Final = "checkpoints"
FILE_MODE: Final = 0o640  # the other process, another user of the same group, reads it
SYNC_NOTES_BYTES: Final = 16_384
"""Notes are waited for when so many bytes of them are not: some 40 of them."""
_CHUNK_BYTES: Final = 131_072
"""What is made of so many bytes of entries still fits a processor's cache."""
_NOTE_BEGIN: Final = b"\n\nhomeplate/"


class RecordFile:
    """Reads a file of records from the start; the file may grow meanwhile."""

    __slots__ = ("_disk", "offset", "path")

    def __init__(self, path: Path, disk: Disk = SYSTEM_DISK) -> None:
        self.path = path
        self._disk = disk
        self.offset = 0
        """Bytes of whole records so far."""

    def follow(self) -> Iterator[bytes]:
        """Yield the contents of the records that are new and whole, in order.

        Raises:
            DeviceError: The file cannot be read.
        """
        with disk_errors(self.path):
            descriptor = self._disk.open(self.path, os.O_RDONLY)
            try:
                yield from self._take(self._reading(descriptor, self.offset))
            finally:
                self._disk.close(descriptor)

    def batches(self, *, until: int | None = None) -> Iterator[list[bytes]]:
        """Yield what `follow` yields, many at a time.

        Args:
            until: Take no record that ends behind this place in the file.

        Raises:
            DeviceError: The file cannot be read.
        """
        with disk_errors(self.path):
            descriptor = self._disk.open(self.path, os.O_RDONLY)
            try:
                yield from self._take_many(self._reading(descriptor, self.offset), until)
            finally:
                self._disk.close(descriptor)

    def _take_many(self, read: Callable[[], bytes], until: int | None) -> Iterator[list[bytes]]:
        rest = b""
        while chunk := read():
            buffer = rest + chunk
            end = len(buffer) if until is None else min(len(buffer), until - self.offset)
            contents, at = take_records(buffer, 0, end)
            self.offset += at
            rest = buffer[at:]
            if contents:
                yield contents
            if len(rest) > ENTRY_LIMIT_BYTES + OVERHEAD_BYTES:  # no record is that long
                return

    def _reading(self, descriptor: int, offset: int) -> Callable[[], bytes]:
        """Return a function that returns the next bytes of the file at each call."""

        def read() -> bytes:
            nonlocal offset
            chunk = self._disk.pread(descriptor, _CHUNK_BYTES, offset)
            offset += len(chunk)
            return chunk

        return read

    def _take(self, read: Callable[[], bytes]) -> Iterator[bytes]:
        buffer, at = b"", 0
        while chunk := read():
            buffer, at = buffer[at:] + chunk, 0
            while (content := take_record(buffer, at)) is not None:
                at += len(content) + OVERHEAD_BYTES
                self.offset += len(content) + OVERHEAD_BYTES
                yield content
            if len(buffer) - at > ENTRY_LIMIT_BYTES + OVERHEAD_BYTES:  # no record is that long
                return


class NoteFile:
    """The checkpoints of a log, one signed note after the other, an empty line after each.

    Notes are not waited for one by one. So a power cut may leave any part of the last
    `SYNC_NOTES_BYTES` as zeros, with whole notes behind it; a start keeps what is whole before.
    """

    __slots__ = ("_descriptor", "_disk", "_loose_bytes", "path", "size_bytes")

    def __init__(self, path: Path, disk: Disk = SYSTEM_DISK) -> None:
        self.path = path
        self.size_bytes = 0
        """Bytes of whole notes."""
        self._disk = disk
        self._loose_bytes = 0
        self._descriptor = -1

    def append(self, note: str) -> None:
        """Add a note; the disk gets it in its own time, or when `sync` is called.

        Raises:
            OSError: The disk refuses; what was there is still there.
        """
        content = f"{note}\n".encode()
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._disk.write(self._descriptor, rest) :]
        except OSError:
            self._disk.truncate(self._descriptor, self.size_bytes)
            raise
        self.size_bytes += len(content)
        self._loose_bytes += len(content)
        if self._loose_bytes >= SYNC_NOTES_BYTES:
            self.sync()

    def sync(self) -> None:
        """Wait until the disk has all notes.

        Raises:
            OSError: The disk refuses.
        """
        if self._loose_bytes:
            self._disk.sync_data(self._descriptor)
            self._loose_bytes = 0

    def read_last(self) -> str:
        """Return the last whole note; empty when there is none yet.

        Raises:
            OSError: The disk refuses.
        """
        try:
            descriptor = self._disk.open(self.path, os.O_RDONLY)
        except FileNotFoundError:  # the other process has not begun
            return ""
        try:
            tail = self._tail(descriptor, 4 * NOTE_LIMIT_BYTES)[1]
        finally:
            self._disk.close(descriptor)
        return last_note(tail.decode(errors="replace")) or ""

    def recover(self) -> str:
        """Open the file, made where it is missing; cut a torn end; return the last whole note.

        Raises:
            OSError: The disk refuses.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        self._descriptor = self._disk.open(self.path, flags, FILE_MODE)
        self._disk.set_mode(self._descriptor, FILE_MODE)  # the umask may have taken the group away
        start, tail = self._tail(self._descriptor, SYNC_NOTES_BYTES + 4 * NOTE_LIMIT_BYTES)
        if start:
            skipped = tail.find(_NOTE_BEGIN) + 2  # 1 where no note begins: all is torn
            start, tail = start + skipped, tail[skipped:]
        notes, _ = split_notes(tail.decode(errors="replace"))
        self.size_bytes = start + sum(len(f"{note}\n".encode()) for note in notes)
        self._disk.truncate(self._descriptor, self.size_bytes)
        self._disk.sync_data(self._descriptor)
        return notes[-1] if notes else ""

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
            self._descriptor = -1

    def _tail(self, descriptor: int, size_bytes: int) -> tuple[int, bytes]:
        """Return where the last `size_bytes` begin, and them."""
        start = max(0, self._disk.size_bytes(descriptor) - size_bytes)
        return start, self._disk.pread(descriptor, size_bytes, start)
