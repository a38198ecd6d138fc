"""Is the time right, and does it stay right?"""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from agent.base.clock import Clock, from_ms
from agent.base.clock_quality import SYNCED_BELOW_US
from agent.cli.check.findings import Finding, bad, doubt, good, safely, unknown
from agent.cli.check.subject import Failure, LogFacts, require
from agent.cli.check.words import tell_instant, tell_span
from agent.cli.machine import Machine

EARLIEST: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""Before this software was written."""
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
SLACK_S: Final = 2.0
"""Time servers correct by less than this."""


def look_at_clock(clock: Clock, machine: Machine, logs: LogFacts | Failure) -> Iterator[Finding]:
    """Answer HP-201 and HP-202."""
    yield safely("HP-201", lambda: judge_time(clock.now(), require(logs)))
    yield judge_source(machine.clock_error_us())


def judge_time(now: datetime, logs: LogFacts) -> Finding:
    """Judge HP-201."""
    if not EARLIEST <= now < LATEST:
        return bad("HP-201", f"it is {tell_instant(now)}")
    behind_s = logs.latest_ms / 1000 - now.timestamp()
    if behind_s > SLACK_S:
        last = tell_instant(from_ms(logs.latest_ms))
        found = f"it is {tell_instant(now)}, {tell_span(behind_s)} before the last entry ({last})"
        return bad("HP-201", found)
    found = f"{tell_instant(now)}, after the last entry of the logs"
    return good("HP-201", found if logs.latest_ms else f"{tell_instant(now)}, the logs are empty")


def judge_source(error_us: int | None) -> Finding:
    """Judge HP-202."""
    if error_us is None:
        return unknown("HP-202", "the kernel does not tell")
    if error_us >= SYNCED_BELOW_US:
        return doubt("HP-202", "the clock is not synchronised: it drifts by seconds a week")
    return good("HP-202", f"synchronised, off by at most {error_us / 1000:.0f} ms")
