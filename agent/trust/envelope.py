"""Sealing to the city's key and opening with it: HPKE single-shot (RFC 9180), P-256, AES-256-GCM.

Each seal draws a fresh ephemeral key inside the library: no nonce, counter or data key is kept.
"""

from typing import Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from agent.base.errors import CredentialError, IntegrityError
from agent.trust.frames import SEALED_LIMIT_BYTES, SealedFrame, join_frame
from agent.trust.header import FrameHeader, encode_header
from agent.trust.signatures import PublicKey

SUITE_NAME: Final = "P256-HKDF-SHA256-AES256GCM"
OVERHEAD_BYTES: Final = 81
"""65 of the ephemeral public key, 16 of the tag."""


class Decrypter(Protocol):
    """The city's private key, wherever it lives: a file or a hardware module."""

    @property
    def key_id(self) -> bytes:
        """Names the key in frame headers."""
        ...

    def decrypt(self, sealed: bytes, info: bytes, /) -> bytes:
        """Return the plain text of HPKE `enc || ct`.

        Raises:
            InvalidTag: Other key, other `info` or altered bytes.
        """
        ...


def suite() -> Suite:
    """Return the one suite of this version."""
    return Suite(KEM.P256, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def seal_frame(plaintext: bytes, header: FrameHeader, city_key: PublicKey) -> bytes:
    """Return the bytes of a frame that only the city can open.

    Args:
        plaintext: At most the frame limit less 81 bytes.
        header: Bound to the sealed bytes; names the suite and `city_key`.
        city_key: Recipient.

    Raises:
        IntegrityError: The header names another suite or key, or the plain text is too long.
    """
    if (header.suite, header.key_id) != (SUITE_NAME, city_key.key_id):
        message = "header names another suite or key than the frame is sealed with"
        raise IntegrityError(message)
    if len(plaintext) > SEALED_LIMIT_BYTES - OVERHEAD_BYTES:
        message = f"sealed bytes: found {len(plaintext) + OVERHEAD_BYTES}; "
        message += f"expected 1 to {SEALED_LIMIT_BYTES}"
        raise IntegrityError(message)
    head = encode_header(header)
    return join_frame(head, suite().encrypt(plaintext, city_key.point, head))


def open_sealed(frame: SealedFrame, key: Decrypter) -> bytes:
    """Return the plain text of a frame.

    Raises:
        CredentialError: The frame is sealed to another key or with another suite.
        IntegrityError: It does not open: header or sealed bytes were altered.
    """
    header = frame.header
    if header.suite != SUITE_NAME:
        message = f"frame is sealed with the suite {header.suite!r}; expected {SUITE_NAME}"
        raise CredentialError(message)
    if header.key_id != key.key_id:
        message = (
            f"frame is sealed to the key {header.key_id.hex()}, this is the key "
            f"{key.key_id.hex()}; use the city's key of that time"
        )
        raise CredentialError(message)
    try:
        return key.decrypt(frame.sealed, encode_header(header))
    except InvalidTag as error:
        message = "frame does not open: its header or sealed bytes were altered"
        raise IntegrityError(message) from error
