"""Certificates of every kind for tests with real TLS, good and bad."""

from base64 import b64encode
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SERVER_NAME = "reads.city.example"
DAY = timedelta(days=1)
MONTH = (-DAY, 30 * DAY)
LAST_YEAR = (-400 * DAY, -30 * DAY)
"""Validity from now."""


@dataclass(frozen=True, slots=True)
class Identity:
    """A certificate and its key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> str:
        """The certificate."""
        return self.certificate.public_bytes(serialization.Encoding.PEM).decode()

    @property
    def key_pem(self) -> bytes:
        """The key, unprotected."""
        return self.key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )

    @property
    def pin(self) -> str:
        """Base64 of the SHA-256 of the public key."""
        spki = self.key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        return b64encode(sha256(spki).digest()).decode()

    def write(self, folder: Path, name: str) -> tuple[Path, Path]:
        """Write certificate and key into files and return their paths."""
        certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
        certificate.write_text(self.pem)
        key.write_bytes(self.key_pem)
        return certificate, key


def make_authority(name: str = "City CA") -> Identity:
    """Return a new CA."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name)
    builder = _builder(subject, subject, key.public_key(), MONTH, authority=True)
    return Identity(builder.sign(key, hashes.SHA256()), key)


def issue(
    authority: Identity | None,
    common_name: str,
    *,
    server_name: str = "",
    valid: tuple[timedelta, timedelta] = MONTH,
) -> Identity:
    """Return a new identity; without an authority it signs itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(common_name)
    issuer = authority.certificate.subject if authority else subject
    builder = _builder(subject, issuer, key.public_key(), valid, authority=False)
    if server_name:
        names = x509.SubjectAlternativeName([x509.DNSName(server_name)])
        builder = builder.add_extension(names, critical=False)
    return Identity(builder.sign(authority.key if authority else key, hashes.SHA256()), key)


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate for a key that somebody else holds."""

    certificate: x509.Certificate

    @property
    def pem(self) -> bytes:
        """As in a file."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def der(self) -> bytes:
        """As on the wire."""
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def serial(self) -> int:
        """Its number."""
        return self.certificate.serial_number


def issue_for(
    authority: Identity,
    common_name: str,
    key: ec.EllipticCurvePublicKey,
    *,
    valid: tuple[timedelta, timedelta] = MONTH,
) -> Issued:
    """Return a certificate for a public key."""
    subject = _subject(common_name)
    builder = _builder(subject, authority.certificate.subject, key, valid, authority=False)
    return Issued(builder.sign(authority.key, hashes.SHA256()))


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    valid: tuple[timedelta, timedelta],
    *,
    authority: bool,
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    limits = x509.BasicConstraints(ca=authority, path_length=0 if authority else None)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + valid[0])
        .not_valid_after(now + valid[1])
        .add_extension(limits, critical=True)
    )
