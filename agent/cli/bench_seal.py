"""`homeplate bench seal`: what it costs to keep a read, from the finished record to the disk."""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import timedelta
from hashlib import shake_128
from pathlib import Path
from typing import Final

from agent.audit import AuditLog
from agent.base.clock import SystemClock, to_ms
from agent.base.errors import ConfigError
from agent.base.lanes import Lane
from agent.base.records import Direction, PlateRead, PlateText
from agent.base.settings import SpoolSettings
from agent.cli.bench_endpoint import take_frames
from agent.seal import Commit, Crop, Sealer
from agent.spool import SpoolWriter
from agent.trust.entries import Sealed
from agent.trust.keys import generate_opener, generate_signer

READS_PER_S: Final = 30
"""1,800 a minute, one commit a second."""
CROP_BYTES: Final = 15_360
UNIT: Final = "bench-unit"
BOOT: Final = b"bench of sealing"
IO_COUNTERS: Final = Path("/proc/self/io")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run of commits took."""

    crops: bool
    commits: int
    reads: int
    payload_bytes: int
    """Sealed frames: what has to be on the disk in any case."""
    device_bytes: int | None
    """What the kernel sent to the disk for us; None where it does not count."""
    cpu_us_per_read: float
    """Record → seal → spool → fdatasync."""
    logged_cpu_us_per_read: float
    """The same with the entry in the audit log, its fdatasync and the signed checkpoint."""
    reads_per_s: float
    """Wall, log included: mostly waiting for the disk."""

    @property
    def amplification(self) -> float | None:
        """Device bytes by payload."""
        return None if self.device_bytes is None else self.device_bytes / self.payload_bytes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of the command."""
    parser.add_argument(
        "--commits", type=int, default=200, metavar="N", help="seconds of traffic (default 200)"
    )
    parser.add_argument(
        "--folder", type=Path, metavar="FOLDER", help="on the disk to be measured (default: temp)"
    )
    parser.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    """Measure and print.

    Raises:
        ConfigError: The number of commits is not 1 to 100,000, or the folder is missing.
    """
    if not 1 <= args.commits <= 100_000 or (args.folder and not args.folder.is_dir()):  # noqa: PLR2004
        message = f"bench seal: found --commits {args.commits} --folder {args.folder}; "
        message += "expected 1 to 100000 commits and a folder that is there"
        raise ConfigError(message)
    with tempfile.TemporaryDirectory(prefix="homeplate-bench-", dir=args.folder) as name:
        rows: list[Figures] = []
        frames: tuple[bytes, ...] = ()
        for crops in (False, True):
            row, frames = measure(Path(name) / f"crops-{crops}", crops=crops, commits=args.commits)
            rows.append(row)
        endpoint = take_frames(Path(name) / "endpoint", frames, unit=UNIT)
    if args.json:
        found = [asdict(row) | {"amplification": row.amplification} for row in rows]
        print(json.dumps({"seal": found, "endpoint": endpoint}))
    else:
        print(draw_table(rows, endpoint))
    return 0


def measure(folder: Path, *, crops: bool, commits: int) -> tuple[Figures, tuple[bytes, ...]]:
    """Return the figures of so many commits, and the frames of the last 200."""
    folder.mkdir()
    stages = Stages(folder)
    batches = [make_reads(number, crops=crops) for number in range(commits)]
    device_bytes, wall_s = written_bytes(), time.perf_counter()
    made = [frame for reads in batches for frame in stages.keep(reads)]
    wall_s = time.perf_counter() - wall_s
    after = written_bytes()
    stages.close()
    count = commits * READS_PER_S
    figures = Figures(
        crops=crops,
        commits=commits,
        reads=count,
        payload_bytes=sum(map(len, made)),
        device_bytes=None if after is None or device_bytes is None else after - device_bytes,
        cpu_us_per_read=stages.seal_ns / count / 1000,
        logged_cpu_us_per_read=(stages.seal_ns + stages.log_ns) / count / 1000,
        reads_per_s=count / wall_s,
    )
    return figures, tuple(made[-200:])


class Stages:
    """The stages from a finished read to the disk, with a meter on them."""

    def __init__(self, folder: Path) -> None:
        self.seal_ns = self.log_ns = 0
        self._clock = SystemClock()
        settings, quota = SpoolSettings(), dict.fromkeys(Lane, 1 << 40)
        self._spool = SpoolWriter(folder / "spool", settings, quota, BOOT)
        self._spool.recover()
        origin = f"homeplate/{UNIT}/watch"
        self._audit = AuditLog(folder / "audit", generate_signer(), origin, self._clock)
        self._sealer = Sealer(
            city_key=generate_opener().public_key,
            policy_sha256=bytes(32),
            unit=UNIT,
            boot=BOOT,
            model_sha256=bytes(32),
        )

    def keep(self, reads: tuple[PlateRead, ...]) -> Iterator[bytes]:
        """Seal, store and log one second's reads, then their crops; yield the frames."""
        crops = tuple(
            Crop(lane=Lane.READS, read_sequence=n, seen_at=read.last_seen, jpeg=read.crop_jpeg)
            for n, read in enumerate(reads, self._sealer.next_sequence(Lane.READS))
            if read.crop_jpeg
        )
        yield self._keep(lambda: self._sealer.seal(Lane.READS, reads))
        if crops:
            yield self._keep(lambda: self._sealer.seal_crops(crops))

    def close(self) -> None:
        """Give the files back."""
        self._spool.close()
        self._audit.close()

    def _keep(self, seal: Callable[[], Commit]) -> bytes:
        begin_ns = time.thread_time_ns()
        commit = seal()
        segment = self._spool.put(commit.header.lane, commit.content, self._clock.now())
        stored_ns = time.thread_time_ns()
        self._audit.append(
            Sealed(
                at_ms=to_ms(self._clock.now()),
                lane=commit.header.lane,
                boot=BOOT,
                first=commit.header.first_sequence,
                last=commit.header.last_sequence,
                frame=commit.sha256,
                length=len(commit.content),
                segment=segment,
            )
        )
        self._audit.checkpoint()
        self.seal_ns += stored_ns - begin_ns
        self.log_ns += time.thread_time_ns() - stored_ns
        return commit.content


def make_reads(commit: int, *, crops: bool) -> tuple[PlateRead, ...]:
    """Return one second of made-up reads; no two alike, so that nothing compresses by chance."""
    now = SystemClock().now()
    return tuple(
        PlateRead(
            text=PlateText(noise.hex().upper()[:7]),
            confidences=tuple(value / 255 for value in noise[:7]),
            abstained=False,
            frames_seen=24 + noise[7] % 16,
            frames_agreed=noise[7] % 24,
            first_seen=now - timedelta(milliseconds=500 + 2 * noise[8]),
            last_seen=now - timedelta(milliseconds=noise[9]),
            first_frame=number,
            last_frame=number + 24,
            direction=Direction.TOWARD,
            corners=tuple(400 + value for value in noise[10:18]),
            crop_jpeg=noise if crops else b"",
        )
        for number in range(commit * READS_PER_S, (commit + 1) * READS_PER_S)
        for noise in (shake_128(number.to_bytes(8)).digest(CROP_BYTES),)
    )


def written_bytes() -> int | None:
    """Return the bytes that the kernel has sent to disks for this process; None = not counted."""
    try:
        lines = IO_COUNTERS.read_text().splitlines()
    except OSError:
        return None
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def draw_table(rows: list[Figures], endpoint: dict[str, float] | None) -> str:
    """Return the figures for people."""
    lines = [f"{'at 30 reads a second, a commit a second':<46}{'reads':>12}{'with crops':>12}"]

    def add(name: str, values: list[str]) -> None:
        lines.append(f"{name:<46}" + "".join(f"{value:>12}" for value in values))

    add("CPU a read, record to fdatasync, µs", [f"{row.cpu_us_per_read:.1f}" for row in rows])
    logged = [f"{row.logged_cpu_us_per_read:.1f}" for row in rows]
    add("  with log entry and checkpoint, µs", logged)
    add("payload, bytes a second", [f"{row.payload_bytes // row.commits:,}" for row in rows])
    shares = [row.amplification for row in rows]
    add("device bytes / payload", ["-" if share is None else f"{share:.3f}" for share in shares])
    add("reads a second sustained", [f"{row.reads_per_s:,.0f}" for row in rows])
    if endpoint is None:
        lines.append("endpoint: not installed here (homeplate_endpoint)")
    else:
        lines.append(
            f"endpoint, frames with crops, fsync and receipt: {endpoint['frames_per_s']:,.0f} a "
            f"second, {endpoint['megabytes_per_s']:.1f} MB/s (one thread, without TLS)"
        )
    return "\n".join(lines)
