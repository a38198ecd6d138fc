"""Taking segments out of the spool: after a receipt, at the end of their time, for quota.

Nothing else deletes. Every deletion stands in the sender's log with its reason, before and after.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from typing import Final

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

AT_ONCE: Final = 16
"""Segments under one signature: a full disk needs room for as many entries before any is freed."""


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
        self._settled: dict[SegmentKey, Segment] = {}

    @property
    def waits(self) -> bool:
        """Whether segments wait to be deleted with the next signature."""
        return bool(self._settled)

    def put_off(self, segment: Segment) -> None:
        """Have a segment, all of which the city has, deleted with the next signature."""
        self._settled[segment.lane, segment.path.stem] = segment

    def is_put_off(self, segment: Segment) -> bool:
        """Tell whether a segment waits for that."""
        return (segment.lane, segment.path.stem) in self._settled

    def delete_settled(self) -> None:
        """Delete what was put off, under one signature."""
        begun = self._begun()
        self._settled = {key: item for key, item in self._settled.items() if key not in begun}
        self.delete(tuple(self._settled.values()), "receipt")

    def delete(self, segments: Iterable[Segment], reason: Reason) -> None:
        """Announce under a signature, delete, report: a power cut between leaves no doubt.

        Signed first: no one who can write to the card may take a segment and announce it himself,
        and no damage to what is not signed can take away the reason why a segment is gone.
        """
        rest = iter(segments)
        while part := tuple(islice(rest, AT_ONCE)):
            intents = [self._announce(segment, reason) for segment in part]
            self._sign()
            for intent, segment in zip(intents, part, strict=True):
                self._carry_out(intent, segment, again=False)

    def _announce(self, segment: Segment, reason: Reason) -> DeleteIntent:
        found = self._look(segment)
        intent = DeleteIntent(
            at_ms=to_ms(self._clock.now()),
            lane=segment.lane,
            segment=segment.path.stem,
            reason=reason,
            damaged_bytes=sum(item.length for item in found if isinstance(item, Damage)),
        )
        self._note(intent)
        self._settled.pop((intent.lane, intent.segment), None)  # from here on `finish` sees to it
        return intent

    def finish(self) -> None:
        """Complete what was announced before a restart or an error."""
        intents = self._backlog.unfinished()
        if not intents:
            return
        present = {(item.lane, item.path.stem): item for item in self._spool.segments()}
        self._sign()
        for intent in intents:
            segment = present.get((intent.lane, intent.segment))
            if segment is not None:
                self._carry_out(intent, segment, again=True)
            elif self._is_gone_for_good(intent.lane):
                self._report(intent)

    def enforce_age(self, retention_s: Mapping[Lane, int]) -> None:
        """Delete segments whose retention is over, receipted or not."""
        now_ms = to_ms(self._clock.now())
        old = past_retention(self._closed(), retention_s, now_ms=now_ms)
        self._counters.reads_expired += self._give_up(old, "expired")

    def make_room(self, quota_bytes: Mapping[Lane, int]) -> None:
        """Delete the oldest segments where a lane is near its quota or the disk nearly full."""
        found = self._surplus(quota_bytes)
        if found and self._settled:
            self.delete_settled()
            found = self._surplus(quota_bytes)
        self._counters.reads_dropped += self._give_up(found, "quota")

    def discard(self) -> int:
        """Delete all that is left, for a unit that retires; return the reads the city never got."""
        return self._give_up(self._closed(), "retired")

    def note_unreadable(self, segment: Segment, error: DeviceError) -> None:
        """Write down, once a start, that a segment cannot be read."""
        key = segment.lane, segment.path.stem
        if key not in self._unreadable:
            self._unreadable.add(key)
            self._note_failure(error)

    def _surplus(self, quota_bytes: Mapping[Lane, int]) -> list[Segment]:
        """Return the segments that have to make room and that nobody has begun to delete."""
        begun, room = self._begun(), self._spool.room_bytes()
        found = surplus(self._spool.segments(), quota_bytes, room_bytes=room)
        return [item for item in found if (item.lane, item.path.stem) not in begun]

    def _give_up(self, segments: Sequence[Segment], reason: Reason) -> int:
        """Delete segments and return how many reads in them the city never got."""
        reads = sum(self._count_unsent(segment, reason) for segment in segments)
        self.delete(segments, reason)
        return reads

    def _count_unsent(self, segment: Segment, reason: Reason) -> int:
        """Return how many reads in a segment that is given up the city never got; log it."""
        key = segment.lane, segment.path.stem
        frames = [item for item in self._look(segment) if isinstance(item, Found)]
        hashes = tuple(frame_hash(encode_frame(item.frame)) for item in frames)
        reads = self._backlog.reads_in(key, self._backlog.to_upload(key, hashes))
        log.warning(
            "segment given up",
            extra={"lane": segment.lane.label, "reason": reason, "count": reads},
        )
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
        """Do what was announced; a disk that keeps refusing is logged once, not every round."""
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
