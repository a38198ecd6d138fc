"""The watcher's half of the road, with a disk that fails and a gate that turns away."""

import os
from datetime import timedelta

import numpy as np
import pytest

from agent.audit import AuditLog, RecordFile
from agent.base.errors import DeviceError, SpoolFullError
from agent.base.health import WatchCounters
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.gate import GateRules, Hotlist, parse_hotlist
from agent.pipeline.adoption import adopt_leftovers
from agent.pipeline.watch import (
    Keeping,
    Rules,
    Seeing,
    see_frame,
    watch_forever,
)
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.contents import decode_crops_text, decode_reads_text
from agent.trust.entries import Boot, Dropped, IoFailure, Recovered, Sealed, Stop, decode_entry
from agent.trust.envelope import open_sealed
from agent.trust.frames import Found, encode_frame, frame_hash
from agent.trust.keys import generate_opener, generate_signer
from tests.fakes import NOON, FakeCamera, FakeClock
from tests.sealing import plate_read

DAY_S = 86_400
BOOT = bytes(range(16))
QUOTA = dict.fromkeys(Lane, 1 << 20)
NO_HOTLIST = Hotlist(entries={})
PICTURE = np.zeros((64, 64), np.uint8)


class Unit:
    """One unit's keeping half on a real disk."""

    def __init__(self, folder, *, mode="all", crops="all", hotlist=NO_HOTLIST, boot=BOOT):
        self.folder, self.clock, self.city = folder, FakeClock(), generate_opener()
        self.signer, self.boot = generate_signer(), boot
        self.mode, self.crops, self.hotlist = mode, crops, hotlist
        self.start()

    def start(self, spool_class=SpoolWriter):
        self.audit = AuditLog(self.folder / "audit", self.signer, "homeplate/u/watch", self.clock)
        self.spool = spool_class(self.folder / "spool", SpoolSettings(), QUOTA, self.boot)
        self.spool.recover(lambda found: adopt_leftovers(found, self.audit, self.clock))
        self.audit.append(
            Boot(at_ms=0, boot=self.boot, version="0", policy_hash=bytes(32), model_hash=None)
        )
        sealer = Sealer(
            city_key=self.city.public_key,
            policy_sha256=bytes(32),
            unit="u",
            boot=self.boot,
            model_sha256=bytes(32),
        )
        self.keeping = Keeping(
            rules=Rules(
                gate=GateRules(mode=self.mode, min_hit_confidence=0.9, min_hit_frames=2),
                hotlist=self.hotlist,
                crops=self.crops,
                retention_s=dict.fromkeys(Lane, DAY_S),
                expires_at=NOON + timedelta(days=30),
                commit_interval_s=1.0,
            ),
            boot=self.boot,
            sealer=sealer,
            spool=self.spool,
            spooled=SpoolReader(self.folder / "spool"),
            audit=self.audit,
            clock=self.clock,
        )

    def entries(self, *kinds):
        contents = RecordFile(self.folder / "audit" / "entries").follow()
        return [entry for entry in map(decode_entry, contents) if isinstance(entry, kinds)]

    def frames(self, lane):
        reader = SpoolReader(self.folder / "spool")
        found = [
            item for one in reader.segments() if one.lane is lane for item in reader.frames(one)
        ]
        assert all(isinstance(item, Found) for item in found)
        return [item.frame for item in found]

    def texts(self, lane):
        opened = (open_sealed(frame, self.city) for frame in self.frames(lane))
        return [read.text for plain in opened for read in decode_reads_text(plain)]


def test_reads_are_committed_after_the_interval_and_stand_in_the_log(tmp_path):
    unit = Unit(tmp_path)
    unit.keeping.take((plate_read(1), plate_read(2)))
    unit.keeping.commit()
    assert unit.frames(Lane.READS) == []
    unit.clock.advance(1.0)
    unit.keeping.commit()
    assert unit.texts(Lane.READS) == ["TEST001", "TEST002"]
    (sealed,) = unit.entries(Sealed)
    assert sealed.frame == frame_hash(encode_frame(unit.frames(Lane.READS)[0]))
    assert (sealed.first, sealed.last, unit.keeping.counters.sealed) == (0, 1, 2)


def test_a_crop_names_its_read(tmp_path):
    unit = Unit(tmp_path)
    unit.keeping.take((plate_read(1), plate_read(2, crop_jpeg=b"\xff\xd8 picture")))
    unit.keeping.close()
    (frame,) = unit.frames(Lane.CROPS)
    (crop,) = decode_crops_text(open_sealed(frame, unit.city))
    assert (crop.lane, crop.read_sequence, crop.jpeg) == (Lane.READS, 1, b"\xff\xd8 picture")


@pytest.mark.parametrize("crops", ["none", "hits"])
def test_no_crop_is_kept_that_the_policy_does_not_ask_for(tmp_path, crops):
    unit = Unit(tmp_path, crops=crops)
    unit.keeping.take((plate_read(1, crop_jpeg=b"\xff\xd8 picture"),))
    unit.keeping.close()
    assert unit.frames(Lane.CROPS) == []
    assert unit.keeping.counters.sealed == 1


def test_hits_only_keeps_hits_at_once_and_turns_the_rest_away(tmp_path):
    hotlist = parse_hotlist(b"TEST001\n", place="list")
    unit = Unit(tmp_path, mode="hits-only", hotlist=hotlist)
    sure = {"confidences": (0.99,) * 7}
    unit.keeping.take((plate_read(1, **sure), plate_read(2, **sure)))
    unit.keeping.commit()
    assert unit.texts(Lane.HITS) == ["TEST001"]
    unit.keeping.close()
    assert unit.frames(Lane.READS) == []
    counters = unit.keeping.counters
    assert (counters.passages, counters.hits, counters.turned_away) == (2, 1, 1)


class FailingSpool(SpoolWriter):
    """A spool on a disk that fails for a while."""

    errors: list[Exception]

    def put(self, lane, content, now):
        if self.errors:
            raise self.errors.pop(0)
        return super().put(lane, content, now)


def start_failing(tmp_path, *errors):
    unit = Unit(tmp_path)
    unit.audit.close()
    unit.start(FailingSpool)
    unit.spool.errors = list(errors)
    return unit


def test_a_frame_that_the_disk_refused_is_put_again(tmp_path):
    unit = start_failing(tmp_path, DeviceError("spool: EIO"))
    unit.keeping.take((plate_read(1),))
    unit.keeping.close()
    assert unit.texts(Lane.READS) == ["TEST001"]
    assert [entry.place for entry in unit.entries(IoFailure)] == ["spool"]
    assert unit.entries(Dropped) == []


@pytest.mark.parametrize(
    "errors",
    [
        pytest.param((SpoolFullError("full"),), id="full"),
        pytest.param((DeviceError("EIO"), DeviceError("EIO")), id="broken"),
    ],
)
def test_reads_that_cannot_be_kept_are_counted_and_logged(tmp_path, errors):
    unit = start_failing(tmp_path, *errors)
    unit.keeping.take((plate_read(1), plate_read(2)))
    unit.clock.advance(1)
    unit.keeping.commit()
    unit.keeping.take((plate_read(3),))
    unit.keeping.close()
    (dropped,) = unit.entries(Dropped)
    assert (dropped.lane, dropped.first, dropped.count) == (Lane.READS, 0, 2)
    assert unit.texts(Lane.READS) == ["TEST003"]
    counters = unit.keeping.counters
    assert (counters.reads, counters.sealed, counters.dropped) == (3, 1, 2)


def test_the_quota_drops_reads_and_says_so(tmp_path):
    unit = Unit(tmp_path)
    big = SpoolReader(tmp_path / "spool")
    for number in range(40):
        unit.keeping.take((plate_read(number, crop_jpeg=os.urandom(60_000)),))
        unit.clock.advance(2)
        unit.keeping.commit()
    unit.keeping.close()
    assert big.usage_bytes(Lane.CROPS) <= QUOTA[Lane.CROPS]
    counters = unit.keeping.counters
    assert counters.crops_dropped > 0
    assert counters.crops_sealed + counters.crops_dropped == 40
    assert sum(entry.count for entry in unit.entries(Dropped)) == counters.crops_dropped
    assert counters.sealed == 40


def test_a_full_disk_ends_with_its_exit_code_when_not_even_the_log_has_room(tmp_path):
    unit = start_failing(tmp_path, SpoolFullError("full"))
    unit.audit.append_all = lambda _: (_ for _ in ()).throw(SpoolFullError("full"))
    unit.keeping.take((plate_read(1),))
    with pytest.raises(SpoolFullError, match="1 reads dropped"):
        unit.keeping.close()


def test_drops_wait_in_memory_until_the_log_has_room_again(tmp_path):
    unit = start_failing(tmp_path, SpoolFullError("full"))
    real = unit.audit.append_all
    unit.audit.append_all = lambda _: (_ for _ in ()).throw(SpoolFullError("full"))
    unit.keeping.take((plate_read(1),))
    unit.clock.advance(1)
    unit.keeping.commit()
    unit.audit.append_all = real
    unit.keeping.take((plate_read(2),))
    unit.keeping.close()
    assert [type(entry) for entry in unit.entries(Dropped, Sealed, Stop)] == [Dropped, Sealed, Stop]


def test_a_disk_that_stays_full_takes_no_more_memory(tmp_path):
    unit = start_failing(tmp_path, *[SpoolFullError("full")] * 50)
    real = unit.audit.append_all
    unit.audit.append_all = lambda _: (_ for _ in ()).throw(SpoolFullError("full"))
    for number in range(50):
        unit.keeping.take((plate_read(number), plate_read(number)))
        unit.clock.advance(1)
        unit.keeping.commit()
    unit.audit.append_all = real
    unit.keeping.close()
    first, others = unit.entries(Dropped)  # the spool refused, then the log had no room
    assert (first.first, first.count + others.count) == (0, 100)


def test_nothing_is_collected_while_deletion_is_broken(tmp_path):
    unit = Unit(tmp_path)
    unit.keeping.take((plate_read(1),))
    unit.clock.advance(2)
    unit.keeping.commit()
    unit.clock.advance(DAY_S + timedelta(minutes=11).total_seconds())
    unit.keeping.take((plate_read(2),))
    unit.keeping.commit()
    unit.clock.advance(2)
    unit.keeping.commit()
    (dropped,) = unit.entries(Dropped)
    assert "deletion is broken" in dropped.reason
    for path in (tmp_path / "spool").rglob("*.seg"):
        path.unlink()
    unit.clock.advance(61)
    unit.keeping.take((plate_read(3),))
    unit.keeping.close()
    assert unit.keeping.counters.sealed == 2


def test_a_frame_on_disk_that_missed_the_log_is_adopted_at_the_next_start(tmp_path):
    unit = Unit(tmp_path)
    unit.keeping.take((plate_read(1),))
    unit.clock.advance(1)
    unit.audit.append_all = lambda _: (_ for _ in ()).throw(DeviceError("power cut"))
    with pytest.raises(DeviceError):
        unit.keeping.commit()
    assert unit.entries(Sealed) == []
    del unit.audit.append_all
    unit.audit.close()
    unit.boot = bytes(16)
    unit.start()
    assert [entry.adopted for entry in unit.entries(Recovered)] == [1]
    (sealed,) = unit.entries(Sealed)
    assert sealed.boot == BOOT
    (segment,) = SpoolReader(tmp_path / "spool").segments()
    assert (segment.closed, segment.path.stem) == (True, sealed.segment)


class BrokenStage:
    """Stands for a stage that meets a picture it cannot bear."""

    @property
    def ballots(self):
        raise ZeroDivisionError("7ABC123")


def test_a_frame_on_which_a_stage_fails_is_counted_and_left_out(caplog):
    counters = WatchCounters()
    assert see_frame(None, BrokenStage(), counters) == ()
    assert counters.failed_frames == 1
    (record,) = caplog.records
    assert record.error == "ZeroDivisionError"
    assert "7ABC123" not in str(vars(record))


def test_a_log_without_room_stops_collecting_and_its_frame_is_adopted_later(tmp_path):
    unit = Unit(tmp_path, crops="none")
    unit.audit.append_all = lambda _: (_ for _ in ()).throw(SpoolFullError("full"))
    for number in (1, 2):
        unit.keeping.take((plate_read(number),))
        unit.clock.advance(61)
        unit.keeping.commit()
    (segment,) = SpoolReader(tmp_path / "spool").segments()
    assert (segment.closed, len(unit.frames(Lane.READS))) == (False, 1)
    with pytest.raises(SpoolFullError):
        unit.keeping.close()
    del unit.audit.append_all
    unit.audit.close()
    unit.boot = bytes(16)
    unit.start()
    assert [entry.first for entry in unit.entries(Sealed)] == [0]


class LateBallots:
    """Stands for the stages that see: one read, when all is over."""

    def __init__(self):
        self.tracker = self

    def finish(self, _=None):
        return (plate_read(2),)


def test_what_was_seen_before_the_camera_failed_is_kept(tmp_path):
    unit, ballots = Unit(tmp_path), LateBallots()
    camera = FakeCamera([PICTURE], clock=unit.clock, falls_silent=True)
    unit.keeping.take((plate_read(1),))
    seeing = Seeing(detector=None, tracker=ballots, reader=None, ballots=ballots)
    with pytest.raises(DeviceError, match="no frame"):
        watch_forever(camera, seeing, unit.keeping, stop=lambda: False, report=lambda _: None)
    assert unit.texts(Lane.READS) == ["TEST001", "TEST002"]
    assert len(unit.entries(Stop)) == 1
    assert all(segment.closed for segment in SpoolReader(tmp_path / "spool").segments())


def test_nothing_is_kept_once_the_policy_has_expired(tmp_path):
    unit = Unit(tmp_path)
    unit.clock.advance(timedelta(days=30).total_seconds())
    unit.keeping.take((plate_read(1),))
    unit.keeping.close()
    assert [entry.reason for entry in unit.entries(Dropped)] == ["the policy has expired"]
    assert unit.frames(Lane.READS) == []


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param({"corners": (float("nan"),) * 8}, id="corners that are no numbers"),
        pytest.param({"first_seen": NOON.replace(year=1904)}, id="a time before 1970"),
    ],
)
def test_reads_that_no_frame_can_hold_are_counted_and_the_watch_goes_on(tmp_path, caplog, nonsense):
    unit = Unit(tmp_path)
    unit.keeping.take((plate_read(1, **nonsense),))
    unit.keeping.commit(everything=True)
    unit.keeping.take((plate_read(2),))
    unit.keeping.close()
    (dropped,) = unit.entries(Dropped)
    assert (dropped.first, dropped.count) == (None, 1)
    assert unit.texts(Lane.READS) == ["TEST002"]
    assert "TEST001" not in dropped.reason + "".join(str(vars(one)) for one in caplog.records)


def test_strange_files_and_a_spool_that_cannot_be_read_are_told(tmp_path, caplog):
    (tmp_path / "spool/hits").mkdir(parents=True)
    (tmp_path / "spool/hits/notes.txt").touch()
    (tmp_path / "spool/crops").touch()
    unit = Unit(tmp_path)
    assert any(getattr(record, "names", None) == ("notes.txt",) for record in caplog.records)
    assert "crops" in unit.entries(IoFailure)[0].detail
