"""What a crash leaves unsigned: damage there costs no frame, and who deletes there is found."""

import pytest

from agent.base.errors import SpoolFullError
from agent.cli.audit import review_state
from agent.spool import SpoolReader
from agent.trust.entries import DeleteIntent, Gap, Recovered, Sealed, encode_entry
from agent.trust.journal import encode_record
from agent.trust.notes import split_notes
from tests.custody.sim_disk import SimDisk
from tests.custody.world import (
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
    world.read(1)
    world.stop_watcher()
    world.send()
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
    """Return a unit killed after uploads and deletions, and where its unsigned entries begin."""
    world = begin()
    world.start_sender()
    for _ in range(3):
        world.read(2)
        world.clock.advance(31)
        world.keeping.commit()
    world.sending._signed_ns = 1 << 62  # it is not time
    world.send()
    world.kill_sender()
    unsigned = find_unsigned(world.disk, "send")
    content = content_of(world, SENT)
    return world, len(content) - sum(len(encode_record(encode_entry(entry))) for entry in unsigned)


def test_no_segment_is_removed_before_its_announcement_is_signed():
    world, _ = uploaded()
    assert world.entries("send", DeleteIntent)
    assert not any(isinstance(entry, DeleteIntent) for entry in find_unsigned(world.disk, "send"))


def test_a_bit_that_flips_in_an_unsigned_entry_of_the_sender_doubles_and_loses_nothing():
    world, signed = uploaded()
    for place in records(content_of(world, SENT), signed)[:-1]:
        again, _ = uploaded()
        content_of(again, SENT)[place + 6] ^= 1
        again.start_sender()
        again.read(1)
        again.stop_watcher()
        again.send()
        assert set(again.acknowledged) == set(again.city.kept)
        check_promises(again)


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
        at_ms=victim.first_ms,
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
