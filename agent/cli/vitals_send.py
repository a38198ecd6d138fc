"""What the sender tells of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from agent.base.clock import Clock, to_ms
from agent.base.health_file import Facts, HealthFile
from agent.base.notify import Progress
from agent.cli.unit import Unit
from agent.cli.vitals import open_health, state_facts
from agent.pipeline.send import Sending


@dataclass(frozen=True, slots=True)
class HealthErrand:
    """Lets the sender tell of itself between its rounds and in its pauses."""

    health: HealthFile
    count: Callable[[], Mapping[str, int]]

    def work(self) -> None:
        """Tell when it is time."""
        self.health.tell(self.count)


class WatchdogErrand:
    """Feeds the watchdog with every turn of the sender's loop."""

    def __init__(self, progress: Progress, status: Callable[[], str]) -> None:
        self._progress, self._status = progress, status
        self._turns = 0

    def work(self) -> None:
        """Count this turn."""
        self._turns += 1
        self._progress.note(self._turns, self._status)


def send_health(unit: Unit, sending: Sending, clock: Clock, *, locked: bool) -> HealthFile:
    """Return the file in which the sender tells of itself."""
    started_ms = to_ms(clock.now())

    def tell() -> Facts:
        facts = state_facts(unit, "send", started_ms)
        return replace(facts, last_receipt_ms=sending.last_receipt_ms, locked=locked)

    return open_health(unit, tell, clock, "send")
