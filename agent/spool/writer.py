"""The watcher's side of the spool: appends."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from agent.base.append_file import (
    AppendFile,
    lock_file,
    make_directory,
    remove_durably,
    rename_durably,
    unlock_file,
)
from agent.base.clock import to_ms
from agent.base.disk import SYSTEM_DISK, Disk, sync_names
from agent.base.errors import ConfigError, DeviceError, SpoolFullError
from agent.base.lanes import Lane
from agent.base.segments import closed_path, disk_errors, segment_name
from agent.base.settings import SpoolSettings
from agent.spool.reader import SpoolReader
from agent.spool.recovery import Recovery, survey_spool

_LOCK_NAME: Final = "lock"
_FILE_MODE: Final = 0o640
_ROOT_MODE: Final = 0o750
_LANE_MODE: Final = 0o770  # the sender is another user of the same group and removes files


@dataclass(frozen=True, slots=True, kw_only=True)
class _Current:
    """The file that a lane's frames go to."""

    file: AppendFile
    opened_ms: int


class SpoolWriter:
    """The watcher's side. One process writes a spool; each start makes new files."""

    def __init__(
        self,
        root: Path,
        settings: SpoolSettings,
        quota: Mapping[Lane, int],
        boot: bytes,
        disk: Disk = SYSTEM_DISK,
    ) -> None:
        self._root = root
        self._disk = disk
        self._reader = SpoolReader(root, disk)
        self._settings = settings
        self._quota = quota
        self._boot = boot
        self._current: dict[Lane, _Current] = {}
        self._used: dict[Lane, int] = {}
        self._unfinished: list[Path] = []
        self._count = 0
        self.closed = 0
        """Segments that this start has written and closed."""
        self._rooted = False
        self._lock = -1

    def follow(self, settings: SpoolSettings, quota: Mapping[Lane, int]) -> None:
        """Hold to other limits from the next put on."""
        self._settings, self._quota = settings, quota

    def recover(self, record: Callable[[Recovery], None] | None = None) -> Recovery:
        """Report what earlier starts left and close their open segments. Call it before any put.

        Only the leftovers are read: the sender meets damage in the others when it comes to them.
        Nothing that is found stops a start.

        Args:
            record: Called before the leftovers are closed, so that their frames stand in the log
                before the sender may delete them.

        Raises:
            ConfigError: Another watcher writes this spool; its open files are not ours to close.
        """
        found = survey_spool(self._reader, self._hold())
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
                file.cut_back()
                file.wait_for_cut()
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
        """Close all segments and unlock; what cannot be renamed is left to the next start."""
        for lane in tuple(self._current):
            self._close(lane)
        if self._lock >= 0:
            unlock_file(self._root / _LOCK_NAME, self._lock, self._disk)
            self._lock = -1

    def _hold(self) -> list[str]:
        """Lock the spool against a second watcher process; return what hindered us."""
        try:
            with disk_errors(self._root):
                self._make_directories()
                self._lock = lock_file(self._root / _LOCK_NAME, self._disk)
        except (DeviceError, SpoolFullError) as error:
            if isinstance(error.__cause__, BlockingIOError):
                message = f"{self._root}: another watcher writes this spool; stop it first"
                raise ConfigError(message) from error
            return [str(error)]
        return []

    def _require_room(self, lane: Lane, size_bytes: int) -> None:
        """Look at the disk only when the count says full: the sender only ever takes away."""
        quota = self._quota[lane]
        if lane in self._used and self._used[lane] + size_bytes <= quota:
            return
        self._used[lane] = self._reader.usage_bytes(lane)
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
            file = AppendFile.create(directory / name, mode=_FILE_MODE, disk=self._disk)
            self._current[lane] = _Current(file=file, opened_ms=now_ms)
            try:
                sync_names(self._disk, directory)
            except OSError:
                self._abandon(lane)
                raise
        self._retry_unfinished()
        return file

    def _make_directories(self) -> None:
        """Make the folders, once a start, and their names durable."""
        if self._rooted:
            return
        make_directory(self._root, mode=_ROOT_MODE, disk=self._disk)
        for lane in Lane:
            make_directory(self._root / lane.label, mode=_LANE_MODE, disk=self._disk)
        self._rooted = True

    def _close(self, lane: Lane) -> None:
        """Write no more to the lane's file; it gets its final name now or later."""
        file = self._current.pop(lane).file
        self.closed += 1
        file.close()
        self._finish(file.path)

    def _abandon(self, lane: Lane) -> None:
        """Give up the lane's file after an error; what it acknowledged stays readable."""
        file = self._current[lane].file
        if file.size_bytes:
            self._close(lane)
            return
        del self._current[lane]
        file.close()
        with suppress(OSError):
            remove_durably(file.path, self._disk)

    def _finish(self, path: Path) -> None:
        """Rename to `.seg`, now or with the next new segment."""
        try:
            rename_durably(path, closed_path(path), self._disk)
        except OSError:
            self._unfinished.append(path)

    def _retry_unfinished(self) -> None:
        paths, self._unfinished = self._unfinished, []
        for path in paths:
            self._finish(path)
