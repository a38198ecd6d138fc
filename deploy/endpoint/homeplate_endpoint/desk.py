"""What the routes work with: made once, by the command `serve`."""

from dataclasses import dataclass
from pathlib import Path

from agent.base.clock import Clock
from homeplate_endpoint.heartbeats import Heartbeats
from homeplate_endpoint.intake import Intake
from homeplate_endpoint.lists import ListDesk
from homeplate_endpoint.registrar import Registrar
from homeplate_endpoint.units import Units


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """The parts of the endpoint; a route takes those that it needs."""

    intake: Intake
    units: Units
    registrar: Registrar
    policy: Path
    """The published bundle; read anew for each question."""
    applications: Path
    """Folder of archives; looked into for each question."""
    heartbeats: Heartbeats
    lists: ListDesk
    clock: Clock
    body_limit_bytes: int
    """Of an upload of frames; the other routes have limits of their own."""
