"""Near misses: all plates that differ from a listed one in one character, held against the list.

A match is exact, so none of them may raise an alert unless it stands in the list itself. Counted
here for a whole list, so that a change that would make matching loose shows as a number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from agent.gate import Hotlist

LETTERS = np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789", np.uint8)
BLOCK = 20_000
"""Entries at a time: 36 variants of each place of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMisses:
    """What became of the near misses of a list."""

    entries: int
    tried: int
    """Plates one character off an entry, and not on the list themselves."""
    listed: int
    """Plates one character off an entry that stand on the list in their own right."""
    alerts: int
    """Of the tried: would be called hits. Anything but 0 is a fault."""

    @property
    def false_alert_rate(self) -> float:
        """Alerts by plates tried."""
        return self.alerts / self.tried if self.tried else 0.0


def count_near_misses(hotlist: Hotlist, *, now_ms: int) -> NearMisses:
    """Return what all one-character variants of all entries would bring about.

    Whether a variant is listed is told by a set of all plates, whether it alerts by the gate's own
    look-up: two ways that must agree.
    """
    plates = np.unique(hotlist.plates)
    known = frozenset(plates.tolist())
    tried = listed = alerts = 0
    for variants in _vary(plates):
        own = np.fromiter((plate in known for plate in variants.tolist()), np.bool_, len(variants))
        found = hotlist.contains(variants)
        tried += int((~own).sum())
        listed += int(own.sum())
        alerts += sum(
            bool(hotlist.find(plate.decode(), now_ms=now_ms)) for plate in variants[found & ~own]
        )
    return NearMisses(entries=len(hotlist), tried=tried, listed=listed, alerts=alerts)


def _vary(plates: NDArray[np.bytes_]) -> Iterator[NDArray[np.bytes_]]:
    """Yield the variants of all plates, one place and a block of plates at a time."""
    size = plates.dtype.itemsize
    for begin in range(0, len(plates), BLOCK):
        marks = plates[begin : begin + BLOCK].view(np.uint8).reshape(-1, size)
        for place in range(size):
            taken = marks[marks[:, place] != 0]
            for letter in LETTERS:
                changed = taken[taken[:, place] != letter].copy()
                changed[:, place] = letter
                if len(changed):
                    yield changed.reshape(-1).view(plates.dtype)
