"""Whole passages: the road over recorded clips, with votes, as a unit does it. Counts only."""

from dataclasses import dataclass
from pathlib import Path

from agent.cli.bench_report import STAGES, split_cpu
from agent.cli.bench_road import Choices
from agent.cli.bench_run import Order, run_clip
from agent.cli.bench_truth import Comparison, load_truth
from agent.cli.models import Models
from models.evaluate.sets import LORES_WIDTH_PX

TRUTH = ".truth.jsonl"
"""Stands in place of a clip's ending."""
SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov"})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipResult:
    """What the road made of one clip."""

    name: str
    frames: int
    reads: int
    """Vehicles of which something was read."""
    answered: int
    crops: int
    """Looks of the reader."""
    cpu_ms: float
    """A frame, from the question whether anything moved to the log."""
    network_ms: float
    """Of that, in the two networks."""
    compared: Comparison | None
    """None without truth."""


def list_clips(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the videos in the folders that exist."""
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return tuple(path for path in paths if path.suffix.lower() in SUFFIXES)


def measure_clip(
    path: Path, models: Models, *, truths: Path | None = None, max_frames: int | None = None
) -> ClipResult:
    """Carry a clip along the watcher's whole road, as `homeplate bench video` does.

    Args:
        path: The video; its truth stands beside it, if there is one.
        models: Both networks.
        truths: Folder to look for the truth in first.
        max_frames: Stop there; vehicles still in view then are not compared.

    Raises:
        InputError: It is no video, or its truth is none.
    """
    places = [folder / (path.stem + TRUTH) for folder in (truths, path.parent) if folder]
    truth = next((load_truth(place) for place in places if place.is_file()), None)
    outcome = run_clip(
        Order(
            clip=str(path),
            truth=truth,
            realtime=False,
            lores_width_px=LORES_WIDTH_PX,
            laps_s=0.0,
            max_frames=max_frames,
            choices=Choices(),
        ),
        models,
    )
    frames = max(outcome.counters.frames, 1)
    spent = {stage: outcome.cpu_ns.get(stage, 0) / 1e6 / frames for stage in STAGES}
    return ClipResult(
        name=path.stem,
        frames=outcome.counters.frames,
        reads=outcome.tally.vehicles,
        answered=outcome.tally.vehicles - outcome.tally.unreadable,
        crops=outcome.work.crops,
        cpu_ms=split_cpu(spent)["road_cpu_ms_per_frame"],
        network_ms=split_cpu(spent)["network_cpu_ms_per_frame"],
        compared=outcome.tally.compared,
    )
