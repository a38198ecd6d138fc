"""How a unit becomes one of the city's and stays it (formats.md, chapter 11).

Enrolment: a one-time token, a certificate request and the unit's two log keys, each with a proof
that its private half is there. Renewal: a certificate request by the key that was enrolled.
"""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Final, TypeVar

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec import Meta

from agent.base.errors import CredentialError, IntegrityError
from agent.trust.cbor import decode_cbor_list, encode_cbor
from agent.trust.signatures import (
    PublicKey,
    describe_key,
    encode_public_key,
    load_public_key,
    verify_signature,
)

VERSION: Final = 1
TOKEN_BYTES: Final = 32
MESSAGE_LIMIT_BYTES: Final = 16_384
ENROLL_PATH: Final = "/v1/enroll"
RENEW_PATH: Final = "/v1/renew"
UNIT_NAME: Final = r"^[a-z0-9][a-z0-9-]{0,62}$"
UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    InvalidSignature,
    x509.InvalidVersion,  # these three are plain exceptions of the library
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What the library raises over a request or certificate that is damaged or hostile."""
_CSR_LIMIT: Final = 2_048
_CERTIFICATE_LIMIT: Final = 8_192

Version = Annotated[int, Meta(ge=VERSION, le=VERSION)]
UnitName = Annotated[str, Meta(pattern=UNIT_NAME)]
Csr = Annotated[bytes, Meta(min_length=1, max_length=_CSR_LIMIT)]
Spki = Annotated[bytes, Meta(min_length=1, max_length=512)]
Signature = Annotated[bytes, Meta(min_length=1, max_length=128)]
Message = TypeVar("Message", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The public halves of the three keys that a unit makes for itself."""

    tls: PublicKey
    watch: PublicKey
    send: PublicKey

    @property
    def sha256(self) -> bytes:
        """One hash for all three: the same keys, the same enrolment."""
        return hashlib.sha256(
            encode_cbor([self.tls.spki, self.watch.spki, self.send.spki])
        ).digest()


class Enrolment(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The request, its fields in the order of their keys."""

    version: Version = VERSION
    unit: UnitName
    token: Annotated[bytes, Meta(min_length=TOKEN_BYTES, max_length=TOKEN_BYTES)]
    csr: Csr
    watch_key: Spki
    send_key: Spki
    watch_proof: Signature
    send_proof: Signature

    def __repr__(self) -> str:
        return f"Enrolment({self.unit})"  # the token is a secret


class Renewal(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The request; its CSR is by the key that was enrolled, which is the proof."""

    version: Version = VERSION
    unit: UnitName
    csr: Csr


class Issued(msgspec.Struct, frozen=True, kw_only=True, array_like=True):
    """The answer to both."""

    version: Version = VERSION
    certificate: Annotated[bytes, Meta(min_length=1, max_length=_CERTIFICATE_LIMIT)]
    """DER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """A unit's client certificate, read."""

    pem: bytes = field(repr=False)
    unit: str
    key: PublicKey
    not_before_s: int
    not_after_s: int
    """Seconds since 1970."""

    @property
    def ends(self) -> datetime:
        """When it ends."""
        return datetime.fromtimestamp(self.not_after_s, UTC)


def statement(unit: str, token: bytes, keys: Keys) -> bytes:
    """Return what both log keys sign when a unit enrols: it fits this enrolment alone."""
    token_sha256 = hashlib.sha256(token).digest()
    spkis = [keys.tls.spki, keys.watch.spki, keys.send.spki]
    return encode_cbor(["homeplate enrolment", VERSION, unit, token_sha256, *spkis])


def encode_message(message: Enrolment | Renewal | Issued) -> bytes:
    """Return the body of a request or an answer."""
    return encode_cbor(dict(enumerate(msgspec.to_builtins(message, builtin_types=(bytes,)))))


def decode_enrolment(body: bytes) -> Enrolment:
    """Return the enrolment in a request's body; nothing in it is verified yet.

    Raises:
        IntegrityError: Not the bytes that `encode_message` makes of one.
    """
    return _decode(body, Enrolment, "enrolment")


def decode_renewal(body: bytes) -> Renewal:
    """Return the renewal in a request's body; see `decode_enrolment`."""
    return _decode(body, Renewal, "renewal")


def decode_issued(body: bytes) -> Issued:
    """Return the certificate in an answer's body; see `decode_enrolment`."""
    return _decode(body, Issued, "issued certificate")


def verify_enrolment(request: Enrolment) -> Keys:
    """Return the keys of a request whose holder has proved to hold all three.

    Raises:
        IntegrityError: A proof fails, the CSR names another unit, or one key serves twice.
        CredentialError: A key is of another kind.
    """
    keys = Keys(
        tls=verify_csr(request.csr, unit=request.unit),
        watch=load_public_key(request.watch_key, place="watch_key"),
        send=load_public_key(request.send_key, place="send_key"),
    )
    if len({keys.tls.spki, keys.watch.spki, keys.send.spki}) != 3:  # noqa: PLR2004 -- three keys
        message = "one key stands for two of tls, watch and send; expected three keys"
        raise IntegrityError(message)
    said = statement(request.unit, request.token, keys)
    verify_signature(keys.watch, said, request.watch_proof)
    verify_signature(keys.send, said, request.send_proof)
    return keys


def verify_csr(csr: bytes, *, unit: str) -> PublicKey:
    """Return the key of a certificate request (PKCS #10, DER) that its holder signed.

    Raises:
        IntegrityError: It cannot be read, its signature fails, or it asks for anything but a
            certificate with the one common name `unit`.
        CredentialError: Its key is of another kind.
    """
    try:
        request = x509.load_der_x509_csr(csr)
        signed, names = request.is_signature_valid, list(request.subject)
        asked = len(request.extensions) + len(request.attributes)
        spki = _spki(request.public_key())
    except UNREADABLE as error:
        message = "the certificate request cannot be read; expected PKCS #10, DER"
        raise IntegrityError(message) from error
    if not signed:
        message = "the certificate request is not signed by its own key"
        raise IntegrityError(message)
    if [(name.oid, name.value) for name in names] != [(NameOID.COMMON_NAME, unit)] or asked:
        message = f"the certificate request asks for more or other than the name {unit}"
        raise IntegrityError(message)
    return load_public_key(spki, place="certificate request")


def read_certificate(content: bytes, *, place: str) -> Certificate:
    """Return a unit's client certificate, PEM or DER.

    Raises:
        CredentialError: It cannot be read, or has not exactly one name.
    """
    try:
        pem = content.lstrip().startswith(b"-----BEGIN")
        load = x509.load_pem_x509_certificate if pem else x509.load_der_x509_certificate
        found = load(content)
        names = found.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        spki = _spki(found.public_key())
    except UNREADABLE as error:
        message = f"{place}: cannot be read; expected the unit's client certificate, PEM"
        raise CredentialError(message) from error
    if len(names) != 1:
        message = f"{place}: has {len(names)} names; expected one unit's certificate"
        raise CredentialError(message)
    return Certificate(
        pem=found.public_bytes(serialization.Encoding.PEM),
        unit=str(names[0].value),
        key=load_public_key(spki, place=place),
        not_before_s=int(found.not_valid_before_utc.timestamp()),
        not_after_s=int(found.not_valid_after_utc.timestamp()),
    )


def require_issued(certificate: Certificate, *, unit: str, key: PublicKey, place: str) -> None:
    """Make sure that a certificate is this unit's, for the key that it asked with.

    Raises:
        CredentialError: It names another unit or another key.
    """
    if certificate.unit != unit or certificate.key != key:
        own = "another key" if certificate.unit == unit else f"the unit {certificate.unit}"
        message = f"{place}: a certificate for {own}; expected one for {unit} and its key tls.key"
        raise CredentialError(message)


def renewal_due_s(certificate: Certificate) -> int:
    """Return when to ask for the next certificate: after two thirds of this one's life."""
    life_s = certificate.not_after_s - certificate.not_before_s
    return certificate.not_before_s + life_s * 2 // 3


def _decode(body: bytes, kind: type[Message], place: str) -> Message:
    values = decode_cbor_list(body, place=place)
    if len(values) != len(kind.__struct_fields__):
        message = f"{place}: found {len(values)} fields; see deploy/docs/formats.md, chapter 11"
        raise IntegrityError(message)
    try:
        return msgspec.convert(values, kind, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        message = f"{place}: {error}; see deploy/docs/formats.md, chapter 11"
        raise IntegrityError(message) from error


def _spki(key: object) -> bytes:
    if not isinstance(key, ec.EllipticCurvePublicKey):
        message = f"found {describe_key(key)}; expected a key on P-256"
        raise CredentialError(message)
    return encode_public_key(key)
