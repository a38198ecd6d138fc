"""Drafts: changing the policy, seeing what changes. A slip changes nothing."""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
from base64 import b64encode
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from agent.base.clock import SystemClock
from agent.base.errors import ConfigError, PolicyError
from agent.base.files import read_bounded
from agent.cli.key_files import read_named_keys, read_public_key
from agent.cli.model_folder import MANIFEST_LIMIT_BYTES, MANIFEST_NAME, find_folder
from agent.cli.policy_book import CURRENT, PENDING, Book, find_pending, load_bundle
from agent.cli.policy_compare import Comparison, compare
from agent.cli.policy_draft import (
    decode_draft,
    encode_draft,
    find_gap,
    is_same,
    renew_fields,
    require_own_sealing_key,
)
from agent.cli.policy_fields import set_field
from agent.cli.update_release import release_of
from agent.trust.bundle_files import (
    BUNDLE_LIMIT_BYTES,
    HOTLIST_KEYS_FILE,
    MODELS_FILE,
    Bundle,
    BundleFiles,
)
from agent.trust.publishing import review_standing

SUITE: Final = "P256-HKDF-SHA256-AES256GCM"
EDITOR: Final = "nano"
"""Where neither VISUAL nor EDITOR says which one."""
REFUSED: Final = "policy.refused.json"
"""What somebody wrote in an editor and could not be taken: nobody has to write it twice."""


def edit(args: argparse.Namespace) -> None:
    """Change the draft by `--set`, `--from` or in an editor, and make it ready for signing."""
    book = Book(args.folder)
    fields = book.read_draft()
    named = (args.models, args.hotlist_key, args.sealing_key, args.valid_days, args.application)
    if args.assignments or args.source or any(named):
        _take(book, change_fields(fields, args), args)
        return
    written = _edit_by_hand(encode_draft(fields))
    try:
        _take(book, decode_draft(written, "the edited policy"), args)
    except (ConfigError, PolicyError) as error:
        book.write(REFUSED, written)
        kept = book.folder / REFUSED
        message = f"{error}. What you wrote is in {kept}: correct it and say --from {kept}"
        raise ConfigError(message) from error


def diff(args: argparse.Namespace) -> None:
    """Say what the pending policy changes."""
    folder = args.path if args.path.is_dir() else None
    if folder is not None and Book(folder).pending is None:
        found = Comparison(changes=(), basis=f"nothing is pending: {Book(folder).why_idle()}")
    else:
        path = find_pending(args.path)
        found = compare(path, load_bundle(path), root=args.root)
    if folder is not None:
        warn_of_stray(Book(folder))
    print(json.dumps(asdict(found)) if args.json else found.tell())


def discard(args: argparse.Namespace) -> None:
    """Drop the draft and what is pending; the draft is what was published last again.

    Raises:
        ConfigError: Nothing is published: there is nothing to go back to.
        DeviceError: The disk refuses.
    """
    book = Book(args.folder)
    current = book.bundle(CURRENT)
    if current is None:
        message = f"{args.folder}: nothing is published to go back to; `homeplate policy edit`"
        raise ConfigError(message)
    dropped = book.pending
    if dropped is None and book.files() == current.files:
        print(f"nothing to discard: {book.why_idle()}")
        return
    if args.dry_run:
        print("the draft would be dropped; nothing was written")
        return
    book.go_back(current)
    tell_dropped(dropped)
    print("the draft is dropped; it is what was published last again")


def change_fields(fields: dict[str, Any], args: argparse.Namespace) -> dict[str, Any]:
    """Return the fields with what `--from`, `--sealing-key` and `--set` say.

    Raises:
        ConfigError: The file is no draft, or there is no such field.
        CredentialError: The sealing key is none.
    """
    changed = decode_draft(encode_draft(fields), "the draft")
    if args.source:
        content = read_bounded(args.source, limit_bytes=BUNDLE_LIMIT_BYTES)
        changed |= decode_draft(content, str(args.source))
    if args.sealing_key:
        changed["sealing"] = describe_sealing(args.sealing_key)
    for assignment in args.assignments:
        set_field(changed, assignment)
    return changed


def describe_sealing(public: Path) -> dict[str, str]:
    """Return the field `sealing` for the public half of a city's key.

    Raises:
        ConfigError: The file is missing.
        CredentialError: It holds something else.
    """
    text = b64encode(read_public_key(public).spki).decode()
    return {"suite": SUITE, "public_key": text}


def collect_parts(book: Book, args: argparse.Namespace, policy: bytes) -> BundleFiles:
    """Return a draft: policy, models' manifest, keys for hotlists, application; named or kept.

    Raises:
        ConfigError: A file is missing.
        CredentialError: A key is none.
    """
    models, hotlist_keys = (book.folder / name for name in (MODELS_FILE, HOTLIST_KEYS_FILE))
    if args.models or not models.exists():
        models = args.models or find_folder("") / MANIFEST_NAME
    if args.hotlist_key or not hotlist_keys.exists():
        named = read_named_keys(args.hotlist_key, "--hotlist-key")
        keys = [
            {"agency": agency, "key": b64encode(key.spki).decode()} for agency, key in named.items()
        ]
        content = (json.dumps(keys, indent=2) + "\n").encode()
    else:
        content = read_bounded(hotlist_keys, limit_bytes=BUNDLE_LIMIT_BYTES)
    return BundleFiles(
        policy=policy,
        models=read_bounded(models, limit_bytes=MANIFEST_LIMIT_BYTES),
        hotlist_keys=content,
        application=release_of(args.application) if args.application else book.application(),
    )


def save_draft(
    book: Book, files: BundleFiles, roots: tuple[bytes, ...], *, now: datetime, dry_run: bool
) -> bool:
    """Write a draft, make it pending where it is complete, and say what it changes.

    Returns:
        Whether anything was, or would be, written.

    Raises:
        ConfigError, PolicyError: Something in it is wrong, or missing that was there before;
            nothing was written.
        DeviceError: The disk refuses.
    """
    require_own_sealing_key(files, roots)
    dropped = book.pending
    missing = find_gap(files, place="the draft", now=now)
    newest = book.newest
    if missing and newest is not None:  # only a first draft is written bit by bit
        message = f"{missing}; nothing was changed"
        raise ConfigError(message)
    current = book.bundle(CURRENT)
    if dropped is not None and current is not None and _is_back(current, files, roots):
        if not dry_run:
            book.go_back(current)
            tell_dropped(dropped)
        print("this is what is published already: nothing to sign, and nothing is pending")
        return True
    if newest is not None and is_same(newest.files, files):
        print("nothing changes; what was there stays, with its signatures")
        return False
    if dry_run:
        what = f"not ready for signing: {missing}" if missing else "the draft is complete"
        print(f"{what}; nothing was written")
    elif missing:
        book.write_draft(files)
        print(f"the draft is written. It is not ready for signing: {missing}", file=sys.stderr)
        print(f"next: homeplate policy edit {book.folder}", file=sys.stderr)
    else:
        pending = book.put_up(files, roots)
        tell_dropped(dropped)
        tell_pending(book, pending)
        print(f"ready: {review_standing(pending).present.threshold} offices sign it now, each with")
        print(f"  homeplate policy sign {book.folder} --key FILE")
    return True


def _is_back(current: Bundle, files: BundleFiles, roots: tuple[bytes, ...]) -> bool:
    """Tell whether a draft says what is published, by the same offices."""
    return is_same(current.files, files) and roots == current.roots


def tell_dropped(dropped: Bundle | None) -> None:
    """Say whose signatures do not count any more."""
    signed = review_standing(dropped).present.signed if dropped else ()
    if signed:
        print(
            f"signed before this change, to be signed anew: {', '.join(signed)}; "
            "signatures of the draft before do not count any more",
            file=sys.stderr,
        )


def tell_pending(book: Book, pending: Bundle) -> None:
    """Say what a pending policy changes."""
    print(compare(book.folder / PENDING, pending).tell())


def warn_of_stray(book: Book, name: str = PENDING) -> None:
    """Say that somebody has changed the draft past what is pending, or what `name` holds."""
    stray = book.find_stray(name)
    if stray:
        print(f"note: {stray}; `homeplate policy edit` makes it pending", file=sys.stderr)


def _take(book: Book, fields: dict[str, Any], args: argparse.Namespace) -> None:
    """Save changed fields as the draft."""
    now = SystemClock().now()
    fields = renew_fields(fields, book.bundle(CURRENT), now=now, valid_days=args.valid_days)
    files = collect_parts(book, args, encode_draft(fields))
    save_draft(book, files, book.roots(), now=now, dry_run=args.dry_run)
    if not args.dry_run:
        (book.folder / REFUSED).unlink(missing_ok=True)


def _edit_by_hand(content: bytes) -> bytes:
    """Return the draft as a person has changed it in an editor.

    Raises:
        ConfigError: There is no editor, or it failed.
    """
    editor = shlex.split(os.environ.get("VISUAL") or os.environ.get("EDITOR") or EDITOR)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "policy.json"
        path.write_bytes(content)
        try:
            subprocess.run([*editor, str(path)], check=True)  # noqa: S603 -- the person's own editor
        except (OSError, subprocess.CalledProcessError) as error:
            message = f"the editor {editor[0]} did not end well ({error}); set EDITOR, or use --set"
            raise ConfigError(message) from error
        return path.read_bytes()
