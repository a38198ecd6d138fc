"""The machine and the queue at one moment: numbers for status, heartbeat and monitoring."""

import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from agent.base.clock_quality import ClockQuality, ask_clock_error_us, judge_clock
from agent.base.disk import SYSTEM_DISK
from agent.base.errors import HomeplateError
from agent.base.heat import read_celsius, read_throttled
from agent.base.wear import Wear, measure_wear


class UnitState(msgspec.Struct, frozen=True, kw_only=True):
    """How the unit is. Never what it saw, and never where it is."""

    celsius: float | None = None
    throttled_now: tuple[str, ...] = ()
    throttled_before: tuple[str, ...] = ()
    """Since the start of the machine."""
    free_bytes: int | None = None
    """On the disk of the state folder."""
    disk_bytes: int | None = None
    queue_bytes: dict[str, int] = msgspec.field(default_factory=dict)
    """Sealed frames that wait, by lane."""
    oldest_ms: int | None = None
    """Time of the oldest of them."""
    clock: ClockQuality = ClockQuality()
    wear: Wear = Wear()


Queue = tuple[dict[str, int], int | None]
"""Bytes by lane, and the time of the oldest frame."""


class UnitLook:
    """Looks at the unit.

    Args:
        state: The state folder.
        queue: Tells what waits.
        root: / on a unit.
        ask_gps: Tells what a GPS receiver says of the clock, None where it says nothing.
    """

    def __init__(
        self,
        state: Path,
        queue: Callable[[], Queue],
        root: Path = Path("/"),
        ask_gps: Callable[[], ClockQuality | None] = lambda: None,
    ) -> None:
        self._state, self._queue, self._root = state, queue, root
        self._ask_gps = ask_gps
        self._began_ns = time.monotonic_ns()

    def __call__(self) -> UnitState:
        """Return how the unit is; what cannot be seen is left out."""
        now, before = read_throttled(self._root) or ((), ())
        free, total = self._room()
        waiting, oldest_ms = self._waiting()
        return UnitState(
            celsius=read_celsius(self._root),
            throttled_now=now,
            throttled_before=before,
            free_bytes=free,
            disk_bytes=total,
            queue_bytes=waiting,
            oldest_ms=oldest_ms,
            clock=self._ask_gps() or judge_clock(ask_clock_error_us(), self._root),
            wear=measure_wear(
                self._state,
                running_s=(time.monotonic_ns() - self._began_ns) / 1e9,
                uptime_s=time.clock_gettime(time.CLOCK_BOOTTIME),
                root=self._root,
            ),
        )

    def _room(self) -> tuple[int | None, int | None]:
        try:
            return SYSTEM_DISK.room_bytes(self._state)
        except OSError:
            return None, None

    def _waiting(self) -> Queue:
        try:
            return self._queue()
        except (HomeplateError, OSError):
            return {}, None
