"""One clip through the whole road of the watcher, measured: `run_clip`."""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

from agent.base.clock import Clock, SystemClock
from agent.base.health import WatchCounters
from agent.base.heat import read_zone
from agent.base.records import Frame
from agent.camera import Source
from agent.camera.patient import PatientCamera
from agent.cli.bench_clip import ClipCamera, ClipClock, Laps, MeteredSource, Moment, Unhurried
from agent.cli.bench_meter import Meter
from agent.cli.bench_road import (
    Choices,
    Delays,
    MeteredKeeping,
    NoLists,
    NoPolicies,
    Work,
    make_keeping,
    make_seeing,
)
from agent.cli.bench_tally import Tally, forget_peak, read_memory_mib
from agent.cli.bench_truth import Vehicle
from agent.cli.bench_yardstick import Kernel
from agent.cli.models import Models
from agent.pipeline.committing import CommitThread
from agent.pipeline.shedding import Shedding
from agent.pipeline.watch import watch_forever

WAIT_S: Final = 0.05
"""How long a frame is waited for before commits are looked at: as the watcher does."""
MOMENTS: Final = 600
"""So many points a curve has at most."""
PROGRESS_NS: Final = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be run."""

    clip: str
    truth: tuple[Vehicle, ...] | None = field(repr=False)
    realtime: bool
    lores_width_px: int
    laps_s: float
    max_frames: int | None
    choices: Choices


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of it."""

    order: Order
    counters: WatchCounters
    work: Work
    tally: Tally
    delays: Delays
    cpu_ns: dict[str, int]
    kernel: Kernel
    process_ns: int
    """CPU time of the process meanwhile, without the kernel."""
    wall_s: float
    clip_s: float
    """The clip's own time."""
    frames_given: int
    """By the clip."""
    peak_rss_mib: float
    start_rss_mib: float
    """Before the first frame: interpreter, libraries, networks."""


def run_clip(order: Order, models: Models) -> Outcome:
    """Carry a clip through the watcher's road, into a spool that is thrown away.

    Raises:
        InputError: The clip cannot be used.
    """
    with tempfile.TemporaryDirectory(prefix="homeplate-bench-") as folder:
        return _Run(order, models, Path(folder)).run()


class _Run:
    """The parts of one run."""

    def __init__(self, order: Order, models: Models, folder: Path) -> None:
        self.order = order
        self.meter, self.kernel, self.work = _make_meter(order), Kernel(), Work()
        self.clip_clock = ClipClock()
        self.clock: Clock = SystemClock() if order.realtime else self.clip_clock
        self.laps = Laps(at_least_s=order.laps_s, max_frames=order.max_frames)
        self.tally = Tally(
            truth=order.truth, lap_starts=self.laps.first_frames, cut_frame=order.max_frames
        )
        self.delays = Delays(clock=self.clock, realtime=order.realtime)
        self.keeping: MeteredKeeping = make_keeping(
            folder, self.clock, self.meter, on_read=self.tally.add, delays=self.delays
        )
        self.seeing = make_seeing(models, order.choices, self.meter, self.work)
        self.camera = ClipCamera(
            order.clip,
            clock=self.clock,
            realtime=order.realtime,
            lores_width_px=order.lores_width_px,
            laps=self.laps,
            meter=self.meter,
        )
        self.first_ns: int | None = None
        self.last_ns = self.moment_ns = 0
        self.told_ns = time.monotonic_ns()

    def run(self) -> Outcome:
        """Run and return what came of it."""
        self.kernel.run()
        forget_peak()
        start_rss_mib = read_memory_mib("VmRSS")
        began_ns, began_cpu_ns = time.monotonic_ns(), time.process_time_ns()
        kernel_ns = self.kernel.total_ns
        self._watch()
        process_ns = time.process_time_ns() - began_cpu_ns - (self.kernel.total_ns - kernel_ns)
        self.tally.settle(None)
        end_s = (self.last_ns - (self.first_ns or 0)) / 1e9
        self.tally.moments.append(self._moment(self.keeping.counters, end_s))
        return Outcome(
            order=self.order,
            counters=self.keeping.counters,
            work=self.work,
            tally=self.tally,
            delays=self.delays,
            cpu_ns=self.meter.cpu_ns,
            kernel=self.kernel,
            process_ns=process_ns,
            wall_s=(time.monotonic_ns() - began_ns) / 1e9,
            clip_s=max(self.laps.gone_ns, 1) / 1e9,
            frames_given=self.laps.frames,
            peak_rss_mib=read_memory_mib("VmHWM") or _peak_mib(),
            start_rss_mib=start_rss_mib,
        )

    def _watch(self) -> None:
        realtime, shedding = self.order.realtime, None
        inner: Source = Unhurried(self.camera)
        if realtime:
            inner = PatientCamera(self.camera, wait_s=WAIT_S)
            shedding = _make_shedding(self.order.choices)
        source = MeteredSource(
            inner,
            kernel=self.kernel,
            on_frame=self._see,
            on_done=self.tally.frame_ms.append,
            realtime=realtime,
        )
        watch_forever(
            source,
            self.seeing,
            self.keeping,
            stop=lambda: False,
            report=self._report,
            lists=NoLists(self.keeping),
            policies=NoPolicies(),
            commits=CommitThread(self.keeping, wait_s=WAIT_S) if realtime else None,
            shedding=shedding,
            probe=self.meter.measure,
        )

    def _see(self, frame: Frame) -> None:
        """Take note of the clip's time."""
        self.clip_clock.set(frame.sensor_ns)
        self.delays.note_frame(frame)
        if self.first_ns is None:
            self.first_ns = self.moment_ns = frame.sensor_ns
        self.last_ns = frame.sensor_ns
        self.tally.settle(frame.index)

    def _report(self, counters: WatchCounters) -> None:
        """Draw the curves, tell people how far it is."""
        while self.first_ns is not None and self.last_ns >= self.moment_ns:
            self.moment_ns += round(1e9 * max(1.0, self.order.laps_s / MOMENTS))
            at_s = (self.last_ns - self.first_ns) / 1e9
            self.tally.moments.append(self._moment(counters, at_s))
        now_ns = time.monotonic_ns()
        if now_ns - self.told_ns >= PROGRESS_NS:
            self.told_ns = now_ns
            sys.stderr.write(f"{Path(self.order.clip).name}: {counters.frames} frames\n")

    def _moment(self, counters: WatchCounters, at_s: float) -> Moment:
        return Moment(
            at_s=at_s,
            frames=counters.frames,
            crops_read=counters.crops_read,
            vehicles=self.tally.vehicles,
            frames_shed=counters.frames_shed,
            rss_mib=read_memory_mib("VmRSS"),
        )


def _make_meter(order: Order) -> Meter:
    """Return a meter of single threads, or of the process where networks have several."""
    several = order.choices.models.threads > 1 and not order.realtime
    clock_ns: Callable[[], int] = time.process_time_ns if several else time.thread_time_ns
    return Meter(clock_ns)


def _make_shedding(choices: Choices) -> Shedding | None:
    settings = choices.shedding
    read_celsius = partial(read_zone, Path(settings.thermal_zone))
    return Shedding(settings, read_celsius=read_celsius) if settings.enabled else None


def _peak_mib() -> float:
    """Return the most memory since the start, where the kernel tells no better."""
    with suppress(OSError):
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return 0.0
