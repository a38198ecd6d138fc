"""The disk as an argument: what keeps or reads something is given a disk."""

import errno
import fcntl
import os
from pathlib import Path
from typing import Final, Protocol

DEAD: Final = frozenset({errno.EROFS, errno.EIO})
"""What a file system answers that has given up."""


class Disk(Protocol):
    """The calls that spool and logs make of a file system; each raises OSError as the kernel does.

    Nothing is durable but what `sync_data` or `sync` returned for: bytes by the file's own
    descriptor, names by that of their directory.
    """

    def open(self, path: Path, flags: int, mode: int = 0o600, /) -> int:
        """Return a descriptor of a file or, to sync it, of a directory."""
        ...

    def close(self, descriptor: int, /) -> None:
        """Give a descriptor back, and with it its lock."""
        ...

    def write(self, descriptor: int, content: memoryview, /) -> int:
        """Append some or all of `content`; tell how many bytes."""
        ...

    def pread(self, descriptor: int, size_bytes: int, offset: int, /) -> bytes:
        """Read up to `size_bytes`; nothing at the file's end."""
        ...

    def size_bytes(self, descriptor: int, /) -> int:
        """Tell a file's length."""
        ...

    def truncate(self, descriptor: int, size_bytes: int, /) -> None:
        """Cut a file."""
        ...

    def set_mode(self, descriptor: int, mode: int, /) -> None:
        """Set a file's permissions, whatever the umask."""
        ...

    def sync_data(self, descriptor: int, /) -> None:
        """Wait until the disk has a file's bytes and length."""
        ...

    def sync(self, descriptor: int, /) -> None:
        """Wait until the disk has a directory's names."""
        ...

    def lock(self, descriptor: int, /) -> None:
        """Lock a file against all other descriptors, or raise BlockingIOError."""
        ...

    def lock_process(self, descriptor: int, /) -> None:
        """Lock a file against all other processes, or raise BlockingIOError."""
        ...

    def stands_at(self, descriptor: int, path: Path, /) -> bool:
        """Tell whether the file of `descriptor` is the one that `path` names."""
        ...

    def make_directory(self, path: Path, mode: int, /) -> None:
        """Make a directory with exactly these permissions."""
        ...

    def is_directory(self, path: Path, /) -> bool:
        """Tell whether a directory stands at `path`."""
        ...

    def names(self, path: Path, /) -> tuple[str, ...]:
        """Return the names in a directory, sorted."""
        ...

    def size_at(self, path: Path, /) -> int:
        """Tell the length of what stands at `path`."""
        ...

    def rename(self, old: Path, new: Path, /) -> None:
        """Give a file another name; what had that name is gone."""
        ...

    def unlink(self, path: Path, /) -> None:
        """Take a file's name away."""
        ...

    def room_bytes(self, path: Path, /) -> tuple[int, int]:
        """Tell how many bytes are free for us in the file system of `path`, and of how many."""
        ...


class SystemDisk:
    """The disk of the operating system."""

    def open(self, path: Path, flags: int, mode: int = 0o600, /) -> int:
        """Return a descriptor that no child process inherits."""
        return os.open(path, flags | os.O_CLOEXEC, mode)

    def close(self, descriptor: int, /) -> None:
        """Give a descriptor back."""
        os.close(descriptor)

    def write(self, descriptor: int, content: memoryview, /) -> int:
        """Write at the place of the descriptor."""
        return os.write(descriptor, content)

    def pread(self, descriptor: int, size_bytes: int, offset: int, /) -> bytes:
        """Read without moving the descriptor."""
        return os.pread(descriptor, size_bytes, offset)

    def size_bytes(self, descriptor: int, /) -> int:
        """Tell a file's length."""
        return os.fstat(descriptor).st_size

    def truncate(self, descriptor: int, size_bytes: int, /) -> None:
        """Cut a file."""
        os.ftruncate(descriptor, size_bytes)

    def set_mode(self, descriptor: int, mode: int, /) -> None:
        """Set a file's permissions."""
        os.fchmod(descriptor, mode)

    def sync_data(self, descriptor: int, /) -> None:
        """Call fdatasync, and do not believe its success alone."""
        os.fdatasync(descriptor)
        require_journal(descriptor)

    def sync(self, descriptor: int, /) -> None:
        """Call fsync."""
        os.fsync(descriptor)

    def lock(self, descriptor: int, /) -> None:
        """Call flock; the lock ends with the process, however that ends."""
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def lock_process(self, descriptor: int, /) -> None:
        """Take the POSIX lock; it ends with the process, however that ends."""
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def stands_at(self, descriptor: int, path: Path, /) -> bool:
        """Compare device and inode."""
        return os.path.samestat(os.fstat(descriptor), path.stat())

    def make_directory(self, path: Path, mode: int, /) -> None:
        """Make a directory and set its permissions."""
        path.mkdir(mode=mode)
        path.chmod(mode)

    def is_directory(self, path: Path, /) -> bool:
        """Tell whether a directory stands at `path`."""
        return path.is_dir()

    def names(self, path: Path, /) -> tuple[str, ...]:
        """Return the names in a directory."""
        return tuple(sorted(found.name for found in path.iterdir()))

    def size_at(self, path: Path, /) -> int:
        """Tell the length, of a link its own."""
        return path.lstat().st_size

    def rename(self, old: Path, new: Path, /) -> None:
        """Rename within the file system."""
        old.rename(new)

    def unlink(self, path: Path, /) -> None:
        """Remove a name."""
        path.unlink()

    def room_bytes(self, path: Path, /) -> tuple[int, int]:
        """Ask statvfs; what is reserved for root counts as used."""
        found = os.statvfs(path)
        return found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize


def require_journal(descriptor: int) -> None:
    """Require that the file system of a file that was just synced is still alive.

    Where ext4 gives up its journal while a sync is under way, the sync may throw the change away
    and return 0, for some milliseconds (durability.md, promise 4). Only a call that begins a change
    of its own tells: this one reserves the first byte, which is there, and so changes nothing.

    Args:
        descriptor: Open for writing with O_APPEND; any other is not asked, nor an empty file.

    Raises:
        OSError: The file system has become read-only, or the device fails.
    """
    if not os.fstat(descriptor).st_size:
        return
    try:
        os.posix_fallocate(descriptor, 0, 1)
    except OSError as error:
        if error.errno in DEAD:
            raise  # others: open for reading only, or a file system that reserves nothing


SYSTEM_DISK: Final = SystemDisk()
"""Has no state; what is given no other disk uses this one."""


def sync_names(disk: Disk, directory: Path) -> None:
    """Make new, renamed and removed names in `directory` durable.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = disk.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        disk.sync(descriptor)
    finally:
        disk.close(descriptor)


def sync_bytes(disk: Disk, path: Path) -> None:
    """Make the bytes of a file durable that another process, or an earlier start, wrote.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = disk.open(path, os.O_RDONLY)
    try:
        disk.sync_data(descriptor)
    finally:
        disk.close(descriptor)
