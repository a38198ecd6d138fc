"""How warm the unit is and whether its power supply and cooling hold, from sysfs.

No `vcgencmd`: it needs /dev/vcio, which the services do not get. The kernel shows the same word
(raspberrypi-hwmon, firmware documentation of `get_throttled`).
"""

from pathlib import Path
from typing import Final

ZONE: Final = "sys/class/thermal/thermal_zone0/temp"
"""Thousandths of a degree."""
THROTTLED: Final = "sys/devices/platform/soc/soc:firmware/get_throttled"
"""A hexadecimal word of the bits below."""
NOW: Final = {
    0: "the supply voltage is too low",
    1: "the clock is capped",
    2: "the clock is throttled",
    3: "the soft temperature limit holds",
}
"""Bits of what is so now; 16 bits higher stands what was so since the start."""
SINCE_START: Final = 16


def read_celsius(root: Path = Path("/")) -> float | None:
    """Return the temperature of the processor, None where the machine does not tell."""
    return read_zone(root / ZONE)


def read_zone(path: Path) -> float | None:
    """Return the degrees that a file of the kernel tells in thousandths, None where it does not."""
    try:
        return int(path.read_text().strip()) / 1000
    except (OSError, ValueError):
        return None


def read_throttled(root: Path = Path("/")) -> tuple[tuple[str, ...], tuple[str, ...]] | None:
    """Return what is wrong now and what was since the start; None on other machines."""
    try:
        word = int((root / THROTTLED).read_text().strip(), 16)
    except (OSError, ValueError):
        return None
    now = tuple(text for bit, text in NOW.items() if word >> bit & 1)
    before = tuple(text for bit, text in NOW.items() if word >> (bit + SINCE_START) & 1)
    return now, before
