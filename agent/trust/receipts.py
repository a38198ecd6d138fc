"""Receipts: the city's signature for frames that it has stored. Only they allow deletion."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.trust.cbor import decode_cbor, encode_cbor
from agent.trust.signatures import PublicKey, verify_signature

VERSION: Final = 1
FRAMES_LIMIT: Final = 256
RECEIPT_LIMIT_BYTES: Final = 16_384
_DOMAIN: Final = b"homeplate receipt v1\n"
"""Signed before the payload, so that no signature made for anything else is a receipt."""

Hash = Annotated[bytes, Meta(min_length=32, max_length=32)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class ReceiptSigner(Protocol):
    """Holds the city's receipt key."""

    @property
    def key_id(self) -> bytes:
        """The first 8 bytes of the SHA-256 of the public half."""
        ...

    def sign(self, message: bytes, /) -> bytes:
        """Return the DER signature over `message`."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the city signs."""

    unit: str
    frames: tuple[bytes, ...]
    """Frame hashes in the order of the upload."""
    log_size: int
    """Of the watcher's log, as the city last saw it."""
    log_root: bytes
    time_ms: int
    """The city's clock."""


class _Payload(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The receipt's fields in the order of their keys."""

    version: Annotated[int, Meta(ge=VERSION, le=VERSION)]
    unit: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    frames: Annotated[tuple[Hash, ...], Meta(min_length=1, max_length=FRAMES_LIMIT)]
    log_size: Count
    log_root: Hash
    time_ms: Count


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The receipt on the wire."""

    payload: bytes
    key_id: Annotated[bytes, Meta(min_length=8, max_length=8)]
    signature: bytes


def sign_receipt(signer: ReceiptSigner, receipt: Receipt) -> bytes:
    """Return the signed receipt."""
    frames = list(receipt.frames)
    payload = encode_cbor(
        {
            0: VERSION,
            1: receipt.unit,
            2: frames,
            3: receipt.log_size,
            4: receipt.log_root,
            5: receipt.time_ms,
        }
    )
    return encode_cbor([payload, signer.key_id, signer.sign(_DOMAIN + payload)])


def open_receipt(signed: bytes, keys: Iterable[PublicKey]) -> Receipt:
    """Return the receipt that one of the city's `keys` signed.

    Raises:
        IntegrityError: Malformed, or not signed by one of the keys.
    """
    wire = _parse_signed(signed)
    wanted = [key for key in keys if key.key_id == wire.key_id]
    if not wanted:
        message = f"receipt: signed by the key {wire.key_id.hex()}, which the policy does not name"
        raise IntegrityError(message)
    verify_signature(wanted[0], _DOMAIN + wire.payload, wire.signature)
    return _parse_payload(wire.payload)


def peek_receipt(signed: bytes) -> Receipt:
    """Return what a receipt says, signature unverified: for receipts verified before.

    Raises:
        IntegrityError: Malformed.
    """
    return _parse_payload(_parse_signed(signed).payload)


def require_receipt_for(receipt: Receipt, *, unit: str, frames: tuple[bytes, ...]) -> Receipt:
    """Return the receipt when it is for exactly these frame hashes of this unit.

    Raises:
        IntegrityError: It is for others; none of them may be deleted.
    """
    if receipt.unit != unit:
        message = f"receipt: for the unit {receipt.unit}; expected {unit}"
        raise IntegrityError(message)
    if receipt.frames != frames:
        message = f"receipt: for other frames than the {len(frames)} that were sent"
        raise IntegrityError(message)
    return receipt


def _parse_signed(signed: bytes) -> _Signed:
    if len(signed) > RECEIPT_LIMIT_BYTES:
        message = f"receipt: {len(signed)} bytes; expected at most {RECEIPT_LIMIT_BYTES}"
        raise IntegrityError(message)
    try:
        return msgspec.convert(decode_cbor(signed), _Signed, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        message = f"receipt: {error}; expected [payload, key id, signature]"
        raise IntegrityError(message) from error


def _parse_payload(content: bytes) -> Receipt:
    found = decode_cbor(content)
    if not isinstance(found, dict) or list(found) != list(range(6)):
        message = "receipt: found other keys; expected a map with the keys 0 to 5"
        raise IntegrityError(message)
    try:
        payload = msgspec.convert(list(found.values()), _Payload, builtin_types=(bytes,))
    except msgspec.ValidationError as error:
        message = f"receipt: {error}; see deploy/docs/formats.md"
        raise IntegrityError(message) from error
    return Receipt(
        unit=payload.unit,
        frames=payload.frames,
        log_size=payload.log_size,
        log_root=payload.log_root,
        time_ms=payload.time_ms,
    )
