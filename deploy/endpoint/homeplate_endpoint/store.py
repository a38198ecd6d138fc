"""Ciphertext on disk: one append-only file of frames, SQLite as its index.

What `add` returned for survives a power cut: the frames are synced before the index names them.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from agent.base.append_file import AppendFile, make_directory
from agent.base.errors import DeviceError, IntegrityError
from agent.base.files import sync_directory
from agent.trust.header import FrameHeader
from agent.trust.notes import Checkpoint
from agent.trust.receipts import NO_RECEIPT, receipt_hash

FRAMES: Final = "frames"
INDEX: Final = "index.sqlite"
_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS frames (
  unit TEXT NOT NULL, boot BLOB NOT NULL, lane INTEGER NOT NULL,
  first INTEGER NOT NULL, last INTEGER NOT NULL,
  sha256 BLOB NOT NULL, place INTEGER NOT NULL, length INTEGER NOT NULL,
  received_ms INTEGER NOT NULL,
  PRIMARY KEY (unit, boot, lane, first)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS heads (
  unit TEXT NOT NULL, size INTEGER NOT NULL, root BLOB NOT NULL, note TEXT NOT NULL,
  PRIMARY KEY (unit, size)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS receipts (
  unit TEXT NOT NULL, key TEXT NOT NULL, receipt BLOB NOT NULL,
  PRIMARY KEY (unit, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS last_receipts (
  unit TEXT NOT NULL PRIMARY KEY, sha256 BLOB NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS alarms (
  time_ms INTEGER NOT NULL, unit TEXT NOT NULL, kind TEXT NOT NULL, detail TEXT NOT NULL
) STRICT;
"""


class ForkError(IntegrityError):
    """A unit has given two different frames, or two different logs, for the same place."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewFrame:
    """A frame that came in, parsed."""

    header: FrameHeader
    sha256: bytes
    content: bytes = field(repr=False)


class Store:
    """The endpoint's storage; one process has it, one thread at a time.

    Raises:
        DeviceError: The disk failed.
        IntegrityError: Frames that the index names are missing.
    """

    def __init__(self, directory: Path) -> None:
        self._pending_bytes = 0
        self._failed = False
        with storage_errors(directory):
            directory.parent.mkdir(parents=True, exist_ok=True)
            make_directory(directory, mode=0o700)
            self._index = sqlite3.connect(
                directory / INDEX, isolation_level=None, check_same_thread=False
            )
            self._index.execute("PRAGMA journal_mode = WAL")
            self._index.execute("PRAGMA synchronous = FULL")
            self._index.executescript(_SCHEMA)
            self._frames = _open_frames(directory / FRAMES)
            sync_directory(directory)
        self._recover()

    def receipt(self, unit: str, key: str) -> bytes | None:
        """Return the receipt that was given for the same upload before."""
        with storage_errors(self._frames.path):
            rows = self._index.execute(
                "SELECT receipt FROM receipts WHERE unit = ? AND key = ?", (unit, key)
            )
            return _first(rows)

    def head(self, unit: str) -> tuple[int, bytes] | None:
        """Return size and root of the longest log of the unit's watcher that was seen."""
        with storage_errors(self._frames.path):
            rows = self._index.execute(
                "SELECT size, root FROM heads WHERE unit = ? ORDER BY size DESC LIMIT 1", (unit,)
            )
            found: tuple[int, bytes] | None = rows.fetchone()
            return found

    def root_at(self, unit: str, size: int) -> bytes | None:
        """Return the root of the unit's log that was seen at this size."""
        with storage_errors(self._frames.path):
            rows = self._index.execute(
                "SELECT root FROM heads WHERE unit = ? AND size = ?", (unit, size)
            )
            return _first(rows)

    def add(
        self,
        frames: Sequence[NewFrame],
        head: Checkpoint,
        note: str,
        *,
        key: str,
        time_ms: int,
        sign: Callable[[bytes], bytes],
    ) -> bytes:
        """Store what is new of an upload by one unit and return the receipt that `sign` makes.

        `sign` is given the hash of the receipt before, which the new one names.

        Raises:
            ForkError: A frame takes the place of another one; nothing was stored.
            DeviceError: The disk failed; nothing was acknowledged.
        """
        unit = frames[0].header.unit
        with storage_errors(self._frames.path), self._transaction():
            fresh = [frame for frame in frames if self._place(frame, time_ms)]
            self._write(b"".join(frame.content for frame in fresh))
            self._index.execute(
                "INSERT OR IGNORE INTO heads VALUES (?, ?, ?, ?)",
                (unit, head.size, head.root, note),
            )
            receipt = sign(self._last_receipt(unit))
            self._index.execute("INSERT INTO receipts VALUES (?, ?, ?)", (unit, key, receipt))
            self._index.execute(
                "INSERT OR REPLACE INTO last_receipts VALUES (?, ?)", (unit, receipt_hash(receipt))
            )
        return receipt

    def alarm(self, unit: str, kind: str, detail: str, *, time_ms: int) -> None:
        """Keep a sign of a unit that is not what it claims to be."""
        with storage_errors(self._frames.path):
            self._index.execute(
                "INSERT INTO alarms VALUES (?, ?, ?, ?)", (time_ms, unit, kind, detail)
            )

    def close(self) -> None:
        """Give the files back."""
        self._index.close()
        self._frames.close()

    def _last_receipt(self, unit: str) -> bytes:
        """Return the hash of the receipt that was made last for the unit."""
        rows = self._index.execute("SELECT sha256 FROM last_receipts WHERE unit = ?", (unit,))
        return _first(rows) or NO_RECEIPT

    def _place(self, frame: NewFrame, time_ms: int) -> bool:
        """Enter a frame into the index; False when it is there already."""
        header = frame.header
        owner = (header.unit, header.boot, int(header.lane))
        row = self._index.execute(
            "SELECT sha256, last FROM frames WHERE unit = ? AND boot = ? AND lane = ?"
            " AND first <= ? ORDER BY first DESC LIMIT 1",
            (*owner, header.last_sequence),
        ).fetchone()
        if row is not None and row[0] == frame.sha256:
            return False
        if row is not None and row[1] >= header.first_sequence:
            message = (
                f"boot {header.boot.hex()} lane {header.lane.label} sequence "
                f"{header.first_sequence}: another frame is stored there"
            )
            raise ForkError(message)
        place = self._frames.size_bytes + self._pending_bytes
        span = (header.first_sequence, header.last_sequence)
        row = (*owner, *span, frame.sha256, place, len(frame.content), time_ms)
        self._index.execute("INSERT INTO frames VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", row)
        self._pending_bytes += len(frame.content)
        return True

    def _write(self, content: bytes) -> None:
        """Append to the frames; after a failure nothing more, until a restart has looked."""
        if self._failed:
            message = f"{self._frames.path}: the disk failed before; check it and start again"
            raise DeviceError(message)
        if content:
            self._failed = True
            self._frames.append(content)
            self._failed = False

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """All or nothing in the index; frames of a failed one are cut off the file again."""
        before = self._frames.size_bytes
        self._pending_bytes = 0
        self._index.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._index.execute("COMMIT")
        except BaseException:
            if self._index.in_transaction:
                self._index.execute("ROLLBACK")
            self._frames.size_bytes = before
            self._frames.cut_back()
            raise

    def _recover(self) -> None:
        """Cut off frames that were written but never acknowledged."""
        with storage_errors(self._frames.path):
            rows = self._index.execute("SELECT COALESCE(MAX(place + length), 0) FROM frames")
            (known_bytes,) = rows.fetchone()
            found_bytes = self._frames.path.stat().st_size
            if found_bytes < known_bytes:
                message = (
                    f"{self._frames.path}: {found_bytes} bytes; the index names {known_bytes}. "
                    "Frames that were acknowledged are missing: restore them before serving"
                )
                raise IntegrityError(message)
            self._frames.size_bytes = known_bytes
            self._frames.cut_back()


def _open_frames(path: Path) -> AppendFile:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        message = f"{path}: another endpoint has this storage; stop it first"
        raise DeviceError(message) from error
    return AppendFile(path, descriptor)


def _first(rows: sqlite3.Cursor) -> bytes | None:
    row = rows.fetchone()
    return None if row is None else bytes(row[0])


@contextmanager
def storage_errors(place: Path) -> Iterator[None]:
    """Turn errors of the disk and the index into ours."""
    try:
        yield
    except (OSError, sqlite3.Error) as error:
        message = f"{place}: the storage failed ({error}); check the disk"
        raise DeviceError(message) from error
