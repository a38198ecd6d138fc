"""The city's folder of policies: the draft, what is being signed, what was published.

    policy.json         the draft, in the bytes that are signed
    models.toml         manifest of the models that units may use
    hotlist-keys.json   who may sign hotlists
    pending.bundle      the draft on its way round the offices
    current.bundle      what was published last: this is what units get
    root.json           the offices and their keys, for the units' flash bundles
    published/          everything that was ever published, by number

No private key lies here: each office keeps its own.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec

from agent.base.errors import ConfigError, DeviceError
from agent.base.files import read_bounded, write_whole
from agent.trust.bundle import Decision, open_bundle, trust_root
from agent.trust.bundle_files import (
    BUNDLE_LIMIT_BYTES,
    FILES,
    POLICY_FILE,
    Bundle,
    BundleFiles,
    encode_bundle,
    parse_bundle,
)
from agent.trust.policy import parse_policy
from agent.trust.publishing import compose_bundle

PENDING: Final = "pending.bundle"
CURRENT: Final = "current.bundle"
ROOT: Final = "root.json"
HISTORY: Final = "published"
ROOT_DAYS: Final = 1825
"""Offices confirm or replace their keys every five years at the latest."""
_MODE: Final = 0o644


@dataclass(frozen=True, slots=True)
class Book:
    """A folder of policies."""

    folder: Path

    def bundle(self, name: str) -> Bundle | None:
        """Return the bundle in one of the files, None where there is none.

        Raises:
            ConfigError, PolicyError: It cannot be read.
        """
        path = self.folder / name
        return load_bundle(path) if path.exists() else None

    @property
    def newest(self) -> Bundle | None:
        """What is being signed, or else what was published last."""
        return self.bundle(PENDING) or self.bundle(CURRENT)

    def roots(self) -> tuple[bytes, ...]:
        """Return the chain of roots, the first one alone before anything was published.

        Raises:
            ConfigError: The folder was not begun.
        """
        newest = self.bundle(CURRENT)
        if newest is not None:
            return newest.roots
        return (read_bounded(self.folder / ROOT, limit_bytes=BUNDLE_LIMIT_BYTES),)

    def files(self) -> BundleFiles:
        """Return the draft's three files.

        Raises:
            ConfigError: One is missing.
        """
        policy, models, hotlist_keys = (
            read_bounded(self.folder / name, limit_bytes=BUNDLE_LIMIT_BYTES) for name in FILES
        )
        return BundleFiles(policy=policy, models=models, hotlist_keys=hotlist_keys)

    def write(self, name: str, content: bytes) -> None:
        """Replace one of the files.

        Raises:
            DeviceError: The disk refuses.
        """
        path = self.folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content, mode=_MODE)
        except OSError as error:
            message = f"{path}: cannot be written ({error.strerror})"
            raise DeviceError(message) from error

    def write_draft(self, fields: Mapping[str, Any]) -> None:
        """Write the draft of the policy; it need not be complete yet."""
        self.write(POLICY_FILE, encode_draft(fields))

    def read_draft(self) -> dict[str, Any]:
        """Return the draft's fields.

        Raises:
            ConfigError: It is missing or no JSON object.
        """
        path = self.folder / POLICY_FILE
        return decode_draft(read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES), str(path))

    def compose(self, roots: tuple[bytes, ...]) -> Bundle:
        """Make the draft the pending bundle, unsigned, under the newest of `roots`.

        Raises:
            ConfigError: The draft is not complete or not in its form.
        """
        files = self.files()
        policy = parse_policy(files.policy, place=str(self.folder / POLICY_FILE))
        bundle = compose_bundle(
            files, roots=roots, version=policy.version, expires_at=policy.expires_at
        )
        self.write(PENDING, encode_bundle(bundle))
        return bundle

    def publish(self, *, now: datetime) -> Decision:
        """Make the pending bundle the current one, once units would take it.

        Raises:
            PolicyError: Units would refuse it.
        """
        pending = self.bundle(PENDING)
        if pending is None:
            message = f"{self.folder}: nothing is pending; change the policy with `edit` first"
            raise ConfigError(message)
        content = encode_bundle(pending)
        decision = judge(content, self.bundle(CURRENT), now=now, place=str(self.folder / PENDING))
        self.write(f"{HISTORY}/{decision.version:04}.bundle", content)
        self.write(ROOT, pending.roots[-1])
        self.write(CURRENT, content)
        (self.folder / PENDING).unlink()
        return decision


def judge(content: bytes, before: Bundle | None, *, now: datetime | None, place: str) -> Decision:
    """Return what a bundle decides, as a unit would see it that has the one before.

    Raises:
        PolicyError: Units would refuse it.
    """
    bundle = parse_bundle(content, place=place)
    trusted = trust_root(bundle.roots[0], place=f"{place}: first root")
    if before is not None:
        trusted = trust_root(before.roots[0], place="published before: first root")
        known = open_bundle(encode_bundle(before), trusted=trusted, now=None, place="published")
        trusted = known.trusted
    return open_bundle(content, trusted=trusted, now=now, place=place)


def load_bundle(path: Path) -> Bundle:
    """Return the bundle in a file."""
    return parse_bundle(read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES), place=str(path))


def find_bundle(path: Path) -> Path:
    """Return where the bundle of a folder (or the file itself) lies.

    Raises:
        ConfigError: There is none.
    """
    found = path
    if path.is_dir():
        found = path / (PENDING if (path / PENDING).exists() else CURRENT)
    if not found.exists():
        message = f"{path}: no bundle there; complete the policy with `homeplate policy edit`"
        raise ConfigError(message)
    return found


def published_before(path: Path) -> Bundle | None:
    """Return what lies beside a bundle as published before it: parsed, for `judge` to verify.

    Raises:
        ConfigError, PolicyError: It cannot be read.
    """
    return Book(path.parent).bundle(CURRENT) if path.name != CURRENT else None


def renew_fields(
    fields: Mapping[str, Any], before: Bundle | None, *, now: datetime, valid_days: int | None
) -> dict[str, Any]:
    """Return the draft's fields with the next number and the time from which they are in force."""
    number = 0
    if before is not None:
        number = parse_policy(before.files.policy, place="published").version
    ends = {} if valid_days is None else {"expires_at": tell_time(now + timedelta(days=valid_days))}
    return {**fields, "version": number + 1, "issued_at": tell_time(now), **ends}


def set_field(fields: dict[str, Any], assignment: str) -> None:
    """Set one field, as in `retention.reads=30d`; the value is JSON, or else plain text.

    Raises:
        ConfigError: Not of this form, or no such place.
    """
    path, separator, text = assignment.partition("=")
    *parents, last = path.split(".")
    place: Any = fields
    for name in parents:
        place = place.get(name) if isinstance(place, dict) else None
    if not separator or not last or not isinstance(place, dict):
        message = f"--set {assignment}: expected PATH=VALUE, as in retention.reads=30d"
        raise ConfigError(message)
    try:
        place[last] = json.loads(text)
    except ValueError:
        place[last] = text


def encode_draft(fields: Mapping[str, Any]) -> bytes:
    """Return the draft as text that people can read."""
    return (json.dumps(fields, indent=2, ensure_ascii=False) + "\n").encode()


def decode_draft(content: bytes, place: str) -> dict[str, Any]:
    """Return the fields of a draft.

    Raises:
        ConfigError: It is no JSON object.
    """
    try:
        return msgspec.json.decode(content, type=dict[str, Any])
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"{place}: {error}; expected a JSON object"
        raise ConfigError(message) from error


def tell_time(moment: datetime) -> str:
    """Return a moment as it stands in policies."""
    return moment.astimezone(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
