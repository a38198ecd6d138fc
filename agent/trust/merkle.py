"""Merkle tree of RFC 6962, section 2.1: roots, inclusion proofs, consistency proofs.

A tree of n leaves is kept as the roots of its perfect subtrees, largest first: at most log2(n) + 1
hashes, whatever its size. Proofs are made from that and the leaves that matter.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from hmac import compare_digest
from typing import NoReturn

from agent.base.errors import IntegrityError

HASH_BYTES = 32
EMPTY_ROOT = sha256().digest()

Proof = tuple[bytes, ...]


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of one entry; the prefix keeps leaves and nodes apart."""
    return sha256(b"\x00" + entry).digest()


def leaf_hashes(entries: Iterable[bytes]) -> list[bytes]:
    """Return the hashes of entries."""
    return [sha256(b"\x00" + entry).digest() for entry in entries]


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node with two children."""
    return sha256(b"\x01" + left + right).digest()


class Tree:
    """A tree that grows at its right edge."""

    __slots__ = ("_peaks", "size")

    def __init__(self, leaves: Iterable[bytes] = ()) -> None:
        self.size = 0
        self._peaks: list[bytes] = []
        self.extend(leaves)

    def append(self, leaf: bytes) -> None:
        """Add a leaf hash; constant time on average."""
        self.extend((leaf,))

    def extend(self, leaves: Iterable[bytes], sizes: Iterable[int] = ()) -> list[bytes]:
        """Add leaf hashes, in their order: level by level, each node with its right neighbour.

        Args:
            leaves: New ones.
            sizes: From the size before to the size after, at which the roots are wanted.

        Returns:
            The roots at these sizes, in their order.
        """
        nodes, left = list(leaves), self.size
        old = dict(zip(_levels_of(left), self._peaks[::-1], strict=True))
        self.size += len(nodes)
        levels: list[tuple[int, list[bytes]]] = []
        while nodes:
            if left & 1:
                nodes.insert(0, old[len(levels)])
            levels.append((left & ~1, nodes))
            nodes = _hash_pairs(nodes)
            left >>= 1
        above = [old[level] for level in old if level >= len(levels)]
        self._peaks = [*_peaks_at(self.size, levels, old), *above][::-1]
        return [_root_at(size, levels, old, above) for size in sizes]

    def root(self) -> bytes:
        """Return the hash that stands for all leaves in their order."""
        return _fold(self._peaks[::-1])

    def copy(self) -> "Tree":
        """Return a tree that grows on its own."""
        other = Tree()
        other.size, other._peaks = self.size, list(self._peaks)
        return other

    def prove_growth(self, later: Sequence[bytes]) -> Proof:
        """Return the consistency proof from this tree to the one with the leaves `later` added.

        RFC 6962, section 2.1.2. Nothing older than this tree is needed: its own part of the
        proof are its peaks. Empty when the tree is empty or does not grow.
        """
        if not self.size or not later:
            return ()
        level = (self.size & -self.size).bit_length() - 1  # of the last, smallest peak
        fresh = list(later)
        for _ in range(level):
            fresh = _pair_up(fresh)
        return tuple(_walk_up(list(self._peaks), (self.size >> level) - 1, fresh))


def _walk_up(peaks: list[bytes], node: int, fresh: list[bytes]) -> list[bytes]:
    """Collect the siblings on the way from the old tree's last peak to the new root.

    Args:
        peaks: Of the old tree; used up.
        node: Index of the last peak on its level.
        fresh: Nodes of the same level right of it.
    """
    last_peak = peaks.pop()
    proof = [last_peak] if peaks else []
    while node or fresh:
        if node & 1:
            proof.append(peaks.pop())
        elif fresh:
            proof.append(fresh.pop(0))
        node, fresh = node >> 1, _pair_up(fresh)
    return proof


def _pair_up(nodes: Sequence[bytes]) -> list[bytes]:
    """Return the next level; a node without a partner moves up as it is."""
    above = _hash_pairs(nodes)
    return above + list(nodes[-1:]) if len(nodes) % 2 else above


def _hash_pairs(nodes: Sequence[bytes]) -> list[bytes]:
    """Return the parents of neighbours; a last one without a partner gets none."""
    pairs = zip(nodes[::2], nodes[1::2], strict=False)
    join = b"".join  # one piece of memory instead of two: a fifth of the time
    return [sha256(join((b"\x01", left, right))).digest() for left, right in pairs]  # node_hash


def _levels_of(size: int) -> list[int]:
    """Return the levels on which a tree has a peak, lowest first."""
    return [level for level in range(size.bit_length()) if size >> level & 1]


def _peaks_at(
    size: int, levels: Sequence[tuple[int, Sequence[bytes]]], old: Mapping[int, bytes]
) -> list[bytes]:
    """Return the peaks at a size on these levels, smallest first.

    Args:
        size: Not smaller than that of the tree before it grew.
        levels: Nodes that came with the growth, lowest level first, and the index of the first.
        old: Peaks from before the growth, by level.
    """
    return [
        nodes[at] if (at := (size >> level) - 1 - first) >= 0 else old[level]
        for level, (first, nodes) in enumerate(levels)
        if size >> level & 1
    ]


def _root_at(
    size: int,
    levels: Sequence[tuple[int, Sequence[bytes]]],
    old: Mapping[int, bytes],
    above: Sequence[bytes],
) -> bytes:
    """Return the root at a size: `_fold` of `_peaks_at` and those `above`, without the lists."""
    root, join, rest = b"", b"".join, size
    for level, (first, nodes) in enumerate(levels):
        if rest & 1:
            peak = nodes[at] if (at := rest - 1 - first) >= 0 else old[level]
            root = sha256(join((b"\x01", peak, root))).digest() if root else peak
        rest >>= 1
    for peak in above:
        root = sha256(join((b"\x01", peak, root))).digest() if root else peak
    return root or EMPTY_ROOT


def _fold(peaks: Sequence[bytes]) -> bytes:
    """Return the root above perfect subtrees, smallest first."""
    if not peaks:
        return EMPTY_ROOT
    root, join = peaks[0], b"".join
    for peak in peaks[1:]:
        root = sha256(join((b"\x01", peak, root))).digest()  # node_hash, without the call
    return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes."""
    return Tree(leaves).root()


def prove_inclusion(leaves: Sequence[bytes], index: int) -> Proof:
    """Return the siblings on the way from leaf `index` to the root (RFC 6962, section 2.1.1).

    Raises:
        IndexError: There is no such leaf.
    """
    if not 0 <= index < len(leaves):
        message = f"leaf {index} of a tree of {len(leaves)}"
        raise IndexError(message)
    proof, level = [], list(leaves)
    while len(level) > 1:
        if index ^ 1 < len(level):
            proof.append(level[index ^ 1])
        level, index = _pair_up(level), index >> 1
    return tuple(proof)


def verify_inclusion(leaf: bytes, *, index: int, size: int, root: bytes, proof: Proof) -> None:
    """Make sure that `leaf` is number `index` of the tree with `size` and `root`.

    RFC 9162, section 2.1.3.2.

    Raises:
        IntegrityError: It is not, or the proof does not show it.
    """
    if not 0 <= index < size:
        message = f"inclusion proof: leaf {index} in a tree of {size}; expected one within"
        raise IntegrityError(message)
    node, last, found = index, size - 1, leaf
    for sibling in proof:
        if not last:
            _refuse("inclusion proof: too long")
        if node & 1 or node == last:
            found = node_hash(sibling, found)
            node, last = _skip_lonely(node, last)
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or not compare_digest(found, root):
        _refuse("inclusion proof: does not lead to the root")


def verify_consistency(
    *, old_size: int, old_root: bytes, size: int, root: bytes, proof: Proof
) -> None:
    """Make sure that the tree with `size` and `root` is the old one with leaves added.

    RFC 9162, section 2.1.4.2. Every tree is consistent with the empty one.

    Raises:
        IntegrityError: It is not, or the proof does not show it.
    """
    if not 0 <= old_size <= size:
        _refuse(f"consistency proof: from {old_size} to {size} leaves; expected growth")
    if old_size in {0, size}:
        expected = EMPTY_ROOT if old_size == 0 else root
        if proof or not compare_digest(old_root, expected):
            _refuse("consistency proof: the same size with another root")
        return
    _verify_growth(old_size, old_root, size, root, proof)


def _verify_growth(old_size: int, old_root: bytes, size: int, root: bytes, proof: Proof) -> None:
    """Rebuild both roots from the proof; 0 < old_size < size."""
    path = proof if old_size & (old_size - 1) else (old_root, *proof)
    if not path:
        _refuse("consistency proof: empty")
    level = (old_size & -old_size).bit_length() - 1  # of the old tree's last peak
    node, last = (old_size - 1) >> level, (size - 1) >> level
    old_found = found = path[0]
    for sibling in path[1:]:
        if not last:
            _refuse("consistency proof: too long")
        if node & 1 or node == last:
            old_found, found = node_hash(sibling, old_found), node_hash(sibling, found)
            node, last = _skip_lonely(node, last)
        else:
            found = node_hash(found, sibling)
        node, last = node >> 1, last >> 1
    if last or not (compare_digest(old_found, old_root) and compare_digest(found, root)):
        _refuse("consistency proof: does not lead to both roots")


def _skip_lonely(node: int, last: int) -> tuple[int, int]:
    """Climb from a node without partner to where it is a right child."""
    while node and not node & 1:
        node, last = node >> 1, last >> 1
    return node, last


def _refuse(message: str) -> NoReturn:
    raise IntegrityError(message)
