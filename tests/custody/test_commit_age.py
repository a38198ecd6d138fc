"""How old a read may be before the disk has it: by the records' own times, on a simulated clock."""

import itertools
import random

import pytest

from agent.base.lanes import Lane
from agent.cli.watch import WAIT_SHARE
from agent.pipeline.watch import watch_forever
from agent.spool import SpoolReader
from agent.trust.alerts import decode_hits_text
from agent.trust.contents import decode_reads_text
from agent.trust.entries import Sealed
from agent.trust.envelope import open_sealed
from agent.trust.frames import encode_frame, frame_hash
from tests.custody.sim_disk import SimDisk
from tests.custody.world import CITY_KEY, LISTS, STATE, World
from tests.fakes import FakeClock
from tests.pipeline.test_watch import NoPolicies
from tests.sealing import plate_read

pytestmark = pytest.mark.custody

SYNC_SHARE = 0.02
"""Of the interval: how long the disk takes for a sync."""
FPS_30, FPS_10 = 1 / 30, 1 / 10
SCENES = {
    "busy, 30 frames a second": (FPS_30, 0.5, 0.0),
    "busy, 10 frames a second": (FPS_10, 0.5, 0.0),
    "rare reads": (FPS_30, 0.01, 0.0),
    "rare reads, camera that stalls": (FPS_30, 0.05, 0.1),
    "camera that stalls after every other frame": (FPS_10, 0.3, 0.5),
}
"""Seconds a frame; share of frames that end a passage; share of frames after which it stalls."""


class NothingInView:
    """Stands for the stages that see: at the end no vehicle is left to finish."""

    waiting = unread = 0

    def __init__(self):
        self.tracker = self.ballots = self

    def finish(self, _=None):
        return ()


class Road:
    """A camera that now and then stalls for ten seconds, and the vehicles before it."""

    broken_frames = dropped_frames = 0

    def __init__(self, world, interval_s, scene, rng):
        self.world, self.interval_s, self.rng = world, interval_s, rng
        self.frame_s, self.read_share, self.stall_share = scene
        self.numbers = itertools.count()

    def frames(self):
        for _ in range(400):
            self.world.clock.advance(self.frame_s)
            if self.rng.random() < self.read_share:
                self.finish_read()
            yield None
            if self.rng.random() < self.stall_share:
                yield from self.stall()

    def finish_read(self):
        now = self.world.clock.now()
        read = plate_read(next(self.numbers), first_seen=now, last_seen=now)
        self.world.keeping.take((read,))

    def stall(self):
        """Be silent as long as a camera may be; the watcher waits a moment at a time."""
        wait_s = self.interval_s * WAIT_SHARE
        for _ in range(round(10 / wait_s)):
            self.world.clock.advance(wait_s)
            yield None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


def ages_ms(world):
    """Return how old each read was when its frame stood on the disk and in the log."""
    reader = SpoolReader(STATE / "spool", world.disk)
    frames = [
        item.frame
        for segment in reader.segments()
        if segment.lane is not Lane.CROPS
        for item in reader.frames(segment)
    ]
    logged = {entry.frame: entry.at_ms for entry in world.entries("watch", Sealed)}
    for frame in frames:
        at_ms = logged[frame_hash(encode_frame(frame))]
        text = open_sealed(frame, CITY_KEY)
        if frame.header.lane is Lane.HITS:
            reads = [alert.read for alert in decode_hits_text(text)]
        else:
            reads = decode_reads_text(text)
        for read in reads:
            yield at_ms - read.last_ms


def watch(road):
    """Let the watcher's own loop go over all that the camera gives."""
    watch_forever(
        road,
        NothingInView(),
        road.world.keeping,
        stop=lambda: False,
        report=lambda _: None,
        lists=LISTS,
        policies=NoPolicies(),
    )


@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
@pytest.mark.parametrize("interval_s", [0.25, 1.0, 5.0])
def test_no_read_waits_for_the_disk_longer_than_the_interval(interval_s, scene, counts):
    world = World(SimDisk(), clock=FakeClock())
    world.prepare()
    world.commit_interval_s = interval_s
    world.start_watcher()
    disk_s = interval_s * SYNC_SHARE
    world.disk.skip = lambda _: world.clock.advance(disk_s)  # None: the sync is not left out
    road = Road(world, interval_s, scene, random.Random(5))
    watch(road)
    ages = list(ages_ms(world))
    assert len(ages) == next(road.numbers) > 1
    assert max(ages) <= interval_s * 1000
    told = int(counts.get("age at the disk", "0").split()[0]) + len(ages)
    counts["age at the disk"] = f"{told} reads, 0 older than the commit interval on the disk"


@pytest.mark.parametrize("interval_s", [1.0, 5.0])
def test_reads_are_still_gathered(interval_s):
    """A watcher that committed each read by itself would pass the test above."""
    world = World(SimDisk(), clock=FakeClock())
    world.prepare()
    world.commit_interval_s = interval_s
    world.start_watcher()
    road = Road(world, interval_s, SCENES["busy, 30 frames a second"], random.Random(5))
    watch(road)
    commits = sum(entry.lane is Lane.READS for entry in world.entries("watch", Sealed))
    assert commits <= 2 + 400 * FPS_30 / (0.8 * interval_s)
