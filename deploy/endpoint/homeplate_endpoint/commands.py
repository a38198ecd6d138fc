"""The commands `init`, `unit` and `hotlist` of the endpoint: founding it, its register, a stick."""

import argparse
import json
from contextlib import closing
from pathlib import Path
from typing import Final

from agent.base.clock import SystemClock, from_ms, to_ms
from agent.base.errors import ConfigError, CredentialError, DeviceError, IntegrityError
from agent.base.files import read_bounded, write_whole
from agent.base.texts import require_words, show
from agent.trust.hotlist import REQUEST_LIMIT_BYTES
from agent.trust.keys import is_protected
from agent.trust.retirement import STATEMENT_LIMIT_BYTES, Retirement, open_statement
from homeplate_endpoint.config import load_settings, read_public_key
from homeplate_endpoint.founding import Plan, found_endpoint
from homeplate_endpoint.lists import REQUESTS, ListDesk, Requests
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.units import Enrolled, Units

_KEY_HEAD_BYTES: Final = 1_024


def add_init(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `init`."""
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new or empty")
    parser.add_argument("--server-name", required=True, help="as it stands in the certificate")
    parser.add_argument(
        "--address",
        action="append",
        required=True,
        metavar="IP",
        help="literal address at which units reach it; the first is the one it listens on",
    )
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument(
        "--sealing-key",
        type=Path,
        required=True,
        metavar="FILE",
        help="the city's PUBLIC sealing key, from `homeplate city keys make`",
    )
    parser.set_defaults(run=run_init)


def run_init(args: argparse.Namespace) -> int:
    """Found an endpoint.

    Raises:
        ConfigError: The folder is not empty, or an argument is wrong.
        CredentialError: The sealing key is none.
        DeviceError: The disk refuses.
    """
    _require_opening_half(args.sealing_key)
    plan = Plan(
        server_name=args.server_name,
        addresses=tuple(args.address),
        port=args.port,
        sealing_key=read_public_key(args.sealing_key),
    )
    try:
        found_endpoint(args.folder, plan, now=SystemClock().now())
    except OSError as error:
        message = f"{args.folder}: cannot be written ({error.strerror})"
        raise DeviceError(message) from error
    print(f"{args.folder}: founded. Now:")
    print(f"  the policy takes {args.folder / 'endpoint.json'}")
    print("  spare.key and server-ca.key belong into a safe, not onto this machine")
    print(f"  homeplate-endpoint serve --config {args.folder / 'endpoint.toml'}")
    return 0


def _require_opening_half(path: Path) -> None:
    """Refuse the public half of a key that signs, as far as what lies beside it shows that.

    The city's opening keys lie bare in its safe; what an office or an agency signs with lies under
    a passphrase.

    Raises:
        CredentialError: The private half beside it is under a passphrase.
    """
    private = path.with_suffix(".key")
    try:
        protected = is_protected(bytearray(private.read_bytes()[:_KEY_HEAD_BYTES]))
    except OSError:
        return  # as it should be: the private half is elsewhere
    if protected:
        message = (
            f"--sealing-key {path}: {private} beside it is a key that somebody signs with; "
            "expected the public half of `homeplate city keys make`"
        )
        raise CredentialError(message)


def add_unit(parser: argparse.ArgumentParser) -> None:
    """Add the actions of `unit`."""
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listed = actions.add_parser("list", help="all units, also those that ended")
    listed.add_argument("--json", action="store_true", help="for machines")
    listed.set_defaults(run=run_list)
    revoke = actions.add_parser("revoke", help="a stolen or lost unit: refuse it from now on")
    revoke.add_argument("unit", metavar="NAME")
    revoke.add_argument("--reason", required=True, help="for the register, as in: stolen")
    revoke.add_argument("--dry-run", action="store_true", help="only say what would be")
    revoke.set_defaults(run=run_revoke)
    retire = actions.add_parser("retire", help="take a certificate of destruction from a stick")
    retire.add_argument("unit", metavar="NAME")
    retire.add_argument("file", type=Path, metavar="FILE", help="of `homeplate retire --offline`")
    retire.set_defaults(run=run_retire)
    show = actions.add_parser("destruction", help="write a unit's certificate of destruction")
    show.add_argument("unit", metavar="NAME")
    show.add_argument("out", type=Path, metavar="OUT")
    show.set_defaults(run=run_destruction)
    keys = actions.add_parser("keys", help="write a unit's public log keys, for `homeplate audit`")
    keys.add_argument("unit", metavar="NAME")
    keys.add_argument("out", type=Path, metavar="FOLDER")
    keys.set_defaults(run=run_keys)
    for action in (listed, revoke, retire, show, keys):
        action.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file")


def add_hotlist(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `hotlist`."""
    parser.add_argument("unit", metavar="NAME", help="who asks")
    parser.add_argument("request", type=Path, metavar="REQUEST", help="its hotlist.request")
    parser.add_argument("out", type=Path, metavar="OUT", help="becomes its hotlist.sealed")
    parser.add_argument("--config", type=Path, required=True, metavar="FILE", help="TOML file")
    parser.set_defaults(run=run_hotlist)


def run_hotlist(args: argparse.Namespace) -> int:
    """Seal the list that is served to a unit's request, for a technician to carry on a stick.

    Raises:
        ConfigError: No such file or unit, or the city has no list that holds.
        IntegrityError: Not a request of this unit's watcher, or an older one; or the unit ended.
    """
    settings, folder = load_settings(args.config), args.config.resolve().parent
    body = read_bounded(args.request, limit_bytes=REQUEST_LIMIT_BYTES)
    requests_file = (folder / settings.units).with_name(REQUESTS)
    with closing(_open_units(args.config)) as units, closing(Requests(requests_file)) as requests:
        _require(units, args.unit)
        desk = ListDesk(folder / settings.hotlist, requests, units, SystemClock())
        try:
            answer = desk.answer(args.unit, body, "")
        except RefusalError as error:
            message = f"{args.request}: {error.error}: {error.detail}"
            raise IntegrityError(message) from error
    if answer is None or answer.sealed is None:
        message = f"{folder / settings.hotlist}: no list that holds; sign one"
        raise ConfigError(message)
    _write(args.out, answer.sealed)
    print(f"{args.out}: opens in the memory of {args.unit}'s watcher alone, until its next start")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Print the register."""
    with closing(_open_units(args.config)) as units:
        found = [(unit, units.newest_certificate(unit.name)) for unit in units.all()]
    rows = [_row(unit, newest.expires_ms if newest else None) for unit, newest in found]
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        until = f"certificate until {row['certificate_until']}" if row["certificate_until"] else ""
        ended = f"{row['ended_at']}, {row['reason']}" if row["ended_at"] else ""
        print(f"{row['unit']:<24}{row['state']:<10}{until}{ended}")
    return 0


def run_revoke(args: argparse.Namespace) -> int:
    """Take a unit's certificates back: its next request is refused.

    Raises:
        ConfigError: There is no such unit, or no reason.
    """
    reason = require_words(args.reason, place="--reason")
    with closing(_open_units(args.config)) as units:
        unit = _require(units, args.unit)
        if args.dry_run:
            print(f"{unit.name} is {unit.state}; its certificates would be taken back for good")
            return 0
        units.revoke(unit.name, reason, now_ms=to_ms(SystemClock().now()))
    print(f"{args.unit}: revoked; its next request is refused. The name stays taken")
    return 0


def run_retire(args: argparse.Namespace) -> int:
    """Enter a certificate of destruction that a technician brought.

    Raises:
        ConfigError: No such unit or file.
        IntegrityError: It is not that of this unit.
    """
    content = read_bounded(args.file, limit_bytes=STATEMENT_LIMIT_BYTES)
    with closing(_open_units(args.config)) as units:
        unit = _require(units, args.unit)
        found = open_statement(content, unit=unit.name, key=unit.keys.send)
        reason = f"by a certificate on a stick: {show(found.retired.reason)}"
        units.retire(unit.name, content, reason=reason, now_ms=to_ms(SystemClock().now()))
    _print_destruction(args.unit, found)
    return 0


def run_destruction(args: argparse.Namespace) -> int:
    """Write a unit's certificate of destruction, checked once more.

    Raises:
        ConfigError: No such unit, or it handed in none.
        IntegrityError: It is not what was taken in.
    """
    with closing(_open_units(args.config)) as units:
        unit, content = _require(units, args.unit), units.destruction(args.unit)
    if content is None:
        message = f"unit {unit.name}: is {unit.state}, with no certificate of destruction"
        raise ConfigError(message)
    found = open_statement(content, unit=unit.name, key=unit.keys.send)
    _write(args.out, content)
    _print_destruction(args.unit, found)
    return 0


def run_keys(args: argparse.Namespace) -> int:
    """Write the public halves of a unit's log keys, as it was enrolled with them.

    Raises:
        ConfigError: No such unit, or the folder cannot be written.
    """
    with closing(_open_units(args.config)) as units:
        keys = _require(units, args.unit).keys
    for name, key in (("watch", keys.watch), ("send", keys.send)):
        path = args.out / f"{args.unit}.{name}.der"
        _write(path, key.spki)
        print(f"{path}  {key.sha256.hex()}")
    return 0


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content, mode=0o644)
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror})"
        raise ConfigError(message) from error


def _print_destruction(unit: str, found: Retirement) -> None:
    entry = found.retired
    print(f"{unit}: retired {from_ms(entry.at_ms):%Y-%m-%d %H:%M} UTC, reason: {entry.reason}")
    print(f"  reads and crops destroyed unsent: {entry.reads}; entry {found.head.size} of its log")
    for name in ("watch_key", "send_key", "tls_key"):
        print(f"  {name} destroyed: {getattr(entry, name).hex()}")


def _row(unit: Enrolled, expires_ms: int | None) -> dict[str, object]:
    until = from_ms(expires_ms).isoformat(timespec="seconds") if expires_ms else None
    return {
        "unit": unit.name,
        "state": unit.state,
        "enrolled_at": from_ms(unit.enrolled_ms).isoformat(timespec="seconds"),
        "certificate_until": until,
        "ended_at": from_ms(unit.ended_ms).isoformat(timespec="seconds") if unit.ended_ms else None,
        "reason": unit.reason,
    }


def _require(units: Units, name: str) -> Enrolled:
    found = units.find(name)
    if found is None:
        message = f"unit {name}: is in no register; see `homeplate-endpoint unit list`"
        raise ConfigError(message)
    return found


def _open_units(config: Path) -> Units:
    return Units(config.resolve().parent / load_settings(config).units)
