"""The unit's logs: what was appended stays, what was signed is held to, others can follow."""

import errno
import os
from pathlib import Path

import pytest

from agent.audit import CHECKPOINTS, ENTRIES, AuditLog, LogReader, RecordFile, read_backlog
from agent.base.append_file import AppendFile
from agent.base.clock import to_ms
from agent.base.disk import SystemDisk
from agent.base.errors import ConfigError, DeviceError, IntegrityError, SpoolFullError
from agent.base.lanes import Lane
from agent.trust.entries import Boot, Dropped, Gap, IoFailure, Sealed, decode_entry
from agent.trust.frames import parse_frame
from agent.trust.keys import generate_signer
from agent.trust.merkle import leaf_hash, root_of, verify_consistency
from agent.trust.notes import open_checkpoint
from agent.trust.proofs import verify_members
from tests.audited import BOOT, AuditedUnit, frame_bytes
from tests.fakes import NOON, FakeClock

ORIGIN = "homeplate/unit-a/watch"
SIGNER = generate_signer()
START_MS = to_ms(NOON)


def open_log(directory: Path) -> AuditLog:
    return AuditLog(directory, SIGNER, ORIGIN, FakeClock())


def entry(number: int) -> IoFailure:
    return IoFailure(at_ms=number, place="spool", detail="x" * number)


def entries_in(directory: Path):
    return [decode_entry(content) for content in RecordFile(directory / ENTRIES).follow()]


def leaves_in(directory: Path):
    return [leaf_hash(content) for content in RecordFile(directory / ENTRIES).follow()]


def crash(log: AuditLog) -> None:
    """End the process: the lock goes, nothing else is done."""
    log._entries.close()


@pytest.fixture
def directory(tmp_path):
    return tmp_path / "audit" / "watch"


def test_what_was_appended_is_there_in_order(directory):
    log = open_log(directory)
    assert log.append(entry(0)) == 0
    assert log.append_all([entry(1), entry(2)]) == 1
    assert entries_in(directory) == [entry(0), entry(1), entry(2)]
    assert (log.size, log.root()) == (3, root_of(leaves_in(directory)))
    log.close()


def test_a_checkpoint_is_signed_over_all_entries_and_kept(directory):
    log = open_log(directory)
    log.append(entry(0))
    note = log.checkpoint()
    head = open_checkpoint(note, (SIGNER.public_key,), origin=ORIGIN)
    assert (head.size, head.root, head.number) == (1, log.root(), 1)
    assert log.checkpoint() == note
    log.append(entry(1))
    log.close()
    text = (directory / CHECKPOINTS).read_text()
    assert text.startswith(f"{note}\n")
    assert text.count("number ") == 2


def test_a_log_goes_on_where_it_ended(directory):
    log = open_log(directory)
    log.append_all([entry(0), entry(1)])
    log.close()
    again = open_log(directory)
    assert (again.size, again.root()) == (log.size, log.root())
    again.append(entry(2))
    head = open_checkpoint(again.checkpoint(), (SIGNER.public_key,), origin=ORIGIN)
    assert (head.size, head.number) == (3, 2)
    assert entries_in(directory) == [entry(0), entry(1), entry(2)]
    again.close()


def test_folders_and_files_are_for_the_unit_alone(directory):
    open_log(directory).close()
    modes = [path.stat().st_mode & 0o777 for path in (directory, *sorted(directory.iterdir()))]
    assert modes == [0o750, 0o640, 0o640]


def test_one_log_has_one_writer(directory):
    log = open_log(directory)
    with pytest.raises(DeviceError, match="another process writes this log"):
        open_log(directory)
    log.close()
    open_log(directory).close()


@pytest.mark.parametrize("cut", [1, 5, 12])
def test_a_torn_end_is_cut_and_told(directory, cut):
    log = open_log(directory)
    log.append(entry(0))
    log.checkpoint()
    whole = (directory / ENTRIES).stat().st_size
    log.append(entry(1))
    crash(log)
    os.truncate(directory / ENTRIES, whole + cut)
    again = open_log(directory)
    assert entries_in(directory) == [
        entry(0),
        Gap(at_ms=START_MS, cut_bytes=cut, kept=0, unsigned=0),
    ]
    again.close()


def test_every_cut_behind_the_last_checkpoint_leaves_a_log_that_opens(directory):
    log = open_log(directory)
    log.append(entry(0))
    log.checkpoint()
    signed = (directory / ENTRIES).stat().st_size
    log.append_all([entry(number) for number in range(1, 4)])
    crash(log)
    content = (directory / ENTRIES).read_bytes()
    notes = (directory / CHECKPOINTS).read_bytes()
    for length in range(signed, len(content) + 1):
        (directory / ENTRIES).write_bytes(content[:length])
        open_log(directory).close()
        kept = [item for item in entries_in(directory) if not isinstance(item, Gap)]
        assert kept == [entry(number) for number in range(len(kept))]
        (directory / CHECKPOINTS).write_bytes(notes)


@pytest.mark.parametrize("tail", [b"homeplate/unit-a", b"\xff\xfe" * 40, b"\n"])
def test_a_torn_checkpoint_is_cut_and_signed_again(directory, tail):
    log = open_log(directory)
    log.append(entry(0))
    log.close()
    whole = (directory / CHECKPOINTS).read_bytes()
    (directory / CHECKPOINTS).write_bytes(whole + tail)
    again = open_log(directory)
    assert (directory / CHECKPOINTS).read_bytes() == whole
    again.close()


def test_any_flipped_bit_under_a_checkpoint_stops_the_start(directory):
    log = open_log(directory)
    log.append_all([entry(0), entry(1)])
    log.close()
    content = (directory / ENTRIES).read_bytes()
    for bit in range(8 * len(content)):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        (directory / ENTRIES).write_bytes(changed)
        with pytest.raises(IntegrityError, match="audit verify"):
            open_log(directory)
    (directory / ENTRIES).write_bytes(content)
    open_log(directory).close()


def test_entries_that_are_not_the_signed_ones_stop_the_start(directory, tmp_path):
    log = open_log(directory)
    log.append(entry(1))
    log.close()
    other = open_log(tmp_path / "other" / "watch")
    other.append(entry(2))
    other.close()
    (directory / ENTRIES).write_bytes((tmp_path / "other/watch" / ENTRIES).read_bytes())
    with pytest.raises(IntegrityError, match="found other entries on disk"):
        open_log(directory)


def failing(code: int, *, after_bytes: int = 0):
    """Return a stand-in for AppendFile.append on a disk that fails."""

    def append(file: AppendFile, content: bytes) -> None:
        os.write(file._descriptor, content[:after_bytes])
        raise OSError(code, os.strerror(code))

    return append


@pytest.mark.parametrize("after_bytes", [0, 7])
def test_a_full_disk_adds_nothing_and_may_be_tried_again(directory, monkeypatch, after_bytes):
    log = open_log(directory)
    log.append(entry(0))
    with monkeypatch.context() as patch:
        patch.setattr(AppendFile, "append", failing(errno.ENOSPC, after_bytes=after_bytes))
        with pytest.raises(SpoolFullError, match="disk is full"):
            log.append(entry(1))
    assert log.append(entry(1)) == 1
    log.close()
    assert entries_in(directory) == [entry(0), entry(1)]


def test_after_a_failed_disk_the_log_takes_no_more_until_it_is_read_back(directory, monkeypatch):
    log = open_log(directory)
    log.append(entry(0))
    with monkeypatch.context() as patch:
        patch.setattr(AppendFile, "append", failing(errno.EIO, after_bytes=7))
        with pytest.raises(DeviceError, match="disk failed"):
            log.append(entry(1))
    with pytest.raises(DeviceError, match="failed before"):
        log.append(entry(1))
    log.close()
    again = open_log(directory)
    again.append(entry(1))
    again.close()
    assert entries_in(directory) == [entry(0), entry(1)]


class FullDisk(SystemDisk):
    """A disk that takes `room_bytes` more, then no byte."""

    room_bytes = 1 << 20

    def write(self, descriptor, content):
        written = super().write(descriptor, content[: self.room_bytes]) if self.room_bytes else 0
        self.room_bytes -= written
        if not written:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return written


@pytest.mark.parametrize("room_bytes", [0, 40])
def test_a_checkpoint_on_a_full_disk_leaves_the_file_whole(directory, room_bytes):
    disk = FullDisk()
    log = AuditLog(directory, SIGNER, ORIGIN, FakeClock(), disk)
    log.append(entry(0))
    log.checkpoint()
    before = (directory / CHECKPOINTS).read_bytes()
    log.append(entry(1))
    disk.room_bytes = room_bytes
    with pytest.raises(SpoolFullError, match="disk is full"):
        log.checkpoint()
    disk.room_bytes = 1 << 20
    note = log.checkpoint()
    assert (directory / CHECKPOINTS).read_bytes() == before + f"{note}\n".encode()
    log.close()


def test_a_folder_that_cannot_be_made_is_a_device_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DeviceError):
        open_log(tmp_path / "file" / "audit" / "watch")


def frame_at(first, last, lane=Lane.READS):
    content = frame_bytes(first=first, last=last, lane=lane)
    return parse_frame(content).header, first.to_bytes(32)


def test_frames_that_missed_the_log_are_those_of_the_last_start_after_its_last_entry(directory):
    log = open_log(directory)
    assert not log.unlogged(*frame_at(0, 2))
    log.append(Boot(at_ms=0, boot=BOOT, version="1", policy_hash=bytes(32)))
    log.append(sealed(first=0, last=2))
    log.close()
    log = open_log(directory)
    assert not log.unlogged(*frame_at(0, 2))
    assert log.unlogged(*frame_at(3, 3))
    assert log.unlogged(*frame_at(0, 0, Lane.HITS))
    log.append(Boot(at_ms=0, boot=bytes(16), version="1", policy_hash=bytes(32)))
    log.close()
    log = open_log(directory)
    assert not log.unlogged(*frame_at(3, 3))
    log.close()


def test_behind_the_last_signature_a_frame_counts_by_itself(directory):
    log = open_log(directory)
    log.append(Boot(at_ms=0, boot=BOOT, version="1", policy_hash=bytes(32)))
    log.append(sealed(first=0, last=2))
    log.checkpoint()
    log.append(sealed(first=5, last=6))
    log.append(
        Dropped(at_ms=0, lane=Lane.READS, boot=BOOT, first=7, count=2, reason="the disk is full")
    )
    crash(log)
    log = open_log(directory)
    known = {first: log.unlogged(*frame_at(first, first)) for first in (0, 3, 5, 7, 8, 9)}
    assert known == {0: False, 3: True, 5: False, 7: False, 8: False, 9: True}
    log.close()


@pytest.mark.parametrize("broken", range(3))
def test_damage_before_the_end_costs_one_entry_and_is_told_apart_from_a_torn_end(directory, broken):
    log = open_log(directory)
    log.append(entry(0))
    log.checkpoint()
    ends = [(directory / ENTRIES).stat().st_size]
    for number in (1, 2, 3):
        log.append(entry(number))
        ends.append((directory / ENTRIES).stat().st_size)
    crash(log)
    content = bytearray((directory / ENTRIES).read_bytes())
    content[ends[broken] + 6] ^= 1
    (directory / ENTRIES).write_bytes(content)
    log = open_log(directory)
    assert not log.ended
    before = [entry(number) for number in range(1, 1 + broken)]
    behind = [entry(number) for number in range(2 + broken, 4)]
    size = ends[broken + 1] - ends[broken]
    gap = Gap(at_ms=START_MS, cut_bytes=size, kept=len(behind), unsigned=2)
    assert entries_in(directory) == [entry(0), *before, gap, *behind]
    log.close()
    again = open_log(directory)
    assert len(entries_in(directory)) == again.size == 4
    again.close()


def test_entries_that_nobody_signed_are_told_at_the_next_start(directory):
    log = open_log(directory)
    log.append(entry(0))
    log.checkpoint()
    log.append_all([entry(1), entry(2)])
    crash(log)
    open_log(directory).close()
    assert entries_in(directory)[3:] == [Gap(at_ms=START_MS, cut_bytes=0, kept=0, unsigned=2)]


def test_a_damaged_note_before_whole_ones_is_kept_for_the_audit(directory):
    log = open_log(directory)
    for number in range(30):
        log.append(entry(number))
        log.checkpoint()
    crash(log)
    notes = bytearray((directory / CHECKPOINTS).read_bytes())
    notes[-1000] ^= 1
    (directory / CHECKPOINTS).write_bytes(notes)
    log = open_log(directory)
    assert log.checkpoint() == notes[notes.rindex(b"homeplate/unit-a/watch\n") :].decode()[:-1]
    log.close()
    assert (directory / CHECKPOINTS).read_bytes() == notes


def test_a_note_is_looked_for_behind_any_amount_of_rubbish(directory):
    log = open_log(directory)
    log.append(entry(0))
    note = log.checkpoint()
    crash(log)
    whole = (directory / CHECKPOINTS).read_bytes()
    (directory / CHECKPOINTS).write_bytes(whole + bytes(50_000))
    log = open_log(directory)
    assert log.checkpoint() == note
    assert (directory / CHECKPOINTS).read_bytes() == whole
    log.close()


class IllDisk(SystemDisk):
    """A disk whose syncs fail from some moment on."""

    ill = False

    def sync_data(self, descriptor):
        if self.ill:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        super().sync_data(descriptor)


def test_after_a_note_that_the_disk_refused_none_is_signed_until_the_next_start(directory):
    disk = IllDisk()
    log = AuditLog(directory, SIGNER, ORIGIN, FakeClock(), disk)
    log.append(entry(0))
    log.checkpoint()
    whole = (directory / CHECKPOINTS).read_bytes()
    log.append(entry(1))
    disk.ill = True
    with pytest.raises(DeviceError):
        log.checkpoint()
    disk.ill = False
    with pytest.raises(DeviceError, match="failed before"):
        log.checkpoint()
    assert (directory / CHECKPOINTS).read_bytes() == whole
    crash(log)


def sealed(*, first: int, last: int, segment: str = "1780315200000-626f6f74-000000") -> Sealed:
    return Sealed(
        at_ms=0,
        lane=Lane.READS,
        boot=BOOT,
        first=first,
        last=last,
        frame=first.to_bytes(32),
        length=1,
        segment=segment,
    )


def test_a_reader_follows_only_what_is_signed(directory):
    reader = LogReader(directory)
    assert list(reader.follow()) == []
    log = open_log(directory)
    log.append(entry(0))
    assert list(reader.follow()) == []
    note = log.checkpoint()
    log.append(entry(1))
    assert list(reader.follow()) == [(0, entry(0))]
    assert (reader.size, reader.note) == (1, note)
    assert list(reader.follow()) == []
    log.checkpoint()
    assert list(reader.follow()) == [(1, entry(1))]
    log.close()


@pytest.fixture
def small_blocks(monkeypatch):
    """Blocks of four leaves, so that short logs have many."""
    for module in ("agent.audit.reader", "agent.trust.proofs"):
        monkeypatch.setattr(f"{module}.BLOCK_LEAVES", 4)
    monkeypatch.setattr("agent.trust.proofs.BLOCK_LEVEL", 2)


def test_a_reader_proves_growth_from_every_size_that_the_city_may_have_seen(
    directory, small_blocks
):
    log, reader = open_log(directory), LogReader(directory)
    for batch in (3, 1, 4, 1, 5, 9, 2, 6):
        log.append_all([entry(number) for number in range(batch)])
        log.checkpoint()
        assert len(list(reader.follow())) == batch
        leaves = leaves_in(directory)
        for size in range(len(leaves) + 1):
            assert reader.root_at(size) == root_of(leaves[:size])
            verify_consistency(
                old_size=size,
                old_root=root_of(leaves[:size]),
                size=len(leaves),
                root=log.root(),
                proof=reader.prove_from(size),
            )
    log.close()


def test_a_reader_proves_where_entries_stand(directory, small_blocks):
    log, reader = open_log(directory), LogReader(directory)
    log.append_all([entry(number) for number in range(31)])
    log.checkpoint()
    list(reader.follow())
    leaves = leaves_in(directory)
    for indices in ({0}, {30}, {3, 4}, {0, 7, 8, 15, 30}, set(range(31))):
        verify_members(
            {index: leaves[index] for index in indices},
            size=31,
            root=log.root(),
            proof=reader.prove_members(indices),
        )
    log.close()


def test_a_reader_holds_one_hash_a_block_and_notices_when_a_block_is_damaged(
    directory, small_blocks
):
    log, reader = open_log(directory), LogReader(directory)
    log.append_all([entry(number) for number in range(50)])
    log.close()
    assert len(list(reader.follow())) == 50
    assert (len(reader._tree._roots), len(reader._tree._tail)) == (12, 2)
    path = directory / ENTRIES
    path.write_bytes(b"\xff" + path.read_bytes()[1:])
    with pytest.raises(IntegrityError, match="damaged now"):
        reader.prove_members([0])


def test_a_reader_refuses_to_prove_what_was_never_there(directory):
    log = open_log(directory)
    log.append(entry(0))
    log.checkpoint()
    reader = LogReader(directory)
    list(reader.follow())
    with pytest.raises(IntegrityError, match="the city has seen 2"):
        reader.prove_from(2)
    log.close()


@pytest.mark.parametrize("damage", ["flip", "cut", "other"])
def test_a_reader_refuses_a_log_that_is_not_the_signed_one(directory, tmp_path, damage):
    log = open_log(directory)
    log.append_all([entry(0), entry(1)])
    log.close()
    path = directory / ENTRIES
    content = bytearray(path.read_bytes())
    if damage == "flip":
        content[-6] ^= 1
    elif damage == "cut":
        del content[-1]
    else:
        other = open_log(tmp_path / "other" / "watch")
        other.append_all([entry(0), entry(2)])
        other.close()
        content = bytearray((tmp_path / "other/watch" / ENTRIES).read_bytes())
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match="on disk"):
        list(LogReader(directory).follow())


def test_records_across_chunks_of_the_file_are_read_whole(directory, monkeypatch):
    monkeypatch.setattr("agent.audit.files._CHUNK_BYTES", 11)
    log = open_log(directory)
    log.append_all([entry(number) for number in range(40)])
    log.close()
    assert entries_in(directory) == [entry(number) for number in range(40)]


def test_reading_stops_soon_after_damage(directory, monkeypatch):
    monkeypatch.setattr("agent.audit.files._CHUNK_BYTES", 4096)
    log = open_log(directory)
    log.append_all([entry(1)] * 20_000)
    log.close()
    path = directory / ENTRIES
    content = path.read_bytes()
    path.write_bytes(b"\xff" + content[1:])
    records = RecordFile(path)
    assert list(records.follow()) == []
    assert records.offset == 0


def test_a_backlog_is_what_both_logs_leave_to_do(tmp_path):
    unit = AuditedUnit(tmp_path)
    done = unit.seal()
    unit.next_segment()
    left = unit.seal()
    unit.upload(done, reads=3)
    unit.delete(done, "receipt")
    half = unit.seal()
    unit.upload(half, reads=6)
    unit.crash()
    backlog = read_backlog(unit.state / "audit/send")
    reader = LogReader(unit.state / "audit/watch")
    for index, item in reader.follow():
        backlog.note_watched(index, item)
    key = (Lane.READS, left)
    assert backlog.known_size == unit.watch.size
    assert backlog.to_upload(key, tuple(unit.hashes[left])) == ()
    assert backlog.is_settled(key, tuple(unit.hashes[left]))
    assert backlog.to_upload((Lane.READS, done), tuple(unit.hashes[done])) == ()


def sign_often(log: AuditLog, count: int) -> list[str]:
    notes = []
    for number in range(count):
        log.append(entry(number % 3))
        notes.append(log.checkpoint())
    return notes


@pytest.mark.parametrize("count", [4, 200], ids=["short_file", "long_file"])
def test_a_last_note_that_is_torn_is_signed_again(directory, count):
    log = open_log(directory)
    notes = sign_often(log, count)
    log.close()
    path = directory / CHECKPOINTS
    content = bytearray(path.read_bytes())
    at = content.index(notes[-1].encode())
    content[at + 50 : at + 90] = bytes(40)  # a sector that did not reach the disk
    path.write_bytes(content)
    again = open_log(directory)
    assert path.read_bytes().startswith(content[:at])
    head = open_checkpoint(again.checkpoint(), (SIGNER.public_key,), origin=ORIGIN)
    assert (head.number, head.size) == (count, count + 1)  # the gap is one, signed at once
    assert path.read_bytes()[at:] == f"{again.checkpoint()}\n".encode()
    again.close()


def test_a_reader_tells_what_is_yet_to_be_signed_from_what_is_missing(directory):
    log = open_log(directory)
    log.append_all([entry(0), entry(1)])
    log.checkpoint()
    log.append(entry(2))
    reader = LogReader(directory)
    list(reader.follow())
    assert [reader.has_signed(size) for size in (0, 2, 3)] == [True, True, False]
    with pytest.raises(IntegrityError, match="3 whole entries; the city has seen 4"):
        reader.has_signed(4)
    log.close()


def test_a_log_knows_the_latest_time_in_it(directory):
    log = open_log(directory)
    assert log.latest_ms == 0
    log.append_all([entry(9), entry(2)])
    log.close()
    again = open_log(directory)
    assert again.latest_ms == 9
    again.close()


def test_two_users_of_one_group_can_share_the_folder_whatever_their_umask(tmp_path):
    before = os.umask(0o077)
    try:
        log = AuditLog(
            tmp_path / "audit/watch", generate_signer(), "homeplate/u/watch", FakeClock()
        )
        log.checkpoint()
        log.close()
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "audit").rglob("*")}
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o770
    assert modes == {"watch": 0o750, ENTRIES: 0o640, CHECKPOINTS: 0o640}


def test_the_log_of_another_unit_is_not_gone_on_with(tmp_path):
    key, clock = generate_signer(), FakeClock()
    AuditLog(tmp_path / "log", key, "homeplate/u/watch", clock).close()
    with pytest.raises(ConfigError, match="is the log of homeplate/u/watch"):
        AuditLog(tmp_path / "log", key, "homeplate/v/watch", clock)
    AuditLog(tmp_path / "log", key, "homeplate/u/watch", clock).close()
