"""Taking segments out of the spool: after a receipt, at the end of their time, for quota.

Nothing else deletes. Every deletion stands in the sender's log with its reason, before and after.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Final

from agent.base.clock import Clock, to_ms
from agent.base.errors import DeviceError
from agent.base.health import SendCounters
from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.spool import SpoolReader
from agent.trust.backlog import Backlog
from agent.trust.entries import Deleted, DeleteIntent, Entry, IoFailure, Reason
from agent.trust.frames import Damage

log = logging.getLogger(__name__)

QUOTA_SHARE: Final = 0.9
"""Above this share of a lane's quota the oldest segments go, so that the watcher has room."""


class Deletion:
    """Deletes segments and accounts for it.

    Args:
        spool: Where they are.
        backlog: Knows which deletions were announced and not reported done.
        note: Writes to the log; when it returns, the entry survives a power cut.
        counters: Counted up here.
        clock: Tells the time.
    """

    def __init__(
        self,
        *,
        spool: SpoolReader,
        backlog: Backlog,
        note: Callable[[Entry], None],
        counters: SendCounters,
        clock: Clock,
    ) -> None:
        self._spool = spool
        self._backlog = backlog
        self._note = note
        self._counters = counters
        self._clock = clock
        self._floor_ms, self._floor_ns = 0, clock.monotonic_ns()

    def delete(self, segment: Segment, reason: Reason) -> None:
        """Announce, delete, report: a power cut between the steps leaves no doubt."""
        found = self._spool.frames(segment)
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
            if segment is None:
                self._report(intent)
            else:
                self._carry_out(intent, segment, again=True)

    def enforce_age(self, retention_s: Mapping[Lane, int]) -> None:
        """Delete segments whose retention is over, receipted or not."""
        now_ms = self._latest_ms()
        for segment in self._closed():
            if now_ms - segment.first_ms > retention_s[segment.lane] * 1000:
                self.delete(segment, "expired")

    def enforce_quota(self, quota_bytes: Mapping[Lane, int]) -> None:
        """Delete the oldest segments of a lane that is near its quota."""
        for lane in Lane:
            excess = self._spool.usage_bytes(lane) - int(quota_bytes[lane] * QUOTA_SHARE)
            for segment in self._closed() if excess > 0 else ():
                if segment.lane is lane and excess > 0:
                    excess -= segment.size_bytes
                    log.warning("deleted for quota", extra={"lane": lane.label})
                    self.delete(segment, "quota")

    def learn_time(self, now_ms: int) -> None:
        """Take in that it is this late already, by whichever clock, in milliseconds."""
        if now_ms >= self._floor_ms:
            self._floor_ms, self._floor_ns = now_ms, self._clock.monotonic_ns()

    def _latest_ms(self) -> int:
        """Return the latest time that it may be: a clock set back gains nothing.

        The latest of what this clock and the city's ever told, and as much later as the
        monotonic clock went on since.
        """
        elapsed_ms = (self._clock.monotonic_ns() - self._floor_ns) // 1_000_000
        self.learn_time(max(self._floor_ms + elapsed_ms, to_ms(self._clock.now())))
        return self._floor_ms

    def _carry_out(self, intent: DeleteIntent, segment: Segment, *, again: bool) -> None:
        """Do what was announced; a disk that keeps refusing is logged once, not every round."""
        try:
            self._spool.delete(segment)
        except DeviceError as error:
            log.error("deletion failed", extra={"detail": str(error)})  # noqa: TRY400
            if not again:
                at_ms = to_ms(self._clock.now())
                self._note(IoFailure(at_ms=at_ms, place="spool", detail=str(error)[:200]))
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
        begun = {(intent.lane, intent.segment) for intent in self._backlog.unfinished()}
        return tuple(
            item
            for item in self._spool.segments()
            if item.closed and (item.lane, item.path.stem) not in begun
        )
