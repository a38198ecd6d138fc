"""The figures of `bench video`, clip by clip: what the table, the page and the gate are made of."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnxruntime

from agent.base.health import WatchCounters
from agent.base.records import PlateRead
from agent.cli.bench_boards import BOARDS, CAMERA_FPS, Heat, project
from agent.cli.bench_clip import Moment
from agent.cli.bench_run import Outcome
from agent.cli.bench_truth import Comparison
from agent.vision.manifest import Manifest

Tree = dict[str, Any]

NETWORKS: Final = ("detect", "read")
CAMERA: Final = ("decode", "lores")
"""Done by the image processor of a unit: no part of a projection, nor of the road's share."""
STAGES: Final = {
    "decode": "decode the video",
    "lores": "low-resolution view",
    "motion": "has anything moved?",
    "detect": "detector network",
    "pick": "pick plates",
    "track": "follow plates",
    "rectify": "straighten, decode characters",
    "read": "reader network",
    "vote": "vote, decide, keep crop",
    "gate": "gate, gather",
    "seal": "seal",
    "spool": "spool, with its syncs",
    "log": "log, with its syncs",
}
"""Stage → what it does, in the order of the road."""
LONG_RUN_S: Final = 120.0
"""Of the clip's own time, before anything is said about the growth of memory."""
HISTOGRAM_MS: Final = (0, 1, 2, 3, 4, 6, 8, 11, 15, 20, 30, 45, 65, 100, 150, 300, 1000)


def make_report(outcome: Outcome, manifest: Manifest, *, board: str | None, heat: Heat) -> Tree:
    """Return all figures of one clip; None stands for what was not measured.

    Args:
        outcome: Of the run.
        manifest: Of both networks.
        board: Name of this Raspberry Pi; None on any other machine.
        heat: Of the board after the run.
    """
    counters, tally = outcome.counters, outcome.tally
    frames, minutes = max(counters.frames, 1), outcome.clip_s / 60
    gflop = count_gflop(outcome, manifest)
    cpu_ms = {stage: outcome.cpu_ns.get(stage, 0) / 1e6 / frames for stage in STAGES}
    spent = split_cpu(cpu_ms)
    return {
        "clip": Path(outcome.order.clip).name,
        "realtime": outcome.order.realtime,
        "frames": counters.frames,
        "frames_unaccounted": outcome.frames_given - count_frames(counters),
        "frames_looked": counters.frames_looked,
        "frames_motionless": counters.frames_motionless,
        "frames_passed": counters.frames_passed,
        "frames_shed": counters.frames_shed,
        "frames_failed": counters.failed_frames,
        "broken_frames": counters.broken_frames,
        "laps": len(tally.lap_starts),
        "wall_s": outcome.wall_s,
        "clip_s": outcome.clip_s,
        "frames_per_s": counters.frames / max(outcome.wall_s, 1e-9),
        "plates_found": counters.plates,
        "plate_reads": outcome.work.crops,
        "plate_reads_per_minute": counters.crops_read / minutes,
        "crops_through_reader": outcome.work.crops,
        "vehicles": tally.vehicles,
        "vehicles_per_minute": tally.vehicles / minutes,
        "unreadable": tally.unreadable,
        "reads_kept": counters.sealed,
        "reads_dropped": counters.dropped,
        "cpu_ms_per_frame": cpu_ms,
        **spent,
        "process_cpu_ms_per_frame": outcome.process_ns / 1e6 / frames,
        "kernel": {"cpu_ms": outcome.kernel.cpu_ms, "gflop_per_s": outcome.kernel.gflop_per_s},
        "kernels_per_frame": spent["road_cpu_ms_per_frame"] / max(outcome.kernel.cpu_ms, 1e-9),
        "latency_ms": describe_delays(outcome),
        "peak_rss_mib": outcome.peak_rss_mib,
        "start_rss_mib": outcome.start_rss_mib,
        "rss_growth_mib": measure_growth(tally.moments),
        "gflop_per_frame": gflop,
        "board": describe_board(outcome, board, heat),
        "projected": describe_projections(gflop, spent["other_cpu_ms_per_frame"], outcome, board),
        "truth": describe_truth(tally.compared, minutes),
        "moments": [asdict(moment) for moment in tally.moments],
        "reads": [describe_read(read) for read in tally.listed],
    }


def count_frames(counters: WatchCounters) -> int:
    """Return how many frames the watcher can account for."""
    seen = counters.frames_looked + counters.frames_motionless + counters.frames_passed
    return seen + counters.frames_shed + counters.failed_frames


def measure_growth(moments: Sequence[Moment]) -> float | None:
    """Return by how many MiB the most memory of the last quarter exceeds that of the second.

    In the first one buffers and caches are still being claimed. None = too short a run to say.
    """
    end_s = moments[-1].at_s if moments else 0.0
    if end_s < LONG_RUN_S:
        return None
    early = [one.rss_mib for one in moments if end_s / 4 <= one.at_s < end_s / 2]
    late = [one.rss_mib for one in moments if one.at_s >= end_s * 3 / 4]
    return max(late) - max(early) if early else None


def split_cpu(cpu_ms: dict[str, float]) -> dict[str, float]:
    """Return the CPU time of the networks, of all else on the road, and the share of the latter."""
    network_ms = sum(cpu_ms[stage] for stage in NETWORKS)
    road_ms = sum(spent for stage, spent in cpu_ms.items() if stage not in CAMERA)
    return {
        "road_cpu_ms_per_frame": road_ms,
        "network_cpu_ms_per_frame": network_ms,
        "other_cpu_ms_per_frame": road_ms - network_ms,
        "share_outside_networks": (road_ms - network_ms) / max(road_ms, 1e-9),
    }


def count_gflop(outcome: Outcome, manifest: Manifest) -> float:
    """Return the work of both networks a frame; a multiplication and addition are two."""
    detector = manifest.detector
    pictures = outcome.work.detector_px / (detector.input_width_px * detector.input_height_px)
    gmac = pictures * detector.gmac + outcome.work.crops * manifest.reader.gmac
    return 2 * gmac / max(outcome.counters.frames, 1)


def describe_delays(outcome: Outcome) -> Tree:
    """Return how long a frame and, in real time, a read take."""
    return {
        "frame": describe_times(np.array(outcome.tally.frame_ms)),
        "kept": describe_times(np.array(outcome.delays.kept_ms)),
    }


def describe_times(times_ms: "np.ndarray[Any, np.dtype[np.float64]]") -> Tree | None:
    """Return percentiles and a histogram, None without any."""
    if not len(times_ms):
        return None
    low, high = np.percentile(times_ms, [50, 95]).tolist()
    edges = np.array([*HISTOGRAM_MS, np.inf], float)
    counts = np.histogram(times_ms, bins=edges)[0]
    return {"p50": low, "p95": high, "most": float(times_ms.max()), "histogram": counts.tolist()}


def describe_board(outcome: Outcome, board: str | None, heat: Heat) -> Tree | None:
    """Return what this Raspberry Pi does at 30 frames a second: measured, not projected."""
    if board is None:
        return None
    cores = os.cpu_count() or 1
    busy_s = outcome.process_ns / 1e9 / max(outcome.counters.frames, 1)
    share = busy_s * CAMERA_FPS / cores
    return {"name": board, "cores": cores, "share_at_30_fps": share, **asdict(heat)}


def describe_projections(
    gflop: float, other_ms: float, outcome: Outcome, board: str | None
) -> list[Tree]:
    """Return what other boards would do; nothing on a real one."""
    if board is not None:
        return []
    reads = outcome.counters.crops_read / max(outcome.counters.frames, 1)
    return [
        asdict(project(one, gflop=gflop, other_ms=other_ms, reads_per_frame=reads))
        for one in BOARDS
    ]


def describe_truth(comparison: Comparison | None, minutes: float) -> Tree | None:
    """Return how the reads compare with the truth; shares are None without any vehicle."""
    if comparison is None:
        return None
    vehicles = comparison.vehicles
    return asdict(comparison) | {
        "strict_accuracy": comparison.right / vehicles if vehicles else None,
        "strict_accuracy_of_guesses": comparison.right_guess / vehicles if vehicles else None,
        "right_per_minute": comparison.right / minutes,
    }


def describe_read(read: PlateRead) -> Tree:
    """Return one vehicle; `bench` may print plates."""
    return {
        "text": read.text.characters,
        "abstained": read.abstained,
        "confidence": read.confidence,
        "min_char_confidence": read.min_char_confidence,
        "first_frame": read.first_frame,
        "last_frame": read.last_frame,
        "frames_seen": read.frames_seen,
        "frames_agreed": read.frames_agreed,
        "direction": read.direction.value,
    }


def describe_machine() -> Tree:
    """Return where and with what was measured; no name of the machine."""
    return {
        "processor": platform.machine(),
        "cores": os.cpu_count() or 1,
        "cores_allowed": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "onnxruntime": onnxruntime.__version__,
        "numpy": np.__version__,
    }
