"""What a hit of the hotlist is, from the gate to the city."""

from dataclasses import dataclass, field
from typing import Final

from agent.base.records import PlateRead

LEAD_ONLY: Final = "LEAD ONLY - verify plate, state and vehicle"
"""Stands in every alert: a match alone is no ground for a stop (N.H. RSA 261:75-b)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One entry of the hotlist for the plate of a read: why it is looked for, and by whom."""

    state: str = field(repr=False)
    """Of the plate, as the agency wrote it; empty = not known. A unit does not read states."""
    purpose: str = field(repr=False)
    """Code from the policy's list."""
    agency: str = field(repr=False)
    case: str = field(repr=False)
    expires_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    """A read that is exactly a plate of the hotlist: an alert, made once a passage.

    Most are made while the vehicle is in view; a `HitEnd` then tells how its passage went on.
    """

    read: PlateRead
    """As known when the alert is made."""
    matches: tuple[Match, ...] = field(repr=False)
    """1 or more."""
    list_version: int
    list_issued_ms: int
    matched_ms: int
    """When the alert was made, by the unit's clock; less `list_issued_ms` it is the list's age."""
    complete: bool
    """The passage is over: no `HitEnd` follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HitEnd:
    """How the passage ended for which an alert was made; the plate stands in the alert only."""

    alert_sequence: int
    """Of the alert in the lane hits, same boot."""
    confirmed: bool
    """The vote over the whole passage is the alert's plate, and as sure as the policy asks."""
    read: PlateRead
    """Of the whole passage. Its text and picture are not kept with the end."""
