"""The city's folder of policies: the draft, what is being signed, what was published.

    policy.json         the draft, in the bytes that are signed
    models.toml         manifest of the models that units may use
    hotlist-keys.json   who may sign hotlists
    application.json    which application units are to install; only where there is an update
    pending.bundle      the draft on its way round the offices
    current.bundle      what was published last: this is what units get
    root.json           the offices and their keys, for the units' flash bundles
    published/          everything that was ever published, by number

No private key lies here: each office keeps its own.
"""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from agent.base.errors import ConfigError, DeviceError, PolicyError
from agent.base.files import read_bounded, write_whole
from agent.cli.policy_draft import decode_draft, find_gap
from agent.trust.bundle import Decision, open_bundle, trust_root
from agent.trust.bundle_files import (
    APPLICATION_FILE,
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
    def pending(self) -> Bundle | None:
        """What is being signed."""
        return self.bundle(PENDING)

    @property
    def newest(self) -> Bundle | None:
        """What is being signed, or else what was published last."""
        return self.pending or self.bundle(CURRENT)

    def roots(self) -> tuple[bytes, ...]:
        """Return the chain of roots, the first one alone before anything was made pending.

        Raises:
            ConfigError: The folder was not begun.
        """
        newest = self.newest
        if newest is not None:
            return newest.roots  # with the new keys of an office, where they are pending
        return (read_bounded(self.folder / ROOT, limit_bytes=BUNDLE_LIMIT_BYTES),)

    def files(self) -> BundleFiles:
        """Return the draft's files.

        Raises:
            ConfigError: One is missing.
        """
        policy, models, hotlist_keys = (
            read_bounded(self.folder / name, limit_bytes=BUNDLE_LIMIT_BYTES) for name in FILES
        )
        return BundleFiles(
            policy=policy,
            models=models,
            hotlist_keys=hotlist_keys,
            application=self.application(),
        )

    def application(self) -> bytes:
        """Return the draft's application, empty where it names none.

        Raises:
            ConfigError: It cannot be read.
        """
        path = self.folder / APPLICATION_FILE
        return read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES) if path.exists() else b""

    def why_idle(self) -> str:
        """Return why there is nothing to sign, and what to do; for while nothing is pending.

        Raises:
            ConfigError, PolicyError: A file cannot be read.
        """
        if not (self.folder / POLICY_FILE).exists():
            return "there is no draft; begin one with `homeplate policy init`"
        files, current = self.files(), self.bundle(CURRENT)
        if current is not None and files == current.files:
            return "the draft is what was published last; change it with `homeplate policy edit`"
        missing = self._judge_draft(files)
        if missing:
            return f"the draft is not ready: {missing}; mend it with `homeplate policy edit`"
        return "the draft was changed by hand; look at it and save it with `homeplate policy edit`"

    def find_stray(self, name: str = PENDING) -> str:
        """Return in what the draft differs from what is pending, empty where it does not.

        Args:
            name: `CURRENT` = from what is published.

        Raises:
            ConfigError, PolicyError: A file cannot be read.
        """
        known, what = self.bundle(name), "pending" if name == PENDING else "published"
        if known is None or not (self.folder / POLICY_FILE).exists():
            return ""  # a pending bundle that goes round alone has no draft beside it
        files = self.files()
        if files == known.files:
            return ""
        ours, theirs = files.named(), known.files.named()
        names = [part for part in {**ours, **theirs} if ours.get(part) != theirs.get(part)]
        missing = self._judge_draft(files)
        ready = f", and it is not ready: {missing}" if missing else ""
        return f"the draft ({', '.join(names)}) is not what is {what}{ready}"

    def _judge_draft(self, files: BundleFiles) -> str:
        """Return what is missing or wrong in a draft, empty when it is ready."""
        try:
            return find_gap(files, place=str(self.folder / POLICY_FILE))
        except (ConfigError, PolicyError) as error:
            return str(error)

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

    def write_draft(self, files: BundleFiles) -> None:
        """Write the draft; the policy need not be complete yet.

        Raises:
            DeviceError: The disk refuses.
        """
        for name, content in files.named().items():
            self.write(name, content)
        if not files.application:
            (self.folder / APPLICATION_FILE).unlink(missing_ok=True)

    def read_draft(self) -> dict[str, Any]:
        """Return the draft's fields.

        Raises:
            ConfigError: It is missing or no JSON object.
        """
        path = self.folder / POLICY_FILE
        return decode_draft(read_bounded(path, limit_bytes=BUNDLE_LIMIT_BYTES), str(path))

    def put_up(self, files: BundleFiles, roots: tuple[bytes, ...]) -> Bundle:
        """Make files the draft and, unsigned under the newest of `roots`, the pending bundle.

        Raises:
            ConfigError: The policy is not complete or not in its form; nothing was written.
            DeviceError: The disk refuses.
        """
        policy = parse_policy(files.policy, place=str(self.folder / POLICY_FILE))
        bundle = compose_bundle(
            files, roots=roots, version=policy.version, expires_at=policy.expires_at
        )
        self.write_draft(files)
        self.write(PENDING, encode_bundle(bundle))
        return bundle

    def go_back(self, current: Bundle) -> None:
        """Make what is published the draft again; nothing is pending then.

        Raises:
            DeviceError: The disk refuses.
        """
        self.write_draft(current.files)
        try:
            (self.folder / PENDING).unlink(missing_ok=True)
        except OSError as error:
            message = f"{self.folder / PENDING}: cannot be removed ({error.strerror})"
            raise DeviceError(message) from error

    def publish(self, *, now: datetime) -> Decision:
        """Make the pending bundle the current one, once units would take it.

        Raises:
            PolicyError: Units would refuse it.
        """
        pending = self.pending
        if pending is None:
            message = f"{self.folder}: nothing is pending: {self.why_idle()}"
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
    """Return where the bundle of a folder (or the file itself) lies: the pending one, if any.

    Raises:
        ConfigError: There is none.
    """
    if path.is_dir() and not (path / PENDING).exists():
        return _require_there(path / CURRENT, path)
    return find_pending(path)


def find_pending(path: Path) -> Path:
    """Return where the bundle lies that is to be signed: never what a folder has published.

    Raises:
        ConfigError: There is none; the message says why.
    """
    if path.is_dir() and not (path / PENDING).exists():
        message = f"{path}: nothing is pending: {Book(path).why_idle()}"
        raise ConfigError(message)
    return _require_there(path / PENDING if path.is_dir() else path, path)


def _require_there(found: Path, asked: Path) -> Path:
    if not found.exists():
        message = f"{asked}: no bundle there; expected a folder of policies, or a bundle"
        raise ConfigError(message)
    return found


def published_before(path: Path) -> Bundle | None:
    """Return what lies beside a bundle as published before it: parsed, for `judge` to verify.

    Raises:
        ConfigError, PolicyError: It cannot be read.
    """
    return Book(path.parent).bundle(CURRENT) if path.name != CURRENT else None
