"""Files that only grow, and reading them around bad sectors."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from agent.base.disk import SYSTEM_DISK, Disk, sync_bytes, sync_names

Pread = Callable[[int, int, int], bytes]
"""`os.pread`: descriptor, number of bytes, offset."""

_CHUNK_BYTES: Final = 1_048_576
_PAGE_BYTES: Final = 4096


class AppendFile:
    """A new file that only grows; what `append` returned for survives a power cut.

    The directory's own entry is the caller's to sync.
    """

    __slots__ = ("_descriptor", "_disk", "path", "size_bytes")

    def __init__(self, path: Path, descriptor: int, disk: Disk = SYSTEM_DISK) -> None:
        self.path = path
        self.size_bytes = 0
        """Durable bytes."""
        self._descriptor = descriptor
        self._disk = disk

    @classmethod
    def create(cls, path: Path, *, mode: int, disk: Disk = SYSTEM_DISK) -> Self:
        """Make the file, which must not exist, with exactly the permissions `mode`.

        Raises:
            OSError: It exists or the disk refuses.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        descriptor = disk.open(path, flags, mode)
        try:
            disk.set_mode(descriptor, mode)
        except OSError:
            disk.close(descriptor)
            raise
        return cls(path, descriptor, disk)

    def append(self, content: bytes) -> None:
        """Write `content` at the end and wait until the disk has it.

        Raises:
            OSError: The disk refuses. Close the file and never append again: after a failed
                fdatasync the kernel may drop the bytes and call the next one a success.
        """
        rest = memoryview(content)
        while rest:
            rest = rest[self._disk.write(self._descriptor, rest) :]
        self._disk.sync_data(self._descriptor)
        self.size_bytes += len(content)

    def cut_back(self) -> None:
        """Take away what was written but not acknowledged, as far as the disk lets us.

        The next `append` waits for the cut, too; whoever appends no more calls `wait_for_cut`.
        """
        with suppress(OSError):
            self._disk.truncate(self._descriptor, self.size_bytes)

    def wait_for_cut(self) -> None:
        """Wait until a power cut cannot bring back what was cut, as far as the disk lets us.

        Through a descriptor of its own: a sync that failed is never tried again on the same one.
        """
        with suppress(OSError):
            sync_bytes(self._disk, self.path)

    def close(self) -> None:
        """Give the descriptor back."""
        close_quietly(self._descriptor, self._disk)


def make_directory(path: Path, *, mode: int, disk: Disk = SYSTEM_DISK) -> None:
    """Make `path` with exactly the permissions `mode` unless it is there; sync its entry.

    The entry is synced in any case: whoever made it may have lost power before doing so.

    Raises:
        OSError: Its parent is missing, a file is in the way or the disk refuses.
    """
    try:
        disk.make_directory(path, mode)
    except FileExistsError:
        if not disk.is_directory(path):
            raise
    sync_names(disk, path.parent)


def lock_file(path: Path, disk: Disk = SYSTEM_DISK) -> int:
    """Make and lock `path`; return the descriptor that holds the lock against other processes.

    The lock ends with the process, however that ends.

    Raises:
        BlockingIOError: Another process has the lock.
        OSError: The file cannot be opened.
    """
    while True:
        descriptor = disk.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            disk.lock_process(descriptor)
            if disk.stands_at(descriptor, path):
                return descriptor
        except FileNotFoundError:  # the holder before us removed it just now: make a new one
            pass
        except OSError:
            disk.close(descriptor)
            raise
        disk.close(descriptor)


def unlock_file(path: Path, descriptor: int, disk: Disk = SYSTEM_DISK) -> None:
    """Remove a file that `lock_file` made, and end the lock."""
    with suppress(OSError):
        disk.unlink(path)
    close_quietly(descriptor, disk)


def close_quietly(descriptor: int, disk: Disk = SYSTEM_DISK) -> None:
    """Give a descriptor back; an error here changes nothing that was acknowledged."""
    with suppress(OSError):
        disk.close(descriptor)


def rename_durably(old: Path, new: Path, disk: Disk = SYSTEM_DISK) -> None:
    """Give a file its new name in the same directory and sync the directory.

    May be called again after an error: an old name that is gone was renamed the time before.

    Raises:
        OSError: The disk refuses.
    """
    with suppress(FileNotFoundError):
        disk.rename(old, new)
    sync_names(disk, new.parent)


def remove_durably(path: Path, disk: Disk = SYSTEM_DISK) -> None:
    """Remove a file, which may be gone already, and sync its directory.

    Raises:
        OSError: The disk refuses.
    """
    with suppress(FileNotFoundError):
        disk.unlink(path)
    sync_names(disk, path.parent)


def read_file(path: Path, disk: Disk = SYSTEM_DISK) -> bytes:
    """Return a file's bytes, with zeros where the disk cannot read.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = disk.open(path, os.O_RDONLY)
    try:
        return read_around_errors(descriptor, disk.size_bytes(descriptor), pread=disk.pread)
    finally:
        disk.close(descriptor)


def read_around_errors(descriptor: int, size_bytes: int, *, pread: Pread) -> bytes:
    """Return up to `size_bytes` from the start; pages of 4,096 that cannot be read are zeros."""
    content = bytearray()
    while len(content) < size_bytes:
        size = min(_CHUNK_BYTES, size_bytes - len(content))
        try:
            chunk = pread(descriptor, size, len(content))
        except OSError:
            chunk = _read_pages(descriptor, len(content), size, pread)
        if not chunk:
            break
        content += chunk
    return bytes(content)


def _read_pages(descriptor: int, start: int, size_bytes: int, pread: Pread) -> bytes:
    content = b""
    for offset in range(start, start + size_bytes, _PAGE_BYTES):
        size = min(_PAGE_BYTES, start + size_bytes - offset)
        try:
            page = pread(descriptor, size, offset)
        except OSError:
            page = b""
        content += page.ljust(size, b"\0")
    return content
