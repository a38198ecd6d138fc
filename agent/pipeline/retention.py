"""Which segments are given up, and in what order. Arithmetic only."""

from collections.abc import Mapping, Sequence
from typing import Final

from agent.base.lanes import Lane
from agent.base.segments import Segment

QUOTA_SHARE: Final = 0.9
"""Above this share of a lane's quota the oldest segments go, so that the watcher has room."""
RESERVE_BYTES: Final = 64 * 1_048_576
"""Kept free on the disk, so that a full one can still be accounted for in the logs …"""
RESERVE_SHARE: Final = 0.02
"""… or this share of a small disk."""


def past_retention(
    segments: Sequence[Segment], retention_s: Mapping[Lane, int], *, now_ms: int
) -> tuple[Segment, ...]:
    """Return the closed segments whose time is over.

    Args:
        segments: Of all lanes.
        retention_s: By lane.
        now_ms: By a clock that never runs back.
    """
    return tuple(
        segment
        for segment in segments
        if segment.closed and now_ms - segment.first_ms > retention_s[segment.lane] * 1000
    )


def surplus(
    segments: Sequence[Segment], quota_bytes: Mapping[Lane, int], *, room_bytes: tuple[int, int]
) -> tuple[Segment, ...]:
    """Return the closed segments to give up for room: crops, then reads, then hits.

    Of each lane the oldest go until it is below its share of its quota; then, while the disk has
    not its reserve, the oldest of the first lane that has any.

    Args:
        segments: Of all lanes, older before newer in each.
        quota_bytes: By lane.
        room_bytes: Free bytes of the disk, and its size.
    """
    free_bytes, disk_bytes = room_bytes
    short_bytes = min(RESERVE_BYTES, int(disk_bytes * RESERVE_SHARE)) - free_bytes
    chosen = []
    for lane in reversed(Lane):
        own = [segment for segment in segments if segment.lane is lane]
        over_bytes = sum(segment.size_bytes for segment in own) - quota_bytes[lane] * QUOTA_SHARE
        for segment in own:
            if segment.closed and max(over_bytes, short_bytes) > 0:
                chosen.append(segment)
                over_bytes -= segment.size_bytes
                short_bytes -= segment.size_bytes
    return tuple(chosen)
