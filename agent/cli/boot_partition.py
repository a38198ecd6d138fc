"""The boot partition of a unit: mounted, or inside an image file. FAT either way.

A mounted one is files like any other. Into an image we write with mtools (ADR 0006), which need
neither root nor a mount. Nothing but the names that are handed in is ever written.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final, Protocol

from agent.base.errors import ConfigError, DeviceError
from agent.base.files import read_bounded, write_whole
from agent.cli.partition_table import find_boot_partition

SIGNS: Final = ("config.txt", "cmdline.txt")
"""Every boot partition of a Raspberry Pi has them."""
_FILE_LIMIT_BYTES: Final = 2_097_152
_FREE: Final = re.compile(rb"([0-9][0-9 ]*) bytes free")
_TOOL_TIMEOUT_S: Final = 120
_PACKED: Final = (".xz", ".gz", ".zip", ".bz2", ".zst")


class BootPartition(Protocol):
    """Where the bundle goes. Names are relative to its root, with / between folder and file."""

    @property
    def place(self) -> str:
        """What it is, for people."""
        ...

    def has(self, name: str) -> bool:
        """Tell whether a file or folder is there."""
        ...

    def read(self, name: str) -> bytes:
        """Return a file as the disk gives it back, not what the computer remembers of it.

        After a `write` this shows that the bytes reached the card, or the disk with the image, and
        come back from there. It does not show that they outlast the card's own memory: what its
        controller answers is believed. Where the system knows no such wish (macOS), or the file
        lies in memory anyway (tmpfs), it shows only that the right bytes were written.

        Raises:
            ConfigError: It is not there.
            DeviceError: It cannot be read.
        """
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a file, and wait until the disk has it.

        Raises:
            DeviceError: The disk refuses.
        """
        ...

    def make_folder(self, name: str) -> None:
        """Make a folder where there is none.

        Raises:
            DeviceError: The disk refuses.
        """
        ...

    def free_bytes(self) -> int:
        """Return how much more fits."""
        ...


class MountedPartition:
    """A boot partition that the computer has mounted."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self.place = str(root)

    def has(self, name: str) -> bool:
        """Tell whether a file or folder is there."""
        return (self._root / name).exists()

    def read(self, name: str) -> bytes:
        """Return a file; see `BootPartition.read`."""
        path = self._root / name
        if path.is_file():
            forget_cached(path)
        return read_bounded(path, limit_bytes=_FILE_LIMIT_BYTES)

    def write(self, name: str, content: bytes) -> None:
        """Write a file so that the old or the new one is there, never a part."""
        try:
            write_whole(self._root / name, content)
        except OSError as error:
            (self._root / name).with_name(f".{Path(name).name}.new").unlink(missing_ok=True)
            message = f"{self._root / name}: cannot be written ({error.strerror})"
            raise DeviceError(message) from error

    def make_folder(self, name: str) -> None:
        """Make a folder where there is none."""
        try:
            (self._root / name).mkdir(exist_ok=True)
        except OSError as error:
            message = f"{self._root / name}: cannot be made ({error.strerror})"
            raise DeviceError(message) from error

    def free_bytes(self) -> int:
        """Return how much more fits."""
        return shutil.disk_usage(self._root).free


class ImagePartition:
    """The FAT boot partition inside an image file, reached with mtools."""

    def __init__(self, image: Path) -> None:
        self._image = image
        self._drive = f"{image}@@{find_boot_partition(image)}"
        self.place = f"{image} (boot partition)"

    def has(self, name: str) -> bool:
        """Tell whether a file or folder is there."""
        return self._call("mdir", "-b", f"::/{name}").returncode == 0

    def read(self, name: str) -> bytes:
        """Return a file; see `BootPartition.read`."""
        if not self.has(name):
            message = f"{self.place}: has no {name}"
            raise ConfigError(message)
        forget_cached(self._image)
        return self._require("mtype", f"::/{name}").stdout

    def write(self, name: str, content: bytes) -> None:
        """Write a file; `-` is mtools' word for its standard input."""
        self._require("mcopy", "-o", "-", f"::/{name}", given=content)
        descriptor = os.open(self._image, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def make_folder(self, name: str) -> None:
        """Make a folder where there is none."""
        if not self.has(name):
            self._require("mmd", f"::/{name}")

    def free_bytes(self) -> int:
        """Return how much more fits."""
        found = _FREE.search(self._require("mdir", "::/").stdout)
        return int(found[1].replace(b" ", b"")) if found else 0

    def _require(
        self, tool: str, *words: str, given: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        done = self._call(tool, *words, given=given)
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().replace("\n", "; ")
            message = f"{self.place}: {tool} failed ({said[:200]})"
            raise DeviceError(message)
        return done

    def _call(
        self, tool: str, *words: str, given: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        options = ["-i", self._drive, *words]
        environment = {
            **os.environ,
            "MTOOLSRC": os.devnull,
            "MTOOLS_SKIP_CHECK": "0",
            "LC_ALL": "C",
        }
        try:
            return subprocess.run(  # noqa: S603 -- a fixed program, no shell
                [tool, *options],
                input=given,
                env=environment,
                capture_output=True,
                timeout=_TOOL_TIMEOUT_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            message = (
                f"{tool}: cannot be run; writing into an image file needs mtools (Debian: apt "
                "install mtools; macOS: brew install mtools). A mounted partition needs nothing"
            )
            raise ConfigError(message) from error


def forget_cached(path: Path) -> None:
    """Have what the computer remembers of a file dropped, so that the next reader asks the disk.

    Only what the disk has already can be dropped, so the file is synced first (posix_fadvise(2)).

    Raises:
        DeviceError: The disk does not take what is still to be written.
    """
    if not hasattr(os, "posix_fadvise"):
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    except OSError as error:
        message = f"{path}: the disk does not take it ({error.strerror})"
        raise DeviceError(message) from error
    finally:
        os.close(descriptor)


def open_target(target: Path) -> BootPartition:
    """Return the boot partition at `target`: a mounted one, or that of an image file.

    Raises:
        ConfigError: There is nothing, it is a whole disk, packed, read-only or no boot partition.
        DeviceError: It cannot be read.
    """
    if not target.exists():
        message = f"{target}: no such file or folder; expected a mounted boot partition or an image"
        raise ConfigError(message)
    if not (target.is_dir() or target.is_file()):
        message = f"{target}: is a whole disk; expected its boot partition, mounted, or an image"
        raise ConfigError(message)
    if target.suffix in _PACKED:
        message = f"{target}: is packed; unpack it first (as in: xz -dk {target.name})"
        raise ConfigError(message)
    _require_writable(target)
    partition = MountedPartition(target) if target.is_dir() else ImagePartition(target)
    missing = [name for name in SIGNS if not partition.has(name)]
    if missing:
        message = (
            f"{partition.place}: wrong partition: no {' and no '.join(missing)}; expected the one "
            "that a freshly written card shows as `bootfs`"
        )
        raise ConfigError(message)
    return partition


def _require_writable(target: Path) -> None:
    read_only = os.statvfs(target).f_flag & os.ST_RDONLY
    if read_only or not os.access(target, os.W_OK):
        message = f"{target}: is read-only; move the card's lock or mount it for writing"
        raise ConfigError(message)
