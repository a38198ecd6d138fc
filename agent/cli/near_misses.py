"""Near misses: all plates one character off an entry, each taken through the gate as a sure read.

A match is exact, so none of them may raise an alert unless it stands in the list itself. Counted
here for the real list and the real rules, so that a change that would make matching loose shows as
a number.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

from agent.base.clock import from_ms
from agent.base.lanes import Lane
from agent.base.records import Direction, PlateRead, PlateText
from agent.gate import GateRules, Hotlist, admit

LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
SAMPLE: Final = 10_000
"""Plates of a longer list that are tried unless all are asked for: 2.5 million reads."""
_SEED: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class NearMisses:
    """What became of the near misses of a list."""

    plates: int
    """In the list, each counted once."""
    sampled: int
    """Of these: all one-character confusions of each were tried."""
    tried: int
    """Reads one character off a listed plate, and not on the list themselves."""
    listed: int
    """Reads one character off a listed plate that stand on the list in their own right."""
    alerts: int
    """Of the tried: the gate calls them hits. Anything but 0 is a fault."""
    silent: int
    """Listed plates of the sample that the gate does not call hits though their entries hold: the
    trial is none then. Anything but 0 is a fault."""

    @property
    def false_alert_rate(self) -> float:
        """Alerts by reads tried."""
        return self.alerts / self.tried if self.tried else 0.0


def count_near_misses(
    hotlist: Hotlist,
    rules: GateRules,
    *,
    now_ms: int,
    sample: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> NearMisses:
    """Return what all one-character confusions of listed plates bring about at the gate.

    Args:
        hotlist: In use.
        rules: Of the policy.
        now_ms: When they are read.
        sample: How many plates to take at random; None = all.
        report: Where given, is told how many plates were tried, of how many.
    """
    known = sorted({plate.decode() for plate in hotlist.plates.tolist()})
    chosen = known
    if sample is not None and sample < len(known):
        chosen = Random(_SEED).sample(known, sample)  # noqa: S311 -- a sample, not a secret

    def is_hit(plate: str) -> bool:
        read = make_sure_read(plate, rules, now_ms=now_ms)
        return admit(read, rules=rules, hotlist=hotlist, now_ms=now_ms)[0] is Lane.HITS

    return _try(chosen, frozenset(known), is_hit, report or _tell_nobody)


def make_sure_read(plate: str, rules: GateRules, *, now_ms: int) -> PlateRead:
    """Return a read that is as sure as a read can be: only the list can turn it away."""
    at = from_ms(now_ms)
    return PlateRead(
        text=PlateText(plate),
        confidences=(1.0,) * len(plate),
        abstained=False,
        frames_seen=rules.min_hit_frames,
        frames_agreed=rules.min_hit_frames,
        first_seen=at,
        last_seen=at,
        first_frame=0,
        last_frame=rules.min_hit_frames,
        direction=Direction.STILL,
        corners=(0.0,) * 8,
        crop_jpeg=b"",
    )


def confuse(plate: str) -> Iterator[str]:
    """Yield all plates that differ in one character."""
    for place, own in enumerate(plate):
        head, tail = plate[:place], plate[place + 1 :]
        yield from (f"{head}{letter}{tail}" for letter in LETTERS if letter != own)


def _try(
    chosen: Sequence[str],
    known: frozenset[str],
    is_hit: Callable[[str], bool],
    report: Callable[[int, int], None],
) -> NearMisses:
    tried = listed = alerts = silent = 0
    for done, plate in enumerate(chosen):
        report(done, len(chosen))
        silent += not is_hit(plate)
        for variant in confuse(plate):
            if variant in known:
                listed += 1
            else:
                tried += 1
                alerts += is_hit(variant)
    report(len(chosen), len(chosen))
    return NearMisses(
        plates=len(known),
        sampled=len(chosen),
        tried=tried,
        listed=listed,
        alerts=alerts,
        silent=silent,
    )


def _tell_nobody(_done: int, _of: int) -> None:
    """Be silent."""
