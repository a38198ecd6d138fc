"""Public keys and what they verify: P-256 and ECDSA with SHA-256, nothing else."""

import hashlib
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.base.errors import CredentialError, IntegrityError

KEY_ID_BYTES: Final = 8


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A P-256 public key, of the city or of a unit."""

    spki: bytes
    """DER SubjectPublicKeyInfo, uncompressed point: 91 bytes."""
    point: ec.EllipticCurvePublicKey = field(repr=False, compare=False)

    @property
    def sha256(self) -> bytes:
        """SHA-256 of the SPKI: what pins and longer key ids are made of."""
        return hashlib.sha256(self.spki).digest()

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of the SHA-256: names the key in frames and receipts."""
        return self.sha256[:KEY_ID_BYTES]


def load_public_key(spki: bytes, *, place: str) -> PublicKey:
    """Return the public key in a DER SubjectPublicKeyInfo.

    Args:
        spki: Exactly the key's bytes.
        place: Where it was found, for the message.

    Raises:
        CredentialError: No key, another kind of key or another spelling of the same key.
    """
    try:
        key = serialization.load_der_public_key(spki)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{place}: found {len(spki)} bytes that are no DER public key; {_EXPECTED}"
        raise CredentialError(message) from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        message = f"{place}: found {describe_key(key)}; {_EXPECTED}"
        raise CredentialError(message)
    if encode_public_key(key) != spki:
        message = f"{place}: found a P-256 key in an unusual encoding; {_EXPECTED}"
        raise CredentialError(message)
    return PublicKey(spki, key)


def load_public_file(content: bytes, *, place: str) -> PublicKey:
    """Return the public key in a file, DER or PEM.

    Raises:
        CredentialError: Something else is in it.
    """
    if b"PRIVATE KEY-----" in content[:128]:
        message = f"{place}: found a private key; name its public half, the .pub file beside it"
        raise CredentialError(message)
    if not content.startswith(b"-----BEGIN PUBLIC KEY-----"):
        return load_public_key(content, place=place)
    try:
        key = serialization.load_pem_public_key(content)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        message = f"{place}: found PEM that cannot be read as a public key; {_EXPECTED}"
        raise CredentialError(message) from error
    spki = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return load_public_key(spki, place=place)


def encode_public_key(key: ec.EllipticCurvePublicKey) -> bytes:
    """Return the key's DER SubjectPublicKeyInfo with an uncompressed point."""
    return key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def verify_signature(key: PublicKey, message: bytes, signature: bytes) -> bytes:
    """Return `message` when `signature` (ECDSA P-256 SHA-256, DER) over it is by `key`.

    Raises:
        IntegrityError: It is not.
    """
    try:
        key.point.verify(signature, message, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        text = f"signature does not verify under the key {key.key_id.hex()}"
        raise IntegrityError(text) from error
    return message


def describe_key(key: object) -> str:
    """Return what kind of key it is, for messages: never the key itself."""
    curve = getattr(key, "curve", None)
    size = getattr(key, "key_size", None)
    kind = type(key).__name__.removesuffix("PublicKey").removesuffix("PrivateKey")
    if curve is not None:
        return f"a key on the curve {curve.name}"
    return f"a key of the kind {kind}" + (f" with {size} bits" if size else "")


_EXPECTED: Final = "expected a P-256 public key as SubjectPublicKeyInfo"
