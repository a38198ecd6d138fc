"""What the city's policy asks of a hit, and where a read goes."""

from dataclasses import dataclass
from typing import Literal

from agent.base.hits import Match
from agent.base.lanes import Lane
from agent.base.records import PlateRead
from agent.gate.hotlist import Hotlist

Mode = Literal["all", "hits-only"]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRules:
    """What the city's policy asks of a hit."""

    mode: Mode
    min_hit_confidence: float
    """Of every character, 0 to 1."""
    min_hit_frames: int
    """Frames whose own read equals the text."""


def admit(
    read: PlateRead, *, rules: GateRules, hotlist: Hotlist, now_ms: int
) -> tuple[Lane | None, tuple[Match, ...]]:
    """Return the lane of a finished read, None where it must not be kept, and what it matches."""
    matches = find_matches(read, rules=rules, hotlist=hotlist, now_ms=now_ms)
    if matches:
        return Lane.HITS, matches
    return (Lane.READS if rules.mode == "all" else None), ()


def find_matches(
    read: PlateRead, *, rules: GateRules, hotlist: Hotlist, now_ms: int
) -> tuple[Match, ...]:
    """Return the entries of the hotlist for exactly this plate; none for a read that is not sure.

    Args:
        read: Finished, or of a passage that still goes on.
        rules: Of the policy.
        hotlist: In use; one that has expired, and an entry that has, match nothing.
        now_ms: By a clock that never runs back.
    """
    return hotlist.find(read.text.characters, now_ms=now_ms) if is_sure(read, rules=rules) else ()


def is_sure(read: PlateRead, *, rules: GateRules) -> bool:
    """Tell whether a read is sure enough to be called a hit: each character, and enough frames."""
    return (
        not read.abstained
        and read.min_char_confidence >= rules.min_hit_confidence
        and read.frames_agreed >= rules.min_hit_frames
    )
