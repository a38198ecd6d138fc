"""Entries that wait in memory while the log has no room."""

from collections.abc import Sequence

import msgspec

from agent.trust.entries import Dropped, Entry, times_of
from agent.trust.notes import UNSIGNED_LIMIT_MS


def owe(owed: list[Entry], entry: Entry) -> None:
    """Add `entry` to those that wait for room; a drop that goes on from another is added to it.

    So a disk that stays full for weeks takes no more memory than one that is full for a minute.
    """
    for index, other in enumerate(owed):
        if isinstance(other, Dropped) and isinstance(entry, Dropped) and goes_on(other, entry):
            owed[index] = msgspec.structs.replace(other, count=other.count + entry.count)
            return
    owed.append(entry)


def take_span(owed: Sequence[Entry]) -> tuple[Entry, ...]:
    """Return the first entries, as many as may stand in the log under one signature."""
    for count in range(len(owed), 1, -1):
        begin_ms, end_ms = times_of(owed[:count])
        if end_ms - begin_ms <= UNSIGNED_LIMIT_MS["watch"]:
            return tuple(owed[:count])
    return tuple(owed[:1])


def goes_on(first: Dropped, then: Dropped) -> bool:
    """Tell whether the second drop begins where the first ends, for the same reason.

    Drops of what was never sealed have no sequences: they go on from each other.
    """
    alike = (first.lane, first.boot, first.reason) == (then.lane, then.boot, then.reason)
    if first.first is None:
        return alike and then.first is None
    return alike and first.first + first.count == then.first
