"""Retention holds whatever the clock says, or the unit stops collecting."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from agent.base.clock import ForwardClock, to_ms
from agent.base.errors import DeviceError, UplinkError
from agent.base.lanes import Lane
from agent.base.segments import Segment
from agent.pipeline.keeping import DELETION_BROKEN
from agent.pipeline.retention import RESERVE_BYTES, past_retention, surplus
from agent.spool import SpoolReader
from agent.trust.entries import Deleted, DeleteIntent, Dropped
from tests.fakes import NOON, FakeClock
from tests.pipeline.test_send import Road
from tests.pipeline.test_watch import DAY_S
from tests.sealing import plate_read

pytestmark = pytest.mark.custody

MONTH = timedelta(days=30)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def silent(road: Road) -> Road:
    """Let the city be out of reach."""
    road.city.faults = [UplinkError("no route")] * 1000
    return road


def work(road: Road) -> None:
    with pytest.raises(UplinkError):
        road.sending.work()


# The clock


def test_a_clock_set_back_goes_on_from_the_latest_known_time():
    wall = FakeClock()
    clock = ForwardClock(wall, to_ms(NOON))
    wall.set_wall(EPOCH)
    wall.advance(10)
    assert to_ms(clock.now()) == to_ms(NOON) + 10_000
    wall.set_wall(NOON + MONTH)
    assert clock.now() == NOON + MONTH
    wall.set_wall(NOON)
    wall.advance(2.5)
    assert to_ms(clock.now()) == to_ms(NOON + MONTH) + 2_500


@pytest.mark.parametrize("steps", [(-5, 3, -400, 1), (0, 0), (10_000, -10_000, 5)])
def test_no_jumps_of_the_wall_clock_make_time_run_back(steps):
    wall = FakeClock()
    clock = ForwardClock(wall)
    told = [clock.now()]
    for days in steps:
        wall.set_wall(wall.now() + timedelta(days=days))
        wall.advance(0.001)
        told.append(clock.now())
    assert told == sorted(told)
    assert len(set(told)) == len(told)


def test_a_time_that_certainly_came_is_not_forgotten():
    clock = ForwardClock(FakeClock())
    clock.raise_to(to_ms(NOON + MONTH))
    clock.raise_to(to_ms(NOON))
    assert to_ms(clock.now()) == to_ms(NOON + MONTH)


# Age


def test_after_a_month_without_power_nothing_old_is_left(tmp_path):
    road = silent(Road(tmp_path))
    road.clock.advance(MONTH.total_seconds())
    road.restart()
    work(road)
    assert road.spool.segments() == ()
    assert {entry.reason for entry in road.entries(Deleted)} == {"expired"}
    assert road.sending.counters.reads_expired == 4  # two reads and their crops


def test_the_sender_s_log_keeps_the_time_over_a_restart_with_a_clock_of_1970(tmp_path):
    road = silent(Road(tmp_path))
    work(road)
    road.clock.advance(DAY_S - 60)
    work(road)
    road.sending.close()
    assert road.spool.segments() != ()
    road.clock.set_wall(EPOCH)
    road.start()
    road.clock.advance(120)
    work(road)
    assert road.spool.segments() == ()


def test_the_watcher_s_log_tells_the_sender_the_time_too(tmp_path):
    road = Road(tmp_path, reads=(1,), crops=False)
    road.clock.set_wall(EPOCH)
    silent(road)
    work(road)
    road.clock.advance(DAY_S + 10)
    work(road)
    assert road.spool.segments() == ()


def test_a_receipt_keeps_the_time_over_a_restart(tmp_path):
    road = Road(tmp_path, reads=(1,), crops=False, close=False)
    later = FakeClock(NOON + timedelta(hours=23, minutes=59))
    road.city.clock = later
    road.sending.work()
    road.unit.keeping.close()
    road.clock.set_wall(EPOCH)
    road.restart()
    silent(road)
    road.unit.boot = bytes(16)
    assert to_ms(road.sending.clock.now()) >= to_ms(later.now())


def test_a_clock_that_jumped_ahead_costs_what_is_there_and_nothing_that_comes(tmp_path):
    road = silent(Road(tmp_path, close=False))
    road.clock.set_wall(NOON + timedelta(days=20))  # the policy holds for 30
    road.unit.keeping.take((plate_read(3),))
    road.clock.advance(70)
    road.unit.keeping.commit()
    work(road)
    assert {entry.reason for entry in road.entries(Deleted)} == {"expired"}
    road.clock.set_wall(NOON)
    road.unit.keeping.take((plate_read(4),))
    road.clock.advance(70)
    road.unit.keeping.commit()
    before = len(road.spool.segments())
    work(road)
    assert len(road.spool.segments()) == before > 0
    road.unit.keeping.close()
    road.clock.advance(DAY_S + 10)
    work(road)
    assert road.spool.segments() == ()


def segment(lane: Lane, *, number: int = 0, size_bytes: int = 100, closed: bool = True) -> Segment:
    return Segment(
        lane=lane,
        path=Path(f"/spool/{lane.label}/{number}.seg"),
        closed=closed,
        size_bytes=size_bytes,
        first_ms=to_ms(NOON),
    )


@pytest.mark.parametrize("beyond_ms", [0, 1])
def test_a_segment_goes_when_its_time_is_over_and_not_before(beyond_ms):
    one = segment(Lane.READS)
    now_ms = one.first_ms + DAY_S * 1000 + beyond_ms
    found = past_retention((one,), dict.fromkeys(Lane, DAY_S), now_ms=now_ms)
    assert found == ((one,) if beyond_ms else ())


def test_an_open_segment_is_never_given_up():
    one = segment(Lane.READS, closed=False)
    assert past_retention((one,), dict.fromkeys(Lane, 0), now_ms=1 << 60) == ()
    assert surplus((one,), dict.fromkeys(Lane, 0), room_bytes=(0, 1 << 40)) == ()


# Room

SPOOL = tuple(segment(lane, number=number) for lane in Lane for number in range(3))
ROOMY = (1 << 40, 1 << 41)


def test_each_lane_gives_its_oldest_until_it_is_below_its_share():
    quota = {Lane.HITS: 1000, Lane.READS: 300, Lane.CROPS: 100}
    given = surplus(SPOOL, quota, room_bytes=ROOMY)
    assert [str(item.path) for item in given] == [
        "/spool/crops/0.seg",
        "/spool/crops/1.seg",
        "/spool/crops/2.seg",
        "/spool/reads/0.seg",
    ]


@pytest.mark.parametrize(
    ("short_bytes", "lanes"),
    [
        (0, ""),
        (1, "c"),
        (300, "ccc"),
        (301, "cccr"),
        (600, "cccrrr"),
        (601, "cccrrrh"),
        (1 << 20, "cccrrrhhh"),
    ],
)
def test_a_full_disk_takes_crops_then_reads_then_hits(short_bytes, lanes):
    room = (RESERVE_BYTES - short_bytes, 1 << 40)
    given = surplus(SPOOL, dict.fromkeys(Lane, 1 << 30), room_bytes=room)
    assert "".join(item.lane.label[0] for item in given) == lanes


def test_what_is_given_up_for_room_is_counted(tmp_path):
    road = silent(Road(tmp_path))
    road.quota.update({Lane.CROPS: 100, Lane.READS: 100})
    work(road)
    assert [entry.lane for entry in road.entries(DeleteIntent)] == [Lane.CROPS, Lane.READS]
    assert (road.sending.counters.quota, road.sending.counters.reads_dropped) == (2, 4)


# Deletion that is broken


class StuckReader(SpoolReader):
    """A spool that can be read; its folder is write-protected."""

    def delete(self, segment):
        raise DeviceError(f"{segment.path}: the disk failed (Permission denied)")


def test_where_deletion_fails_the_watcher_stops_collecting_and_says_so(tmp_path):
    road = silent(Road(tmp_path, crops=False, close=False))
    road.clock.advance(61)
    road.unit.keeping.commit()
    road.spool = StuckReader(tmp_path / "spool")
    road.restart()
    road.clock.advance(DAY_S + 700)
    work(road)
    assert road.entries(Deleted) == []
    road.unit.keeping.take((plate_read(9),))
    road.clock.advance(2)
    road.unit.keeping.commit()
    (dropped,) = road.unit.entries(Dropped)
    assert (dropped.reason, dropped.count) == (DELETION_BROKEN, 1)


def test_a_clock_set_back_does_not_hide_that_deletion_is_broken(tmp_path):
    road = Road(tmp_path, crops=False, close=False)
    road.clock.advance(DAY_S + 700)
    road.unit.keeping.take((plate_read(9),))
    road.clock.set_wall(NOON)
    road.clock.advance(2)
    road.unit.keeping.commit()
    assert [entry.reason for entry in road.unit.entries(Dropped)] == [DELETION_BROKEN]


def test_a_spool_that_cannot_be_looked_at_counts_as_broken(tmp_path):
    road = Road(tmp_path, reads=(), crops=False, close=False)
    (tmp_path / "spool/hits").rmdir()
    (tmp_path / "spool/hits").write_bytes(b"a file")
    road.unit.keeping.take((plate_read(2),))
    road.clock.advance(2)
    road.unit.keeping.commit()
    assert [entry.reason for entry in road.unit.entries(Dropped)] == [DELETION_BROKEN]
