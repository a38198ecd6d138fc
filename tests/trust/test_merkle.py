"""The tree against RFC 6962's own words, golden roots, and a second implementation."""

from pathlib import Path

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.trust.merkle import (
    EMPTY_ROOT,
    Tree,
    leaf_hash,
    prove_inclusion,
    root_of,
    verify_consistency,
    verify_inclusion,
)

VECTORS = Path(__file__).parent.parent / "vectors" / "merkle"
LEAVES = [leaf_hash(bytes([number])) for number in range(70)]
ROOTS = [root_of(LEAVES[:size]) for size in range(71)]
sizes = st.integers(1, 70)
flips = st.integers(0, 255)


def vector(path):
    lines = [line.partition(":") for line in path.read_text().splitlines()]
    return {name: value.strip() for name, _, value in lines}


def vectors(*expected):
    paths = [path for path in sorted(VECTORS.glob("*.txt")) if vector(path)["expect"] in expected]
    assert paths
    return pytest.mark.parametrize("path", paths, ids=lambda path: path.stem)


def listed(text):
    return tuple(b"" if item == "-" else bytes.fromhex(item) for item in text.split())


def verify(case):
    proof = listed(case["proof"])
    root = bytes.fromhex(case["root"])
    if "leaf" in case:
        index, size = int(case["index"]), int(case["size"])
        leaf = bytes.fromhex(case["leaf"])
        verify_inclusion(leaf, index=index, size=size, root=root, proof=proof)
    else:
        old_size, size = int(case["old_size"]), int(case["size"])
        old = bytes.fromhex(case["old_root"])
        verify_consistency(old_size=old_size, old_root=old, size=size, root=root, proof=proof)


def flipped(content, bit):
    at, mask = bit // 8, 1 << bit % 8
    return content[:at] + bytes([content[at] ^ mask]) + content[at + 1 :]


@vectors("root")
def test_roots_are_those_of_certificate_transparency(path):
    case = vector(path)
    leaves = [leaf_hash(entry) for entry in listed(case["entries"])]
    assert root_of(leaves).hex() == case["root"]


@vectors("included", "consistent")
def test_good_vectors_hold(path):
    verify(vector(path))


@vectors("not included", "not consistent")
def test_bad_vectors_are_refused(path):
    with pytest.raises(IntegrityError):
        verify(vector(path))


@vectors("included")
def test_our_inclusion_proofs_are_those_of_the_rfc(path):
    case = vector(path)
    entries = listed(vector(VECTORS / f"root_{case['size']}.txt")["entries"])
    leaves = [leaf_hash(entry) for entry in entries]
    assert prove_inclusion(leaves, int(case["index"])) == listed(case["proof"])


@vectors("consistent")
def test_our_consistency_proofs_are_those_of_the_rfc(path):
    case = vector(path)
    entries = listed(vector(VECTORS / f"root_{case['size']}.txt")["entries"])
    leaves = [leaf_hash(entry) for entry in entries]
    old = int(case["old_size"])
    assert Tree(leaves[:old]).prove_growth(leaves[old:]) == listed(case["proof"])


@given(st.lists(st.binary(max_size=40), max_size=70))
def test_roots_are_those_of_a_second_implementation(entries):
    other = pymerkle.InmemoryTree(algorithm="sha256")
    ours = Tree()
    for entry in entries:
        other.append_entry(entry)
        ours.append(leaf_hash(entry))
        assert ours.root() == other.get_root(ours.size)


def test_the_empty_tree_has_the_hash_of_nothing():
    assert Tree().root() == EMPTY_ROOT


@given(sizes, st.data())
def test_every_leaf_is_shown_to_be_in_the_tree(size, data):
    index = data.draw(st.integers(0, size - 1))
    proof = prove_inclusion(LEAVES[:size], index)
    verify_inclusion(LEAVES[index], index=index, size=size, root=ROOTS[size], proof=proof)


@given(sizes, st.data())
def test_every_growth_is_shown_to_be_growth(size, data):
    old = data.draw(st.integers(0, size))
    proof = Tree(LEAVES[:old]).prove_growth(LEAVES[old:size])
    verify_consistency(old_size=old, old_root=ROOTS[old], size=size, root=ROOTS[size], proof=proof)


@given(sizes, flips, st.data())
def test_a_flipped_bit_in_an_inclusion_proof_is_refused(size, bit, data):
    index = data.draw(st.integers(0, size - 1))
    proof = [LEAVES[index], *prove_inclusion(LEAVES[:size], index), ROOTS[size]]
    at = data.draw(st.integers(0, len(proof) - 1))
    proof[at] = flipped(proof[at], bit)
    with pytest.raises(IntegrityError):
        verify_inclusion(proof[0], index=index, size=size, root=proof[-1], proof=tuple(proof[1:-1]))


@given(sizes, flips, st.data())
def test_a_flipped_bit_in_a_consistency_proof_is_refused(size, bit, data):
    old = data.draw(st.integers(1, size))
    proof = [ROOTS[old], *Tree(LEAVES[:old]).prove_growth(LEAVES[old:size]), ROOTS[size]]
    at = data.draw(st.integers(0, len(proof) - 1))
    proof[at] = flipped(proof[at], bit)
    with pytest.raises(IntegrityError):
        verify_consistency(
            old_size=old, old_root=proof[0], size=size, root=proof[-1], proof=tuple(proof[1:-1])
        )


@given(sizes, st.data())
def test_a_proof_with_a_hash_more_or_less_is_refused(size, data):
    old = data.draw(st.integers(1, size))
    proof = Tree(LEAVES[:old]).prove_growth(LEAVES[old:size])
    for changed in {(*proof, bytes(32)), proof[:-1]} - {proof}:
        with pytest.raises(IntegrityError):
            verify_consistency(
                old_size=old, old_root=ROOTS[old], size=size, root=ROOTS[size], proof=changed
            )
    index = data.draw(st.integers(0, size - 1))
    path = prove_inclusion(LEAVES[:size], index)
    for changed in {(*path, bytes(32)), path[:-1]} - {path}:
        with pytest.raises(IntegrityError):
            verify_inclusion(LEAVES[index], index=index, size=size, root=ROOTS[size], proof=changed)


@given(sizes, st.data())
def test_another_history_is_no_growth(size, data):
    old = data.draw(st.integers(1, size))
    changed = data.draw(st.integers(0, old - 1))
    other = [*LEAVES[:changed], leaf_hash(b"another"), *LEAVES[changed + 1 : size]]
    proof = Tree(other[:old]).prove_growth(other[old:])
    with pytest.raises(IntegrityError):
        verify_consistency(
            old_size=old, old_root=ROOTS[old], size=size, root=root_of(other), proof=proof
        )


def test_an_empty_proof_of_growth_is_refused():
    with pytest.raises(IntegrityError, match="empty"):
        verify_consistency(old_size=3, old_root=ROOTS[3], size=4, root=ROOTS[4], proof=())


@pytest.mark.parametrize(
    ("old_size", "size"),
    [
        pytest.param(5, 3, id="shrinks"),
        pytest.param(-1, 3, id="below zero"),
    ],
)
def test_sizes_that_cannot_be_are_refused(old_size, size):
    with pytest.raises(IntegrityError, match="expected growth"):
        verify_consistency(old_size=old_size, old_root=ROOTS[1], size=size, root=ROOTS[3], proof=())


def test_a_tree_from_nothing_needs_no_proof_and_takes_none():
    verify_consistency(old_size=0, old_root=EMPTY_ROOT, size=3, root=ROOTS[3], proof=())
    with pytest.raises(IntegrityError):
        verify_consistency(
            old_size=0, old_root=EMPTY_ROOT, size=3, root=ROOTS[3], proof=(LEAVES[0],)
        )
    with pytest.raises(IntegrityError):
        verify_consistency(old_size=0, old_root=ROOTS[1], size=3, root=ROOTS[3], proof=())


@pytest.mark.parametrize("index", [-1, 3])
def test_a_leaf_outside_the_tree_is_refused(index):
    with pytest.raises(IndexError):
        prove_inclusion(LEAVES[:3], index)
    with pytest.raises(IntegrityError):
        verify_inclusion(LEAVES[0], index=index, size=3, root=ROOTS[3], proof=())


def test_a_copy_grows_on_its_own():
    tree = Tree(LEAVES[:5])
    tree.copy().append(LEAVES[5])
    assert (tree.size, tree.root()) == (5, ROOTS[5])


@given(st.lists(sizes, min_size=2, max_size=6))
def test_roots_on_the_way_are_those_of_smaller_trees(wanted):
    old, *within, size = sorted(wanted)
    tree = Tree(LEAVES[:old])
    assert tree.extend(LEAVES[old:size], within) == [ROOTS[at] for at in within]
    assert (tree.size, tree.root()) == (size, ROOTS[size])
    tree.extend(LEAVES[size:])
    assert tree.root() == ROOTS[len(LEAVES)]
