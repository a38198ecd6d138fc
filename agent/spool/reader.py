"""The sender's side of the spool: lists, reads, deletes."""

from contextlib import suppress
from pathlib import Path

from agent.base.append_file import read_file, remove_durably
from agent.base.disk import SYSTEM_DISK, Disk, sync_bytes, sync_names
from agent.base.lanes import Lane
from agent.base.segments import Segment, closed_path, disk_errors, list_segments
from agent.trust.frames import Damage, Found, scan_frames


class SpoolReader:
    """The sender's side; the watcher uses it to see how full and how old the spool is."""

    def __init__(self, root: Path, disk: Disk = SYSTEM_DISK) -> None:
        self._root = root
        self._disk = disk

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
        return list_segments(self._root / lane.label, lane, self._disk)

    def frames(self, segment: Segment) -> tuple[Found | Damage, ...]:
        """Return what a segment holds, in order; sectors that cannot be read are damage.

        Raises:
            DeviceError: The file is gone or cannot be opened.
        """
        with disk_errors(segment.path):
            try:
                content = read_file(segment.path, self._disk)
            except FileNotFoundError:  # closed by the watcher since it was listed
                content = read_file(closed_path(segment.path), self._disk)
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
            remove_durably(segment.path, self._disk)

    def sync_deletions(self, lane: Lane) -> None:
        """Make sure that what is gone from a lane's folder stays gone after a power cut.

        Raises:
            DeviceError: The disk failed.
        """
        with disk_errors(self._root / lane.label), suppress(FileNotFoundError):
            sync_names(self._disk, self._root / lane.label)

    def sync_leftover(self, segment: Segment) -> None:
        """Make durable what an earlier start left open: it may have ended before it did so.

        The segment's name is durable since before its first frame.

        Raises:
            DeviceError: The disk failed; what the segment seems to hold may not be on it.
        """
        with disk_errors(segment.path):
            sync_bytes(self._disk, segment.path)

    def room_bytes(self) -> tuple[int, int]:
        """Return how many bytes are free in the spool's file system, and of how many.

        Raises:
            DeviceError: The disk failed.
        """
        with disk_errors(self._root):
            try:
                return self._disk.room_bytes(self._root)
            except FileNotFoundError:  # the watcher has not begun
                return self._disk.room_bytes(self._root.parent)

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
