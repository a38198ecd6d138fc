"""Receipts: the city's signature for frames that it has stored. Only they allow deletion."""

from collections.abc import Callable, Iterable
from hashlib import sha256
from typing import Annotated, Final, Protocol

import msgspec
from msgspec import Meta

from agent.base.errors import IntegrityError
from agent.trust.cbor import decode_cbor, decode_held, encode_cbor
from agent.trust.signatures import PublicKey, verify_signature

VERSION: Final = 1
FRAMES_LIMIT: Final = 256
RECEIPT_LIMIT_BYTES: Final = 16_384
NO_RECEIPT: Final = bytes(32)
"""Stands for the hash of the receipt before the first."""
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


class Receipt(
    msgspec.Struct, frozen=True, kw_only=True, array_like=True, forbid_unknown_fields=True, gc=False
):
    """What the city signs; the fields stand in the order of their keys, after the version."""

    unit: Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    frames: Annotated[tuple[Hash, ...], Meta(min_length=1, max_length=FRAMES_LIMIT)]
    """Frame hashes in the order of the upload."""
    log_size: Count
    """Of the watcher's log, as the city last saw it."""
    log_root: Hash
    time_ms: Count
    """The city's clock."""
    previous: Hash = NO_RECEIPT
    """`receipt_hash` of the receipt that the city made for this unit before: one signature holds
    all earlier receipts in place."""


class _Signed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The receipt on the wire."""

    payload: bytes
    key_id: Annotated[bytes, Meta(min_length=8, max_length=8)]
    signature: bytes


_KEYS: Final = list(range(1 + len(Receipt.__struct_fields__)))


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
            6: receipt.previous,
        }
    )
    return encode_cbor([payload, signer.key_id, signer.sign(_DOMAIN + payload)])


def receipt_hash(signed: bytes) -> bytes:
    """Return the SHA-256 of a whole signed receipt: how the next one names it."""
    return sha256(signed).digest()


def open_receipt(signed: bytes, keys: Iterable[PublicKey]) -> Receipt:
    """Return the receipt that one of the city's `keys` signed.

    Raises:
        IntegrityError: Malformed, or not signed by one of the keys.
    """
    wire = _parse_signed(signed, decode_cbor)
    wanted = [key for key in keys if key.key_id == wire.key_id]
    if not wanted:
        message = f"receipt: signed by the key {wire.key_id.hex()}, which the policy does not name"
        raise IntegrityError(message)
    verify_signature(wanted[0], _DOMAIN + wire.payload, wire.signature)
    return _parse_payload(wire.payload, decode_cbor)


def peek_receipt(signed: bytes) -> Receipt:
    """Return what a receipt says, signature unverified: for receipts verified before or later.

    Nor is its spelling looked at: `open_receipt` refuses all but one.

    Raises:
        IntegrityError: Malformed.
    """
    return _parse_payload(_parse_signed(signed, decode_held).payload, decode_held)


def require_receipt_for(
    receipt: Receipt,
    *,
    unit: str,
    frames: tuple[bytes, ...],
    sizes: range,
    root_at: Callable[[int], bytes],
) -> Receipt:
    """Return the receipt when it is for exactly these frames of this unit and its own log.

    The city gives the receipt of the first delivery again when its answer was lost. So the log in
    it may be shorter than the one sent now, but it covers the frames, and it is this unit's log.

    Args:
        receipt: Signature verified.
        unit: Who sent.
        frames: Hashes of what was sent.
        sizes: Of the logs under which the frames can have been sent.
        root_at: Tells the root that the log had at one of these sizes.

    Raises:
        IntegrityError: It is for others; none of them may be deleted.
    """
    if receipt.unit != unit:
        message = f"receipt: for the unit {receipt.unit}; expected {unit}"
        raise IntegrityError(message)
    if receipt.frames != frames:
        message = f"receipt: for other frames than the {len(frames)} that were sent"
        raise IntegrityError(message)
    if receipt.log_size not in sizes:
        message = (
            f"receipt: for a log of {receipt.log_size} entries; expected {sizes.start} to "
            f"{sizes.stop - 1}, which name the frames and were sent"
        )
        raise IntegrityError(message)
    if receipt.log_root != root_at(receipt.log_size):
        message = f"receipt: for another log of {receipt.log_size} entries than this unit's"
        raise IntegrityError(message)
    return receipt


def _parse_signed(signed: bytes, decode: Callable[[bytes], object]) -> _Signed:
    if len(signed) > RECEIPT_LIMIT_BYTES:
        message = f"receipt: {len(signed)} bytes; expected at most {RECEIPT_LIMIT_BYTES}"
        raise IntegrityError(message)
    try:
        return msgspec.convert(decode(signed), _Signed, builtin_types=(bytes,))
    except (msgspec.ValidationError, TypeError) as error:
        message = f"receipt: {error}; expected [payload, key id, signature]"
        raise IntegrityError(message) from error


def _parse_payload(content: bytes, decode: Callable[[bytes], object]) -> Receipt:
    found = decode(content)
    if not isinstance(found, dict) or list(found) != _KEYS:
        message = "receipt: found other keys; expected a map with the keys 0 to 6"
        raise IntegrityError(message)
    version, *fields = found.values()
    if (type(version), version) != (int, VERSION):  # True equals 1
        message = f"receipt: found another version; expected {VERSION}"
        raise IntegrityError(message)
    try:
        receipt: Receipt = msgspec.convert(fields, Receipt, builtin_types=(bytes,))
    except (msgspec.ValidationError, TypeError) as error:
        message = f"receipt: {error}; see deploy/docs/formats.md"
        raise IntegrityError(message) from error
    return receipt
