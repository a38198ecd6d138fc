"""What the sender tells of itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from msgspec.structs import replace

from agent.base.clock import Clock, to_ms
from agent.base.health_file import Facts, HealthFile
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


def send_health(unit: Unit, sending: Sending, clock: Clock) -> HealthFile:
    """Return the file in which the sender tells of itself."""
    started_ms = to_ms(clock.now())

    def tell() -> Facts:
        facts = state_facts(unit, "send", started_ms)
        return replace(facts, last_receipt_ms=sending.last_receipt_ms)

    return open_health(unit, tell, clock, "send")
