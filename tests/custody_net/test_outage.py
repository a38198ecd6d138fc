"""A month without the city, on a small disk; and how a whole fleet comes back after an outage."""

import random
from collections import Counter

import pytest

from agent.base.errors import UplinkError
from agent.base.lanes import Lane
from agent.base.settings import UplinkSettings
from agent.pipeline.turns import back_off_s
from tests.custody_net.counts import count
from tests.custody_net.upload_model import DAY_S, WitnessedSpool, World, memory_folder

pytestmark = pytest.mark.custody

SEGMENTS = 240
"""One every three hours of the month, of 1 to 4 frames and about 0.6 KB."""
STEP_S = 3 * 3600
UPLOAD_S = 1.0
"""How long one upload takes: a round of ten seconds carries ten, so that catching up takes many."""


class SmallDisk(WitnessedSpool):
    """The spool of a unit whose disk is nearly full, and what was given up in which state."""

    disk_bytes = 0
    offline = True

    def room_bytes(self):
        used_bytes = sum(self.usage_bytes(lane) for lane in Lane)
        return self.disk_bytes - used_bytes, self.disk_bytes

    def delete(self, segment):
        if self.offline:
            rest = {item.lane for item in self.segments() if item.path != segment.path}
            self.given_up.append((segment.lane, max(rest, default=Lane.HITS)))
        super().delete(segment)


class Month(World):
    """A unit whose city cannot be reached for a month, while vehicles pass all the time."""

    retention_s = 60 * DAY_S
    disk_bytes = 0

    def start(self):
        self.spool.__class__ = SmallDisk
        self.spool.disk_bytes, self.spool.given_up = self.disk_bytes, []
        self.lanes = []
        super().start()
        self.sending._delivery._uplink = self

    def deliver(self, upload):
        """Stand between the sender and the city: the line, which is cut."""
        if self.spool.offline:
            raise UplinkError("no route")
        self.clock.advance(UPLOAD_S)
        return self.city.deliver(upload)

    def live_month(self):
        for _ in range(SEGMENTS):
            self.keep()
            self.clock.advance(STEP_S - 60)
            self.work()

    def waiting(self):
        """Return how many segments of each lane wait."""
        return Counter(segment.lane for segment in self.spool.segments())

    def catch_up(self):
        """Let the line work again and yield what waits after each round."""
        self.spool.offline = False
        while waiting := self.waiting():
            yield waiting
            self.work()
            self.clock.advance(1)


@pytest.mark.parametrize(
    ("disk_bytes", "gone"),
    [
        pytest.param(115_000, {Lane.CROPS}, id="some crops go"),
        pytest.param(68_000, {Lane.CROPS, Lane.READS}, id="reads go too"),
        pytest.param(28_000, set(Lane), id="hits go last"),
    ],
)
def test_after_a_month_offline_on_a_small_disk_all_that_is_left_arrives(disk_bytes, gone):
    with memory_folder() as folder:
        kind = type("MonthOn", (Month,), {"disk_bytes": disk_bytes})
        world = kind(folder / "state", 7, share=0)
        world.live_month()
        assert {lane for lane, _ in world.spool.given_up} == gone
        # Nothing goes while something of a lane that goes before it is left: crops, reads, hits.
        assert all(lowest <= lane for lane, lowest in world.spool.given_up)
        kept = set(world.waiting())
        assert Lane.HITS in kept
        rounds = [*world.catch_up()]
        assert len(rounds) > 3
        report = world.audit_all()
        given_up = Counter(lane for lane, _ in world.spool.given_up)
    count("simulated months offline")
    for lane in report.lanes:
        assert lane.recorded == lane.uploaded + lane.dropped
        assert (lane.dropped > 0) == (given_up[lane.lane] > 0)
        assert (lane.uploaded > 0) == (lane.lane in kept)


def test_after_a_month_offline_no_lane_starves_and_new_hits_wait_for_one_round():
    with memory_folder() as folder:
        kind = type("MonthOn", (Month,), {"disk_bytes": 1 << 30})
        world = kind(folder / "state", 7, share=0)
        world.live_month()
        before = world.waiting()
        assert min(before.values()) > 60
        first = next(waiting for number, waiting in enumerate(world.catch_up()) if number == 4)
        sent = {lane: before[lane] - first[lane] for lane in Lane}
        assert sent[Lane.HITS] > sent[Lane.READS] > sent[Lane.CROPS] > 0
        behind = world.waiting()[Lane.HITS]
        for _ in range(8):
            world.keep()
            world.work()
        assert world.waiting()[Lane.HITS] < behind
        assert [*world.catch_up()]
        report = world.audit_all()
        assert all(lane.recorded == lane.uploaded > 0 for lane in report.lanes)
    count("simulated months offline")


UNITS = 1_000
SERVED_A_SECOND = 20
LIMIT_S = UplinkSettings().max_back_off_s


def come_back(outage_s, draw):
    """Return how many of a fleet arrive in each second after an outage of so many seconds.

    All units fail in the same second. The endpoint that comes back serves only so many a second:
    the others fail again and wait by the same rule.
    """
    arrivals, served = Counter(), 0
    due = dict.fromkeys(range(UNITS), 0.0)
    failures = dict.fromkeys(due, 0)
    for second in range(outage_s + 4 * int(LIMIT_S)):
        here = [unit for unit, at_s in due.items() if at_s < second + 1]
        room = SERVED_A_SECOND if second >= outage_s else 0
        arrivals[second - outage_s] += len(here)
        for unit in here[:room]:
            del due[unit]
            served += 1
        for unit in here[room:]:
            failures[unit] += 1
            due[unit] += back_off_s(failures[unit], limit_s=LIMIT_S, share=draw())
    return {second: number for second, number in arrivals.items() if second >= 0}, served


@pytest.mark.parametrize("outage_s", [60, 3_600], ids=["a minute", "an hour"])
def test_a_fleet_that_was_cut_off_comes_back_spread_out(outage_s):
    arrivals, served = come_back(outage_s, random.Random(11).random)
    assert served == UNITS
    assert max(arrivals.values()) <= UNITS * 0.05
    busy = [second for second, number in arrivals.items() if number]
    assert max(busy) <= LIMIT_S * 2
    count("units that came back after an outage", served)


def test_without_jitter_they_would_come_back_all_at_once():
    """What the test above must find."""
    arrivals, _ = come_back(3_600, lambda: 1.0)
    assert max(arrivals.values()) > UNITS * 0.9
