"""Whole passages: the road over recorded clips, with votes, as a unit does it. Counts only."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from agent.base.clock import SystemClock
from agent.base.records import Frame, Plane, PlateRead
from agent.camera.video import VideoFile
from agent.cli.bench_report import NETWORKS, Sums
from agent.cli.bench_truth import Comparison, compare_reads, load_truth
from agent.cli.bench_video import look_at, make_eyes
from agent.cli.models import Models
from agent.vision.image import shrink_plane
from models.evaluate.sets import LORES_WIDTH_PX

TRUTH = ".truth.jsonl"
"""Stands in place of a clip's ending."""
SUFFIXES = frozenset({".mp4", ".mkv", ".avi", ".mov"})

Track = Callable[[Iterable[Frame], int | None, str], Iterator[Frame]]


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
    """A frame, from the detector to the vote."""
    network_ms: float
    """Of that, in the two networks."""
    compared: Comparison | None
    """None without truth."""


def list_clips(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Return the videos in the folders that exist."""
    paths = [path for folder in folders if folder.is_dir() for path in sorted(folder.iterdir())]
    return tuple(path for path in paths if path.suffix.lower() in SUFFIXES)


def measure_clip(
    path: Path, models: Models, *, track: Track, truths: Path | None = None
) -> ClipResult:
    """Carry a clip along the road up to the gate.

    Args:
        path: The video; its truth stands beside it, if there is one.
        models: Both networks.
        track: Shows how far it is.
        truths: Folder to look for the truth in first.

    Raises:
        InputError: It is no video, or its truth is none.
    """
    places = [folder / (path.stem + TRUTH) for folder in (truths, path.parent) if folder]
    truth = next((load_truth(place) for place in places if place.is_file()), None)
    sums = Sums()
    eyes = make_eyes(models, sums)
    with VideoFile(str(path), make_lores=shrink, clock=SystemClock()) as camera:
        for frame in track(camera.frames(), None, path.stem):
            sums.reads += look_at(frame, eyes, sums)
            sums.frames += 1
    sums.reads += eyes.ballots.finish(eyes.tracker.finish())
    spent = sums.meter.per_frame_ms(sums.frames)
    return ClipResult(
        name=path.stem,
        frames=sums.frames,
        reads=len(sums.reads),
        answered=count_answered(sums.reads),
        crops=sums.crops,
        cpu_ms=sum(spent.values()),
        network_ms=sum(spent.get(stage, 0.0) for stage in NETWORKS),
        compared=None if truth is None else compare_reads(sums.reads, truth),
    )


def shrink(plane: Plane) -> Plane:
    """Return the detector's view of a frame."""
    return shrink_plane(plane, width_px=LORES_WIDTH_PX)


def count_answered(reads: tuple[PlateRead, ...]) -> int:
    """Return how many reads are no guesses."""
    return sum(not read.abstained for read in reads)
