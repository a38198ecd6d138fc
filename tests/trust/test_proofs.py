"""One proof for many leaves, against single proofs, the RFC's recursion and forgeries."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.base.errors import IntegrityError
from agent.trust.merkle import Tree, leaf_hash, node_hash, prove_inclusion, root_of
from agent.trust.proofs import (
    BlockTree,
    growth_nodes,
    list_levels,
    member_nodes,
    verify_members,
)

LEAVES = [leaf_hash(bytes([number])) for number in range(70)]
sizes = st.integers(1, 70)


def prove(indices, size):
    levels = list_levels(LEAVES[:size])
    return tuple(levels[level][number] for level, number in member_nodes(indices, size))


@st.composite
def members(draw):
    size = draw(sizes)
    return draw(st.sets(st.integers(0, size - 1), min_size=1)), size


def head_of(leaves):
    """Return the root as RFC 6962, section 2.1, words it."""
    if len(leaves) == 1:
        return leaves[0]
    half = 1 << (len(leaves) - 1).bit_length() - 1
    return node_hash(head_of(leaves[:half]), head_of(leaves[half:]))


@given(members())
def test_leaves_are_shown_to_stand_where_they_stand(chosen):
    indices, size = chosen
    verify_members(
        {index: LEAVES[index] for index in indices},
        size=size,
        root=head_of(LEAVES[:size]),
        proof=prove(indices, size),
    )


@given(sizes, st.data())
def test_for_one_leaf_it_is_the_proof_of_the_rfc(size, data):
    index = data.draw(st.integers(0, size - 1))
    assert prove({index}, size) == prove_inclusion(LEAVES[:size], index)


@given(sizes, st.data())
def test_growth_is_the_proof_of_the_rfc(size, data):
    old = data.draw(st.integers(0, size))
    levels = list_levels(LEAVES[:size])
    nodes = growth_nodes(old, size)
    found = tuple(levels[level][number] for level, number in nodes)
    assert found == Tree(LEAVES[:old]).prove_growth(LEAVES[old:size])


@given(members(), st.data())
def test_any_other_leaf_index_size_or_proof_is_refused(chosen, data):
    indices, size = chosen
    leaves, proof = {index: LEAVES[index] for index in indices}, prove(indices, size)
    index = data.draw(st.sampled_from(sorted(indices)))
    kind = data.draw(st.sampled_from(["leaf", "index", "long", "short", "flip"]))
    match kind:
        case "leaf":
            leaves[index] = bytes(32)
        case "index":
            other = data.draw(st.integers(0, size).filter(lambda number: number not in indices))
            leaves[other] = leaves.pop(index)
        case "long":
            proof = (*proof, bytes(32))
        case "short":
            proof = proof[:-1] if proof else (bytes(32),)
        case _:
            at = data.draw(st.integers(0, max(len(proof) - 1, 0)))
            proof = (*proof[:at], bytes(32), *proof[at + 1 :])
    with pytest.raises(IntegrityError, match="inclusion proof"):
        verify_members(leaves, size=size, root=root_of(LEAVES[:size]), proof=proof)


@pytest.mark.parametrize("indices", [(), (-1,), (70,)], ids=["none", "before", "behind"])
def test_leaves_outside_of_the_tree_are_refused(indices):
    leaves = dict.fromkeys(indices, LEAVES[0])
    with pytest.raises(IntegrityError, match="outside"):
        verify_members(leaves, size=70, root=root_of(LEAVES), proof=())


def test_a_tree_of_many_blocks_is_the_tree_of_its_leaves(monkeypatch):
    monkeypatch.setattr("agent.trust.proofs.BLOCK_LEAVES", 8)
    monkeypatch.setattr("agent.trust.proofs.BLOCK_LEVEL", 3)
    tree = BlockTree(lambda block: LEAVES[8 * block : 8 * block + 8])
    for size in range(71):
        assert (tree.size, tree.root(size)) == (size, root_of(LEAVES[:size]))
        assert tree.prove_growth(size // 3) == Tree(LEAVES[: size // 3]).prove_growth(
            LEAVES[size // 3 : size]
        )
        if size:
            chosen = {0, size // 2, size - 1}
            assert tree.prove_members(chosen) == prove(chosen, size)
            tree.root(size // 2)
        if size < 70:
            tree.append(LEAVES[size])
