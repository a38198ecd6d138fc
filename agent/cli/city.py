"""`homeplate city keys`: the city makes a sealing key for each period, and destroys old ones.

Deleting a file on flash does not erase it. What a period sealed becomes unreadable for good, on
every unit, card and backup, when the city destroys that period's key.
"""

import argparse
import json
import os
import sys
from base64 import b64encode
from dataclasses import asdict
from pathlib import Path

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError
from agent.cli.keyring import Period, destroy_key, make_key, read_periods
from agent.cli.policy_book import CURRENT, PENDING, load_bundle
from agent.trust.policy import city_key, parse_policy


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
            action.add_argument("period", metavar="PERIOD", help="a month, as in 2026-11")
        if name == "destroy":
            action.add_argument(
                "--policies",
                type=Path,
                metavar="FOLDER",
                help="the city's policies: a key that they name is refused (those beside FOLDER)",
            )
            action.add_argument(
                "--in-use", action="store_true", help="destroy it although a policy names it"
            )
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
            path = args.folder / f"{args.period}.pub"
            print(f"next: homeplate policy edit FOLDER --sealing-key {path}", file=sys.stderr)
            print(f"sealing.public_key of the policy: {text}", file=sys.stderr)
        case "list":
            _show(list(read_periods(args.folder)), args)
        case _:
            _destroy(args)
    return 0


def _destroy(args: argparse.Namespace) -> None:
    what = f"{args.folder / args.period}.key is overwritten and removed; what was sealed to it"
    what += " can then be opened by nobody. Copies and backups of it are yours to destroy"
    _require_unused(args)
    if args.dry_run:
        print(what)
        return
    if not args.yes:
        message = f"{what}; say --yes"
        raise ConfigError(message)
    _show([destroy_key(args.folder, args.period, now=SystemClock().now())], args)


def _require_unused(args: argparse.Namespace) -> None:
    """Refuse to destroy a key that units seal to now, or soon.

    Raises:
        ConfigError: A published or pending policy names it, and `--in-use` was not said; or
            `--policies` is no folder of policies.
        PolicyError: One cannot be read.
    """
    key_id = next((p.key_id for p in read_periods(args.folder) if p.name == args.period), "")
    around = args.folder.resolve().parent.iterdir()
    beside = sorted(path for path in around if os.access(path, os.R_OK | os.X_OK))
    folders = [args.policies] if args.policies else beside
    found = {
        path: load_bundle(path)
        for folder in folders
        for path in (folder / CURRENT, folder / PENDING)
        if path.is_file()
    }
    if args.policies and not found:
        message = f"--policies {args.policies}: no policy there; expected the city's folder of them"
        raise ConfigError(message)
    if not found:
        print("note: no policy is at hand to ask whether it names this key", file=sys.stderr)
    for path, bundle in found.items():
        named = city_key(parse_policy(bundle.files.policy, place=str(path)))
        if not args.in_use and named.key_id.hex() == key_id:
            message = (
                f"{path} names this key {key_id}: units seal to it, and nobody could open what "
                "they send. Publish a policy with a new key first; --in-use destroys it anyway"
            )
            raise ConfigError(message)


def _show(periods: list[Period], args: argparse.Namespace) -> None:
    if args.json:
        print(json.dumps([asdict(period) for period in periods]))
        return
    for period in periods:
        fate = f"destroyed {period.destroyed_at}" if period.destroyed_at else "at hand"
        print(f"{period.name:<32}  {period.key_id}  made {period.made_at}  {fate}")
