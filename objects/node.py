"""Stored nodes of the sparse Merkle trees: several levels of hashing in one object.

A node covers `levels` levels. Its children, up to 256, lie that many levels below its top, all in one block of the
positions there; `stem` is the number of that block. Above the block the tree has a single path (the stem), whose other
branches are empty. So a tree of a few leaves is one node, whatever its height, and a large one needs one node for
every 256-fold.

- A hash is blake3 over the concatenated hashes of the children; a missing child counts as 32 zero bytes; a subtree
  without leaves is 32 zero bytes, never hashed.
- The address of a node is the Merkle hash at its top: the store is the tree. How levels are cut into nodes has no
  influence on any hash.
- A child of 32 zero bytes makes the hashes above it exist, and beside a sibling it hashes as nothing would. Of such
  children a node keeps one for each group of siblings that has no others, as the group's first: one form for one hash.
- Inner hashes are recomputed when a node is read, which verifies it, and are kept in memory.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from itertools import pairwise
from typing import Final

from blake3 import blake3
from piecrust.objects.errors import CorruptObject, InvalidFormat
from piecrust.objects.ids import ZERO
from piecrust.objects.kinds import Kind

NODE_VERSION: Final = 1
SPAN: Final = {2: 8, 4: 4}  # arity -> levels of a block: 256 children either way
BITS: Final = {2: 1, 4: 2}  # arity -> bits of a position that one level takes
POSITION_BITS_MAX: Final = 32

_HEADER = struct.Struct(">BBBI")  # version, arity, levels, stem
_ENTRY_BYTES = 33  # index, hash
_PADDING = tuple(ZERO * n for n in range(4))


class Node:
    """A stored node: immutable, with all hashes between its children and its top.

    `children` maps an index within the block to a hash. `inner` holds the hashes above them, numbered as in a heap: 0
    is the top of the block, `arity * n + 1` the first child of n.
    """

    __slots__ = ("arity", "children", "has_zeros", "inner", "levels", "stem", "top")

    def __init__(
        self,
        arity: int,
        levels: int,
        stem: int,
        children: dict[int, bytes],
        inner: dict[int, bytes],
        *,
        has_zeros: bool,
    ) -> None:
        self.arity, self.levels, self.stem, self.children, self.inner = arity, levels, stem, children, inner
        self.has_zeros = has_zeros
        above = levels - SPAN[arity]
        self.top = inner[0] if above <= 0 else _hash_stem(arity, stem, above, inner[0])

    @classmethod
    def of(cls, arity: int, levels: int, stem: int, children: dict[int, bytes]) -> Node:
        """The node with these children, of which there is at least one."""
        inner: dict[int, bytes] = {}
        has_zeros = ZERO in children.values()
        if has_zeros:
            children = _with_needed_zeros(arity, children)
        _rehash(arity, min(SPAN[arity], levels), children, inner, children)
        return cls(arity, levels, stem, children, inner, has_zeros=has_zeros)

    def updated(self, changes: dict[int, bytes | None]) -> Node | None:
        """The node with some children set, or taken away where the new value is None; None if none is left."""
        children = self.children.copy()
        if len(changes) == 1 and not self.has_zeros:
            [(index, child)] = changes.items()
            if child is not None and child != ZERO:
                children[index] = child
                inner = self.inner.copy()
                _rehash_path(self.arity, min(SPAN[self.arity], self.levels), children, inner, index)
                return Node(self.arity, self.levels, self.stem, children, inner, has_zeros=False)
        present: dict[int, bytes] = {}
        for index, value in changes.items():
            if value is None:
                children.pop(index, None)
            else:
                present[index] = value
        children.update(present)
        if not children:
            return None
        if len(present) < len(changes) or self.has_zeros or ZERO in present.values():
            return Node.of(self.arity, self.levels, self.stem, children)
        inner = self.inner.copy()
        _rehash(self.arity, min(SPAN[self.arity], self.levels), children, inner, present)
        return Node(self.arity, self.levels, self.stem, children, inner, has_zeros=False)

    def lowered(self, levels: int) -> Node:
        """The same children under a shorter stem: what a node of `levels` levels in its place would be."""
        bits = (levels - min(SPAN[self.arity], levels)) * BITS[self.arity]
        stem = self.stem & (1 << bits) - 1
        return Node(self.arity, levels, stem, self.children, self.inner, has_zeros=self.has_zeros)

    def stem_hashes(self) -> list[bytes]:
        """The hashes from the top of the block up to the top of the node."""
        arity, stem = self.arity, self.stem
        value = self.inner[0]
        hashes = [value]
        if stem == 0:
            padding = _PADDING[arity - 1]
            for _ in range(self.levels - SPAN[arity]):
                value = blake3(value + padding).digest()
                hashes.append(value)
        else:
            bits = BITS[arity]
            for _ in range(self.levels - SPAN[arity]):
                digit = stem & arity - 1
                value = blake3(_PADDING[digit] + value + _PADDING[arity - 1 - digit]).digest()
                hashes.append(value)
                stem >>= bits
        return hashes

    def encode(self) -> bytes:
        """The stored form: header, then index and hash of each child in order."""
        header = _HEADER.pack(NODE_VERSION, self.arity, self.levels, self.stem)
        return header + encode_entries(self.children, sorted(self.children))

    @classmethod
    def decode(cls, address: bytes, body: bytes) -> Node:
        """The node with this address; all of its hashes are recomputed.

        Raises:
            CorruptObject: the body is malformed, or another node's.
        """
        try:
            node = cls.parse(body)
        except InvalidFormat as error:
            raise CorruptObject(Kind.NODE, address, error.reason) from error
        if node.top != address:
            raise CorruptObject(Kind.NODE, address, f"its hash is {node.top.hex()}")
        return node

    @classmethod
    def parse(cls, body: bytes) -> Node:
        """The node that a body is of; `InvalidFormat` if it is none."""
        arity, levels, stem = _decode_header(body)
        children = decode_entries(body, _HEADER.size)
        block = min(SPAN[arity], levels)
        if max(children) >= arity**block or stem >> (levels - block) * BITS[arity]:
            raise InvalidFormat("node", "a child outside of its levels")
        node = cls.of(arity, levels, stem, children)
        if len(node.children) != len(children) or node.children.keys() != children.keys():
            raise InvalidFormat("node", "needless zeros")
        return node

    def delta(self, indices: Iterable[int]) -> bytes:
        """A patch for `patched_body`: these children as they are here."""
        return encode_entries(self.children, sorted(indices))

    def fits(self, other: Node) -> bool:
        """Whether a patch against `other` can make this node: same levels, and no child taken away."""
        return (
            self.arity == other.arity
            and self.levels == other.levels
            and self.stem == other.stem
            and self.children.keys() >= other.children.keys()
        )


def patched_body(base: bytes, patch: bytes) -> bytes:
    """The body of a node from a whole one's and the children that differ.

    Raises:
        InvalidFormat: one of them is malformed. (Whether the result is the node that was meant, its address tells.)
    """
    _decode_header(base)
    children = decode_entries(base, _HEADER.size) | decode_entries(patch, 0)
    return base[: _HEADER.size] + encode_entries(children, sorted(children))


def encode_entries(children: dict[int, bytes], order: list[int]) -> bytes:
    """Index and hash of some children."""
    return b"".join([index.to_bytes(1, "big") + children[index] for index in order])


def decode_entries(body: bytes, at: int) -> dict[int, bytes]:
    """The children in `body` from offset `at` on; at least one, in rising order of their indices."""
    indices = body[at::_ENTRY_BYTES]
    if (len(body) - at) % _ENTRY_BYTES or not indices:
        raise InvalidFormat("node", "no whole number of children", len(body))
    if any(a >= b for a, b in pairwise(indices)):
        raise InvalidFormat("node", "children out of order", at)
    return {body[i]: body[i + 1 : i + _ENTRY_BYTES] for i in range(at, len(body), _ENTRY_BYTES)}


def _decode_header(body: bytes) -> tuple[int, int, int]:
    if len(body) < _HEADER.size:
        raise InvalidFormat("node", "shorter than its header", len(body))
    version, arity, levels, stem = _HEADER.unpack_from(body)
    if version != NODE_VERSION:
        raise InvalidFormat("node", f"version {version}", 0)
    if arity not in SPAN or not 1 <= levels * BITS[arity] <= POSITION_BITS_MAX:
        raise InvalidFormat("node", f"{levels} levels of arity {arity}", 1)
    return arity, levels, stem


def _with_needed_zeros(arity: int, children: dict[int, bytes]) -> dict[int, bytes]:
    """The children without those zeros that leave no mark in the hashes, the others at the first of their places."""
    needed = {index: child for index, child in children.items() if child != ZERO}
    groups = {index // arity for index in needed}
    for index in children:
        if index // arity not in groups:
            needed[index // arity * arity] = ZERO
    return needed


def _rehash(
    arity: int, levels: int, children: dict[int, bytes], inner: dict[int, bytes], changed: Iterable[int]
) -> None:
    """Compute the hashes above the changed children; each of them is present."""
    reset, update, digest = _hasher()
    todo = set(changed)
    below, below_offset = children, 0
    offset = (arity**levels - 1) // (arity - 1)  # number of the first node of the level below, in the heap
    for _ in range(levels):
        offset = (offset - 1) // arity
        todo = {n // arity for n in todo}
        get = below.get
        for n in todo:
            first = below_offset + arity * n
            reset()
            if arity == 2:
                update(get(first, ZERO) + get(first + 1, ZERO))
            else:
                update(get(first, ZERO) + get(first + 1, ZERO) + get(first + 2, ZERO) + get(first + 3, ZERO))
            inner[offset + n] = digest()
        below, below_offset = inner, offset


def _rehash_path(arity: int, levels: int, children: dict[int, bytes], inner: dict[int, bytes], index: int) -> None:
    """As `_rehash`, for one changed child."""
    reset, update, digest = _hasher()
    get, below = children.get, 0
    offset = (arity**levels - 1) // (arity - 1)
    for _ in range(levels):
        offset = (offset - 1) // arity
        index //= arity
        first = below + arity * index
        reset()
        if arity == 2:
            update(get(first, ZERO) + get(first + 1, ZERO))
        else:
            update(get(first, ZERO) + get(first + 1, ZERO) + get(first + 2, ZERO) + get(first + 3, ZERO))
        inner[offset + index] = digest()
        get, below = inner.get, offset


def _hash_stem(arity: int, stem: int, levels: int, value: bytes) -> bytes:
    """The hash so many levels above `value`, where there is nothing else."""
    reset, update, digest = _hasher()
    bits, last = BITS[arity], arity - 1
    for _ in range(levels):
        digit = stem & last
        reset()
        update(_PADDING[digit] + value + _PADDING[last - digit])
        value = digest()
        stem >>= bits
    return value


def _hasher() -> tuple[Callable[[], object], Callable[[bytes], object], Callable[[], bytes]]:
    """`reset`, `update` and `digest` of one hasher: half of what a small hash costs is to make its hasher."""
    hasher = blake3()
    return hasher.reset, hasher.update, hasher.digest
