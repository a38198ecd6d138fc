"""Whether frames are deleted in time: no collection while deletion is broken."""

import logging
from collections.abc import Mapping
from datetime import timedelta
from typing import Final

from agent.base.clock import Clock, to_ms
from agent.base.errors import DeviceError
from agent.base.lanes import Lane
from agent.spool import SpoolReader

log = logging.getLogger(__name__)

DELETION_GRACE: Final = timedelta(minutes=10)
"""Frames older than their retention by more than this show that nobody deletes any more."""
LOOK_INTERVAL_NS: Final = 60_000_000_000
"""How often the watcher looks for such frames."""


class DeletionWatch:
    """Looks now and then for frames that the sender should have deleted.

    Args:
        spooled: What lies on the disk.
        retention_s: Longest life on the unit, by lane.
        clock: Never runs back.
    """

    def __init__(self, spooled: SpoolReader, retention_s: Mapping[Lane, int], clock: Clock) -> None:
        self._spooled, self._retention_s, self._clock = spooled, retention_s, clock
        self._looked_ns: int | None = None
        self._broken = False

    def follow(self, retention_s: Mapping[Lane, int]) -> None:
        """Hold to another retention; the sender gets until the next look to delete by it."""
        self._retention_s, self._looked_ns = retention_s, self._clock.monotonic_ns()

    def is_broken(self) -> bool:
        """Tell whether frames lie there that are older than their retention."""
        now_ns = self._clock.monotonic_ns()
        if self._looked_ns is None or now_ns - self._looked_ns >= LOOK_INTERVAL_NS:
            self._looked_ns = now_ns
            broken = self._look()
            if broken != self._broken:
                log.error("deletion is broken" if broken else "deletion works again")
            self._broken = broken
        return self._broken

    def _look(self) -> bool:
        try:
            return any(self._is_overdue(lane) for lane in Lane)
        except DeviceError as error:  # who cannot look cannot know
            log.error("spool cannot be read", extra={"detail": str(error)})  # noqa: TRY400
            return True

    def _is_overdue(self, lane: Lane) -> bool:
        oldest_ms = self._spooled.oldest_ms(lane)
        limit = timedelta(seconds=self._retention_s[lane]) + DELETION_GRACE
        age_ms = to_ms(self._clock.now()) - (oldest_ms or 0)
        return oldest_ms is not None and age_ms > limit.total_seconds() * 1000
