"""Files that only grow, and reading them around bad sectors. All calls of the disk are here."""

import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from agent.base.files import sync_directory

Pread = Callable[[int, int, int], bytes]
"""`os.pread`: descriptor, number of bytes, offset."""

_CHUNK_BYTES: Final = 1_048_576
_PAGE_BYTES: Final = 4096


class AppendFile:
    """A new file that only grows; what `append` returned for survives a power cut.

    The directory's own entry is the caller's to sync.
    """

    __slots__ = ("_descriptor", "path", "size_bytes")

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self.size_bytes = 0
        """Durable bytes."""
        self._descriptor = descriptor

    @classmethod
    def create(cls, path: Path, *, mode: int) -> Self:
        """Make the file, which must not exist, with exactly the permissions `mode`.

        Raises:
            OSError: It exists or the disk refuses.
        """
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(path, flags, mode)
        try:
            os.fchmod(descriptor, mode)
        except OSError:
            os.close(descriptor)
            raise
        return cls(path, descriptor)

    def append(self, content: bytes) -> None:
        """Write `content` at the end and wait until the disk has it.

        Raises:
            OSError: The disk refuses. Close the file and never append again: after a failed
                fdatasync the kernel may drop the bytes and call the next one a success.
        """
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]
        os.fdatasync(self._descriptor)
        self.size_bytes += len(content)

    def cut_back(self) -> None:
        """Take away what was written but not acknowledged, as far as the disk lets us."""
        with suppress(OSError):
            os.ftruncate(self._descriptor, self.size_bytes)

    def close(self) -> None:
        """Give the descriptor back."""
        close_quietly(self._descriptor)


def make_directory(path: Path, *, mode: int) -> None:
    """Make `path` with exactly the permissions `mode` unless it is there; sync its entry.

    The entry is synced in any case: whoever made it may have lost power before doing so.

    Raises:
        OSError: Its parent is missing, a file is in the way or the disk refuses.
    """
    try:
        path.mkdir(mode=mode)
        path.chmod(mode)
    except FileExistsError:
        if not path.is_dir():
            raise
    sync_directory(path.parent)


def lock_file(path: Path) -> int:
    """Make and lock `path`; return the descriptor that holds the lock against other processes.

    The lock ends with the process, however that ends.

    Raises:
        BlockingIOError: Another process has the lock.
        OSError: The file cannot be opened.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(descriptor), path.stat()):
                return descriptor
        except FileNotFoundError:  # the holder before us removed it just now: make a new one
            pass
        except OSError:
            os.close(descriptor)
            raise
        os.close(descriptor)


def unlock_file(path: Path, descriptor: int) -> None:
    """Remove a file that `lock_file` made, and end the lock."""
    with suppress(OSError):
        path.unlink(missing_ok=True)
    close_quietly(descriptor)


def close_quietly(descriptor: int) -> None:
    """Give a descriptor back; an error here changes nothing that was acknowledged."""
    with suppress(OSError):
        os.close(descriptor)


def rename_durably(old: Path, new: Path) -> None:
    """Give a file its new name in the same directory and sync the directory.

    May be called again after an error: an old name that is gone was renamed the time before.

    Raises:
        OSError: The disk refuses.
    """
    with suppress(FileNotFoundError):
        old.rename(new)
    sync_directory(new.parent)


def remove_durably(path: Path) -> None:
    """Remove a file, which may be gone already, and sync its directory.

    Raises:
        OSError: The disk refuses.
    """
    path.unlink(missing_ok=True)
    sync_directory(path.parent)


def read_file(path: Path) -> bytes:
    """Return a file's bytes, with zeros where the disk cannot read.

    Raises:
        OSError: It cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_around_errors(descriptor, os.fstat(descriptor).st_size, pread=os.pread)
    finally:
        os.close(descriptor)


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
