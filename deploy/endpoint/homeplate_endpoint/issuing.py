"""The CA of the units: issues a client certificate for a key and a name, and nothing else."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.base.errors import CredentialError
from agent.base.files import read_bounded, read_secret
from agent.base.memory import wipe
from agent.trust.signatures import PublicKey

SLOW_CLOCK = timedelta(minutes=5)
"""A certificate is valid from a little before: the machine that checks it may be behind."""
_FILE_LIMIT_BYTES = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class Issuer:
    """The units' CA, its key, and how long what it issues is good for."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey = field(repr=False)
    life: timedelta

    def issue(self, unit: str, key: PublicKey, *, now: datetime) -> x509.Certificate:
        """Return a client certificate for `unit`: TLS clients only, no CA."""
        usage = x509.KeyUsage(
            digital_signature=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, key_cert_sign=False, crl_sign=False,
            encipher_only=False, decipher_only=False,
        )  # fmt: skip
        ca_key = self.key.public_key()
        builder = x509.CertificateBuilder(
            issuer_name=self.certificate.subject,
            subject_name=x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, unit)]),
            public_key=key.point,
            serial_number=x509.random_serial_number(),
            not_valid_before=now - SLOW_CLOCK,
            not_valid_after=now + self.life,
        )
        for extension, critical in (
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (usage, True),
            (x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), False),
            (x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key), False),
        ):
            builder = builder.add_extension(extension, critical=critical)
        return builder.sign(self.key, hashes.SHA256())


def load_issuer(certificate: Path, key: Path, *, life: timedelta) -> Issuer:
    """Return the units' CA from its PEM files.

    Raises:
        ConfigError: A file is missing.
        CredentialError: A file holds something else, or the two do not fit together.
    """
    authority = load_certificate(certificate)
    private = load_key(key)
    if authority.public_key() != private.public_key():
        message = f"{certificate}, {key}: do not fit together; expected the units' CA and its key"
        raise CredentialError(message)
    return Issuer(certificate=authority, key=private, life=life)


def load_certificate(path: Path) -> x509.Certificate:
    """Return the certificate in a PEM file.

    Raises:
        ConfigError: The file is missing.
        CredentialError: It holds something else.
    """
    try:
        return x509.load_pem_x509_certificate(read_bounded(path, limit_bytes=_FILE_LIMIT_BYTES))
    except ValueError as error:
        message = f"{path}: cannot be read; expected a certificate, PEM"
        raise CredentialError(message) from error


def load_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Return the private key in a PEM file, as the library has it: for certificates.

    Raises:
        ConfigError: The file is missing.
        CredentialError: It holds something else.
    """
    content = read_secret(path, limit_bytes=_FILE_LIMIT_BYTES)
    try:
        key = serialization.load_pem_private_key(content, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{path}: cannot be read; expected a private key, PEM, no password"
        raise CredentialError(message) from error
    finally:
        wipe(content)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        message = f"{path}: expected an elliptic curve key"
        raise CredentialError(message)
    return key
