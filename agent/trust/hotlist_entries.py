"""Entries of a hotlist and the columns they travel in: the city's side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final

from agent.base.errors import IntegrityError
from agent.trust.header import TIME_LIMIT_MS
from agent.trust.hotlist import (
    CASE_CHARACTERS,
    ENTRIES_LIMIT,
    PLATE_CHARACTERS,
    Columns,
    ListSigner,
    SignedHotlist,
    pack_columns,
    sign_hotlist,
)

_LETTERS: Final = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
_IGNORED: Final = str.maketrans("", "", " -.\u00b7\u2010\u2011\u2013")
_MINUTE_LIMIT: Final = TIME_LIMIT_MS // 60_000


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class HotlistEntry:
    """One plate that is looked for, by one agency, for one case."""

    plate: str = field(repr=False)
    """As `normalise_plate` returns it."""
    state: str = field(repr=False)
    """Empty where it is not known."""
    purpose: str = field(repr=False)
    agency: str = field(repr=False)
    case: str = field(repr=False)
    expires_minute: int
    """Minutes since 1970; from then on the entry matches nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListTerms:
    """What a list says of itself."""

    version: int
    issued_ms: int
    expires_ms: int


def normalise_plate(text: str) -> str:
    """Return a plate in the one spelling that is compared: A-Z and 0-9 in capitals.

    Spaces, dashes and dots are left out. Nothing else is changed: O is not 0.

    Raises:
        IntegrityError: What is left is no plate; the message does not hold it.
    """
    bare = text.translate(_IGNORED)
    plate = bare.upper() if bare.isascii() else ""  # the capital of a foreign letter may be ours
    if not 0 < len(plate) <= PLATE_CHARACTERS or not _LETTERS.issuperset(plate):
        message = f"found no plate; expected 1 to {PLATE_CHARACTERS} of A-Z and 0-9"
        raise IntegrityError(message)
    return plate


def sign_entries(
    signer: ListSigner, entries: Sequence[HotlistEntry], terms: ListTerms
) -> tuple[bytes, SignedHotlist]:
    """Return the signed list of `entries`, in order and each once, and what it says of itself.

    Raises:
        IntegrityError: Too many entries, or one that the format cannot hold.
    """
    ordered = sorted(set(entries))
    if len(ordered) > ENTRIES_LIMIT:
        message = f"found {len(ordered)} entries; expected at most {ENTRIES_LIMIT}"
        raise IntegrityError(message)
    tables = {
        name: tuple(sorted({getattr(entry, name) for entry in ordered}))
        for name in ("state", "purpose", "agency")
    }
    head = SignedHotlist(
        version=terms.version,
        issued_ms=terms.issued_ms,
        expires_ms=terms.expires_ms,
        count=len(ordered),
        states=tables["state"],
        purposes=tables["purpose"],
        agencies=tables["agency"],
        columns=pack_columns(_make_columns(ordered, tables)),
    )
    return sign_hotlist(signer, head), head


def _make_columns(entries: Sequence[HotlistEntry], tables: dict[str, tuple[str, ...]]) -> Columns:
    numbers = {
        name: {text: number for number, text in enumerate(table)} for name, table in tables.items()
    }
    cases = [_encode_case(entry.case) for entry in entries]
    minutes = [_bounded(entry.expires_minute) for entry in entries]
    return Columns(
        plates=b"".join(entry.plate.encode().ljust(PLATE_CHARACTERS, b"\0") for entry in entries),
        states=bytes(numbers["state"][entry.state] for entry in entries),
        purposes=bytes(numbers["purpose"][entry.purpose] for entry in entries),
        agencies=_pack([numbers["agency"][entry.agency] for entry in entries], 2),
        expiries=_pack(minutes, 4),
        case_ends=_pack(list(accumulate(map(len, cases))), 4),
        cases=b"".join(cases),
    )


def _pack(numbers: Sequence[int], size_bytes: int) -> bytes:
    return b"".join(number.to_bytes(size_bytes, "little") for number in numbers)


def _encode_case(case: str) -> bytes:
    if not (0 < len(case) <= CASE_CHARACTERS and case.isascii() and case.isprintable()):
        message = f"found no case number; expected 1 to {CASE_CHARACTERS} plain characters"
        raise IntegrityError(message)
    return case.encode("ascii")


def _bounded(minute: int) -> int:
    if not 0 <= minute < _MINUTE_LIMIT:
        message = "an entry's expiry is out of range"
        raise IntegrityError(message)
    return minute
