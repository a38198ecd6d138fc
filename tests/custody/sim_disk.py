"""A disk in memory that remembers the order of calls and what a power cut may leave of them.

The model is harsher than the file systems that units use:

- Bytes are durable after `sync_data` on their file, names after `sync` on their directory, and
  nothing else is: making a file durable does not make its name durable.
- Of what was not synced any part may have reached the disk, in any order: each write whole, cut
  at any sector, with sectors missing (zeros, where the file grew) or not at all; each name on
  its own.
- A descriptor, a lock and the memory of processes are gone; what was durable is there.
"""

import errno
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

SECTOR_BYTES = 512
MANY_WRITES = 8


class Place:
    """What the hooks of a disk are told: the call, the path and who called."""

    __slots__ = ("call", "path")

    def __init__(self, call: str, path: Path) -> None:
        self.call, self.path = call, path


@dataclass(slots=True)
class Node:
    """A file, or with `names` a directory."""

    number: int
    content: bytearray = field(default_factory=bytearray)
    durable: bytes = b""
    pending: list[tuple[int, bytes | None]] = field(default_factory=list)
    """Writes since the last sync: offset and bytes; None for a cut to that length."""
    names: dict[str, "Node"] | None = None
    durable_names: dict[str, "Node"] = field(default_factory=dict)
    pending_names: list[tuple[str, str, "Node | None"]] = field(default_factory=list)
    """Since the last sync: a name, the name that the file had before, the file (None: removed)."""
    lost: bool = False
    """A failed sync dropped bytes: the next one is called a success, as kernels do."""


def fail(number: int, path: Path) -> OSError:
    return OSError(number, os.strerror(number), str(path))


class SimDisk:
    """The whole simulator; see the module.

    Args:
        before: Called before every call that changes something, with its `Place`; may raise
            OSError, which then is the disk's answer, or return a number of bytes after which a
            write ends short.
        skip: Asked before every sync; True lies: the call succeeds and nothing gets durable.
    """

    def __init__(
        self,
        *,
        before: Callable[[Place], int | None] = lambda _: None,
        skip: Callable[[Place], bool] = lambda _: False,
    ) -> None:
        self.before, self.skip = before, skip
        self.calls: Counter[str] = Counter()
        self.refused = 0
        """Calls that were answered with an error on purpose."""
        self.room = (1 << 40, 1 << 41)
        self._count = 0
        self.root = self._node(directory=True)
        self.changed: dict[int, Node] = {}
        """Nodes with something that is not durable."""
        self._open: dict[int, tuple[Node, Path, bool]] = {}
        self._locks: set[int] = set()

    # The calls of Disk

    def open(self, path: Path, flags: int, mode: int = 0o600, /) -> int:
        parent, name = self._parent(path)
        node = parent.names.get(name) if name else parent
        if node is not None and flags & os.O_CREAT and flags & os.O_EXCL:
            raise fail(errno.EEXIST, path)
        if node is None:
            if not flags & os.O_CREAT:
                raise fail(errno.ENOENT, path)
            self._before("create", path)
            node = self._node()
            self._name(parent, name, "", node)
        descriptor = self._count = self._count + 1
        self._open[descriptor] = (node, path, bool(flags & os.O_APPEND))
        return descriptor

    def close(self, descriptor: int, /) -> None:
        node, _, _ = self._open.pop(descriptor)
        self._locks.discard(node.number)

    def write(self, descriptor: int, content: memoryview, /) -> int:
        node, path, append = self._open[descriptor]
        assert append, f"{path}: written without O_APPEND"
        taken = self._before("write", path)
        content = bytes(content if taken is None else content[:taken])
        node.pending.append((len(node.content), content))
        node.content += content
        self.changed[node.number] = node
        return len(content)

    def pread(self, descriptor: int, size_bytes: int, offset: int, /) -> bytes:
        return bytes(self._open[descriptor][0].content[offset : offset + size_bytes])

    def size_bytes(self, descriptor: int, /) -> int:
        return len(self._open[descriptor][0].content)

    def truncate(self, descriptor: int, size_bytes: int, /) -> None:
        node, path, _ = self._open[descriptor]
        if len(node.content) == size_bytes:
            return
        self._before("truncate", path)
        del node.content[size_bytes:]
        node.pending.append((size_bytes, None))
        if size_bytes <= len(node.durable):  # the pages in doubt are gone; new ones are dirty
            node.lost = False
        self.changed[node.number] = node

    def set_mode(self, descriptor: int, mode: int, /) -> None:
        assert descriptor in self._open

    def sync_data(self, descriptor: int, /) -> None:
        node, path, _ = self._open[descriptor]
        place = Place("sync_data", path)
        try:
            self._before("sync_data", path)
        except OSError:  # the kernel marks the pages clean: no later sync writes them
            node.lost = node.lost or len(node.content) > len(node.durable)
            raise
        if self.skip(place):
            return
        if node.lost and len(node.content) > len(node.durable):
            return  # called a success; what was pending stays in doubt
        node.durable, node.pending, node.lost = bytes(node.content), [], False
        self.changed.pop(node.number, None)

    def sync(self, descriptor: int, /) -> None:
        node, path, _ = self._open[descriptor]
        assert node.names is not None, f"{path}: sync is for directories"
        self._before("sync", path)
        if self.skip(Place("sync", path)):
            return
        node.durable_names = dict(node.names)
        node.pending_names = []
        self.changed.pop(node.number, None)

    def lock(self, descriptor: int, /) -> None:
        number = self._open[descriptor][0].number
        if number in self._locks:
            raise BlockingIOError(errno.EAGAIN, "locked")
        self._locks.add(number)

    def lock_process(self, descriptor: int, /) -> None:
        self.lock(descriptor)

    def stands_at(self, descriptor: int, path: Path, /) -> bool:
        return self._find(path) is self._open[descriptor][0]

    def make_directory(self, path: Path, mode: int, /) -> None:
        parent, name = self._parent(path)
        if name in parent.names:
            raise fail(errno.EEXIST, path)
        self._before("mkdir", path)
        self._name(parent, name, "", self._node(directory=True))

    def is_directory(self, path: Path, /) -> bool:
        return self._find(path).names is not None

    def names(self, path: Path, /) -> tuple[str, ...]:
        return tuple(sorted(self._find(path).names))

    def size_at(self, path: Path, /) -> int:
        return len(self._find(path).content)

    def rename(self, old: Path, new: Path, /) -> None:
        assert old.parent == new.parent
        parent, name = self._parent(old)
        node = self._find(old)
        self._before("rename", old)
        del parent.names[name]
        self._name(parent, new.name, name, node)

    def unlink(self, path: Path, /) -> None:
        parent, name = self._parent(path)
        self._find(path)
        self._before("unlink", path)
        del parent.names[name]
        self._name(parent, name, "", None)

    def room_bytes(self, path: Path, /) -> tuple[int, int]:
        return self.room

    # The inside

    def _node(self, *, directory: bool = False) -> Node:
        self._count += 1
        return Node(self._count, names={} if directory else None)

    def _before(self, call: str, path: Path) -> int | None:
        self.calls[call] += 1
        try:
            return self.before(Place(call, path))
        except OSError:
            self.refused += 1
            raise

    def _name(self, parent: Node, name: str, old: str, node: Node | None) -> None:
        if node is not None:
            parent.names[name] = node
        parent.pending_names.append((name, old, node))
        self.changed[parent.number] = parent

    def _parent(self, path: Path) -> tuple[Node, str]:
        parts = path.parts[1:]
        node = self.root
        for part in parts[:-1]:
            node = (node.names or {}).get(part)
            if node is None:
                raise fail(errno.ENOENT, path)
        if node.names is None:
            raise fail(errno.ENOTDIR, path)
        return node, parts[-1] if parts else ""

    def _find(self, path: Path) -> Node:
        parent, name = self._parent(path)
        node = parent.names.get(name) if name else parent
        if node is None:
            raise fail(errno.ENOENT, path)
        return node


class ProcessDisk:
    """The disk as one process has it: its descriptors and locks end with it."""

    def __init__(self, disk: SimDisk) -> None:
        self._disk = disk
        self._mine: set[int] = set()

    def __getattr__(self, name: str):
        return getattr(self._disk, name)

    def open(self, path: Path, flags: int, mode: int = 0o600, /) -> int:
        descriptor = self._disk.open(path, flags, mode)
        self._mine.add(descriptor)
        return descriptor

    def close(self, descriptor: int, /) -> None:
        self._mine.discard(descriptor)
        self._disk.close(descriptor)

    def kill(self) -> None:
        """End the process as kill -9 does: the files stay as they are."""
        for descriptor in tuple(self._mine):
            self.close(descriptor)


# What a power cut leaves

Image = tuple[tuple[str, bytes | None], ...]
"""Paths with a file's bytes, or None for a directory; sorted."""


def images(disk: SimDisk, rng: random.Random, *, draws: int) -> Iterator[Image]:
    """Yield states that a power cut may leave now.

    Of what is not durable: nothing, all, all but one file or folder, one only, `draws` random ones;
    where a file has many writes: all but the first few of them.
    """
    nodes = list(disk.changed.values())
    yield image_of(disk, lambda _: Fate.NONE, rng)
    if not nodes:
        return
    yield image_of(disk, lambda _: Fate.ALL, rng)
    for chosen in nodes if len(nodes) > 1 else ():
        yield image_of(disk, lambda node, chosen=chosen: Fate.of(node is chosen), rng)
        yield image_of(disk, lambda node, chosen=chosen: Fate.of(node is not chosen), rng)
    for late in (node for node in nodes if len(node.pending) >= MANY_WRITES):
        yield image_of(disk, lambda node, late=late: Fate.LATE if node is late else Fate.ALL, rng)
    for _ in range(draws):
        yield image_of(disk, lambda _: Fate.TORN, rng)


class Fate:
    """What becomes of a node's pending changes."""

    NONE, ALL, TORN, LATE = range(4)

    @staticmethod
    def of(kept: bool) -> int:  # noqa: FBT001
        return Fate.ALL if kept else Fate.NONE


def image_of(disk: SimDisk, fate: Callable[[Node], int], rng: random.Random) -> Image:
    found: list[tuple[str, bytes | None]] = []

    def walk(node: Node, path: str) -> None:
        for name, child in sorted(_names_after(node, fate(node), rng).items()):
            place = f"{path}/{name}"
            if child.names is None:
                found.append((place, _bytes_after(child, fate(child), rng)))
            else:
                found.append((place, None))
                walk(child, place)

    walk(disk.root, "")
    return tuple(found)


def _names_after(node: Node, fate: int, rng: random.Random) -> dict[str, Node]:
    if not node.pending_names or fate == Fate.NONE:
        return node.durable_names
    if fate == Fate.ALL:
        return node.names or {}
    names = dict(node.durable_names)
    for name, old, child in node.pending_names:
        if rng.random() < 0.5:
            continue
        if child is None:
            names.pop(name, None)
        elif not old or old in names:  # a file whose first name was lost cannot be renamed
            names.pop(old, None)
            names[name] = child
    return names


def _bytes_after(node: Node, fate: int, rng: random.Random) -> bytes:
    if fate == Fate.NONE or not node.pending:
        return node.durable
    if fate == Fate.ALL:
        return bytes(node.content)
    content = bytearray(node.durable)
    late = len(node.pending) // MANY_WRITES if fate == Fate.LATE else 0
    for offset, written in node.pending[late:]:
        if fate == Fate.LATE and written is not None:
            content.extend(bytes(max(0, offset - len(content))))
            content[offset:] = written
        elif written is None:
            if rng.random() < 0.5:
                del content[offset:]
        else:
            _tear(content, offset, written, rng)
    return bytes(content)


def _tear(content: bytearray, offset: int, written: bytes, rng: random.Random) -> None:
    """Put some of the sectors of a write into `content`, in any of the ways disks do."""
    end = offset + len(written)
    first = (offset // SECTOR_BYTES + 1) * SECTOR_BYTES
    edges = [offset, *range(first, end, SECTOR_BYTES), end]
    sectors = list(pairwise(edges))
    cut = rng.randrange(len(edges))
    some = [sector for sector in sectors if rng.random() < 0.5]
    for begin, stop in rng.choice((sectors[:cut], sectors[cut:], some, some, sectors)):
        content.extend(bytes(max(0, stop - len(content))))
        content[begin:stop] = written[begin - offset : stop - offset]
    if rng.random() < 0.3:  # the length reached the disk, the bytes did not
        content.extend(bytes(max(0, end - len(content))))


def disk_from(image: Image) -> SimDisk:
    """Return a disk that was just switched on with `image` on it: all of it durable."""
    disk = SimDisk()
    nodes = {"": disk.root}
    for path, content in image:
        parent, _, name = path.rpartition("/")
        node = disk._node(directory=content is None)
        node.content, node.durable = bytearray(content or b""), content or b""
        nodes[path] = node
        nodes[parent].names[name] = nodes[parent].durable_names[name] = node
    return disk
