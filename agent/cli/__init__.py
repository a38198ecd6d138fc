"""The command `homeplate`: one module per command, loaded only when it is called.

The only place that builds real objects, sets up logging and turns errors into exit codes.
"""

import argparse
import importlib
import sys
from collections.abc import Sequence

from agent import __version__
from agent.base.errors import ConfigError, HomeplateError
from agent.base.log import keep_order
from agent.base.memory import forbid_dumps

COMMANDS = {
    "run": ("agent.cli.run", "both services in one terminal, for trying out"),
    "watch": ("agent.cli.watch", "the watcher: camera to spool; has no network"),
    "send": ("agent.cli.send", "the sender: spool to the city's endpoint; sees only sealed bytes"),
    "check": ("agent.cli.check", "is this unit fit for service? coded answers, and what to do"),
    "status": ("agent.cli.status", "what a running unit does: pace, queue, policy, health"),
    "bench": ("agent.cli.bench", "measure speed and accuracy on recorded video or pictures"),
    "open": ("agent.cli.open", "city side: open sealed frames with the city's key"),
    "hotlist": ("agent.cli.hotlist", "city side: sign and check the list of looked-for plates"),
    "city": ("agent.cli.city", "city side: make and destroy the keys that open reads"),
    "policy": ("agent.cli.policy", "city side: write, sign and publish what units do"),
    "audit": ("agent.cli.audit", "check a unit's logs, receipts and balance"),
    "unit": ("agent.cli.unit_add", "city side: make the bundle of a new unit"),
    "flash": ("agent.cli.flash", "write a unit's bundle to its boot partition or an image"),
    "enroll": ("agent.cli.enroll", "the unit's first start: makes its keys, asks the city in"),
    "retire": ("agent.cli.retire", "the unit's end: destroys spool and keys, tells the city"),
    "gps": ("agent.cli.gps", "on a vehicle: keep the last positions for the watcher"),
    "egress": ("agent.cli.egress", "what may leave this unit: packet filter from the policy"),
    "update": ("agent.cli.update", "another version of the application, in the other slot"),
    "models": ("agent.cli.models", "check the two networks against their manifest"),
}
"""Name → module and one line of help; each module has `add_arguments` and `run`."""
USAGE_ERROR = 2
"""How argparse exits when the command line is wrong."""


def build_parser(names: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser; only the commands in `names` bring their own arguments along."""
    parser = argparse.ArgumentParser(
        prog="homeplate",
        description="Licence plate reads that never leave home.",
    )
    parser.add_argument("--version", action="version", version=f"homeplate {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, line) in COMMANDS.items():
        command = commands.add_parser(name, help=line, description=f"{line[0].upper()}{line[1:]}.")
        if name in names:
            importlib.import_module(module).add_arguments(command)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; results go to stdout, all else to stderr."""
    if arguments is None:  # a process of our own, not a call from another program
        forbid_dumps()
        keep_order(sys.stdout)
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = next((word for word in given if not word.startswith("-")), "")
    if not given:
        build_parser([]).print_help(sys.stderr)
        return ConfigError.exit_code
    try:
        args = build_parser([name]).parse_args(given)
        return int(importlib.import_module(COMMANDS[args.command][0]).run(args))
    except HomeplateError as error:
        sys.stderr.write(f"homeplate: {error}\n")
        return error.exit_code
    except SystemExit as ended:  # argparse has said what is wrong
        return ConfigError.exit_code if ended.code == USAGE_ERROR else int(ended.code or 0)
    except BrokenPipeError:
        sys.stderr.close()  # the reader of our output has gone: nothing to say, no one to tell
        return 0
    except KeyboardInterrupt:
        return 130
