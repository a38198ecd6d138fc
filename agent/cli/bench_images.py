"""`homeplate bench images`: one JSON object a picture, and a table of how exact it was."""

import argparse
import json
import statistics
import sys
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from agent.base.records import Plane
from agent.base.settings import DetectSettings, ModelSettings, ReadSettings
from agent.camera.pictures import make_frame, read_picture
from agent.cli.bench_index import Picture, find_nearest, is_whole_picture, load_index
from agent.cli.models import Models, open_models
from agent.detect import detect_plates
from agent.read import must_abstain, read_crops
from agent.vision.image import shrink_plane
from agent.vision.voting import Vote, count_votes, pick_slots

NEVER = datetime.fromtimestamp(0, UTC)
"""Instant of a picture of which nobody knows when it was taken."""
WARM_UP = 3
"""Looks at the first picture before the clock counts: memory is claimed then."""
PROGRESS_EVERY = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What was seen in one picture."""

    corners: NDArray[np.float32]
    votes: tuple[Vote, ...]
    abstained: tuple[bool, ...]
    wall_ms: float
    cpu_ms: float


@dataclass(slots=True, kw_only=True)
class Tally:
    """Sums over the pictures of one dataset."""

    pictures: int = 0
    labelled: int = 0
    """Plates whose text is known."""
    found: int = 0
    right: int = 0
    """Best guess equals the text."""
    answered: int = 0
    """Not abstained, of the labelled plates."""
    wrong: int = 0
    """Answered and not equal."""
    false_reads: int = 0
    """Answered reads in pictures without any plate."""
    cpu_ms: list[float] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this kind of bench."""
    parser.add_argument("root", type=Path, metavar="ROOT", help="folder the index's paths begin in")
    parser.add_argument("--index", type=Path, required=True, metavar="FILE", help="CSV of plates")
    parser.add_argument("--datasets", default="", metavar="A,B", help="only these (default all)")
    parser.add_argument("--limit", type=int, metavar="N", help="only the first N pictures")


def run(args: argparse.Namespace) -> int:
    """Look at every picture of the index; plates go to stdout, the summary to stderr."""
    datasets = frozenset(name for name in args.datasets.split(",") if name)
    pictures = load_index(args.index, datasets=datasets)[: args.limit]
    models = open_models(
        ModelSettings(directory=args.models, threads=args.threads),
        DetectSettings(threshold=args.threshold),
    )
    tallies: dict[str, Tally] = {}
    for number, picture in enumerate(pictures, start=1):
        plane = read_picture(args.root / picture.path)
        if number == 1:
            for _ in range(WARM_UP):
                look_at(plane, picture, models, lores_width_px=args.lores_width)
        look = look_at(plane, picture, models, lores_width_px=args.lores_width)
        print(json.dumps(describe_look(look, picture)), flush=True)
        add_look(tallies.setdefault(picture.dataset, Tally()), look, picture)
        if number % PROGRESS_EVERY == 0 or number == len(pictures):
            sys.stderr.write(f"{number} of {len(pictures)} pictures\n")
    sys.stderr.write(draw_table(tallies))
    return 0


def look_at(plane: Plane, picture: Picture, models: Models, *, lores_width_px: int) -> Look:
    """Return the plates of one picture, as the agent sees a single frame."""
    wall_ns, cpu_ns = time.perf_counter_ns(), time.process_time_ns()
    make_lores = partial(shrink_plane, width_px=lores_width_px)
    corners = find_whole(plane, picture)
    if corners is None:
        frame = make_frame(plane, index=0, captured_at=NEVER, sensor_ns=0, make_lores=make_lores)
        corners = detect_plates(frame, models.detector).corners
    slots = read_crops(plane, corners, models.reader)
    votes = tuple(
        count_votes(pick_slots(slots, np.array([row])), alphabet=models.reader.alphabet)
        for row in range(len(corners))
    )
    alone = ReadSettings(min_frames_agreed=1)
    return Look(
        corners=corners,
        votes=votes,
        abstained=tuple(
            must_abstain(
                vote, agreed=1, share=1.0, settings=alone, threshold=models.reader.threshold
            )
            for vote in votes
        ),
        wall_ms=(time.perf_counter_ns() - wall_ns) / 1e6,
        cpu_ms=(time.process_time_ns() - cpu_ns) / 1e6,
    )


def find_whole(plane: Plane, picture: Picture) -> NDArray[np.float32] | None:
    """Return the plate's corners (1, 4, 2) where the picture is nothing but the plate."""
    rows, columns = plane.shape
    if len(picture.labels) != 1:
        return None
    label = picture.labels[0]
    whole = is_whole_picture(label, width_px=columns, height_px=rows)
    return label.corners[None] if whole else None


def describe_look(look: Look, picture: Picture) -> dict[str, object]:
    """Return the line of one picture."""
    return {
        "image": picture.path,
        "ms": round(look.wall_ms, 3),
        "cpu_ms": round(look.cpu_ms, 3),
        "plates": [
            describe_plate(look.corners[row], vote, abstained=look.abstained[row])
            for row, vote in enumerate(look.votes)
        ],
    }


def describe_plate(
    corners: NDArray[np.float32], vote: Vote, *, abstained: bool
) -> dict[str, object]:
    """Return one plate of a line; lengths in pixels."""
    sure = vote.confidences
    box = [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]
    return {
        "text": vote.characters,
        "abstained": abstained,
        "confidence": round(sum(sure) / max(len(sure), 1), 4),
        "min_char_confidence": round(min(sure, default=0.0), 4),
        "box": [round(number, 1) for number in box],
        "corners": [[round(x, 1), round(y, 1)] for x, y in corners.tolist()],
    }


def add_look(tally: Tally, look: Look, picture: Picture) -> None:
    """Compare a look with the labels and add it to `tally`."""
    tally.pictures += 1
    tally.cpu_ms.append(look.cpu_ms)
    if not picture.labels:
        tally.false_reads += look.abstained.count(False)
    for label in picture.labels:
        row = find_nearest(label, look.corners)
        if not label.text:
            continue
        tally.labelled += 1
        tally.found += row is not None
        if row is not None:
            same = look.votes[row].characters == label.text
            tally.right += same
            tally.answered += not look.abstained[row]
            tally.wrong += not look.abstained[row] and not same


def draw_table(tallies: dict[str, Tally]) -> str:
    """Return the summary, one line a dataset."""
    heading = "pictures|plates|found %|strict %|answered %|wrong %|abstained %|false reads|cpu ms"
    lines = ["".join(f"{name:>13}" for name in ("dataset", *heading.split("|")))]
    lines += [draw_line(name or "-", tally) for name, tally in sorted(tallies.items())]
    return "\n".join(lines) + "\n"


def draw_line(name: str, tally: Tally) -> str:
    """Return one line of the summary; shares are of the plates with a known text."""
    counts = (tally.found, tally.right, tally.answered, tally.wrong)
    missing = tally.labelled - tally.answered
    shares = [100 * count / max(tally.labelled, 1) for count in (*counts, missing)]
    cells = [f"{tally.pictures:>13}", f"{tally.labelled:>13}"]
    cells += [f"{share:>13.1f}" if tally.labelled else f"{'-':>13}" for share in shares]
    cells += [f"{tally.false_reads:>13}", f"{statistics.median(tally.cpu_ms):>13.2f}"]
    return f"{name[-20:]:>13}" + "".join(cells)
