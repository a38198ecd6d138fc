"""The log of the other process, and what is to be done after reading both."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import msgspec

from agent.audit.files import CHECKPOINTS, ENTRIES, NoteFile, RecordFile
from agent.base.disk import SYSTEM_DISK, Disk
from agent.base.errors import IntegrityError
from agent.base.segments import disk_errors
from agent.trust.backlog import Backlog
from agent.trust.entries import Entry, HotlistSeen, PolicySeen, decode_entry
from agent.trust.journal import find_records
from agent.trust.merkle import Proof, leaf_hash
from agent.trust.notes import peek_checkpoint, require_head
from agent.trust.policy_history import NO_HISTORY, PolicyHistory, recount_policies
from agent.trust.proofs import BLOCK_LEAVES, BlockTree

_KINDS: Final = tuple(
    msgspec.msgpack.encode(kind.__struct_config__.tag) for kind in (PolicySeen, HotlistSeen)
)
"""How the kinds stand in an entry, behind the byte of its array."""


class LogReader:
    """Follows the log that another process writes, as far as that process has signed it.

    Args:
        directory: Of the other log; it may not be there yet.
        disk: Where it is.
    """

    def __init__(self, directory: Path, *, disk: Disk = SYSTEM_DISK) -> None:
        self._disk = disk
        self._records = RecordFile(directory / ENTRIES, disk)
        self._directory = directory
        self._notes = NoteFile(directory / CHECKPOINTS, disk)
        self._tree = BlockTree(self._read_block)
        self._marks: list[int] = []
        """Where in the file each block of the tree begins."""
        self.note = ""
        """The last checkpoint that was followed, as signed."""

    @property
    def size(self) -> int:
        """Entries that were followed; after `follow` the size in the checkpoint `note`."""
        return self._tree.size

    def follow(self) -> Iterator[tuple[int, Entry]]:
        """Yield the entries that were signed since the last call, with their index. Take them all.

        Raises:
            IntegrityError: The log is not the one that was signed.
            DeviceError: The disk failed.
        """
        with disk_errors(self._notes.path):
            note = self._notes.read_last()
        if not note or note == self.note:
            return
        head = peek_checkpoint(note)
        before = self._records.offset
        for content in islice(self._records.follow(), max(head.size - self.size, 0)):
            if not self.size % BLOCK_LEAVES:
                self._marks.append(before)
            self._tree.append(leaf_hash(content))
            before = self._records.offset
            yield self.size - 1, decode_entry(content)
        require_head(head, size=self.size, root=self._tree.root(self.size))
        self.note = note

    def has_signed(self, size: int) -> bool:
        """Tell whether what was followed covers the `size` entries that the city has seen.

        A power cut may take the last checkpoints. Then entries stand on the disk unsigned until
        the other process signs them again at its next start.

        Raises:
            IntegrityError: There are fewer entries than that.
            DeviceError: The disk failed.
        """
        if size <= self.size:
            return True
        records = RecordFile(self._records.path, self._disk)
        found = sum(1 for _ in records.follow())
        if found < size:
            message = f"{self._directory}: {found} whole entries; the city has seen {size}"
            raise IntegrityError(message)
        return False

    def root_at(self, size: int) -> bytes:
        """Return the root of the log's first `size` entries.

        Raises:
            IntegrityError: The log is shorter.
            DeviceError: The disk failed.
        """
        return self._tree.root(self._require(size))

    def prove_from(self, old_size: int) -> Proof:
        """Return the consistency proof from `old_size` to the checkpoint `note`.

        Raises:
            IntegrityError: The log is shorter than `old_size`: what the city has seen is not
                what is here.
            DeviceError: The disk failed.
        """
        return self._tree.prove_growth(self._require(old_size))

    def prove_members(self, indices: Iterable[int]) -> Proof:
        """Return the proof that entries stand at these indices under the checkpoint `note`.

        Raises:
            DeviceError: The disk failed.
        """
        return self._tree.prove_members(indices)

    def _require(self, size: int) -> int:
        if not 0 <= size <= self.size:
            message = f"{self._directory}: {self.size} entries; the city has seen {size}"
            raise IntegrityError(message)
        return size

    def _read_block(self, block: int) -> list[bytes]:
        records = RecordFile(self._records.path, self._disk)
        records.offset = self._marks[block]
        leaves = [leaf_hash(content) for content in islice(records.follow(), BLOCK_LEAVES)]
        if len(leaves) < BLOCK_LEAVES:
            message = f"{self._directory}: entries that were whole before are damaged now"
            raise IntegrityError(message)
        return leaves


def read_backlog(send: Path, disk: Disk = SYSTEM_DISK) -> Backlog:
    """Return what the sender's own log says; the watcher's log is to be followed into it.

    Args:
        send: Directory of the log, opened (so recovered) before.
        disk: Where it is.

    Raises:
        IntegrityError: The log is damaged.
        DeviceError: The disk failed.
    """
    backlog = Backlog()
    for content in RecordFile(send / ENTRIES, disk).follow():
        backlog.note_sent(decode_entry(content))
    return backlog


def read_policy_history(directory: Path, disk: Disk = SYSTEM_DISK) -> PolicyHistory:
    """Return what a log says of policies and hotlists, also behind a damaged place.

    A log that is not there says nothing. Nothing is verified: opening the log does that. Few
    entries are of these kinds, so the others are not decoded.

    Raises:
        IntegrityError: Such an entry is none.
        DeviceError: The disk failed.
    """
    path = directory / ENTRIES
    if not path.exists():
        return NO_HISTORY
    records = RecordFile(path, disk)
    contents = [
        content for batch in records.batches() for content in batch if _is_decision(content)
    ]
    contents += filter(_is_decision, find_records(records.rest()))
    return recount_policies(map(decode_entry, contents))


def _is_decision(content: bytes) -> bool:
    return content.startswith(_KINDS, 1)
