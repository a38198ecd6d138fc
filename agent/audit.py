"""The unit's own account: append-only Merkle logs, one per process (formats.md, chapters 6 and 7).

`AuditLog` writes the log of this process; `LogReader` follows the log of the other one.
"""

import errno
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Final

from agent.base.append_file import AppendFile, make_directory
from agent.base.clock import Clock, to_ms
from agent.base.errors import DeviceError, IntegrityError, SpoolFullError
from agent.base.files import sync_directory
from agent.base.lanes import Lane
from agent.trust.backlog import Backlog
from agent.trust.entries import (
    ENTRY_LIMIT_BYTES,
    Boot,
    Entry,
    Gap,
    Sealed,
    decode_entry,
    encode_entry,
)
from agent.trust.header import FrameHeader
from agent.trust.journal import OVERHEAD_BYTES, encode_record, take_record
from agent.trust.merkle import Proof, Tree, leaf_hash
from agent.trust.notes import (
    NOTE_LIMIT_BYTES,
    Checkpoint,
    NoteSigner,
    last_note,
    peek_checkpoint,
    sign_checkpoint,
)

ENTRIES: Final = "entries"
CHECKPOINTS: Final = "checkpoints"
_DIRECTORY_MODE: Final = 0o750
_FILE_MODE: Final = 0o640  # the other process, another user of the same group, reads it
_CHUNK_BYTES: Final = 1_048_576
_HELD_LEAVES: Final = 65_536
"""4 MiB of hashes; a proof from further back reads the file again."""
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)


class RecordFile:
    """Reads a file of records from the start; the file may grow meanwhile."""

    __slots__ = ("offset", "path")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.offset = 0
        """Bytes of whole records so far."""

    def follow(self) -> Iterator[bytes]:
        """Yield the contents of the records that are new and whole, in order.

        Raises:
            DeviceError: The file cannot be read.
        """
        with _disk(self.path), self.path.open("rb") as file:
            file.seek(self.offset)
            yield from self._take(file.read)

    def _take(self, read: Callable[[int], bytes]) -> Iterator[bytes]:
        buffer, at = b"", 0
        while chunk := read(_CHUNK_BYTES):
            buffer, at = buffer[at:] + chunk, 0
            while (content := take_record(buffer, at)) is not None:
                at += len(content) + OVERHEAD_BYTES
                self.offset += len(content) + OVERHEAD_BYTES
                yield content
            if len(buffer) - at > ENTRY_LIMIT_BYTES + OVERHEAD_BYTES:  # no record is that long
                return


class NoteFile:
    """The checkpoints of a log, one signed note after the other, an empty line after each."""

    __slots__ = ("path", "size_bytes")

    def __init__(self, path: Path) -> None:
        self.path = path
        self.size_bytes = 0
        """Bytes of whole notes."""

    def append(self, note: str) -> None:
        """Add a note; the disk gets it in its own time.

        Raises:
            OSError: The disk refuses; what was there is still there.
        """
        content = f"{note}\n".encode()
        try:
            with self.path.open("ab") as file:  # buffered: writes all or raises
                file.write(content)
        except OSError:
            os.truncate(self.path, self.size_bytes)
            raise
        self.size_bytes += len(content)

    def read_last(self) -> str:
        """Return the last whole note; empty when there is none yet.

        Raises:
            OSError: The disk refuses.
        """
        return self._find_last()[0]

    def recover(self) -> str:
        """Make the file unless it is there, cut a torn end and return the last whole note.

        Raises:
            OSError: The disk refuses.
        """
        os.close(os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE))
        note, self.size_bytes = self._find_last()
        os.truncate(self.path, self.size_bytes)
        return note

    def _find_last(self) -> tuple[str, int]:
        """Return the last whole note and where it ends."""
        try:
            with self.path.open("rb") as file:
                start = max(0, file.seek(0, os.SEEK_END) - 4 * NOTE_LIMIT_BYTES)
                file.seek(start)
                tail = file.read()
        except FileNotFoundError:  # the other process has not begun
            return "", 0
        note = last_note(tail.decode(errors="replace"))
        if not note:
            return "", 0
        content = f"{note}\n".encode()
        return note, start + tail.rindex(content) + len(content)


class AuditLog:
    """The log of this process. What `append` returned for survives a power cut.

    Opening it reads what is there. A torn end, from a power cut in the midst of a write, is cut
    off and a gap is written.

    Raises:
        IntegrityError: Entries that a checkpoint covers are damaged, missing or not the ones that
            were signed: stop and report, and keep the files.
        DeviceError: The disk failed, or another process writes this log.
    """

    def __init__(self, directory: Path, signer: NoteSigner, origin: str, clock: Clock) -> None:
        self._signer = signer
        self._tree = Tree()
        self._boot = b""
        self._last: dict[Lane, int] = {}
        with _disk(directory):
            make_directory(directory.parent, mode=_DIRECTORY_MODE)
            make_directory(directory, mode=_DIRECTORY_MODE)
            self._entries = _open_locked(directory / ENTRIES)
            self._notes = NoteFile(directory / CHECKPOINTS)
            self._note = self._notes.recover()
            sync_directory(directory)
        empty = Checkpoint(origin=origin, size=0, root=self._tree.root(), number=0)
        self._head = peek_checkpoint(self._note) if self._note else empty
        self._recover(clock)

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

    def append_all(self, entries: Sequence[Entry]) -> int:
        """Add entries with one write and one fdatasync; return the index of the first.

        Raises:
            SpoolFullError: The disk is full; nothing was added, it may be tried again.
            DeviceError: The disk failed; nothing was added, and this log takes no more.
        """
        contents = [encode_entry(entry) for entry in entries]
        first = self._tree.size
        self._write(b"".join(encode_record(content) for content in contents))
        for entry, content in zip(entries, contents, strict=True):
            self._tree.append(leaf_hash(content))
            self._remember(entry)
        return first

    def checkpoint(self) -> str:
        """Return a signed note over all entries; a new one only when the log grew.

        The note is written but not waited for: when a power cut takes it, the next start signs
        the same entries again.

        Raises:
            SpoolFullError: The disk is full; it may be tried again.
            DeviceError: The disk failed.
        """
        if self._note and self._head.size == self._tree.size:
            return self._note
        head = Checkpoint(
            origin=self._head.origin,
            size=self._tree.size,
            root=self._tree.root(),
            number=self._head.number + 1,
        )
        note = sign_checkpoint(self._signer, head)
        with _disk(self._notes.path):
            self._notes.append(note)
        self._note, self._head = note, head
        return note

    def unlogged(self, header: FrameHeader) -> bool:
        """Tell whether a frame on disk is one of the last start that missed the log.

        A frame is stored before it is logged, so a power cut may come between.
        """
        after_last = header.first_sequence > self._last.get(header.lane, -1)
        return header.boot == self._boot and after_last

    def close(self) -> None:
        """Sign what is there and give the files back."""
        try:
            self.checkpoint()
        finally:
            self._entries.close()

    def _remember(self, entry: Entry) -> None:
        match entry:
            case Boot(boot=boot):
                self._boot, self._last = boot, {}
            case Sealed(lane=lane, last=last):
                self._last[lane] = last
            case _:
                pass

    def _write(self, content: bytes) -> None:
        try:
            self._entries.append(content)
        except OSError as error:
            self._entries.cut_back()
            if error.errno not in _FULL:
                self._entries.close()  # and so every later write fails
            raise _disk_error(error, self._entries.path) from error

    def _recover(self, clock: Clock) -> None:
        """Read the log back, hold it against its last checkpoint, cut a torn end."""
        records = RecordFile(self._entries.path)
        for content in records.follow():
            self._tree.append(leaf_hash(content))
            self._remember(decode_entry(content))
            if self._tree.size == self._head.size:
                _require_root(self._tree, self._head)
        _require_size(self._tree, self._head)
        self._entries.size_bytes = records.offset
        torn_bytes = self._entries.path.stat().st_size - records.offset
        if torn_bytes:
            self._entries.cut_back()
            self.append(Gap(at_ms=to_ms(clock.now()), cut_bytes=torn_bytes))


class LogReader:
    """Follows the log that another process writes, as far as that process has signed it.

    Args:
        directory: Of the other log; it may not be there yet.
        known_size: Size that the city has seen: proofs start there or later.
    """

    def __init__(self, directory: Path, *, known_size: int = 0) -> None:
        self._records = RecordFile(directory / ENTRIES)
        self._directory = directory
        self._notes = NoteFile(directory / CHECKPOINTS)
        self._known_size = known_size
        self._tree = Tree()
        self._base = Tree()
        """Behind the tree by the leaves held."""
        self._later: list[bytes] = []
        self.note = ""
        """The last checkpoint that was followed, as signed."""

    @property
    def size(self) -> int:
        """Entries that were followed; after `follow` the size in the checkpoint `note`."""
        return self._tree.size

    def follow(self) -> Iterator[Entry]:
        """Yield the entries that were signed since the last call. Take them all.

        Raises:
            IntegrityError: The log is not the one that was signed.
            DeviceError: The disk failed.
        """
        with _disk(self._notes.path):
            note = self._notes.read_last()
        if not note or note == self.note:
            return
        head = peek_checkpoint(note)
        for content in islice(self._records.follow(), max(head.size - self.size, 0)):
            self._take_leaf(leaf_hash(content))
            yield decode_entry(content)
        _require_size(self._tree, head)
        _require_root(self._tree, head)
        self.note = note

    def prove_from(self, old_size: int) -> Proof:
        """Return the consistency proof from `old_size` to the checkpoint `note`.

        Raises:
            IntegrityError: The log is shorter than `old_size`: what the city has seen is not
                what is here.
            DeviceError: The disk failed.
        """
        if not 0 <= old_size <= self.size:
            message = f"{self._directory}: {self.size} entries; the city has seen {old_size}"
            raise IntegrityError(message)
        if old_size == 0:
            return ()
        if old_size >= self._base.size:
            later = self._later[old_size - self._base.size :]
            return self._tree_at(old_size).prove_growth(later)
        leaves = (leaf_hash(content) for content in RecordFile(self._records.path).follow())
        tree = Tree(islice(leaves, old_size))
        return tree.prove_growth(list(islice(leaves, self.size - old_size)))

    def acknowledge(self, size: int) -> None:
        """Take note that the city has seen `size` entries: no proof need start before."""
        self._let_go(min(size, self.size) - self._base.size)

    def _take_leaf(self, leaf: bytes) -> None:
        self._tree.append(leaf)
        self._later.append(leaf)
        if self.size <= self._known_size:
            self._let_go(1)
        elif len(self._later) > 2 * _HELD_LEAVES:
            self._let_go(_HELD_LEAVES)

    def _let_go(self, count: int) -> None:
        """Hold the oldest `count` leaves no longer."""
        count = max(count, 0)
        for leaf in self._later[:count]:
            self._base.append(leaf)
        del self._later[:count]

    def _tree_at(self, size: int) -> Tree:
        tree = self._base.copy()
        for leaf in self._later[: size - self._base.size]:
            tree.append(leaf)
        return tree


def read_backlog(send: Path) -> Backlog:
    """Return what the sender's own log says; the watcher's log is to be followed into it.

    Args:
        send: Directory of the log, opened (so recovered) before.

    Raises:
        IntegrityError: The log is damaged.
        DeviceError: The disk failed.
    """
    backlog = Backlog()
    for content in RecordFile(send / ENTRIES).follow():
        backlog.note_sent(decode_entry(content))
    return backlog


def _open_locked(path: Path) -> AppendFile:
    """Open the file for this process alone, making it where it is missing."""
    flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
    descriptor = os.open(path, flags, _FILE_MODE)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(descriptor)
        message = f"{path}: another process writes this log; stop it first"
        raise DeviceError(message) from error
    return AppendFile(path, descriptor)


def _require_size(tree: Tree, head: Checkpoint) -> None:
    if tree.size < head.size:
        message = (
            f"{head.origin}: {tree.size} whole entries on disk; {head.size} are signed. "
            "Keep the files and run `homeplate audit verify`"
        )
        raise IntegrityError(message)


def _require_root(tree: Tree, head: Checkpoint) -> None:
    if tree.root() != head.root:
        message = (
            f"{head.origin}: the first {head.size} entries on disk are not the signed ones. "
            "Keep the files and run `homeplate audit verify`"
        )
        raise IntegrityError(message)


@contextmanager
def _disk(place: Path) -> Iterator[None]:
    """Turn the disk's errors into ours."""
    try:
        yield
    except OSError as error:
        raise _disk_error(error, place) from error


def _disk_error(error: OSError, place: Path) -> DeviceError | SpoolFullError:
    if error.errno in _FULL:
        return SpoolFullError(f"{place}: the disk is full ({error.strerror}); make room")
    return DeviceError(f"{place}: the disk failed ({error.strerror}); check the card and its mount")
