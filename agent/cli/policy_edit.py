"""Drafts: beginning a city's folder of policies, changing the draft, seeing what changes."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from getpass import getpass
from pathlib import Path
from typing import Any, Final

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError
from agent.base.files import read_bounded
from agent.cli.model_folder import MANIFEST_LIMIT_BYTES, MANIFEST_NAME, find_folder
from agent.cli.policy_book import (
    CURRENT,
    PENDING,
    ROOT,
    ROOT_DAYS,
    Book,
    decode_draft,
    encode_draft,
    find_bundle,
    load_bundle,
    renew_fields,
    set_field,
)
from agent.cli.policy_compare import compare
from agent.trust.bundle_files import BUNDLE_LIMIT_BYTES, HOTLIST_KEYS_FILE, MODELS_FILE
from agent.trust.keys import encode_protected_key, generate_signer
from agent.trust.policy import parse_policy
from agent.trust.publishing import compose_root, office_names, review_standing
from agent.trust.roles import key_pem
from agent.trust.signatures import PublicKey, load_public_file
from agent.trust.terms import Legal

KEY_LIMIT_BYTES: Final = 16_384
PASSPHRASE_MIN: Final = 10
VALID_DAYS: Final = 365
EDITOR: Final = "nano"
"""Where neither VISUAL nor EDITOR says which one."""
DEFAULTS: Final[Mapping[str, Any]] = {
    "mode": "hits-only",
    "crops": "hits",
    "purposes": ["stolen-vehicle", "stolen-plate", "felony-warrant", "missing-person"],
    "min_hit_confidence": 0.9,
    "min_hit_frames": 3,
    "retention": {"hits": "30d", "reads": "24h", "crops": "24h"},
    "quota": {"hits_bytes": 1 << 28, "reads_bytes": 1 << 30, "crops_bytes": 1 << 30},
    "units": [],
}
"""What a new city begins with: the least that is of use."""


def make_office_key(args: argparse.Namespace) -> None:
    """Make an office's key pair: FILE under a passphrase, FILE.pub for the others."""
    path: Path = args.file
    passphrase = read_passphrase(args.passphrase_file, path, confirm=True)
    if len(passphrase) < PASSPHRASE_MIN:
        message = f"the passphrase has {len(passphrase)} characters; expected {PASSPHRASE_MIN}"
        raise ConfigError(message)
    signer = generate_signer()
    public = path.with_suffix(".pub")
    _create(path, encode_protected_key(signer, passphrase), 0o600)
    _create(public, key_pem(signer.public_key).encode(), 0o644)
    print(f"{path}: private key {signer.key_id.hex()}, keep it with this office alone")
    print(f"{public}: public key, for `homeplate policy init --office NAME={public}`")


def init(args: argparse.Namespace) -> None:
    """Begin a city's folder: root, draft, models, hotlist keys."""
    now, book = SystemClock().now(), Book(args.folder)
    if book.newest is not None or (args.folder / "policy.json").exists():
        message = f"{args.folder}: a policy lies there already; see `homeplate policy edit`"
        raise ConfigError(message)
    named = dict(_read_named_key(text, "--office") for text in args.office or ())
    expires_at = now + timedelta(days=ROOT_DAYS)
    root = compose_root(named, threshold=args.threshold, version=1, expires_at=expires_at)
    endpoint = decode_draft(
        read_bounded(args.endpoint, limit_bytes=BUNDLE_LIMIT_BYTES), str(args.endpoint)
    )
    sealing = load_public_file(
        read_bounded(args.sealing_key, limit_bytes=KEY_LIMIT_BYTES), place=str(args.sealing_key)
    )
    fields = {
        "version": 1,
        "city": args.city,
        "issued_at": "",
        "expires_at": "",
        **endpoint,
        "sealing": {"suite": "P256-HKDF-SHA256-AES256GCM", "public_key": encode_key(sealing)},
        **DEFAULTS,
        "legal": dict.fromkeys(Legal.__struct_fields__, ""),
    }
    args.valid_days = args.valid_days or VALID_DAYS
    _take(book, _change(fields, args), args, (root,), now=now)


def edit(args: argparse.Namespace) -> None:
    """Change the draft by `--set`, `--from` or in an editor, and make it ready for signing."""
    book = Book(args.folder)
    fields = book.read_draft()
    quiet = args.assignments or args.source or args.models or args.hotlist_key or args.valid_days
    changed = _change(fields, args) if quiet else _edit_by_hand(fields)
    _take(book, changed, args, book.roots(), now=SystemClock().now())


def replace_offices(args: argparse.Namespace) -> None:
    """Make a new root in which offices have new keys; the offices before have to agree to it."""
    now, book = SystemClock().now(), Book(args.folder)
    current = book.bundle(CURRENT)
    if current is None:
        message = f"{args.folder}: nothing is published yet; begin anew with `init`"
        raise ConfigError(message)
    named = office_names(current)
    for text in args.replace:
        office, key = _read_named_key(text, "--replace")
        if office not in named:
            message = f"--replace {text}: no office {office}; there are {', '.join(named)}"
            raise ConfigError(message)
        named[office] = key
    threshold = review_standing(current).present.threshold
    version = len(current.roots) + 1
    expires_at = now + timedelta(days=ROOT_DAYS)
    root = compose_root(named, threshold=threshold, version=version, expires_at=expires_at)
    fields = renew_fields(book.read_draft(), current, now=now, valid_days=None)
    book.write_draft(fields)
    pending = book.compose((*current.roots, root))
    print(compare(book.folder / PENDING, pending).tell())
    print("two of the offices before and two of those from now on have to sign")


def diff(args: argparse.Namespace) -> None:
    """Say what the pending policy changes."""
    path = find_bundle(args.path)
    found = compare(path, load_bundle(path), root=args.root)
    print(json.dumps(asdict(found)) if args.json else found.tell())


def encode_key(key: PublicKey) -> str:
    """Return a public key as it stands in policies."""
    return b64encode(key.spki).decode()


def read_passphrase(file: Path | None, key: Path, *, confirm: bool = False) -> str:
    """Return the passphrase of a key: the first line of a file, or what is typed.

    Raises:
        ConfigError: No file, no terminal, or two different answers.
    """
    if file is not None:
        return read_bounded(file, limit_bytes=KEY_LIMIT_BYTES).decode().partition("\n")[0]
    try:
        passphrase = getpass(f"Passphrase of {key}: ")
        if confirm and getpass("The same once more: ") != passphrase:
            message = "the two passphrases differ; nothing was written"
            raise ConfigError(message)
    except EOFError as error:
        message = "no terminal to ask for the passphrase; use --passphrase-file"
        raise ConfigError(message) from error
    return passphrase


def _change(fields: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields with what `--from` and `--set` say."""
    changed = dict(fields)
    if args.source:
        content = read_bounded(args.source, limit_bytes=BUNDLE_LIMIT_BYTES)
        changed |= decode_draft(content, str(args.source))
    for assignment in args.assignments:
        set_field(changed, assignment)
    return changed


def _edit_by_hand(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields as a person has changed them in an editor.

    Raises:
        ConfigError: There is no editor, it failed, or what it left is no JSON.
    """
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or EDITOR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.json"
        path.write_bytes(encode_draft(fields))
        try:
            subprocess.run([*editor, str(path)], check=True)  # noqa: S603 -- the person's own editor
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"the editor {editor[0]} did not end well ({error}); set EDITOR, or use --set"
            raise ConfigError(message) from error
        return decode_draft(path.read_bytes(), "the edited policy")


def _take(
    book: Book,
    fields: dict[str, Any],
    args: argparse.Namespace,
    roots: tuple[bytes, ...],
    *,
    now: datetime,
) -> None:
    """Write the draft, make it pending where it is complete, and say what it changes."""
    before = book.bundle(CURRENT)
    fields = renew_fields(fields, before, now=now, valid_days=args.valid_days)
    if args.dry_run:
        parse_policy(encode_draft(fields), place="the draft")
        print("the draft is complete; nothing was written")
        return
    _write_parts(book, args)
    book.write_draft(fields)
    if len(roots) == 1 and book.newest is None:
        book.write(ROOT, roots[0])
    dropped = book.bundle(PENDING)
    try:
        pending = book.compose(roots)
    except ConfigError as error:
        (book.folder / PENDING).unlink(missing_ok=True)
        print(f"written, but not ready for signing: {error}", file=sys.stderr)
        return
    if dropped is not None and review_standing(dropped).present.signed:
        print("signatures of the draft before do not count any more", file=sys.stderr)
    print(compare(book.folder / PENDING, pending).tell())


def _write_parts(book: Book, args: argparse.Namespace) -> None:
    """Write what travels with the policy: the models' manifest, the keys for hotlists."""
    if args.models or not (book.folder / MODELS_FILE).exists():
        manifest = args.models or find_folder("") / MANIFEST_NAME
        book.write(MODELS_FILE, read_bounded(manifest, limit_bytes=MANIFEST_LIMIT_BYTES))
    if args.hotlist_key or not (book.folder / HOTLIST_KEYS_FILE).exists():
        named = [_read_named_key(text, "--hotlist-key") for text in args.hotlist_key or ()]
        keys = [{"agency": agency, "key": encode_key(key)} for agency, key in named]
        book.write(HOTLIST_KEYS_FILE, (json.dumps(keys, indent=2) + "\n").encode())


def _read_named_key(text: str, option: str) -> tuple[str, PublicKey]:
    """Return name and public key of NAME=FILE."""
    name, separator, file = text.partition("=")
    if not separator or not name:
        message = f"{option} {text}: expected NAME=FILE"
        raise ConfigError(message)
    content = read_bounded(Path(file), limit_bytes=KEY_LIMIT_BYTES)
    return name, load_public_file(content, place=file)


def _create(path: Path, content: bytes, mode: int) -> None:
    """Write a new file; one that is there stays.

    Raises:
        ConfigError: It is there, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        message = f"{path}: cannot be written ({error.strerror}); expected a new file"
        raise ConfigError(message) from error
