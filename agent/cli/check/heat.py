"""Is the unit cool enough, and does its supply hold?"""

from collections.abc import Iterator
from typing import Final

from agent.base.heat import read_celsius, read_throttled
from agent.cli.check.findings import Finding, bad, doubt, good, grade, unknown
from agent.cli.machine import Machine

WARM_CELSIUS, HOT_CELSIUS = 70.0, 78.0
"""At 78 the agent leaves frames out; the firmware throttles at 80 to 85."""
NOT_TOLD: Final = "this machine does not tell; a Raspberry Pi does"


def look_at_heat(machine: Machine) -> Iterator[Finding]:
    """Answer HP-206 and HP-207."""
    yield judge_temperature(read_celsius(machine.root))
    yield judge_throttling(read_throttled(machine.root))


def judge_temperature(celsius: float | None) -> Finding:
    """Judge HP-206."""
    if celsius is None:
        return unknown("HP-206", NOT_TOLD)
    found = f"{celsius:.0f} °C"
    return grade(
        "HP-206", found, is_bad=celsius >= HOT_CELSIUS, is_doubtful=celsius >= WARM_CELSIUS
    )


def judge_throttling(told: tuple[tuple[str, ...], tuple[str, ...]] | None) -> Finding:
    """Judge HP-207."""
    if told is None:
        return unknown("HP-207", NOT_TOLD)
    now, before = told
    if now:
        return bad("HP-207", f"now: {', '.join(now)}")
    if before:
        return doubt("HP-207", f"since the start: {', '.join(before)}")
    return good("HP-207", "full speed and voltage since the start")
