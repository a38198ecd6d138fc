"""The sender's half of the road, against a city that fails, lies, forgets and comes back."""

from datetime import timedelta

import pytest

from agent.audit import AuditLog, LogReader, RecordFile, read_backlog
from agent.base.clock import to_ms
from agent.base.errors import (
    DeviceError,
    IntegrityError,
    RefusedError,
    SpoolFullError,
    UplinkError,
)
from agent.base.lanes import Lane
from agent.pipeline.rounds import rest, send_forever
from agent.pipeline.send import Sending, Terms
from agent.pipeline.turns import back_off_s
from agent.spool import SpoolReader
from agent.trust.answers import LogPosition, UnverifiedReceipt
from agent.trust.entries import (
    Deleted,
    DeleteIntent,
    IoFailure,
    RefusedReceipt,
    Stop,
    Uploaded,
    decode_entry,
)
from agent.trust.frames import frame_hash
from agent.trust.keys import generate_signer
from agent.trust.notes import peek_checkpoint
from agent.trust.receipts import Receipt, sign_receipt
from tests.fakes import FakeClock
from tests.pipeline.test_watch import DAY_S, Unit
from tests.sealing import plate_read


class FakeCollector:
    """A city's endpoint in memory: keeps frames, remembers the log, signs receipts."""

    def __init__(self, clock):
        self.signer, self.clock = generate_signer(), clock
        self.kept, self.known_size, self.requests = {}, 0, 0
        self.faults = []

    def deliver(self, upload):
        self.requests += 1
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, Exception):
            raise fault
        if upload.previous_size != self.known_size:
            return LogPosition(self.known_size)
        head = peek_checkpoint(upload.checkpoint)
        self.known_size = head.size
        hashes = tuple(frame_hash(frame) for frame in upload.frames)
        self.kept |= dict(zip(hashes, upload.frames, strict=True))
        if fault == "answer lost":
            raise UplinkError("connection reset")
        receipt = Receipt(
            unit="u",
            frames=hashes if fault != "other frames" else (bytes(32),),
            log_size=head.size,
            log_root=head.root,
            time_ms=to_ms(self.clock.now()),
        )
        signer = generate_signer() if fault == "other key" else self.signer
        signed = sign_receipt(signer, receipt)
        return UnverifiedReceipt(signed[:-1] if fault == "cut" else signed)


class Road:
    """A unit with frames in its spool, and a sender."""

    def __init__(self, folder, *, reads=(1, 2), crops=True, close=True):
        self.folder = folder
        self.unit = Unit(folder, crops="all" if crops else "none")
        self.clock = self.unit.clock
        self.city = FakeCollector(self.clock)
        self.send_key = generate_signer()
        for number in reads:
            self.unit.keeping.take((plate_read(number, crop_jpeg=b"\xff\xd8" + bytes(300)),))
            self.clock.advance(2)
            self.unit.keeping.commit()
        if close:
            self.unit.keeping.close()
        self.spool = SpoolReader(folder / "spool")
        self.quota = dict.fromkeys(Lane, 1 << 20)
        self.start()

    def start(self, *, uploads=True):
        self.audit = AuditLog(self.folder / "send", self.send_key, "homeplate/u/send", self.clock)
        backlog = read_backlog(self.folder / "send")
        self.sending = Sending(
            terms=Terms(
                unit="u",
                receipt_keys=(self.city.signer.public_key,),
                retention_s=dict.fromkeys(Lane, DAY_S),
                quota_bytes=self.quota,
                uploads=uploads,
            ),
            spool=self.spool,
            watched=LogReader(self.folder / "audit"),
            backlog=backlog,
            uplink=self.city,
            audit=self.audit,
            clock=self.clock,
        )

    def restart(self, **terms):
        self.audit.close()
        self.start(**terms)

    def entries(self, *kinds):
        contents = RecordFile(self.folder / "send" / "entries").follow()
        return [entry for entry in map(decode_entry, contents) if isinstance(entry, kinds)]


def test_all_frames_reach_the_city_and_leave_the_unit(tmp_path):
    road = Road(tmp_path)
    road.sending.work()
    assert len(road.city.kept) == 4
    assert road.spool.segments() == ()
    assert sum(entry.reads for entry in road.entries(Uploaded) if entry.lane is Lane.READS) == 2
    kinds = [type(entry) for entry in road.entries(Uploaded, DeleteIntent, Deleted)]
    assert kinds == [Uploaded] * 2 + [DeleteIntent] * 2 + [Deleted] * 2
    assert road.sending.is_drained()


def test_under_a_policy_that_only_stands_in_for_a_newer_one_nothing_is_sent_and_age_holds(tmp_path):
    road = Road(tmp_path)
    road.restart(uploads=False)
    assert road.sending.work()
    assert (road.city.requests, len(road.spool.segments())) == (0, 2)
    road.clock.advance(2 * DAY_S)
    assert road.sending.work()
    assert {entry.reason for entry in road.entries(Deleted)} == {"expired"}
    assert (road.city.requests, road.spool.segments()) == (0, ())


def test_an_open_segment_is_sent_and_not_deleted(tmp_path):
    road = Road(tmp_path, crops=False, close=False)
    road.sending.work()
    assert len(road.city.kept) == 2
    (segment,) = road.spool.segments()
    assert not segment.closed
    requests = road.city.requests
    road.sending.work()
    assert road.city.requests == requests
    assert not road.sending.is_drained()


def test_what_the_log_does_not_cover_is_not_sent(tmp_path):
    road = Road(tmp_path, crops=False, close=False)
    road.unit.audit.append_all = lambda _: 0
    road.unit.keeping.take((plate_read(3),))
    road.clock.advance(2)
    road.unit.keeping.commit()
    road.sending.work()
    assert len(road.city.kept) == 2


@pytest.mark.parametrize("fault", ["other frames", "other key", "cut"])
def test_a_false_receipt_is_refused_logged_and_nothing_is_deleted(tmp_path, fault):
    road = Road(tmp_path)
    road.city.faults = [fault]
    with pytest.raises(UplinkError, match="frames stay"):
        road.sending.work()
    assert len(road.entries(RefusedReceipt)) == 1
    assert road.entries(Deleted) == []
    assert len(road.spool.segments()) == 2
    road.sending.work()
    assert road.spool.segments() == ()


@pytest.mark.parametrize(
    "fault", [UplinkError("no route"), RefusedError("409 fork"), "answer lost"], ids=str
)
def test_after_a_failure_everything_is_sent_again(tmp_path, fault):
    road = Road(tmp_path)
    road.city.faults = [fault]
    with pytest.raises(UplinkError):
        road.sending.work()
    assert Lane.READS in {segment.lane for segment in road.spool.segments()}
    road.clock.advance(30)
    road.sending.work()
    assert len(road.city.kept) == 4
    assert road.spool.segments() == ()


def test_a_restart_sends_only_what_has_no_receipt_yet(tmp_path):
    road = Road(tmp_path, crops=False, close=False)
    road.sending.work()
    road.unit.keeping.take((plate_read(3),))
    road.unit.keeping.close()
    road.restart()
    sent = road.city.requests
    road.sending.work()
    assert road.city.requests == sent + 1
    assert len(road.city.kept) == 3
    assert road.spool.segments() == ()


def test_a_city_that_has_seen_another_part_of_the_log_is_given_the_proof_from_there(tmp_path):
    road = Road(tmp_path)
    road.city.known_size = 2
    road.sending.work()
    assert road.spool.segments() == ()


def test_a_city_that_never_agrees_on_the_log_is_left_for_later(tmp_path):
    road = Road(tmp_path)
    sizes = iter(range(1, 100))
    road.city.deliver = lambda _: LogPosition(next(sizes) % 4 + 1)
    with pytest.raises(UplinkError, match="again and again"):
        road.sending.work()


def test_frames_past_their_retention_are_deleted_without_the_city(tmp_path):
    road = Road(tmp_path)
    road.city.faults = [UplinkError("no route")] * 9
    road.clock.advance(DAY_S + 10)
    with pytest.raises(UplinkError):
        road.sending.work()
    assert road.spool.segments() == ()
    assert {entry.reason for entry in road.entries(Deleted)} == {"expired"}


def test_a_clock_set_back_keeps_nothing_longer(tmp_path):
    road = Road(tmp_path, reads=(1,), crops=False)
    road.city.deliver = lambda _: (_ for _ in ()).throw(UplinkError("no route"))
    with pytest.raises(UplinkError):
        road.sending.work()
    road.clock.set_wall(road.clock.now() - timedelta(days=5))
    road.clock.advance(DAY_S - 10)
    road.sending.tidy()
    assert len(road.spool.segments()) == 1
    road.clock.advance(20)
    road.sending.tidy()
    assert road.spool.segments() == ()


def test_the_time_in_a_receipt_counts_where_the_units_clock_is_behind(tmp_path):
    road = Road(tmp_path, reads=(1,), crops=False, close=False)
    road.city.clock = FakeClock(road.clock.now() + timedelta(days=2))
    road.sending.work()
    road.unit.spool.close()
    road.city.deliver = lambda _: (_ for _ in ()).throw(UplinkError("no route"))
    (segment,) = road.spool.segments()
    segment.path.write_bytes(segment.path.read_bytes() + b"damage")
    road.sending.work()
    assert [entry.reason for entry in road.entries(Deleted)] == ["expired"]


def test_near_the_quota_the_oldest_segments_of_the_lane_go(tmp_path):
    road = Road(tmp_path)
    road.quota[Lane.CROPS] = 100
    road.city.faults = [UplinkError("no route")]
    with pytest.raises(UplinkError):
        road.sending.work()
    assert {segment.lane for segment in road.spool.segments()} == {Lane.READS}
    assert {entry.reason for entry in road.entries(Deleted)} == {"quota"}


def test_a_deletion_that_was_announced_is_finished_after_a_restart(tmp_path):
    road = Road(tmp_path, crops=False)
    road.spool.delete = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        road.sending.work()
    assert road.entries(Deleted) == []
    del road.spool.delete
    road.restart()
    road.sending.work()
    assert len(road.entries(Deleted)) == 1
    assert road.spool.segments() == ()


def test_a_damaged_segment_stays_until_its_retention_is_over(tmp_path):
    road = Road(tmp_path, crops=False)
    (segment,) = road.spool.segments()
    content = bytearray(segment.path.read_bytes())
    content[-10] ^= 1
    segment.path.write_bytes(content)
    road.sending.work()
    assert len(road.city.kept) == 1
    assert len(road.spool.segments()) == 1
    road.clock.advance(DAY_S + 10)
    road.sending.work()
    (intent,) = road.entries(DeleteIntent)
    assert (intent.reason, intent.damaged_bytes > 0) == ("expired", True)


def test_the_loop_backs_off_and_drains(tmp_path):
    road = Road(tmp_path)
    road.city.faults = [UplinkError("no route")] * 3
    send_forever(
        road.sending, stop=lambda: False, drain=True, poll_interval_s=1, max_back_off_s=300
    )
    assert road.sending.counters.failures == 3
    assert road.city.requests == 3 + 2
    assert len(road.entries(Stop)) == 1
    assert road.spool.segments() == ()


def test_a_disk_that_is_full_for_a_while_ends_nothing_and_costs_nothing(tmp_path):
    road = Road(tmp_path)
    append, full = road.audit.append_all, [SpoolFullError("make room")] * 5
    segments = len(road.spool.segments())
    seen = []

    def append_in_room(entries):
        if full:
            seen.append(len(road.spool.segments()))
            raise full.pop()
        return append(entries)

    road.audit.append_all = append_in_room
    send_forever(
        road.sending, stop=lambda: False, drain=True, poll_interval_s=1, max_back_off_s=300
    )
    assert road.sending.counters.failures >= 4
    assert seen == [segments] * 5
    assert len(road.entries(Deleted)) == segments
    assert road.spool.segments() == ()


def send_all(road):
    while not road.sending.work():
        pass


def test_what_waits_for_a_signature_is_not_forgotten_on_a_full_disk(tmp_path):
    road = Road(tmp_path)
    append = road.audit.append_all

    def refuse(entries):
        if any(isinstance(entry, DeleteIntent) for entry in entries):
            raise SpoolFullError("make room")
        return append(entries)

    road.audit.append_all = refuse
    with pytest.raises(SpoolFullError):
        send_all(road)
    segments = len(road.spool.segments())
    assert segments > 0
    assert len(road.entries(Uploaded)) >= segments
    road.audit.append_all = append
    road.clock.advance(31)
    road.sending.sign_when_due()
    assert road.spool.segments() == ()
    assert len(road.entries(Deleted)) == segments


def test_in_a_pause_a_full_disk_is_waited_for(tmp_path):
    road = Road(tmp_path)

    def refuse(_):
        raise SpoolFullError("make room")

    road.clock.advance(2 * DAY_S)
    road.audit.append_all = refuse
    rest(road.sending, 30, stop=lambda: False)
    assert len(road.spool.segments()) > 0


def test_the_loop_ends_when_it_is_told_to(tmp_path):
    road = Road(tmp_path)
    answers = iter([False])
    send_forever(
        road.sending,
        stop=lambda: next(answers, True),
        drain=False,
        poll_interval_s=1,
        max_back_off_s=300,
    )
    assert len(road.entries(Stop)) == 1


def test_a_long_pause_ends_soon_after_it_is_told_to(tmp_path):
    road = Road(tmp_path)
    rest(road.sending, 300, stop=lambda: len(road.clock.waits_s) == 2)
    assert sum(road.clock.waits_s) <= 1


def test_a_pause_lasts_as_long_as_it_is_to(tmp_path):
    road = Road(tmp_path)
    rest(road.sending, 3.2, stop=lambda: False)
    assert sum(road.clock.waits_s) == pytest.approx(3.2)


def test_retention_ends_in_the_midst_of_a_long_pause(tmp_path):
    road = Road(tmp_path)
    road.clock.advance(DAY_S - 60)
    road.sending.tidy()
    assert len(road.spool.segments()) == 2
    rest(road.sending, 300, stop=lambda: not road.spool.segments())
    assert sum(road.clock.waits_s) < 90
    assert {entry.reason for entry in road.entries(Deleted)} == {"expired"}


def test_a_long_backlog_lets_hits_age_and_signals_have_their_turn(tmp_path):
    road = Road(tmp_path)
    deliver = road.city.deliver

    def deliver_slowly(upload):
        road.clock.advance(60)
        return deliver(upload)

    road.city.deliver = deliver_slowly
    assert not road.sending.work()
    assert len(road.spool.segments()) == 1
    assert road.sending.work()
    assert road.spool.segments() == ()


def test_a_frame_that_the_city_refuses_does_not_hold_up_the_others(tmp_path):
    road = Road(tmp_path)
    road.city.faults = [RefusedError("409 fork")]
    with pytest.raises(RefusedError):
        road.sending.work()
    assert {segment.lane for segment in road.spool.segments()} == {Lane.READS}
    assert len(road.city.kept) == 2


def test_a_segment_that_has_to_stay_is_not_read_every_round(tmp_path):
    road = Road(tmp_path, crops=False)
    (segment,) = road.spool.segments()
    segment.path.write_bytes(segment.path.read_bytes()[:-10])
    road.sending.work()
    road.spool.frames = lambda _: pytest.fail("read again")
    road.sending.work()
    assert road.sending.is_drained()


def test_a_disk_that_does_not_delete_is_logged_once_and_tried_again(tmp_path):
    road = Road(tmp_path, crops=False)
    road.spool.delete = lambda _: (_ for _ in ()).throw(DeviceError("read-only"))
    for _ in range(3):
        road.sending.work()
        road.clock.advance(DAY_S)
    assert len(road.entries(DeleteIntent)) == len(road.entries(IoFailure)) == 1
    assert road.sending.counters.expired == 0
    del road.spool.delete
    road.sending.work()
    assert [entry.reason for entry in road.entries(Deleted)] == ["receipt"]
    assert road.spool.segments() == ()


@pytest.mark.parametrize("failures", [1, 2, 5, 40])
def test_pauses_double_up_to_the_limit_and_differ_between_units(failures):
    longest = back_off_s(failures, limit_s=300, share=1.0)
    assert longest == min(2.0 ** (failures - 1), 300)
    assert 0 < back_off_s(failures, limit_s=300, share=0.0) < longest


def test_while_the_watcher_has_yet_to_sign_again_the_sender_waits(tmp_path):
    road = Road(tmp_path, crops=False)
    road.city.known_size = 3
    notes = tmp_path / "audit/checkpoints"
    signed = notes.read_bytes()
    notes.write_bytes(signed[: signed.index(b"\n\nhomeplate/") + 2])  # a power cut took the others
    with pytest.raises(UplinkError, match="without a receipt that it has seen 3 entries"):
        road.sending.work()
    notes.write_bytes(signed)
    road.sending.work()
    assert road.spool.segments() == ()


def test_what_a_receipt_proves_and_the_disk_lacks_ends_the_sender(tmp_path):
    """Only then: an endpoint that says so without a signature is asked again later."""
    road = Road(tmp_path, crops=False)
    for size in (100, 1 << 62):
        road.city.known_size = size
        with pytest.raises(UplinkError, match="without a receipt"):
            road.sending.work()
    road.sending._delivery.note_proven(100)
    with pytest.raises(IntegrityError, match="the city has seen"):
        road.sending.work()


def test_a_sender_that_starts_before_the_watcher_ever_did_waits(tmp_path):
    road = Road(tmp_path / "other", reads=())
    road.folder = tmp_path / "new"
    road.folder.mkdir()
    road.spool = SpoolReader(road.folder / "spool")
    road.restart()
    road.sending.work()
    assert road.city.requests == 0


class UnsyncedReader(SpoolReader):
    """A spool whose folders cannot be synced."""

    def sync_deletions(self, lane):
        raise DeviceError("the disk failed")


def test_a_deletion_that_cannot_be_made_durable_is_not_reported_done(tmp_path):
    road = Road(tmp_path, crops=False)
    (segment,) = road.spool.segments()
    road.audit.append(
        DeleteIntent(
            at_ms=0, lane=Lane.READS, segment=segment.path.stem, reason="quota", damaged_bytes=0
        )
    )
    segment.path.unlink()
    road.spool = UnsyncedReader(tmp_path / "spool")
    road.restart()
    road.sending.work()
    assert road.entries(Deleted) == []
    road.spool = SpoolReader(tmp_path / "spool")
    road.restart()
    road.sending.work()
    assert len(road.entries(Deleted)) == 1
