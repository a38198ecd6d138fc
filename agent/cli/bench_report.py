"""The report of `bench video`: figures from the sums, as JSON and as a table for people."""

import resource
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.base.records import PlateRead
from agent.cli.bench_meter import BOARDS, Meter, project
from agent.cli.bench_truth import Comparison, Vehicle, compare_reads
from agent.vision.manifest import Manifest

NETWORKS = ("detect", "read")
CAMERA = ("decode", "lores")
"""Done by the image processor of a unit: not part of a projection."""
STAGES = {
    "decode": "decode the video",
    "lores": "low-resolution view",
    "detect": "detector network",
    "pick": "pick plates",
    "track": "follow plates",
    "rectify": "straighten, decode characters",
    "read": "reader network",
    "vote": "vote, decide, keep crop",
}
"""Stage → what it does, in the order of the road."""


@dataclass(slots=True, kw_only=True)
class Sums:
    """What is counted while the video runs."""

    meter: Meter = field(default_factory=Meter)
    frames: int = 0
    broken_frames: int = 0
    plates: int = 0
    """Plates found, each in every frame."""
    crops: int = 0
    """Crops read."""
    detector_px: int = 0
    """Pixels that went through the detector."""
    wall_s: float = 0.0
    latencies_ms: list[float] = field(default_factory=list)
    reads: tuple[PlateRead, ...] = field(default=(), repr=False)

    def count_picture(self, pixels: NDArray[np.uint8]) -> None:
        """Count a picture (1, 1, h, w) for the detector."""
        self.detector_px += pixels.size

    def count_crops(self, pixels: NDArray[np.uint8]) -> None:
        """Count crops (N, 1, h, w) for the reader."""
        self.crops += len(pixels)


def make_report(
    sums: Sums, manifest: Manifest, *, truth: tuple[Vehicle, ...] | None, clip: str
) -> dict[str, object]:
    """Return all figures; `None` stands for what was not measured."""
    frames, minutes = max(sums.frames, 1), sums.wall_s / 60 or 1e-9
    gflop = count_gflop(sums, manifest)
    cpu_ms = sums.meter.per_frame_ms(frames)
    network_ms = sum(cpu_ms.get(stage, 0.0) for stage in NETWORKS)
    other_ms = sum(cpu_ms.values()) - network_ms - sum(cpu_ms.get(name, 0.0) for name in CAMERA)
    crops = sums.crops / frames
    boards = [
        project(board, gflop=gflop, other_ms=other_ms, reads_per_frame=crops) for board in BOARDS
    ]
    return {
        "clip": clip,
        "frames": sums.frames,
        "broken_frames": sums.broken_frames,
        "shed_frames": None,
        "wall_s": sums.wall_s,
        "frames_per_s": sums.frames / max(sums.wall_s, 1e-9),
        "plates_found": sums.plates,
        "plate_reads": sums.crops,
        "plate_reads_per_minute": sums.crops / minutes,
        "vehicles": len(sums.reads),
        "vehicles_per_minute": len(sums.reads) / minutes,
        "unreadable": sum(read.abstained for read in sums.reads),
        "cpu_ms_per_frame": {stage: cpu_ms.get(stage, 0.0) for stage in STAGES},
        "network_cpu_ms_per_frame": network_ms,
        "other_cpu_ms_per_frame": other_ms,
        "latency_ms": measure_latency(sums.latencies_ms),
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "gflop_per_frame": gflop,
        "projected": [asdict(board) for board in boards],
        "truth": None if truth is None else describe_truth(compare_reads(sums.reads, truth)),
        "reads": [describe_read(read) for read in sums.reads],
    }


def count_gflop(sums: Sums, manifest: Manifest) -> float:
    """Return the work of both networks a frame; a multiplication and addition are two."""
    detector = manifest.detector
    pictures = sums.detector_px / (detector.input_width_px * detector.input_height_px)
    gmac = pictures * detector.gmac + sums.crops * manifest.reader.gmac
    return 2 * gmac / max(sums.frames, 1)


def measure_latency(latencies_ms: list[float]) -> dict[str, float]:
    """Return the median and the 95th percentile, frame handed over to its plates read."""
    low, high = np.percentile(latencies_ms or [0.0], [50, 95]).tolist()
    return {"p50": low, "p95": high}


def describe_truth(comparison: Comparison) -> dict[str, object]:
    """Return how the reads compare with the truth, with shares of the vehicles."""
    vehicles = max(comparison.vehicles, 1)
    return asdict(comparison) | {
        "strict_accuracy": comparison.right / vehicles,
        "strict_accuracy_of_guesses": comparison.right_guess / vehicles,
    }


def describe_read(read: PlateRead) -> dict[str, object]:
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
        "crop_bytes": len(read.crop_jpeg),
    }


def draw_report(report: dict[str, Any]) -> str:
    """Return the report as a table."""
    blocks = (draw_speed(report), draw_stages(report), draw_boards(report), draw_reads(report))
    return "\n\n".join((*blocks, draw_truth(report["truth"])))


def draw_speed(report: dict[str, Any]) -> str:
    """Return the heading and the rates."""
    latency = report["latency_ms"]
    rows = {
        "frames": f"{report['frames']} ({report['broken_frames']} broken ones left out)",
        "frames a second": f"{report['frames_per_s']:.1f}",
        "plates found": f"{report['plates_found']} (each in every frame)",
        "plate reads": f"{report['plate_reads']} ({report['plate_reads_per_minute']:.0f} a minute)",
        "vehicles": f"{report['vehicles']} ({report['vehicles_per_minute']:.1f} a minute), "
        f"{report['unreadable']} of them unreadable",
        "frames shed": "not built yet",
        "latency": f"p50 {latency['p50']:.1f} ms, p95 {latency['p95']:.1f} ms, frame to read",
        "memory": f"{report['peak_rss_mib']:.0f} MiB at most",
    }
    return "\n".join([report["clip"], *(f"  {name:<18}{value}" for name, value in rows.items())])


def draw_stages(report: dict[str, Any]) -> str:
    """Return CPU time by stage."""
    stages = report["cpu_ms_per_frame"]
    seeing = report["network_cpu_ms_per_frame"] + report["other_cpu_ms_per_frame"]
    share = 100 * report["other_cpu_ms_per_frame"] / max(seeing, 1e-9)
    lines = [f"  {STAGES[stage]:<32}{spent:8.3f}" for stage, spent in stages.items()]
    lines.append(f"  {'detect to vote':<32}{seeing:8.3f}  {share:.0f} % outside the networks")
    return "\n".join(["CPU milliseconds a frame", *lines])


def draw_boards(report: dict[str, Any]) -> str:
    """Return the projections."""
    heading = f"Projected, not measured ({report['gflop_per_frame']:.3f} GFLOP a frame)"
    lines = [
        f"  projected {board['board']}: {board['core_ms']:.1f} core-ms a frame, "
        f"{100 * board['share_at_30_fps']:.0f} % of 4 cores at 30 fps, "
        f"{board['max_fps']:.0f} fps at most, {board['reads_per_minute']:.0f} plate reads a minute"
        for board in report["projected"]
    ]
    return "\n".join([heading, *lines])


def draw_reads(report: dict[str, Any]) -> str:
    """Return one line a vehicle."""
    lines = [
        f"  {read['text'] or '-':<17}{'unreadable' if read['abstained'] else 'read':<12}"
        f"weakest {read['min_char_confidence']:.2f}  "
        f"frames {read['first_frame']}-{read['last_frame']}, "
        f"{read['frames_agreed']} agreed  {read['direction']}"
        for read in report["reads"]
    ]
    return "\n".join(["Vehicles", *(lines or ["  none"])])


def draw_truth(truth: dict[str, Any] | None) -> str:
    """Return how exact the reads are."""
    if truth is None:
        return "No truth given: nothing is said about accuracy."
    return (
        f"Strict accuracy {100 * truth['strict_accuracy']:.1f} % of {truth['vehicles']} vehicles "
        f"({100 * truth['strict_accuracy_of_guesses']:.1f} % with guesses that abstained)\n"
        f"  wrong {truth['wrong']}, abstained {truth['abstained']}, "
        f"read twice {truth['repeated']}, missed {', '.join(truth['missed']) or 'none'}"
    )
