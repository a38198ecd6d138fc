"""What the check asks of the machine: files of the kernel, its clock, file systems, processes.

Everything is looked up below a root folder, so a test gives a folder of its own.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from agent.base.clock_quality import ask_clock_error_us

STARTED: Final = 19
"""Place of `starttime` in /proc/PID/stat, counted from behind the name."""

IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})
"""File systems of which nothing outlives the power."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """One line of /proc/self/mountinfo."""

    point: Path
    device: str
    """Major and minor number, as in /sys/dev/block."""
    kind: str
    read_only: bool


class Machine:
    """The machine below `root`.

    Args:
        root: / on a unit.
        clock_error_us: The kernel's estimate of its clock's error; asked of it where None.
    """

    def __init__(self, root: Path = Path("/"), *, clock_error_us: int | None = None) -> None:
        self.root = root
        self._clock_error_us = clock_error_us

    def read(self, path: str) -> str | None:
        """Return a small text file without the white space around it, None where it is missing."""
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return None

    def names(self, path: str) -> tuple[str, ...]:
        """Return the names in a folder, none where it is missing."""
        try:
            return tuple(sorted(found.name for found in (self.root / path).iterdir()))
        except OSError:
            return ()

    def link(self, path: str) -> str | None:
        """Return where a link leads, None where it is none or may not be read."""
        try:
            return str((self.root / path).readlink())
        except OSError:
            return None

    def age_s(self, pid: int) -> float | None:
        """Return how long a process has run, None where the kernel does not tell (proc(5))."""
        stat, uptime = self.read(f"proc/{pid}/stat"), self.read("proc/uptime")
        if stat is None or uptime is None:
            return None
        started_ticks = int(stat.rpartition(")")[2].split()[STARTED])
        return float(uptime.split()[0]) - started_ticks / os.sysconf("SC_CLK_TCK")

    def clock_error_us(self) -> int | None:
        """Return the estimated error of the system clock, None where the kernel does not tell."""
        if self._clock_error_us is not None:
            return self._clock_error_us
        return ask_clock_error_us()

    def mount_of(self, path: Path) -> Mount | None:
        """Return the mount that holds `path`."""
        holders = [mount for mount in self.mounts() if path.is_relative_to(mount.point)]
        return max(holders, key=lambda mount: len(mount.point.parts), default=None)

    def mounts(self) -> Iterator[Mount]:
        """Give all mounts, a later one hiding an earlier one at the same place."""
        for line in (self.read("proc/self/mountinfo") or "").splitlines():
            before, _, after = line.partition(" - ")
            left, right = before.split(), after.split()
            point = left[4].encode().decode("unicode_escape")  # blanks are written as \040
            options = {*left[5].split(","), *right[-1].split(",")}
            yield Mount(point=Path(point), device=left[2], kind=right[0], read_only="ro" in options)
