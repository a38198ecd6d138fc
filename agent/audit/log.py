"""The log of this process."""

import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from agent.audit.files import (
    CHECKPOINTS,
    ENTRIES,
    FILE_MODE,
    NoteFile,
    RecordFile,
)
from agent.base.append_file import AppendFile, make_directory
from agent.base.clock import Clock, to_ms
from agent.base.disk import SYSTEM_DISK, Disk, sync_names
from agent.base.errors import ConfigError, DeviceError, IntegrityError, SpoolFullError
from agent.base.segments import disk_errors
from agent.trust.entries import (
    Entry,
    Gap,
    decode_entries,
    decode_entry,
    encode_entry,
    times_of,
)
from agent.trust.header import FrameHeader
from agent.trust.journal import encode_record, find_records
from agent.trust.known import Known
from agent.trust.merkle import Tree, leaf_hash, leaf_hashes
from agent.trust.notes import (
    NO_NOTE,
    Checkpoint,
    NoteSigner,
    note_hash,
    peek_checkpoint,
    require_head,
    sign_checkpoint,
    unsigned_limit_ms,
)

log = logging.getLogger(__name__)

_SHARED_MODE: Final = 0o770  # two users of one group: whichever process comes first makes it
_DIRECTORY_MODE: Final = 0o750


class AuditLog:
    """The log of this process. What `append` returned for survives a power cut.

    Opening it reads what is there. Where it did not end in good order, a gap is written. A torn
    end, from a power cut in the midst of a write, is cut off; whole entries behind a damaged place
    are entered again.

    Raises:
        IntegrityError: Entries that a checkpoint covers are damaged, missing or not the ones that
            were signed: stop and report, and keep the files.
        DeviceError: The disk failed, or another process writes this log.
        ConfigError: It is the log of another unit or process.
    """

    def __init__(
        self,
        directory: Path,
        signer: NoteSigner,
        origin: str,
        clock: Clock,
        disk: Disk = SYSTEM_DISK,
    ) -> None:
        self._signer = signer
        self._disk = disk
        self.latest_ms = 0
        """The latest time that any entry bears: time never runs back behind it."""
        self._tree = Tree()
        self._unsigned: list[Entry] = []
        """Those of this start that no signature covers."""
        self._failed = False
        self._known = Known()
        with disk_errors(directory):
            make_directory(directory.parent, mode=_SHARED_MODE, disk=disk)
            make_directory(directory, mode=_DIRECTORY_MODE, disk=disk)
            self._entries = _open_locked(directory / ENTRIES, disk)
            self._notes = NoteFile(directory / CHECKPOINTS, disk)
            self._note = self._notes.recover()
            sync_names(disk, directory)
        empty = Checkpoint(
            origin=origin, size=0, root=self._tree.root(), number=0, previous=NO_NOTE
        )
        self._head = peek_checkpoint(self._note) if self._note else empty
        try:
            _require_origin(self._head, origin, directory)
            self._recover(clock)
        except BaseException:
            self._release()
            raise

    @property
    def size(self) -> int:
        """Entries in the log."""
        return self._tree.size

    def root(self) -> bytes:
        """Return the Merkle root over all entries."""
        return self._tree.root()

    def append(self, entry: Entry) -> int:
        """Add one entry and return its index; see `append_all`."""
        return self.append_all((entry,))

    @property
    def failed(self) -> bool:
        """Whether the disk failed, so that this log takes no more."""
        return self._failed

    def append_all(self, entries: Sequence[Entry]) -> int:
        """Add entries with one write and one fdatasync; return the index of the first.

        Unsigned entries that would span too long a time with these are signed before.

        Raises:
            SpoolFullError: The disk is full; nothing was added, it may be tried again.
            DeviceError: The disk failed; nothing was added, and this log takes no more.
        """
        self._sign_in_time(entries)
        contents = [encode_entry(entry) for entry in entries]
        first = self._tree.size
        self._write(b"".join(encode_record(content) for content in contents))
        for entry, content in zip(entries, contents, strict=True):
            self._tree.append(leaf_hash(content))
            self.latest_ms = max(self.latest_ms, entry.at_ms)
            self._unsigned.append(entry)
        return first

    def _sign_in_time(self, entries: Sequence[Entry]) -> None:
        """Sign what stands there where a clock that jumped, or a slow disk, asks for it."""
        begin_ms, end_ms = times_of((*self._unsigned, *entries))
        if self._unsigned and end_ms - begin_ms > unsigned_limit_ms(self._head.origin):
            self.checkpoint()

    def checkpoint(self) -> str:
        """Return a signed note over all entries that the disk has; a new one only when they grew.

        Raises:
            SpoolFullError: The disk is full; it may be tried again.
            DeviceError: The disk failed; this log is signed no more.
        """
        if self._note and self._head.size == self._tree.size:
            return self._note
        head = Checkpoint(
            origin=self._head.origin,
            size=self._tree.size,
            root=self._tree.root(),
            number=self._head.number + 1,
            previous=note_hash(self._note) if self._note else NO_NOTE,
        )
        note = sign_checkpoint(self._signer, head)
        with disk_errors(self._notes.path):
            self._notes.append(note)
        self._note, self._head = note, head
        self._unsigned.clear()
        return note

    @property
    def ended(self) -> bool:
        """Whether this log ended in good order the time before, all of it signed."""
        return self._known.ended

    def unlogged(self, header: FrameHeader, sha256: bytes) -> bool:
        """Tell whether a frame on disk is one of the last start that is not in the log.

        A frame is stored before it is logged, so a power cut may come between; and entries that no
        signature covered yet may be damaged or gone. To be asked at a start.
        """
        return self._known.is_unlogged(header, sha256)

    def close(self) -> None:
        """Sign what is there and give the files back."""
        try:
            self.checkpoint()
        finally:
            self._release()

    def _release(self) -> None:
        self._entries.close()
        self._notes.close()

    def _write(self, content: bytes) -> None:
        if self._failed:
            message = f"{self._entries.path}: the disk failed before; start again to read it back"
            raise DeviceError(message)
        try:
            with disk_errors(self._entries.path):
                self._entries.append(content)
        except (DeviceError, SpoolFullError) as error:
            self._entries.cut_back()
            self._failed = isinstance(error, DeviceError)
            raise

    def _recover(self, clock: Clock) -> None:
        """Read the log back, hold it against its last checkpoint, cut a torn end.

        A killed process may leave whole entries that stand in memory only. The first append, of
        the `boot` that every start begins with, waits for them too, before anything is signed.
        """
        records = RecordFile(self._entries.path, self._disk)
        for contents in records.batches():
            leaves = leaf_hashes(contents)
            signed = max(self._head.size - self._tree.size, 0)
            self._tree.extend(leaves[:signed])
            if self._tree.size == self._head.size:
                require_head(self._head, size=self._tree.size, root=self._tree.root())
            self._tree.extend(leaves[signed:])
            for number, entry in enumerate(decode_entries(contents)):
                self.latest_ms = max(self.latest_ms, entry.at_ms)
                self._known.note(entry, signed=number < signed)
        if self._tree.size < self._head.size:
            require_head(self._head, size=self._tree.size, root=self._tree.root())
        self._entries.size_bytes = records.offset
        with disk_errors(self._entries.path):
            torn_bytes = self._disk.size_at(self._entries.path) - records.offset
        unsigned = self._tree.size - self._head.size
        if torn_bytes or unsigned:
            self._mend(records.rest(), torn_bytes, unsigned=unsigned, at_ms=to_ms(clock.now()))

    def _mend(self, rest: bytes, torn_bytes: int, *, unsigned: int, at_ms: int) -> None:
        """Cut off what is no entry, enter again what is whole behind it, and say so.

        Args:
            rest: What stands behind the last whole entry.
            torn_bytes: Its length.
            unsigned: Whole entries before it that no signature covers.
            at_ms: The time.
        """
        kept = find_entries(rest) if torn_bytes else []
        kept_bytes = sum(len(encode_record(encode_entry(entry))) for entry in kept)
        gap = Gap(
            at_ms=at_ms,
            cut_bytes=torn_bytes - kept_bytes,
            kept=len(kept),
            unsigned=unsigned + len(kept),
        )
        for entry in (gap, *kept):
            self._known.note(entry, signed=False)
        if torn_bytes:
            self._entries.cut_back()
        self.append_all([gap, *kept])
        self.checkpoint()  # what this start adds is not to count as unsigned since the last one
        _tell(gap, self._entries.path)


def find_entries(rest: bytes) -> list[Entry]:
    """Return the whole entries in what stands behind the last that could be reached."""
    entries = []
    for content in find_records(rest):
        with suppress(IntegrityError):
            entries.append(decode_entry(content))
    return entries


def _tell(gap: Gap, path: Path) -> None:
    """Log how a log was found: damaged in its midst, or only without an orderly end."""
    detail = f"{path}: {gap.cut_bytes} bytes cut, {gap.kept} entries behind them kept"
    if gap.kept:
        log.error("log damaged", extra={"detail": detail, "count": gap.unsigned})
    elif gap.cut_bytes:
        log.warning("log torn", extra={"detail": detail, "count": gap.unsigned})
    else:
        log.info("log not signed to its end", extra={"detail": detail, "count": gap.unsigned})


def _require_origin(head: Checkpoint, origin: str, directory: Path) -> None:
    """Refuse to go on with the log of another unit: its frames could never be delivered."""
    if head.origin != origin:
        message = f"{directory}: is the log of {head.origin}, the settings are for {origin}; "
        message += "give each unit a state folder of its own"
        raise ConfigError(message)


def _open_locked(path: Path, disk: Disk) -> AppendFile:
    """Open the file for this process alone, making it where it is missing."""
    descriptor = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, FILE_MODE)
    try:
        disk.lock(descriptor)
        disk.set_mode(descriptor, FILE_MODE)  # the umask may have taken the group away
    except BlockingIOError as error:
        disk.close(descriptor)
        message = f"{path}: another process writes this log; stop it first"
        raise DeviceError(message) from error
    return AppendFile(path, descriptor, disk)
