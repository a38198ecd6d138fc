"""Private keys: the only module that holds them. Keys hide themselves from reprs.

Python cannot promise that a secret is gone from memory. What can be done is: a key file is read
into a buffer that is wiped here, and no key becomes bytes or text of Python's, but for the moment
in which a new one is written to its file. The library keeps the key itself, and leaves behind what
its own PEM parser copied.
"""

import re
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.base.errors import CredentialError
from agent.base.memory import wipe
from agent.trust.envelope import suite
from agent.trust.signatures import PublicKey, describe_key, encode_public_key

_LABEL: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]{1,40})-----")
_PROTECTED: Final = "a private key under a password"
_EXPECTED: Final = "expected a PEM private key on P-256, PKCS #8, without a password"


class Signer:
    """Signs with ECDSA P-256 and SHA-256: a unit's logs, the city's receipts."""

    __slots__ = ("_key", "public_key")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key: Final = _public_half(key)

    def __repr__(self) -> str:
        return f"Signer({self.key_id.hex()})"

    @property
    def public_spki(self) -> bytes:
        """The public half as DER SubjectPublicKeyInfo."""
        return self.public_key.spki

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of the SHA-256 of the public half."""
        return self.public_key.key_id

    def sign(self, message: bytes) -> bytes:
        """Return the DER signature over `message`."""
        return self._key.sign(message, ec.ECDSA(hashes.SHA256()))


class Opener:
    """Opens what was sealed to the city. Never on a unit, never on the endpoint."""

    __slots__ = ("_key", "public_key")

    def __init__(self, key: ec.EllipticCurvePrivateKey) -> None:
        self._key = key
        self.public_key: Final = _public_half(key)

    def __repr__(self) -> str:
        return f"Opener({self.key_id.hex()})"

    @property
    def public_spki(self) -> bytes:
        """The public half as DER SubjectPublicKeyInfo: what the policy names."""
        return self.public_key.spki

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of the SHA-256 of the public half."""
        return self.public_key.key_id

    def decrypt(self, sealed: bytes, info: bytes, /) -> bytes:
        """Return the plain text of HPKE `enc || ct`.

        Raises:
            InvalidTag: Other key, other `info` or altered bytes.
        """
        return suite().decrypt(sealed, self._key, info)


def generate_signer() -> Signer:
    """Draw a new signing key."""
    return Signer(ec.generate_private_key(ec.SECP256R1()))


def generate_opener() -> Opener:
    """Draw a new opening key for a city."""
    return Opener(ec.generate_private_key(ec.SECP256R1()))


def load_signer(pem: bytearray, *, place: str) -> Signer:
    """Return the signing key in a PEM file; `pem` is wiped, whatever comes of it.

    Raises:
        CredentialError: Something else, on another curve or under a password.
    """
    return Signer(_load(pem, place))


def load_opener(pem: bytearray, *, place: str) -> Opener:
    """Return the city's opening key in a PEM file; `pem` is wiped, whatever comes of it.

    Raises:
        CredentialError: Something else, on another curve or under a password.
    """
    return Opener(_load(pem, place))


def is_protected(pem: bytearray) -> bool:
    """Tell whether a PEM file is a private key under a passphrase."""
    return _describe_file(pem) == _PROTECTED


def load_protected_signer(pem: bytearray, passphrase: str, *, place: str) -> Signer:
    """Return the signing key in a PEM file under a passphrase; `pem` is wiped.

    Raises:
        CredentialError: Another passphrase, no passphrase on it, or something else in the file.
    """
    try:
        key = serialization.load_pem_private_key(pem, password=passphrase.encode())
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        found = _describe_file(pem)
        wrong = found == _PROTECTED and isinstance(error, ValueError)
        expected = "expected a P-256 key, PKCS #8, under its passphrase"
        message = f"{place}: " + ("wrong passphrase" if wrong else f"found {found}; {expected}")
        raise CredentialError(message) from error
    finally:
        wipe(pem)
    return Signer(_require_p256(key, place))


def encode_protected_key(signer: Signer, passphrase: str) -> bytes:
    """Return the key as PEM under a passphrase (PKCS #8, PBES2 with AES-256)."""
    return signer._key.private_bytes(  # noqa: SLF001 -- as below
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(passphrase.encode()),
    )


def encode_private_key(key: Signer | Opener) -> bytes:
    """Return the key as PEM, unprotected: for provisioning, into a file of mode 0600.

    The library gives bytes that nobody can wipe: only for a process that ends soon.
    """
    return key._key.private_bytes(  # noqa: SLF001 -- this module is where private keys live
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


def sign_csr(signer: Signer, unit: str) -> bytes:
    """Return a certificate request (PKCS #10, DER) for the name `unit` and the signer's key."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, unit)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(subject)
    request = builder.sign(signer._key, hashes.SHA256())  # noqa: SLF001 -- as above
    return request.public_bytes(serialization.Encoding.DER)


def _load(pem: bytearray, place: str) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{place}: found {_describe_file(pem)}; {_EXPECTED}"
        raise CredentialError(message) from error
    finally:
        wipe(pem)
    return _require_p256(key, place)


def _require_p256(key: object, place: str) -> ec.EllipticCurvePrivateKey:
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        message = f"{place}: found {describe_key(key)}; {_EXPECTED}"
        raise CredentialError(message)
    return key


def _describe_file(pem: bytearray) -> str:
    label = _LABEL.search(pem)
    if label is None:
        return f"{len(pem)} bytes that are not PEM"
    kind = label[1].decode()
    if kind == "ENCRYPTED PRIVATE KEY" or b"ENCRYPTED" in pem[:1024]:
        return _PROTECTED
    return f"PEM of the kind {kind} that cannot be read as a private key"


def _public_half(key: ec.EllipticCurvePrivateKey) -> PublicKey:
    public = key.public_key()
    return PublicKey(encode_public_key(public), public)
