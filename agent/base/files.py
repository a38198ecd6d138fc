"""Files: bounded reads, writes that are whole or not there at all."""

import os
from pathlib import Path

from agent.base.errors import ConfigError


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


def write_whole(path: Path, content: bytes, *, mode: int = 0o600) -> None:
    """Replace `path` by `content` so that a power cut leaves the old file or the new one.

    Raises:
        OSError: The disk refuses; the old file is still there.
    """
    temporary = path.with_name(f".{path.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
    sync_directory(path.parent)


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
