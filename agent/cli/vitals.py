"""What both services tell of themselves, for `homeplate status` and the heartbeat.

Each has a module of its own beside this one: the watcher loads no network, the sender no pictures.
"""

import os
from collections.abc import Callable
from pathlib import Path

from agent import __version__
from agent.base.clock import Clock, to_ms
from agent.base.clock_quality import ClockQuality
from agent.base.gps import judge_by_gps, read_track
from agent.base.health import CameraState
from agent.base.health_file import Facts, HealthFile, Service, health_path
from agent.base.lanes import Lane
from agent.base.settings import Settings
from agent.base.unit_state import Queue, UnitLook
from agent.cli.unit import Unit
from agent.spool import SpoolReader


def state_facts(unit: Unit, service: Service, started_ms: int) -> Facts:
    """Return what both tell: who runs, under which policy."""
    decision = unit.keeper.decision
    return Facts(
        service=service,
        unit=unit.settings.unit,
        pid=os.getpid(),
        version=__version__,
        boot=unit.boot.hex(),
        started_ms=started_ms,
        policy_version=decision.version,
        policy_hash=decision.policy_hash.hex(),
        policy_expires_ms=to_ms(decision.expires_at),
        mode=decision.policy.mode,
        policy_refusals=unit.keeper.refusals,
        last_refusal=unit.keeper.last_refusal,
        refused_lately=unit.keeper.lately,
    )


def open_health(
    unit: Unit,
    tell: Callable[[], Facts],
    clock: Clock,
    service: Service,
    camera: CameraState | None = None,
) -> HealthFile:
    """Return the file in which a service tells of itself."""
    path = health_path(Path(unit.settings.exchange_directory), service)
    folder = unit.settings.monitoring_directory
    return HealthFile(
        path,
        facts=tell,
        clock=clock,
        look=look_at(unit.settings, clock),
        camera=camera,
        textfile=Path(folder) if folder else None,
    )


def look_at(settings: Settings, clock: Clock) -> UnitLook:
    """Return what looks at the machine and at what waits on its disk."""
    state = Path(settings.state_directory)
    spool = SpoolReader(state / "spool")

    def queue() -> Queue:
        times = [spool.oldest_ms(lane) for lane in Lane]
        waiting = {lane.label: spool.usage_bytes(lane) for lane in Lane}
        return waiting, min((time for time in times if time is not None), default=None)

    def ask_gps() -> ClockQuality | None:
        track = settings.gps.track
        return judge_by_gps(read_track(Path(track)), now_ms=to_ms(clock.now())) if track else None

    return UnitLook(state, queue, ask_gps=ask_gps)
