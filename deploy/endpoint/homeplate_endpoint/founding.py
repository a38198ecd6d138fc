"""Makes what an endpoint needs before it can serve: two CAs, its keys, its settings.

```
units-ca.pem, units-ca.key     issues the units' certificates and nothing else; stays here
server-ca.pem, server-ca.key   issues the server's certificate; the policy names the .pem
server.pem, server.key         the server; the policy pins this key and the spare one
spare.key                      pinned as well, unused: keep it in a safe
receipt.key                    signs receipts
sealing.pub                    the city's PUBLIC sealing key
endpoint.toml, tickets/        settings, and the folder for the tickets of `homeplate unit add`
endpoint.json                  what the policy has to say of this endpoint
```
"""

import ipaddress
import json
import re
from base64 import b64encode
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.base.errors import ConfigError
from agent.base.files import write_whole
from agent.trust.signatures import PublicKey, encode_public_key
from homeplate_endpoint.issuing import SLOW_CLOCK

AUTHORITY_LIFE: Final = timedelta(days=3650)
SERVER_LIFE: Final = timedelta(days=1095)
"""Whoever pins the key gains nothing from a short life; a forgotten renewal stops every unit."""
_LAST_PORT: Final = 65_535
_SERVER_NAME: Final = re.compile(r"(?=.{1,253}$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is to be founded."""

    server_name: str
    addresses: tuple[str, ...]
    """Literal addresses at which units reach it."""
    port: int
    sealing_key: PublicKey


@dataclass(frozen=True, slots=True)
class Authority:
    """A CA and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)


def found_endpoint(folder: Path, plan: Plan, *, now: datetime) -> None:
    """Write everything into a folder that is new or empty.

    Raises:
        ConfigError: The folder has something in it, or the plan is impossible.
        OSError: The disk refuses.
    """
    _require_possible(folder, plan)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    (folder / "tickets").mkdir(mode=0o700)
    units, server = (
        _make_authority(f"{plan.server_name} {of} CA", now) for of in ("units", "server")
    )
    keys = {
        name: ec.generate_private_key(ec.SECP256R1()) for name in ("server", "spare", "receipt")
    }
    certificate = issue_server(
        server,
        keys["server"].public_key(),
        _name_server(plan),
        server_name=plan.server_name,
        now=now,
    )
    secrets = {"units-ca": units.key, "server-ca": server.key, **keys}
    files = {f"{name}.key": _private_pem(key) for name, key in secrets.items()}
    files |= {
        "units-ca.pem": _pem(units.certificate),
        "server-ca.pem": _pem(server.certificate),
        "server.pem": _pem(certificate),
        "sealing.pub": plan.sealing_key.spki,
        "endpoint.json": _policy_part(plan, server, keys),
        "endpoint.toml": _settings(plan),
    }
    for name, content in files.items():
        write_whole(folder / name, content, mode=0o600)


def _require_possible(folder: Path, plan: Plan) -> None:
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        message = f"{folder}: there is something already; expected a new or an empty folder"
        raise ConfigError(message)
    if _SERVER_NAME.fullmatch(plan.server_name) is None:
        message = f"--server-name: found {plan.server_name!r}; expected a name in small letters"
        raise ConfigError(message)
    if not 1 <= plan.port <= _LAST_PORT:
        message = f"--port: found {plan.port}; expected 1 to {_LAST_PORT}"
        raise ConfigError(message)
    for address in plan.addresses:
        try:
            ipaddress.ip_address(address)
        except ValueError as error:
            message = f"--address: {error}; expected a literal address, units resolve no names"
            raise ConfigError(message) from error


def _policy_part(
    plan: Plan, server: Authority, keys: dict[str, ec.EllipticCurvePrivateKey]
) -> bytes:
    """Return the fields `endpoint` and `receipt_keys` of the policy."""
    pins = [_pin(keys[name]) for name in ("server", "spare")]
    endpoint = {
        "addresses": list(plan.addresses),
        "port": plan.port,
        "server_name": plan.server_name,
        "ca_pem": _pem(server.certificate).decode(),
        "spki_pins": pins,
    }
    receipt = b64encode(encode_public_key(keys["receipt"].public_key())).decode()
    found = {"endpoint": endpoint, "receipt_keys": [receipt]}
    return json.dumps(found, indent=2).encode() + b"\n"


def _settings(plan: Plan) -> bytes:
    lines = (
        f'listen = "{plan.addresses[0]}"',
        f"port = {plan.port}",
        'storage = "storage"',
        'units = "units.sqlite"',
        'receipt_key = "receipt.key"',
        'sealing_key = "sealing.pub"',
        "",
        "[tls]",
        'certificate = "server.pem"',
        'key = "server.key"',
        'client_ca = "units-ca.pem"',
        "",
        "[enrolment]",
        'issuing_key = "units-ca.key"',
        'tickets = "tickets"',
        "",
    )
    return "\n".join(lines).encode()


def _make_authority(name: str, now: datetime) -> Authority:
    key = ec.generate_private_key(ec.SECP256R1())
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    limits = x509.BasicConstraints(ca=True, path_length=0)
    builder = _builder(name, name, key.public_key(), now, AUTHORITY_LIFE).add_extension(
        limits, critical=True
    )
    builder = builder.add_extension(usage, critical=True)
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(identifier, critical=False)
    return Authority(builder.sign(key, hashes.SHA256()), key)


def issue_server(
    authority: Authority,
    key: ec.EllipticCurvePublicKey,
    names: x509.SubjectAlternativeName,
    *,
    server_name: str,
    now: datetime,
) -> x509.Certificate:
    """Return a server certificate for `key`: TLS servers only, no CA."""
    issuer = authority.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value
    builder = _builder(server_name, str(issuer), key, now, SERVER_LIFE)
    for extension, critical in (
        (x509.BasicConstraints(ca=False, path_length=None), True),
        (names, False),
        (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), False),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(authority.key.public_key()), False),
    ):
        builder = builder.add_extension(extension, critical=critical)
    return builder.sign(authority.key, hashes.SHA256())


def _name_server(plan: Plan) -> x509.SubjectAlternativeName:
    return x509.SubjectAlternativeName(
        [
            x509.DNSName(plan.server_name),
            *(x509.IPAddress(ipaddress.ip_address(address)) for address in plan.addresses),
        ]
    )


def _builder(
    name: str, issuer: str, key: ec.EllipticCurvePublicKey, now: datetime, life: timedelta
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]),
        issuer_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]),
        public_key=key,
        serial_number=x509.random_serial_number(),
        not_valid_before=now - SLOW_CLOCK,
        not_valid_after=now + life,
    )


def _pin(key: ec.EllipticCurvePrivateKey) -> str:
    return b64encode(sha256(encode_public_key(key.public_key())).digest()).decode()


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
