"""`homeplate check`: is this unit fit for service? Every answer has a code, a finding, a remedy."""

import argparse
import os
import sys
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from typing import Final

from agent.base.clock import Clock, SystemClock
from agent.base.errors import HomeplateError
from agent.base.settings import Settings
from agent.cli.check.camera import look_at_camera
from agent.cli.check.city import look_at_city, look_at_way_out
from agent.cli.check.clock import look_at_clock
from agent.cli.check.codes import TOPICS
from agent.cli.check.disk import look_at_disk
from agent.cli.check.files import look_at_files
from agent.cli.check.findings import Finding, Level, bad, good, unknown, wrong
from agent.cli.check.heat import look_at_heat
from agent.cli.check.kernel import look_at_kernel
from agent.cli.check.pace import look_at_pace
from agent.cli.check.show import draw_finding, draw_section, draw_summary, encode_findings
from agent.cli.check.subject import LogFacts, Subject, load_decision, read_logs
from agent.cli.machine import Machine
from agent.cli.terminal import look_at
from agent.cli.unit import add_config, load_settings

NO_SETTINGS: Final = "without settings it is not known where to look: see HP-001"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config(parser)
    parser.add_argument("--json", action="store_true", help="one JSON object, for machines")


def run(args: argparse.Namespace) -> int:
    """Ask every question, show every answer; exit with the code of the first that is wrong."""
    screen = look_at(sys.stdout, os.environ)
    findings: list[Finding] = []
    section = ""
    for finding in check_unit(args.config, machine=Machine(), clock=SystemClock()):
        findings.append(finding)
        if args.json:
            continue
        if finding.code[:4] != section:
            section = finding.code[:4]
            print(("\n" if len(findings) > 1 else "") + draw_section(finding, screen))
        print(draw_finding(finding, screen), flush=True)
    code = choose_exit_code(findings)
    if args.json:
        print(encode_findings(findings, unit=name_unit(args.config), code=code))
    else:
        print("\n" + draw_summary(findings, code, screen))
    return code


def check_unit(place: Path, *, machine: Machine, clock: Clock) -> Iterator[Finding]:
    """Give the findings in the order of their codes, one for each code.

    Args:
        place: The unit's settings.
        machine: Where it runs.
        clock: Its clock.
    """
    try:
        settings = load_settings(place)
    except HomeplateError as error:
        yield wrong("HP-001", error)
        yield from check_bare(machine, clock)
        return
    yield good("HP-001", f"{place}: {name_site(settings)}")
    subject = Subject(
        place=place,
        settings=settings,
        decision=load_decision(settings),
        logs=read_logs(Path(settings.state_directory)),
        machine=machine,
        clock=clock,
    )
    yield from ask("HP-1", look_at_camera(subject))
    unit = (look_at_clock(clock, machine, subject.logs), look_at_disk(subject))
    yield from ask("HP-2", chain(*unit, look_at_heat(machine), look_at_pace(subject)))
    yield from ask("HP-3", look_at_city(subject))
    safety = (look_at_files(subject), look_at_kernel(machine), look_at_way_out(subject))
    yield from ask("HP-4", chain(*safety))


def check_bare(machine: Machine, clock: Clock) -> Iterator[Finding]:
    """Give what can be said of a machine without the unit's settings."""
    looks = chain(
        look_at_clock(clock, machine, LogFacts()), look_at_heat(machine), look_at_kernel(machine)
    )
    known = {finding.code: finding for finding in looks}
    for code in tuple(TOPICS)[1:]:
        yield known.get(code) or unknown(code, NO_SETTINGS)


def ask(section: str, look: Iterator[Finding]) -> Iterator[Finding]:
    """Give the findings of a section; where a look breaks off, say so for each code left."""
    left = [code for code in TOPICS if code.startswith(section)]
    try:
        for finding in look:
            left.remove(finding.code)
            yield finding
    except (HomeplateError, OSError) as error:
        broken = left.pop(0)
        yield bad(broken, str(error), remedy="mend this first, then check again")
        for code in left:
            yield unknown(code, f"not reached: see {broken}")


def name_site(settings: Settings) -> str:
    """Return the unit's name and, where they are stated, its place and view."""
    site = settings.site
    words = [settings.unit, *([site.name] if site.name else [])]
    if site.position is not None:
        words.append(f"{site.position[0]:.5f}, {site.position[1]:.5f}")
    if site.heading_degrees is not None:
        words.append(f"looks to {site.heading_degrees:.0f}°")
    return ", ".join(words)


def name_unit(place: Path) -> str:
    """Return the unit's name, empty where the settings cannot be read."""
    try:
        return load_settings(place).unit
    except HomeplateError:
        return ""


def choose_exit_code(findings: Iterable[Finding]) -> int:
    """Return the exit code of the first finding that is wrong, 0 where none is."""
    return next((item.exit_code for item in findings if item.level is Level.BAD), 0)
