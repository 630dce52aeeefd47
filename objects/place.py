"""Places in a hashed tree: a walk from the root down, level by level, however the levels are cut into nodes."""

from __future__ import annotations

from dataclasses import dataclass

from blake3 import blake3
from piecrust.objects.access import ObjectReader
from piecrust.objects.ids import ZERO
from piecrust.objects.node import BITS, SPAN, Node
from piecrust.objects.tree import Shape, load_node


class Place:
    """A subtree with leaves: its hash, and the subtrees right below it. On height 0 it is a leaf."""

    __slots__ = ("_above", "_index", "_node", "_reader", "height", "shape")

    def __init__(self, reader: ObjectReader, shape: Shape, height: int, node: Node, above: int, index: int) -> None:
        """`above` levels over the children of a node, `index` among the places on that level of it."""
        self.shape, self.height = shape, height
        self._reader, self._node, self._above, self._index = reader, node, above, index

    @classmethod
    def top(cls, reader: ObjectReader, shape: Shape, root: bytes) -> Place | None:
        """The whole tree, None if it is empty."""
        if root == ZERO:
            return None
        node = load_node(reader, shape, shape.height, root)
        return cls(reader, shape, shape.height, node, node.levels, 0)

    @property
    def hash(self) -> bytes:
        """The Merkle hash of the subtree."""
        return _hash(self._node, self._above, self._index)

    def children(self) -> list[Place | None]:
        """The subtrees right below, None for the empty ones."""
        node, above, index = self._node, self._above, self._index
        if above == 0:
            node = load_node(self._reader, self.shape, self.height, self.hash)
            above, index = node.levels, 0
        first = index * self.shape.arity
        return [
            Place(self._reader, self.shape, self.height - 1, node, above - 1, child)
            if _is_there(node, above - 1, child)
            else None
            for child in range(first, first + self.shape.arity)
        ]


def _is_there(node: Node, above: int, index: int) -> bool:
    """Whether there is anything at a place of a node; hashes nothing."""
    bits, block = BITS[node.arity], min(SPAN[node.arity], node.levels)
    if above >= block:
        return index == node.stem >> (above - block) * bits
    if index >> (block - above) * bits != node.stem:
        return False
    within = _within(node, above, index)
    return within in (node.children if above == 0 else node.inner)


def _hash(node: Node, above: int, index: int) -> bytes:
    """The hash at a place of a node where there is something."""
    block = min(SPAN[node.arity], node.levels)
    if above >= block:
        return node.stem_hashes()[above - block]
    return (node.children if above == 0 else node.inner)[_within(node, above, index)]


def _within(node: Node, above: int, index: int) -> int:
    """The key of a place among the children of a node, or among its inner hashes."""
    depth = min(SPAN[node.arity], node.levels) - above
    within = index & (1 << depth * BITS[node.arity]) - 1
    return within if above == 0 else (node.arity**depth - 1) // (node.arity - 1) + within


@dataclass(frozen=True, slots=True)
class Opening:
    """The way from a position up to the root: what to hash its leaf with at each level.

    `siblings[k]` are the `arity - 1` other children, in order, on the k-th level above the leaf. Where the leaf is
    absent (None), so is everything below the lowest level that has a sibling.
    """

    position: int
    leaf: bytes | None
    siblings: tuple[tuple[bytes, ...], ...]

    def encode(self) -> bytes:
        """As the original's tree would write it, of a leaf that is there; see `piecrust.objects.verifier.opening`."""
        assert self.leaf is not None
        value, at = self.leaf, self.position
        levels, digits = list[bytes](), list[int]()
        for siblings in self.siblings:
            digit = at % (len(siblings) + 1)
            levels.append(b"".join((*siblings[:digit], value, *siblings[digit:])))
            digits.append(digit)
            value, at = blake3(levels[-1]).digest(), at // (len(siblings) + 1)
        places = b"".join([digit.to_bytes(4, "little") for digit in reversed(digits)])
        return b"".join((value, *reversed(levels), places))


def opening(reader: ObjectReader, shape: Shape, root: bytes, position: int) -> Opening:
    """What proves the leaf at a position, or that there is none."""
    place = Place.top(reader, shape, root)
    bits = BITS[shape.arity]
    siblings: list[tuple[bytes, ...]] = []
    for height in reversed(range(shape.height)):
        digit = position >> height * bits & shape.arity - 1
        children = [None] * shape.arity if place is None else place.children()
        siblings.append(tuple([ZERO if c is None else c.hash for n, c in enumerate(children) if n != digit]))
        place = children[digit]
    return Opening(position, None if place is None else place.hash, tuple(reversed(siblings)))
