"""The archive of an application: a tar of plain files under zstd (formats.md, chapter 12).

Its length and hash were held against the signed release before it is opened here. It is looked at
strictly all the same: names that lead out of the folder, links and devices have no place in it.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from io import BytesIO, RawIOBase
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
import zstandard

from agent.base.errors import ConfigError, UpdateError
from agent.base.files import sync_directory
from agent.trust.release import Build

BUILD_NAME: Final = "release.json"
"""First in the archive: for which machines it is."""
FOLDERS: Final = ("lib", "share")
"""All else lies below these."""
UNPACKED_LIMIT_BYTES: Final = 1_073_741_824
FILES_LIMIT: Final = 20_000
NAME_LIMIT: Final = 400
LEVEL: Final = 12
_WINDOW_BYTES: Final = 1 << 27
_CHUNK_BYTES: Final = 1 << 20
_NAME: Final = re.compile(r"[A-Za-z0-9_+@.,=~ -]+(/[A-Za-z0-9_+@.,=~ -]+)*")
_MODE: Final = 0o644
_FOLDER_MODE: Final = 0o755


def pack(tree: Path, out: Path, build: Build) -> None:
    """Write a folder's `lib` and `share` as an archive: the same folder gives the same bytes.

    Raises:
        ConfigError: There is more in it than plain files.
        OSError: The disk refuses.
    """
    compressor = zstandard.ZstdCompressor(level=LEVEL, threads=-1)
    with (
        out.open("wb") as file,
        compressor.stream_writer(file, closefd=False) as packed,
        tarfile.open(fileobj=packed, mode="w|", format=tarfile.PAX_FORMAT) as archive,
    ):
        content = msgspec.json.encode(build)
        archive.addfile(_member(BUILD_NAME, len(content)), BytesIO(content))
        for path in _list_files(tree):
            with path.open("rb") as source:
                name = path.relative_to(tree).as_posix()
                archive.addfile(_member(name, path.stat().st_size), source)


def unpack(file: BinaryIO, folder: Path, *, build: Build) -> None:
    """Write an archive's files below a new folder, and wait until the disk has them.

    Args:
        file: The archive.
        folder: Is not there yet.
        build: What the archive must be for.

    Raises:
        UpdateError: `damaged`, `size`, `member` or `build`; what was written is left behind.
        OSError: The disk refuses.
    """
    folder.mkdir(mode=_FOLDER_MODE)
    seen: set[str] = set()
    try:
        decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
        with (
            decompressor.stream_reader(file, closefd=False) as plain,
            tarfile.open(fileobj=_Bounded(plain), mode="r|") as archive,
        ):
            for member in archive:
                _require_sound(member, seen)
                _write(archive, member, folder)
                if len(seen) == 1:
                    _require_build(folder, build)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as error:
        message = f"the archive is damaged ({error})"
        raise UpdateError(message, reason="damaged") from error
    if not seen:
        message = "the archive is empty"
        raise UpdateError(message, reason="damaged")
    sync_tree(folder)


def read_build(path: Path) -> Build:
    """Return for which machines an archive is, from its first file.

    Raises:
        ConfigError: It is no archive of ours.
        OSError: It cannot be read.
    """
    decompressor = zstandard.ZstdDecompressor(max_window_size=_WINDOW_BYTES)
    try:
        with (
            path.open("rb") as file,
            decompressor.stream_reader(file) as plain,
            tarfile.open(fileobj=_Bounded(plain), mode="r|") as archive,
        ):
            member = archive.next()
            content = archive.extractfile(member) if member is not None else None
            return msgspec.json.decode(content.read(_CHUNK_BYTES) if content else b"", type=Build)
    except (tarfile.TarError, zstandard.ZstdError, EOFError, UpdateError, ValueError) as error:
        message = f"{path}: {error}; expected an archive of `homeplate update pack`"
        raise ConfigError(message) from error


def sync_tree(folder: Path) -> None:
    """Wait until the disk has all that is below a folder, and its name.

    Raises:
        OSError: The disk refuses.
    """
    for path, _, names in os.walk(folder):
        for name in names:
            if (Path(path) / name).is_symlink():
                continue  # is durable with its name
            descriptor = os.open(Path(path) / name, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        sync_directory(Path(path))
    sync_directory(folder.parent)


class _Bounded(RawIOBase):
    """A stream that ends with an error where it is longer than any application."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream, self._left_bytes = stream, UNPACKED_LIMIT_BYTES

    def read(self, size_bytes: int = -1, /) -> bytes:
        """Read on."""
        content = self._stream.read(size_bytes)
        self._left_bytes -= len(content)
        if self._left_bytes < 0:
            message = f"the archive holds more than {UNPACKED_LIMIT_BYTES} bytes; expected less"
            raise UpdateError(message, reason="size")
        return content


def _list_files(tree: Path) -> Iterator[Path]:
    for name in FOLDERS:
        if not (tree / name).is_dir():
            message = f"{tree}: no folder {name}; expected lib and share of an application"
            raise ConfigError(message)
        for path in sorted((tree / name).rglob("*")):
            if "__pycache__" in path.parts or (path.is_dir() and not path.is_symlink()):
                continue
            inner = path.relative_to(tree).as_posix()
            if path.is_symlink() or not path.is_file() or _NAME.fullmatch(inner) is None:
                message = f"{path}: expected plain files alone, under usual names"
                raise ConfigError(message)
            yield path


def _member(name: str, size_bytes: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size_bytes, _MODE
    return member


def _require_sound(member: tarfile.TarInfo, seen: set[str]) -> None:
    """Refuse what is no plain file below the folders of an application, or stands there twice.

    Raises:
        UpdateError: `member`, or `size` where there are too many.
    """
    name = member.name
    parts = name.split("/")
    inside = name == BUILD_NAME if not seen else parts[0] in FOLDERS and len(parts) > 1
    usual = len(name) <= NAME_LIMIT and _NAME.fullmatch(name) is not None
    if not (inside and usual and member.isreg()) or {".", ".."} & set(parts) or name in seen:
        message = f"the archive holds {name[:80]!r}; expected plain files below lib and share, once"
        raise UpdateError(message, reason="member")
    if len(seen) >= FILES_LIMIT:
        message = f"the archive holds more than {FILES_LIMIT} files; expected fewer"
        raise UpdateError(message, reason="size")
    seen.add(name)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, folder: Path) -> None:
    path = folder / member.name
    content = archive.extractfile(member)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        path.parent.mkdir(mode=_FOLDER_MODE, parents=True, exist_ok=True)
        descriptor = os.open(path, flags, _MODE)
    except (FileExistsError, NotADirectoryError) as error:  # a file in the place of a folder
        message = f"the archive holds {member.name[:80]!r} as file and folder; expected one"
        raise UpdateError(message, reason="member") from error
    with os.fdopen(descriptor, "wb") as file:
        while content is not None and (chunk := content.read(_CHUNK_BYTES)):
            file.write(chunk)


def _require_build(folder: Path, build: Build) -> None:
    """Make sure that the archive is for this machine, and as signed.

    Raises:
        UpdateError: `build`.
    """
    try:
        found = msgspec.json.decode((folder / BUILD_NAME).read_bytes(), type=Build)
    except (msgspec.MsgspecError, ValueError) as error:
        message = f"{BUILD_NAME}: {error}"
        raise UpdateError(message, reason="build") from error
    if found != build:
        message = (
            f"the archive is {found.version} for {found.machine} and Python {found.python}; "
            f"expected {build.version} for {build.machine} and Python {build.python}"
        )
        raise UpdateError(message, reason="build")
