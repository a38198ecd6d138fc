"""Deterministic CBOR (RFC 8949 section 4.2.1): one value, one spelling."""

from typing import Final

import cbor2

from agent.base.errors import IntegrityError

_SCALARS: Final = frozenset({int, str, bytes, bool, type(None)})
"""Encoded plainly they are encoded in the deterministic way."""

_KEYS: Final = frozenset({int, str})
_INTEGERS: Final = 1 << 64
"""Further from 0, an integer would need a tag."""


def encode_cbor(value: object) -> bytes:
    """Return the one deterministic encoding of `value`."""
    return cbor2.dumps(value, canonical=True)


def encode_in_order(value: object) -> bytes:
    """Return the same encoding in half the time, of a value without floats and sets.

    The caller writes the keys of each map in the order of their encodings.
    """
    return cbor2.dumps(value)


def encode_head(major: int, argument: int) -> bytes:
    """Return the first bytes of an item: its major type and its value or length (section 3).

    Args:
        major: 0 an unsigned integer, 2 bytes, 4 an array, 5 a map.
        argument: 0 to 2^64 - 1.
    """
    if argument < 24:  # noqa: PLR2004  in the byte of the type itself
        return bytes((major << 5 | argument,))
    size_bits = max((argument.bit_length() - 1).bit_length() - 3, 0)
    return bytes((major << 5 | 24 + size_bits,)) + argument.to_bytes(1 << size_bits)


def decode_cbor(content: bytes) -> object:
    """Return the value of deterministic CBOR; the caller checks its types.

    Raises:
        IntegrityError: Not CBOR, bytes after the value, a tag, or another spelling than the
            deterministic one (keys doubled or out of order, long heads, indefinite lengths).
    """
    value = decode_held(content)
    try:
        plain = _is_plain(value)
        spelling = encode_cbor(value)
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        message = f"found {len(content)} bytes that are not CBOR; expected one CBOR value"
        raise IntegrityError(message) from error
    if not plain:
        message = "found CBOR with a tag or a simple value of its own; expected neither"
        raise IntegrityError(message)
    if spelling != content:
        message = "found CBOR in another spelling; expected deterministic CBOR and nothing after it"
        raise IntegrityError(message)
    return value


def decode_cbor_list(content: bytes, *, place: str) -> list[object]:
    """Return the values of a deterministic CBOR map whose keys are 0, 1, 2 … without a gap.

    Args:
        content: The encoded map.
        place: What it is, for the message.

    Raises:
        IntegrityError: As `decode_cbor`, or not such a map.
    """
    found = decode_cbor(content)
    values: list[object] = list(found.values()) if isinstance(found, dict) else []
    if not isinstance(found, dict) or list(found) != list(range(len(values))):
        message = f"{place}: found other keys; expected a map with the keys 0, 1, 2 …"
        raise IntegrityError(message)
    return values


def decode_held(content: bytes) -> object:
    """Return the value of CBOR whose bytes something else holds in place; spelling not looked at.

    Raises:
        IntegrityError: Not CBOR.
    """
    try:
        value: object = cbor2.loads(content)
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        message = f"found {len(content)} bytes that are not CBOR; expected one CBOR value"
        raise IntegrityError(message) from error
    return value


def _is_plain(value: object) -> bool:
    """Tell whether a value is made of the types of the formats alone.

    A tag would give a second spelling: a tagged set of frames reads like a list of them.
    """
    kind = type(value)
    if isinstance(value, dict):
        keys = _KEYS.issuperset(map(type, value))  # True and 1.0 equal 1
        return kind is dict and keys and all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    if kind is int:
        return -_INTEGERS <= value < _INTEGERS  # type: ignore[operator] # checked just now
    return kind in _SCALARS or kind is float
