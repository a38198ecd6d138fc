"""What is written to the card: by this process, and by all, in bytes a day."""

import os
import resource
from pathlib import Path
from typing import Final

import msgspec

SECTOR_BYTES: Final = 512
"""Of /sys/block/*/stat, whatever the disk's own are (Documentation/block/stat.rst)."""
SECTORS_WRITTEN: Final = 6
"""Place in that file."""
DAY_S: Final = 86_400
SOONEST_S: Final = 600.0
"""A rate over less says nothing about a day."""


class Wear(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes written; None where the kernel does not tell, or not for long enough."""

    own_bytes: int = 0
    """By this process since its start, of what reached the disk."""
    own_bytes_a_day: int | None = None
    device_bytes: int | None = None
    """By all since the start of the machine, to the disk that holds the state folder."""
    device_bytes_a_day: int | None = None


def measure_wear(state: Path, *, running_s: float, uptime_s: float, root: Path = Path("/")) -> Wear:
    """Return what is written.

    Args:
        state: A folder on the disk that is asked about.
        running_s: How long this process has run.
        uptime_s: How long the machine has run.
        root: / on a unit.
    """
    own = read_own_bytes()
    device = read_device_bytes(state, root)
    return Wear(
        own_bytes=own,
        own_bytes_a_day=per_day(own, running_s),
        device_bytes=device,
        device_bytes_a_day=per_day(device, uptime_s),
    )


def per_day(count: int | None, seconds: float) -> int | None:
    """Return a count as one a day, None where it is not known or young."""
    if count is None or seconds < SOONEST_S:
        return None
    return round(count * DAY_S / seconds)


def read_own_bytes() -> int:
    """Return what this process caused to be written to disks (getrusage(2), ru_oublock).

    /proc/self/io says the same, but a process that forbids its cores may not read it.
    """
    return resource.getrusage(resource.RUSAGE_SELF).ru_oublock * SECTOR_BYTES


def read_device_bytes(path: Path, root: Path = Path("/")) -> int | None:
    """Return what was written to the disk that holds `path`; of a partition, to its whole disk."""
    try:
        device = path.stat().st_dev
        place = root / f"sys/dev/block/{os.major(device)}:{os.minor(device)}"
        place = place.resolve(strict=True)
        whole = place.parent if (place / "partition").exists() else place
        return int((whole / "stat").read_text().split()[SECTORS_WRITTEN]) * SECTOR_BYTES
    except (OSError, ValueError, IndexError):
        return None
