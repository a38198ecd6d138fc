"""Makes a city and enrols one unit: keys, certificates, policy, settings, endpoint configuration.

What a city does once, by its own people, with its own devices; here in one go and in one folder,
so that the whole road can be tried. The folders show who holds what:

    city/        the city's safe: CA key, key that opens reads     (never on a unit or the endpoint)
    endpoint/    server key, receipt key, the sealed frames        (no key that opens anything)
    unit/        settings, policy, the unit's own keys, its state  (no key that opens anything)
"""

import base64
import hashlib
import ipaddress
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

CITY_NAME = "Exampleton"
SERVER_NAME = "reads.exampleton.example"
UNIT = "unit-0001"
VALID_DAYS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class City:
    """Where the parts of the city lie."""

    root: Path
    opening_key: Path
    """The private key that opens reads: held by the city, by nobody else."""
    endpoint_config: Path
    unit_settings: Path

    @property
    def unit(self) -> Path:
        """All that the unit holds."""
        return self.root / "unit"

    @property
    def endpoint(self) -> Path:
        """All that the endpoint holds."""
        return self.root / "endpoint"


def found_city(root: Path) -> City:
    """Make all keys and certificates, the endpoint's configuration and the unit's credentials.

    The policy comes last, by `publish_policy`, when the endpoint's port is known.
    """
    for folder in ("city", "endpoint", "unit/credentials", "unit/state"):
        (root / folder).mkdir(parents=True, mode=0o700)
    ca_key, ca = _make_authority()
    _write(root / "city/ca.key", _private_pem(ca_key))
    _write(root / "city/opening.key", _private_pem(ec.generate_private_key(ec.SECP256R1())))
    for folder in ("endpoint", "unit/credentials"):
        _write(root / folder / "ca.pem", _certificate_pem(ca))
    _furnish_endpoint(root / "endpoint", ca_key, ca)
    _furnish_unit(root / "unit", ca_key, ca)
    _enrol(root)
    return City(
        root=root,
        opening_key=root / "city/opening.key",
        endpoint_config=root / "endpoint/endpoint.toml",
        unit_settings=root / "unit/unit.toml",
    )


def publish_policy(city: City, *, port: int, mode: str = "all") -> None:
    """Write the city's policy to the unit: one endpoint, one sealing key, retention, quota."""
    now = datetime.now(UTC)
    server_spki = _certificate_spki(city.endpoint / "server.pem")
    policy = {
        "version": 1,
        "city": CITY_NAME,
        "issued_at": now.isoformat(timespec="seconds"),
        "expires_at": (now + timedelta(days=VALID_DAYS)).isoformat(timespec="seconds"),
        "endpoint": {
            "addresses": ["127.0.0.1"],
            "port": port,
            "server_name": SERVER_NAME,
            "ca_pem": (city.endpoint / "ca.pem").read_text(),
            "spki_pins": [base64.b64encode(hashlib.sha256(server_spki).digest()).decode()],
        },
        "sealing": {
            "suite": "P256-HKDF-SHA256-AES256GCM",
            "public_key": _public_key_base64(city.opening_key),
        },
        "receipt_keys": [_public_key_base64(city.endpoint / "receipt.key")],
        "mode": mode,
        "crops": "all",
        "min_hit_confidence": 0.9,
        "min_hit_frames": 2,
        "retention": {"hits": "30d", "reads": "24h", "crops": "24h"},
        "quota": {"hits_bytes": 1 << 28, "reads_bytes": 1 << 28, "crops_bytes": 1 << 28},
    }
    _write(city.unit / "policy.json", json.dumps(policy, indent=2).encode())


def settle_endpoint(city: City, *, port: int) -> None:
    """Write the endpoint's configuration; paths in it are relative to it."""
    lines = [
        f"port = {port}",
        'storage = "storage"',
        'sealing_key = "sealing.der"',
        'receipt_key = "receipt.key"',
        "[tls]",
        'certificate = "server.pem"',
        'key = "server.key"',
        'client_ca = "ca.pem"',
        "[[units]]",
        f'name = "{UNIT}"',
        f'watch_key = "{UNIT}.watch.der"',
    ]
    _write(city.endpoint_config, "\n".join([*lines, ""]).encode())


def settle_unit(city: City, *, source: Path, realtime: bool) -> None:
    """Write the unit's settings: which camera, and where its folders are."""
    unit = city.unit
    lines = [
        f'unit = "{UNIT}"',
        f"state_directory = {json.dumps(str(unit / 'state'))}",
        f"policy = {json.dumps(str(unit / 'policy.json'))}",
        f"credentials = {json.dumps(str(unit / 'credentials'))}",
        "[camera]",
        f"source = {json.dumps(str(source))}",
        f"realtime = {'true' if realtime else 'false'}",
        "[uplink]",
        "poll_interval_s = 0.2",
        "batch_interval_s = 0",
    ]
    _write(city.unit_settings, "\n".join([*lines, ""]).encode())


def _furnish_endpoint(
    folder: Path, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names: list[x509.GeneralName] = [
        x509.DNSName(SERVER_NAME),
        x509.IPAddress(ipaddress.IPv4Address("127.0.0.1")),
    ]
    certificate = _issue(
        ca_key, ca, key, SERVER_NAME, names=names, use=ExtendedKeyUsageOID.SERVER_AUTH
    )
    _write(folder / "server.key", _private_pem(key))
    _write(folder / "server.pem", _certificate_pem(certificate))
    _write(folder / "receipt.key", _private_pem(ec.generate_private_key(ec.SECP256R1())))


def _furnish_unit(folder: Path, ca_key: ec.EllipticCurvePrivateKey, ca: x509.Certificate) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    certificate = _issue(
        ca_key, ca, key, UNIT, names=[x509.DNSName(UNIT)], use=ExtendedKeyUsageOID.CLIENT_AUTH
    )
    _write(folder / "credentials/tls.key", _private_pem(key))
    _write(folder / "credentials/tls.crt", _certificate_pem(certificate))
    for name in ("watch.key", "send.key"):
        _write(folder / "credentials" / name, _private_pem(ec.generate_private_key(ec.SECP256R1())))


def _make_authority() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"City of {CITY_NAME} CA")])
    usage = x509.KeyUsage(
        digital_signature=False, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, key_cert_sign=True, crl_sign=True,
        encipher_only=False, decipher_only=False,
    )  # fmt: skip
    builder = _certificate(name, name, key, x509.BasicConstraints(ca=True, path_length=0))
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = builder.add_extension(usage, critical=True).add_extension(identifier, critical=False)
    return key, builder.sign(key, hashes.SHA256())


def _issue(
    ca_key: ec.EllipticCurvePrivateKey,
    ca: x509.Certificate,
    key: ec.EllipticCurvePrivateKey,
    common_name: str,
    *,
    names: list[x509.GeneralName],
    use: x509.ObjectIdentifier,
) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    limits = x509.BasicConstraints(ca=False, path_length=None)
    issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key())
    builder = _certificate(subject, ca.subject, key, limits)
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    builder = builder.add_extension(x509.ExtendedKeyUsage([use]), critical=False)
    return builder.add_extension(issuer, critical=False).sign(ca_key, hashes.SHA256())


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePrivateKey,
    limits: x509.BasicConstraints,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer)
    builder = builder.public_key(key.public_key()).serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1))
    builder = builder.not_valid_after(now + timedelta(days=VALID_DAYS))
    return builder.add_extension(limits, critical=True)


def _private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def _certificate_pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _certificate_spki(path: Path) -> bytes:
    certificate = x509.load_pem_x509_certificate(path.read_bytes())
    return _spki(certificate.public_key())


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        message = "expected an elliptic curve key"
        raise TypeError(message)
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _public_key_base64(private_path: Path) -> str:
    return base64.b64encode(_public_spki(private_path)).decode()


def _public_spki(private_path: Path) -> bytes:
    key = serialization.load_pem_private_key(private_path.read_bytes(), password=None)
    return _spki(key.public_key())


def _write(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o600)


def _enrol(root: Path) -> None:
    """Take down the unit's log keys; give the endpoint one, and the sealing key to keep out."""
    _write(root / "endpoint/sealing.der", _public_spki(root / "city/opening.key"))
    for name in ("watch", "send"):
        spki = _public_spki(root / "unit/credentials" / f"{name}.key")
        _write(root / "city" / f"{UNIT}.{name}.der", spki)
    watch_key = (root / "city" / f"{UNIT}.watch.der").read_bytes()
    _write(root / "endpoint" / f"{UNIT}.watch.der", watch_key)
