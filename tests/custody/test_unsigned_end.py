"""What a crash leaves unsigned: damage there costs no frame, and who deletes there is found."""

import errno
import os
from datetime import timedelta

import pytest

from agent.base.errors import SpoolFullError
from agent.base.lanes import Lane
from agent.cli.audit import review_state
from agent.spool import SpoolReader
from agent.trust.entries import (
    Deleted,
    DeleteIntent,
    Dropped,
    Gap,
    Recovered,
    Sealed,
    Uploaded,
    encode_entry,
)
from agent.trust.journal import encode_record
from agent.trust.notes import split_notes
from tests.custody.sim_disk import Place, SimDisk
from tests.custody.world import (
    DAY_S,
    RECEIPTS,
    SEND,
    STATE,
    WATCH,
    World,
    check_promises,
    find_unsigned,
)
from tests.fakes import FakeClock

pytestmark = pytest.mark.custody
WATCHED, SENT = STATE / "audit/watch/entries", STATE / "audit/send/entries"


def begin() -> World:
    world = World(SimDisk(), clock=FakeClock())
    world.prepare()
    world.start_watcher()
    return world


def content_of(world, path=WATCHED) -> bytearray:
    """Return the bytes on the disk, to be changed in place."""
    return world.disk._find(path).content


def cut_off(*, closed: bool) -> tuple[World, int]:
    """Return a unit killed with some entries unsigned, and where these begin.

    Args:
        closed: Whether a segment is closed, too, before its entries are signed.
    """
    world = begin()
    world.read(2)
    world.clock.advance(6)
    world.keeping.commit()
    signed = len(content_of(world))
    for _ in range(3):
        world.read(1)
    if closed:
        world.keeping._spool.close()
    world.kill_watcher()
    assert len(content_of(world)) > signed
    return world, signed


def come_back(world: World) -> None:
    """Start, send all, end in good order."""
    world.clock.advance(5)
    world.start_watcher()
    world.start_sender()
    end_well(world)


def end_well(world: World) -> None:
    """Send all and end in good order."""
    world.read(1)
    world.stop_watcher()
    world.send()
    world.stop_sender()
    assert set(world.acknowledged) == set(world.city.kept)
    assert SpoolReader(STATE / "spool", world.disk).segments() == ()
    check_promises(world)


def records(content: bytes, begin: int) -> list[int]:
    """Return where each record from `begin` on begins, and the end."""
    places = [begin]
    while places[-1] < len(content):
        places.append(places[-1] + 8 + int.from_bytes(content[places[-1] :][:4], "little"))
    return places


@pytest.mark.parametrize("closed", [False, True], ids=["open segment", "closed segment"])
@pytest.mark.parametrize("inside", [0, 5, -1], ids=["length", "content", "checksum"])
@pytest.mark.parametrize("which", range(3))
def test_a_bit_that_flips_in_an_unsigned_entry_costs_no_acknowledged_frame(which, inside, closed):
    world, signed = cut_off(closed=closed)
    content = content_of(world)
    places = records(content, signed)
    assert len(places) == 4
    at = places[which] + inside if inside >= 0 else places[which + 1] - 1
    content[at] ^= 1
    come_back(world)
    (gap,) = world.entries("watch", Gap)
    whole = 2 - which if inside else gap.kept  # a wrong length hides where the next one begins
    assert (gap.kept, gap.unsigned) == (whole, 2)
    assert gap.cut_bytes >= places[which + 1] - places[which]
    assert world.entries("watch", Recovered)[0].adopted == 1


def test_entries_that_were_taken_away_are_entered_again_from_the_frames():
    world, signed = cut_off(closed=True)
    del content_of(world)[signed:]
    come_back(world)
    (recovered,) = world.entries("watch", Recovered)
    assert recovered.adopted == 3


def test_zeros_over_all_that_was_unsigned_cost_no_frame():
    world, signed = cut_off(closed=True)
    content = content_of(world)
    content[signed:] = bytes(len(content) - signed)
    come_back(world)
    assert world.entries("watch", Gap)[0].kept == 0


def test_segments_that_were_closed_by_their_size_are_adopted():
    world = begin()
    signed = len(content_of(world))
    world.keeping._audit.checkpoint = lambda: ""  # power is cut before any signature
    for _ in range(6):
        world.read(1, crop_bytes=30_000)
    segments = SpoolReader(STATE / "spool", world.disk).segments()
    assert sum(segment.closed for segment in segments) >= 2
    world.kill_watcher()
    content_of(world)[signed + 30] ^= 1
    come_back(world)


def test_a_log_is_signed_when_a_segment_closes():
    world = begin()
    world.sign_interval_s = 1e9
    for _ in range(6):
        world.read(1, crop_bytes=30_000)
        standing = SpoolReader(STATE / "spool", world.disk).segments()
        names = {segment.path.stem for segment in standing if segment.closed}
        unsigned = {
            entry.segment
            for entry in find_unsigned(world.disk, "watch")
            if isinstance(entry, Sealed)
        }
        assert not names & unsigned


def uploaded() -> tuple[World, int]:
    """Return a unit killed after uploads, and where its unsigned entries begin."""
    world = begin()
    world.start_sender()
    for _ in range(3):
        world.read(2)
        world.clock.advance(31)
        world.keeping.commit()
    world.sending._due_ns = 1 << 62  # it is not time
    world.send()
    world.kill_sender()
    unsigned = find_unsigned(world.disk, "send")
    content = content_of(world, SENT)
    return world, len(content) - sum(len(encode_record(encode_entry(entry))) for entry in unsigned)


@pytest.mark.parametrize("reason", ["receipt", "expired", "quota", "retired"])
def test_no_segment_is_removed_before_its_announcement_is_signed(reason):
    world = begin()
    world.start_sender()
    for _ in range(3):
        world.read(2)
        world.clock.advance(31)
        world.keeping.commit()
    loose = []

    def look(place: Place) -> None:
        if place.call == "unlink":
            loose.append([type(entry) for entry in find_unsigned(world.disk, "send")])

    world.disk.before = look
    delete_for(reason, world)
    assert len(loose) >= 3
    assert not any(DeleteIntent in kinds for kinds in loose)
    assert {entry.reason for entry in world.entries("send", DeleteIntent)} == {reason}


def delete_for(reason: str, world: World) -> None:
    """Have all segments deleted."""
    world.city.reachable = reason == "receipt"
    world.clock.advance(4 * DAY_S if reason == "expired" else 31)
    if reason == "quota":
        world.quota.update(dict.fromkeys(Lane, 1))
    if reason == "retired":
        world.sending._deletion.discard()
    world.send()


def test_what_the_city_has_is_deleted_under_one_signature_every_half_minute():
    world = begin()
    world.start_sender()
    taken = []
    for _ in range(6):
        for _ in range(4):
            world.read(1, crop_bytes=30_000)  # a segment or so
            world.send()
            world.clock.advance(5)
        taken.append(len(SpoolReader(STATE / "spool", world.disk).segments()))
    deletions = world.entries("send", Deleted)
    notes = content_of(world, STATE / "audit/send/checkpoints").decode()
    assert len(deletions) > 12
    assert len(split_notes(notes)[0]) <= 2 + 6 * 30 // 30
    assert max(taken) < 12


def test_the_unsigned_end_of_the_senders_log_speaks_of_nothing_that_is_gone():
    world, _ = uploaded()
    unsigned = find_unsigned(world.disk, "send")
    standing = {item.path.stem for item in SpoolReader(STATE / "spool", world.disk).segments()}
    assert {type(entry) for entry in unsigned} == {Uploaded}
    assert {entry.segment for entry in unsigned} <= standing


def test_receipts_that_were_taken_from_the_unsigned_end_are_given_again():
    world, signed = uploaded()
    del content_of(world, SENT)[signed:]
    assert audit(world).passes
    world.start_sender()
    end_well(world)


def test_a_bit_that_flips_in_an_unsigned_entry_of_the_sender_doubles_and_loses_nothing():
    world, signed = uploaded()
    for place in records(content_of(world, SENT), signed)[:-1]:
        again, _ = uploaded()
        content_of(again, SENT)[place + 6] ^= 1
        again.start_sender()
        end_well(again)


def audit(world: World):
    return review_state(
        STATE,
        watch_key=WATCH.public_key,
        send_key=SEND.public_key,
        city_keys=(RECEIPTS.public_key,),
        disk=world.disk,
    )


def test_the_audit_names_the_unsigned_end_and_passes():
    world, _ = cut_off(closed=False)
    world.start_sender()
    report = audit(world)
    assert report.passes
    (found,) = report.findings
    assert (found.reason, found.severity) == ("unsigned-tail", "warning")
    assert (
        "the last 3 entries, from 2026-06-01 12:00:08 UTC to 2026-06-01 12:00:10 UTC"
        in found.detail
    )


def test_whoever_deletes_a_segment_and_announces_it_himself_is_found():
    world, _ = uploaded()
    world.read(1)
    world.clock.advance(31)
    world.keeping.commit()
    world.read(1)
    world.kill_watcher()
    assert audit(world).passes
    victim = next(
        item for item in SpoolReader(STATE / "spool", world.disk).segments() if item.closed
    )
    entry = DeleteIntent(
        at_ms=find_unsigned(world.disk, "send")[-1].at_ms,
        lane=victim.lane,
        segment=victim.path.stem,
        reason="expired",
        damaged_bytes=0,
    )
    content_of(world, SENT).extend(encode_record(encode_entry(entry)))
    assert audit(world).passes  # it is there still
    world.disk.unlink(victim.path)
    assert {finding.reason for finding in audit(world).faults} == {"unsigned-deletion"}


def test_whoever_takes_the_last_checkpoints_away_is_found():
    world = begin()
    world.start_sender()
    for _ in range(30):
        world.read(1)
    world.kill_watcher()
    path = STATE / "audit/watch/checkpoints"
    text = content_of(world, path).decode()
    notes, _ = split_notes(text)
    reasons = []
    for kept in range(1, len(notes)):
        content_of(world, path)[:] = "".join(f"{note}\n" for note in notes[:kept]).encode()
        reasons.append({finding.reason for finding in audit(world).findings})
    assert reasons[:3] == [{"unsigned-too-long"}] * 3
    assert reasons[-1] == {"unsigned-tail"}


def test_no_clock_that_jumps_makes_a_tail_that_no_unit_leaves():
    world = begin()
    world.start_sender()
    world.read(1)
    world.clock.set_wall(world.clock.now() + timedelta(seconds=20))
    world.read(1)
    world.kill_watcher()
    report = audit(world)
    assert {finding.reason for finding in report.findings} == {"unsigned-tail"}


def test_nor_does_a_city_whose_clock_is_ahead():
    world = begin()
    world.start_sender()
    world.sending._due_ns = 1 << 62  # it is not time
    for hours in range(1, 4):
        world.city.clock = FakeClock(world.clock.now() + timedelta(hours=hours))
        world.read(1)
        world.clock.advance(31)
        world.keeping.commit()
        world.send()
    world.kill_sender()
    assert {type(entry) for entry in find_unsigned(world.disk, "send")} == {Uploaded}
    assert audit(world).passes


class Cut(BaseException):
    """The power goes."""


def test_nor_does_a_power_cut_while_a_start_says_what_the_last_one_left():
    world, _ = cut_off(closed=False)
    world.start_sender()

    def cut(place: Place) -> None:
        if place.call == "write" and place.path == STATE / "audit/watch/checkpoints":
            raise Cut

    for _ in range(3):  # each start finds what the one before could not sign
        world.clock.advance(3600)
        world.disk.before = cut
        with pytest.raises(Cut):
            world.start_watcher()
        world.disk.before = lambda _: None
        world.kill_watcher()
    assert [type(entry) for entry in find_unsigned(world.disk, "watch")][-3:] == [Gap] * 3
    assert {finding.reason for finding in audit(world).findings} == {"unsigned-tail"}
    world.start_watcher()
    end_well(world)


def test_what_waited_for_room_in_the_log_is_signed_bit_by_bit():
    world = begin()
    world.start_sender()
    world.disk.before = full_log
    for _ in range(4):
        world.read(1)
        world.clock.advance(20)
    tails = []
    world.disk.before = lambda place: tails.append(
        span_of(find_unsigned(world.disk, "watch")) if place.call == "write" else 0
    )
    world.read(1)
    world.disk.before = lambda _: None
    assert len(world.entries("watch", Dropped)) >= 1
    assert max(tails) <= 15_000


def full_log(place: Place) -> None:
    if place.call == "write" and place.path.name == "entries":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place.path))


def span_of(entries: list) -> int:
    times_ms = [entry.at_ms for entry in entries]
    return max(times_ms, default=0) - min(times_ms, default=0)


def test_a_flipped_bit_before_the_end_is_told_apart_from_a_torn_end():
    world, signed = cut_off(closed=False)
    world.start_sender()
    content_of(world)[signed + 6] ^= 1
    found = {finding.reason: finding for finding in audit(world).findings}
    assert found["tail-damaged"].severity == "warning"
    assert f"at byte {signed}" in found["tail-damaged"].detail


def test_a_full_disk_keeps_entries_and_signs_when_it_has_room():
    world = begin()
    audit_log = world.keeping._audit
    real = audit_log.checkpoint

    def refuse():
        raise SpoolFullError("full")

    audit_log.checkpoint = refuse
    world.clock.advance(6)
    world.read(1)
    audit_log.checkpoint = real
    world.read(1)
    assert find_unsigned(world.disk, "watch") == []
