"""Proofs over a long log: one proof for many leaves, made from a few hashes held in memory.

A node of the tree (RFC 6962, section 2.1) is named by its level, 0 for leaves, and its number on
that level. The last node of a level that has no partner moves up as it is. Of each block of 1,024
leaves only the root is held; the leaves of a block are read again when a proof needs them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hmac import compare_digest
from typing import Final

from agent.base.errors import IntegrityError
from agent.trust.merkle import EMPTY_ROOT, Proof, node_hash

BLOCK_LEVEL: Final = 10
BLOCK_LEAVES: Final = 1 << BLOCK_LEVEL
"""32 bytes in memory for each; read back and hashed in about a millisecond."""

Node = tuple[int, int]
"""Level and number on it."""


class BlockTree:
    """A tree that grows at its right edge, held as the roots of its blocks.

    Args:
        read_block: Returns the leaf hashes of a whole block, by its number.
    """

    __slots__ = ("_read_block", "_roots", "_tail")

    def __init__(self, read_block: Callable[[int], Sequence[bytes]]) -> None:
        self._read_block = read_block
        self._roots: list[bytes] = []
        self._tail: list[bytes] = []

    @property
    def size(self) -> int:
        """Leaves in the tree."""
        return len(self._roots) * BLOCK_LEAVES + len(self._tail)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash."""
        self._tail.append(leaf)
        if len(self._tail) == BLOCK_LEAVES:
            self._roots.append(list_levels(self._tail)[-1][0])
            self._tail = []

    def root(self, size: int) -> bytes:
        """Return the root that the tree had with its first `size` leaves."""
        if not size:
            return EMPTY_ROOT
        count, rest = divmod(size, BLOCK_LEAVES)
        last = [list_levels(self._leaves(count)[:rest])[-1][0]] if rest else []
        return list_levels([*self._roots[:count], *last])[-1][0]

    def prove_growth(self, old_size: int) -> Proof:
        """Return the consistency proof from the first `old_size` leaves to all of them."""
        return self._fetch(tuple(growth_nodes(old_size, self.size)))

    def prove_members(self, indices: Iterable[int]) -> Proof:
        """Return one proof that the leaves at `indices` stand where they stand."""
        return self._fetch(tuple(member_nodes(indices, self.size)))

    def _fetch(self, nodes: Sequence[Node]) -> Proof:
        """Return the hashes of nodes; each block that is needed is read once."""
        upper = self._upper() if any(level >= BLOCK_LEVEL for level, _ in nodes) else []
        blocks: dict[int, list[list[bytes]]] = {}
        found = []
        for level, number in nodes:
            if level >= BLOCK_LEVEL:
                found.append(upper[level - BLOCK_LEVEL][number])
                continue
            block = number >> (BLOCK_LEVEL - level)
            if block not in blocks:
                blocks[block] = list_levels(self._leaves(block))
            found.append(blocks[block][level][number - (block << (BLOCK_LEVEL - level))])
        return tuple(found)

    def _upper(self) -> list[list[bytes]]:
        """Return the levels from that of the blocks on."""
        last = [list_levels(self._tail)[-1][0]] if self._tail else []
        return list_levels([*self._roots, *last])

    def _leaves(self, block: int) -> Sequence[bytes]:
        return self._read_block(block) if block < len(self._roots) else self._tail


def list_levels(nodes: Sequence[bytes]) -> list[list[bytes]]:
    """Return a level of a tree and all levels above it; the last holds one node."""
    levels = [list(nodes)]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = zip(below[::2], below[1::2], strict=False)
        above = [node_hash(left, right) for left, right in pairs]
        levels.append([*above, below[-1]] if len(below) % 2 else above)
    return levels


def growth_nodes(old_size: int, size: int) -> Iterator[Node]:
    """Yield the nodes of the consistency proof between two sizes (RFC 6962, section 2.1.2)."""
    if not 0 < old_size < size:
        return
    level = (old_size & -old_size).bit_length() - 1  # of the old tree's last perfect subtree
    number, last = (old_size >> level) - 1, (size - 1) >> level
    if number:
        yield level, number
    while last:
        if number & 1:
            yield level, number - 1
        elif number < last:
            yield level, number + 1
        level, number, last = level + 1, number >> 1, last >> 1


def member_nodes(indices: Iterable[int], size: int) -> Iterator[Node]:
    """Yield the nodes that lead from some leaves to the root: level by level, left to right.

    For one leaf they are its inclusion proof (RFC 6962, section 2.1.1). What one leaf's way up
    shares with another's, or makes itself, is left out.
    """
    known, level, width = set(indices), 0, size
    while width > 1:
        for number in sorted(known):
            if number ^ 1 not in known and number ^ 1 < width:
                yield level, number ^ 1
        known = {number >> 1 for number in known}
        level, width = level + 1, (width + 1) >> 1


def verify_members(leaves: Mapping[int, bytes], *, size: int, root: bytes, proof: Proof) -> None:
    """Make sure that leaf hashes stand at their indices in the tree with `size` and `root`.

    Raises:
        IntegrityError: They do not, or the proof does not show it, or it holds more than it needs.
    """
    known, given, width = dict(leaves), iter(proof), size
    if not known or not 0 <= min(known) <= max(known) < size:
        message = f"inclusion proof: leaves outside of the {size} of the log"
        raise IntegrityError(message)
    while width > 1:
        known = dict(_climb(known, width, given))
        width = (width + 1) >> 1
    if next(given, None) is not None or not compare_digest(known[0], root):
        message = "inclusion proof: does not lead to the root"
        raise IntegrityError(message)


def _climb(
    known: Mapping[int, bytes], width: int, given: Iterator[bytes]
) -> Iterator[tuple[int, bytes]]:
    """Yield the parents of the known nodes of a level of `width` nodes."""
    for number in sorted(known):
        partner = number ^ 1
        if partner in known and number & 1:
            continue  # came with its left partner
        if partner >= width:
            yield number >> 1, known[number]
            continue
        other = known.get(partner) or next(given, None)
        if other is None:
            message = "inclusion proof: too short"
            raise IntegrityError(message)
        left, right = (other, known[number]) if number & 1 else (known[number], other)
        yield number >> 1, node_hash(left, right)
