"""What the spool acknowledged stays; damage stays small; a full or failing disk is told apart."""

import errno
import os
import re
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.base.clock import to_ms
from agent.base.errors import ConfigError, DeviceError, SpoolFullError
from agent.base.lanes import Lane
from agent.base.segments import _segment, disk_errors
from agent.base.settings import SpoolSettings
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.frames import Damage, Found, encode_frame, frame_hash
from tests.sealing import BOOT, NOON, folder_with_binding_permissions, frame_bytes

ROOT = Path(__file__).parent.parent
LIMITS = SpoolSettings(segment_limit_bytes=65_536, segment_limit_s=60)
ROOMY = dict.fromkeys(Lane, 2**30)


def new_writer(root, *, quota=None, boot=BOOT, limits=LIMITS):
    return SpoolWriter(root, limits, quota or ROOMY, boot)


def put_some(writer, count, *, lane=Lane.READS, first=0, now=NOON, size=50):
    for number in range(first, first + count):
        writer.put(lane, frame_bytes(number, size=size), now)


def stored(root):
    reader = SpoolReader(root)
    return [item for segment in reader.segments() for item in reader.frames(segment)]


def stored_numbers(root):
    return [item.frame.header.first_sequence for item in stored(root) if isinstance(item, Found)]


def names(root, lane=Lane.READS):
    return sorted(path.name for path in (root / lane.label).iterdir())


def after(seconds):
    return NOON + timedelta(seconds=seconds)


# Keeping


def test_what_was_put_is_found_byte_for_byte(tmp_path):
    writer = new_writer(tmp_path)
    contents = [frame_bytes(number) for number in range(3)]
    for content in contents:
        writer.put(Lane.READS, content, NOON)
    assert [encode_frame(item.frame) for item in stored(tmp_path)] == contents


def test_lanes_are_kept_apart_and_hits_come_first(tmp_path):
    writer = new_writer(tmp_path)
    for lane in (Lane.CROPS, Lane.READS, Lane.HITS):
        put_some(writer, 1, lane=lane)
    assert [segment.lane for segment in SpoolReader(tmp_path).segments()] == list(Lane)


@given(
    st.lists(
        st.tuples(st.sampled_from(Lane), st.integers(1, 40_000), st.integers(0, 40)), max_size=12
    )
)
@settings(deadline=None, max_examples=12)  # each waits for the disk a hundred times
def test_every_put_is_found_once_in_its_lane_and_order(puts):
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        writer = new_writer(root)
        now = NOON
        for number, (lane, size, seconds) in enumerate(puts):
            now += timedelta(seconds=seconds)
            writer.put(lane, frame_bytes(number, size=size), now)
        writer.close()
        for lane in Lane:
            reader = SpoolReader(root)
            found = [
                item.frame.header.first_sequence
                for segment in reader.lane(lane)[0]
                for item in reader.frames(segment)
            ]
            assert found == [number for number, put in enumerate(puts) if put[0] is lane]


def test_a_segment_is_named_by_time_boot_and_count(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1, lane=Lane.HITS)
    put_some(writer, 1)
    assert names(tmp_path) == [f"{to_ms(NOON)}-00010203-000001.open"]
    writer.close()
    assert names(tmp_path) == [f"{to_ms(NOON)}-00010203-000001.seg"]


def test_a_segment_is_closed_before_it_grows_too_large(tmp_path):
    put_some(new_writer(tmp_path), 7, size=20_000)
    sizes = [segment.size_bytes for segment in SpoolReader(tmp_path).segments()]
    assert len(sizes) == 3
    assert max(sizes) <= LIMITS.segment_limit_bytes
    assert stored_numbers(tmp_path) == list(range(7))


def test_a_frame_larger_than_a_segment_gets_its_own(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    put_some(writer, 1, first=1, size=100_000)
    put_some(writer, 1, first=2)
    assert stored_numbers(tmp_path) == [0, 1, 2]
    assert len(names(tmp_path)) == 3


@pytest.mark.parametrize("seconds", [60, 3600, -1], ids=["old", "very_old", "clock_set_back"])
def test_a_segment_is_closed_by_age(tmp_path, seconds):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    put_some(writer, 1, first=1, now=after(59.9) if seconds > 0 else NOON)
    assert len(names(tmp_path)) == 1
    put_some(writer, 1, first=2, now=after(seconds))
    assert len(names(tmp_path)) == 2
    assert sorted(stored_numbers(tmp_path)) == [0, 1, 2]


def test_an_old_segment_is_closed_without_a_put(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    writer.roll_aged(after(59))
    assert names(tmp_path)[0].endswith(".open")
    writer.roll_aged(after(60))
    assert names(tmp_path)[0].endswith(".seg")


def test_each_start_makes_new_files(tmp_path):
    put_some(new_writer(tmp_path), 1)
    put_some(new_writer(tmp_path, boot=bytes(16)), 1, first=1)
    assert len(names(tmp_path)) == 2


@pytest.mark.parametrize("umask", [0o000, 0o077], ids=["open", "closed"])
def test_files_and_folders_are_for_the_group_of_the_two_services(tmp_path, umask):
    before = os.umask(umask)
    try:
        put_some(new_writer(tmp_path / "spool"), 1)
    finally:
        os.umask(before)
    modes = {
        path: stat.S_IMODE(path.stat().st_mode)
        for path in (tmp_path / "spool", tmp_path / "spool" / "reads")
    }
    assert list(modes.values()) == [0o750, 0o770]
    segment = SpoolReader(tmp_path / "spool").segments()[0]
    assert stat.S_IMODE(segment.path.stat().st_mode) == 0o640


# Reading and deleting


def test_an_empty_spool_reads_as_empty(tmp_path):
    reader = SpoolReader(tmp_path / "nowhere")
    assert reader.segments() == ()
    assert reader.usage_bytes(Lane.READS) == 0
    assert reader.oldest_ms(Lane.READS) is None


def test_use_and_age_are_told_by_lane(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 2)
    put_some(writer, 1, first=2, now=after(100))
    put_some(writer, 1, lane=Lane.HITS)
    reader = SpoolReader(tmp_path)
    assert reader.usage_bytes(Lane.READS) == 3 * len(frame_bytes())
    assert reader.usage_bytes(Lane.HITS) == len(frame_bytes())
    assert reader.oldest_ms(Lane.READS) == to_ms(NOON)


def test_a_deleted_segment_is_gone_and_the_others_stay(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    put_some(writer, 1, first=1, now=after(100))
    reader = SpoolReader(tmp_path)
    first = reader.segments()[0]
    reader.delete(first)
    reader.delete(first)  # after a crash between removal and its record
    assert stored_numbers(tmp_path) == [1]


def test_an_open_segment_is_not_deleted(tmp_path):
    put_some(new_writer(tmp_path), 1)
    reader = SpoolReader(tmp_path)
    with pytest.raises(ValueError, match="belong to the watcher"):
        reader.delete(reader.segments()[0])
    assert stored_numbers(tmp_path) == [0]


def test_a_segment_that_was_closed_since_it_was_listed_is_read(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    reader = SpoolReader(tmp_path)
    segment = reader.segments()[0]
    writer.close()
    assert [item.frame.header.first_sequence for item in reader.frames(segment)] == [0]


def test_a_segment_that_is_gone_is_a_failing_disk(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    writer.close()
    reader = SpoolReader(tmp_path)
    segment = reader.segments()[0]
    segment.path.unlink()
    with pytest.raises(DeviceError, match=segment.path.name):
        reader.frames(segment)


def test_the_sender_sees_frames_while_the_watcher_writes(tmp_path):
    writer = new_writer(tmp_path)
    for number in range(5):
        put_some(writer, 1, first=number)
        assert stored_numbers(tmp_path) == list(range(number + 1))


def test_a_frame_that_is_just_being_written_is_a_tail(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    segment = SpoolReader(tmp_path).segments()[0]
    with segment.path.open("ab") as file:
        file.write(frame_bytes(1)[:30])
    assert stored(tmp_path)[1] == Damage(offset=len(frame_bytes()), length=30, tail=True)


# Starting again


def test_a_start_reports_and_closes_what_was_left_open(tmp_path):
    put_some(new_writer(tmp_path), 2)
    with SpoolReader(tmp_path).segments()[0].path.open("ab") as file:
        file.write(frame_bytes(2)[:30])
    found = new_writer(tmp_path, boot=bytes(16)).recover()
    assert (found.segments, found.damaged, found.unknown, found.problems) == (1, 1, (), ())
    leftover = found.leftovers[0]
    assert leftover.damaged_bytes == 30
    assert [note.sha256 for note in leftover.frames] == [
        frame_hash(frame_bytes(number)) for number in range(2)
    ]
    assert [note.length for note in leftover.frames] == [len(frame_bytes())] * 2
    assert leftover.frames[1].header.first_sequence == 1
    assert names(tmp_path)[0].endswith(".seg")
    assert stored_numbers(tmp_path) == [0, 1]


def test_leftovers_are_recorded_before_the_sender_may_delete_them(tmp_path):
    put_some(new_writer(tmp_path), 1)
    states = []
    new_writer(tmp_path).recover(
        lambda found: states.append((len(found.leftovers), names(tmp_path)[0][-5:]))
    )
    assert states == [(1, ".open")]
    assert names(tmp_path)[0].endswith(".seg")


def test_leftovers_stay_open_when_recording_fails(tmp_path):
    put_some(new_writer(tmp_path), 1)

    def refuse(_found):
        raise DeviceError

    with pytest.raises(DeviceError):
        new_writer(tmp_path).recover(refuse)
    assert names(tmp_path)[0].endswith(".open")


def test_a_start_reads_only_what_was_left_open(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 1)
    writer.close()
    found = new_writer(tmp_path).recover()
    assert (found.segments, found.leftovers) == (1, ())


def test_a_start_in_an_empty_folder_finds_nothing(tmp_path):
    found = new_writer(tmp_path / "spool").recover()
    assert (found.segments, found.damaged) == (0, 0)


@pytest.mark.parametrize(
    "content", [b"", b"rubbish", bytes(5000)], ids=["empty", "rubbish", "zeros"]
)
def test_a_damaged_leftover_is_kept_and_stops_no_start(tmp_path, content):
    put_some(new_writer(tmp_path), 1)
    SpoolReader(tmp_path).segments()[0].path.write_bytes(content)
    writer = new_writer(tmp_path, boot=bytes(16))
    found = writer.recover()
    assert found.damaged == (1 if content else 0)
    put_some(writer, 1, first=9)
    assert stored_numbers(tmp_path) == [9]
    assert len(names(tmp_path)) == 2


def test_a_leftover_that_cannot_be_read_is_damage(tmp_path):
    folder = tmp_path / "reads" / f"{to_ms(NOON):013d}-00010203-000000.open"
    folder.mkdir(parents=True)
    writer = new_writer(tmp_path)
    assert writer.recover().damaged == 1
    put_some(writer, 1, now=after(1))


def test_a_leftover_that_may_not_be_read_is_damage(own_folder):
    put_some(new_writer(own_folder), 1)
    SpoolReader(own_folder).segments()[0].path.chmod(0)
    writer = new_writer(own_folder, boot=bytes(16))
    found = writer.recover()
    assert (found.damaged, found.leftovers[0].frames) == (1, ())
    put_some(writer, 1)


def test_a_segment_that_vanished_since_it_was_listed_is_left_out(tmp_path):
    gone = tmp_path / f"{to_ms(NOON)}-00010203-000000.seg"
    assert _segment(Lane.READS, gone) is None


def test_a_second_watcher_is_refused_while_the_first_runs(tmp_path):
    with running_child(tmp_path, start=0) as child:
        read_until(child.stdout, 3)
        with pytest.raises(ConfigError, match="another watcher"):
            new_writer(tmp_path).recover()
        assert names(tmp_path)[-1].endswith(".open")
        child.kill()
    assert new_writer(tmp_path).recover().leftovers


def test_a_closed_spool_holds_nothing_but_segments(tmp_path):
    writer = new_writer(tmp_path)
    writer.recover()
    assert (tmp_path / "lock").exists()
    put_some(writer, 1)
    writer.close()
    writer.close()
    assert [path.suffix for path in tmp_path.rglob("*") if path.is_file()] == [".seg"]


def test_a_spool_that_cannot_be_made_stops_no_start(tmp_path):
    writer = new_writer(tmp_path / "no" / "spool")
    assert "disk failed" in writer.recover().problems[0]
    (tmp_path / "no").mkdir()
    put_some(writer, 1)
    writer.close()
    assert stored_numbers(tmp_path / "no" / "spool") == [0]


def test_names_that_are_no_segments_are_reported_and_left_alone(tmp_path):
    put_some(new_writer(tmp_path), 1)
    for name in ("notes.txt", "1-2-3.seg", ".hidden", f"{to_ms(NOON)}-00010203-00000٣.seg"):
        (tmp_path / "reads" / name).write_bytes(b"x")
    assert len(new_writer(tmp_path).recover().unknown) == 4
    assert len(names(tmp_path)) == 5
    assert len(SpoolReader(tmp_path).segments()) == 1


def test_a_lane_that_cannot_be_read_is_reported_and_stops_no_start(tmp_path):
    put_some(new_writer(tmp_path), 1)
    (tmp_path / "hits").rmdir()
    (tmp_path / "hits").write_bytes(b"a file")
    writer = new_writer(tmp_path, boot=bytes(16))
    found = writer.recover()
    assert found.segments == 1
    assert "hits" in found.problems[0]
    with pytest.raises(DeviceError, match=r"spool|hits"):
        put_some(writer, 1, lane=Lane.HITS)


def test_a_flipped_bit_on_the_disk_costs_one_frame_and_forges_none(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 3, size=10)
    writer.close()
    segment = SpoolReader(tmp_path).segments()[0]
    content = segment.path.read_bytes()
    for bit in range(0, len(content) * 8, 97):
        changed = bytearray(content)
        changed[bit // 8] ^= 1 << bit % 8
        segment.path.write_bytes(changed)
        hit = bit // 8 // (len(content) // 3)
        assert stored_numbers(tmp_path) == [number for number in range(3) if number != hit]


# Full


def test_the_quota_is_kept_by_lane(tmp_path):
    size = len(frame_bytes())
    quota = {Lane.HITS: size, Lane.READS: 2 * size, Lane.CROPS: size - 1}
    writer = new_writer(tmp_path, quota=quota)
    put_some(writer, 1, lane=Lane.HITS)
    put_some(writer, 2)
    for lane in Lane:
        with pytest.raises(SpoolFullError, match=f"{lane.label}: .* quota"):
            put_some(writer, 1, lane=lane)
    assert len(stored_numbers(tmp_path)) == 3


def test_the_quota_counts_what_earlier_starts_left(tmp_path):
    put_some(new_writer(tmp_path), 2)
    quota = dict.fromkeys(Lane, 3 * len(frame_bytes()))
    writer = new_writer(tmp_path, quota=quota, boot=bytes(16))
    put_some(writer, 1, first=2)
    with pytest.raises(SpoolFullError):
        put_some(writer, 1, first=3)


def test_room_that_the_sender_made_is_used(tmp_path):
    writer = new_writer(tmp_path, quota=dict.fromkeys(Lane, 2 * len(frame_bytes())))
    put_some(writer, 2)
    with pytest.raises(SpoolFullError):
        put_some(writer, 1, first=2)
    writer.roll_aged(after(100))
    reader = SpoolReader(tmp_path)
    reader.delete(reader.segments()[0])
    put_some(writer, 1, first=2, now=after(100))
    assert stored_numbers(tmp_path) == [2]


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 256 KiB."""
    command = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=64", "tmpfs", str(tmp_path)]
    mounted = shutil.which("mount") and subprocess.run(command, capture_output=True, check=False)
    if not mounted or mounted.returncode:
        pytest.skip("a small file system cannot be mounted here: needs root and the right to mount")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def put_until_full(writer):
    for number in range(100):
        try:
            put_some(writer, 1, first=number, size=9000)
        except SpoolFullError as error:
            assert "disk is full" in str(error)  # noqa: PT017 -- the loop must count
            return list(range(number))
    pytest.fail("the disk did not get full")


def test_a_full_disk_loses_nothing_that_was_acknowledged(small_disk):
    root = small_disk / "spool"
    writer = new_writer(root)
    acknowledged = put_until_full(writer)
    assert acknowledged
    assert stored_numbers(root) == acknowledged
    for _ in range(100):  # more than there are inodes: failing leaves no files behind
        with pytest.raises(SpoolFullError):
            put_some(writer, 1, first=99, size=9000)
    reader = SpoolReader(root)
    closed = [segment for segment in reader.segments() if segment.closed]
    first = [item.frame.header.first_sequence for item in reader.frames(closed[0])]
    reader.delete(closed[0])
    put_some(writer, 1, first=99, size=9000)
    assert stored_numbers(root) == [*acknowledged[len(first) :], 99]


# Failing


@contextmanager
def file_size_limit(limit_bytes):
    """Let writes beyond a length fail half-way, for real: the kernel refuses with EFBIG."""
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_write_that_stops_half_way_disturbs_no_other_frame(tmp_path):
    writer = new_writer(tmp_path)
    put_some(writer, 2)
    size = 2 * len(frame_bytes())
    with file_size_limit(size + 40), pytest.raises(DeviceError, match="disk failed"):
        put_some(writer, 1, first=2)
    put_some(writer, 2, first=2)
    assert [type(item) for item in stored(tmp_path)] == [Found] * 4
    assert stored_numbers(tmp_path) == [0, 1, 2, 3]
    assert [path.rsplit(".")[-1] for path in names(tmp_path)] == ["seg", "open"]


def test_a_first_write_that_fails_leaves_no_file(tmp_path):
    writer = new_writer(tmp_path)
    with file_size_limit(40), pytest.raises(DeviceError):
        put_some(writer, 1)
    assert names(tmp_path) == []
    put_some(writer, 1)
    assert stored_numbers(tmp_path) == [0]


def test_a_missing_parent_is_a_failing_disk(tmp_path):
    with pytest.raises(DeviceError, match="disk failed"):
        put_some(new_writer(tmp_path / "no" / "spool"), 1)


@pytest.fixture
def own_folder():
    with folder_with_binding_permissions() as folder:
        yield folder


def test_a_segment_that_cannot_be_renamed_gets_its_name_later(own_folder):
    writer = new_writer(own_folder)
    put_some(writer, 1)
    lane = own_folder / "reads"
    lane.chmod(0o500)
    writer.roll_aged(after(100))
    assert names(own_folder)[0].endswith(".open")
    with pytest.raises(DeviceError):
        put_some(writer, 1, first=1, now=after(100))
    lane.chmod(0o770)
    writer.roll_aged(after(100))
    assert names(own_folder)[0].endswith(".seg")
    put_some(writer, 1, first=1, now=after(100))
    assert stored_numbers(own_folder) == [0, 1]


def test_a_name_that_cannot_be_made_durable_is_not_acknowledged(own_folder):
    writer = new_writer(own_folder)
    put_some(writer, 1)
    lane = own_folder / "reads"
    lane.chmod(0o300)  # names can be made and removed, the folder cannot be synced
    with pytest.raises(DeviceError):
        put_some(writer, 1, first=1, now=after(100))
    lane.chmod(0o770)
    put_some(writer, 1, first=1, now=after(100))
    assert stored_numbers(own_folder) == [0, 1]


def test_a_file_that_cannot_be_opened_is_a_failing_disk(own_folder):
    put_some(new_writer(own_folder), 1)
    reader = SpoolReader(own_folder)
    segment = reader.segments()[0]
    segment.path.chmod(0)
    with pytest.raises(DeviceError):
        reader.frames(segment)


def test_a_segment_that_cannot_be_removed_is_a_failing_disk(own_folder):
    writer = new_writer(own_folder)
    put_some(writer, 1)
    writer.close()
    reader = SpoolReader(own_folder)
    (own_folder / "reads").chmod(0o500)
    with pytest.raises(DeviceError):
        reader.delete(reader.segments()[0])


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, SpoolFullError),
        (errno.EDQUOT, SpoolFullError),
        (errno.EIO, DeviceError),
        (errno.EROFS, DeviceError),
    ],
    ids=["no_space", "disk_quota", "input_output", "read_only"],
)
def test_the_disk_s_errors_have_our_names(number, error):
    with pytest.raises(error, match="/spool: "), disk_errors(Path("/spool")):
        raise OSError(number, os.strerror(number))


# Power and kill


def running_child(root, *, start, before=()):
    """A process that puts frames for ever; the caller kills it."""
    command = [
        *before,
        sys.executable,
        str(ROOT / "tests" / "spool_child.py"),
        str(root),
        str(start),
    ]
    environment = {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def read_until(stream, count):
    lines = []
    while len(lines) < count:
        line = stream.readline()
        assert line, "the child ended by itself"
        lines.append(int(line))
    return lines


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path):
    acknowledged = []
    for start in range(5):
        with running_child(tmp_path, start=start) as child:
            numbers = read_until(child.stdout, 10 + 13 * start)
            child.kill()
            numbers += [int(line) for line in child.stdout.read().splitlines()]
        acknowledged += [(start, number) for number in numbers]
    kept = [
        (int.from_bytes(item.frame.header.boot, "little"), item.frame.header.first_sequence)
        for item in stored(tmp_path)
        if isinstance(item, Found)
    ]
    assert len(kept) == len(set(kept))
    assert set(acknowledged) <= set(kept)
    assert len(kept) - len(acknowledged) <= 5  # the put in flight at each kill


STEPS = {
    "n": r"openat\(.*\.open\", .*O_CREAT.* = \d",
    "w": r"write\(\d+<[^>]*\.open>, .* = 3\d\d\d",
    "d": r"fdatasync\(\d+<[^>]*\.open>\) += 0",
    "a": r"write\(1<",
    "r": r"rename\(.*\) += 0",
    "u": r"unlink\(.*\.seg\"\) += 0",
    "D": r"fsync\(\d+<[^>]*/reads>\) += 0",
    "S": r"fsync\(\d+<[^>]*/spool>\) += 0",
    "P": r"fsync\(\d+<[^>]*/state>\) += 0",
}
"""System calls that matter, by letter: new file, write, data synced, acknowledged, renamed,
unlinked; lane, spool and state directory synced."""


def strace(trace):
    calls = "trace=openat,write,fdatasync,fsync,rename,unlink"
    return ["strace", "-y", "-o", str(trace), "-e", calls]


def told(trace):
    """The system calls as one letter each."""
    lines = trace.read_text().splitlines()
    return "".join(
        letter for line in lines for letter, form in STEPS.items() if re.match(form, line)
    )


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")


@needs_strace
@pytest.mark.slow
def test_each_acknowledgement_follows_its_syncs(tmp_path):
    (tmp_path / "state").mkdir()
    trace = tmp_path / "trace"
    with running_child(tmp_path / "state/spool", start=0, before=strace(trace)) as tracer:
        read_until(tracer.stdout, 50)
        os.killpg(tracer.pid, signal.SIGKILL)
    story = told(trace)
    assert re.match("PSSSnD(wda)+(rDnD(wda)+)+", story), story
    assert not re.search("wa|na|nw|ww|aa|r[^D]", story), story
    assert story.count("a") >= 50


@needs_strace
@pytest.mark.slow
def test_each_deletion_is_synced(tmp_path):
    writer = new_writer(tmp_path / "spool")
    put_some(writer, 5, size=40_000)
    writer.close()
    program = (
        "import sys; from pathlib import Path; from agent.spool import SpoolReader\n"
        "reader = SpoolReader(Path(sys.argv[1]))\n"
        "for segment in reader.segments(): reader.delete(segment)"
    )
    command = [*strace(tmp_path / "trace"), sys.executable, "-c", program, str(tmp_path / "spool")]
    subprocess.run(command, cwd=ROOT, check=True)
    assert told(tmp_path / "trace") == "uD" * 5
    assert SpoolReader(tmp_path / "spool").segments() == ()
