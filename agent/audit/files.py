"""The files of a log: records that are only added, and signed notes (formats.md, chapter 6)."""

import errno
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent.base.disk import SYSTEM_DISK, Disk
from agent.base.segments import FULL, disk_errors
from agent.trust.entries import ENTRY_LIMIT_BYTES
from agent.trust.journal import OVERHEAD_BYTES, take_record, take_records
from agent.trust.notes import NOTE_LIMIT_BYTES, last_note

ENTRIES: Final = "entries"
CHECKPOINTS: Final = "checkpoints"
FILE_MODE: Final = 0o640  # the other process, another user of the same group, reads it
REST_LIMIT_BYTES: Final = 1_048_576
"""What stands behind the last whole entry is searched that far: some seconds of entries."""
_CHUNK_BYTES: Final = 131_072
"""What is made of so many bytes of entries still fits a processor's cache."""


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

    def rest(self) -> bytes:
        """Return the bytes behind the last whole record, as far as they are worth a search.

        Raises:
            DeviceError: The file cannot be read.
        """
        with disk_errors(self.path):
            descriptor = self._disk.open(self.path, os.O_RDONLY)
            try:
                return self._disk.pread(descriptor, REST_LIMIT_BYTES, self.offset)
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
    """The checkpoints of a log, one signed note after the other, an empty line after each."""

    __slots__ = ("_descriptor", "_disk", "_failed", "path", "size_bytes")

    def __init__(self, path: Path, disk: Disk = SYSTEM_DISK) -> None:
        self.path = path
        self.size_bytes = 0
        """Bytes of whole notes."""
        self._disk = disk
        self._descriptor = -1
        self._failed = False

    def append(self, note: str) -> None:
        """Add a note and wait until the disk has it.

        Raises:
            OSError: The disk refuses; what was there is still there. Unless it is full, no other
                note is taken: the one in doubt may be on the disk.
        """
        if self._failed:
            raise OSError(errno.EIO, "the disk failed before; start again", str(self.path))
        content = f"{note}\n".encode()
        try:
            rest = memoryview(content)
            while rest:
                rest = rest[self._disk.write(self._descriptor, rest) :]
            self._disk.sync_data(self._descriptor)
        except OSError as error:
            self._failed = error.errno not in FULL
            self._disk.truncate(self._descriptor, self.size_bytes)
            raise
        self.size_bytes += len(content)

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

        Only the last note can be torn. Damage before a whole one is left for the audit to find. A
        killed process may leave a note in memory only: the disk has it before the next is written,
        else a power cut could leave the next one whole behind a torn one.

        Raises:
            OSError: The disk refuses.
        """
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND
        self._descriptor = self._disk.open(self.path, flags, FILE_MODE)
        self._disk.set_mode(self._descriptor, FILE_MODE)  # the umask may have taken the group away
        start, note = self._find_last(self._descriptor, 4 * NOTE_LIMIT_BYTES)
        if not note and start:
            start, note = self._find_last(self._descriptor, self._disk.size_bytes(self._descriptor))
        self.size_bytes = start
        self._disk.truncate(self._descriptor, self.size_bytes)
        self._disk.sync_data(self._descriptor)
        return note

    def close(self) -> None:
        """Give the file back."""
        if self._descriptor >= 0:
            self._disk.close(self._descriptor)
            self._descriptor = -1

    def _find_last(self, descriptor: int, size_bytes: int) -> tuple[int, str]:
        """Return where the last whole note in the last `size_bytes` ends, and the note."""
        start, tail = self._tail(descriptor, size_bytes)
        note = last_note(tail.decode(errors="replace"))
        if note is None:
            return start, ""
        content = f"{note}\n".encode()
        return start + tail.rfind(content) + len(content), note

    def _tail(self, descriptor: int, size_bytes: int) -> tuple[int, bytes]:
        """Return where the last `size_bytes` begin, and them."""
        start = max(0, self._disk.size_bytes(descriptor) - size_bytes)
        return start, self._disk.pread(descriptor, size_bytes, start)
