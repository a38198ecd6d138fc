"""A disk that stalls holds up nobody but the thread that waits for it."""

import threading

import pytest

from agent.base.errors import DeviceError
from agent.base.lanes import Lane
from agent.pipeline.committing import CommitThread
from agent.pipeline.keeping import DISK_BEHIND
from agent.pipeline.watch import Seeing, watch_forever
from agent.seal import WAITING_LIMIT
from agent.spool import SpoolWriter
from agent.trust.entries import Dropped, Stop
from tests.fakes import FakeCamera
from tests.lists import make_list
from tests.pipeline.test_watch import NO_LISTS, PICTURE, SURE, LateBallots, NoPolicies, Unit
from tests.sealing import plate_read

WAIT_S = 0.001


class StallingSpool(SpoolWriter):
    """A spool on a disk that stalls until it is let go."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.entered, self.let_go = threading.Event(), threading.Event()

    def put(self, lane, content, now):
        self.entered.set()
        self.let_go.wait()
        return super().put(lane, content, now)


@pytest.fixture
def stalled(tmp_path):
    """Return a unit in whose commit thread the disk stalls, and the thread."""
    unit = Unit(tmp_path, hotlist=make_list("TEST001"))
    unit.audit.close()
    unit.start(StallingSpool)
    commits = CommitThread(unit.keeping, wait_s=WAIT_S)
    unit.keeping.take((plate_read(2),))
    unit.clock.advance(1)
    commits.commit()
    unit.spool.entered.wait()
    yield unit, commits
    unit.spool.let_go.set()


def test_while_the_disk_stalls_what_is_seen_goes_on_into_memory(stalled):
    unit, commits = stalled
    for number in range(3, 40):
        assert not unit.keeping.is_lead(plate_read(number, **SURE))
        unit.keeping.take((plate_read(number),))
        commits.commit()
        assert unit.keeping.tell_trouble() == ""
    assert unit.texts(Lane.READS) == []
    unit.spool.let_go.set()
    commits.close()
    assert unit.texts(Lane.READS) == [f"TEST{number:03d}" for number in range(2, 40)]
    assert unit.entries(Dropped) == []


def test_an_alert_that_was_raised_while_the_disk_stalls_is_told_once(stalled):
    unit, commits = stalled
    lead = plate_read(1, tracks=(7,), **SURE)
    for _ in range(3):
        unit.keeping.alert(tuple(read for read in (lead,) if unit.keeping.is_lead(read)))
        commits.commit()
    unit.spool.let_go.set()
    unit.keeping.take((lead,))
    commits.close()
    alert, end = unit.hits()
    assert (alert.sequence, end.alert_sequence, end.confirmed) == (0, 0, True)


def test_what_finds_no_more_room_is_counted_and_the_log_says_so(stalled):
    unit, commits = stalled
    for number in range(WAITING_LIMIT + 5):
        unit.keeping.take((plate_read(number % 900 + 10),))
    unit.spool.let_go.set()
    commits.close()
    (dropped,) = unit.entries(Dropped)
    assert (dropped.first, dropped.count, dropped.reason) == (None, 5, DISK_BEHIND)
    counters = unit.keeping.counters
    assert (counters.sealed, counters.dropped) == (WAITING_LIMIT + 1, 5)
    assert counters.alerts + counters.ends + counters.reads == counters.sealed + counters.dropped


def test_an_alert_that_found_no_room_is_made_anew_when_its_passage_ends(stalled):
    unit, commits = stalled
    others = tuple(plate_read(1, tracks=(track,), **SURE) for track in range(WAITING_LIMIT + 1))
    for read in others:
        unit.keeping.take((read,))  # a whole passage each: an alert, complete
    unit.spool.let_go.set()
    commits.close()
    assert len(unit.hits()) == WAITING_LIMIT
    assert [entry.count for entry in unit.entries(Dropped)] == [1]


def test_a_commit_that_fails_is_raised_where_commits_are_asked_for(tmp_path):
    unit = Unit(tmp_path)
    commits = CommitThread(unit.keeping, wait_s=WAIT_S)
    unit.audit.append_all = lambda _: (_ for _ in ()).throw(DeviceError("log: EIO"))
    unit.keeping.take((plate_read(1),))
    unit.clock.advance(1)
    commits.commit()
    commits._thread.join()
    with pytest.raises(DeviceError, match="log: EIO"):
        commits.commit()
    with pytest.raises(DeviceError, match="log: EIO"):
        commits.close()


def test_at_the_end_all_is_on_the_disk_and_the_thread_is_gone(tmp_path):
    unit, ballots = Unit(tmp_path), LateBallots()
    commits = CommitThread(unit.keeping, wait_s=60)
    unit.keeping.take((plate_read(1),))
    watch_forever(
        FakeCamera([PICTURE], clock=unit.clock),
        Seeing(detector=None, tracker=ballots, reader=None, ballots=ballots),
        unit.keeping,
        stop=lambda: False,
        report=lambda _: None,
        lists=NO_LISTS,
        policies=NoPolicies(),
        commits=commits,
    )
    assert unit.texts(Lane.READS) == ["TEST001", "TEST002"]
    assert len(unit.entries(Stop)) == 1
    assert not commits._thread.is_alive()


def test_a_thread_that_never_began_still_closes(tmp_path):
    unit = Unit(tmp_path)
    CommitThread(unit.keeping, wait_s=WAIT_S).close()
    assert len(unit.entries(Stop)) == 1
