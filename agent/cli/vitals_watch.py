"""What the watcher tells of itself."""

from collections.abc import Iterator
from typing import Final

from msgspec.structs import replace

from agent.base.clock import Clock, to_ms
from agent.base.health import CameraState, WatchCounters
from agent.base.health_file import Facts, HealthFile
from agent.cli.unit import Unit
from agent.cli.vitals import open_health, state_facts
from agent.gate import Hotlist
from agent.pipeline.keeping import Keeping
from agent.pipeline.pickup import HotlistPickup

NO_LIST: Final = "no hotlist: nothing is kept"
LIST_EXPIRED: Final = "the hotlist has expired: no alerts"
UNREADABLE_SHARE: Final = 0.9
LATE_SHARE: Final = 0.05
"""A list comes some time after the start; fewer passages than this are no reason to worry."""
FEWEST_PASSAGES: Final = 10
"""Of fewer nothing is concluded."""


def watch_health(
    unit: Unit, keeping: Keeping, lists: HotlistPickup, clock: Clock, camera: CameraState | None
) -> HealthFile:
    """Return the file in which the watcher tells of itself, and of a camera on the unit."""
    started_ms = to_ms(clock.now())

    def tell() -> Facts:
        facts, hotlist = state_facts(unit, "watch", started_ms), keeping.hotlist
        trouble = keeping.tell_trouble()
        trouble = trouble or judge_list(hotlist, mode=facts.mode, now_ms=to_ms(clock.now()))
        facts = replace(
            facts,
            trouble=trouble,
            hotlist_refusals=lists.refusals,
            hotlist_refusal=lists.refused,
        )
        if not hotlist.version:
            return facts
        return replace(
            facts,
            hotlist_version=hotlist.version,
            hotlist_entries=len(hotlist),
            hotlist_issued_ms=hotlist.issued_ms,
            hotlist_expires_ms=hotlist.expires_ms,
        )

    return open_health(unit, tell, clock, "watch", camera)


def judge_list(hotlist: Hotlist, *, mode: str, now_ms: int) -> str:
    """Return what is wrong with the list in use, empty when nothing is."""
    if hotlist.is_expired(now_ms=now_ms):
        return LIST_EXPIRED
    return NO_LIST if mode == "hits-only" and not hotlist.version else ""


def warn_at_end(counters: WatchCounters, *, mode: str, has_list: bool) -> Iterator[str]:
    """Yield what a person should know of a watch that has ended; nothing when all was well.

    Args:
        counters: At the end.
        mode: Of the policy in force.
        has_list: Whether a hotlist was in use.
    """
    if shed := counters.frames_shed:
        yield (
            f"{shed} of {counters.frames} frames were left out (frames_shed): this machine was "
            "busy, slow or hot, and vehicles in them may be missing. End what else runs on it"
        )
    passages, unreadable = counters.passages, counters.unreadable + counters.reads_unreadable
    if passages >= FEWEST_PASSAGES and unreadable >= UNREADABLE_SHARE * passages:
        yield (
            f"{unreadable} of {passages} vehicles were unreadable: see light, focus and plate "
            "width in `homeplate check`"
        )
    if mode == "hits-only" and not has_list:
        yield (
            f"no hotlist came, so nothing was kept of {passages} vehicles: is one signed, and does "
            "the sender reach the city?"
        )
    elif mode == "hits-only" and counters.passed_before_list > LATE_SHARE * passages:
        yield (
            f"{counters.passed_before_list} of {passages} vehicles had passed before the hotlist "
            "came (passed_before_list): nothing was kept of them"
        )
    if counters.hotlist_expired:
        yield "the hotlist has expired: no more alerts. Sign a new one: `homeplate hotlist sign`"
