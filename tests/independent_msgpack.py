"""MessagePack as formats.md describes it, written from that page alone: a second implementation.

Only what log entries hold: null, bool, uint, text, bytes, array, map of text to uint.
"""

from itertools import pairwise


def write_value(value: object) -> bytes:
    """Return the shortest form of a value."""
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return _write_uint(value)
    if isinstance(value, str):
        content = value.encode()
        return _head(len(content), 0xA0, 31, {1: 0xD9, 2: 0xDA}) + content
    if isinstance(value, bytes):
        return _head(len(value), 0, -1, {1: 0xC4, 2: 0xC5, 4: 0xC6}) + value
    if isinstance(value, dict):
        parts = [write_value(key) + write_value(value[key]) for key in sorted(value)]
        return _head(len(value), 0x80, 15, {2: 0xDE}) + b"".join(parts)
    return _head(len(value), 0x90, 15, {2: 0xDC}) + b"".join(map(write_value, value))


def read_value(content: bytes) -> object:
    """Return the one value in `content`; anything else is an AssertionError."""
    value, end = _read(content, 0)
    assert end == len(content)
    return value


def _write_uint(value: int) -> bytes:
    if value < 128:
        return bytes([value])
    size = next(size for size in (1, 2, 4, 8) if value < 1 << 8 * size)
    return bytes([{1: 0xCC, 2: 0xCD, 4: 0xCE, 8: 0xCF}[size]]) + value.to_bytes(size)


def _head(length: int, short: int, limit: int, long: dict[int, int]) -> bytes:
    if length <= limit:
        return bytes([short + length])
    size = next(size for size in long if length < 1 << 8 * size)
    return bytes([long[size]]) + length.to_bytes(size)


def _read(content: bytes, at: int) -> tuple[object, int]:
    kind = content[at]
    if kind < 0x80:
        return kind, at + 1
    if kind in (0xC0, 0xC2, 0xC3):
        return {0xC0: None, 0xC2: False, 0xC3: True}[kind], at + 1
    if 0xCC <= kind <= 0xCF:
        size = 1 << kind - 0xCC
        return int.from_bytes(content[at + 1 : at + 1 + size]), at + 1 + size
    return _read_long(content, at, kind)


def _read_long(content: bytes, at: int, kind: int) -> tuple[object, int]:
    if kind < 0xA0:
        return _read_items(content, at + 1, kind & 15, pairs=kind < 0x90)
    if kind < 0xC0:
        return _read_text(content, at + 1, kind & 31)
    sizes = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xD9: 1, 0xDA: 2, 0xDC: 2, 0xDE: 2}
    size = sizes[kind]
    length, at = int.from_bytes(content[at + 1 : at + 1 + size]), at + 1 + size
    if kind <= 0xC6:
        return content[at : at + length], at + length
    if kind <= 0xDA:
        return _read_text(content, at, length)
    return _read_items(content, at, length, pairs=kind == 0xDE)


def _read_text(content: bytes, at: int, length: int) -> tuple[object, int]:
    return content[at : at + length].decode(), at + length


def _read_items(content: bytes, at: int, count: int, *, pairs: bool) -> tuple[object, int]:
    found = []
    for _ in range(2 * count if pairs else count):
        value, at = _read(content, at)
        found.append(value)
    if not pairs:
        return found, at
    keys = found[::2]
    assert all(first < second for first, second in pairwise(keys))
    return dict(zip(keys, found[1::2], strict=True)), at
