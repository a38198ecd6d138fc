"""What the city decides for its units: endpoint, keys, mode, retention, quota, purposes, law.

The object alone; `bundle` opens the signed form that it travels in (formats.md, chapter 4). There
is one city and one endpoint: the form has no place for a second.
"""

import base64
import binascii
import ipaddress
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final, Literal

import msgspec
from cryptography import x509
from msgspec import Meta

from agent.base.errors import ConfigError, CredentialError
from agent.base.forms import explain_misfit
from agent.base.lanes import Lane
from agent.base.texts import find_hidden, show
from agent.trust.hotlist import ENTRIES_LIMIT
from agent.trust.roles import refuse_doubles
from agent.trust.signatures import PublicKey, load_public_key
from agent.trust.terms import PURPOSES, Legal, blank_fields

POLICY_LIMIT_BYTES: Final = 262_144
RETENTION_S: Final = {
    "nh-3min": 180,  # New Hampshire RSA 261:75-b: three minutes for a read that is no hit
    "24h": 86_400,
    "7d": 604_800,
    "21d": 1_814_400,
    "30d": 2_592_000,
    "60d": 5_184_000,
}
HOTLIST_ENTRIES: Final = 10_000
"""Where a policy does not say how many entries a hotlist may have."""

BLANK_LEGAL: Final = "$.legal: blank"
"""How the message about a blank legal field begins."""
_CA_LIMIT: Final = 8
_SHA256_BYTES: Final = 32

UnitName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9-]{0,62}$")]
Preset = Literal["nh-3min", "24h", "7d", "21d", "30d", "60d"]
Instant = Annotated[datetime, Meta(tz=True)]
QuotaBytes = Annotated[int, Meta(ge=65_536, le=2**40)]
Text = Annotated[str, Meta(min_length=1, max_length=256)]
Texts = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=4)]
Pins = Annotated[tuple[Text, ...], Meta(min_length=2, max_length=4)]
Name = Annotated[str, Meta(pattern=r"^(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]


class Endpoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The one place to which sealed frames go."""

    addresses: Texts
    """Literal IP addresses, tried in order; the unit resolves no names."""
    port: Annotated[int, Meta(ge=1, le=65_535)]
    server_name: Name
    ca_pem: Annotated[str, Meta(min_length=1, max_length=65_536)]
    spki_pins: Pins
    """Base64 of the SHA-256 of the server's SubjectPublicKeyInfo: of the key in use and a spare."""


class Sealing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """To whom reads are sealed."""

    suite: Literal["P256-HKDF-SHA256-AES256GCM"]
    public_key: Annotated[str, Meta(min_length=1, max_length=1024)]
    """Base64 of the city's public key."""


class Retention(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Longest life of a read on the unit, by lane."""

    hits: Preset
    reads: Preset
    crops: Preset


class Quota(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Room on the disk, by lane."""

    hits_bytes: QuotaBytes
    reads_bytes: QuotaBytes
    crops_bytes: QuotaBytes


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A city's policy for its units."""

    version: Annotated[int, Meta(ge=1)]
    city: Annotated[str, Meta(min_length=1, max_length=100)]
    issued_at: Instant
    expires_at: Instant
    endpoint: Endpoint
    sealing: Sealing
    receipt_keys: Annotated[
        tuple[Annotated[str, Meta(max_length=1024)], ...], Meta(min_length=1, max_length=4)
    ]
    """Base64 of the public keys that may sign receipts."""
    mode: Literal["all", "hits-only"]
    crops: Literal["none", "hits", "all"]
    purposes: Annotated[tuple[Text, ...], Meta(min_length=1, max_length=32)]
    """All that hotlist entries may be for: codes of `PURPOSES`."""
    hotlist_entries: Annotated[int, Meta(ge=1, le=ENTRIES_LIMIT)] = HOTLIST_ENTRIES
    """Most entries a hotlist may have: who signs lists cannot list every car of a town."""
    min_hit_confidence: Annotated[float, Meta(ge=0, le=1)]
    """Lowest confidence of a hit's weakest character."""
    min_hit_frames: Annotated[int, Meta(ge=1, le=100)]
    retention: Retention
    quota: Quota
    units: Annotated[tuple[UnitName, ...], Meta(max_length=4096)] = ()
    """Units that the policy is for; none named = all of the city."""
    dhcp: bool = True
    """Whether units may ask the network that they stand in for an address."""
    time_servers: Annotated[tuple[Text, ...], Meta(max_length=4)] = ()
    """Literal IP addresses that units may ask for the time (NTP); none = nobody."""
    legal: Legal


def parse_policy(content: bytes, *, place: str) -> Policy:
    """Read and check a policy; what comes back can be used without further checks, but for time.

    Args:
        content: The file's bytes.
        place: Its name, for messages.

    Raises:
        ConfigError: Not JSON, an unknown, missing or doubled field, a wrong type or value; the
            message names the path within the file.
    """
    if len(content) > POLICY_LIMIT_BYTES:
        message = f"{place}: larger than {POLICY_LIMIT_BYTES} bytes; expected a policy"
        raise ConfigError(message)
    try:
        policy = msgspec.json.decode(content, type=Policy)
        _check_texts(json.loads(content, object_pairs_hook=refuse_doubles))
        _check_policy(policy)
    except (msgspec.MsgspecError, ValueError, RecursionError, CredentialError) as error:
        message = f"{place}: {show(explain_misfit(error, Policy))}"
        raise ConfigError(message) from error
    return policy


def city_key(policy: Policy) -> PublicKey:
    """Return the key to which reads are sealed."""
    return _load_key(policy.sealing.public_key, "$.sealing.public_key")


def receipt_keys(policy: Policy) -> tuple[PublicKey, ...]:
    """Return the keys that may sign receipts."""
    return tuple(
        _load_key(text, f"$.receipt_keys[{index}]")
        for index, text in enumerate(policy.receipt_keys)
    )


def spki_pins(policy: Policy) -> tuple[bytes, ...]:
    """Return the SHA-256 (32 bytes each) of the server keys that may answer."""
    return tuple(
        _decode_base64(text, f"$.endpoint.spki_pins[{index}]")
        for index, text in enumerate(policy.endpoint.spki_pins)
    )


def quota_bytes(policy: Policy) -> dict[Lane, int]:
    """Return the room on the disk of each lane."""
    quota = policy.quota
    return {
        Lane.HITS: quota.hits_bytes,
        Lane.READS: quota.reads_bytes,
        Lane.CROPS: quota.crops_bytes,
    }


def retention_s(policy: Policy) -> dict[Lane, int]:
    """Return the longest life on the unit of each lane."""
    presets = policy.retention
    return {
        Lane.HITS: RETENTION_S[presets.hits],
        Lane.READS: RETENTION_S[presets.reads],
        Lane.CROPS: RETENTION_S[presets.crops],
    }


def _check_policy(policy: Policy) -> None:
    """Refuse values that the types let pass; ValueError or CredentialError names the path."""
    if policy.issued_at >= policy.expires_at:
        message = "$.expires_at: not after $.issued_at"
        raise ValueError(message)
    for index, address in enumerate(policy.endpoint.addresses):
        _check_address(address, f"$.endpoint.addresses[{index}]")
    for index, address in enumerate(policy.time_servers):
        _check_address(address, f"$.time_servers[{index}]")
    _check_ca(policy.endpoint.ca_pem)
    _check_pins(spki_pins(policy))
    keys = (city_key(policy), *receipt_keys(policy))
    _refuse_repeats(policy.endpoint.addresses, "$.endpoint.addresses")
    _refuse_repeats(policy.endpoint.spki_pins, "$.endpoint.spki_pins")
    _refuse_repeats([key.spki for key in keys], "$.sealing.public_key, $.receipt_keys")
    _refuse_repeats(policy.purposes, "$.purposes")
    _refuse_repeats(policy.units, "$.units")
    _refuse_repeats(policy.time_servers, "$.time_servers")
    _check_terms(policy)


def _check_texts(fields: dict[str, Any]) -> None:
    """Refuse characters that would act on the screen of who reads a policy before signing it."""
    endpoint = fields["endpoint"]  # its certificates are lines, and shown as a hash
    endpoint = endpoint | {"ca_pem": endpoint["ca_pem"].replace("\n", " ")}
    hidden = next(find_hidden(fields | {"endpoint": endpoint}), "")
    if hidden:
        message = f"{hidden}: found a control character; expected plain text on one line"
        raise ValueError(message)


def _check_terms(policy: Policy) -> None:
    for index, code in enumerate(policy.purposes):
        if code not in PURPOSES:
            message = f"$.purposes[{index}]: found {code!r}; expected one of {', '.join(PURPOSES)}"
            raise ValueError(message)
    blank = blank_fields(policy.legal)
    if blank:
        message = f"{BLANK_LEGAL}: {', '.join(blank)}; the law wants all seven in words"
        raise ValueError(message)


def _check_address(text: str, path: str) -> None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        message = f"{path}: found {text!r}; expected a literal IP address, names are not resolved"
        raise ValueError(message) from error
    mapped = address.version == 6 and address.ipv4_mapped is not None  # noqa: PLR2004 -- IPv6
    nowhere = address.is_multicast or address.is_unspecified or text == "255.255.255.255"
    if str(address) != text or "%" in text or mapped or nowhere:
        message = f"{path}: found {text!r}; expected one host's address in its usual spelling"
        raise ValueError(message)


def _check_ca(pem: str) -> None:
    try:
        count = len(x509.load_pem_x509_certificates(pem.encode()))
    except (ValueError, x509.InvalidVersion) as error:
        message = "$.endpoint.ca_pem: cannot be read; expected PEM certificates"
        raise ValueError(message) from error
    if count > _CA_LIMIT:
        message = f"$.endpoint.ca_pem: found {count} certificates; expected 1 to {_CA_LIMIT}"
        raise ValueError(message)


def _check_pins(pins: Sequence[bytes]) -> None:
    for index, pin in enumerate(pins):
        if len(pin) != _SHA256_BYTES:
            message = f"$.endpoint.spki_pins[{index}]: found {len(pin)} bytes; expected a SHA-256"
            raise ValueError(message)


def _load_key(text: str, path: str) -> PublicKey:
    return load_public_key(_decode_base64(text, path), place=path)


def _decode_base64(text: str, path: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        message = f"{path}: not base64; expected the standard alphabet with padding"
        raise ValueError(message) from error
    if base64.b64encode(content).decode() != text:
        message = f"{path}: base64 in an unusual spelling"
        raise ValueError(message)
    return content


def _refuse_repeats(values: Sequence[object], path: str) -> None:
    if len(set(values)) != len(values):
        message = f"{path}: the same value stands here twice"
        raise ValueError(message)
