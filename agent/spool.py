"""Sealed frames on disk: the watcher appends, the sender reads and deletes (formats.md, chapter 3).

Durable before it is acknowledged; nothing is ever written to a file of an earlier start; damage
is kept, reported and stepped over.
"""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.base.append_file import (
    AppendFile,
    make_directory,
    read_file,
    remove_durably,
    rename_durably,
)
from agent.base.clock import to_ms
from agent.base.errors import DeviceError, SpoolFullError
from agent.base.files import sync_directory
from agent.base.lanes import Lane
from agent.base.segments import Segment, closed_path, disk_errors, list_segments, segment_name
from agent.base.settings import SpoolSettings
from agent.trust.frames import Damage, Found, encode_frame, frame_hash, scan_frames
from agent.trust.header import FrameHeader

_FILE_MODE: Final = 0o640
_ROOT_MODE: Final = 0o750
_LANE_MODE: Final = 0o770  # the sender is another user of the same group and removes files


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameNote:
    """What the log needs to know of a frame."""

    header: FrameHeader
    sha256: bytes
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Leftover:
    """A segment that an earlier start did not close, as it was found."""

    segment: Segment
    frames: tuple[FrameNote, ...]
    damaged: int
    """Places of damage, the tail included."""
    tail_bytes: int
    """Length of the unfinished frame at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """What a start found in the spool."""

    segments: int
    """Files of frames, leftovers included."""
    leftovers: tuple[Leftover, ...]
    unknown: tuple[str, ...]
    """Names in the lanes' folders that are no segments; left alone."""
    problems: tuple[str, ...]
    """Folders that could not be read."""

    @property
    def damaged(self) -> int:
        """Places of damage in the leftovers."""
        return sum(leftover.damaged for leftover in self.leftovers)


class SpoolWriter:
    """The watcher's side. One process writes a spool; each start makes new files."""

    def __init__(
        self, root: Path, settings: SpoolSettings, quota: Mapping[Lane, int], boot: bytes
    ) -> None:
        self._root = root
        self._settings = settings
        self._quota = quota
        self._boot = boot
        self._current: dict[Lane, _Current] = {}
        self._used: dict[Lane, int] = {}
        self._unfinished: list[Path] = []
        self._count = 0
        self._rooted = False

    def recover(self, record: Callable[[Recovery], None] | None = None) -> Recovery:
        """Report what earlier starts left and close their open segments. Call it before any put.

        Only the leftovers are read: the sender meets damage in the others when it comes to them.
        Nothing found here stops a start.

        Args:
            record: Called before the leftovers are closed, so that their frames stand in the log
                before the sender may delete them.
        """
        found = _survey(SpoolReader(self._root))
        if record is not None:
            record(found)
        for leftover in found.leftovers:
            self._finish(leftover.segment.path)
        return found

    def put(self, lane: Lane, content: bytes, now: datetime) -> str:
        """Store one frame; when this returns it survives a power cut.

        After an error the frame does not count as stored: put the same bytes again (never seal
        the same reads again: formats.md, section 1.1), or give them up and say so in the log.

        Args:
            lane: Where it belongs.
            content: The whole frame.
            now: Names a new segment and closes an old one.

        Returns:
            The segment's name without its ending: how the log names it.

        Raises:
            SpoolFullError: The lane's quota or the disk is full.
            DeviceError: The disk failed.
        """
        self._require_room(lane, len(content))
        self._roll(lane, len(content), to_ms(now))
        file = self._file(lane, to_ms(now))
        with disk_errors(file.path):
            try:
                file.append(content)
            except OSError:
                self._abandon(lane)
                raise
        self._used[lane] += len(content)
        return file.path.stem

    def roll_aged(self, now: datetime) -> None:
        """Close segments past their age, so that the sender may delete them when no puts come."""
        for lane in tuple(self._current):
            self._roll(lane, 0, to_ms(now))
        self._retry_unfinished()

    def close(self) -> None:
        """Close all segments; what cannot be renamed is left to the next start."""
        for lane in tuple(self._current):
            self._close(lane)

    def _require_room(self, lane: Lane, size_bytes: int) -> None:
        """Look at the disk only when the count says full: the sender only ever takes away."""
        quota = self._quota[lane]
        if lane in self._used and self._used[lane] + size_bytes <= quota:
            return
        self._used[lane] = SpoolReader(self._root).usage_bytes(lane)
        if self._used[lane] + size_bytes > quota:
            message = (
                f"{self._root / lane.label}: {self._used[lane]} of {quota} bytes of its quota are "
                f"used, {size_bytes} more do not fit; nothing is kept until the sender makes room"
            )
            raise SpoolFullError(message)

    def _roll(self, lane: Lane, size_bytes: int, now_ms: int) -> None:
        """Close the lane's segment when it is too old or would grow too large."""
        current = self._current.get(lane)
        if current is None:
            return
        age_s = (now_ms - current.opened_ms) / 1000
        grown = current.file.size_bytes + size_bytes > self._settings.segment_limit_bytes
        if grown or not 0 <= age_s < self._settings.segment_limit_s:  # below 0: clock set back
            self._close(lane)

    def _file(self, lane: Lane, now_ms: int) -> AppendFile:
        """Return the lane's file, a new one with a durable name where there is none."""
        if lane in self._current:
            return self._current[lane].file
        directory = self._root / lane.label
        name = segment_name(first_ms=now_ms, boot=self._boot, count=self._count)
        self._count += 1
        with disk_errors(directory):
            self._make_directories()
            file = AppendFile.create(directory / name, mode=_FILE_MODE)
            self._current[lane] = _Current(file=file, opened_ms=now_ms)
            try:
                sync_directory(directory)
            except OSError:
                self._abandon(lane)
                raise
        self._retry_unfinished()
        return file

    def _make_directories(self) -> None:
        """Make the folders, once a start, and their names durable."""
        if self._rooted:
            return
        make_directory(self._root, mode=_ROOT_MODE)
        for lane in Lane:
            make_directory(self._root / lane.label, mode=_LANE_MODE)
        self._rooted = True

    def _close(self, lane: Lane) -> None:
        """Write no more to the lane's file; it gets its final name now or later."""
        file = self._current.pop(lane).file
        file.close()
        self._finish(file.path)

    def _abandon(self, lane: Lane) -> None:
        """Give up the lane's file after an error; what it acknowledged stays readable."""
        file = self._current[lane].file
        file.cut_back()
        if file.size_bytes:
            self._close(lane)
            return
        del self._current[lane]
        file.close()
        with suppress(OSError):
            remove_durably(file.path)

    def _finish(self, path: Path) -> None:
        """Rename to `.seg`, now or with the next new segment."""
        try:
            rename_durably(path, closed_path(path))
        except OSError:
            self._unfinished.append(path)

    def _retry_unfinished(self) -> None:
        paths, self._unfinished = self._unfinished, []
        for path in paths:
            self._finish(path)


class SpoolReader:
    """The sender's side; the watcher uses it to see how full and how old the spool is."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def segments(self) -> tuple[Segment, ...]:
        """Return all segments, hits first, older before newer.

        Raises:
            DeviceError: A folder cannot be read.
        """
        return tuple(segment for lane in Lane for segment in self.lane(lane)[0])

    def lane(self, lane: Lane) -> tuple[tuple[Segment, ...], tuple[str, ...]]:
        """Return one lane's segments and the names in its folder that are no segments.

        Raises:
            DeviceError: The folder cannot be read.
        """
        return list_segments(self._root / lane.label, lane)

    def frames(self, segment: Segment) -> tuple[Found | Damage, ...]:
        """Return what a segment holds, in order; sectors that cannot be read are damage.

        Raises:
            DeviceError: The file is gone or cannot be opened.
        """
        with disk_errors(segment.path):
            try:
                content = read_file(segment.path)
            except FileNotFoundError:  # closed by the watcher since it was listed
                content = read_file(closed_path(segment.path))
        return tuple(scan_frames(content))

    def delete(self, segment: Segment) -> None:
        """Remove a closed segment; when this returns the removal survives a power cut.

        Raises:
            ValueError: The segment is still open: a mistake of the caller.
            DeviceError: The disk failed.
        """
        if not segment.closed:
            message = f"{segment.path}: open segments belong to the watcher"
            raise ValueError(message)
        with disk_errors(segment.path):
            remove_durably(segment.path)

    def usage_bytes(self, lane: Lane) -> int:
        """Return the bytes of the lane's segments.

        Raises:
            DeviceError: The folder cannot be read.
        """
        return sum(segment.size_bytes for segment in self.lane(lane)[0])

    def oldest_ms(self, lane: Lane) -> int | None:
        """Return the time of the lane's oldest segment, None without one.

        Raises:
            DeviceError: The folder cannot be read.
        """
        return min((segment.first_ms for segment in self.lane(lane)[0]), default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Current:
    """The file that a lane's frames go to."""

    file: AppendFile
    opened_ms: int


def _survey(reader: SpoolReader) -> Recovery:
    """Return what the spool holds, as far as it can be read."""
    segments: list[Segment] = []
    unknown: list[str] = []
    problems: list[str] = []
    for lane in Lane:
        try:
            found, others = reader.lane(lane)
        except DeviceError as error:
            problems.append(str(error))
        else:
            segments += found
            unknown += others
    return Recovery(
        segments=len(segments),
        leftovers=tuple(_leftover(reader, segment) for segment in segments if not segment.closed),
        unknown=tuple(unknown),
        problems=tuple(problems),
    )


def _leftover(reader: SpoolReader, segment: Segment) -> Leftover:
    """Return what is in a segment of an earlier start; an unreadable one is all damage."""
    try:
        found = reader.frames(segment)
    except DeviceError:
        found = (Damage(offset=0, length=segment.size_bytes, tail=False),)
    damages = [item for item in found if isinstance(item, Damage)]
    return Leftover(
        segment=segment,
        frames=tuple(_note(item) for item in found if isinstance(item, Found)),
        damaged=len(damages),
        tail_bytes=sum(item.length for item in damages if item.tail),
    )


def _note(found: Found) -> FrameNote:
    sha256 = frame_hash(encode_frame(found.frame))
    return FrameNote(header=found.frame.header, sha256=sha256, length=found.length)
