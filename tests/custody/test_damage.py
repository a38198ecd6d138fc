"""Damage of a segment: every bit flipped, every truncation: at most one frame is lost."""

from pathlib import Path

import pytest

from agent.base.errors import DeviceError
from agent.base.lanes import Lane
from agent.base.settings import SpoolSettings
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.entries import IoFailure, Uploaded
from agent.trust.envelope import open_sealed
from agent.trust.frames import Found, encode_frame, frame_hash
from agent.trust.keys import generate_opener
from tests.custody.sim_disk import SimDisk
from tests.fakes import NOON
from tests.pipeline.test_send import Road
from tests.sealing import BOOT, plate_read

pytestmark = pytest.mark.custody

FRAMES = 3
CITY = generate_opener()


@pytest.fixture
def stored():
    """A segment of sealed frames on a simulated disk: its reader, its bytes and its frames."""
    disk = SimDisk()
    root = Path("/spool")
    writer = SpoolWriter(root, SpoolSettings(), dict.fromkeys(Lane, 1 << 20), BOOT, disk)
    sealer = Sealer(
        city_key=CITY.public_key,
        policy_sha256=bytes(32),
        unit="u",
        boot=BOOT,
        model_sha256=bytes(32),
    )
    commits = [sealer.seal_reads((plate_read(n), plate_read(n + 1))) for n in range(FRAMES)]
    for commit in commits:
        writer.put(Lane.READS, commit.content, NOON)
    writer.close()
    reader = SpoolReader(root, disk)
    (segment,) = reader.segments()
    return reader, segment, disk._find(segment.path).content, [one.content for one in commits]


def found_in(reader, segment):
    return [encode_frame(i.frame) for i in reader.frames(segment) if isinstance(i, Found)]


def test_every_flipped_bit_costs_its_frame_alone_and_forges_none(stored, counts):
    reader, segment, content, frames = stored
    ends = [sum(map(len, frames[: number + 1])) for number in range(FRAMES)]
    for bit in range(8 * len(content)):
        content[bit // 8] ^= 1 << bit % 8
        hit = next(number for number, end in enumerate(ends) if bit // 8 < end)
        assert found_in(reader, segment) == frames[:hit] + frames[hit + 1 :]
        content[bit // 8] ^= 1 << bit % 8
    counts["bits flipped in a segment"] = f"{8 * len(content)}: 1 frame lost each, 0 forged"
    assert all(open_sealed(i.frame, CITY) for i in reader.frames(segment))


def test_every_truncation_leaves_the_frames_before_it(stored, counts):
    reader, segment, content, frames = stored
    whole = bytes(content)
    for length in range(len(whole) + 1):
        content[:] = whole[:length]
        fitting = [n for n in range(FRAMES + 1) if sum(map(len, frames[:n])) <= length]
        assert found_in(reader, segment) == frames[: fitting[-1]]
    counts["truncations of a segment"] = f"{len(whole) + 1}: whole frames before the cut stay"


class HalfBlindReader(SpoolReader):
    """A spool of which one segment cannot be opened."""

    def __init__(self, root: Path, bad: str) -> None:
        super().__init__(root)
        self.bad = bad

    def frames(self, segment):
        if segment.path.name == self.bad:
            raise DeviceError(f"{segment.path}: the disk failed (Input/output error)")
        return super().frames(segment)


def test_a_segment_that_cannot_be_opened_stops_no_other_and_is_told_once(tmp_path):
    road = Road(tmp_path)
    bad = next(one for one in road.spool.segments() if one.lane is Lane.READS)
    road.spool = HalfBlindReader(tmp_path / "spool", bad.path.name)
    road.restart()
    road.sending.work()
    road.sending.work()
    assert [entry.lane for entry in road.entries(Uploaded)] == [Lane.CROPS]
    assert len(road.entries(IoFailure)) == 1
    assert [segment.path for segment in road.spool.segments()] == [bad.path]
    road.clock.advance(90_000)
    road.sending.work()
    assert road.spool.segments() == ()
    assert frame_hash(b"") not in road.city.kept
