"""The form of the metadata that a city's policy travels with, to the field.

The Update Framework (TUF 1.0) in a stricter dress: no field that is not named here, no delegation,
ECDSA on P-256 only. See formats.md, chapter 4.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

OFFICE: Final = "x-homeplate-office"
SIGNED_HASH: Final = "x-homeplate-sha256"
"""Of a role's signed part: what one version's files are held together by."""
THRESHOLD_MIN: Final = 2
OFFICES_MIN: Final = 3
VERSION_MAX: Final = 2**31 - 1

Hex256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
Version = Annotated[int, Meta(ge=1, le=VERSION_MAX)]
Office = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,31}\Z")]
Expiry = Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$")]
SpecVersion = Annotated[str, Meta(pattern=r"^1\.0\.[0-9]{1,3}$")]


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object with these fields and no others."""


class _Signature(_Strict, frozen=True, kw_only=True):
    keyid: Hex256
    sig: Annotated[str, Meta(pattern="^([0-9a-f]{2}){0,128}$")]
    """Hex of the DER signature; empty = not signed yet."""


class _KeyValue(_Strict, frozen=True, kw_only=True):
    public: Annotated[str, Meta(max_length=1024)]
    """PEM."""


class _Key(_Strict, frozen=True, kw_only=True):
    keytype: Literal["ecdsa"]
    scheme: Literal["ecdsa-sha2-nistp256"]
    keyval: _KeyValue
    office: Office = msgspec.field(name=OFFICE)


class _Role(_Strict, frozen=True, kw_only=True):
    keyids: Annotated[tuple[Hex256, ...], Meta(min_length=OFFICES_MIN, max_length=8)]
    threshold: Annotated[int, Meta(ge=THRESHOLD_MIN, le=8)]


class _Roles(_Strict, frozen=True, kw_only=True):
    root: _Role
    timestamp: _Role
    snapshot: _Role
    targets: _Role


class _Signed(_Strict, frozen=True, kw_only=True):
    spec_version: SpecVersion
    version: Version
    expires: Expiry


class RootForm(_Signed, frozen=True, kw_only=True):
    """Keys and roles."""

    kind: Literal["root"] = msgspec.field(name="_type")
    consistent_snapshot: bool
    keys: dict[Hex256, _Key]
    roles: _Roles


class _Listed(_Strict, frozen=True, kw_only=True):
    version: Version
    signed_sha256: Hex256 = msgspec.field(name=SIGNED_HASH)


class _TimestampMeta(_Strict, frozen=True, kw_only=True):
    snapshot: _Listed = msgspec.field(name="snapshot.json")


class _SnapshotMeta(_Strict, frozen=True, kw_only=True):
    targets: _Listed = msgspec.field(name="targets.json")


class _Timestamp(_Signed, frozen=True, kw_only=True):
    kind: Literal["timestamp"] = msgspec.field(name="_type")
    meta: _TimestampMeta


class _Snapshot(_Signed, frozen=True, kw_only=True):
    kind: Literal["snapshot"] = msgspec.field(name="_type")
    meta: _SnapshotMeta


class _Hashes(_Strict, frozen=True, kw_only=True):
    sha256: Hex256


class _File(_Strict, frozen=True, kw_only=True):
    length: Annotated[int, Meta(ge=0, le=2**20)]
    hashes: _Hashes


class _Files(_Strict, frozen=True, kw_only=True):
    policy: _File = msgspec.field(name="policy.json")
    models: _File = msgspec.field(name="models.toml")
    hotlist_keys: _File = msgspec.field(name="hotlist-keys.json")
    application: _File | msgspec.UnsetType = msgspec.field(
        name="application.json", default=msgspec.UNSET
    )


class _Targets(_Signed, frozen=True, kw_only=True):
    kind: Literal["targets"] = msgspec.field(name="_type")
    targets: _Files


class Envelope(_Strict, frozen=True, kw_only=True):
    """What all files have: signatures over the canonical form of what is signed."""

    signatures: Annotated[tuple[_Signature, ...], Meta(max_length=16)]


class RootFile(Envelope, frozen=True, kw_only=True):
    """Who may sign, and how many must."""

    signed: RootForm


class TimestampFile(Envelope, frozen=True, kw_only=True):
    """Which snapshot is the newest."""

    signed: _Timestamp


class SnapshotFile(Envelope, frozen=True, kw_only=True):
    """Which targets belong to it."""

    signed: _Snapshot


class TargetsFile(Envelope, frozen=True, kw_only=True):
    """The files that are signed."""

    signed: _Targets
