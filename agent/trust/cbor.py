"""Deterministic CBOR (RFC 8949 section 4.2.1): one value, one spelling."""

import cbor2

from agent.base.errors import IntegrityError


def encode_cbor(value: object) -> bytes:
    """Return the one deterministic encoding of `value`."""
    return cbor2.dumps(value, canonical=True)


def decode_cbor(content: bytes) -> object:
    """Return the value of deterministic CBOR; the caller checks its types.

    Raises:
        IntegrityError: Not CBOR, bytes after the value, or another spelling than the
            deterministic one (keys doubled or out of order, long heads, indefinite lengths).
    """
    try:
        value: object = cbor2.loads(content)
        spelling = encode_cbor(value)
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        message = f"found {len(content)} bytes that are not CBOR; expected one CBOR value"
        raise IntegrityError(message) from error
    if spelling != content:
        message = "found CBOR in another spelling; expected deterministic CBOR and nothing after it"
        raise IntegrityError(message)
    return value
