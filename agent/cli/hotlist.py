"""`homeplate hotlist`: the city makes, checks and tries the list of looked-for plates."""

import argparse
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

from agent.base.clock import SystemClock, from_ms, to_ms
from agent.base.errors import ConfigError, CredentialError, DeviceError, InputError, IntegrityError
from agent.base.files import read_bounded, read_secret, write_whole
from agent.cli.hotlist_table import STATES, TABLE_LIMIT_BYTES, Table, read_table
from agent.cli.key_files import (
    KEY_LIMIT_BYTES,
    choose_passphrase,
    read_passphrase,
    require_new,
    write_new,
)
from agent.cli.terminal import Progress
from agent.gate import GateRules, Hotlist, index_hotlist
from agent.trust.bundle import Decision, open_bundle, trust_root
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES
from agent.trust.hotlist import (
    HOTLIST_LIMIT_BYTES,
    LIFE_LIMIT_MS,
    LIFE_PRESET_MS,
    SignedHotlist,
    open_hotlist,
    peek_hotlist,
    require_entries,
    require_purposes,
    unpack_columns,
)
from agent.trust.hotlist_entries import ListTerms, sign_entries
from agent.trust.keys import (
    Signer,
    encode_private_key,
    encode_protected_key,
    generate_signer,
    is_protected,
    load_protected_signer,
    load_signer,
)
from agent.trust.roles import ROLE_LIMIT_BYTES

HOUR_MS = 3_600_000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    key = actions.add_parser("key", help="draw a key that signs hotlists")
    key.add_argument("file", type=Path, metavar="FILE", help="new file for the private key")
    key.add_argument(
        "--no-passphrase",
        action="store_true",
        help="for a machine that signs by itself: whoever copies the file can sign lists",
    )
    sign = actions.add_parser("sign", help="make the signed list of a CSV table")
    sign.add_argument("table", type=Path, metavar="CSV", help="plate,state,purpose,agency,case,…")
    sign.add_argument("--key", type=Path, required=True, help="private key of `hotlist key`")
    sign.add_argument("--out", type=Path, required=True, metavar="FILE", help="the signed list")
    sign.add_argument(
        "--hours",
        type=int,
        default=LIFE_PRESET_MS // HOUR_MS,
        metavar="N",
        help=f"the list expires after so long (24; at most {LIFE_LIMIT_MS // HOUR_MS})",
    )
    sign.add_argument(
        "--list-version", type=int, metavar="N", help="higher than any before (now, in seconds)"
    )
    sign.add_argument("--empty", action="store_true", help="sign a list without any entry")
    for action in (key, sign):
        action.add_argument(
            "--passphrase-file",
            type=Path,
            metavar="FILE",
            help="its first line is the key's passphrase; without, it is asked for",
        )
    verify = actions.add_parser("verify", help="check a signed list, count what is in it")
    near = actions.add_parser("near-misses", help="try every plate one character off an entry")
    near.add_argument("--all", action="store_true", help="also of a list of more than 10,000")
    for action in (verify, near):
        action.add_argument("list", type=Path, metavar="FILE", help="the signed list")
        action.add_argument("--json", action="store_true", help="for machines")
    for action in (sign, verify, near):
        action.add_argument(
            "--policy", type=Path, required=True, metavar="BUNDLE", help="the city's policy bundle"
        )
        action.add_argument(
            "--root", type=Path, metavar="FILE", help="its trusted root (root.json beside it)"
        )


def run(args: argparse.Namespace) -> int:
    """Make a key, sign, verify or try.

    Raises:
        InputError: The table is wrong; line numbers are told, plates never.
        ConfigError, PolicyError: An argument or the policy is wrong.
        CredentialError: The key is none, or the policy does not name it.
        IntegrityError: The signed list does not verify, or a near miss raised an alert.
    """
    match args.action:
        case "key":
            return _make_key(args)
        case "sign":
            return _sign(args, SystemClock().now())
        case "verify":
            return _verify(args, SystemClock().now())
        case _:
            return _try_near_misses(args)


def _make_key(args: argparse.Namespace) -> int:
    path: Path = args.file
    public = path.with_suffix(".pub")
    require_new(path, public)
    signer = generate_signer()
    if args.no_passphrase:
        content = encode_private_key(signer)
    else:
        content = encode_protected_key(signer, choose_passphrase(args.passphrase_file, path))
    write_new(path, content, 0o600)
    write_new(public, signer.public_spki, 0o644)
    print(f"{path}: private key {signer.key_id.hex()}, keep it where lists are signed")
    print(f"{public}: public key, for `homeplate policy edit --hotlist-key AGENCY={public}`")
    return 0


def _sign(args: argparse.Namespace, now: datetime) -> int:
    decision = _open_policy(args)
    if not 0 < args.hours * HOUR_MS <= LIFE_LIMIT_MS:
        message = f"--hours {args.hours}: expected 1 to {LIFE_LIMIT_MS // HOUR_MS}"
        raise ConfigError(message)
    table = read_table(
        read_bounded(args.table, limit_bytes=TABLE_LIMIT_BYTES),
        purposes=decision.policy.purposes,
        now=now,
        place=str(args.table),
    )
    _require_entries(table, args)
    signer = _load_key(args)
    agency = _agency_of(signer.key_id, decision)
    if agency is None:
        message = f"{args.key}: the policy does not name this key; units would refuse the list"
        raise CredentialError(message)
    issued_ms = to_ms(now)
    terms = ListTerms(
        version=_next_version(args, issued_ms),
        issued_ms=issued_ms,
        expires_ms=issued_ms + args.hours * HOUR_MS,
    )
    try:
        content, head = sign_entries(signer, table.entries, terms)
        require_entries(head, decision.policy.hotlist_entries)
    except IntegrityError as error:
        message = f"{args.table}: {error}"
        raise InputError(message) from error
    _write(args.out, content)
    print(f"{args.out}: {_describe(head)}, signed by {agency}")
    _tell_left_out(table)
    _tell_doubts(table, decision)
    return 0


def _require_entries(table: Table, args: argparse.Namespace) -> None:
    """Refuse a list that would take every look-out back, unless that is what is wanted.

    Raises:
        InputError: There is no entry in it and `--empty` was not said, or the other way round.
    """
    if not table.entries and not args.empty:
        found = f"all {table.expired} entries are over already" if table.expired else "no entries"
        message = f"{args.table}: {found}; nothing was signed. Say --empty to look for nothing"
        raise InputError(message)
    if table.entries and args.empty:
        message = f"{args.table}: --empty was said, but there are {len(table.entries)} entries"
        raise InputError(message)


def _next_version(args: argparse.Namespace, issued_ms: int) -> int:
    """Return the list's version: units never go back to a lower one."""
    version = args.list_version or issued_ms // 1000
    if args.out.exists():
        try:
            content = read_bounded(args.out, limit_bytes=HOTLIST_LIMIT_BYTES)
            before = peek_hotlist(content).version
        except IntegrityError as error:
            raise _name_list(args.out, error) from error
        if args.list_version is not None and version <= before:
            message = f"--list-version {version}: {args.out} has {before}; expected a higher one"
            raise ConfigError(message)
        version = max(version, before + 1)
    return int(version)


def _verify(args: argparse.Namespace, now: datetime) -> int:
    decision = _open_policy(args)
    head, hotlist = _open_list(args, decision)
    signed_by, purposes = _agency_of(head.key_id, decision), _count_purposes(hotlist)
    expired = hotlist.is_expired(now_ms=to_ms(now))
    if args.json:
        told: dict[str, object] = {
            "version": head.version,
            "entries": head.count,
            "issued_ms": head.issued_ms,
            "expires_ms": head.expires_ms,
            "expired": expired,
            "purposes": purposes,
            "agencies": list(head.agencies),
            "signed_by": signed_by,
        }
        print(json.dumps(told))
    else:
        end = ", EXPIRED: units raise no alerts" if expired else ""
        print(f"{_describe(head)}, signed by {signed_by}{end}")
        for purpose, count in purposes.items():
            print(f"  {purpose:<32}{count:>10,}")
    return 0


def _count_purposes(hotlist: Hotlist) -> Mapping[str, int]:
    counts = Counter(hotlist.purposes.tolist())
    return {hotlist.tables[1][number]: counts[number] for number in sorted(counts)}


def _try_near_misses(args: argparse.Namespace) -> int:
    from agent.cli.near_misses import SAMPLE, count_near_misses  # noqa: PLC0415 -- seldom

    decision = _open_policy(args)
    head, hotlist = _open_list(args, decision)
    policy = decision.policy
    rules = GateRules(
        mode=policy.mode,
        min_hit_confidence=policy.min_hit_confidence,
        min_hit_frames=policy.min_hit_frames,
    )
    found = count_near_misses(
        hotlist,
        rules,
        now_ms=head.issued_ms,
        sample=None if args.all else SAMPLE,
        report=Progress("plates tried", sys.stderr, time.monotonic_ns).report,
    )
    if args.json:
        print(json.dumps(asdict(found) | {"false_alert_rate": found.false_alert_rate}))
    else:
        print(f"plates in the list               {found.plates:>14,}")
        some = "" if found.sampled == found.plates else "  (a sample; --all for all)"
        print(f"  with all confusions tried      {found.sampled:>14,}{some}")
        print(f"sure reads one character off     {found.tried:>14,}")
        print(f"  listed in their own right      {found.listed:>14,}  (left out)")
        print(f"false alerts                     {found.alerts:>14,}")
        print(f"false alert rate                 {found.false_alert_rate:>14.6f}")
    if found.alerts or found.silent:
        message = f"{found.alerts} plates that are not on the list raise alerts, {found.silent} "
        message += "that are on it do not: the gate does not match exactly"
        raise IntegrityError(message)
    return 0


def _open_list(args: argparse.Namespace, decision: Decision) -> tuple[SignedHotlist, Hotlist]:
    content = read_bounded(args.list, limit_bytes=HOTLIST_LIMIT_BYTES)
    try:
        head = open_hotlist(content, [key for _, key in decision.hotlist_keys])
        require_purposes(head, decision.policy.purposes)
        require_entries(head, decision.policy.hotlist_entries)
        return head, index_hotlist(head, unpack_columns(head))
    except IntegrityError as error:
        raise _name_list(args.list, error) from error


def _name_list(path: Path, error: IntegrityError) -> IntegrityError:
    """Return the error with the file's name and what should be in it."""
    return IntegrityError(f"{path}: {error}; expected what `homeplate hotlist sign` wrote")


def _agency_of(key_id: bytes, decision: Decision) -> str | None:
    """Return who signs with a key, as the policy names them."""
    named = (agency for agency, key in decision.hotlist_keys if key.key_id == key_id)
    return next(named, None)


def _open_policy(args: argparse.Namespace) -> Decision:
    place = args.root or args.policy.with_name("root.json")
    root = trust_root(read_bounded(place, limit_bytes=ROLE_LIMIT_BYTES), place=str(place))
    content = read_bounded(args.policy, limit_bytes=BUNDLE_LIMIT_BYTES)
    return open_bundle(content, trusted=root, now=None, place=str(args.policy))


def _load_key(args: argparse.Namespace) -> Signer:
    content, place = read_secret(args.key, limit_bytes=KEY_LIMIT_BYTES), str(args.key)
    if not is_protected(content):
        return load_signer(read_secret(args.key, limit_bytes=KEY_LIMIT_BYTES), place=place)
    passphrase = read_passphrase(args.passphrase_file, args.key)
    return load_protected_signer(content, passphrase, place=place)


def _write(path: Path, content: bytes) -> None:
    try:
        write_whole(path, content)
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror})"
        raise DeviceError(message) from error


def _describe(head: SignedHotlist) -> str:
    ends = from_ms(head.expires_ms).strftime("%Y-%m-%d %H:%M UTC")
    return f"version {head.version}, {head.count:,} entries, until {ends}"


def _tell_doubts(table: Table, decision: Decision) -> None:
    """Say what may be a slip and is signed all the same: by numbers, no line is quoted."""
    strange = sum(entry.state not in STATES for entry in table.entries if entry.state)
    named = {agency.casefold() for agency, _ in decision.hotlist_keys}
    others = sum(entry.agency.casefold() not in named for entry in table.entries)
    doubts = (
        (strange, "a state that is none of the USA, Canada or Mexico (as in CA, BC or MX-BCN)"),
        (others, "an agency that the policy does not name; alerts show it as it stands here"),
    )
    for count, what in doubts:
        if count:
            print(f"note: {count} of {len(table.entries)} entries have {what}", file=sys.stderr)


def _tell_left_out(table: Table) -> None:
    for count, why in ((table.expired, "over already"), (table.repeated, "there twice")):
        if count:
            print(f"left out: {count} lines, {why}", file=sys.stderr)
