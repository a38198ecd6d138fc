"""The policy bundle: one file with all that a unit needs to take over a policy (formats.md, ch. 4).

It carries the chain of roots, timestamp, snapshot and targets of The Update Framework, and the
three files that the targets name. The same file comes over the network and on a stick, so nothing
about its way is trusted: signatures, versions and hashes decide.
"""

from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from typing import TypeVar

from tuf.api.exceptions import LengthOrHashMismatchError, UnsignedMetadataError
from tuf.api.metadata import Metadata, MetaFile, Root, Snapshot, Targets, Timestamp

from agent.base.errors import ConfigError, PolicyError
from agent.trust.bundle_files import (
    APPLICATION_FILE,
    BUNDLE_START,
    POLICY_FILE,
    BundleFiles,
    parse_bundle,
    parse_hotlist_keys,
)
from agent.trust.key_uses import require_only_sealing
from agent.trust.policy import BLANK_LEGAL, Policy, city_key, parse_policy
from agent.trust.release import Release, parse_release
from agent.trust.role_forms import SIGNED_HASH
from agent.trust.roles import load_role, offices, signed_sha256, signers
from agent.trust.signatures import PublicKey

_ROLE = TypeVar("_ROLE", Timestamp, Snapshot, Targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The newest version of a role that was accepted."""

    version: int = 0
    sha256: bytes = b""
    """Of its signed part."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """What a unit remembers between two bundles. Its versions only rise."""

    root: bytes = field(repr=False)
    timestamp: Seen = Seen()
    snapshot: Seen = Seen()
    targets: Seen = Seen()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the city has decided, verified."""

    policy: Policy
    policy_hash: bytes
    """SHA-256 of policy.json: stands in frames, boot entries and on the public page."""
    models_sha256: bytes
    """Of the manifest of the models that the city allows."""
    hotlist_keys: tuple[tuple[str, PublicKey], ...]
    """Who may sign hotlists, with their keys; none = there is no hotlist."""
    release: Release | None
    """The application that the city wants on its units; None = they keep what they have."""
    version: int
    """Of the policy and all that was signed with it."""
    root_version: int
    expires_at: datetime
    """First end among the policy's and those of the signatures."""
    signed_by: tuple[str, ...]
    """Offices, of the targets."""
    content_sha256: bytes
    """Of the bundle."""
    trusted: Trusted


def trust_root(content: bytes, *, place: str) -> Trusted:
    """Return the beginning of trust: the root that came with the unit.

    Raises:
        PolicyError: Not a root, or not signed by its own offices.
    """
    if content.startswith(BUNDLE_START):
        message = f"{place}: a policy bundle; expected root.json. Are the two files swapped?"
        raise PolicyError(message, reason="format")
    metadata = load_role(content, Root, place=place)
    _require_signed(metadata.signed, metadata, place)
    return Trusted(root=content)


def open_bundle(
    content: bytes, *, trusted: Trusted, now: datetime | None, place: str, unit: str | None = None
) -> Decision:
    """Return what the city has decided, or raise: nothing of a refused bundle counts.

    Follows the client workflow of the TUF specification (5.3 to 5.7), and is stricter: the same
    version with other content is refused, and versions never fall, also under a new root.

    Args:
        content: The bundle's bytes.
        trusted: What was accepted before, by the same process.
        now: Wall clock; None = do not judge the time, for a bundle that was accepted before.
        place: Its name, for messages.
        unit: Who asks; None = no unit, the city itself.

    Raises:
        PolicyError: It is refused; `reason` says in a word why.
    """
    bundle = parse_bundle(content, place=place)
    root_bytes, root = _follow_roots(bundle.roots, trusted.root, place)
    timestamp = _open_role(bundle.timestamp, Timestamp, root, f"{place}: timestamp")
    snapshot = _open_role(bundle.snapshot, Snapshot, root, f"{place}: snapshot")
    targets = _open_role(bundle.targets, Targets, root, f"{place}: targets")
    _require_together(timestamp.signed.snapshot_meta, snapshot, f"{place}: snapshot")
    _require_together(snapshot.signed.meta["targets.json"], targets, f"{place}: targets")
    seen = Trusted(
        root=root_bytes,
        timestamp=_rise(trusted.timestamp, timestamp, f"{place}: timestamp"),
        snapshot=_rise(trusted.snapshot, snapshot, f"{place}: snapshot"),
        targets=_rise(trusted.targets, targets, f"{place}: targets"),
    )
    _require_files(targets.signed, bundle.files, place)
    policy = _open_policy(bundle.files.policy, targets.signed.version, unit, place)
    ends = [policy.expires_at, *(role.signed.expires for role in (timestamp, snapshot, targets))]
    expires_at = min([*ends, root.expires])
    named = parse_hotlist_keys(bundle.files.hotlist_keys, place)
    if policy.mode == "hits-only" and not named:
        message = f"{place}: the mode is hits-only, but nobody may sign a hotlist"
        raise PolicyError(message, reason="hotlist-keys")
    holders = (*offices(root).items(), *named)
    require_only_sealing(city_key(policy), holders, place=f"{place}: {POLICY_FILE}")
    decision = Decision(
        policy=policy,
        policy_hash=sha256(bundle.files.policy).digest(),
        models_sha256=sha256(bundle.files.models).digest(),
        hotlist_keys=named,
        release=_open_release(bundle.files.application, place),
        version=targets.signed.version,
        root_version=root.version,
        expires_at=expires_at,
        signed_by=signers(root, Targets.type, targets),
        content_sha256=sha256(content).digest(),
        trusted=seen,
    )
    return decision if now is None else require_current(decision, now=now, place=place)


def require_current(decision: Decision, *, now: datetime, place: str) -> Decision:
    """Return `decision` when it is in force at `now`.

    Raises:
        PolicyError: `expired` or `not-yet-valid`.
    """
    issued_at, expires_at = decision.policy.issued_at, decision.expires_at
    if now >= expires_at:
        message = f"{place}: expired at {expires_at:%Y-%m-%d %H:%M}, it is {now:%Y-%m-%d %H:%M} UTC"
        message += "; get a newer one from the city, or check the unit's clock"
        raise PolicyError(message, reason="expired")
    if now < issued_at:
        message = f"{place}: valid from {issued_at:%Y-%m-%d %H:%M}, it is {now:%Y-%m-%d %H:%M} UTC"
        message += "; check the unit's clock"
        raise PolicyError(message, reason="not-yet-valid")
    return decision


def _follow_roots(roots: tuple[bytes, ...], trusted: bytes, place: str) -> tuple[bytes, Root]:
    """Return the newest root, reached step by step from the trusted one.

    Each root must be signed as the one before it wants, and as it wants itself.
    """
    newest = load_role(trusted, Root, place=f"{place}: trusted root")
    newest_bytes, known = trusted, newest.signed.version
    if load_role(roots[-1], Root, place=f"{place}: root").signed.version < known:
        message = f"{place}: ends with an older root than version {known}, which is trusted"
        raise PolicyError(message, reason="rollback")
    for content in roots:
        root = load_role(content, Root, place=f"{place}: root")
        version = root.signed.version
        if version == known and signed_sha256(root) != signed_sha256(newest):
            message = f"{place}: root {version} is another than the one that is trusted"
            raise PolicyError(message, reason="root")
        if version <= known:
            continue
        if version != newest.signed.version + 1:
            message = f"{place}: root {version} follows on root {newest.signed.version}"
            raise PolicyError(message, reason="root")
        _require_signed(newest.signed, root, f"{place}: root {version}, by the offices before")
        _require_signed(root.signed, root, f"{place}: root {version}, by its own offices")
        newest, newest_bytes = root, content
    return newest_bytes, newest.signed


def _open_role(content: bytes, kind: type[_ROLE], root: Root, place: str) -> Metadata[_ROLE]:
    metadata = load_role(content, kind, place=place)
    _require_signed(root, metadata, f"{place} of the policy")
    return metadata


def _require_signed(root: Root, metadata: Metadata[Root] | Metadata[_ROLE], place: str) -> None:
    """Refuse metadata that not enough offices have signed."""
    role = metadata.signed.type
    try:
        root.verify_delegate(role, metadata.signed_bytes, metadata.signatures)
    except UnsignedMetadataError as error:
        who = ", ".join(signers(root, role, metadata)) or "no office"
        message = f"{place}: signed by {who}, and {root.roles[role].threshold} offices must sign; "
        message += "expected the signatures of more offices"
        raise PolicyError(message, reason="signature") from error


def _require_together(
    listed: MetaFile, found: Metadata[Snapshot] | Metadata[Targets], place: str
) -> None:
    """Refuse parts that were not signed to go together."""
    sha = str(listed.unrecognized_fields[SIGNED_HASH])
    if listed.version != found.signed.version or sha != signed_sha256(found).hex():
        message = (
            f"{place}: version {found.signed.version} is not the version {listed.version} that "
            "was signed with the rest; expected parts of one publication"
        )
        raise PolicyError(message, reason="mix")


def _rise(seen: Seen, found: Metadata[_ROLE], place: str) -> Seen:
    """Return what is to be remembered; a version that falls or changes its content is refused."""
    version, sha = found.signed.version, signed_sha256(found)
    if version < seen.version:
        message = f"{place}: version {version}, but {seen.version} was in force already"
        raise PolicyError(message, reason="rollback")
    if version == seen.version and sha != seen.sha256:
        message = f"{place}: another version {version} was in force already; expected a higher one"
        raise PolicyError(message, reason="fork")
    return Seen(version=version, sha256=sha)


def _require_files(targets: Targets, files: BundleFiles, place: str) -> None:
    if sorted(targets.targets) != sorted(files.named()):
        message = f"{place}: holds other files than were signed ({', '.join(targets.targets)})"
        raise PolicyError(message, reason="hash")
    for name, content in files.named().items():
        try:
            targets.targets[name].verify_length_and_hashes(content)
        except LengthOrHashMismatchError as error:
            message = f"{place}: {name} is not the file that was signed ({error})"
            raise PolicyError(message, reason="hash") from error


def _open_release(content: bytes, place: str) -> Release | None:
    return parse_release(content, place=f"{place}: {APPLICATION_FILE}") if content else None


def _open_policy(content: bytes, version: int, unit: str | None, place: str) -> Policy:
    where = f"{place}: {POLICY_FILE}"
    try:
        policy = parse_policy(content, place=where)
    except ConfigError as error:
        raise PolicyError(str(error), reason=_word_for(str(error))) from error
    if policy.version != version:
        message = f"{where}: $.version: {policy.version} was signed as version {version}"
        raise PolicyError(message, reason="mix")
    if unit is not None and policy.units and unit not in policy.units:
        message = f"{where}: $.units: is for {len(policy.units)} other units, not for {unit}"
        raise PolicyError(message, reason="unit")
    return policy


def _word_for(message: str) -> str:
    """Return the reason for a policy that is not in its form."""
    if BLANK_LEGAL in message:
        return "legal"
    return "unknown-field" if "unknown field" in message else "policy"
