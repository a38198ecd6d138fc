"""How far the wall clock can be trusted, as the kernel and the time services say."""

import ctypes
from pathlib import Path
from typing import Final, Literal

import msgspec

SYNCED_BELOW_US: Final = 16_000_000
"""From this estimated error on the kernel's clock is not synchronised, as systemd judges it
(time-util.c, ntp_synced)."""
MARKER: Final = "run/systemd/timesync/synchronized"
"""systemd-timesyncd touches it when it has the time (systemd-timesyncd.service(8))."""

Source = Literal["kernel", "timesyncd", "gps", "unknown"]


class ClockQuality(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of the wall clock."""

    synchronised: bool | None = None
    """None = nobody tells."""
    error_ms: int | None = None
    """At most that far off, by the kernel's estimate."""
    told_by: Source = "unknown"


class _Timex(ctypes.Structure):
    """struct timex of adjtimex(2), as far as it is read here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("rest", ctypes.c_byte * 256),
    )


def ask_clock_error_us() -> int | None:
    """Ask adjtimex(2), changing nothing; None where the system refuses even that."""
    told = _Timex(modes=0)
    if ctypes.CDLL(None, use_errno=True).adjtimex(ctypes.byref(told)) < 0:
        return None
    return int(told.maxerror)


def judge_clock(error_us: int | None, root: Path = Path("/")) -> ClockQuality:
    """Return the quality of the wall clock.

    The services may not ask the kernel (ProtectClock=yes refuses adjtimex(2)); then the marker of
    systemd-timesyncd tells, and its absence tells nothing: chrony has no such file.

    Args:
        error_us: From `ask_clock_error_us`.
        root: / on a unit.
    """
    if error_us is not None:
        is_synced = error_us < SYNCED_BELOW_US
        error_ms = error_us // 1000 if is_synced else None
        return ClockQuality(synchronised=is_synced, error_ms=error_ms, told_by="kernel")
    if (root / MARKER).exists():
        return ClockQuality(synchronised=True, told_by="timesyncd")
    return ClockQuality()
