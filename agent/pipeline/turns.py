"""Whose turn it is at the uplink, and when: decisions of the sender, without any doing.

Hits go first, but a backlog of hits must not starve the others for ever: an alert is worth most
when it is fresh, and a read that waits too long expires unseen. So the lanes take turns by weight:
of 13 turns in which all have something to send, hits get 8, reads 4, crops 1. Within a lane the
oldest goes first, because it expires first. The sender's round is bounded in time, so that a new
hit waits for a round and not for the whole backlog of an outage.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Final

from agent.base.lanes import Lane
from agent.base.segments import Segment

WEIGHTS: Final = {Lane.HITS: 8, Lane.READS: 4, Lane.CROPS: 1}
BATCH_INTERVAL_S: Final = 30.0
"""How long reads and crops of an open segment are gathered for one upload and one receipt: 2,880
receipts a day and lane instead of 86,400, which the auditor has to verify one by one."""
FIRST_BACK_OFF_S: Final = 1.0


def take_turns(segments: Iterable[Segment]) -> Iterator[Segment]:
    """Yield segments in the order in which they are sent.

    Args:
        segments: Of all lanes; older before newer within a lane. Those that hold nothing to send
            are left out by the caller: they would use up turns.
    """
    waiting: dict[Lane, deque[Segment]] = {lane: deque() for lane in WEIGHTS}
    for segment in segments:
        waiting[segment.lane].append(segment)
    credit = dict.fromkeys(WEIGHTS, 0)
    while lanes := [lane for lane in WEIGHTS if waiting[lane]]:
        yield waiting[_next_lane(credit, lanes)].popleft()


def is_due(lane: Lane, *, closed: bool, waited_s: float, interval_s: float) -> bool:
    """Tell whether a segment's new frames are sent now or gathered a little longer.

    Args:
        lane: Hits never wait.
        closed: Whether the watcher has finished the segment: nothing more would come.
        waited_s: Since the segment began or was last sent; below 0 when the clock was set back.
        interval_s: How long frames are gathered; 0 = not at all.
    """
    return lane is Lane.HITS or closed or not 0 <= waited_s < interval_s


def back_off_s(failures: int, *, limit_s: float, share: float) -> float:
    """Return the pause after so many failures in a row: doubling, with full jitter.

    Args:
        failures: At least 1.
        limit_s: Longest pause.
        share: 0 to 1, drawn by the caller; units do not come back all at once.
    """
    longest = min(FIRST_BACK_OFF_S * 2.0 ** min(failures - 1, 30), limit_s)
    return longest * (0.1 + 0.9 * share)


def _next_lane(credit: dict[Lane, int], lanes: list[Lane]) -> Lane:
    """Return whose turn it is: smooth weighted round robin, so that no lane's turns bunch up.

    Args:
        credit: What each lane has saved up; is brought up to date.
        lanes: Those with something to send, hits first.
    """
    for lane in lanes:
        credit[lane] += WEIGHTS[lane]
    chosen = max(lanes, key=lambda lane: credit[lane])
    credit[chosen] -= sum(WEIGHTS[lane] for lane in lanes)
    return chosen
