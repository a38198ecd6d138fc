"""The files of a log: records that are only added, and signed notes (formats.md, chapter 6)."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from agent.base.segments import disk_errors
from agent.trust.entries import ENTRY_LIMIT_BYTES
from agent.trust.journal import OVERHEAD_BYTES, take_record
from agent.trust.notes import NOTE_LIMIT_BYTES, last_note

ENTRIES: Final = "entries"
CHECKPOINTS: Final = "checkpoints"
FILE_MODE: Final = 0o640  # the other process, another user of the same group, reads it
_CHUNK_BYTES: Final = 1_048_576


class RecordFile:
    """Reads a file of records from the start; the file may grow meanwhile."""

    __slots__ = ("offset", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes of whole records so far."""

    def follow(self) -> Iterator[bytes]:
        """Yield the contents of the records that are new and whole, in order.

        Raises:
            DeviceError: The file cannot be read.
        """
        with disk_errors(self.path), self.path.open("rb") as file:
            file.seek(self.offset)
            yield from self._take(file.read)

    def _take(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        buffer, at = b"", 0
        while chunk := read(_CHUNK_BYTES):
            buffer, at = buffer[at:] + chunk, 0
            while (content := take_record(buffer, at)) is not None:
                at += len(content) + OVERHEAD_BYTES
                self.offset += len(content) + OVERHEAD_BYTES
                yield content
            if len(buffer) - at > ENTRY_LIMIT_BYTES + OVERHEAD_BYTES:  # no record is that long
                return


class NoteFile:
    """The checkpoints of a log, one signed note after the other, an empty line after each."""

    __slots__ = ("path", "size_bytes")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        """Bytes of whole notes."""

    def append(self, note: str) -> None:
        """Add a note; the disk gets it in its own time.

        Raises:
            OSError: The disk refuses; what was there is still there.
        """
        content = f"{note}\n".encode()
        try:
            with self.path.open("ab") as file:  # buffered: writes all or raises
                file.write(content)
        except OSError:
            os.truncate(self.path, self.size_bytes)
            raise
        self.size_bytes += len(content)

    def read_last(self) -> str:
        """Return the last whole note; empty when there is none yet.

        Raises:
            OSError: The disk refuses.
        """
        return self._find_last()[0]

    def recover(self) -> str:
        """Make the file unless it is there, cut a torn end and return the last whole note.

        Raises:
            OSError: The disk refuses.
        """
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        try:
            os.fchmod(descriptor, FILE_MODE)  # the process's umask may have taken the group away
        finally:
            os.close(descriptor)
        note, self.size_bytes = self._find_last()
        os.truncate(self.path, self.size_bytes)
        return note

    def _find_last(self) -> tuple[str, int]:
        """Return the last whole note and where it ends."""
        try:
            with self.path.open("rb") as file:
                start = max(0, file.seek(0, os.SEEK_END) - 4 * NOTE_LIMIT_BYTES)
                file.seek(start)
                tail = file.read()
        except FileNotFoundError:  # the other process has not begun
            return "", 0
        note = last_note(tail.decode(errors="replace"))
        if not note:
            return "", 0
        content = f"{note}\n".encode()
        return note, start + tail.rindex(content) + len(content)
