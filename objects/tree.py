"""Sparse Merkle trees over numbered leaves, read from and written to objects.

One implementation serves all trees: the pages of a contract (arity 4, height 8 or 13), the state (arity 2, height 32,
equal to the original's) and the contract map. A tree is known by its root; `ZERO` is the empty one.

Every function takes the reader or writer first. Looking up a leaf costs one node, about 1 us when it is cached, for
every 256-fold of leaves; updating one costs its path: a hash of 0.4 us for each level.

In the state a leaf may be 32 zero bytes: the page tree of a contract without pages. It makes the hashes above it, but
beside a sibling it hashes as an absent one does, and no tree can tell them apart: such leaves can be set, not listed,
looked up or taken away. Which contracts there are, the contract map tells.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from piecrust.objects.access import ObjectReader, ObjectWriter
from piecrust.objects.errors import CorruptObject
from piecrust.objects.ids import ZERO
from piecrust.objects.kinds import Kind
from piecrust.objects.node import BITS, SPAN, Node


@dataclass(frozen=True, slots=True)
class Shape:
    """Children of a hashed node, and levels between the root and the leaves."""

    arity: int
    height: int

    @property
    def positions(self) -> int:
        """The number of leaves that there is room for."""
        return 1 << BITS[self.arity] * self.height


LeafChange = tuple[int, bytes | None, bytes | None]  # position, old leaf, new leaf

PAGES_32: Final = Shape(4, 8)
PAGES_64: Final = Shape(4, 13)
CONTRACTS: Final = Shape(2, 32)


def lookup(reader: ObjectReader, shape: Shape, root: bytes, position: int) -> bytes | None:
    """The leaf at a position, None if there is none."""
    if root == ZERO:
        return None
    bits, height, address = BITS[shape.arity], shape.height, root
    while True:
        node = load_node(reader, shape, height, address)
        height -= node.levels
        index = position >> height * bits
        if index >> 8 != node.stem:
            return None
        child = node.children.get(index & 255)
        if height == 0 or child is None:
            return child
        position &= (1 << height * bits) - 1
        address = child


def update(writer: ObjectWriter, shape: Shape, root: bytes, leaves: Mapping[int, bytes | None]) -> bytes:
    """The root after setting leaves, or taking them away where the value is None. Puts the nodes that are new."""
    if not leaves:
        return root
    assert 0 <= min(leaves) <= max(leaves) < shape.positions
    if None in leaves.values():  # what isn't there can't be taken away, and must not shape the nodes
        leaves = {
            p: leaf for p, leaf in leaves.items() if leaf is not None or lookup(writer, shape, root, p) is not None
        }
        if not leaves:
            return root
    return _update(writer, shape, shape.height, None if root == ZERO else root, leaves) or ZERO


def leaves(reader: ObjectReader, shape: Shape, root: bytes) -> Iterator[tuple[int, bytes]]:
    """Every present leaf as (position, hash), in order."""
    if root != ZERO:
        yield from _leaves(reader, shape, shape.height, load_node(reader, shape, shape.height, root), 0)


def walk(reader: ObjectReader, shape: Shape, root: bytes, enter: Callable[[bytes], bool]) -> Iterator[bytes]:
    """The leaves below those nodes for whose address `enter` is true; it is asked for each node that is come to."""
    todo = [] if root == ZERO else [(shape.height, root)]
    while todo:
        height, address = todo.pop()
        if enter(address):
            node = load_node(reader, shape, height, address)
            bottom = height - node.levels
            if bottom == 0:
                yield from node.children.values()
            else:
                todo.extend((bottom, child) for child in node.children.values())


def diff(reader: ObjectReader, shape: Shape, old: bytes, new: bytes) -> Iterator[LeafChange]:
    """The leaves that differ, as (position, old, new) in order; reads only where the trees do."""
    if old != new:
        height = shape.height
        before = None if old == ZERO else load_node(reader, shape, height, old)
        after = None if new == ZERO else load_node(reader, shape, height, new)
        yield from _diff(reader, shape, height, before, after, 0)


def load_node(reader: ObjectReader, shape: Shape, height: int, address: bytes) -> Node:
    """A node whose top is `height` levels above the leaves; refused if it isn't one of this shape."""
    node: Node = reader.load(Kind.NODE, address)
    rest = height - node.levels
    if node.arity != shape.arity or rest < 0 or rest % SPAN[shape.arity]:
        raise CorruptObject(Kind.NODE, address, "does not fit its place in the tree")
    return node


def children_at(node: Node, levels: int) -> dict[int, bytes | Node]:
    """What lies `levels` below the top of a node: its children, or one node that no object stands for."""
    if node.levels == levels:
        return {node.stem << 8 | index: child for index, child in node.children.items()}
    rest = node.levels - levels
    return {node.stem << 8 >> rest * BITS[node.arity]: node.lowered(rest)}


def _update(
    writer: ObjectWriter, shape: Shape, height: int, address: bytes | None, changes: Mapping[int, bytes | None]
) -> bytes | None:
    """The hash of a subtree after changes at positions relative to it; None if it is without leaves."""
    old = None if address is None else load_node(writer, shape, height, address)
    if old is None:
        changes = {position: leaf for position, leaf in changes.items() if leaf is not None}
        if not changes:
            return None
    bits = BITS[shape.arity]
    bottom, stem = _place(shape, height, old, changes)  # where the children of the new node lie
    here: dict[int, bytes | None]
    if old is not None and height - old.levels != bottom:
        lower = old.lowered(bottom - (height - old.levels))
        writer.put(Kind.NODE, lower.top, lower)
        index = old.stem << 8 >> (bottom - (height - old.levels)) * bits
        old = Node.of(shape.arity, height - bottom, stem, {index & 255: lower.top})
        address = None
    if bottom == 0:
        here = {position & 255: leaf for position, leaf in changes.items()}
    else:
        groups: dict[int, dict[int, bytes | None]] = {}
        for position, leaf in changes.items():
            below = groups.setdefault(position >> bottom * bits & 255, {})
            below[position & (1 << bottom * bits) - 1] = leaf
        children = old.children if old is not None else {}
        here = {i: _update(writer, shape, bottom, children.get(i), group) for i, group in groups.items()}
    if old is None:
        node: Node | None = Node.of(
            shape.arity, height - bottom, stem, {i: child for i, child in here.items() if child is not None}
        )
    else:
        node = old.updated(here)
    if node is None:
        return None
    if node.top != address:
        hint = None
        if address is not None and old is not None and not old.has_zeros and _present(here):
            hint = sum([1 << i for i in here])  # else a child may be gone, which a patch can't say
        writer.put(Kind.NODE, node.top, node, base=address, hint=hint)
    return node.top


def _present(children: Mapping[int, bytes | None]) -> bool:
    return all(child is not None and child != ZERO for child in children.values())


def _place(shape: Shape, height: int, node: Node | None, positions: Mapping[int, object]) -> tuple[int, int]:
    """As `_fork`; mostly a single position changes, within the block that the node has."""
    if node is not None and len(positions) == 1:
        bottom = height - node.levels
        [position] = positions
        if position >> bottom * BITS[shape.arity] >> 8 == node.stem:
            return bottom, node.stem
    return _fork(shape, height, node, positions)


def _fork(shape: Shape, height: int, node: Node | None, positions: Iterable[int]) -> tuple[int, int]:
    """The lowest height with a block that holds all of these positions and the node's; and that block's number."""
    bits, span = BITS[shape.arity], SPAN[shape.arity]
    first, last = min(positions), max(positions)
    bottom = 0
    if node is not None:
        bottom = height - node.levels
        of_node = node.stem << 8 << bottom * bits
        first, last = min(first, of_node), max(last, of_node)
    while first >> (bottom + span) * bits != last >> (bottom + span) * bits:
        bottom += span
    return bottom, first >> (bottom + span) * bits


def _leaves(reader: ObjectReader, shape: Shape, height: int, node: Node, start: int) -> Iterator[tuple[int, bytes]]:
    """The leaves below a node at `height` whose first position is `start`."""
    bottom = height - node.levels
    bits = BITS[shape.arity]
    for index in sorted(node.children):
        position = start + ((node.stem << 8 | index) << bottom * bits)
        child = node.children[index]
        if bottom == 0:
            yield position, child
        else:
            yield from _leaves(reader, shape, bottom, load_node(reader, shape, bottom, child), position)


def _diff(
    reader: ObjectReader, shape: Shape, height: int, old: Node | None, new: Node | None, start: int
) -> Iterator[LeafChange]:
    """The differing leaves below one place; either side may be empty, or cut into nodes in another way."""
    if old is None or new is None:
        if new is not None:
            yield from ((position, None, leaf) for position, leaf in _leaves(reader, shape, height, new, start))
        elif old is not None:
            yield from ((position, leaf, None) for position, leaf in _leaves(reader, shape, height, old, start))
        return
    bits = BITS[shape.arity]
    bottom = height - min(old.levels, new.levels)
    before, after = children_at(old, height - bottom), children_at(new, height - bottom)
    for index in sorted(before.keys() | after.keys()):
        a, b = before.get(index), after.get(index)
        if _hash(a) == _hash(b) and a is not None and b is not None:
            continue
        position = start + (index << bottom * bits)
        if bottom == 0:
            yield position, _hash(a), _hash(b)
        else:
            yield from _diff(
                reader, shape, bottom, _node(reader, shape, bottom, a), _node(reader, shape, bottom, b), position
            )


def _hash(child: bytes | Node | None) -> bytes | None:
    return child.top if isinstance(child, Node) else child


def _node(reader: ObjectReader, shape: Shape, height: int, child: bytes | Node | None) -> Node | None:
    return load_node(reader, shape, height, child) if isinstance(child, bytes) else child
