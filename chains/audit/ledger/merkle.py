"""The Merkle tree of a log: RFC 6962, section 2.1, with SHA-256.

A leaf is the line of an entry without its line break. :class:`Frontier` grows in O(log n) memory,
:class:`Tree` keeps every leaf's hash and makes proofs.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from signers.errors import VerificationError
from signers.sigstore.transparency import root_of_proof

EMPTY_ROOT = hashlib.sha256(b"").digest()
"""The root of a tree without leaves."""
_HASH_BYTES = 32


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf."""
    return hashlib.sha256(b"\0" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node."""
    return hashlib.sha256(b"\1" + left + right).digest()


class Frontier:
    """The right edge of a tree: the roots of its complete subtrees, the largest first.

    That is one hash for each bit of ``size`` that is set. It is enough to append leaves and to tell the root.
    Raises :class:`ValueError` for another number of hashes.
    """

    def __init__(self, size: int = 0, hashes: Iterable[bytes] = ()) -> None:
        self.size, self.hashes = size, list(hashes)
        if size < 0 or len(self.hashes) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has another frontier than {len(self.hashes)} hashes")
        if any(len(each) != _HASH_BYTES for each in self.hashes):
            raise ValueError("a hash of a frontier is not of 32 bytes")

    def append(self, leaf: bytes) -> None:
        """Add the hash of a leaf."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            size >>= 1
        self.hashes.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root hash."""
        if not self.hashes:
            return EMPTY_ROOT
        root = self.hashes[-1]
        for each in reversed(self.hashes[:-1]):
            root = node_hash(each, root)
        return root

    def copy(self) -> Frontier:
        """Return a frontier that grows apart from this one."""
        return Frontier(self.size, self.hashes)


class Tree:
    """A tree with the hashes of all its leaves, for proofs."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.size = len(leaves)
        # levels[n] has the roots of the complete subtrees of 2^n leaves
        self._levels = [list(leaves)]
        while len(self._levels[-1]) > 1:
            below = self._levels[-1]
            self._levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])

    def root(self, size: int | None = None) -> bytes:
        """Return the root hash of the first ``size`` leaves, by default of all."""
        size = self.size if size is None else size
        if not 0 <= size <= self.size:
            raise ValueError(f"a tree of {self.size} leaves has no head of size {size}")
        return self._range(0, size) if size else EMPTY_ROOT

    def inclusion(self, index: int, size: int | None = None) -> list[bytes]:
        """Return the proof that leaf ``index`` is in the tree of the first ``size`` leaves (2.1.1)."""
        size = self.size if size is None else size
        if not 0 <= index < size <= self.size:
            raise ValueError(f"leaf {index} is not in a tree of {size} leaves")
        proof: list[bytes] = []
        start, end = 0, size
        while end - start > 1:
            middle = start + _split(end - start)
            if index < middle:
                proof.append(self._range(middle, end))
                end = middle
            else:
                proof.append(self._range(start, middle))
                start = middle
        return proof[::-1]

    def consistency(self, old: int, size: int | None = None) -> list[bytes]:
        """Return the proof that the tree of ``old`` leaves is the beginning of that of ``size`` (2.1.2)."""
        size = self.size if size is None else size
        if not 0 <= old <= size <= self.size:
            raise ValueError(f"a tree of {old} leaves is no beginning of one of {size}")
        if old in {0, size}:
            return []
        proof: list[bytes] = []
        start, end, whole = 0, size, True
        while old != end - start:
            middle = _split(end - start)
            if old <= middle:
                proof.append(self._range(start + middle, end))
                end = start + middle
            else:
                proof.append(self._range(start, start + middle))
                start, old, whole = start + middle, old - middle, False
        if not whole:
            proof.append(self._range(start, end))
        return proof[::-1]

    def _range(self, start: int, end: int) -> bytes:
        """Return the root of the leaves from ``start`` to ``end``, which begin where a split begins."""
        count = end - start
        if count & (count - 1) == 0:
            return self._levels[count.bit_length() - 1][start // count]
        middle = start + _split(count)
        return node_hash(self._range(start, middle), self._range(middle, end))


def _split(count: int) -> int:
    """Return the largest power of two below ``count``."""
    return 1 << ((count - 1).bit_length() - 1)


def is_included(index: int, size: int, leaf: bytes, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether a proof shows that the leaf with this hash is at ``index`` in the tree with this root."""
    try:
        return root_of_proof(index, size, leaf, proof) == root
    except VerificationError:
        return False


def is_consistent(old: int, size: int, old_root: bytes, root: bytes, proof: Sequence[bytes]) -> bool:
    """Whether a proof shows that one tree is the beginning of the other (RFC 9162, section 2.1.4.2)."""
    if not 0 <= old <= size:
        return False
    if old == 0:
        return not proof and old_root == EMPTY_ROOT and (size > 0 or root == EMPTY_ROOT)
    if old == size:
        return not proof and old_root == root
    hashes = list(proof)
    if old & (old - 1) == 0:
        hashes.insert(0, old_root)
    if not hashes:
        return False
    node, last = old - 1, size - 1
    while node & 1:
        node, last = node >> 1, last >> 1
    first = second = hashes[0]
    for each in hashes[1:]:
        if last == 0:
            return False
        if node & 1 or node == last:
            first, second = node_hash(each, first), node_hash(each, second)
            while not node & 1 and node:
                node, last = node >> 1, last >> 1
        else:
            second = node_hash(second, each)
        node, last = node >> 1, last >> 1
    return last == 0 and first == old_root and second == root
