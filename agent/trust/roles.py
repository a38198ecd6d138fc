"""The four kinds of signed metadata that a city's policy travels with: checked and named.

All four roles are held by the same offices, of which at least two of at least three must sign.
The form is checked before python-tuf sees the bytes; see formats.md, chapter 4.
"""

import json
from hashlib import sha256
from typing import Any, Final, TypeVar

import msgspec
from cryptography.hazmat.primitives import serialization
from securesystemslib.formats import encode_canonical
from tuf.api.metadata import Metadata, Root, Snapshot, Targets, Timestamp
from tuf.api.serialization import DeserializationError

from agent.base.errors import CredentialError, PolicyError
from agent.base.texts import show
from agent.trust.role_forms import (
    OFFICE,
    Envelope,
    RootFile,
    RootForm,
    SnapshotFile,
    TargetsFile,
    TimestampFile,
)
from agent.trust.signatures import PublicKey, load_public_file

ROLE_LIMIT_BYTES: Final = 65_536
KIND: Final = ("ecdsa", "ecdsa-sha2-nistp256")
"""Type and scheme of an office's key."""

_ROLE = TypeVar("_ROLE", Root, Timestamp, Snapshot, Targets)
_SCHEMAS: Final[dict[type[Any], type[Envelope]]] = {
    Root: RootFile,
    Timestamp: TimestampFile,
    Snapshot: SnapshotFile,
    Targets: TargetsFile,
}


def load_role(content: bytes, kind: type[_ROLE], *, place: str) -> Metadata[_ROLE]:
    """Return one role's metadata, its signatures not verified yet.

    Args:
        content: The file's bytes.
        kind: Which role it must be.
        place: Its name, for messages.

    Raises:
        PolicyError: `size`, `format` or `unknown-field`; a root also `root`.
    """
    if len(content) > ROLE_LIMIT_BYTES:
        message = f"{place}: larger than {ROLE_LIMIT_BYTES} bytes; expected signed metadata"
        raise PolicyError(message, reason="size")
    try:
        checked = msgspec.json.decode(content, type=_SCHEMAS[kind])
        json.loads(content, object_pairs_hook=refuse_doubles)
        metadata: Metadata[_ROLE] = Metadata.from_bytes(content)
    except (msgspec.MsgspecError, ValueError, RecursionError, DeserializationError) as error:
        raise malformed(error, place) from error
    if isinstance(checked, RootFile):
        _require_sound(checked.signed, place)
    return metadata


def signed_sha256(metadata: Metadata[Any]) -> bytes:
    """Return the SHA-256 of what is signed: the same however many have signed it."""
    return sha256(metadata.signed_bytes).digest()


def office_of(root: Root, keyid: str) -> str:
    """Return the office that holds a key of the root."""
    return str(root.keys[keyid].unrecognized_fields[OFFICE])


def offices(root: Root) -> dict[str, PublicKey]:
    """Return the public key of each office, in the order of the root's roles."""
    return {
        office_of(root, keyid): load_public_file(
            root.keys[keyid].keyval["public"].encode(), place=f"key {keyid[:8]} of the root"
        )
        for keyid in root.roles[Root.type].keyids
    }


def signers(root: Root, role: str, metadata: Metadata[Any]) -> tuple[str, ...]:
    """Return the offices whose signatures over `metadata` hold."""
    found = root.get_verification_result(role, metadata.signed_bytes, metadata.signatures)
    return tuple(office_of(root, keyid) for keyid in found.signed)


def key_pem(key: PublicKey) -> str:
    """Return a public key as it stands in a root."""
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.point.public_bytes(encoding, form).decode()


def key_name(pem: str) -> str:
    """Return the key id that TUF gives to a P-256 key: the hash of its canonical description."""
    keytype, scheme = KIND
    described = encode_canonical({"keytype": keytype, "scheme": scheme, "keyval": {"public": pem}})
    return sha256(str(described).encode()).hexdigest()


def malformed(error: Exception, place: str) -> PolicyError:
    """Return the error for bytes that are not in their form."""
    unknown = "unknown field" in str(error)
    message = f"{place}: {show(str(error))}; expected a bundle of `homeplate policy publish`"
    return PolicyError(message, reason="unknown-field" if unknown else "format")


def refuse_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the fields of a JSON object in which none stands twice: a hook for `json.loads`.

    Raises:
        ValueError: One does.
    """
    fields = dict(pairs)
    if len(fields) != len(pairs):
        message = "a field stands twice in one object"
        raise ValueError(message)
    return fields


def _require_sound(root: RootForm, place: str) -> None:
    """Refuse a root under which one person could sign alone, or one role be easier than another."""
    roles = root.roles
    fault = ""
    if not roles.root == roles.timestamp == roles.snapshot == roles.targets:
        fault = "the four roles are not held by the same offices"
    elif sorted(roles.root.keyids) != sorted(root.keys):
        fault = "an office of a role is unknown, or one holds no role"
    elif roles.root.threshold > len(root.keys):
        fault = f"needs {roles.root.threshold} signatures of {len(root.keys)} offices"
    elif len({key.office for key in root.keys.values()}) != len(root.keys):
        fault = "one office holds two keys"
    elif any(keyid != key_name(key.keyval.public) for keyid, key in root.keys.items()):
        fault = "a key does not have the id that belongs to it"
    if fault:
        message = f"{place}: {fault}; expected at least two of at least three offices for all"
        raise PolicyError(message, reason="root")
    for key in root.keys.values():
        _require_usual(key.keyval.public, f"{place}: key of {key.office}")


def _require_usual(pem: str, place: str) -> None:
    """Refuse a key that is none, or one in two spellings: it would count as two."""
    try:
        usual = key_pem(load_public_file(pem.encode(), place=place))
    except CredentialError as error:
        raise PolicyError(str(error), reason="root") from error
    if usual != pem:
        message = f"{place}: found PEM in an unusual spelling; expected the one of OpenSSL"
        raise PolicyError(message, reason="root")
