"""The watcher's half of the road, with a disk that fails and a gate that turns away."""

import os
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.audit import AuditLog, RecordFile
from agent.base.clock import to_ms
from agent.base.errors import DeviceError, SpoolFullError
from agent.base.health import WatchCounters
from agent.base.lanes import Lane
from agent.base.records import PlateText
from agent.base.settings import ReadSettings, SpoolSettings, TrackSettings
from agent.camera.patient import PatientCamera
from agent.detect import Detector
from agent.gate import EMPTY_HOTLIST, GateRules
from agent.pipeline.adoption import adopt_leftovers
from agent.pipeline.keeping import Keeping, Rules
from agent.pipeline.watch import Seeing, Sight, finish_passages, see_frame, watch_forever
from agent.read import Ballots, Reader
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.track import Tracker
from agent.trust.alerts import StoredAlert, StoredEnd, decode_hits_text
from agent.trust.contents import decode_crops_text, decode_reads_text
from agent.trust.entries import Boot, Dropped, IoFailure, Recovered, Sealed, Stop, decode_entry
from agent.trust.envelope import open_sealed
from agent.trust.frames import Found, encode_frame, frame_hash
from agent.trust.keys import generate_opener, generate_signer
from tests.camera.test_patient import StallingCamera
from tests.fakes import NOON, FakeCamera, FakeClock
from tests.lists import FixedLists, make_list
from tests.plates import make_corners
from tests.sealing import plate_read

DAY_S = 86_400
BOOT = bytes(range(16))
QUOTA = dict.fromkeys(Lane, 1 << 20)
NO_LISTS = FixedLists(EMPTY_HOTLIST)
PICTURE = np.zeros((64, 64), np.uint8)


class Unit:
    """One unit's keeping half on a real disk."""

    def __init__(self, folder, *, mode="all", crops="all", hotlist=EMPTY_HOTLIST, boot=BOOT):
        self.folder, self.clock, self.city = folder, FakeClock(), generate_opener()
        self.signer, self.boot = generate_signer(), boot
        self.mode, self.crops, self.hotlist = mode, crops, hotlist
        self.start()

    def start(self, spool_class=SpoolWriter):
        self.audit = AuditLog(self.folder / "audit", self.signer, "homeplate/u/watch", self.clock)
        self.spool = spool_class(self.folder / "spool", SpoolSettings(), QUOTA, self.boot)
        spooled = SpoolReader(self.folder / "spool")
        self.spool.recover(lambda found: adopt_leftovers(found, spooled, self.audit, self.clock))
        self.audit.append(
            Boot(
                at_ms=to_ms(self.clock.now()),
                boot=self.boot,
                version="0",
                policy_hash=bytes(32),
                model_hash=None,
            )
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
                crops=self.crops,
                retention_s=dict.fromkeys(Lane, DAY_S),
                expires_at=NOON + timedelta(days=30),
                commit_interval_s=1.0,
            ),
            boot=self.boot,
            sealer=sealer,
            spool=self.spool,
            spooled=spooled,
            audit=self.audit,
            clock=self.clock,
            sign_interval_s=0.0,
        )
        self.keeping.take_list(FixedLists(self.hotlist))

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

    def hits(self):
        opened = (open_sealed(frame, self.city) for frame in self.frames(Lane.HITS))
        return [item for plain in opened for item in decode_hits_text(plain)]

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


SURE = {"confidences": (0.99,) * 7}


def hits_only(tmp_path, *plates, **options):
    return Unit(tmp_path, mode="hits-only", hotlist=make_list(*plates), **options)


def see(unit, *reads):
    """Let the gate look at vehicles in view, as the loop does, and commit."""
    unit.keeping.alert(tuple(read for read in reads if unit.keeping.is_lead(read)))
    unit.keeping.commit()


def test_hits_only_keeps_hits_at_once_and_turns_the_rest_away(tmp_path):
    unit = hits_only(tmp_path, "TEST001")
    unit.keeping.take((plate_read(1, **SURE), plate_read(2, **SURE)))
    unit.keeping.commit()
    (alert,) = unit.hits()
    assert (alert.read.text, alert.complete, len(alert.matches)) == ("TEST001", True, 1)
    unit.keeping.close()
    assert unit.frames(Lane.READS) == []
    counters = unit.keeping.counters
    assert (counters.passages, counters.hits, counters.turned_away) == (2, 1, 1)


def test_what_passed_before_a_list_came_is_counted(tmp_path):
    unit = Unit(tmp_path, mode="hits-only")
    unit.keeping.take((plate_read(1, **SURE), plate_read(2, **SURE)))
    unit.keeping.take_list(FixedLists(make_list("TEST001")))
    unit.keeping.take((plate_read(1, **SURE),))
    unit.keeping.close()
    counters = unit.keeping.counters
    assert (counters.passages, counters.passed_before_list, counters.hits) == (3, 2, 1)


def test_a_hit_is_told_while_its_vehicle_is_in_view_and_once(tmp_path):
    unit = hits_only(tmp_path, "TEST001")
    for frames in (2, 3, 4):
        see(unit, plate_read(1, tracks=(7,), frames_agreed=frames, crop_jpeg=b"\xff\xd8", **SURE))
        unit.clock.advance(0.1)
    (alert,) = unit.hits()
    assert (alert.complete, alert.read.frames_agreed, alert.jpeg) == (False, 2, b"\xff\xd8")
    assert (alert.list_version, alert.list_issued_ms) == (1, to_ms(NOON))
    unit.keeping.take((plate_read(1, tracks=(7,), **SURE),))
    unit.keeping.close()
    alert, end = unit.hits()
    assert isinstance(end, StoredEnd)
    assert (end.alert_sequence, end.confirmed, end.frames_agreed) == (alert.sequence, True, 19)
    counters = unit.keeping.counters
    assert (counters.alerts, counters.ends, counters.hits, counters.withdrawn) == (1, 1, 1, 0)
    assert counters.sealed == 2


@pytest.mark.parametrize(
    "so_far",
    [
        {"frames_agreed": 1, **SURE},
        {"confidences": (0.99,) * 6 + (0.89,)},
        {"abstained": True, **SURE},
        {"text": PlateText("TEST002"), **SURE},
    ],
    ids=["too few frames", "one character unsure", "unreadable", "one character off"],
)
def test_what_is_not_sure_yet_is_not_told(tmp_path, so_far):
    unit = hits_only(tmp_path, "TEST001")
    see(unit, plate_read(1, tracks=(7,), **so_far))
    assert unit.hits() == []


def test_a_vehicle_that_is_followed_anew_is_told_once(tmp_path):
    unit = hits_only(tmp_path, "TEST001")
    see(unit, plate_read(1, tracks=(7,), **SURE))
    see(unit, plate_read(1, tracks=(9,), **SURE))
    unit.keeping.take((plate_read(1, tracks=(7, 9), **SURE),))
    unit.keeping.close()
    assert [type(item) for item in unit.hits()] == [StoredAlert, StoredEnd]


def test_the_same_vehicle_in_another_passage_is_told_again(tmp_path):
    unit = hits_only(tmp_path, "TEST001")
    for track in (7, 9):
        see(unit, plate_read(1, tracks=(track,), **SURE))
        unit.keeping.take((plate_read(1, tracks=(track,), **SURE),))
    unit.keeping.close()
    items = unit.hits()
    assert [type(item) for item in items] == [StoredAlert, StoredEnd] * 2
    assert [item.alert_sequence for item in items[1::2]] == [0, 2]


@pytest.mark.parametrize(("mode", "kept"), [("hits-only", []), ("all", ["TEST002"])])
def test_an_alert_that_the_whole_passage_does_not_confirm_is_withdrawn(tmp_path, mode, kept):
    """In `hits-only` the plate that it was after all, which is no hit, leaves memory nowhere.

    The alert left it, so the passage is not among those that never did.
    """
    unit = Unit(tmp_path, mode=mode, hotlist=make_list("TEST001"))
    see(unit, plate_read(1, tracks=(7,), **SURE))
    unit.keeping.take((plate_read(2, tracks=(7,), **SURE),))
    unit.keeping.close()
    alert, end = unit.hits()
    assert (alert.read.text, end.alert_sequence, end.confirmed) == ("TEST001", 0, False)
    assert unit.texts(Lane.READS) == kept
    counters = unit.keeping.counters
    assert (counters.alerts, counters.withdrawn, counters.passages) == (1, 1, 1)
    assert (counters.hits, counters.reads) == ((1, 0) if mode == "hits-only" else (0, 1))
    assert (counters.turned_away, counters.unreadable, sum(lifetimes(counters))) == (0, 0, 0)


def test_an_alert_becomes_another_where_the_whole_passage_is_another_listed_plate(tmp_path):
    unit = hits_only(tmp_path, "TEST001", "TEST002")
    see(unit, plate_read(1, tracks=(7,), **SURE))
    unit.keeping.take((plate_read(2, tracks=(7,), **SURE),))
    unit.keeping.close()
    first, end, second = unit.hits()
    assert (first.read.text, end.confirmed, second.read.text) == ("TEST001", False, "TEST002")
    assert second.complete


def test_a_confirmed_alert_stays_one_when_the_list_expires_meanwhile(tmp_path):
    unit = Unit(tmp_path, mode="hits-only", hotlist=make_list("TEST001", life_ms=60_000))
    see(unit, plate_read(1, tracks=(7,), **SURE))
    unit.clock.advance(61)
    unit.keeping.take((plate_read(1, tracks=(7,), **SURE),))
    unit.keeping.close()
    assert [item.confirmed for item in unit.hits()[1:]] == [True]


def test_an_expired_list_alerts_nobody_and_the_health_says_so_once(tmp_path, caplog):
    unit = hits_only(tmp_path, "TEST001")
    unit.clock.advance(DAY_S)
    for number in range(3):
        see(unit, plate_read(1, tracks=(number,), **SURE))
        unit.keeping.take((plate_read(1, tracks=(number,), **SURE),))
    unit.keeping.close()
    assert unit.hits() == []
    assert unit.keeping.counters.hotlist_expired == 1
    events = [record.message for record in caplog.records]
    assert events.count("hotlist expired: no alerts") == 1


def test_an_alert_that_the_disk_refused_is_made_anew_when_the_passage_ends(tmp_path):
    unit = hits_only(tmp_path, "TEST001")
    unit.audit.close()
    unit.start(FailingSpool)
    unit.spool.errors = [SpoolFullError("full")]
    for _ in range(3):
        see(unit, plate_read(1, tracks=(7,), **SURE))
    unit.keeping.take((plate_read(1, tracks=(7,), **SURE),))
    unit.keeping.close()
    (alert,) = unit.hits()
    assert (alert.complete, alert.sequence) == (True, 1)
    assert [(entry.first, entry.count) for entry in unit.entries(Dropped)] == [(0, 1)]


LISTED = (1, 2)
"""Numbers of the plates on the list below."""


@given(
    st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.booleans(), st.floats(0, 400)),
        max_size=12,
    ),
    st.sampled_from(["all", "hits-only"]),
)
@settings(deadline=None, max_examples=25)
def test_the_counters_add_up_whatever_passes(tmp_path_factory, passages, mode):
    folder = tmp_path_factory.mktemp("unit")
    unit = Unit(folder, mode=mode, hotlist=make_list("TEST001", "TEST002"))
    for track, (early, late, abstained, lived_s) in enumerate(passages):
        see(unit, plate_read(early, tracks=(track,), **SURE))
        over = plate_read(late, tracks=(track,), abstained=abstained, **SURE)
        unit.keeping.take((over,), at=over.first_seen + timedelta(seconds=lived_s))
    unit.keeping.close()
    counted = unit.keeping.counters
    told = [early in LISTED or (late in LISTED and not blank) for early, late, blank, _ in passages]
    hits = [late in LISTED and not blank for _, late, blank, _ in passages]
    alike = [is_hit == was_told for is_hit, was_told in zip(hits, told, strict=True)]
    assert counted.passages == len(passages)
    if mode == "all":
        assert (counted.hits, counted.reads) == (sum(hits), hits.count(False))
        assert counted.turned_away == counted.unreadable == 0
        assert counted.reads_unreadable == sum(blank for _, _, blank, _ in passages)
    else:
        unseen = [item for item, was_told in zip(passages, told, strict=True) if not was_told]
        assert (counted.hits, counted.reads) == (sum(told), 0)
        assert counted.unreadable == sum(blank for _, _, blank, _ in unseen)
        assert unit.frames(Lane.READS) == unit.frames(Lane.CROPS) == []
    assert counted.withdrawn >= alike.count(False)
    never_left = counted.turned_away + counted.unreadable
    assert counted.passages == counted.hits + counted.reads + never_left
    assert sum(lifetimes(counted)) == never_left
    assert counted.alerts + counted.ends + counted.reads == counted.sealed + counted.dropped
    assert len(unit.hits()) == counted.alerts + counted.ends


def test_an_alert_that_was_withdrawn_leaves_no_lifetime_of_what_could_not_be_read(tmp_path):
    unit = hits_only(tmp_path, "TEST001")
    see(unit, plate_read(1, tracks=(7,), **SURE))
    unit.keeping.take((plate_read(1, tracks=(7,), abstained=True, **SURE),))
    unit.keeping.close()
    counters = unit.keeping.counters
    assert (counters.passages, counters.hits, counters.unreadable) == (1, 1, 0)
    assert sum(lifetimes(counters)) == 0


def lifetimes(counters):
    """Return the histogram of what never left memory."""
    return [count for name, count in counters.as_dict().items() if name.startswith("forgotten")]


@pytest.mark.parametrize(
    ("lived_s", "name"),
    [
        (0, "forgotten_within_1s"),
        (1, "forgotten_within_1s"),
        (1.001, "forgotten_within_2s"),
        (180, "forgotten_within_180s"),
        (181, "forgotten_later"),
    ],
)
def test_how_long_a_read_lived_that_was_no_hit_is_counted(tmp_path, lived_s, name):
    unit = hits_only(tmp_path)
    read = plate_read(1, **SURE)
    unit.keeping.take((read,), at=read.first_seen + timedelta(seconds=lived_s))
    assert unit.keeping.counters.as_dict()[name] == 1


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


def test_the_picture_of_a_read_that_was_refused_is_not_kept(tmp_path):
    unit = start_failing(tmp_path, SpoolFullError("full"))
    unit.keeping.take((plate_read(1, crop_jpeg=b"made up"),))
    unit.keeping.close()
    assert unit.frames(Lane.CROPS) == []
    assert [(entry.lane, entry.reason) for entry in unit.entries(Dropped)] == [
        (Lane.READS, "the spool refused"),
        (Lane.CROPS, "their reads were dropped"),
    ]


def test_once_the_log_has_failed_nothing_is_kept_not_even_at_the_end(tmp_path):
    unit = start_failing(tmp_path, SpoolFullError("full"))
    with Path(os.devnull).open("rb") as other:  # nothing can be written to the log's descriptor now
        os.dup2(other.fileno(), unit.audit._entries._descriptor)
    unit.keeping.take((plate_read(1),))
    with pytest.raises(DeviceError):
        unit.keeping.commit(everything=True)
    unit.keeping.take((plate_read(2),))
    with pytest.raises(DeviceError):
        unit.keeping.close()
    assert unit.frames(Lane.READS) == []


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


def test_a_disk_that_stays_full_takes_no_more_memory_and_is_told_once(tmp_path, caplog):
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
    assert caplog.messages.count("log cannot grow") == 1


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

    pace = None

    @property
    def stillness(self):
        raise ZeroDivisionError("7ABC123")


def test_a_frame_on_which_a_stage_fails_is_counted_and_left_out(caplog):
    counters = WatchCounters()
    assert see_frame(None, BrokenStage(), counters, is_lead=lambda _: False) == Sight()
    assert counters.failed_frames == 1
    (record,) = caplog.records
    assert record.error == "ZeroDivisionError"
    assert "7ABC123" not in str(vars(record))


ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
TEXTS = ("7KXR482", "3CEH915", "8TNP036", "5PLW771")
LIVES = ((0, 12), (2, 14), (5, 19), (23, 33))
"""First and last frame in which the plate of each of `TEXTS` is in view."""
SEEN_FRAMES = 40


class ScriptedPlates:
    """Stands for both networks: plates that stand in their lanes, read without a doubt."""

    def __init__(self, bad):
        self.frame, self.bad, self.read_once = 0, bad, set()

    def detect(self, _):
        shown = [row for row, (first, last) in enumerate(LIVES) if first <= self.frame <= last]
        corners = [make_corners(20 + 150 * row, 200, 40, 20) for row in shown]
        return np.ones(len(shown), np.float32), np.reshape(corners, (-1, 4, 2)).astype(np.float32)

    def read(self, crops):
        if self.frame in self.bad:
            raise ZeroDivisionError("7KXR482")
        columns = np.full((len(crops), 16, 37), -12, np.float32)
        columns[:, :, 36] = 0
        for row, crop in enumerate(crops):
            lane = int(crop.mean()) // 50
            self.read_once.add(lane)
            for place, character in enumerate(TEXTS[lane]):
                columns[row, 1 + 2 * place] = -12
                columns[row, 1 + 2 * place, ALPHABET.index(character)] = 0
        return (columns,)

    def picture(self):
        picture = np.zeros((480, 640), np.uint8)
        for row in range(len(TEXTS)):  # what the reader goes by
            picture[:, 150 * row : 150 * row + 150] = 50 * row + 10
        return picture


class CountingTracker(Tracker):
    """A tracker that counts the passages it told of."""

    told = 0

    def follow(self, *args, **kwargs):
        step = super().follow(*args, **kwargs)
        self.told += len(step.ended)
        return step

    def finish(self):
        ended = super().finish()
        self.told += len(ended)
        return ended


def drive_past(bad):
    """Return what a drive comes to on whose frames `bad` reading fails."""
    script, counters, done = ScriptedPlates(bad), WatchCounters(), []
    seeing = Seeing(
        detector=Detector(
            network=SimpleNamespace(run=script.detect), stride=32, threshold=0.5, max_plates=8
        ),
        tracker=CountingTracker(TrackSettings()),
        reader=Reader(
            network=SimpleNamespace(run=script.read),
            size_px=(96, 32),
            margin=(0.0, 0.0),
            alphabet=ALPHABET,
        ),
        ballots=Ballots(ReadSettings(), alphabet=ALPHABET, keep_crops=True),
    )
    with FakeCamera([script.picture()] * SEEN_FRAMES, clock=FakeClock()) as camera:
        for frame in camera.frames():
            script.frame = frame.index
            done += see_frame(frame, seeing, counters, is_lead=lambda _: True).done
    done += finish_passages(seeing, counters)
    assert seeing.tracker.told == len(TEXTS)
    return done, counters, script.read_once


BAD_FRAMES = {
    "none": set(),
    "all": set(range(SEEN_FRAMES)),
    "every other": set(range(0, SEEN_FRAMES, 2)),
    "the first half of each passage": {*range(7), *range(23, 27)},
    "all of one passage": set(range(23, 34)),
    **{f"frame {index}": {index} for index in range(22, 27)},  # the first two passages end
}


@pytest.mark.parametrize("bad", BAD_FRAMES.values(), ids=BAD_FRAMES)
def test_each_passage_is_a_read_or_counted_on_whatever_frames_reading_fails(bad):
    reads, counters, read_once = drive_past(bad)
    tracks = [track for read in reads for track in read.tracks]
    assert (len(tracks), len(set(tracks))) == (len(read_once), len(read_once))
    assert counters.unread == len(TEXTS) - len(read_once)
    assert counters.failed_frames <= len(bad)


def test_a_stage_that_fails_at_the_end_takes_nothing_with_it_that_waits_in_memory(tmp_path):
    unit, ballots = Unit(tmp_path), LateBallots()
    ballots.finish = lambda _=None: 1 // 0
    unit.keeping.take((plate_read(1),))
    seeing = Seeing(detector=None, tracker=ballots, reader=None, ballots=ballots)
    ballots.waiting = 3
    watch_forever(
        FakeCamera([], clock=unit.clock),
        seeing,
        unit.keeping,
        stop=lambda: False,
        report=lambda _: None,
        lists=NO_LISTS,
        policies=NoPolicies(),
    )
    assert unit.texts(Lane.READS) == ["TEST001"]
    (stop,) = unit.entries(Stop)
    assert stop.counters["unread"] == 3


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


class NoPolicies:
    """Stands for a city that decides nothing new."""

    def look(self):
        return ()


class LateBallots:
    """Stands for the stages that see: one read, when all is over."""

    waiting, unread = 1, 0

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
        watch_forever(
            camera,
            seeing,
            unit.keeping,
            stop=lambda: False,
            report=lambda _: None,
            lists=NO_LISTS,
            policies=NoPolicies(),
        )
    assert unit.texts(Lane.READS) == ["TEST001", "TEST002"]
    assert len(unit.entries(Stop)) == 1
    assert all(segment.closed for segment in SpoolReader(tmp_path / "spool").segments())


def test_a_camera_that_hangs_holds_up_neither_commits_nor_the_end(tmp_path):
    unit, ballots = Unit(tmp_path), LateBallots()
    hung = StallingCamera([PICTURE], clock=unit.clock)
    seeing = Seeing(detector=None, tracker=ballots, reader=None, ballots=ballots)
    unit.keeping.take((plate_read(1),))
    sealed = []

    def stop():
        unit.clock.advance(0.5)
        sealed.append(unit.keeping.counters.sealed)
        return len(sealed) == 5

    camera = PatientCamera(hung, wait_s=0.001, leave_s=0.001)
    watch_forever(
        camera,
        seeing,
        unit.keeping,
        stop=stop,
        report=lambda _: None,
        lists=NO_LISTS,
        policies=NoPolicies(),
    )
    assert (sealed[0], sealed[3]) == (0, 1)
    assert unit.texts(Lane.READS) == ["TEST001", "TEST002"]
    assert len(unit.entries(Stop)) == 1
    hung.let_go.set()


def test_nothing_is_kept_once_the_policy_has_expired(tmp_path):
    unit = Unit(tmp_path)
    unit.clock.advance(timedelta(days=30).total_seconds())
    unit.keeping.take((plate_read(1),))
    unit.keeping.close()
    assert [entry.reason for entry in unit.entries(Dropped)] == ["the policy has expired"]
    assert unit.frames(Lane.READS) == []


def test_a_clock_set_back_revives_no_expired_policy(tmp_path):
    unit = Unit(tmp_path)
    unit.clock.advance(timedelta(days=30).total_seconds())
    unit.keeping.take((plate_read(1),))
    unit.keeping.commit(everything=True)
    unit.clock.set_wall(unit.clock.now() - timedelta(days=20))
    unit.keeping.take((plate_read(2),))
    unit.keeping.close()
    assert [entry.reason for entry in unit.entries(Dropped)] == ["the policy has expired"] * 2
    assert unit.frames(Lane.READS) == []


@pytest.mark.parametrize(
    "nonsense",
    [
        pytest.param({"corners": (float("nan"),) * 8}, id="corners that are no numbers"),
        pytest.param({"first_seen": NOON.replace(year=1904)}, id="a time before 1970"),
        pytest.param({"frames_seen": "many"}, id="a count that is no number"),
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
