"""Names and places of spool segments, and the disk's errors in our words."""

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.base.disk import SYSTEM_DISK, Disk
from agent.base.errors import DeviceError, SpoolFullError
from agent.base.lanes import Lane

_NAME: Final = re.compile(r"(?P<first_ms>\d{13})-[0-9a-f]{8}-\d{6}\.(?P<state>open|seg)", re.ASCII)
FULL: Final = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Segment:
    """One file of frames."""

    lane: Lane
    path: Path
    closed: bool
    """False while the watcher may still append."""
    size_bytes: int
    first_ms: int
    """Time of its first put."""


def segment_name(*, first_ms: int, boot: bytes, count: int) -> str:
    """Return the name of a segment that is being written."""
    return f"{first_ms:013d}-{boot[:4].hex()}-{count:06d}.open"


def closed_path(path: Path) -> Path:
    """Return the path that a segment has once it is closed."""
    return path.with_suffix(".seg")


def list_segments(
    directory: Path, lane: Lane, disk: Disk = SYSTEM_DISK
) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
    """Return the segments in a lane's folder, older before newer, and the other names in it.

    Raises:
        DeviceError: The folder cannot be read.
    """
    with disk_errors(directory):
        try:
            names = disk.names(directory)
        except FileNotFoundError:  # nothing was ever kept
            names = ()
        segments = tuple(_segment(lane, directory / name, disk) for name in names)
    unknown = tuple(name for name in names if not _NAME.fullmatch(name))
    return tuple(segment for segment in segments if segment is not None), unknown


def _segment(lane: Lane, path: Path, disk: Disk = SYSTEM_DISK) -> Segment | None:
    """Return the segment at `path`; None for other names and for one that has gone meanwhile."""
    name = _NAME.fullmatch(path.name)
    if name is None:
        return None
    try:
        size_bytes = disk.size_at(path)
    except FileNotFoundError:  # renamed by the watcher or removed by the sender
        return None
    return Segment(
        lane=lane,
        path=path,
        closed=name["state"] == "seg",
        size_bytes=size_bytes,
        first_ms=int(name["first_ms"]),
    )


@contextmanager
def disk_errors(place: Path) -> Iterator[None]:
    """Turn the disk's errors into ours.

    Args:
        place: Named in the message where the error does not know better.

    Raises:
        SpoolFullError: No space or no quota of the file system.
        DeviceError: All others.
    """
    try:
        yield
    except OSError as error:
        found = f"{error.filename or place}: the disk"
        if error.errno in FULL:
            message = f"{found} is full ({error.strerror}); make room"
            raise SpoolFullError(message) from error
        message = f"{found} failed ({error.strerror}); check the card and its mount"
        raise DeviceError(message) from error
