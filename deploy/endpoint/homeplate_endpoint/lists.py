"""The hotlist at the endpoint: one signed file, sealed anew to whoever is entitled to it.

A unit asks with a key that its watcher drew in memory, signed with the watcher's enrolled log key.
The answer opens in that process alone: neither the unit's disk nor its sender ever sees a plate.
"""

import logging
import sqlite3
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from agent.base.clock import Clock, to_ms
from agent.base.errors import ConfigError, IntegrityError
from agent.base.files import read_bounded
from agent.trust.hotlist import (
    HOTLIST_LIMIT_BYTES,
    HotlistRequest,
    open_request,
    peek_hotlist,
    require_current,
    seal_hotlist,
)
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.store import storage_errors
from homeplate_endpoint.units import Units

log = logging.getLogger(__name__)

REQUESTS: Final = "hotlist-requests.sqlite"
"""Beside the register of units."""
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS requests (
  unit TEXT PRIMARY KEY, made_ms INTEGER NOT NULL, sha256 BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListAnswer:
    """What a unit gets."""

    tag: str
    """Of this list for this request; the unit sends it along the next time."""
    sealed: bytes | None = field(repr=False)
    """None = it has this list already."""


class Requests:
    """The newest request of each unit: an older one is a replay and gets nothing.

    Raises:
        DeviceError: The disk failed.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._turn = path, threading.Lock()
        with storage_errors(path):
            path.touch(mode=0o600, exist_ok=True)
            self._index = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._index.execute("PRAGMA journal_mode = WAL")
            self._index.executescript(_SCHEMA)

    def require_newest(self, request: HotlistRequest, name: bytes) -> None:
        """Take note of a request.

        Args:
            request: Its signature holds.
            name: SHA-256 of its bytes.

        Raises:
            RefusalError: Another one that is newer, or as old, was seen before.
        """
        with self._turn, storage_errors(self._path):
            row = self._index.execute(
                "SELECT made_ms, sha256 FROM requests WHERE unit = ?", (request.unit,)
            ).fetchone()
            if row is not None and row[1] == name:
                return
            if row is not None and row[0] >= request.made_ms:
                detail = "an older request than one seen before; the watcher's next start makes one"
                raise RefusalError(status=409, error="replay", detail=detail)
            self._index.execute(
                "INSERT OR REPLACE INTO requests VALUES (?, ?, ?)",
                (request.unit, request.made_ms, name),
            )

    def close(self) -> None:
        """Give the file back."""
        self._index.close()


class ListDesk:
    """Hands out the city's hotlist.

    Args:
        path: The signed list; replaced by `homeplate hotlist sign`. It may be missing.
        requests: What was asked before.
        units: Who may ask.
        clock: The city's.
    """

    def __init__(self, path: Path, requests: Requests, units: Units, clock: Clock) -> None:
        self._path, self._requests, self._units, self._clock = path, requests, units, clock
        self._turn = threading.Lock()
        self._stamp: tuple[int, ...] = ()
        self._content = b""
        self._expires_ms = 0

    def answer(self, unit: str, body: bytes, tag: str) -> ListAnswer | None:
        """Return the list sealed to the request's key; None while the city has none to give.

        Args:
            unit: As the client certificate says.
            body: The signed request.
            tag: Of what the unit has, empty where it has nothing.

        Raises:
            RefusalError: Not a request of this unit's watcher, or a replay.
            DeviceError: The disk failed.
        """
        request = self._open(unit, body)
        name = sha256(body).digest()
        self._requests.require_newest(request, name)
        content = self._current()
        if not content:
            return None
        fresh = sha256(name + content).hexdigest()
        if fresh == tag:
            return ListAnswer(tag=fresh, sealed=None)
        return ListAnswer(tag=fresh, sealed=seal_hotlist(content, body, request.key))

    def _open(self, unit: str, body: bytes) -> HotlistRequest:
        key = self._units.get(unit)
        if key is None:
            detail = f"the unit {unit} is not enrolled"
            raise RefusalError(status=403, error="unknown-unit", detail=detail)
        try:
            request = open_request(body, key)
        except IntegrityError as error:
            raise RefusalError(status=403, error="request", detail=str(error)) from error
        if request.unit != unit:
            detail = f"a request of {request.unit} under the certificate of {unit}"
            raise RefusalError(status=403, error="other-unit", detail=detail)
        return request

    def _current(self) -> bytes:
        """Return the signed list, nothing where there is none that holds now."""
        with self._turn:
            stamp = _stamp_of(self._path)
            if stamp != self._stamp:
                self._stamp = stamp
                self._content = self._load() if stamp else b""
            if self._content and to_ms(self._clock.now()) >= self._expires_ms:
                log.warning("hotlist expired: sign another")
                self._content = b""
            return self._content

    def _load(self) -> bytes:
        try:
            content = read_bounded(self._path, limit_bytes=HOTLIST_LIMIT_BYTES)
            head = require_current(peek_hotlist(content), now_ms=to_ms(self._clock.now()))
        except (ConfigError, IntegrityError) as error:
            log.error("hotlist unusable", extra={"detail": str(error)})  # noqa: TRY400
            return b""
        self._expires_ms = head.expires_ms
        log.info("hotlist served from now on", extra={"count": head.count})
        return content


def _stamp_of(path: Path) -> tuple[int, ...]:
    with suppress(OSError):
        state = path.stat()
        return state.st_ino, state.st_size, state.st_mtime_ns
    return ()
