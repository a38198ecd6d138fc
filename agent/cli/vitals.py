"""What both services tell of themselves, for `homeplate status` and the heartbeat.

Each has a module of its own beside this one: the watcher loads no network, the sender no pictures.
"""

import os
from collections.abc import Callable
from pathlib import Path

from agent import __version__
from agent.base.clock import Clock, to_ms
from agent.base.health_file import Facts, HealthFile, Service, health_path
from agent.base.heat import read_celsius
from agent.cli.unit import Unit


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
    )


def open_health(
    unit: Unit, tell: Callable[[], Facts], clock: Clock, service: Service
) -> HealthFile:
    """Return the file in which a service tells of itself."""
    path = health_path(Path(unit.settings.exchange_directory), service)
    return HealthFile(path, facts=tell, clock=clock, celsius=read_celsius)
