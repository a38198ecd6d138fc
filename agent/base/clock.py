"""Time as an argument: what needs the time is given a clock."""

import time
from datetime import UTC, datetime
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


def to_ms(instant: datetime) -> int:
    """Turn an aware instant into milliseconds since 1970-01-01 UTC, rounded down."""
    return int(instant.timestamp() * 1000)


def from_ms(milliseconds: int) -> datetime:
    """Turn milliseconds since 1970-01-01 UTC into an aware UTC instant."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
