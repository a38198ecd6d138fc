"""What the sender has still to do, from the two logs: upload, settle, delete.

Only frames of segments that are still there are held, so memory follows the spool, not the log.
"""

import msgspec

from agent.base.lanes import Lane
from agent.trust.entries import Deleted, DeleteIntent, Entry, Sealed, Uploaded
from agent.trust.receipts import peek_receipt

SegmentKey = tuple[Lane, str]
"""Lane and the segment's name without ending."""


class Standing(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Where and when a frame came into the watcher's log."""

    index: int
    """Of its `sealed` entry."""
    at_ms: int
    """Time of that entry."""
    reads: int


class Backlog:
    """Frames that stand in the watcher's log and those of them that the city has.

    At a start the whole of the sender's own log is noted first, then the watcher's: segments
    that are gone are then skipped.
    """

    def __init__(self) -> None:
        self.known_size = 0
        """Of the watcher's log, in the last receipt; 0 = the city has seen nothing."""
        self.city_ms = 0
        """The latest time that the city signed in a receipt."""
        self._current: dict[Lane, str] = {}
        self._logged: dict[SegmentKey, dict[bytes, Standing]] = {}
        self._uploaded: dict[SegmentKey, set[bytes]] = {}
        self._intents: dict[SegmentKey, DeleteIntent] = {}
        self._gone: set[SegmentKey] = set()

    def note_sent(self, entry: Entry) -> None:
        """Take in an entry of the sender's log."""
        match entry:
            case Uploaded(lane=lane, segment=segment, receipt=receipt):
                known = peek_receipt(receipt)
                self._uploaded.setdefault((lane, segment), set()).update(known.frames)
                self.known_size = known.log_size
                self.city_ms = max(self.city_ms, known.time_ms)
            case DeleteIntent(lane=lane, segment=segment):
                self._intents[lane, segment] = entry
            case Deleted(lane=lane, segment=segment):
                self._forget((lane, segment))
            case _:
                pass

    def note_watched(self, index: int, entry: Entry) -> None:
        """Take in entry number `index` of the watcher's log."""
        match entry:
            case Sealed(lane=lane, segment=segment):
                self._leave_segment(lane, segment)
                if (lane, segment) not in self._gone:
                    standing = Standing(index=index, at_ms=entry.at_ms, reads=entry.reads)
                    self._logged.setdefault((lane, segment), {})[entry.frame] = standing
            case _:
                pass

    def to_upload(self, key: SegmentKey, frames: tuple[bytes, ...]) -> tuple[bytes, ...]:
        """Return those of the frame hashes that are logged and not uploaded, in their order."""
        logged = self._logged.get(key, {})
        done = self._uploaded.get(key, set())
        return tuple(frame for frame in frames if frame in logged and frame not in done)

    def is_settled(self, key: SegmentKey, frames: tuple[bytes, ...]) -> bool:
        """Tell whether the city has every one of the frame hashes."""
        return self._uploaded.get(key, set()).issuperset(frames)

    def reads_in(self, key: SegmentKey, frames: tuple[bytes, ...]) -> int:
        """Return how many reads are in those of the frames that are logged."""
        logged = self._logged.get(key, {})
        return sum(logged[frame].reads for frame in frames if frame in logged)

    def standings(self, key: SegmentKey, frames: tuple[bytes, ...]) -> tuple[Standing, ...]:
        """Return where frames of `to_upload` stand in the log, in their order."""
        logged = self._logged[key]
        return tuple(logged[frame] for frame in frames)

    def unfinished(self) -> tuple[DeleteIntent, ...]:
        """Return the deletions that were announced and not reported done, oldest first."""
        return tuple(self._intents.values())

    def _leave_segment(self, lane: Lane, segment: str) -> None:
        """Forget the name of a deleted segment when the log has gone on to the next."""
        left = self._current.get(lane)
        if left is not None and left != segment:
            self._gone.discard((lane, left))
        self._current[lane] = segment

    def _forget(self, key: SegmentKey) -> None:
        if self._logged.pop(key, None) is None:
            self._gone.add(key)  # its frames are still to come from the watcher's log
        self._uploaded.pop(key, None)
        self._intents.pop(key, None)
