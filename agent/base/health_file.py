"""How a running process tells of itself: one small file in the exchange folder, numbers only.

The folder is a tmpfs, so nothing wears the card and nothing outlives the power. `homeplate status`
reads both files; the sender takes the watcher's along in its heartbeat.
"""

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

import msgspec

from agent.base.clock import Clock, to_ms
from agent.base.errors import ConfigError, IntegrityError
from agent.base.files import read_handed, replace_unsynced
from agent.base.health import CameraState
from agent.base.textfile import write_textfile
from agent.base.unit_state import UnitState

HEALTH_LIMIT_BYTES: Final = 65_536
TELL_INTERVAL_NS: Final = 5_000_000_000
"""How often a process tells of itself."""
STALE_S: Final = 30.0
"""A file that is older belongs to a process that hangs or has ended."""
LATELY_NS: Final = 60_000_000_000
"""What happened lately is what happened in the last minute."""

Service = Literal["watch", "send"]


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """What changes seldom: who runs, under which policy and hotlist."""

    service: Service
    unit: str
    pid: int
    version: str
    """Of the software."""
    boot: str
    """Names this start, hexadecimal."""
    started_ms: int
    policy_version: int
    policy_hash: str
    """SHA-256 of policy.json, hexadecimal."""
    policy_expires_ms: int
    mode: str
    hotlist_version: int | None = None
    hotlist_entries: int | None = None
    hotlist_issued_ms: int | None = None
    hotlist_expires_ms: int | None = None
    hotlist_refusals: int = 0
    """Hotlists that the watcher refused since its start."""
    hotlist_refusal: str = ""
    """Why the last one was; empty once a list was taken after it. Never holds a plate."""
    last_receipt_ms: int | None = None
    """The city's time in the newest receipt; the sender's."""
    locked: bool = False
    """The sender tries all the time whether the system lets it out elsewhere, and it does not."""
    policy_refusals: int = 0
    """Policies that this process refused since its start."""
    last_refusal: str = ""
    """Why, the last time."""
    refused_lately: tuple[str, ...] = ()
    """Why, the last few times."""
    trouble: str = ""
    """Why nothing is kept or sent just now; empty when all is well."""


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """One process at one moment."""

    at_ms: int
    facts: Facts
    counters: dict[str, int]
    lately: dict[str, int]
    """How much each counter grew in the last minute, or since the start where that is shorter."""
    lately_s: float
    """How long that was."""
    cpu_celsius: float | None = None
    camera: CameraState | None = None
    """Of the camera on the unit; the watcher's."""
    unit: UnitState | None = None
    """The machine and the queue."""


class HealthFile:
    """Writes the health of this process, at most every `TELL_INTERVAL_NS`.

    Args:
        path: The file, `health_path`.
        facts: Asked at each writing.
        clock: The unit's.
        look: Asked at each writing how the machine is; None = not at all.
        camera: Told along; None = there is none.
        textfile: Folder for monitoring (Prometheus' node exporter); None = nothing is written.
    """

    def __init__(
        self,
        path: Path,
        *,
        facts: Callable[[], Facts],
        clock: Clock,
        look: Callable[[], UnitState | None] = lambda: None,
        camera: CameraState | None = None,
        textfile: Path | None = None,
    ) -> None:
        self._path, self._facts, self._clock, self._look = path, facts, clock, look
        self._camera, self._textfile = camera, textfile
        self._told_ns: int | None = None
        self._past: deque[tuple[int, dict[str, int]]] = deque()

    def tell(self, count: Callable[[], Mapping[str, int]]) -> None:
        """Write the file when it is time. A folder that is missing or full is no one's loss.

        Args:
            count: Gives the counters; asked only when it is time.
        """
        now_ns = self._clock.monotonic_ns()
        if self._told_ns is not None and now_ns - self._told_ns < TELL_INTERVAL_NS:
            return
        self._told_ns = now_ns
        current = dict(count())
        while self._past and now_ns - self._past[0][0] > LATELY_NS:
            self._past.popleft()
        self._past.append((now_ns, current))
        unit = self._look()
        health = Health(
            at_ms=to_ms(self._clock.now()),
            facts=self._facts(),
            counters=current,
            lately=measure_growth(self._past[0][1], current),
            lately_s=round((now_ns - self._past[0][0]) / 1e9, 1),
            cpu_celsius=None if unit is None else unit.celsius,
            camera=self._camera,
            unit=unit,
        )
        with suppress(OSError):
            replace_unsynced(self._path, msgspec.json.encode(health))
        if self._textfile is not None:
            with suppress(OSError):
                write_textfile(self._textfile, health.facts.service, msgspec.to_builtins(health))

    def remove(self) -> None:
        """Take the file away: the process ends in good order."""
        with suppress(OSError):
            self._path.unlink()


def health_path(exchange: Path, service: Service) -> Path:
    """Return where a process tells of itself."""
    return exchange / f"{service}.health"


def read_health(path: Path) -> Health | None:
    """Return what a process told last, None when it never did or ended in good order.

    Raises:
        IntegrityError: The file cannot be read or is something else.
    """
    try:
        content = read_handed(path, limit_bytes=HEALTH_LIMIT_BYTES)
    except ConfigError as error:
        message = f"{error}; expected the health of a process of this version"
        raise IntegrityError(message) from error
    return None if content is None else parse_health(content, place=str(path))


def parse_health(content: bytes, *, place: str) -> Health:
    """Return what a process told.

    Raises:
        IntegrityError: It is something else.
    """
    try:
        return msgspec.json.decode(content, type=Health)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"{place}: {error}; expected the health of a process of this version"
        raise IntegrityError(message) from error


def measure_growth(then: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """Return how much each counter grew."""
    return {name: count - then.get(name, 0) for name, count in now.items()}
