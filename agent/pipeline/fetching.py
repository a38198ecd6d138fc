"""The sender's part in an update: bring the archive that the policy names, in pieces.

It may write nothing that runs. What it brings is judged again by root (`homeplate update apply`),
whose word on what became of it the sender enters into its log.
"""

import logging
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import Final

from agent.base.application import ApplicationState, read_state
from agent.base.clock import Clock, to_ms
from agent.base.disk import SYSTEM_DISK
from agent.base.errors import ConfigError, IntegrityError, UpdateError, UplinkError
from agent.base.files import read_handed, sync_directory, write_whole
from agent.pipeline.city import City
from agent.trust.entries import UpdateSeen
from agent.trust.release import (
    RELEASE_PATH,
    Archive,
    Known,
    Release,
    archive_name,
    choose_archive,
    require_rise,
)

log = logging.getLogger(__name__)

ARCHIVE: Final = "archive"
"""In the sender's folder: whole, and its hash is the one that was signed."""
PART: Final = ".part"
"""Ending of what is not whole yet; named by the hash that was signed."""
TOLD: Final = "told"
"""Number of root's last step that stands in the log."""
PIECE_BYTES: Final = 512 * 1024
"""In the 15 s that an answer may take, that is a network of 0.3 Mbit/s."""
RESERVE_BYTES: Final = 256 * 1024 * 1024
"""Is left to sealed frames."""
RETRY_NS: Final = 60_000_000_000
AGAIN_NS: Final = 24 * 3_600_000_000_000
"""After an archive was refused here or by root: another try costs 100 MB of network."""
_PARTIAL: Final = 206
_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_MODE: Final = 0o644
_NUMBER_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Here:
    """This machine, and what runs on it."""

    machine: str
    python: str
    version: str


class UpdateErrand:
    """Brings updates of the application; see `Errand`.

    Args:
        city: Where archives come from.
        release: Tells which application the policy in force names.
        folder: The sender's own.
        slots: Folder of the application, which root alone writes.
        note: Enters a step into the log.
        clock: The unit's.
        here: For which machine.
    """

    def __init__(  # noqa: PLR0913  one argument a neighbour
        self,
        city: City,
        release: Callable[[], Release | None],
        *,
        folder: Path,
        slots: Path,
        note: Callable[[UpdateSeen], None],
        clock: Clock,
        here: Here,
    ) -> None:
        self._city, self._release, self._note, self._clock = city, release, note, clock
        self._folder, self._slots, self._here = folder, slots, here
        self._next_ns = clock.monotonic_ns()
        self._refused = ""
        self._heeded = 0
        """Number of root's refusal after which the archive was thrown away."""

    def work(self) -> None:
        """Bring the next piece, if one is wanted; see `Errand.work`."""
        now_ns = self._clock.monotonic_ns()
        if now_ns < self._next_ns:
            return
        self._next_ns = now_ns + RETRY_NS  # unless all goes well
        try:
            state = read_state(self._slots)
            self._tell(state)
            if self._advance(state):
                self._next_ns = now_ns
        except (OSError, IntegrityError) as error:
            message = f"{self._folder}: no update is brought ({error})"
            raise UplinkError(message) from error

    def _advance(self, state: ApplicationState) -> bool:
        """Do the next step; tell whether another may follow at once."""
        release = self._release()
        here = self._here
        archive = choose_archive(
            release, state, machine=here.machine, python=here.python, running=here.version
        )
        if release is None or archive is None:
            self._discard()
            return False
        if self._is_refused(release, archive, state) or (self._folder / ARCHIVE).exists():
            return False
        part = self._part(archive)
        held = part.stat().st_size if part.exists() else 0
        if not held:
            self._discard()
        if held < archive.length and self._has_room(archive.length - held):
            self._fetch(release, archive, held)
        elif held >= archive.length:
            self._finish(release, archive)
        return held < archive.length

    def _fetch(self, release: Release, archive: Archive, held: int) -> None:
        """Append the next piece.

        Raises:
            UplinkError: The city did not give it.
        """
        last = min(held + PIECE_BYTES, archive.length) - 1
        answer = self._city.exchange(
            "GET",
            RELEASE_PATH + archive_name(release.version, archive),
            headers={"Range": f"bytes={held}-{last}"},
            limit_bytes=PIECE_BYTES,
        )
        found = _RANGE.fullmatch(answer.headers.get("content-range", ""))
        given = tuple(map(int, found.groups())) if found else ()
        whole = len(answer.content) == last + 1 - held
        if answer.status != _PARTIAL or given != (held, last, archive.length) or not whole:
            message = f"the city's archive of {release.version} is not the one that was signed"
            raise UplinkError(message)
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
        with os.fdopen(os.open(self._part(archive), flags, _MODE), "ab") as file:
            file.write(answer.content)

    def _finish(self, release: Release, archive: Archive) -> None:
        """Hand the archive over to root, if it is the one that was signed."""
        part = self._part(archive)
        with part.open("rb") as file:
            sound = file_digest(file, "sha256").hexdigest() == archive.sha256
            sound &= os.fstat(file.fileno()).st_size == archive.length
            if sound:
                os.fsync(file.fileno())
        if not sound:
            part.unlink()
            self._refuse(release, archive, "hash: what the city gave is not what was signed")
            return
        self._enter(release.version, archive.sha256, "fetched", f"{archive.length} bytes")
        part.chmod(_MODE)
        part.replace(self._folder / ARCHIVE)
        sync_directory(self._folder)

    def _is_refused(self, release: Release, archive: Archive, state: ApplicationState) -> bool:
        """Tell whether this is not to be brought, or not again so soon."""
        wanted = Known(version=release.version, sha256=archive.sha256)
        try:
            require_rise(wanted, state, running=self._here.version)
        except UpdateError as error:
            self._refuse(release, archive, f"{error.reason}: {error}")
            return True
        last = state.steps[-1] if state.steps else None
        if last is None or (last.name, last.sha256) != ("refused", archive.sha256):
            return False
        if last.number == self._heeded:
            return False
        self._heeded = last.number
        self._discard()
        self._next_ns = self._clock.monotonic_ns() + AGAIN_NS
        return True

    def _refuse(self, release: Release, archive: Archive, detail: str) -> None:
        """Say so, once a start; the next try is a day away."""
        self._discard()
        self._next_ns = self._clock.monotonic_ns() + AGAIN_NS
        if self._refused != archive.sha256 + detail:
            self._refused = archive.sha256 + detail
            self._enter(release.version, archive.sha256, "refused", detail)

    def _tell(self, state: ApplicationState) -> None:
        """Enter root's steps into the log: each once, or twice where the power went between."""
        content = None
        with suppress(ConfigError):
            content = read_handed(self._folder / TOLD, limit_bytes=_NUMBER_BYTES)
        told = int(content) if content and content.isdigit() else 0
        for step in state.steps:
            if step.number > told:
                self._enter(step.version, step.sha256, step.name, step.detail)
                write_whole(self._folder / TOLD, str(step.number).encode(), mode=_MODE)

    def _enter(self, version: str, sha256: str, step: str, detail: str) -> None:
        entry = UpdateSeen(
            at_ms=to_ms(self._clock.now()),
            version=version,
            archive=bytes.fromhex(sha256),
            step=step,  # type: ignore[arg-type]  # one of root's, which are among the log's
            detail=detail[:200],
        )
        self._note(entry)
        log.info("update", extra={"version": version, "detail": f"{step}: {detail}".rstrip(": ")})

    def _has_room(self, length: int) -> bool:
        free_bytes, _ = SYSTEM_DISK.room_bytes(self._folder)
        return free_bytes >= length + RESERVE_BYTES

    def _part(self, archive: Archive) -> Path:
        return self._folder / f"{archive.sha256[:16]}{PART}"

    def _discard(self) -> None:
        for path in (*self._folder.glob(f"*{PART}"), self._folder / ARCHIVE):
            path.unlink(missing_ok=True)
