"""Entries that wait in memory while the log has no room."""

import msgspec

from agent.trust.entries import Dropped, Entry


def owe(owed: list[Entry], entry: Entry) -> None:
    """Add `entry` to those that wait for room; a drop that goes on from another is added to it.

    So a disk that stays full for weeks takes no more memory than one that is full for a minute.
    """
    for index, other in enumerate(owed):
        if isinstance(other, Dropped) and isinstance(entry, Dropped) and goes_on(other, entry):
            owed[index] = msgspec.structs.replace(other, count=other.count + entry.count)
            return
    owed.append(entry)


def goes_on(first: Dropped, then: Dropped) -> bool:
    """Tell whether the second drop begins where the first ends, for the same reason.

    Drops of what was never sealed have no sequences: they go on from each other.
    """
    alike = (first.lane, first.boot, first.reason) == (then.lane, then.boot, then.reason)
    if first.first is None:
        return alike and then.first is None
    return alike and first.first + first.count == then.first
