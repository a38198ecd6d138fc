"""Offices, policies and bundles, honest and not: made in memory, keys drawn once."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from functools import cache
from hashlib import sha256
from typing import Any

import msgspec

from agent.trust.bundle import Decision, Trusted, open_bundle, trust_root
from agent.trust.bundle_files import Bundle, BundleFiles, encode_bundle
from agent.trust.keys import Signer, generate_opener, generate_signer, load_protected_signer
from agent.trust.publishing import add_signature, compose_bundle, compose_root
from agent.trust.terms import Legal
from deploy.demo.city import PASSPHRASE, City
from tests.certificates import Identity, make_authority

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ENDS = NOW + timedelta(days=365)
OFFICES = ("police", "city-manager", "clerk")
MODELS = b"the manifest of the models"
UNIT = "unit-0001"


@cache
def signer(name: str) -> Signer:
    """Return the signing key of an office, or of whoever has the name."""
    return generate_signer()


@cache
def authority() -> Identity:
    """Return the endpoint's CA."""
    return make_authority()


@cache
def opener():
    """Return the city's key that opens reads."""
    return generate_opener()


def text64(content: bytes) -> str:
    """Return base64."""
    return b64encode(content).decode()


def policy_fields(version: int = 1, **changes: object) -> dict[str, object]:
    """Return the fields of a policy that is complete."""
    return {
        "version": version,
        "city": "Testville",
        "issued_at": (NOW - timedelta(days=1)).isoformat(),
        "expires_at": ENDS.isoformat(),
        "endpoint": {
            "addresses": ["192.0.2.7"],
            "port": 8443,
            "server_name": "reads.testville.example",
            "ca_pem": authority().pem,
            "spki_pins": [text64(sha256(key).digest()) for key in (b"in use", b"spare")],
        },
        "sealing": {
            "suite": "P256-HKDF-SHA256-AES256GCM",
            "public_key": text64(opener().public_spki),
        },
        "receipt_keys": [text64(signer("receipts").public_spki)],
        "mode": "all",
        "crops": "hits",
        "purposes": ["stolen-vehicle"],
        "min_hit_confidence": 0.9,
        "min_hit_frames": 3,
        "retention": {"hits": "30d", "reads": "7d", "crops": "24h"},
        "quota": {"hits_bytes": 10_000_000, "reads_bytes": 20_000_000, "crops_bytes": 65_536},
        "legal": dict.fromkeys(Legal.__struct_fields__, "As the council decided."),
        **changes,
    }


@dataclass(frozen=True)
class Draft:
    """A bundle before it is signed."""

    fields: dict[str, object]
    models: bytes = MODELS
    hotlist_keys: bytes = b"[]"
    application: bytes = b""
    roots: tuple[bytes, ...] = ()
    version: int = 0
    """Of the metadata; 0 = as the policy says."""
    expires_at: datetime = ENDS

    def bundle(self) -> Bundle:
        """Return it unsigned."""
        policy = json.dumps(self.fields).encode()
        files = BundleFiles(
            policy=policy,
            models=self.models,
            hotlist_keys=self.hotlist_keys,
            application=self.application,
        )
        return compose_bundle(
            files,
            roots=self.roots or (first_root(),),
            version=self.version or int(str(self.fields["version"])),
            expires_at=self.expires_at,
        )

    def signed(self, *names: str) -> Bundle:
        """Return it with the signatures of these, police and clerk where none is named."""
        return sign(self.bundle(), *(names or ("police", "clerk")))

    def but(self, **changes: object) -> "Draft":
        """Return another draft."""
        return replace(self, **changes)


def draft(version: int = 1, **changes: object) -> Draft:
    """Return a draft of a complete policy."""
    return Draft(policy_fields(version, **changes))


def sign(bundle: Bundle, *names: str) -> Bundle:
    """Add the signatures of these."""
    for name in names:
        bundle = add_signature(bundle, key=signer(name).public_key, sign=signer(name).sign)
    return bundle


def make_root(version: int = 1, *, held_by: tuple[str, ...] = OFFICES, days: int = 1800) -> bytes:
    """Return an unsigned root; a name before a colon is the office, the rest names its key."""
    keys = {name.partition(":")[0]: signer(name).public_key for name in held_by}
    ends = NOW + timedelta(days=days)
    return compose_root(keys, threshold=2, version=version, expires_at=ends)


@cache
def first_root() -> bytes:
    """Return the root that units are flashed with, signed."""
    return sign(Draft(policy_fields(), roots=(make_root(),)).bundle(), "police", "clerk").roots[0]


def flashed() -> Trusted:
    """Return what a new unit trusts."""
    return trust_root(first_root(), place="root.json")


def take(
    bundle: Bundle | bytes,
    *,
    trusted: Trusted | None = None,
    now: datetime | None = NOW,
    unit: str | None = UNIT,
) -> Decision:
    """Open a bundle as a unit does."""
    content = bundle if isinstance(bundle, bytes) else encode_bundle(bundle)
    trusted = trusted or flashed()
    return open_bundle(content, trusted=trusted, now=now, place="policy.bundle", unit=unit)


def force_policy(city: City, change: Callable[[dict[str, Any]], object]) -> None:
    """Flash the demo's unit with a policy that two offices signed though it is none.

    The city's own commands would not let them.
    """
    fields = city.book.read_draft()
    change(fields)
    files = msgspec.structs.replace(city.book.files(), policy=json.dumps(fields).encode())
    ends = datetime.now(UTC) + timedelta(days=9)
    version = int(fields["version"])
    bundle = compose_bundle(files, roots=city.book.roots(), version=version, expires_at=ends)
    for office in ("police", "clerk"):
        key = bytearray((city.root / f"offices/{office}.key").read_bytes())
        found = load_protected_signer(key, PASSPHRASE, place=office)
        bundle = add_signature(bundle, key=found.public_key, sign=found.sign)
    (city.unit / "policy.bundle").write_bytes(encode_bundle(bundle))
