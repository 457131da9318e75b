"""The tree against a naive one written from RFC 6962's definitions, and against vectors of Certificate Transparency."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chains.audit.ledger.merkle import EMPTY_ROOT, Frontier, Tree, is_consistent, is_included, leaf_hash

# certificate-transparency-go, merkle_test.go: the inputs, and the roots of their first 1 to 8
INPUTS = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
LEAVES = [leaf_hash(data) for data in INPUTS]


def naive_root(leaves):
    """MTH of RFC 6962, section 2.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(leaves[:split]) + naive_root(leaves[split:])).digest()


def naive_path(index, leaves):
    """PATH of RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if index < split:
        return [*naive_path(index, leaves[:split]), naive_root(leaves[split:])]
    return [*naive_path(index - split, leaves[split:]), naive_root(leaves[:split])]


def naive_proof(old, leaves, whole=True):
    """SUBPROOF of RFC 6962, section 2.1.2."""
    if old == len(leaves):
        return [] if whole else [naive_root(leaves)]
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    if old <= split:
        return [*naive_proof(old, leaves[:split], whole), naive_root(leaves[split:])]
    return [*naive_proof(old - split, leaves[split:], False), naive_root(leaves[:split])]


def test_an_empty_tree_has_the_root_of_the_rfc():
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert Frontier().root() == Tree([]).root() == EMPTY_ROOT


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size):
    frontier = Frontier()
    for leaf in LEAVES[:size]:
        frontier.append(leaf)
    assert frontier.root().hex() == ROOTS[size - 1]
    assert Tree(LEAVES[:size]).root().hex() == ROOTS[size - 1]
    assert Tree(LEAVES).root(size).hex() == ROOTS[size - 1]


# merkle_verifier_test.go: inclusion proofs of leaf and size, consistency proofs of two sizes
@pytest.mark.parametrize(
    ("index", "size", "proof"),
    [
        (0, 1, []),
        (
            0,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            5,
            8,
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    ],
    ids=["0 of 1", "0 of 8", "5 of 8", "2 of 3"],
)
def test_inclusion_proofs_are_those_of_certificate_transparency(index, size, proof):
    assert [each.hex() for each in Tree(LEAVES).inclusion(index, size)] == proof
    assert is_included(
        index, size, LEAVES[index], list(map(bytes.fromhex, proof)), bytes.fromhex(ROOTS[size - 1])
    )


@pytest.mark.parametrize(
    ("old", "size", "proof"),
    [
        (1, 1, []),
        (
            1,
            8,
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (
            6,
            8,
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ],
        ),
        (
            2,
            5,
            [
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            ],
        ),
    ],
    ids=["1 to 1", "1 to 8", "6 to 8", "2 to 5"],
)
def test_consistency_proofs_are_those_of_certificate_transparency(old, size, proof):
    assert [each.hex() for each in Tree(LEAVES).consistency(old, size)] == proof
    roots = bytes.fromhex(ROOTS[old - 1]), bytes.fromhex(ROOTS[size - 1])
    assert is_consistent(old, size, *roots, list(map(bytes.fromhex, proof)))


def test_every_small_tree_agrees_with_the_definitions():
    leaves = [leaf_hash(bytes([number])) for number in range(34)]
    tree, frontier = Tree(leaves), Frontier()
    for size in range(1, len(leaves) + 1):
        frontier.append(leaves[size - 1])
        root = naive_root(leaves[:size])
        assert frontier.root() == tree.root(size) == root
        for index in range(size):
            proof = tree.inclusion(index, size)
            assert proof == naive_path(index, leaves[:size])
            assert is_included(index, size, leaves[index], proof, root)
        for old in range(1, size + 1):
            proof = tree.consistency(old, size)
            assert proof == naive_proof(old, leaves[:size])
            assert is_consistent(old, size, naive_root(leaves[:old]), root, proof)


@given(st.integers(1, 300), st.data())
def test_a_proof_shows_nothing_else_than_it_was_made_for(size, data):
    leaves = [leaf_hash(number.to_bytes(2)) for number in range(size)]
    tree = Tree(leaves)
    index = data.draw(st.integers(0, size - 1))
    proof = tree.inclusion(index)
    assert is_included(index, size, leaves[index], proof, tree.root())
    other = data.draw(
        st.integers(0, size - 1).filter(lambda each: each != index) if size > 1 else st.just(size)
    )
    assert not is_included(other, size, leaves[index], proof, tree.root())
    assert not is_included(index, size, leaf_hash(b"another"), proof, tree.root())
    assert not is_included(index, size, leaves[index], [*proof, EMPTY_ROOT], tree.root())
    assert not is_included(index, size, leaves[index], proof[:-1], tree.root()) or not proof
    old = data.draw(st.integers(1, size))
    steps = tree.consistency(old)
    assert is_consistent(old, size, tree.root(old), tree.root(), steps)
    assert not is_consistent(old, size, EMPTY_ROOT, tree.root(), steps)
    assert not is_consistent(old, size, tree.root(old), EMPTY_ROOT, steps)
    assert not is_consistent(old, size, tree.root(old), tree.root(), [*steps, EMPTY_ROOT])


def test_an_empty_tree_is_the_beginning_of_every_tree_and_of_nothing_less():
    tree = Tree(LEAVES)
    assert tree.consistency(0) == []
    assert is_consistent(0, 8, EMPTY_ROOT, tree.root(), [])
    assert is_consistent(0, 0, EMPTY_ROOT, EMPTY_ROOT, [])
    assert not is_consistent(0, 8, tree.root(1), tree.root(), [])
    assert not is_consistent(8, 7, tree.root(), tree.root(7), [])


@given(st.integers(0, 200), st.integers(0, 200))
def test_a_frontier_goes_on_where_another_ended(first, second):
    leaves = [leaf_hash(number.to_bytes(2)) for number in range(first + second)]
    frontier = Frontier()
    for leaf in leaves[:first]:
        frontier.append(leaf)
    again = Frontier(frontier.size, frontier.hashes)
    for leaf in leaves[first:]:
        again.append(leaf)
    assert (again.size, again.root()) == (first + second, Tree(leaves).root())
    assert frontier.root() == Tree(leaves[:first]).root()


@pytest.mark.parametrize(("size", "hashes"), [(-1, []), (1, []), (2, [b"x" * 32] * 2), (1, [b"x"])])
def test_a_frontier_of_another_shape_is_refused(size, hashes):
    with pytest.raises(ValueError, match="frontier"):
        Frontier(size, hashes)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (3, 3), (-1, 3), (0, 9)])
def test_a_leaf_outside_the_tree_has_no_proof(index, size):
    with pytest.raises(ValueError, match="leaf"):
        Tree(LEAVES).inclusion(index, size)
