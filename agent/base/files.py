"""Files: bounded reads, writes that are whole or not there at all."""

import os
import stat
from pathlib import Path
from typing import BinaryIO, Final

from agent.base.errors import ConfigError
from agent.base.memory import wipe

SHARED_MODE: Final = 0o640
"""Of a file for the other process: it has another user and the same group."""


def read_bounded(path: Path, *, limit_bytes: int) -> bytes:
    """Return the bytes of a small file.

    Raises:
        ConfigError: It is missing, unreadable or larger than `limit_bytes`.
    """
    try:
        with path.open("rb") as file:
            content = file.read(limit_bytes + 1)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected a readable file"
        raise ConfigError(message) from error
    if len(content) > limit_bytes:
        message = f"{path}: larger than {limit_bytes} bytes; expected a small file"
        raise ConfigError(message)
    return content


def read_secret(path: Path, *, limit_bytes: int) -> bytearray:
    """Return the bytes of a small file in a buffer that its user can wipe.

    They go straight from the kernel into the buffer: no other copy of them is made here.

    Raises:
        ConfigError: As `read_bounded`.
    """
    try:
        with path.open("rb", buffering=0) as file:
            size_bytes = os.fstat(file.fileno()).st_size
            buffer = bytearray(min(size_bytes, limit_bytes))
            file.readinto(buffer)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected a readable file"
        raise ConfigError(message) from error
    if size_bytes > limit_bytes:
        wipe(buffer)
        message = f"{path}: larger than {limit_bytes} bytes; expected a small file"
        raise ConfigError(message)
    return buffer


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `content` so that a power cut leaves the old file or the new one.

    Args:
        path: May be there or not.
        content: All of it.
        mode: Exactly the permissions that the file will have.

    Raises:
        OSError: The disk refuses; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.new")
    with _make_anew(temporary, mode) as file:
        os.fchmod(file.fileno(), mode)  # the umask may have taken some away
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


def replace_unsynced(path: Path, content: bytes, *, mode: int = SHARED_MODE) -> None:
    """Replace a file of a tmpfs in one step; nothing there outlives the power, so no sync.

    The other process may write in that folder too, and is not trusted; see `_make_anew`.

    Raises:
        OSError: The folder refuses.
    """
    temporary = path.with_name(f".{path.name}.new")
    with _make_anew(temporary, mode) as file:
        os.fchmod(file.fileno(), mode)  # the umask may have taken the group away
        file.write(content)
    temporary.replace(path)


def _make_anew(path: Path, mode: int) -> BinaryIO:
    """Open a file that was not there; what lies in the way is removed, never followed or reused."""
    path.unlink(missing_ok=True)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(path, flags, mode), "wb")


def sync_directory(path: Path) -> None:
    """Make new, renamed and removed names in `path` durable.

    Raises:
        OSError: The disk refuses.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_handed(path: Path, *, limit_bytes: int) -> bytes | None:
    """Return the bytes of a small file that another process may have put there, None without one.

    That process is not trusted: a link, a pipe or a folder in the file's place holds up nothing.

    Raises:
        ConfigError: It is no plain file, unreadable or larger than `limit_bytes`.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags)
    except FileNotFoundError:
        return None
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected a plain file"
        raise ConfigError(message) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        message = f"{path}: is no plain file; expected one"
        raise ConfigError(message)
    with os.fdopen(descriptor, "rb") as file:
        content = file.read(limit_bytes + 1)
    if len(content) > limit_bytes:
        message = f"{path}: larger than {limit_bytes} bytes; expected a small file"
        raise ConfigError(message)
    return content
