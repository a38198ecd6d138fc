"""`homeplate bench seal`: what it costs to keep a read, from the finished record to the disk."""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from hashlib import shake_128
from pathlib import Path
from typing import Final

from agent.audit import ENTRIES, AuditLog, RecordFile
from agent.base.errors import ConfigError
from agent.base.lanes import Lane
from agent.base.records import Direction, PlateRead, PlateText
from agent.base.settings import SpoolSettings
from agent.cli.bench_endpoint import take_frames
from agent.gate import GateRules
from agent.pipeline.decisions import Rules
from agent.pipeline.keeping import Keeping
from agent.seal import Sealer
from agent.spool import SpoolReader, SpoolWriter
from agent.trust.frames import Found, encode_frame
from agent.trust.journal import OVERHEAD_BYTES
from agent.trust.keys import generate_opener, generate_signer

READS_PER_S: Final = 30
"""1,800 a minute, one commit a second."""
CROPS_BYTES: Final = (0, 3_072, 15_360)
"""None, as this agent makes them (192 pixels wide: 2 to 4 KB), and large ones."""
PAGE_BYTES: Final = 4096
UNIT: Final = "bench-unit"
BOOT: Final = b"bench of sealing"
IO_COUNTERS: Final = Path("/proc/self/io")
TARGET: Final = (
    "target: at most 120 µs, and 1.10 with crops of 15 KB. Payload: sealed frames as committed;\n"
    "40 GB a day with those, 8 with crops of 3 KB, 0.16 without: there whole pages are the floor"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one run of commits took."""

    crop_bytes: int
    commits: int
    reads: int
    payload_bytes: int
    """Sealed frames: what has to be on the disk in any case."""
    floor_bytes: int
    """Whole pages that the frames alone touch, each frame waited for: nothing writes less."""
    log_floor_bytes: int
    """Whole pages of the log's entries, each commit waited for."""
    process_bytes: int | None
    """What the kernel sent to disks for this process; None where it does not count."""
    disk_bytes: int | None
    """What the whole disk took meanwhile: journal of the file system, and all other processes."""
    cpu_us_per_read: float
    """Record → gate → seal → spool → fdatasync → log entry → fdatasync → checkpoints."""
    reads_per_s: float
    """Wall, log included: mostly waiting for the disk."""

    @property
    def amplification(self) -> float | None:
        """Bytes sent to the disk by payload."""
        return None if self.process_bytes is None else self.process_bytes / self.payload_bytes


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
        folders = {size: Path(name) / f"crops-{size}" for size in CROPS_BYTES}
        rows = [measure(at, crop_bytes=size, commits=args.commits) for size, at in folders.items()]
        frames = tuple(frame for frame, _ in read_frames(folders[CROPS_BYTES[-1]], Lane.CROPS))[
            -200:
        ]
        endpoint = take_frames(Path(name) / "endpoint", frames, unit=UNIT)
    if args.json:
        found = [asdict(row) | {"amplification": row.amplification} for row in rows]
        print(json.dumps({"seal": found, "endpoint": endpoint}))
    else:
        print(draw_table(rows, endpoint))
    return 0


class RoadClock:
    """Time on the road: a second a commit, however long the commit takes."""

    def __init__(self) -> None:
        self.seconds = 0

    def now(self) -> datetime:
        """Tell the wall clock."""
        return datetime(2026, 6, 1, tzinfo=UTC) + timedelta(seconds=self.seconds)

    def monotonic_ns(self) -> int:
        """Tell the monotonic clock."""
        return self.seconds * 1_000_000_000

    def wait_s(self, seconds: float, /) -> None:
        """Let time pass."""
        self.seconds += round(seconds)


def measure(folder: Path, *, crop_bytes: int, commits: int) -> Figures:
    """Return the figures of so many commits."""
    folder.mkdir()
    clock = RoadClock()
    keeping = build_keeping(folder, clock)
    cpu_ns = wall_ns = 0
    process_bytes, disk_bytes = process_written_bytes(), disk_written_bytes(folder)
    for number in range(commits):
        reads = make_reads(number, clock.now(), crop_bytes=crop_bytes)
        clock.seconds += 1
        begin_ns, begin_wall_ns = time.thread_time_ns(), time.perf_counter_ns()
        keeping.take(reads)
        keeping.commit(everything=True)
        cpu_ns += time.thread_time_ns() - begin_ns
        wall_ns += time.perf_counter_ns() - begin_wall_ns
    process_bytes = _since(process_bytes, process_written_bytes())
    disk_bytes = _since(disk_bytes, disk_written_bytes(folder))
    keeping.close()
    frames = [found for lane in Lane for found in read_frames(folder, lane)]
    count = commits * READS_PER_S
    return Figures(
        crop_bytes=crop_bytes,
        commits=commits,
        reads=count,
        payload_bytes=sum(len(frame) for frame, _ in frames),
        floor_bytes=sum(touched_bytes(offset, len(frame)) for frame, offset in frames),
        log_floor_bytes=log_floor_bytes(folder, together=2 if crop_bytes else 1),
        process_bytes=process_bytes,
        disk_bytes=disk_bytes,
        cpu_us_per_read=cpu_ns / count / 1000,
        reads_per_s=count / wall_ns * 1e9,
    )


def build_keeping(folder: Path, clock: RoadClock) -> Keeping:
    """Return the stages from a finished read to the disk, as the watcher has them."""
    spool = SpoolWriter(folder / "spool", SpoolSettings(), dict.fromkeys(Lane, 1 << 40), BOOT)
    spool.recover()
    return Keeping(
        rules=Rules(
            gate=GateRules(mode="all", min_hit_confidence=1.0, min_hit_frames=100),
            crops="all",
            retention_s=dict.fromkeys(Lane, 10 * 86_400),
            expires_at=datetime(2100, 1, 1, tzinfo=UTC),
            commit_interval_s=1.0,
        ),
        boot=BOOT,
        sealer=Sealer(
            city_key=generate_opener().public_key,
            policy_sha256=bytes(32),
            unit=UNIT,
            boot=BOOT,
            model_sha256=bytes(32),
        ),
        spool=spool,
        spooled=SpoolReader(folder / "spool"),
        audit=AuditLog(folder / "audit", generate_signer(), f"homeplate/{UNIT}/watch", clock),
        clock=clock,
    )


def make_reads(commit: int, now: datetime, *, crop_bytes: int) -> tuple[PlateRead, ...]:
    """Return one second of made-up reads; no two alike, so that nothing compresses by chance."""
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
            crop_jpeg=noise[:crop_bytes],
        )
        for number in range(commit * READS_PER_S, (commit + 1) * READS_PER_S)
        for noise in (shake_128(number.to_bytes(8)).digest(max(crop_bytes, 32)),)
    )


def read_frames(folder: Path, lane: Lane) -> Iterator[tuple[bytes, int]]:
    """Yield the frames of a lane and their places in their segments."""
    reader = SpoolReader(folder / "spool")
    for segment in reader.lane(lane)[0]:
        for found in reader.frames(segment):
            if isinstance(found, Found):
                yield encode_frame(found.frame), found.offset


def touched_bytes(offset: int, length: int) -> int:
    """Return the size of the pages that so many bytes from `offset` on touch."""
    first, last = offset // PAGE_BYTES, (offset + length - 1) // PAGE_BYTES
    return (last - first + 1) * PAGE_BYTES


def log_floor_bytes(folder: Path, *, together: int) -> int:
    """Return the size of the pages of the log's entries, so many of them in each commit."""
    sizes = [len(item) + OVERHEAD_BYTES for item in RecordFile(folder / "audit" / ENTRIES).follow()]
    offset = floor = 0
    for at in range(0, len(sizes), together):
        size = sum(sizes[at : at + together])
        floor += touched_bytes(offset, size)
        offset += size
    return floor


def process_written_bytes() -> int | None:
    """Return the bytes that the kernel has sent to disks for this process; None = not counted."""
    try:
        lines = IO_COUNTERS.read_text().splitlines()
    except OSError:
        return None
    return int(dict(line.split(": ") for line in lines)["write_bytes"])


def disk_written_bytes(folder: Path) -> int | None:
    """Return the bytes that the disk under `folder` has taken from all; None = not counted."""
    device = folder.stat().st_dev
    path = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat")
    try:
        return int(path.read_text().split()[6]) * 512  # sectors of 512, whatever the device's are
    except OSError:
        return None


def _since(before: int | None, after: int | None) -> int | None:
    return None if before is None or after is None else after - before


def draw_table(rows: list[Figures], endpoint: dict[str, float] | None) -> str:
    """Return the figures for people."""
    heads = [
        "reads" if not row.crop_bytes else f"crops {row.crop_bytes // 1024} KB" for row in rows
    ]
    lines = [
        f"{'at 30 reads a second, a commit a second':<54}" + "".join(f"{h:>12}" for h in heads)
    ]

    def add(name: str, values: list[str]) -> None:
        lines.append(f"{name:<54}" + "".join(f"{value:>12}" for value in values))

    def add_shares(name: str, values: list[int | None]) -> None:
        shares = zip(values, rows, strict=True)
        texts = ["-" if size is None else f"{size / row.payload_bytes:.3f}" for size, row in shares]
        add(name, texts)

    cpu = [f"{row.cpu_us_per_read:.1f}" for row in rows]
    add("CPU a read, record to fdatasync, log included, µs", cpu)
    add("payload, bytes a second", [f"{row.payload_bytes // row.commits:,}" for row in rows])
    add_shares("device bytes / payload, written by this process", [r.process_bytes for r in rows])
    add_shares("  whole 4-KiB pages of the frames alone", [r.floor_bytes for r in rows])
    add_shares("  and of the log's entries", [r.floor_bytes + r.log_floor_bytes for r in rows])
    add_shares("  taken by the disk, journal and others included", [r.disk_bytes for r in rows])
    add("reads a second sustained", [f"{row.reads_per_s:,.0f}" for row in rows])
    lines.append(TARGET)
    if endpoint is None:
        lines.append("endpoint: not installed here (homeplate_endpoint)")
    else:
        lines.append(
            f"endpoint, frames with crops, fsync and receipt: {endpoint['frames_per_s']:,.0f} a "
            f"second, {endpoint['megabytes_per_s']:.1f} MB/s (one thread, without TLS)"
        )
    return "\n".join(lines)
