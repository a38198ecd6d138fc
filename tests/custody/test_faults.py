"""A disk that refuses: at every call once, for a while, for ever; simulated and for real."""

import errno
import os
import random
from contextlib import suppress

import pytest

from agent.base.errors import HomeplateError
from tests.custody.sim_disk import Place, SimDisk, images
from tests.custody.world import Violation, World, check_promises, check_recovery
from tests.fakes import FakeClock

pytestmark = pytest.mark.custody

FAULTS = {
    "no_space": (errno.ENOSPC, {"create", "write", "mkdir"}),
    "input_output": (errno.EIO, {"create", "write", "sync", "sync_data", "rename", "unlink"}),
    "read_only": (errno.EROFS, {"create", "write", "mkdir", "rename", "unlink", "truncate"}),
}


class Failing:
    """Lets the calls from number `first` on fail, `count` of them."""

    def __init__(self, number: int, calls: set[str], first: int, count: int) -> None:
        self.number, self.calls, self.first, self.count = number, calls, first, count
        self.seen = self.failed = 0

    def __call__(self, place: Place) -> None:
        if place.call not in self.calls:
            return
        self.seen += 1
        if self.seen > self.first and self.failed < self.count:
            self.failed += 1
            raise OSError(self.number, os.strerror(self.number), str(place.path))


def work_through(world: World) -> None:
    """A short life; a process that ends with an error is started again, as systemd does."""
    for step in (
        lambda: world.read(2, crop_bytes=300),
        world_send(world),
        lambda: world.read(2),
        lambda: world.clock.advance(31),
        lambda: world.read(1, crop_bytes=300),
        world_send(world),
        world_send(world),
    ):
        for ensure in (ensure_watcher, ensure_sender):
            ensure(world)
        if world.keeping is None or world.sending is None:
            continue
        try:
            step()
        except HomeplateError as error:
            (world.kill_sender if "send" in str(error) else world.kill_watcher)()


def world_send(world: World):
    def act() -> None:
        try:
            world.send()
        except HomeplateError:
            world.kill_sender()

    return act


def ensure_watcher(world: World) -> None:
    if world.keeping is None:
        try:
            world.start_watcher()
        except HomeplateError:
            world.kill_watcher()


def ensure_sender(world: World) -> None:
    if world.sending is None:
        try:
            world.start_sender()
        except HomeplateError:
            world.kill_sender()


def come_to_rest(world: World) -> None:
    """The disk works again: all is accounted for, then a power cut, and still is."""
    world.disk.before = lambda _: None
    for kill in (world.kill_watcher, world.kill_sender):
        with suppress(AttributeError):
            kill()
    world.clock.advance(1)
    world.start_watcher()
    world.start_sender()
    world.read(1)
    world.send()
    world.stop_watcher()
    world.send()
    check_promises(world)


@pytest.mark.slow
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("count", [1, 4, 1 << 30], ids=["once", "a_while", "from_then_on"])
def test_a_fault_at_any_call_loses_nothing_that_was_acknowledged(fault, count, counts):
    number, calls = FAULTS[fault]
    tried = 0
    for first in range(1000):
        world = World(SimDisk(), clock=FakeClock())
        world.seed = first
        world.prepare()
        world.disk.before = failing = Failing(number, calls, first, count)
        try:
            work_through(world)
            rng = random.Random(first)
            for image in (*images(world.disk, rng, draws=1),)[:1]:
                after = world.after_power_cut(image)
                check_recovery(
                    after, image, logged_before=dict(world.logged), sender_first=bool(first % 2)
                )
            come_to_rest(world)
        except Violation as error:
            pytest.fail(f"{fault} at call {first}: {error}")
        if not failing.failed:
            break
        tried += 1
    before = int(counts.get("faults at every call", "0").split()[0])
    counts["faults at every call"] = f"{before + tried} histories, 0 violations"
    assert tried > 40
