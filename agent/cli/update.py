"""`homeplate update`: another version of the application, from the city, in the other slot.

The sender brings archives, and may write nothing that runs. `apply` runs as root, without a
network, from the slot that has proven itself: it judges the signed policy for itself, with a memory
of its own, holds the archive against it, and only then unpacks it.
"""

import argparse
import os
import platform
from pathlib import Path
from typing import Final

import msgspec

from agent.base.application import ApplicationState
from agent.base.clock import Clock, SystemClock, to_ms
from agent.base.errors import ConfigError, DeviceError, UpdateError
from agent.cli.unit import add_config, load_settings, policy_places, stop_on_signal
from agent.cli.update_archive import pack
from agent.cli.update_install import choose, describe, install, running_version
from agent.cli.update_slots import (
    Slots,
    accept,
    add_step,
    begin_trial,
    count_start,
    fall_back,
    forget,
)
from agent.cli.update_trial import SERVICES, Manager, Systemd, prove
from agent.policy import PolicyKeeper, PolicyPlaces
from agent.trust.bundle import Decision
from agent.trust.release import Build

APPLICATION: Final = Path("/var/lib/homeplate/application")
ARRIVING: Final = "update/archive"
"""Below the state folder: what the sender brought."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    lines = {
        "apply": "install what the sender brought, try it, keep it or fall back (a service)",
        "settle": "count a start of the machine; too many without proof fall back (a service)",
        "forget": "let the package's own application run (the package does it)",
        "show": "say what is installed, and what became of the last updates",
    }
    for name, line in lines.items():
        action = actions.add_parser(name, help=line, description=f"{line.capitalize()}.")
        add_config(action)
        action.add_argument(
            "--folder", type=Path, default=APPLICATION, metavar="FOLDER", help=f"({APPLICATION})"
        )
    line = "make an archive from a folder with the application, as deploy/dev update does"
    packing = actions.add_parser("pack", help=line, description=f"{line.capitalize()}.")
    packing.add_argument("tree", type=Path, metavar="FOLDER", help="with lib and share in it")
    packing.add_argument("out", type=Path, metavar="FILE", help="the archive")
    packing.add_argument("--build", required=True, metavar="VERSION:MACHINE:PYTHON")


def run(args: argparse.Namespace) -> int:
    """Do what is asked.

    Raises:
        ConfigError: Settings, root or policy are missing.
        UpdateError: What came is refused; what runs goes on.
        DeviceError: The disk refuses, or systemd does not answer.
    """
    try:
        if args.action == "pack":
            pack(args.tree, args.out, parse_build(args.build))
            print(describe(args.out))
            return 0
        os.umask(0o022)
        return _run_on_unit(args, Slots(args.folder), SystemClock())
    except OSError as error:
        message = f"{error.filename or 'the application'}: the disk refuses ({error.strerror})"
        raise DeviceError(message) from error


def parse_build(text: str) -> Build:
    """Return what an archive is to be for.

    Raises:
        ConfigError: It is not said as it should.
    """
    try:
        fields = dict(zip(("version", "machine", "python"), text.split(":"), strict=True))
        return msgspec.convert(fields, Build)
    except ValueError as error:  # msgspec's too
        message = f"--build {text}: {error}; expected for example 0.2.0:aarch64:3.13"
        raise ConfigError(message) from error


def _run_on_unit(args: argparse.Namespace, slots: Slots, clock: Clock) -> int:
    if args.action == "show":
        print(tell(slots.read()))
    elif args.action == "settle":
        slots.write(count_start(slots.read(), at_ms=to_ms(clock.now())))
    elif args.action == "forget":
        slots.write(forget(slots.read(), at_ms=to_ms(clock.now())))
    else:
        settings = load_settings(args.config)
        arriving = Path(settings.state_directory) / ARRIVING
        own, sender = policy_places(settings, "update"), policy_places(settings, "send")
        places = PolicyPlaces(
            root=own.root, flashed=own.flashed, arriving=sender.memory, memory=own.memory
        )
        keeper = PolicyKeeper(places, unit=settings.unit, models_sha256=None)
        keeper.look(clock.now())
        stop = stop_on_signal()
        state = begin(slots, keeper.decision, arriving, clock, Systemd())
        if state.trial is not None:
            state = finish(slots, prove(Systemd(), clock, stop=stop), clock, Systemd())
        print(tell(state))
    return 0


def begin(
    slots: Slots, decision: Decision, arriving: Path, clock: Clock, manager: Manager
) -> ApplicationState:
    """Install what came, where it is wanted, and let it run on trial.

    Args:
        slots: The application's folder.
        decision: The policy in force, as judged here.
        arriving: The archive, as the sender brought it; may be missing.
        clock: The unit's.
        manager: Starts the services.

    Raises:
        UpdateError: The archive is refused; the state says why.
        OSError: The disk refuses.
    """
    state = slots.read()
    slots.follow(state)
    wanted = None if state.trial else choose(state, decision, machine=platform.machine())
    if wanted is None or not arriving.exists():
        return state
    try:
        slot = install(slots, state, wanted, arriving)
    except UpdateError as error:
        detail = f"{error.reason}: {error}"
        slots.write(
            add_step(state, "refused", wanted.slot, at_ms=to_ms(clock.now()), detail=detail)
        )
        raise
    state = slots.write(begin_trial(state, slot, at_ms=to_ms(clock.now())))
    manager.restart(SERVICES)
    return state


def finish(slots: Slots, verdict: str | None, clock: Clock, manager: Manager) -> ApplicationState:
    """Keep the slot on trial, or fall back to the good one.

    Args:
        slots: The application's folder.
        verdict: Of `prove`.
        clock: The unit's.
        manager: Starts the services.

    Raises:
        OSError: The disk refuses.
    """
    state, at_ms = slots.read(), to_ms(clock.now())
    if state.trial is None or verdict is None:
        return state
    if not verdict:
        return slots.write(accept(state, state.trial, at_ms=at_ms))
    state = slots.write(fall_back(state, state.trial, at_ms=at_ms, detail=verdict))
    manager.restart(SERVICES)
    return state


def tell(state: ApplicationState) -> str:
    """Return the state in words."""
    good, trial = state.good, state.trial
    lines = [f"installed   {good.version if good else running_version() + ', by the package'}"]
    lines += [f"on trial    {trial.version}"] if trial else []
    lines += [f"{step.name:<11} {step.version}  {step.detail}".rstrip() for step in state.steps]
    return "\n".join(lines)
