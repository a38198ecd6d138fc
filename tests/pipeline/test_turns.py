"""Hits first, nobody starves, no herd after an outage."""

import random
from collections import Counter
from itertools import islice, pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.pipeline.turns import WEIGHTS, back_off_s, is_due, take_turns


def segments(**counts):
    return [
        Segment(
            path=Path(f"{1_780_000_000_000 + number}-00000000-{number:06}.seg"),
            lane=lane,
            first_ms=1_780_000_000_000 + number,
            closed=True,
            size_bytes=1,
        )
        for lane in Lane
        for number in range(counts.get(lane.label, 0))
    ]


def lanes(limit, **counts):
    return [segment.lane for segment in islice(take_turns(segments(**counts)), limit)]


def test_hits_go_first():
    assert lanes(3, hits=3, reads=3, crops=3)[0] is Lane.HITS
    assert lanes(9, hits=1, reads=2)[0] is Lane.HITS


def test_of_thirteen_turns_each_lane_has_its_weight():
    assert Counter(lanes(13, hits=99, reads=99, crops=99)) == WEIGHTS


def test_a_lane_alone_gets_every_turn():
    assert lanes(5, crops=9) == [Lane.CROPS] * 5


@given(st.integers(0, 200), st.integers(0, 200), st.integers(0, 200))
def test_turns_lose_double_and_reorder_nothing(hits, reads, crops):
    waiting = segments(hits=hits, reads=reads, crops=crops)
    taken = list(take_turns(waiting))
    assert len(taken) == len(waiting)
    assert len({(item.lane, item.first_ms) for item in taken}) == len(taken)
    for lane in Lane:
        times = [item.first_ms for item in taken if item.lane is lane]
        assert all(one < other for one, other in pairwise(times))


@given(st.integers(13, 500), st.integers(1, 500), st.integers(1, 500))
def test_no_lane_waits_more_than_two_times_thirteen_turns(hits, reads, crops):
    order = lanes(1500, hits=hits, reads=reads, crops=crops)
    for lane, count in ((Lane.HITS, hits), (Lane.READS, reads), (Lane.CROPS, crops)):
        places = [-1, *(place for place, found in enumerate(order) if found is lane)]
        assert len(places) == count + 1
        assert max(later - one for one, later in pairwise(places)) <= 26


def test_a_month_of_hits_does_not_starve_reads_and_crops():
    """43,200 segments of hits, one a minute: the oldest read leaves within the first round."""
    counts = Counter(lanes(64, hits=43_200, reads=1_440, crops=1_440))
    assert counts[Lane.HITS] > counts[Lane.READS] > counts[Lane.CROPS] > 0


@pytest.mark.parametrize(
    ("lane", "closed", "waited_s", "due"),
    [
        pytest.param(Lane.HITS, False, 0, True, id="a hit never waits"),
        pytest.param(Lane.READS, False, 29, False, id="reads are gathered"),
        pytest.param(Lane.READS, False, 30, True, id="until the interval is over"),
        pytest.param(Lane.CROPS, True, 0, True, id="a finished segment goes at once"),
        pytest.param(Lane.READS, False, -5, True, id="a clock set back holds nothing up"),
    ],
)
def test_when_a_segment_is_due(lane, closed, waited_s, due):
    assert is_due(lane, closed=closed, waited_s=waited_s, interval_s=30) is due


def test_after_an_outage_units_do_not_come_all_at_once():
    """1,000 units fail for an hour; after it no second sees more than 2 % of them return."""
    chance = random.Random(5)
    returns = Counter()
    for _ in range(1_000):
        now_s, failures = chance.random(), 0
        while now_s < 3_600:
            failures += 1
            now_s += back_off_s(failures, limit_s=300, share=chance.random())
        returns[int(now_s)] += 1
    assert max(returns.values()) <= 20
    assert max(returns) < 3_600 + 300
