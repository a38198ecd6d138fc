"""The hotlist in memory: sorted columns, one binary search a plate, nothing on any disk.

Exact match only. Both sides have the one spelling of a plate: capitals A-Z and digits, without
spaces and dashes; no sign is ever taken for another.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from agent.base.errors import IntegrityError
from agent.base.hits import Match
from agent.trust.header import TIME_LIMIT_MS
from agent.trust.hotlist import CASE_CHARACTERS, PLATE_CHARACTERS, Columns, SignedHotlist

MATCHES_LIMIT: Final = 16
"""Entries of one plate that an alert names at most."""
MINUTE_MS: Final = 60_000

_LETTERS: Final = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
_PRINTABLE: Final = bytes(range(0x20, 0x7F))
_PLATE: Final = f"S{PLATE_CHARACTERS}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Hotlist:
    """The plates that are looked for, each with why; held in memory only."""

    version: int
    """0 = there is no list."""
    issued_ms: int
    expires_ms: int
    plates: NDArray[np.bytes_] = field(repr=False)
    """(N,) in order; a plate stands there once for each of its entries."""
    states: NDArray[np.uint8] = field(repr=False)
    purposes: NDArray[np.uint8] = field(repr=False)
    agencies: NDArray[np.uint16] = field(repr=False)
    expiries: NDArray[np.uint32] = field(repr=False)
    """(N,) minutes since 1970."""
    case_ends: NDArray[np.uint32] = field(repr=False)
    cases: bytes = field(repr=False)
    tables: tuple[tuple[str, ...], ...] = field(repr=False)
    """States, purposes and agencies by their numbers."""

    def __len__(self) -> int:
        """Return how many entries there are."""
        return len(self.plates)

    @property
    def size_bytes(self) -> int:
        """Return about how much memory the entries take."""
        columns = (self.plates, self.states, self.purposes, self.agencies)
        rest = (self.expiries, self.case_ends)
        return sum(column.nbytes for column in (*columns, *rest)) + len(self.cases)

    def is_expired(self, *, now_ms: int) -> bool:
        """Tell whether there is a list that may not be used any more."""
        return self.version > 0 and now_ms >= self.expires_ms

    def find(self, plate: str, *, now_ms: int) -> tuple[Match, ...]:
        """Return the entries for exactly this plate that are not over, at most 16.

        Args:
            plate: A-Z and 0-9.
            now_ms: By a clock that never runs back; the list itself may be over too.
        """
        if now_ms >= self.expires_ms or not 0 < len(plate) <= PLATE_CHARACTERS:
            return ()
        wanted = np.array(plate.encode(), _PLATE)
        first = int(self.plates.searchsorted(wanted))
        if first == len(self) or self.plates[first] != wanted:
            return ()
        end = int(self.plates.searchsorted(wanted, side="right"))
        # Not one by one: a list may name a plate a million times, and the road does not wait.
        alive = np.flatnonzero(self.expiries[first:end] > now_ms // MINUTE_MS)[:MATCHES_LIMIT]
        return tuple(self._match(first + int(row)) for row in alive)

    def _match(self, row: int) -> Match:
        states, purposes, agencies = self.tables
        begin = int(self.case_ends[row - 1]) if row else 0
        return Match(
            state=states[self.states[row]],
            purpose=purposes[self.purposes[row]],
            agency=agencies[self.agencies[row]],
            case=self.cases[begin : int(self.case_ends[row])].decode("ascii"),
            expires_ms=int(self.expiries[row]) * MINUTE_MS,
        )


def index_hotlist(head: SignedHotlist, columns: Columns) -> Hotlist:
    """Return the list ready for look-ups; the columns are looked at where they lie, not copied.

    Args:
        head: Of a list whose signature holds.
        columns: Its entries, unpacked.

    Raises:
        IntegrityError: A plate that is none, plates out of order, a number without a text, or a
            case number that is none. The message never holds a plate.
    """
    hotlist = Hotlist(
        version=head.version,
        issued_ms=head.issued_ms,
        expires_ms=head.expires_ms,
        plates=np.frombuffer(columns.plates, _PLATE),
        states=np.frombuffer(columns.states, np.uint8),
        purposes=np.frombuffer(columns.purposes, np.uint8),
        agencies=np.frombuffer(columns.agencies, "<u2"),
        expiries=np.frombuffer(columns.expiries, "<u4"),
        case_ends=np.frombuffer(columns.case_ends, "<u4"),
        cases=columns.cases,
        tables=(head.states, head.purposes, head.agencies),
    )
    if len(hotlist):
        _check_plates(columns.plates, hotlist.plates)
        _check_tables(hotlist)
        _check_cases(hotlist)
    return hotlist


def _check_plates(content: bytes, plates: NDArray[np.bytes_]) -> None:
    _require(not content.translate(None, _LETTERS + b"\0"), "a plate is not of A-Z and 0-9")
    marks = np.frombuffer(content, np.uint8).reshape(-1, PLATE_CHARACTERS)
    _require(bool(marks[:, 0].all()), "a plate is empty")
    for place in range(1, PLATE_CHARACTERS):
        torn = (marks[:, place - 1] == 0) & (marks[:, place] != 0)
        _require(not torn.any(), "a plate goes on after its end")
    _require(bool((plates[1:] >= plates[:-1]).all()), "the plates are not in order")


def _check_tables(hotlist: Hotlist) -> None:
    highest = (hotlist.states.max(), hotlist.purposes.max(), hotlist.agencies.max())
    for number, table in zip(highest, hotlist.tables, strict=True):
        _require(int(number) < len(table), "an entry's number has no text in its table")
    latest_ms = int(hotlist.expiries.max()) * MINUTE_MS
    _require(latest_ms < TIME_LIMIT_MS, "an entry's end is after the year 9999")


def _check_cases(hotlist: Hotlist) -> None:
    ends = hotlist.case_ends.astype(np.int64)
    sizes = np.diff(ends, prepend=0)
    whole = int(sizes.min()) > 0 and int(sizes.max()) <= CASE_CHARACTERS
    _require(whole and int(ends[-1]) == len(hotlist.cases), "a case number is empty or too long")
    _require(not hotlist.cases.translate(None, _PRINTABLE), "a case number is not plain text")


def _require(condition: bool, what: str) -> None:  # noqa: FBT001 -- the condition is the subject
    if not condition:
        message = f"hotlist: {what}; sign another list"
        raise IntegrityError(message)


EMPTY_HOTLIST: Final = Hotlist(
    version=0,
    issued_ms=0,
    expires_ms=0,
    plates=np.zeros(0, _PLATE),
    states=np.zeros(0, np.uint8),
    purposes=np.zeros(0, np.uint8),
    agencies=np.zeros(0, np.uint16),
    expiries=np.zeros(0, np.uint32),
    case_ends=np.zeros(0, np.uint32),
    cases=b"",
    tables=((), (), ()),
)
