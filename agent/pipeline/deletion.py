"""Taking segments out of the spool: after a receipt, at the end of their time, for quota.

Nothing else deletes. Every deletion stands in the sender's log with its reason, before and after.
"""

import logging
from collections.abc import Callable, Mapping

from agent.base.clock import ForwardClock, to_ms
from agent.base.errors import DeviceError
from agent.base.health import SendCounters
from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.pipeline.retention import past_retention, surplus
from agent.spool import SpoolReader
from agent.trust.backlog import Backlog, SegmentKey
from agent.trust.entries import Deleted, DeleteIntent, Entry, IoFailure, Reason
from agent.trust.frames import Damage, Found, encode_frame, frame_hash

log = logging.getLogger(__name__)


class Deletion:
    """Deletes segments and accounts for it.

    Args:
        spool: Where they are.
        backlog: Knows which deletions were announced and not reported done.
        note: Writes to the log; when it returns, the entry survives a power cut.
        sign: Signs the log to its end; when it returns, the signature survives a power cut.
        counters: Counted up here.
        clock: Tells the time and never runs back.
    """

    def __init__(
        self,
        *,
        spool: SpoolReader,
        backlog: Backlog,
        note: Callable[[Entry], None],
        sign: Callable[[], object],
        counters: SendCounters,
        clock: ForwardClock,
    ) -> None:
        self._spool = spool
        self._backlog = backlog
        self._note = note
        self._sign = sign
        self._counters = counters
        self._clock = clock
        self._unreadable: set[SegmentKey] = set()

    def delete(self, segment: Segment, reason: Reason) -> None:
        """Announce under a signature, delete, report: a power cut between leaves no doubt."""
        found = self._look(segment)
        intent = DeleteIntent(
            at_ms=to_ms(self._clock.now()),
            lane=segment.lane,
            segment=segment.path.stem,
            reason=reason,
            damaged_bytes=sum(item.length for item in found if isinstance(item, Damage)),
        )
        self._note(intent)
        self._carry_out(intent, segment, again=False)

    def finish(self) -> None:
        """Complete what was announced before a restart or an error."""
        intents = self._backlog.unfinished()
        if not intents:
            return
        present = {(item.lane, item.path.stem): item for item in self._spool.segments()}
        for intent in intents:
            segment = present.get((intent.lane, intent.segment))
            if segment is not None:
                self._carry_out(intent, segment, again=True)
            elif self._is_gone_for_good(intent.lane):
                self._report(intent)

    def enforce_age(self, retention_s: Mapping[Lane, int]) -> None:
        """Delete segments whose retention is over, receipted or not."""
        now_ms = to_ms(self._clock.now())
        for segment in past_retention(self._closed(), retention_s, now_ms=now_ms):
            self._counters.reads_expired += self._give_up(segment, "expired")

    def make_room(self, quota_bytes: Mapping[Lane, int]) -> None:
        """Delete the oldest segments where a lane is near its quota or the disk nearly full."""
        begun = self._begun()
        room = self._spool.room_bytes()
        for segment in surplus(self._spool.segments(), quota_bytes, room_bytes=room):
            if (segment.lane, segment.path.stem) not in begun:
                self._counters.reads_dropped += self._give_up(segment, "quota")

    def discard(self) -> int:
        """Delete all that is left, for a unit that retires; return the reads the city never got."""
        return sum(self._give_up(segment, "retired") for segment in self._closed())

    def note_unreadable(self, segment: Segment, error: DeviceError) -> None:
        """Write down, once a start, that a segment cannot be read."""
        key = segment.lane, segment.path.stem
        if key not in self._unreadable:
            self._unreadable.add(key)
            self._note_failure(error)

    def _give_up(self, segment: Segment, reason: Reason) -> int:
        """Delete a segment and return how many reads in it the city never got."""
        key = segment.lane, segment.path.stem
        frames = [item for item in self._look(segment) if isinstance(item, Found)]
        hashes = tuple(frame_hash(encode_frame(item.frame)) for item in frames)
        reads = self._backlog.reads_in(key, self._backlog.to_upload(key, hashes))
        log.warning(
            "segment given up",
            extra={"lane": segment.lane.label, "reason": reason, "count": reads},
        )
        self.delete(segment, reason)
        return reads

    def _look(self, segment: Segment) -> tuple[Found | Damage, ...]:
        """Return what a segment holds; one that cannot be read is all damage."""
        try:
            return self._spool.frames(segment)
        except DeviceError as error:
            self.note_unreadable(segment, error)
            return (Damage(offset=0, length=max(segment.size_bytes, 1), tail=False),)

    def _is_gone_for_good(self, lane: Lane) -> bool:
        """Sync what is gone from a lane: who removed it may have ended before."""
        try:
            self._spool.sync_deletions(lane)
        except DeviceError as error:
            log.error("deletion not durable", extra={"detail": str(error)})  # noqa: TRY400
            return False
        return True

    def _carry_out(self, intent: DeleteIntent, segment: Segment, *, again: bool) -> None:
        """Do what was announced; a disk that keeps refusing is logged once, not every round.

        Signed first: no one who can write to the card may take a segment and announce it himself.
        """
        self._sign()
        try:
            self._spool.delete(segment)
        except DeviceError as error:
            log.error("deletion failed", extra={"detail": str(error)})  # noqa: TRY400
            if not again:
                self._note_failure(error)
            return
        self._report(intent)
        self._counters.segments_deleted += 1
        self._counters.expired += intent.reason == "expired"
        self._counters.quota += intent.reason == "quota"

    def _report(self, intent: DeleteIntent) -> None:
        self._note(
            Deleted(
                at_ms=to_ms(self._clock.now()),
                lane=intent.lane,
                segment=intent.segment,
                reason=intent.reason,
            )
        )

    def _closed(self) -> tuple[Segment, ...]:
        """Return the segments that the watcher has finished and nobody has begun to delete."""
        begun = self._begun()
        return tuple(
            item
            for item in self._spool.segments()
            if item.closed and (item.lane, item.path.stem) not in begun
        )

    def _begun(self) -> set[SegmentKey]:
        return {(intent.lane, intent.segment) for intent in self._backlog.unfinished()}

    def _note_failure(self, error: DeviceError) -> None:
        at_ms = to_ms(self._clock.now())
        self._note(IoFailure(at_ms=at_ms, place="spool", detail=str(error)[:200]))
