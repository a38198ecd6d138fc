"""Has a new application proven itself? Both services are ready, and beat, in one go.

systemd is asked: the services say READY and feed their watchdogs only by what they are there for,
frames and turns of the loop, so a beat of theirs is worth more than a process that is still there.
"""

import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from agent.base.clock import Clock
from agent.base.errors import DeviceError

SERVICES: Final = ("homeplate-watch.service", "homeplate-send.service")
BEATS: Final = 30
"""Of each service since it was ready; they come once a second at most."""
LIMIT_S: Final = 900.0
"""A camera that is slow to come has its restarts; a unit on trial has a quarter of an hour."""
LOOK_INTERVAL_S: Final = 0.5
_CALL_LIMIT_S: Final = 90.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A service as systemd sees it."""

    state: str
    """ActiveState."""
    start: str
    """Names this start."""
    beat: str
    """When the watchdog was fed last."""


class Manager(Protocol):
    """Starts services and knows how they are."""

    def restart(self, services: Sequence[str], /) -> None:
        """Begin to start services anew; what does not run is started."""
        ...

    def look(self, service: str, /) -> Sight:
        """Tell how a service is."""
        ...


class Systemd:
    """The machine's own."""

    def restart(self, services: Sequence[str], /) -> None:
        """See `Manager.restart`."""
        _call("reset-failed", *services)
        _call("restart", "--no-block", *services)

    def look(self, service: str, /) -> Sight:
        """See `Manager.look`."""
        names = ("ActiveState", "InvocationID", "WatchdogTimestampMonotonic")
        said = _call("show", f"--property={','.join(names)}", service)
        found = dict(line.split("=", 1) for line in said.splitlines() if "=" in line)
        state, start, beat = (found.get(name, "") for name in names)
        return Sight(state=state, start=start, beat=beat)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """Beats of one start of a service."""

    start: str = ""
    beat: str = ""
    count: int = 0


def feel(pulse: Pulse, sight: Sight) -> Pulse:
    """Return the pulse after one more look: another start, or none, begins anew."""
    if sight.state != "active":
        return Pulse()
    if sight.start != pulse.start:
        return Pulse(start=sight.start, beat=sight.beat)
    count = pulse.count + (sight.beat != pulse.beat)
    return Pulse(start=sight.start, beat=sight.beat, count=count)


def prove(
    manager: Manager, clock: Clock, *, stop: Callable[[], bool] = lambda: False
) -> str | None:
    """Wait until both services have proven themselves, or it is clear that they do not.

    Returns:
        Empty when they have; why not; None when `stop` says so before it is known.
    """
    pulses = dict.fromkeys(SERVICES, Pulse())
    until_ns = clock.monotonic_ns() + round(LIMIT_S * 1e9)
    while clock.monotonic_ns() < until_ns and not stop():
        for service in SERVICES:
            sight = manager.look(service)
            if sight.state == "failed":
                return f"{service} failed"
            pulses[service] = feel(pulses[service], sight)
        if all(pulse.count >= BEATS for pulse in pulses.values()):
            return ""
        clock.wait_s(LOOK_INTERVAL_S)
    if stop():
        return None
    told = ", ".join(f"{service} {pulse.count}" for service, pulse in pulses.items())
    return f"too few beats in {LIMIT_S:.0f} s: {told}"


def _call(*words: str) -> str:
    try:
        run = subprocess.run(  # noqa: S603 -- our own words
            ["/usr/bin/systemctl", *words],
            capture_output=True,
            text=True,
            check=False,
            timeout=_CALL_LIMIT_S,
        )
    except (OSError, subprocess.SubprocessError) as error:
        message = f"systemctl {words[0]}: {error}; expected systemd to answer"
        raise DeviceError(message) from error
    return run.stdout
