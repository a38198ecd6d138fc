"""Looks at the storage without touching it, also while the endpoint serves."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from agent.base.errors import DeviceError, IntegrityError
from agent.trust.frames import frame_hash
from homeplate_endpoint.store import FRAMES, INDEX, storage_errors


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneCount:
    """What is stored of one unit and lane."""

    unit: str
    lane: int
    frames: int
    reads: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A sign of a unit that is not what it claims to be."""

    time_ms: int
    unit: str
    kind: str
    detail: str


def read_counts(directory: Path) -> tuple[LaneCount, ...]:
    """Return what is stored, by unit and lane.

    Raises:
        DeviceError: There is no storage or it cannot be read.
    """
    with _open_index(directory) as index:
        rows = index.execute(
            "SELECT unit, lane, COUNT(*), SUM(last - first + 1), SUM(length)"
            " FROM frames GROUP BY unit, lane ORDER BY unit, lane"
        )
        return tuple(
            LaneCount(unit=unit, lane=lane, frames=frames, reads=reads, size_bytes=size)
            for unit, lane, frames, reads, size in rows
        )


def read_alarms(directory: Path) -> tuple[Alarm, ...]:
    """Return all alarms, oldest first.

    Raises:
        DeviceError: There is no storage or it cannot be read.
    """
    with _open_index(directory) as index:
        rows = index.execute("SELECT * FROM alarms ORDER BY time_ms, rowid")
        return tuple(
            Alarm(time_ms=time_ms, unit=unit, kind=kind, detail=detail)
            for time_ms, unit, kind, detail in rows
        )


def read_frames(directory: Path) -> Iterator[bytes]:
    """Yield all stored frames in the order of their arrival, each held against its hash.

    Raises:
        DeviceError: There is no storage or it cannot be read.
        IntegrityError: A frame is not what was stored.
    """
    with _open_index(directory) as index, (directory / FRAMES).open("rb") as file:
        rows = index.execute("SELECT place, length, sha256 FROM frames ORDER BY place")
        for place, length, expected in rows:
            file.seek(place)
            content = file.read(length)
            if frame_hash(content) != expected:
                message = f"{directory / FRAMES}: the frame at {place} is not what was stored"
                raise IntegrityError(message)
            yield content


@contextmanager
def _open_index(directory: Path) -> Iterator[sqlite3.Connection]:
    if not (directory / INDEX).exists():
        message = f"{directory}: no storage of an endpoint; check `storage` in the settings"
        raise DeviceError(message)
    with storage_errors(directory):
        connection = sqlite3.connect(f"file:{directory / INDEX}?mode=ro", uri=True)
        with closing(connection) as index:
            yield index
