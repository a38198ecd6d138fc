"""The sets of labelled pictures, and the agent's road over each of them."""

import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from agent.base.errors import InputError
from agent.base.records import Frame, Plane
from agent.camera.pictures import make_frame, read_picture
from agent.cli.bench_images import NEVER, WARM_UP, Look, look_at
from agent.cli.bench_index import Picture, find_nearest, load_index, read_rows
from agent.cli.models import Models
from agent.vision.image import shrink_plane
from models.evaluate.outcomes import Outcome, judge

INDEX = "index.csv"
LORES_WIDTH_PX = 640


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One set as the index describes it."""

    name: str
    use: str
    pictures: tuple[Picture, ...]
    exact: bool
    """The corners are those of the plates, not of boxes around them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetResult:
    """What the road made of one set."""

    name: str
    use: str
    pictures: int
    crops: bool
    """The pictures are plates, so only the reader worked."""
    outcomes: tuple[Outcome, ...]
    empty: int
    """Pictures known to show no plate."""
    false_reads: int
    """Answered reads in those."""
    false_pictures: int
    """Of those, pictures with such a read."""
    others: int
    """Finds beside the labelled plates, in pictures with plates: other cars' plates too."""
    cpu_ms: tuple[float, ...]


Track = Callable[[Iterable[Picture], int, str], Iterator[Picture]]
"""Gives the pictures and shows how far they are: items, how many, name."""


def find_sources(folder: Path, wanted: tuple[str, ...], *, limit: int | None) -> tuple[Source, ...]:
    """Return the sets to measure on, after all their pictures were found to be there.

    Args:
        folder: Holds `index.csv`; the paths in it begin here.
        wanted: Names of sets; none = all that the index marks for validation, and those of
            pictures without plates.
        limit: Only the first pictures of each set.

    Raises:
        InputError: The folder, the index, a set or a picture is missing.
    """
    index = folder / INDEX
    uses = {row.get("dataset") or "": row.get("use") or "" for row in read_rows(index)}
    usual = [name for name, use in uses.items() if use == "validate" or "negatives" in use]
    names = wanted or tuple(usual)
    unknown = sorted(set(names) - set(uses))
    if unknown or not names:
        found = ", ".join(sorted(uses)) or "no set"
        message = f"{index}: found {found}; expected {', '.join(unknown) or 'rows for validation'}"
        raise InputError(message)
    exact = {
        row.get("dataset") or "" for row in read_rows(index) if row.get("quad") not in {"", "0"}
    }
    sources = []
    for name in names:
        pictures = load_index(index, datasets=frozenset({name}))[:limit]
        check_pictures(folder, pictures, name)
        sources.append(Source(name=name, use=uses[name], pictures=pictures, exact=name in exact))
    return tuple(sources)


def check_pictures(folder: Path, pictures: tuple[Picture, ...], name: str) -> None:
    """Refuse a set of which pictures are missing: half a set is another set.

    Raises:
        InputError: The message says how many are missing, and names the first.
    """
    missing = [picture.path for picture in pictures if not (folder / picture.path).is_file()]
    if missing:
        message = (
            f"{folder}: {len(missing)} of {len(pictures)} pictures of {name} are missing, the "
            f"first is {missing[0]}; expected the folder that the index was made for"
        )
        raise InputError(message)


def measure_set(
    folder: Path, source: Source, models: Models, *, track: Track, keep_texts: bool
) -> SetResult:
    """Carry every picture of a set along the road; decoding is not timed.

    Raises:
        InputError: A picture cannot be read.
    """
    outcomes: list[Outcome] = []
    times: list[float] = []
    empty = false_reads = false_pictures = others = crops = 0
    for picture in track(source.pictures, len(source.pictures), source.name):
        look = _look(folder, picture, models, warm=not times)
        times.append(look.cpu_ms)
        outcomes += [
            judge(look, label, exact=source.exact, keep_texts=keep_texts)
            for label in picture.labels
        ]
        answered = look.abstained.count(False)
        crops += is_crop(look, picture)
        if picture.labels:
            others += count_others(look, picture)
        else:
            empty += 1
            false_reads += answered
            false_pictures += answered > 0
    return SetResult(
        name=source.name,
        use=source.use,
        pictures=len(source.pictures),
        crops=crops > len(source.pictures) / 2,
        outcomes=tuple(outcomes),
        empty=empty,
        false_reads=false_reads,
        false_pictures=false_pictures,
        others=others,
        cpu_ms=tuple(times),
    )


def _look(folder: Path, picture: Picture, models: Models, *, warm: bool) -> Look:
    """Return what the road sees in one picture; a first one is looked at some times before."""
    plane = read_picture(folder / picture.path)
    for _ in range(WARM_UP if warm else 0):
        look_at(plane, picture, models, lores_width_px=LORES_WIDTH_PX)
    return look_at(plane, picture, models, lores_width_px=LORES_WIDTH_PX)


def view_frame(plane: Plane) -> Frame:
    """Return a single picture as a frame of the road."""
    make_lores = partial(shrink_plane, width_px=LORES_WIDTH_PX)
    return make_frame(plane, index=0, captured_at=NEVER, sensor_ns=0, make_lores=make_lores)


def is_crop(look: Look, picture: Picture) -> bool:
    """Tell whether the road took the label's corners because the picture is the plate."""
    return (
        len(picture.labels) == 1
        and len(look.corners) == 1
        and bool(np.array_equal(look.corners[0], picture.labels[0].corners))
    )


def count_others(look: Look, picture: Picture) -> int:
    """Return how many finds are the nearest of no label."""
    taken = {find_nearest(label, look.corners) for label in picture.labels} - {None}
    return len(look.corners) - len(taken)


def warn_seen(source: Source) -> None:
    """Say on standard error that a set took part in training."""
    if source.use.startswith("train"):
        sys.stderr.write(f"{source.name}: marked {source.use}; good only for false reads\n")
