"""What the watcher tells of itself."""

from typing import Final

from msgspec.structs import replace

from agent.base.clock import Clock, to_ms
from agent.base.health import CameraState
from agent.base.health_file import Facts, HealthFile
from agent.cli.unit import Unit
from agent.cli.vitals import open_health, state_facts
from agent.gate import Hotlist
from agent.pipeline.keeping import Keeping
from agent.pipeline.pickup import HotlistPickup

NO_LIST: Final = "no hotlist: nothing is kept"
LIST_EXPIRED: Final = "the hotlist has expired: no alerts"


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
