"""What is counted while a clip runs; bounded, however long it runs."""

from array import array
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Final

from agent.base.records import PlateRead
from agent.cli.bench_clip import Moment
from agent.cli.bench_truth import SLACK_FRAMES, Comparison, Vehicle, compare_reads, is_of

STATUS: Final = Path("/proc/self/status")
CLEAR_REFS: Final = Path("/proc/self/clear_refs")
KEPT_READS: Final = 1000
"""Reads that the report lists one by one."""
LATE_FRAMES: Final = 150
"""So long after its end a lap's reads are all there: a passage is waited for 1.5 seconds."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Reads of all laps, held against the truth lap by lap."""

    truth: tuple[Vehicle, ...] | None
    lap_starts: list[int]
    """Index of each lap's first frame; grows while the clip runs."""
    cut_frame: int | None = None
    """Where the run ends before the clip does: who is still in view then is not compared."""
    listed: list[PlateRead] = field(default_factory=list, repr=False)
    """The first ones, without their pictures."""
    vehicles: int = 0
    unreadable: int = 0
    compared: Comparison | None = None
    frame_ms: "array[float]" = field(default_factory=lambda: array("d"))
    moments: list[Moment] = field(default_factory=list)
    _open: list[PlateRead] = field(default_factory=list, repr=False)
    _settled: int = 0
    """Laps that were compared."""

    def add(self, reads: tuple[PlateRead, ...]) -> None:
        """Count the reads of passages that are over."""
        bare = [replace(read, crop_jpeg=b"") for read in reads]
        self.vehicles += len(bare)
        self.unreadable += sum(read.abstained for read in bare)
        self.listed += bare[: max(KEPT_READS - len(self.listed), 0)]
        if self.truth is not None:
            self._open += bare

    def settle(self, frame: int | None) -> None:
        """Compare the laps whose reads are all there by `frame`; None = all that are left."""
        while self.truth is not None and self._settled < len(self.lap_starts):
            later = self.lap_starts[self._settled + 1 :]
            if frame is not None and (not later or frame < later[0] + LATE_FRAMES):
                return
            end = later[0] if later else None
            mine = [read for read in self._open if end is None or read.first_frame < end]
            self._open = [
                read for read in self._open if end is not None and read.first_frame >= end
            ]
            shifted = shift_truth(self.truth, self.lap_starts[self._settled])
            if self.cut_frame is not None:
                mine, shifted = cut_off(mine, shifted, self.cut_frame - SLACK_FRAMES)
            self.compared = add_up(self.compared, compare_reads(tuple(mine), shifted))
            self._settled += 1


def shift_truth(truth: tuple[Vehicle, ...], by: int) -> tuple[Vehicle, ...]:
    """Return the vehicles as they pass in a lap that begins at frame `by`."""
    return tuple(
        Vehicle(text=one.text, first_frame=one.first_frame + by, last_frame=one.last_frame + by)
        for one in truth
    )


def cut_off(
    reads: list[PlateRead], truth: tuple[Vehicle, ...], frame: int
) -> tuple[list[PlateRead], tuple[Vehicle, ...]]:
    """Return the vehicles that are out of the picture by `frame`, and the reads up to there."""
    passed = tuple(one for one in truth if one.last_frame <= frame)
    kept = [
        read
        for read in reads
        if read.last_frame <= frame or any(is_of(read, one) for one in passed)
    ]
    return kept, passed


def add_up(one: Comparison | None, other: Comparison) -> Comparison:
    """Return the comparison of both laps together; the missed ones are listed once."""
    if one is None:
        return other
    sums = {
        item.name: getattr(one, item.name) + getattr(other, item.name)
        for item in fields(Comparison)
        if item.name != "missed"
    }
    return Comparison(missed=tuple(dict.fromkeys(one.missed + other.missed)), **sums)


def forget_peak() -> None:
    """Let the kernel begin anew with the most memory this process ever had, where it can."""
    try:
        CLEAR_REFS.write_text("5")
    except OSError:
        return


def read_memory_mib(name: str) -> float:
    """Return VmRSS (now) or VmHWM (the most since `forget_peak`) of this process; 0 = unknown."""
    try:
        lines = STATUS.read_text().splitlines()
    except OSError:
        return 0.0
    found = dict(line.partition(":")[::2] for line in lines)
    return int(found.get(name, "0 kB").split()[0]) / 1024
