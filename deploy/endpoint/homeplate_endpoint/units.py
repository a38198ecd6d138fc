"""The endpoint's register of units: who is enrolled, with which keys and certificates.

A file of its own beside the frames: it stays when a city moves the frames of a period away. Only
certificates that stand here open a door, so one that is revoked closes it with the next request.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from agent.base.errors import ConfigError
from agent.trust.enrolment import Keys
from agent.trust.signatures import PublicKey, load_public_key
from homeplate_endpoint.refusals import RefusalError
from homeplate_endpoint.store import storage_errors

State = Literal["active", "retired", "revoked"]
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS units (
  name TEXT PRIMARY KEY, state TEXT NOT NULL,
  tls_key BLOB NOT NULL, watch_key BLOB NOT NULL, send_key BLOB NOT NULL,
  enrolled_ms INTEGER NOT NULL, ended_ms INTEGER, reason TEXT, destruction BLOB
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS certificates (
  serial TEXT PRIMARY KEY, unit TEXT NOT NULL,
  issued_ms INTEGER NOT NULL, expires_ms INTEGER NOT NULL, content BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS certificates_of ON certificates (unit, issued_ms);
CREATE TABLE IF NOT EXISTS tokens (
  sha256 BLOB PRIMARY KEY, unit TEXT NOT NULL, used_ms INTEGER NOT NULL,
  keys_sha256 BLOB NOT NULL, certificate BLOB NOT NULL
) STRICT, WITHOUT ROWID;
"""
_UNITS: Final = (
    "SELECT name, state, tls_key, watch_key, send_key, enrolled_ms, ended_ms, reason FROM units"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolled:
    """A unit of the register."""

    name: str
    state: State
    keys: Keys
    enrolled_ms: int
    ended_ms: int | None
    reason: str | None
    """Why it is no longer active."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewCertificate:
    """A certificate that was just issued."""

    serial: int
    issued_ms: int
    expires_ms: int
    content: bytes = field(repr=False)
    """DER."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedToken:
    """A token that has enrolled a unit, and what was answered."""

    unit: str
    keys_sha256: bytes
    certificate: bytes = field(repr=False)


class Units:
    """The register; several processes may have it open, each call is one transaction.

    Raises:
        DeviceError: The disk failed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._turn = threading.RLock()
        with storage_errors(path):
            path.touch(mode=0o600, exist_ok=True)
            self._index = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._index.execute("PRAGMA journal_mode = WAL")
            self._index.execute("PRAGMA synchronous = FULL")
            self._index.executescript(_SCHEMA)

    def close(self) -> None:
        """Give the file back."""
        self._index.close()

    def get(self, unit: str, /) -> PublicKey | None:
        """Return the public key of an active unit's watcher; None for any other name."""
        found = self.find(unit)
        return found.keys.watch if found is not None and found.state == "active" else None

    def find(self, unit: str) -> Enrolled | None:
        """Return what is known of a unit."""
        row = self._first(f"{_UNITS} WHERE name = ?", unit)
        return None if row is None else _make_enrolled(row)

    def all(self) -> tuple[Enrolled, ...]:
        """Return all units by name, also those that are no longer active."""
        with self._turn, storage_errors(self._path):
            rows = self._index.execute(f"{_UNITS} ORDER BY name").fetchall()
        return tuple(_make_enrolled(row) for row in rows)

    def require_known(self, unit: str, serial: int, *, now_ms: int) -> Enrolled:
        """Return the active unit that a certificate is of.

        Raises:
            RefusalError: The unit is unknown or ended, or the certificate is not one of its own, or
                it has ended since this connection was opened.
        """
        found = require_active(self.find(unit), unit)
        row = self._first(
            "SELECT expires_ms FROM certificates WHERE serial = ? AND unit = ?", f"{serial:x}", unit
        )
        if row is None:
            detail = f"this certificate of {unit} was not issued here, or was taken back"
            raise RefusalError(status=403, error="certificate", detail=detail)
        if now_ms >= row[0]:
            detail = f"this certificate of {unit} has ended; renew it"
            raise RefusalError(status=403, error="certificate", detail=detail)
        return found

    def token(self, sha256: bytes) -> UsedToken | None:
        """Return what a token was used for; None when it was not used yet."""
        row = self._first(
            "SELECT unit, keys_sha256, certificate FROM tokens WHERE sha256 = ?", sha256
        )
        if row is None:
            return None
        return UsedToken(unit=row[0], keys_sha256=row[1], certificate=row[2])

    def enrol(
        self, unit: str, keys: Keys, token_sha256: bytes, certificate: NewCertificate
    ) -> None:
        """Enter a unit and its certificate, and use the token up: all three or nothing.

        A unit that is there already keeps its log keys and gets a new TLS key; certificates for
        the old one are taken back.
        """
        with self._writing():
            self._index.execute("DELETE FROM certificates WHERE unit = ?", (unit,))
            self._index.execute(
                "INSERT INTO units VALUES (?, 'active', ?, ?, ?, ?, NULL, NULL, NULL)"
                " ON CONFLICT (name) DO UPDATE SET tls_key = excluded.tls_key",
                (unit, keys.tls.spki, keys.watch.spki, keys.send.spki, certificate.issued_ms),
            )
            self._enter(unit, certificate)
            self._index.execute(
                "INSERT INTO tokens VALUES (?, ?, ?, ?, ?)",
                (token_sha256, unit, certificate.issued_ms, keys.sha256, certificate.content),
            )

    def add_certificate(self, unit: str, certificate: NewCertificate) -> None:
        """Enter a renewed certificate; the one before stays good until it expires."""
        with self._writing():
            self._enter(unit, certificate)

    def newest_certificate(self, unit: str) -> NewCertificate | None:
        """Return the certificate that was issued last."""
        row = self._first(
            "SELECT serial, issued_ms, expires_ms, content FROM certificates WHERE unit = ?"
            " ORDER BY issued_ms DESC, expires_ms DESC LIMIT 1",
            unit,
        )
        if row is None:
            return None
        return NewCertificate(
            serial=int(row[0], 16), issued_ms=row[1], expires_ms=row[2], content=row[3]
        )

    def revoke(self, unit: str, reason: str, *, now_ms: int) -> None:
        """End an active unit: its certificates are taken back, its name stays taken.

        One that has ended before keeps the reason and date that it has.

        Raises:
            ConfigError: There is no such unit.
        """
        self._require(unit)
        with self._writing():
            self._index.execute(
                "UPDATE units SET state = 'revoked', reason = ?, ended_ms = ?"
                " WHERE name = ? AND state = 'active'",
                (reason, now_ms, unit),
            )
            self._take_back(unit)

    def retire(self, unit: str, destruction: bytes, *, reason: str, now_ms: int) -> None:
        """Keep a unit's certificate of destruction, the first that comes, and end the unit.

        One that was revoked stays revoked, with reason and date: whoever has the stolen unit has
        its key too.

        Raises:
            ConfigError: There is no such unit.
        """
        self._require(unit)
        with self._writing():
            self._index.execute(
                "UPDATE units SET destruction = ? WHERE name = ? AND destruction IS NULL",
                (destruction, unit),
            )
            self._index.execute(
                "UPDATE units SET state = 'retired', reason = ?, ended_ms = ?"
                " WHERE name = ? AND state = 'active'",
                (reason, now_ms, unit),
            )
            self._take_back(unit)

    def destruction(self, unit: str) -> bytes | None:
        """Return a unit's certificate of destruction, as it was handed in."""
        row = self._first("SELECT destruction FROM units WHERE name = ?", unit)
        return None if row is None else row[0]

    def _require(self, unit: str) -> None:
        if self.find(unit) is None:
            message = f"unit {unit}: is in no register; see `homeplate-endpoint unit list`"
            raise ConfigError(message)

    def _take_back(self, unit: str) -> None:
        self._index.execute("DELETE FROM certificates WHERE unit = ?", (unit,))

    def _enter(self, unit: str, certificate: NewCertificate) -> None:
        row = (certificate.issued_ms, certificate.expires_ms, certificate.content)
        self._index.execute(
            "INSERT INTO certificates VALUES (?, ?, ?, ?, ?)",
            (f"{certificate.serial:x}", unit, *row),
        )

    def _first(self, query: str, *values: str | bytes) -> tuple[Any, ...] | None:
        with self._turn, storage_errors(self._path):
            row: tuple[Any, ...] | None = self._index.execute(query, values).fetchone()
        return row

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction: all or nothing."""
        with self._turn, storage_errors(self._path):
            self._index.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._index.execute("COMMIT")
            except BaseException:
                if self._index.in_transaction:
                    self._index.execute("ROLLBACK")
                raise


def require_active(found: Enrolled | None, unit: str) -> Enrolled:
    """Return the unit.

    Raises:
        RefusalError: It is unknown, retired or revoked.
    """
    if found is None:
        detail = f"the unit {unit} is not enrolled"
        raise RefusalError(status=403, error="unknown-unit", detail=detail)
    if found.state != "active":
        detail = f"the unit {unit} is {found.state} ({found.reason})"
        raise RefusalError(status=403, error=found.state, detail=detail)
    return found


def _make_enrolled(row: tuple[Any, ...]) -> Enrolled:
    """Return what a row of `_UNITS` says."""
    name, state, tls_key, watch_key, send_key, enrolled_ms, ended_ms, reason = row
    keys = Keys(
        tls=load_public_key(tls_key, place=name),
        watch=load_public_key(watch_key, place=name),
        send=load_public_key(send_key, place=name),
    )
    return Enrolled(
        name=name,
        state=state,
        keys=keys,
        enrolled_ms=enrolled_ms,
        ended_ms=ended_ms,
        reason=reason,
    )
