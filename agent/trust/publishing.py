"""The city's side of a policy bundle: putting it together, signing it, seeing who has yet to sign.

No private key here: whoever signs hands in a function (a key in a file, a smart card, a module).
One signature by an office is one over each part that still needs its own.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, TypeVar

import msgspec
from securesystemslib.signer import Signature, SSlibKey
from tuf.api.metadata import (
    Metadata,
    MetaFile,
    Role,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

from agent.base.errors import CredentialError, IntegrityError
from agent.trust.bundle_files import Bundle, BundleFiles
from agent.trust.role_forms import OFFICE, SIGNED_HASH
from agent.trust.roles import KIND, key_name, key_pem, load_role, offices, signed_sha256, signers
from agent.trust.signatures import PublicKey, verify_signature

Sign = Callable[[bytes], bytes]
"""Message → DER signature, ECDSA P-256 with SHA-256."""

_ROLE = TypeVar("_ROLE", Root, Timestamp, Snapshot, Targets)
_ROLES = (Root.type, Timestamp.type, Snapshot.type, Targets.type)


@dataclass(frozen=True, slots=True, kw_only=True)
class Circle:
    """Offices of which enough have to sign."""

    signed: tuple[str, ...]
    """Those whose signatures over every part hold."""
    unsigned: tuple[str, ...]
    threshold: int

    @property
    def missing(self) -> int:
        """Signatures that are still needed."""
        return max(0, self.threshold - len(self.signed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far the signing of a bundle has come."""

    present: Circle
    """Offices of the newest root: they sign everything."""
    former: Circle | None
    """Offices of the root before, who have to agree to the new one; None = there is no new root."""

    @property
    def complete(self) -> bool:
        """Whether units would take the signatures."""
        return self.present.missing == 0 and (self.former is None or self.former.missing == 0)


def compose_root(
    held_by: Mapping[str, PublicKey], *, threshold: int, version: int, expires_at: datetime
) -> bytes:
    """Return an unsigned root: which offices may sign, and how many must.

    Raises:
        PolicyError: One could sign alone, a key stands twice, an office has no usable name.
    """
    pems = {office: key_pem(key) for office, key in held_by.items()}
    keys = {
        key_name(pem): SSlibKey(key_name(pem), *KIND, {"public": pem}, {OFFICE: office})
        for office, pem in pems.items()
    }
    keyids = [key_name(pem) for pem in pems.values()]
    root = Root(
        version=version,
        expires=_whole_second(expires_at),
        keys=dict(keys),
        roles={role: Role(list(dict.fromkeys(keyids)), threshold) for role in _ROLES},
        consistent_snapshot=False,
    )
    content = _encode(Metadata(root))
    load_role(content, Root, place="root")
    return content


def compose_bundle(
    files: BundleFiles, *, roots: tuple[bytes, ...], version: int, expires_at: datetime
) -> Bundle:
    """Return an unsigned bundle under the newest of `roots`; all its parts have one version."""
    expires = _whole_second(expires_at)
    targets = Metadata(
        Targets(
            version=version,
            expires=expires,
            targets={
                name: TargetFile(len(content), {"sha256": sha256(content).hexdigest()}, name)
                for name, content in files.named().items()
            },
        )
    )
    snapshot = Metadata(
        Snapshot(version=version, expires=expires, meta={"targets.json": _listed(targets)})
    )
    timestamp = Metadata(
        Timestamp(version=version, expires=expires, snapshot_meta=_listed(snapshot))
    )
    return Bundle(
        roots=roots,
        timestamp=_encode(timestamp),
        snapshot=_encode(snapshot),
        targets=_encode(targets),
        files=files,
    )


def add_signature(bundle: Bundle, *, key: PublicKey, sign: Sign) -> Bundle:
    """Return the bundle with an office's signatures over every part that needs them.

    Args:
        bundle: Signed by others, or by nobody yet.
        key: Public half of the signing key; says which office signs.
        sign: Makes a signature with it.

    Raises:
        CredentialError: The key belongs to no office that has to sign, or what `sign` made is no
            signature by it.
    """
    former, newest = _last_roots(bundle)
    rooted = _is_rooted(former, newest)
    keyid = key_name(key_pem(key))
    known = keyid in newest.signed.keys
    if not known and (rooted or former is None or keyid not in former.signed.keys):
        message = f"the key {key.key_id.hex()} belongs to no office that may sign this policy"
        raise CredentialError(message)
    changes: dict[str, Any] = {}
    if not rooted:
        changes["roots"] = (*bundle.roots[:-1], _sign(bundle.roots[-1], Root, key, sign))
    if known:
        changes["timestamp"] = _sign(bundle.timestamp, Timestamp, key, sign)
        changes["snapshot"] = _sign(bundle.snapshot, Snapshot, key, sign)
        changes["targets"] = _sign(bundle.targets, Targets, key, sign)
    return msgspec.structs.replace(bundle, **changes)


def review_standing(bundle: Bundle) -> Standing:
    """Return who has signed a bundle and how many signatures are missing."""
    former, newest = _last_roots(bundle)
    root = newest.signed
    parts: list[tuple[str, Metadata[Any]]] = [
        (Timestamp.type, load_role(bundle.timestamp, Timestamp, place="timestamp")),
        (Snapshot.type, load_role(bundle.snapshot, Snapshot, place="snapshot")),
        (Targets.type, load_role(bundle.targets, Targets, place="targets")),
    ]
    rooted = _is_rooted(former, newest)
    parts += [] if rooted else [(Root.type, newest)]
    present = _circle(root, parts)
    if former is None or rooted:
        return Standing(present=present, former=None)
    return Standing(present=present, former=_circle(former.signed, [(Root.type, newest)]))


def office_names(bundle: Bundle) -> dict[str, PublicKey]:
    """Return the offices of the newest root with their keys."""
    return offices(_last_roots(bundle)[1].signed)


def offices_of(root: bytes) -> dict[str, PublicKey]:
    """Return the offices of a root, its signatures not verified, with their keys.

    Raises:
        PolicyError: It is no root.
    """
    return offices(load_role(root, Root, place="root").signed)


def _last_roots(bundle: Bundle) -> tuple[Metadata[Root] | None, Metadata[Root]]:
    """Return the root before the newest, None where there is none, and the newest."""
    former, newest = (None, *bundle.roots)[-2:]
    return (
        None if former is None else load_role(former, Root, place="root"),
        load_role(newest or b"", Root, place="root"),
    )


def _is_rooted(former: Metadata[Root] | None, newest: Metadata[Root]) -> bool:
    """Tell whether units would follow to the newest root as it is signed now."""
    judges = [newest.signed] if former is None else [newest.signed, former.signed]
    return all(not _circle(root, [(Root.type, newest)]).missing for root in judges)


def _circle(root: Root, parts: list[tuple[str, Metadata[Any]]]) -> Circle:
    signed_by = [set(signers(root, role, metadata)) for role, metadata in parts]
    signed = set.intersection(*signed_by)
    names = tuple(offices(root))
    return Circle(
        signed=tuple(name for name in names if name in signed),
        unsigned=tuple(name for name in names if name not in signed),
        threshold=root.roles[Root.type].threshold,
    )


def _sign(content: bytes, kind: type[_ROLE], key: PublicKey, sign: Sign) -> bytes:
    metadata = load_role(content, kind, place=kind.type)
    made, keyid = sign(metadata.signed_bytes), key_name(key_pem(key))
    try:
        verify_signature(key, metadata.signed_bytes, made)
    except IntegrityError as error:  # another key's, or the command said something else
        message = f"what was made is no signature with the key {key.key_id.hex()}; "
        message += "expected a DER signature, ECDSA P-256 with SHA-256; nothing was signed"
        raise CredentialError(message) from error
    metadata.signatures[keyid] = Signature(keyid, made.hex())
    return _encode(metadata)


def _listed(metadata: Metadata[Any]) -> MetaFile:
    """Return how a part is listed: by its version and by the hash of what is signed of it."""
    known = {SIGNED_HASH: signed_sha256(metadata).hex()}
    return MetaFile(version=metadata.signed.version, unrecognized_fields=known)


def _encode(metadata: Metadata[Any]) -> bytes:
    return metadata.to_bytes(JSONSerializer())


def _whole_second(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(microsecond=0)
