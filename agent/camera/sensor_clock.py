"""From the sensor's clock to UTC, and frames that are missing between two of its instants."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

REFRESH_NS: Final = 1_000_000_000
"""How often the two clocks are compared: a clock that was set is followed within this."""
OLDEST_NS: Final = 5_000_000_000
"""An instant that is older, or yet to come, is of another clock."""

Clocks = Callable[[], tuple[int, datetime]]
"""Tells the clock of the sensor (CLOCK_BOOTTIME, ns) and the wall clock (UTC), read together."""


class SensorClock:
    """Dates frames by the instant at which the sensor took them.

    libcamera's `SensorTimestamp` counts from the start of the machine (control_ids_core.yaml).

    Args:
        clocks: Asked at most once in `REFRESH_NS` of the sensor's time.
    """

    def __init__(self, clocks: Clocks) -> None:
        self._clocks = clocks
        self._boot_ns, self._utc = clocks()

    def date(self, sensor_ns: int) -> datetime:
        """Return the instant of a frame in UTC; now, where the sensor's clock is not the unit's."""
        if not -REFRESH_NS < sensor_ns - self._boot_ns < REFRESH_NS:
            self._boot_ns, self._utc = self._clocks()
        age_ns = self._boot_ns - sensor_ns
        if not -REFRESH_NS <= age_ns <= OLDEST_NS:
            return self._utc
        return self._utc - timedelta(microseconds=age_ns / 1000)


def count_missing(before_ns: int, now_ns: int, *, interval_ns: int) -> int:
    """Return how many frames the sensor took between two that were seen."""
    return max(round((now_ns - before_ns) / interval_ns) - 1, 0)
