"""From an archive that the sender brought to a slot that can run: verified at each step."""

import compileall
import os
import stat
import subprocess
import sys
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import BinaryIO, Final

from agent import __version__
from agent.base.application import ApplicationState, Slot
from agent.base.disk import SYSTEM_DISK
from agent.base.errors import UpdateError
from agent.cli.model_folder import MANIFEST_NAME
from agent.cli.update_archive import sync_tree, unpack
from agent.cli.update_slots import Slots
from agent.trust.bundle import Decision
from agent.trust.release import Archive, Build, Known, choose_archive, require_rise

PYTHON: Final = f"{sys.version_info.major}.{sys.version_info.minor}"
INTERPRETER: Final = Path(sys.base_prefix) / "bin" / f"python{PYTHON}"
"""The system's: /usr/bin/python3.13 in a Debian 13."""
GROWTH: Final = 6
"""An application takes at most so many times its archive, with the copy that is verified."""
TRY_LIMIT_S: Final = 600.0
_COPY: Final = "archive"
_CHUNK_BYTES: Final = 1 << 20
_MODE: Final = 0o600


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What the city wants on this unit, and this unit has not."""

    version: str
    archive: Archive
    models_sha256: str
    """Of the manifest of the models that the policy allows."""

    @property
    def build(self) -> Build:
        """For which machines."""
        archive = self.archive
        return Build(version=self.version, machine=archive.machine, python=archive.python)

    @property
    def slot(self) -> Slot:
        """How it is told of before it has a slot."""
        return Slot(name="a", version=self.version, sha256=self.archive.sha256)


def running_version() -> str:
    """Return the version of the application that asks."""
    return __version__


def choose(
    state: ApplicationState, decision: Decision, *, machine: str, python: str = PYTHON
) -> Wanted | None:
    """Return what is to be installed, None where there is nothing new for this machine."""
    release, running = decision.release, running_version()
    archive = choose_archive(release, state, machine=machine, python=python, running=running)
    if release is None or archive is None:
        return None
    return Wanted(
        version=release.version, archive=archive, models_sha256=decision.models_sha256.hex()
    )


def install(slots: Slots, state: ApplicationState, wanted: Wanted, arriving: Path) -> Slot:
    """Return the slot in which an application lies, whole, tried, and on the disk.

    Args:
        slots: The application's folder.
        state: What is in use stays as it is.
        wanted: As signed.
        arriving: The archive; who brought it is not trusted, and may change it at any time.

    Raises:
        UpdateError: It is refused.
        OSError: The disk refuses.
    """
    known = Known(version=wanted.version, sha256=wanted.archive.sha256)
    require_rise(known, state, running=running_version())
    name = slots.make_room(state)
    require_room(slots.folder, wanted.archive.length)
    folder, copy = slots.new(name), slots.folder / _COPY
    try:
        with take_copy(arriving, copy, wanted.archive) as file:
            unpack(file, folder, build=wanted.build)
    finally:
        copy.unlink(missing_ok=True)
    require_models(folder, wanted.models_sha256)
    furnish(folder)
    require_running(folder)
    sync_tree(folder)
    slots.settle(name)
    return Slot(name=name, version=wanted.version, sha256=wanted.archive.sha256)


def require_room(folder: Path, length: int) -> None:
    """Make sure that copy and application fit on the disk.

    Raises:
        UpdateError: `size`.
    """
    free_bytes, _ = SYSTEM_DISK.room_bytes(folder)
    if free_bytes < length * GROWTH:
        message = f"{folder}: {free_bytes} bytes free; expected {length * GROWTH}: make room"
        raise UpdateError(message, reason="size")


def take_copy(arriving: Path, copy: Path, archive: Archive) -> BinaryIO:
    """Return a copy that nobody else can change, once its length and hash are those signed.

    Raises:
        UpdateError: `length` or `hash`.
        OSError: The disk refuses, or a link or pipe lies in the archive's place.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(arriving, flags), "rb") as source:
        status = os.fstat(source.fileno())
        if not stat.S_ISREG(status.st_mode) or status.st_size != archive.length:
            message = f"{arriving}: {status.st_size} bytes; expected a file of {archive.length}"
            raise UpdateError(message, reason="length")
        copy.unlink(missing_ok=True)
        anew = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(copy, anew, _MODE), "w+b")
        left_bytes = archive.length
        while left_bytes and (chunk := source.read(min(left_bytes, _CHUNK_BYTES))):
            left_bytes -= file.write(chunk)
    file.seek(0)
    found = file_digest(file, "sha256").hexdigest()
    if found != archive.sha256:
        file.close()
        message = f"{arriving}: SHA-256 {found[:16]}…; {archive.sha256[:16]}… was signed"
        raise UpdateError(message, reason="hash")
    file.seek(0)
    return file


def require_models(folder: Path, allowed: str) -> None:
    """Make sure that the policy allows the models that come with the application.

    Raises:
        UpdateError: `models`.
    """
    path = folder / "share" / "homeplate" / "models" / MANIFEST_NAME
    found = sha256(path.read_bytes()).hexdigest() if path.is_file() else "none"
    if found != allowed:
        message = (
            f"the application brings the models {found[:16]}, the policy allows {allowed[:16]}"
        )
        raise UpdateError(message, reason="models")


def furnish(folder: Path) -> None:
    """Make an environment of Python's out of a slot: the system's Python, the slot's packages.

    Raises:
        OSError: The disk refuses.
    """
    (folder / "bin").mkdir(mode=0o755)
    (folder / "bin" / "python3").symlink_to(INTERPRETER)
    lines = (f"home = {INTERPRETER.parent}", "include-system-site-packages = true")
    (folder / "pyvenv.cfg").write_text("\n".join([*lines, f"version = {PYTHON}", ""]))
    compileall.compile_dir(folder / "lib", quiet=2, workers=1)


def require_running(folder: Path) -> None:
    """Make sure that the application starts, and that its models are what they should be.

    Raises:
        UpdateError: `does-not-run`.
    """
    command = [str(folder / "bin" / "python3"), "-I", "-m", "agent", "models", "verify"]
    try:
        run = subprocess.run(  # noqa: S603 -- a verified archive
            command, capture_output=True, text=True, check=False, timeout=TRY_LIMIT_S, env={}
        )
        ended, said = run.returncode, run.stderr.strip().splitlines()[-1:]
    except subprocess.TimeoutExpired:
        ended, said = -1, ["no answer in time"]
    if ended:
        message = f"the application does not run here ({ended}): {''.join(said)[:100]}"
        raise UpdateError(message, reason="does-not-run")


def describe(path: Path) -> str:
    """Return an archive's name, length and hash, as they are to be signed.

    Raises:
        OSError: It cannot be read.
    """
    with path.open("rb") as file:
        found = file_digest(file, "sha256").hexdigest()
    return f"{path}: {path.stat().st_size} bytes, SHA-256 {found}"
