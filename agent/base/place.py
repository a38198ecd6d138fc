"""Where a vehicle unit was: personal data of its crew, sealed with each read and kept nowhere."""

from datetime import datetime
from typing import Protocol

import msgspec


class Place(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A position that a receiver found. Its repr hides it, so logs and tracebacks do."""

    latitude_e7: int
    """WGS 84, in ten-millionths of a degree, north is positive."""
    longitude_e7: int
    """East is positive."""
    error_dm: int
    """The true position lies within so many decimetres, 19 times of 20."""
    fix_ms: int
    """When, by the receiver's own clock."""

    def __repr__(self) -> str:
        return "Place()"


class Locator(Protocol):
    """Knows where the unit was."""

    def __call__(self, instant: datetime, /) -> Place | None:
        """Return where it was, None where that is not known."""
        ...


def nowhere(_instant: datetime) -> None:
    """Say nothing: what a unit on a pole does."""
