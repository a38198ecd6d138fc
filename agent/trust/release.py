"""Which application the city wants on its units: a part of the signed bundle (formats.md, 12).

The archives themselves are too large for the bundle: it names them by length and SHA-256.
"""

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from agent.base.application import ApplicationState
from agent.base.errors import PolicyError, UpdateError
from agent.base.texts import show
from agent.trust.role_forms import Hex256

RELEASE_PATH: Final = "/v1/application/"
ARCHIVE_LIMIT_BYTES: Final = 268_435_456
ARCHIVES_LIMIT: Final = 8
NAME: Final = r"homeplate-[0-9.]{5,20}-(aarch64|x86_64)-py3\.[0-9]{1,2}\.tar\.zst"
"""Of an archive's file, at the endpoint and in its address."""

Version = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]{0,4})(\.(0|[1-9][0-9]{0,4})){2}\Z")]
"""Three numbers, as in 1.10.0."""


class _Strict(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An object with these fields and no others."""


class Build(_Strict, frozen=True, kw_only=True):
    """For which machines an archive is."""

    version: Version
    machine: Literal["aarch64", "x86_64"]
    python: Annotated[str, Meta(pattern=r"^3\.[1-9][0-9]?\Z")]


class Archive(_Strict, frozen=True, kw_only=True):
    """One file with the whole application, for one kind of machine."""

    machine: Literal["aarch64", "x86_64"]
    python: Annotated[str, Meta(pattern=r"^3\.[1-9][0-9]?\Z")]
    length: Annotated[int, Meta(ge=1, le=ARCHIVE_LIMIT_BYTES)]
    sha256: Hex256


class Release(_Strict, frozen=True, kw_only=True):
    """One version of the application."""

    version: Version
    archives: Annotated[tuple[Archive, ...], Meta(min_length=1, max_length=ARCHIVES_LIMIT)]


class Known(_Strict, frozen=True, kw_only=True):
    """A version and the archive that it came as."""

    version: Version
    sha256: Hex256


def parse_release(content: bytes, *, place: str) -> Release:
    """Return what a signed `application.json` names.

    Raises:
        PolicyError: `application`.
    """
    try:
        release = msgspec.json.decode(content, type=Release)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        message = f"{place}: {show(str(error))}; expected a version and its archives"
        raise PolicyError(message, reason="application") from error
    kinds = {(archive.machine, archive.python) for archive in release.archives}
    if len(kinds) != len(release.archives):
        message = f"{place}: two archives for one kind of machine; expected one for each"
        raise PolicyError(message, reason="application")
    return release


def encode_release(release: Release) -> bytes:
    """Return `application.json`."""
    return msgspec.json.format(msgspec.json.encode(release), indent=2) + b"\n"


def find_archive(release: Release, *, machine: str, python: str) -> Archive | None:
    """Return the archive for one kind of machine, None where the city has none for it."""
    for archive in release.archives:
        if (archive.machine, archive.python) == (machine, python):
            return archive
    return None


def choose_archive(
    release: Release | None, state: ApplicationState, *, machine: str, python: str, running: str
) -> Archive | None:
    """Return what is to be installed, None where there is nothing new for this machine.

    Args:
        release: Of the policy in force.
        state: Of the slots; while one is on trial, nothing else is begun.
        machine: Processor.
        python: Version of the system's Python.
        running: Version of the application where the package's runs.
    """
    archive = release and find_archive(release, machine=machine, python=python)
    if release is None or not isinstance(archive, Archive) or state.trial is not None:
        return None
    good = state.good
    here = release.version == (running if good is None else good.version)
    known = here and (good is None or good.sha256 == archive.sha256)
    return None if known or archive.sha256 in state.failed else archive


def archive_name(version: str, archive: Archive) -> str:
    """Return the name of an archive's file."""
    return f"homeplate-{version}-{archive.machine}-py{archive.python}.tar.zst"


def order(version: str) -> tuple[int, ...]:
    """Return what versions are compared by."""
    return tuple(int(number) for number in version.split("."))


def require_rise(wanted: Known, state: ApplicationState, *, running: str) -> None:
    """Make sure that an application is newer than what runs, and not older than any that ran.

    Args:
        wanted: Of the signed release.
        state: Of the slots.
        running: Version of the application where the package's runs.

    Raises:
        UpdateError: `downgrade` or `fork`.
    """
    here = running if state.good is None else state.good.version
    if order(wanted.version) <= order(here):
        message = f"application {wanted.version}: {here} runs; expected a higher version"
        raise UpdateError(message, reason="downgrade")
    highest = state.highest
    if highest is None:
        return
    if order(wanted.version) < order(highest.version):
        message = f"application {wanted.version}: {highest.version} was here; expected no lower"
        raise UpdateError(message, reason="downgrade")
    if wanted.version == highest.version and wanted.sha256 != highest.sha256:
        message = f"application {wanted.version}: another archive of that version was here before"
        message += "; expected a higher version"
        raise UpdateError(message, reason="fork")
