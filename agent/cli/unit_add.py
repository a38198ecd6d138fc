"""`homeplate unit add`: the city's office makes the bundle of a new unit.

Two things come out: the bundle, a folder for the technician, and a ticket for the endpoint, which
has the hash of the bundle's one-time token. The unit's keys are in neither: the unit makes them.
"""

import argparse
import hashlib
import ipaddress
import re
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError
from agent.base.files import read_bounded, write_whole
from agent.base.settings import parse_settings
from agent.cli import unit_bundle
from agent.cli.cloud_init import Network, meta_data, network_config, user_data
from agent.cli.unit_bundle import Manifest, write_bundle
from agent.trust.bundle import Decision, open_bundle, trust_root
from agent.trust.enrolment import UNIT_NAME
from agent.trust.tickets import make_ticket, ticket_name

_FILE_LIMIT_BYTES = 2_097_152


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="make the bundle and the ticket of a new unit")
    add.add_argument("unit", metavar="NAME", help="as in unit-0001; no name is ever used twice")
    for name, what in (
        ("policy", "the published policy bundle"),
        ("root", "the city's trusted root, root.json"),
        ("tickets", "the endpoint's folder of tickets, or a folder to carry there"),
        ("out", "the bundle's new folder"),
    ):
        add.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=what)
    source = add.add_mutually_exclusive_group(required=True)
    source.add_argument("--settings", type=Path, metavar="FILE", help="the site's unit.toml")
    source.add_argument("--camera", metavar="SOURCE", help="all settings but this as they come")
    add.add_argument("--token-days", type=int, default=7, help="how long the token is good (7)")
    add.add_argument("--address", metavar="IP/BITS", help="fixed address; without, DHCP")
    add.add_argument("--gateway", metavar="IP", help="with --address")
    add.add_argument(
        "--again",
        action="store_true",
        help="a new bundle for a unit that has this name: its token was lost or is over",
    )
    add.add_argument("--dry-run", action="store_true", help="check everything, write nothing")


def run(args: argparse.Namespace) -> int:
    """Make bundle and ticket.

    Raises:
        ConfigError: A name, a file or an argument is wrong, or the bundle is there already.
        PolicyError: The policy does not verify, or is not for this unit.
    """
    now = SystemClock().now()
    _require_arguments(args)
    policy, root = (
        read_bounded(path, limit_bytes=_FILE_LIMIT_BYTES) for path in (args.policy, args.root)
    )
    trusted = trust_root(root, place=str(args.root))
    decision = open_bundle(policy, trusted=trusted, now=now, place=str(args.policy), unit=args.unit)
    token = unit_bundle.draw_token()
    network = Network(address=args.address, gateway=args.gateway)
    files = {
        unit_bundle.SETTINGS: make_settings(args.unit, args.settings, args.camera),
        unit_bundle.POLICY: policy,
        unit_bundle.ROOT: root,
        unit_bundle.TOKEN: unit_bundle.encode_token(token),
        "user-data": user_data(args.unit),
        "network-config": network_config(args.unit, network),
        "meta-data": meta_data(args.unit, hashlib.sha256(token).hexdigest()[:12]),
    }
    ends = now + timedelta(days=args.token_days)
    if not args.dry_run:
        # The ticket first: without a bundle it admits nobody.
        _write_ticket(
            args.tickets, args.unit, make_ticket(args.unit, token, made_at=now, expires_at=ends)
        )
        write_bundle(args.out, _make_manifest(args.unit, decision, files, (now, ends)), files)
    _tell(args, ends)
    return 0


def make_settings(unit: str, template: Path | None, camera: str | None) -> bytes:
    """Return the unit's settings: a site's file with the unit's name, or the shortest there is.

    Raises:
        ConfigError: The file is missing or wrong, or is that of another unit.
    """
    if template is None:
        text = f'unit = "{unit}"\n\n[camera]\nsource = {msgspec.json.encode(camera).decode()}\n'
        parse_settings(text.encode(), place="--camera")
        return text.encode()
    content = read_bounded(template, limit_bytes=_FILE_LIMIT_BYTES)
    found = parse_settings(content, place=str(template))
    if found.unit != unit:
        message = f"{template}: $.unit: found {found.unit}; expected {unit}"
        raise ConfigError(message)
    return content


def _require_arguments(args: argparse.Namespace) -> None:
    if re.fullmatch(UNIT_NAME.strip("^$"), args.unit) is None:
        message = f"unit: found {args.unit!r}; expected 1 to 63 of a-z, 0-9 and -, as in unit-0001"
        raise ConfigError(message)
    if not 1 <= args.token_days <= 90:  # noqa: PLR2004 -- a token is for the way to the pole
        message = f"--token-days: found {args.token_days}; expected 1 to 90"
        raise ConfigError(message)
    if args.out.exists():
        message = (
            f"{args.out}: there is something already; each bundle has a folder of its own. One "
            f"that was made before is flashed with `homeplate flash {args.out} TARGET`"
        )
        raise ConfigError(message)
    if not args.tickets.is_dir():
        message = f"{args.tickets}: no such folder; expected the endpoint's `tickets`"
        raise ConfigError(message)
    ticket = args.tickets / ticket_name(args.unit)
    if ticket.exists() and not args.again:
        message = (
            f"{ticket}: the name {args.unit} was given before, to a unit that is enrolled or "
            "retired or to a bundle. No name is used twice: take a new one, or say --again for a "
            "new bundle of the same unit (one that was retired or revoked is admitted by none)"
        )
        raise ConfigError(message)
    try:
        if args.address is not None:
            ipaddress.ip_interface(args.address)
            ipaddress.ip_address(args.gateway or "")
    except ValueError as error:
        message = f"--address, --gateway: {error}; expected both, as in 192.0.2.7/24 and 192.0.2.1"
        raise ConfigError(message) from error


def _make_manifest(
    unit: str, decision: Decision, files: dict[str, bytes], span: tuple[datetime, datetime]
) -> Manifest:
    return Manifest(
        unit=unit,
        city=decision.policy.city,
        made_at=span[0],
        expires_at=span[1],
        files={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
    )


def _write_ticket(folder: Path, unit: str, content: bytes) -> None:
    try:
        write_whole(folder / ticket_name(unit), content, mode=0o640)
    except OSError as error:
        message = f"{folder}: the ticket cannot be written ({error.strerror})"
        raise ConfigError(message) from error


def _tell(args: argparse.Namespace, ends: datetime) -> None:
    done = "would be made" if args.dry_run else "made"
    print(
        f"{args.unit}: bundle {args.out} and ticket {args.tickets / ticket_name(args.unit)} {done}"
    )
    print(f"  the token admits one unit, once, until {ends:%Y-%m-%d %H:%M} UTC")
    print(f"  next: homeplate flash {args.out} TARGET")
