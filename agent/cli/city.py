"""`homeplate city keys`: the city makes a sealing key for each period, and destroys old ones.

Deleting a file on flash does not erase it. What a period sealed becomes unreadable for good, on
every unit, card and backup, when the city destroys that period's key.
"""

import argparse
import json
import sys
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError
from agent.cli.keyring import Period, destroy_key, make_key, read_periods


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    areas = parser.add_subparsers(dest="area", metavar="AREA", required=True)
    keys = areas.add_parser("keys", help="the keys that open reads, one a period")
    actions = keys.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, what in (
        ("make", "draw the key of a new period and print its public half for the policy"),
        ("list", "show all periods, those with a destroyed key too"),
        ("destroy", "destroy a period's key: nobody can open what it sealed any more"),
    ):
        action = actions.add_parser(name, help=what, description=what)
        action.add_argument("folder", type=Path, metavar="FOLDER", help="the city's folder of keys")
        if name != "list":
            action.add_argument("period", metavar="PERIOD", help="for example 2026-11")
        if name == "destroy":
            action.add_argument("--yes", action="store_true", help="really: there is no way back")
            action.add_argument("--dry-run", action="store_true", help="only say what would be")
        action.add_argument("--json", action="store_true", help="for machines")


def run(args: argparse.Namespace) -> int:
    """Make, list or destroy.

    Raises:
        ConfigError: No such period, one that is there already, or no `--yes`.
        DeviceError: The disk refuses.
    """
    now = SystemClock().now()
    match args.action:
        case "make":
            _show([make_key(args.folder, args.period, now=now)], args)
            public = (args.folder / f"{args.period}.pub").read_bytes()
            text = b64encode(public).decode()
            print(f"sealing.public_key of the policy: {text}", file=sys.stderr)
        case "list":
            _show(list(read_periods(args.folder)), args)
        case _:
            _destroy(args)
    return 0


def _destroy(args: argparse.Namespace) -> None:
    what = f"{args.folder / args.period}.key is overwritten and removed; what was sealed to it"
    what += " can then be opened by nobody. Copies and backups of it are yours to destroy"
    if args.dry_run:
        print(what)
        return
    if not args.yes:
        message = f"{what}; say --yes"
        raise ConfigError(message)
    _show([destroy_key(args.folder, args.period, now=SystemClock().now())], args)


def _show(periods: list[Period], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps([asdict(period) for period in periods]))
        return
    for period in periods:
        fate = f"destroyed {period.destroyed_at}" if period.destroyed_at else "at hand"
        print(f"{period.name:<32}  {period.key_id}  made {period.made_at}  {fate}")
