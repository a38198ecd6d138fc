"""Spans, sizes and times as people read them."""

from datetime import datetime

_SIZES = ((1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB"))
_SPANS = ((86_400, "day"), (3_600, "hour"), (60, "minute"))


def tell_bytes(count: int) -> str:
    """Return a size with two or three figures."""
    for size, unit in _SIZES:
        if count >= size:
            return f"{count / size:.{1 if count < 10 * size else 0}f} {unit}"
    return f"{count} bytes"


def tell_span(seconds: float) -> str:
    """Return a span in its largest fitting unit, rounded down."""
    for size, unit in _SPANS:
        if seconds >= size:
            count = int(seconds // size)
            return f"{count} {unit}{'s' if count != 1 else ''}"
    return f"{max(seconds, 0):.0f} s"


def tell_instant(instant: datetime) -> str:
    """Return a time to the minute, in UTC."""
    return f"{instant:%Y-%m-%d %H:%M} UTC"
