"""Beginning a city's folder of policies, and its offices: their keys, the first draft, new keys."""

import argparse
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError
from agent.base.files import read_bounded
from agent.cli.key_files import (
    choose_passphrase,
    read_named_key,
    read_named_keys,
    require_new,
    write_new,
)
from agent.cli.policy_book import CURRENT, ROOT, ROOT_DAYS, Book
from agent.cli.policy_draft import (
    decode_draft,
    encode_draft,
    renew_fields,
    require_own_sealing_key,
)
from agent.cli.policy_edit import (
    change_fields,
    collect_parts,
    describe_sealing,
    save_draft,
    tell_dropped,
    tell_pending,
)
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, BundleFiles
from agent.trust.keys import encode_protected_key, generate_signer
from agent.trust.policy import HOTLIST_ENTRIES
from agent.trust.publishing import compose_root, office_names, review_standing
from agent.trust.roles import key_pem
from agent.trust.signatures import PublicKey
from agent.trust.terms import Legal

VALID_DAYS: Final = 365
OFFICES_LEAST: Final = 3
DEFAULTS: Final[Mapping[str, Any]] = {
    "mode": "hits-only",
    "crops": "hits",
    "purposes": ["stolen-vehicle", "stolen-plate", "felony-warrant", "missing-person"],
    "hotlist_entries": HOTLIST_ENTRIES,
    "min_hit_confidence": 0.9,
    "min_hit_frames": 3,
    "retention": {"hits": "30d", "reads": "24h", "crops": "24h"},
    "quota": {"hits_bytes": 1 << 28, "reads_bytes": 1 << 30, "crops_bytes": 1 << 30},
    "units": [],
    "dhcp": True,
    "time_servers": [],
}
"""What a new city begins with: the least that is of use."""


def make_office_key(args: argparse.Namespace) -> None:
    """Make an office's key pair: FILE under a passphrase, FILE.pub for the others."""
    path: Path = args.file
    public = path.with_suffix(".pub")
    require_new(path, public)
    passphrase = choose_passphrase(args.passphrase_file, path)
    signer = generate_signer()
    write_new(path, encode_protected_key(signer, passphrase), 0o600)
    write_new(public, key_pem(signer.public_key).encode(), 0o644)
    print(f"{path}: private key {signer.key_id.hex()}, keep it with this office alone")
    print(f"{public}: public key, for `homeplate policy init --office NAME={public}`")


def init(args: argparse.Namespace) -> None:
    """Begin a city's folder: root, draft, models, hotlist keys."""
    now, book = SystemClock().now(), Book(args.folder)
    if book.newest is not None or (args.folder / "policy.json").exists():
        message = f"{args.folder}: a policy lies there already; see `homeplate policy edit`"
        raise ConfigError(message)
    named = read_named_keys(args.office, "--office")
    if len(named) < OFFICES_LEAST:
        message = (
            f"--office: found {len(named)}; name three offices or more, each with its own key: "
            "--office police=police.pub --office city-manager=… --office clerk=…"
        )
        raise ConfigError(message)
    expires_at = now + timedelta(days=ROOT_DAYS)
    root = compose_root(named, threshold=args.threshold, version=1, expires_at=expires_at)
    valid_days = args.valid_days or VALID_DAYS
    fields = change_fields(_first_fields(args), args)
    fields = renew_fields(fields, None, now=now, valid_days=valid_days)
    policy = encode_draft(fields)
    files = collect_parts(book, args, policy)
    if save_draft(book, files, (root,), now=now, dry_run=args.dry_run) and not args.dry_run:
        book.write(ROOT, root)


def replace_offices(args: argparse.Namespace) -> None:
    """Make a new root in which offices have new keys; the offices before have to agree to it."""
    now, book = SystemClock().now(), Book(args.folder)
    current = book.bundle(CURRENT)
    if current is None:
        message = f"{args.folder}: nothing is published yet; begin anew with `init`"
        raise ConfigError(message)
    named = _replace_keys(office_names(current), args.replace)
    threshold = review_standing(current).present.threshold
    version = len(current.roots) + 1
    expires_at = now + timedelta(days=ROOT_DAYS)
    root = compose_root(named, threshold=threshold, version=version, expires_at=expires_at)
    fields = renew_fields(book.read_draft(), current, now=now, valid_days=None)
    dropped, draft = book.pending, book.files()
    files = BundleFiles(
        policy=encode_draft(fields),
        models=draft.models,
        hotlist_keys=draft.hotlist_keys,
        application=draft.application,
    )
    roots = (*current.roots, root)
    require_own_sealing_key(files, roots)
    pending = book.put_up(files, roots)
    tell_dropped(dropped)
    tell_pending(book, pending)
    print("two of the offices before and two of those from now on have to sign")


def _first_fields(args: argparse.Namespace) -> dict[str, Any]:
    endpoint = decode_draft(
        read_bounded(args.endpoint, limit_bytes=BUNDLE_LIMIT_BYTES), str(args.endpoint)
    )
    return {
        "version": 1,
        "city": args.city,
        "issued_at": "",
        "expires_at": "",
        **endpoint,
        "sealing": describe_sealing(args.sealing_key),
        **DEFAULTS,
        "legal": dict.fromkeys(Legal.__struct_fields__, ""),
    }


def _replace_keys(named: dict[str, PublicKey], texts: list[str]) -> dict[str, PublicKey]:
    """Return the offices with their keys from now on.

    Raises:
        ConfigError: There is no such office, or two would have one key.
    """
    for text in texts:
        office, key = read_named_key(text, "--replace")
        if office not in named:
            message = f"--replace {text}: no office {office}; there are {', '.join(named)}"
            raise ConfigError(message)
        twin = next((other for other, known in named.items() if known == key), "")
        if twin:
            message = f"--replace {text}: this is the key of {twin} already; expected a new one"
            raise ConfigError(message)
        named[office] = key
    return named
