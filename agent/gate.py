"""Decide whether a read may be kept, and in which lane.

In the mode `hits-only` a read that is no hit has no lane: it never leaves memory.
"""

import csv
from dataclasses import dataclass, field
from typing import Literal

from agent.base.errors import ConfigError
from agent.base.lanes import Lane
from agent.base.records import PlateRead

Mode = Literal["all", "hits-only"]
LONGEST = 16
COLUMNS = ("plate", "state", "purpose", "case")
"""Of a hotlist line; all but the first may be left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HotlistEntry:
    """Why a plate is looked for."""

    state: str
    purpose: str
    case: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Hotlist:
    """The plates that are looked for; held in memory only."""

    entries: dict[str, tuple[HotlistEntry, ...]] = field(repr=False)
    """By plate, A-Z and 0-9; one plate may be looked for in two states or two cases."""

    def __len__(self) -> int:
        """Return how many plates there are."""
        return len(self.entries)


EMPTY_HOTLIST = Hotlist(entries={})


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What the city's policy asks of a hit."""

    mode: Mode
    min_hit_confidence: float
    """Of every character, 0 to 1."""
    min_hit_frames: int
    """Frames whose own read equals the text."""


def admit(read: PlateRead, *, rules: GateRules, hotlist: Hotlist) -> Lane | None:
    """Return the lane of `read`, or None where it must not be kept."""
    if is_hit(read, rules=rules, hotlist=hotlist):
        return Lane.HITS
    return Lane.READS if rules.mode == "all" else None


def is_hit(read: PlateRead, *, rules: GateRules, hotlist: Hotlist) -> bool:
    """Tell whether `read` is exactly a plate of the hotlist, and sure enough to be called one."""
    return (
        not read.abstained
        and read.text.characters in hotlist.entries
        and read.min_char_confidence >= rules.min_hit_confidence
        and read.frames_agreed >= rules.min_hit_frames
    )


def parse_hotlist(content: bytes, *, place: str) -> Hotlist:
    """Read a hotlist: one plate a line, or comma-separated `plate[,state,purpose,case]`.

    Empty lines, lines that begin with # and a first line that begins with `plate` are skipped.
    Plates are compared without spaces, dashes and case.

    Args:
        content: The file's bytes, UTF-8.
        place: Its name, for the message.

    Raises:
        ConfigError: Not UTF-8, or a line that holds no plate; the message gives its number, never
            its text.
    """
    try:
        lines = content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        message = f"{place}: byte {error.start} is not UTF-8; expected a plain text file"
        raise ConfigError(message) from error
    entries: dict[str, tuple[HotlistEntry, ...]] = {}
    for number, line in enumerate(lines, start=1):
        if is_skipped(line, number):
            continue
        plate, entry = parse_line(line, place=f"{place}: line {number}")
        entries[plate] = (*entries.get(plate, ()), entry)
    return Hotlist(entries=entries)


def is_skipped(line: str, number: int) -> bool:
    """Tell a line without a plate: empty, a comment, or the heading."""
    text = line.strip()
    heading = number == 1 and text.split(",")[0].strip().lower() == COLUMNS[0]
    return not text or text.startswith("#") or heading


def parse_line(line: str, *, place: str) -> tuple[str, HotlistEntry]:
    """Return the plate of a hotlist line and why it is looked for.

    Raises:
        ConfigError: Too many fields, or the first is no plate.
    """
    try:
        parts = [part.strip() for part in next(csv.reader([line]))]
    except csv.Error as error:
        message = f"{place}: cannot be split into fields; expected {','.join(COLUMNS)}"
        raise ConfigError(message) from error
    if len(parts) > len(COLUMNS):
        message = f"{place}: found {len(parts)} fields; expected at most {','.join(COLUMNS)}"
        raise ConfigError(message)
    plate = normalise_plate(parts[0])
    if not (plate.isascii() and plate.isalnum() and len(plate) <= LONGEST):
        message = f"{place}: found no plate; expected 1 to {LONGEST} of A-Z and 0-9"
        raise ConfigError(message)
    state, purpose, case = (parts[1:] + [""] * len(COLUMNS))[: len(COLUMNS) - 1]
    return plate, HotlistEntry(state=state, purpose=purpose, case=case)


def normalise_plate(text: str) -> str:
    """Return `text` in capitals without spaces and dashes."""
    return text.upper().replace(" ", "").replace("-", "")
