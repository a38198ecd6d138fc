"""The log of the other process, and what is to be done after reading both."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from agent.audit.files import CHECKPOINTS, ENTRIES, NoteFile, RecordFile
from agent.base.disk import SYSTEM_DISK, Disk
from agent.base.errors import IntegrityError
from agent.base.segments import disk_errors
from agent.trust.backlog import Backlog
from agent.trust.entries import Entry, decode_entry
from agent.trust.merkle import Proof, Tree, leaf_hash
from agent.trust.notes import peek_checkpoint, require_head

_HELD_LEAVES: Final = 65_536
"""4 MiB of hashes; a proof from further back reads the file again."""


class LogReader:
    """Follows the log that another process writes, as far as that process has signed it.

    Args:
        directory: Of the other log; it may not be there yet.
        known_size: Size that the city has seen: proofs start there or later.
    """

    def __init__(self, directory: Path, *, known_size: int = 0, disk: Disk = SYSTEM_DISK) -> None:
        self._disk = disk
        self._records = RecordFile(directory / ENTRIES, disk)
        self._directory = directory
        self._notes = NoteFile(directory / CHECKPOINTS, disk)
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
        with disk_errors(self._notes.path):
            note = self._notes.read_last()
        if not note or note == self.note:
            return
        head = peek_checkpoint(note)
        for content in islice(self._records.follow(), max(head.size - self.size, 0)):
            self._take_leaf(leaf_hash(content))
            yield decode_entry(content)
        require_head(head, size=self._tree.size, root=self._tree.root())
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
        leaves = (
            leaf_hash(content) for content in RecordFile(self._records.path, self._disk).follow()
        )
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
