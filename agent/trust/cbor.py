"""Deterministic CBOR (RFC 8949 section 4.2.1): one value, one spelling."""

from typing import Final

import cbor2

from agent.base.errors import IntegrityError

_SCALARS: Final = frozenset({int, str, bytes, bool, type(None)})
"""Encoded plainly they are encoded in the deterministic way."""

_KEYS: Final = frozenset({int, str})
_NUMBERS: Final = frozenset({int})
_INTEGERS: Final = 1 << 64
"""Further from 0, an integer would need a tag."""


def encode_cbor(value: object) -> bytes:
    """Return the one deterministic encoding of `value`."""
    return cbor2.dumps(value, canonical=True)


def decode_cbor(content: bytes) -> object:
    """Return the value of deterministic CBOR; the caller checks its types.

    Raises:
        IntegrityError: Not CBOR, bytes after the value, a tag, or another spelling than the
            deterministic one (keys doubled or out of order, long heads, indefinite lengths).
    """
    try:
        value: object = cbor2.loads(content)
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
    found: object = _decode_flat(content)
    if found is None:  # rare, or wrong: the strict way takes it or says what it is
        found = decode_cbor(content)
    values = list(found.values()) if isinstance(found, dict) else []
    if not isinstance(found, dict) or list(found) != list(range(len(values))):
        message = f"{place}: found other keys; expected a map with the keys 0, 1, 2 …"
        raise IntegrityError(message)
    return values


def _decode_flat(content: bytes) -> dict[object, object] | None:
    """Return a map of numbers to scalars, in a third of the time; None where it is not sure.

    Such a map, its keys in order, has one encoding only: that of the plain encoder.
    """
    try:
        found = cbor2.loads(content)
        if not isinstance(found, dict) or cbor2.dumps(found) != content:
            return None
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError):
        return None
    flat = _SCALARS.issuperset(map(type, found.values())) and _NUMBERS.issuperset(map(type, found))
    return found if flat else None


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
