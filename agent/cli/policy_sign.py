"""Signing, judging and publishing a policy: one signature at a time, and what it says is shown."""

import argparse
import json
import os
import shlex
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Final

import msgspec

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError, CredentialError, DeviceError, PolicyError
from agent.base.files import read_bounded, read_secret, write_whole
from agent.cli.key_files import KEY_LIMIT_BYTES, read_passphrase
from agent.cli.policy_book import (
    CURRENT,
    PENDING,
    Book,
    find_bundle,
    find_pending,
    judge,
    load_bundle,
    published_before,
)
from agent.cli.policy_compare import compare
from agent.cli.policy_draft import require_own_sealing_key
from agent.cli.policy_edit import warn_of_stray
from agent.cli.policy_words import find_changes, tell_facts
from agent.trust.bundle import Decision, open_bundle, trust_root
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, Bundle, encode_bundle
from agent.trust.keys import load_protected_signer
from agent.trust.publishing import (
    Circle,
    Sign,
    add_signature,
    office_names,
    review_standing,
)
from agent.trust.signatures import PublicKey

EXTERNAL_LIMIT_S: Final = 120.0
"""For someone to find the card and type its PIN."""
_MODE: Final = 0o644


def sign(args: argparse.Namespace) -> None:
    """Show what changes, ask, and add one office's signature."""
    path = find_pending(args.path)
    bundle = load_bundle(path)
    require_own_sealing_key(bundle.files, bundle.roots)
    public, make = _external(args, bundle) if args.external else _from_file(args)
    office = _office_of(public, bundle)
    if args.path.is_dir():
        warn_of_stray(Book(args.path))
    if _has_signed(public, bundle):
        print(f"{office} has signed this already; nothing was written")
        print(tell_standing(bundle))
        return
    found = compare(path, bundle, root=args.root)
    print(found.tell())
    if not found.shows_all:
        print(f"whatever changes, this is what you sign:\n{tell_facts(bundle)}")
    if not args.yes:
        _ask(office)
    signed = add_signature(bundle, key=public, sign=make)
    try:
        write_whole(path, encode_bundle(signed), mode=_MODE)
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror}); nothing was signed"
        raise DeviceError(message) from error
    print(f"signed as {office}")
    print(tell_standing(signed))


def verify(args: argparse.Namespace) -> None:
    """Judge a bundle as a unit would that has the policy before, and say what it holds."""
    path = find_bundle(args.path)
    before = published_before(path)
    content, now = read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES), SystemClock().now()
    if args.root is None:
        decision = judge(content, before, now=now, place=str(path))
    else:
        root = read_bounded(args.root, limit_bytes=KEY_LIMIT_BYTES)
        trusted = trust_root(root, place=str(args.root))
        decision = open_bundle(content, trusted=trusted, now=now, place=str(path), unit=args.unit)
    if args.json:
        print(json.dumps(_facts(decision)))
        return
    print(f"{path}: units take it. Policy {decision.version} of {decision.policy.city},")
    print(f"hash {decision.policy_hash.hex()}, signed by {', '.join(decision.signed_by)}.")
    for label, text in describe_labels(load_bundle(path)):
        print(f"  {label}: {text}")


def publish(args: argparse.Namespace) -> None:
    """Make the pending policy the current one, and put it where the endpoint serves it."""
    now, book, out = SystemClock().now(), Book(args.folder), args.out
    pending = book.pending
    if out is not None:
        _require_place(out)
    warn_of_stray(book)
    if pending is None and (out is None or book.bundle(CURRENT) is None):
        message = f"{args.folder}: nothing is pending: {book.why_idle()}"
        raise ConfigError(message)
    if pending is not None:
        _publish_pending(book, pending, now=now, dry_run=args.dry_run)
    else:
        print(f"nothing is pending: {book.why_idle()}", file=sys.stderr)
    if out is not None and not args.dry_run:
        _give_out(args.folder / CURRENT, out)


def _publish_pending(book: Book, pending: Bundle, *, now: datetime, dry_run: bool) -> None:
    if not review_standing(pending).complete:
        message = f"{book.folder / PENDING}: the policy is not signed by enough offices: "
        message += tell_standing(pending).replace("\n", "; ")
        raise PolicyError(message, reason="signature")
    if dry_run:
        place = str(book.folder / PENDING)
        decision = judge(encode_bundle(pending), book.bundle(CURRENT), now=now, place=place)
        print(f"policy {decision.version} would be published")
        return
    decision = book.publish(now=now)
    print(f"published: policy {decision.version}, hash {decision.policy_hash.hex()}")


def _require_place(out: Path) -> None:
    """Make sure that a file can be put there, before anything is published.

    Raises:
        ConfigError: It cannot.
    """
    if not out.parent.is_dir():
        message = f"{out}: there is no folder {out.parent}; nothing was published"
        raise ConfigError(message)
    if out.is_dir() or not os.access(out.parent, os.W_OK):
        message = f"{out}: no file can be written there; nothing was published"
        raise ConfigError(message)


def describe_labels(bundle: Bundle) -> list[tuple[str, str]]:
    """Return what a bundle says as pairs of label and words."""
    return [(change.label, change.after) for change in find_changes(None, bundle)]


def tell_standing(bundle: Bundle) -> str:
    """Return who has signed and how many signatures are missing, in words."""
    standing = review_standing(bundle)
    lines = [_tell_circle(standing.present, "")]
    if standing.former is not None:
        lines.append(_tell_circle(standing.former, " of the offices before, for the new keys"))
    if standing.complete:
        lines.append("complete: `homeplate policy publish` gives it out")
    return "\n".join(lines)


def _tell_circle(circle: Circle, which: str) -> str:
    have = f"{len(circle.signed)} of {circle.threshold} signatures{which}"
    names = f" ({', '.join(circle.signed)})" if circle.signed else ""
    if not circle.missing:
        return f"{have}{names}"
    return f"{have}{names}; {circle.missing} missing: {' or '.join(circle.unsigned)}"


def _from_file(args: argparse.Namespace) -> tuple[PublicKey, Sign]:
    passphrase = read_passphrase(args.passphrase_file, args.key)
    content = read_secret(args.key, limit_bytes=KEY_LIMIT_BYTES)
    signer = load_protected_signer(content, passphrase, place=str(args.key))
    return signer.public_key, signer.sign


def _external(args: argparse.Namespace, bundle: Bundle) -> tuple[PublicKey, Sign]:
    """Return an office's public key and a function that has a command sign."""
    known = office_names(bundle)
    if args.office not in known:
        message = f"--office {args.office}: expected one of {', '.join(known)}"
        raise ConfigError(message)

    def make(content: bytes) -> bytes:
        try:
            run = subprocess.run(  # noqa: S603 -- what the office itself has named
                shlex.split(args.external),
                input=content,
                stdout=subprocess.PIPE,
                check=True,
                timeout=EXTERNAL_LIMIT_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            message = f"--external {args.external}: {error}; nothing was signed"
            raise CredentialError(message) from error
        return run.stdout

    return known[args.office], make


def _office_of(public: PublicKey, bundle: Bundle) -> str:
    """Return which office signs, of those from now on or, for new keys, of those before."""
    known = [bundle]
    if review_standing(bundle).former is not None:
        known.append(msgspec.structs.replace(bundle, roots=bundle.roots[:-1]))
    for one in known:
        for office, key in office_names(one).items():
            if key == public:
                return office
    message = f"the key {public.key_id.hex()} belongs to none of the offices that may sign"
    raise CredentialError(message)


def _has_signed(public: PublicKey, bundle: Bundle) -> bool:
    """Tell whether a key's signatures stand wherever they are asked for."""
    standing = review_standing(bundle)
    before = msgspec.structs.replace(bundle, roots=bundle.roots[:-1]) if standing.former else bundle
    circles = ((standing.present, bundle), (standing.former or standing.present, before))
    return all(
        office in circle.signed
        for circle, one in circles
        for office, key in office_names(one).items()
        if key == public
    )


def _ask(office: str) -> None:
    """Ask on the terminal.

    Raises:
        ConfigError: Any answer but yes.
    """
    try:
        answer = input(f"Sign this as {office}? Type yes: ")
    except EOFError as error:
        message = "no terminal to ask on; read the changes with `policy diff` and say --yes"
        raise ConfigError(message) from error
    if answer.strip().lower() != "yes":
        message = "not signed"
        raise ConfigError(message)


def _give_out(current: Path, out: Path) -> None:
    content = read_bounded(current, limit_bytes=BUNDLE_LIMIT_BYTES)
    try:
        write_whole(out, content, mode=_MODE)
    except OSError as error:
        message = f"{out}: cannot be written ({error.strerror}); {current} is published"
        raise DeviceError(message) from error
    print(f"{out}: units fetch it from here")


def _facts(decision: Decision) -> dict[str, object]:
    return {
        "city": decision.policy.city,
        "version": decision.version,
        "policy_hash": decision.policy_hash.hex(),
        "root_version": decision.root_version,
        "expires_at": decision.expires_at.isoformat(),
        "signed_by": list(decision.signed_by),
        "mode": decision.policy.mode,
    }
