"""The truth about a video's vehicles, and how the reads compare with it."""

from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from agent.base.errors import InputError
from agent.base.records import PlateRead

SLACK_FRAMES = 15
"""A read may begin that much before and end that much after the vehicle in the truth."""


class Vehicle(msgspec.Struct, frozen=True, kw_only=True):
    """One line of a truth file."""

    text: str
    first_frame: int
    last_frame: int
    corners: dict[str, list[list[float]]] = {}
    """Frame → four corners; for people who look closer, unused here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Reads against the truth; every vehicle and every read counts once."""

    vehicles: int
    right: int
    """Vehicles with an answered read of exactly their text, at their time."""
    right_guess: int
    """The same, abstained reads included."""
    wrong: int
    """Answered reads that are no vehicle's text at that time."""
    abstained: int
    """Reads that abstained."""
    repeated: int
    """Answered reads of a vehicle that had one already: split passages."""
    missed: tuple[str, ...] = field(repr=False)
    """Texts of the vehicles without a right guess."""


def load_truth(path: Path) -> tuple[Vehicle, ...]:
    """Return the vehicles of a truth file.

    Raises:
        InputError: The file is missing, or a line is no vehicle; the message gives its number.
    """
    try:
        lines = path.read_bytes().splitlines()
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror}); expected one JSON object a line"
        raise InputError(message) from error
    vehicles = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            vehicles.append(msgspec.json.decode(line, type=Vehicle))
        except msgspec.MsgspecError as error:
            message = f"{path}: line {number}: {error}; expected text, first_frame, last_frame"
            raise InputError(message) from error
    return tuple(vehicles)


def compare_reads(reads: tuple[PlateRead, ...], truth: tuple[Vehicle, ...]) -> Comparison:
    """Return how `reads` compare with `truth`: exact text, overlapping in time."""
    answered = tuple(read for read in reads if not read.abstained)
    right, repeated, wrong = match_reads(answered, truth)
    guessed, _, _ = match_reads(reads, truth)
    return Comparison(
        vehicles=len(truth),
        right=len(right),
        right_guess=len(guessed),
        wrong=wrong,
        abstained=len(reads) - len(answered),
        repeated=repeated,
        missed=tuple(one.text for row, one in enumerate(truth) if row not in guessed),
    )


def match_reads(
    reads: tuple[PlateRead, ...], truth: tuple[Vehicle, ...]
) -> tuple[frozenset[int], int, int]:
    """Return the rows of `truth` that were read, reads of one already read, and wrong reads."""
    matched: set[int] = set()
    repeated = wrong = 0
    for read in reads:
        rows = [row for row, vehicle in enumerate(truth) if is_of(read, vehicle)]
        free = [row for row in rows if row not in matched]
        matched |= set(free[:1])
        repeated += bool(rows) and not free
        wrong += not rows
    return frozenset(matched), repeated, wrong


def is_of(read: PlateRead, vehicle: Vehicle) -> bool:
    """Tell whether `read` is exactly the plate of `vehicle`, at its time."""
    return (
        read.text.characters == vehicle.text
        and read.first_frame <= vehicle.last_frame + SLACK_FRAMES
        and read.last_frame >= vehicle.first_frame - SLACK_FRAMES
    )
