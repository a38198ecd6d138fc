"""Time as an argument: what needs the time is given a clock."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """The unit's clocks."""

    def now(self) -> datetime:
        """Tell the wall clock as an aware UTC instant; it may be set back."""
        ...

    def monotonic_ns(self) -> int:
        """Tell the monotonic clock in nanoseconds; it never runs back."""
        ...

    def wait_s(self, seconds: float, /) -> None:
        """Let `seconds` pass."""
        ...


class SystemClock:
    """The clocks of the operating system."""

    def now(self) -> datetime:
        """Tell the wall clock."""
        return datetime.now(UTC)

    def monotonic_ns(self) -> int:
        """Tell the monotonic clock."""
        return time.monotonic_ns()

    def wait_s(self, seconds: float, /) -> None:
        """Sleep."""
        time.sleep(max(seconds, 0.0))


class ForwardClock:
    """A clock that never runs back, over one that may: what retention is counted by.

    While the wall clock is behind, time goes on from the latest known instant with the monotonic
    clock. So a clock set back, or one that starts in 1970, keeps nothing longer. Threads may share
    it.

    Args:
        clock: The unit's.
        not_before_ms: The latest time known from before, such as that of the last log entry.
    """

    def __init__(self, clock: Clock, not_before_ms: int = 0) -> None:
        self._clock = clock
        self._base_ms = not_before_ms
        self._base_ns = clock.monotonic_ns()
        self._lock = threading.Lock()

    def now(self) -> datetime:
        """Tell the later of the wall clock and the latest known instant, moved on."""
        wall = self._clock.now()
        base_ms = self.raise_to(to_ms(wall))
        return wall if to_ms(wall) == base_ms else _exact(base_ms)

    def now_ms(self) -> int:
        """Tell the same in milliseconds since 1970-01-01 UTC, rounded down."""
        return self.raise_to(to_ms(self._clock.now()))

    def raise_to(self, instant_ms: int) -> int:
        """Take note of a time that has certainly come; return the latest known one."""
        with self._lock:
            return self._raise_to(instant_ms)

    def _raise_to(self, instant_ms: int) -> int:
        now_ns = self._clock.monotonic_ns()
        passed_ms = (now_ns - self._base_ns) // 1_000_000
        self._base_ms += passed_ms
        self._base_ns += passed_ms * 1_000_000
        if instant_ms > self._base_ms:
            self._base_ms, self._base_ns = instant_ms, now_ns
        return self._base_ms

    def monotonic_ns(self) -> int:
        """Tell the monotonic clock."""
        return self._clock.monotonic_ns()

    def wait_s(self, seconds: float, /) -> None:
        """Let `seconds` pass."""
        self._clock.wait_s(seconds)


def read_sensor_clocks(clock: Clock) -> tuple[int, datetime]:
    """Return the time since the start of the machine in ns, and the wall clock's of that moment.

    libcamera dates frames by the first. Of three readings the one that took least counts: a
    process that was interrupted between the two clocks would shift every frame by as much.
    """
    readings = []
    for _ in range(3):
        before_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        now = clock.now()
        after_ns = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        readings.append((after_ns - before_ns, (before_ns + after_ns) // 2, now))
    _, boot_ns, now = min(readings)
    return boot_ns, now


def to_ms(instant: datetime) -> int:
    """Turn an aware instant into milliseconds since 1970-01-01 UTC, rounded down."""
    return int(instant.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Turn milliseconds since 1970-01-01 UTC into an aware UTC instant."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def _exact(milliseconds: int) -> datetime:
    """Return the instant whose `to_ms` is `milliseconds`: without rounding down twice."""
    return datetime.fromtimestamp(0, UTC) + timedelta(milliseconds=milliseconds, microseconds=500)
