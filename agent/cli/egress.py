"""`homeplate egress`: what may leave this unit, worked out from the city's signed policy.

Judges the policy for itself, as watcher and sender do, with a memory of its own: a sender that was
broken into can neither name another address nor go back to an older policy.
"""

import argparse
import pwd
from pathlib import Path
from typing import Final

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError, DeviceError
from agent.base.files import write_whole
from agent.base.settings import Settings
from agent.cli.egress_rules import (
    ROOT_UID,
    Egress,
    plan_egress,
    write_drop_in,
    write_rules,
    write_time_servers,
)
from agent.cli.unit import add_config, load_settings, policy_places
from agent.policy import PolicyKeeper, PolicyPlaces
from agent.trust.policy import Policy

USER: Final = "homeplate-send"
"""The sender's (systemd/homeplate.sysusers.conf)."""
RULES: Final = "homeplate-egress/rules.nft"
DROP_IN: Final = "systemd/system/homeplate-send.service.d/50-homeplate-egress.conf"
TIME_DROP_IN: Final = "systemd/timesyncd.conf.d/50-homeplate.conf"
_MODE: Final = 0o644


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    line = "write the packet filter's rules from the policy in force, or print them"
    render = actions.add_parser("render", help=line, description=f"{line.capitalize()}.")
    add_config(render)
    render.add_argument(
        "--into",
        type=Path,
        metavar="FOLDER",
        help="write the rules and systemd's drop-ins there (a unit: /run); else print the rules",
    )
    render.add_argument("--user", default=USER, metavar="NAME", help=f"the sender's user ({USER})")


def run(args: argparse.Namespace) -> int:
    """Write or print the rules.

    Raises:
        ConfigError: Settings, root, policy or the sender's user are missing.
        PolicyError: The flashed policy does not verify: the rules stay as they are.
        DeviceError: The folder refuses.
    """
    settings = load_settings(args.config)
    policy = judge_policy(settings)
    enrolled = (Path(settings.credentials) / "tls.crt").exists()
    senders = (find_user(args.user),) if enrolled else (find_user(args.user), ROOT_UID)
    egress = plan_egress(policy, senders)
    if args.into is None:
        print(write_rules(egress), end="")
        return 0
    write_files(args.into, egress)
    named = ", ".join(egress.addresses)
    print(f"policy {policy.version}: {args.user} to {named} port {egress.port}, nothing else")
    return 0


def judge_policy(settings: Settings) -> Policy:
    """Return the policy in force; what the sender took over counts once it verifies here, too."""
    sender = policy_places(settings, "send")
    own = policy_places(settings, "egress")
    places = PolicyPlaces(
        root=own.root, flashed=own.flashed, arriving=sender.memory, memory=own.memory
    )
    keeper = PolicyKeeper(places, unit=settings.unit, models_sha256=None)
    keeper.look(SystemClock().now())
    return keeper.decision.policy


def find_user(name: str) -> int:
    """Return the number of a user.

    Raises:
        ConfigError: There is none of that name.
    """
    try:
        return pwd.getpwnam(name).pw_uid
    except KeyError as error:
        message = f"no user {name}; the package makes it (systemd-sysusers)"
        raise ConfigError(message) from error


def write_files(folder: Path, egress: Egress) -> None:
    """Write rules and drop-ins below a folder.

    Raises:
        DeviceError: It refuses.
    """
    files = {
        RULES: write_rules(egress),
        DROP_IN: write_drop_in(egress),
        TIME_DROP_IN: write_time_servers(egress),
    }
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, text.encode(), mode=_MODE)
        except OSError as error:
            message = f"{path}: cannot be written ({error.strerror})"
            raise DeviceError(message) from error
