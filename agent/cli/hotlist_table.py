"""Reads the table that an office keeps: CSV with one looked-for plate a line.

Every error names the line and what is wrong with it, never the plate.
"""

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from agent.base.clock import to_ms
from agent.base.errors import InputError, IntegrityError
from agent.trust.hotlist_entries import HotlistEntry, normalise_plate

COLUMNS: Final = ("plate", "state", "purpose", "agency", "case", "expires")
OPTIONAL: Final = frozenset({"state"})
"""May be empty in a line."""
TABLE_LIMIT_BYTES: Final = 268_435_456
ERRORS_TOLD: Final = 200
"""More of them are one mistake in all lines."""
AGENCY_CHARACTERS: Final = 64
CASE_CHARACTERS: Final = 32
STATE_CHARACTERS: Final = 6
_CODES: Final = (
    # US Postal Service, Publication 28, appendix B: states, district, territories
    "AL AK AZ AR CA CO CT DE DC FL GA HI ID IL IN IA KS KY LA ME MD MA MI MN MS MO MT NE NV NH "
    "NJ NM NY NC ND OH OK OR PA RI SC SD "  # codespell:ignore
    "TN TX UT VT VA WA WV WI WY AS GU MP PR VI US "
    "AB BC MB NB NL NS NT NU ON PE QC SK YT "  # ISO 3166-2:CA
    # ISO 3166-2:MX
    "MX-AGU MX-BCN MX-BCS MX-CAM MX-CHH MX-CHP MX-CMX MX-COA MX-COL MX-DUR MX-GRO MX-GUA "
    "MX-HID MX-JAL MX-MEX MX-MIC MX-MOR MX-NAY MX-NLE MX-OAX MX-PUE MX-QUE MX-ROO MX-SIN "
    "MX-SLP MX-SON MX-TAB MX-TAM MX-TLA MX-VER MX-YUC MX-ZAC"
)
STATES: Final = frozenset(_CODES.split())
"""Whatever else stands there may be a slip; matching does not look at the state."""
_MINUTE_MS: Final = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """What was found."""

    entries: tuple[HotlistEntry, ...]
    expired: int
    """Lines whose entry was over already; left out."""
    repeated: int
    """Lines that say again what another says; left out."""


class _LineError(Exception):
    """One line is wrong; the message says how, without quoting it."""


def read_table(content: bytes, *, purposes: Sequence[str], now: datetime, place: str) -> Table:
    """Return the entries of a table.

    Args:
        content: UTF-8, first line the names of the columns in any order.
        purposes: Codes that the policy allows.
        now: Entries that end before are left out.
        place: Its name, for messages.

    Raises:
        InputError: The heading or at least one line is wrong; the wrong lines are named.
    """
    lines = _decode(content, place)
    names = _read_heading(lines, place)
    found, wrong, expired = [], [], 0
    now_minute = to_ms(now) // _MINUTE_MS
    for number, line in enumerate(lines[1:], start=2):
        if not line.strip(" ,;\t"):
            continue
        try:
            entry = _read_line(_split(line, names), purposes)
        except (_LineError, IntegrityError) as error:
            wrong.append(f"line {number}: {error}")
            continue
        if entry.expires_minute <= now_minute:
            expired += 1
        else:
            found.append(entry)
    if wrong:
        raise InputError(_tell(wrong, place))
    entries = tuple(dict.fromkeys(found))
    return Table(entries=entries, expired=expired, repeated=len(found) - len(entries))


def _decode(content: bytes, place: str) -> list[str]:
    try:
        return content.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        message = f"{place}: byte {error.start} is not UTF-8; save the table as CSV UTF-8"
        raise InputError(message) from error


def _split(line: str, names: Sequence[str]) -> Mapping[str, str]:
    """Return the fields of a line by their names."""
    try:
        fields = next(csv.reader([line], strict=True))
    except csv.Error as error:
        message = "a quotation mark is not closed"
        raise _LineError(message) from error
    if len(fields) != len(names):
        message = f"found {len(fields)} fields; expected {len(names)}"
        raise _LineError(message)
    return {name: text.strip() for name, text in zip(names, fields, strict=True)}


def _read_heading(lines: Sequence[str], place: str) -> tuple[str, ...]:
    """Return the names of the columns; a heading that is no heading may be a plate: not quoted."""
    names = tuple(part.strip().lower() for part in lines[0].split(",")) if lines else ()
    if len(names) == 1 and len(names[0].split(";")) == len(COLUMNS):
        message = f"{place}: line 1: separated by semicolons; use commas: {','.join(COLUMNS)}"
        raise InputError(message)
    if sorted(names) != sorted(COLUMNS):
        missing = sorted(set(COLUMNS) - set(names))
        found = f"without {', '.join(missing)}" if missing else "with another column, or one twice"
        message = f"{place}: line 1: found a heading {found}; expected {','.join(COLUMNS)}"
        raise InputError(message)
    return names


def _read_line(row: Mapping[str, str], purposes: Sequence[str]) -> HotlistEntry:
    for name in COLUMNS:
        if not row[name] and name not in OPTIONAL:
            message = f"the column {name} is empty"
            raise _LineError(message)
    plate = normalise_plate(row["plate"])
    if row["purpose"] not in purposes:
        allowed = ", ".join(purposes)
        message = f"the purpose is none of the policy's; expected {allowed}"
        raise _LineError(message)
    return HotlistEntry(
        plate=plate,
        state=_read_state(row["state"]),
        purpose=row["purpose"],
        agency=_read_text(row["agency"], "agency", AGENCY_CHARACTERS),
        case=_read_case(row["case"]),
        expires_minute=to_ms(_read_expiry(row["expires"])) // _MINUTE_MS,
    )


def _read_state(text: str) -> str:
    state = text.upper()
    if len(state) > STATE_CHARACTERS or not all(
        part.isalnum() for part in state.split("-") if state
    ):
        message = "the state is none; expected its short form, as in CA or MX-BCN, or nothing"
        raise _LineError(message)
    if not state.isascii():
        message = "the state is not of A-Z; expected its short form, as in CA"
        raise _LineError(message)
    return state


def _read_text(text: str, name: str, limit: int) -> str:
    if len(text) > limit or not text.isprintable():
        message = f"the column {name} is not 1 to {limit} printable characters"
        raise _LineError(message)
    return text


def _read_case(text: str) -> str:
    if not text.isascii():
        message = "the case number is not of plain characters (A-Z, 0-9, signs)"
        raise _LineError(message)
    return _read_text(text, "case", CASE_CHARACTERS)


def _read_expiry(text: str) -> datetime:
    """Return the end of an entry: of the day, UTC, where only a day is given."""
    try:
        instant = datetime.fromisoformat(text)
        if len(text) <= len("2026-12-31"):
            return instant.replace(tzinfo=UTC) + timedelta(days=1)
        if instant.tzinfo is not None:
            return instant.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        message = "the column expires is no date; expected 2026-12-31 or 2026-12-31T18:00+00:00"
        raise _LineError(message) from error
    message = "the column expires has a time without a zone; expected as in 18:00+00:00"
    raise _LineError(message)


def _tell(wrong: Sequence[str], place: str) -> str:
    told = "\n  ".join(wrong[:ERRORS_TOLD])
    more = f"\n  and {len(wrong) - ERRORS_TOLD} more" if len(wrong) > ERRORS_TOLD else ""
    return f"{place}: {len(wrong)} wrong lines; nothing was signed:\n  {told}{more}"
