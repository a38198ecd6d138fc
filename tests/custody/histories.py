"""Generated lives of a unit, and every state that a power cut may leave in them."""

import errno
import hashlib
import logging
import os
import random
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from agent.base.lanes import Lane
from tests.custody.sim_disk import Image, Place, SimDisk, images
from tests.custody.world import DAY_S, Violation, World, check_promises, check_recovery
from tests.fakes import FakeClock

AGENT = str(Path(__file__).parent.parent.parent / "agent")
STEPS = 24
LABELS = {lane.label for lane in Lane}


def fingerprint(image: Image, *counts: int) -> bytes:
    """Return what tells states apart: the disk, and how much was acknowledged and uploaded."""
    digest = hashlib.blake2b(repr(counts).encode(), digest_size=12)
    for path, content in image:
        digest.update(path.encode() + (b"/" if content is None else b" %d " % len(content)))
        digest.update(content or b"")
    return digest.digest()


class Killed(BaseException):
    """The process ends here, as kill -9 ends it."""


def call_site(place: Place) -> str:
    """Return which line of reasoning in the agent made a call: the call, its callers, the place."""
    frame, names = sys._getframe(1), []
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(AGENT) and not code.co_filename.endswith("disk.py"):
            names.append(code.co_qualname)
        frame = frame.f_back
    what = place.path.name
    if place.path.suffix in {".open", ".seg"}:
        what = "segment"
    elif what in LABELS:
        what = "lane"
    elif what in {"watch", "send"}:
        what = "log"
    return f"{place.call} {what}: {' < '.join(names[:3])}"


@dataclass
class Tally:
    """What was tried and what was found."""

    seen: set[bytes] = field(default_factory=set)
    """States by hash: each is counted and checked once."""
    violations: list[str] = field(default_factory=list)
    sites: set[str] = field(default_factory=set)
    kills: int = 0
    cuts: int = 0
    lived: int = 0
    """Whole histories."""


class Life:
    """One history: random steps, kills between and inside of them, power cuts that it goes on from.

    Args:
        seed: Which history.
        tally: Where states and violations are counted.
        draws: Random states at each call, besides the regular ones.
        skip: The call site whose syncs are left out; None leaves out none.
        enough: Stop when so many violations are known.
    """

    def __init__(
        self, seed: int, tally: Tally, *, draws: int, skip: str | None = None, enough: int = 1
    ) -> None:
        self.rng = random.Random(seed)
        self.states = random.Random(seed + 1)
        self.tally, self.draws, self.left_out, self.enough = tally, draws, skip, enough
        self.kill_in, self.kill_after = -1, ("", "")
        """So many calls later; after such a call of a file with such an ending."""
        self.last = Place("", Path())
        """The call before."""
        self.world = World(SimDisk(), clock=FakeClock())
        self.world.seed = seed
        if seed % 2:  # signs each commit: many notes that nobody has waited for
            self.world.sign_interval_s = 0.0
        self.world.prepare()
        self._attach()

    def live(self) -> None:
        """Go through the whole history, then let the unit come to rest and look once more."""
        try:
            self._go()
        except Violation as error:
            self.tally.violations.append(str(error))
        except Exception as error:
            if self.left_out is None:
                raise
            self.tally.violations.append(f"life: {type(error).__name__}: {error}")
        self.tally.lived += 1

    def _go(self) -> None:
        self._start()
        for _ in range(STEPS):
            if len(self.tally.violations) >= self.enough:
                return
            self._step()
        self._rest()

    def _attach(self) -> None:
        disk = self.world.disk
        disk.before = self._before
        disk.skip = self._skip

    def _before(self, place: Place) -> None:
        if len(self.tally.violations) < self.enough:
            self._look()
        call, ending = self.kill_after
        after = call and self.last.call == call and str(self.last.path).endswith(ending)
        self.last = place
        if after or self.kill_in == 0:
            self.kill_in, self.kill_after = -1, ("", "")
            raise Killed
        self.kill_in -= self.kill_in > 0

    def _skip(self, place: Place) -> bool:
        site = call_site(place)
        self.tally.sites.add(site)
        return site == self.left_out

    def _look(self) -> None:
        """Check every state that a power cut may leave at this moment."""
        world = self.world
        for image in images(world.disk, self.states, draws=self.draws):
            counts = len(world.acknowledged), len(world.city.kept), *world.logged.values()
            key = fingerprint(image, *counts)
            if key in self.tally.seen:
                continue
            self.tally.seen.add(key)
            try:
                after = world.after_power_cut(image)
                check_recovery(
                    after,
                    image,
                    logged_before=dict(world.logged),
                    sender_first=self.states.random() < 0.5,
                )
            except Violation as error:
                self.tally.violations.append(str(error))
                if len(self.tally.violations) >= self.enough:
                    return

    def _start(self) -> None:
        order = self.rng.random()
        if order < 0.3:
            self.world.start_sender()
        self.world.start_watcher()
        if order < 0.6:
            self._read()
        if order >= 0.3:
            self.world.start_sender()

    def _step(self) -> None:
        act = self.rng.choice(
            [self._read] * 5
            + [self._send] * 4
            + [self._wait, self._restart_watcher, self._restart_sender, self._unreachable]
            + [self._kill_watcher, self._kill_sender, self._kill_inside, self._kill_inside]
            + [self._expire, self._crowd, self._cut]
        )
        act()

    def _read(self) -> None:
        self.world.read(self.rng.randint(1, 4), crop_bytes=self.rng.choice((0, 0, 90, 900)))

    def _send(self) -> None:
        self.world.city.answers = self.rng.random() < 0.8
        self.world.send()

    def _wait(self) -> None:
        self.world.clock.advance(31)
        self.world.keeping.commit()

    def _restart_watcher(self) -> None:
        self.world.stop_watcher()
        self.world.start_watcher()

    def _restart_sender(self) -> None:
        self.world.stop_sender()
        self.world.start_sender()

    def _kill_watcher(self) -> None:
        self.tally.kills += 1
        self.world.kill_watcher()
        self.world.start_watcher()

    def _kill_sender(self) -> None:
        self.tally.kills += 1
        self.world.kill_sender()
        self.world.start_sender()

    def _kill_inside(self) -> None:
        """Kill a process in the midst of its work, again while it starts, then let it start."""
        watcher = self.rng.random() < 0.5
        kill = self.world.kill_watcher if watcher else self.world.kill_sender
        start = self.world.start_watcher if watcher else self.world.start_sender
        for act in (self._read if watcher else self._send, start):
            self.kill_in = self.rng.randint(0, 12)
            try:
                act()
            except Killed:
                self.tally.kills += 1
            self.kill_in = -1
            kill()
        start()

    def _unreachable(self) -> None:
        self.world.city.reachable = not self.world.city.reachable

    def _expire(self) -> None:
        if self.rng.random() < 0.5:
            self.world.clock.advance(self.rng.choice((DAY_S, 2 * DAY_S)))
            self.world.send()

    def _crowd(self) -> None:
        """Make the quotas small for a while."""
        self.world.quota.update(dict.fromkeys(Lane, self.rng.choice((1500, 3000, 1 << 20))))

    def _cut(self) -> None:
        """Cut the power and go on from one of the states that this may leave."""
        chosen = self.rng.choice([*images(self.world.disk, self.states, draws=2)])
        self.tally.cuts += 1
        answers, reachable = self.world.city.answers, self.world.city.reachable
        self.world = self.world.after_power_cut(chosen)
        self.world.city.answers, self.world.city.reachable = answers, reachable
        self._attach()
        self._start()

    def _rest(self) -> None:
        world = self.world
        world.city.reachable = world.city.answers = True
        world.send()
        world.stop_watcher()
        world.send()
        world.stop_sender()
        check_promises(world)
        self._look_at_rest()

    def _look_at_rest(self) -> None:
        """After an orderly end a power cut takes nothing: the next start finds all closed."""
        for image in images(self.world.disk, self.states, draws=self.draws):
            left = [path for path, _ in image if path.endswith(".open")]
            if left:
                raise Violation(f"end: {len(left)} segments open after an orderly end")
            check_promises(self.world.after_power_cut(image))
        self._look()


class KilledInDeletion(Life):
    """The sender is killed when a segment is removed and nobody has waited for that yet."""

    def _go(self) -> None:
        self._start()
        for _ in range(3):
            self.world.read(2)
            self._wait()
            self.kill_after = ("unlink", "")
            with suppress(Killed):
                self.world.send()
            self.kill_after = ("", "")
            self._kill_sender()
            self.world.send()
        self._rest()


class KilledInSigning(Life):
    """The watcher is killed when a note is written and nobody has waited for that yet."""

    def _go(self) -> None:
        self._start()
        for number in range(8):
            for _ in range(number % 2):  # one note more: sectors end at other places of the next
                self.world.clock.advance(6)
                self.world.read(1)
            self.world.read(1)
            self._kill_watcher()  # before it has signed: the next start does
            self.world.clock.advance(6)
            self.kill_after = ("write", "watch/checkpoints")
            with suppress(Killed):
                self.world.read(1)
            self.kill_after = ("", "")
            self._kill_watcher()
        self._rest()


class ClockJumps(Life):
    """The wall clock is set, a little at a time, while entries wait for their signature."""

    def _go(self) -> None:
        self._start()
        for seconds in (20, 3600):
            for _ in range(3):
                self.world.read(1)
                self.world.clock.set_wall(self.world.clock.now() + timedelta(seconds=seconds))
                self.world.send()
        self._rest()


class IllDisk(Life):
    """The disk refuses a call, or a few of the same kind: then its cleaning up is looked at."""

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.refuse, self.times = ("", ""), 0

    def _before(self, place: Place) -> None:
        super()._before(place)
        call, suffix = self.refuse
        if self.times and place.call == call and str(place.path).endswith(suffix):
            self.times -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(place.path))

    def _go(self) -> None:
        self._start()
        for refuse, times, begun in (
            (("sync_data", ".open"), 1, True),  # of a frame
            (("sync_data", ".open"), 2, True),  # … and of the cut that follows
            (("sync_data", ".open"), 3, True),  # … and of the frame in another file: dropped
            (("sync_data", ".open"), 1, False),
            (("sync", "reads"), 1, False),  # the name of a new segment
            (("sync", "reads"), 2, False),
            (("sync", "reads"), 4, False),
            (("rename", ".open"), 1, False),  # of one that is closed
        ):
            self.world.read(2)
            self.world.clock.advance(31)  # the next read begins a segment
            if begun:
                self.world.read(1)
            self.refuse, self.times = refuse, times
            self.world.read(1)
            self.times = 0
            self.world.read(1)
            self._wait()
            self.world.read(1)
        self._rest()


LIVES = {-1: IllDisk, -2: KilledInSigning, -3: KilledInDeletion, -4: ClockJumps}
TORN = (-1, -2)
"""Those that need many random states."""
DIRECTED = len(LIVES)
"""Seeds below 0 are these."""


def explore(seed: int, draws: int) -> Tally:
    """Return what was found in one history."""
    logging.disable(logging.CRITICAL)
    tally = Tally()
    LIVES.get(seed, Life)(seed, tally, draws=draws).live()
    return tally


def hunt(site: str, seeds: range, draws: int) -> Tally:
    """Return what was found with the syncs of one call site left out, up to the first violation."""
    logging.disable(logging.CRITICAL)
    tally = Tally()
    for seed in seeds:
        LIVES.get(seed, Life)(seed, tally, draws=40 if seed in TORN else draws, skip=site).live()
        if tally.violations:
            break
    return tally
