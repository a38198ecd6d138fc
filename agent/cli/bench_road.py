"""The watcher's own road for a bench: the real stages, each with a meter, and a spool for nothing.

Nothing is left out and nothing is simulated but the city: its key is made here and forgotten.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from agent.audit import AuditLog
from agent.base.clock import Clock
from agent.base.lanes import Lane
from agent.base.records import Frame, PlateRead
from agent.base.settings import (
    DetectSettings,
    ModelSettings,
    ReadSettings,
    SheddingSettings,
    SpoolSettings,
    TrackSettings,
)
from agent.cli.bench_meter import Meter
from agent.cli.models import Models
from agent.detect import Pace, Stillness
from agent.gate import GateRules
from agent.pipeline.decisions import Renewal, Rules
from agent.pipeline.keeping import Keeping
from agent.pipeline.watch import Seeing
from agent.read import Ballots
from agent.seal import Commit, Crop, Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.track import Tracker
from agent.trust.entries import Entry, HotlistSeen, PolicySeen
from agent.trust.keys import generate_opener, generate_signer
from agent.vision.session import Network

UNIT: Final = "bench-unit"
BOOT: Final = b"bench of a video"
QUOTA_BYTES: Final = 1 << 40


class Choices(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The settings of a unit that matter here."""

    detect: DetectSettings = DetectSettings()
    track: TrackSettings = TrackSettings()
    read: ReadSettings = ReadSettings()
    models: ModelSettings = ModelSettings()
    shedding: SheddingSettings = SheddingSettings()


@dataclass(frozen=True, slots=True, kw_only=True)
class MeteredNetwork:
    """A network whose time and work are counted."""

    network: Network
    stage: str
    meter: Meter
    count: Callable[[NDArray[np.uint8]], None]

    def run(self, pixels: NDArray[np.uint8], /) -> tuple[NDArray[np.float32], ...]:
        """Return the outputs of the network within."""
        self.count(pixels)
        with self.meter.measure(self.stage):
            return self.network.run(pixels)


@dataclass(slots=True)
class Work:
    """What went through the networks."""

    detector_px: int = 0
    """Pixels that went through the detector."""
    crops: int = 0
    """Crops that went through the reader."""

    def count_picture(self, pixels: NDArray[np.uint8]) -> None:
        """Count a picture (1, 1, h, w) for the detector."""
        self.detector_px += pixels.size

    def count_crops(self, pixels: NDArray[np.uint8]) -> None:
        """Count crops (N, 1, h, w) for the reader."""
        self.crops += len(pixels)


def make_seeing(models: Models, choices: Choices, meter: Meter, work: Work) -> Seeing:
    """Return the stages up to a finished read, their networks metered."""
    detector, reader = models.detector, models.reader
    found = MeteredNetwork(
        network=detector.network, stage="detect", meter=meter, count=work.count_picture
    )
    text = MeteredNetwork(network=reader.network, stage="read", meter=meter, count=work.count_crops)
    return Seeing(
        detector=replace(detector, network=found),
        reader=replace(reader, network=text),
        tracker=Tracker(choices.track),
        ballots=Ballots(
            choices.read, alphabet=reader.alphabet, keep_crops=True, threshold=reader.threshold
        ),
        stillness=Stillness(choices.detect) if choices.detect.skip_motionless else None,
        pace=Pace(choices.detect),
    )


class MeteredSealer(Sealer):
    """The sealer, metered; remembers when the reads of the last commit were last seen."""

    def watch(self, meter: Meter, note: Callable[[Sequence[PlateRead]], None]) -> None:
        """Measure from now on; `note` is given the reads that are sealed."""
        self._meter, self._note = meter, note

    def seal_reads(self, reads: Sequence[PlateRead]) -> Commit:
        """As within."""
        self._note(reads)
        with self._meter.measure("seal"):
            return super().seal_reads(reads)

    def seal_crops(self, crops: Sequence[Crop]) -> Commit:
        """As within."""
        with self._meter.measure("seal"):
            return super().seal_crops(crops)


class MeteredSpool(SpoolWriter):
    """The spool, metered."""

    def watch(self, meter: Meter) -> None:
        """Measure from now on."""
        self._meter = meter

    def put(self, lane: Lane, content: bytes, now: datetime) -> str:
        """As within."""
        with self._meter.measure("spool"):
            return super().put(lane, content, now)


class MeteredLog(AuditLog):
    """The log, metered."""

    def watch(self, meter: Meter) -> None:
        """Measure from now on."""
        self._meter = meter

    def append_all(self, entries: Sequence[Entry]) -> int:
        """As within."""
        with self._meter.measure("log"):
            return super().append_all(entries)

    def checkpoint(self) -> str:
        """As within."""
        with self._meter.measure("log"):
            return super().checkpoint()


class MeteredKeeping(Keeping):
    """From a read to the disk, metered; tells of reads and of what is on the disk."""

    def watch(
        self,
        meter: Meter,
        *,
        on_read: Callable[[tuple[PlateRead, ...]], None],
        on_kept: Callable[[], None],
    ) -> None:
        """Measure from now on."""
        self._meter, self._on_read, self._on_kept = meter, on_read, on_kept

    def take(self, reads: tuple[PlateRead, ...], *, at: datetime | None = None) -> None:
        """As within."""
        self._on_read(reads)
        with self._meter.measure("gate"):
            super().take(reads, at=at)

    def commit(self, *, everything: bool = False) -> None:
        """As within."""
        with self._meter.measure("gate"):
            super().commit(everything=everything)
        self._on_kept()

    def close(self) -> None:
        """As within."""
        with self._meter.measure("gate"):
            super().close()
        self._on_kept()


def make_keeping(
    folder: Path,
    clock: Clock,
    meter: Meter,
    *,
    on_read: Callable[[tuple[PlateRead, ...]], None],
    delays: "Delays",
) -> MeteredKeeping:
    """Return the stages from a finished read to a disk under `folder`; every read is kept.

    Args:
        folder: For the spool and the log.
        clock: Of the road.
        meter: Of all stages.
        on_read: Given every finished read.
        delays: Is told when reads are on the disk.
    """
    spool = MeteredSpool(folder / "spool", SpoolSettings(), dict.fromkeys(Lane, QUOTA_BYTES), BOOT)
    spool.recover()
    spool.watch(meter)
    sealer = MeteredSealer(
        city_key=generate_opener().public_key,
        policy_sha256=bytes(32),
        unit=UNIT,
        boot=BOOT,
        model_sha256=bytes(32),
    )
    sealer.watch(meter, delays.note_sealed)
    audit = MeteredLog(folder / "audit", generate_signer(), f"homeplate/{UNIT}/watch", clock)
    audit.watch(meter)
    keeping = MeteredKeeping(
        rules=make_rules(),
        boot=BOOT,
        sealer=sealer,
        spool=spool,
        spooled=SpoolReader(folder / "spool"),
        audit=audit,
        clock=clock,
    )
    keeping.watch(meter, on_read=on_read, on_kept=delays.note_kept)
    return keeping


def make_rules() -> Rules:
    """Return a policy that keeps every read with its picture, as the dearest there is."""
    return Rules(
        gate=GateRules(mode="all", min_hit_confidence=1.0, min_hit_frames=100),
        crops="all",
        retention_s=dict.fromkeys(Lane, 10 * 86_400),
        expires_at=datetime(2100, 1, 1, tzinfo=UTC),
        commit_interval_s=1.0,
    )


@dataclass(slots=True)
class Delays:
    """From the sensor to the disk: what is measured of each read, in real time only."""

    clock: Clock
    realtime: bool
    kept_ms: "array[float]" = field(default_factory=lambda: array("d"))
    """From a vehicle's last sight to its sealed read on the disk and in the log."""
    _date: datetime | None = None
    """Of the newest frame."""
    _sensor_ns: int = 0
    """Of the same."""
    _sealed: list[datetime] = field(default_factory=list)

    def note_frame(self, frame: Frame) -> None:
        """Take note of how dates and the sensor's time go together."""
        self._date, self._sensor_ns = frame.captured_at, frame.sensor_ns

    def note_sealed(self, reads: Sequence[PlateRead]) -> None:
        """Take note of reads that are on their way to the disk."""
        self._sealed += [read.last_seen for read in reads]

    def note_kept(self) -> None:
        """Take note that they are there."""
        sealed, self._sealed = self._sealed, []
        if not self.realtime or self._date is None:
            return
        now_ns = self.clock.monotonic_ns()
        for seen in sealed:
            ago_ns = (self._date - seen).total_seconds() * 1e9
            self.kept_ms.append((now_ns - self._sensor_ns + ago_ns) / 1e6)


class NoLists:
    """No hotlist comes."""

    def __init__(self, keeping: Keeping) -> None:
        """Stay with the list in use."""
        self.hotlist = keeping.hotlist

    def look(self) -> tuple[HotlistSeen, ...]:
        """Return nothing."""
        return ()


class NoPolicies:
    """No other policy comes."""

    def look(self) -> tuple[PolicySeen, ...]:
        """Return nothing."""
        return ()

    def renewal(self) -> Renewal:
        """Return the one in force."""
        return Renewal(
            rules=make_rules(),
            city_key=generate_opener().public_key,
            policy_sha256=bytes(32),
            segments=SpoolSettings(),
            quota_bytes=_QUOTAS,
            keep_crops=True,
            certain_looks=1,
        )


_QUOTAS: Mapping[Lane, int] = dict.fromkeys(Lane, QUOTA_BYTES)
