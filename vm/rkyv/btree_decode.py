"""Decoding `BTreeMap` and `BTreeSet`, with every check of rkyv's `ArchivedBTreeMap::check_bytes`.

Nodes are visited level by level from the root, children in ascending order. That is the order of rkyv's validation, in
which each node must lie before the one visited before it, and what a node's entries point to right before the node.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

from piecrust.vm.rkyv.btree import (
    HEADER,
    INNER_BIT,
    MAP,
    POINTER,
    POINTER_OFFSET,
    ROOT_OFFSET,
    NodeShape,
    inner_shape,
    leaf_shape,
)
from piecrust.vm.rkyv.mismatch import Mismatch
from piecrust.vm.rkyv.ordering import sort_key
from piecrust.vm.rkyv.types import RustType

if TYPE_CHECKING:
    from piecrust.vm.rkyv.decode import Decoder, Read
    from piecrust.vm.rkyv.reader import Reader


class _Node(NamedTuple):
    """A node that was read: what its header points to, None for a null pointer, and its entries in ascending order.

    They are (key, value) in a leaf, (key, child's position) in an inner node.
    """

    position: int
    inner: bool
    pointed: int | None
    entries: list[tuple[Any, Any]]

    @property
    def children(self) -> list[int]:
        """The positions of an inner node's children. The one in the header has the least keys."""
        return [self.position if self.pointed is None else self.pointed, *(child for _, child in self.entries)]


def map_reader(
    rust: RustType, key_type: RustType, key: Decoder, value: Decoder, make: Callable[[list[tuple[Any, Any]]], Any]
) -> Read:
    """Reads maps; `make` is given the pairs in ascending order of their keys."""
    nodes = _NodeReader(key, value)
    order = sort_key(key_type)

    def read(reader: Reader, position: int) -> Any:
        length, offset = MAP.unpack_from(reader.data, position)
        if length == 0:
            return make([])
        levels = nodes.read_levels(reader, position + ROOT_OFFSET + offset, position)
        pairs = _linked_entries(levels[-1])
        keys = [order(pair[0]) for pair in pairs]
        if any(later < earlier for earlier, later in pairwise(keys)):
            raise Mismatch(str(rust), "keys that do not ascend", position)
        if len(pairs) != length:
            raise Mismatch(f"{rust} of {length} entries", f"{len(pairs)} entries", position)
        _check_inner_keys(levels)
        return make(pairs)

    return read


class _NodeReader:
    """Reads the nodes of maps of one type."""

    def __init__(self, key: Decoder, value: Decoder) -> None:
        self._read_key = key.read
        self._read_value = value.read
        self._leaf = leaf_shape(key.layout, value.layout)
        self._inner = inner_shape(key.layout)
        self._entry_values = key.layout.values + value.layout.values
        self._entry_nesting = max(key.layout.nesting, value.layout.nesting)

    def read_levels(self, reader: Reader, root: int, owner: int) -> list[list[_Node]]:
        """All nodes, level by level from the root to the leaves, each level in ascending order."""
        end = reader.end
        reader.spend(0, self._entry_nesting, owner)
        node = self._read_node(reader, root, owner)
        levels = [[node]]
        while node.inner:
            links = [(child, parent.position) for parent in levels[-1] for child in parent.children]
            levels.append([self._read_node(reader, child, parent) for child, parent in links])
            node = levels[-1][0]
            for other in levels[-1]:
                if other.inner != node.inner:
                    raise Mismatch("leaves of one depth", "a leaf beside an inner node", other.position)
        reader.refund(self._entry_nesting)
        top = levels[0][0]
        reader.leave(root + self._shape(inner=top.inner).size(len(top.entries)), end)
        return levels

    def _read_node(self, reader: Reader, position: int, owner: int) -> _Node:
        end = reader.enter(position, HEADER.size, 1, owner)
        size, offset, meta = HEADER.unpack_from(reader.data, position)
        inner, count = meta & INNER_BIT != 0, meta & ~INNER_BIT
        shape = self._shape(inner=inner)
        if count == 0:
            raise Mismatch("a node with entries", "none", position)
        if position & (shape.align - 1):
            raise Mismatch(f"a node aligned to {shape.align}", f"a pointer to {position}", owner)
        if position + shape.size(count) > end:
            raise Mismatch(f"a node that ends before {end}", f"{count} entries", position)
        if size > position:
            raise Mismatch(f"a node of at most {position} bytes", f"{size} bytes", position)
        reader.spend(count * self._entry_values, 0, position)
        read_entry = self._read_inner_entry if inner else self._read_leaf_entry
        first = position + shape.entries
        start, lowest = reader.start, reader.lowest
        reader.start, reader.lowest = max(start, position - size), position
        # rkyv writes and visits what the entries point to from the last entry to the first.
        entries = [read_entry(reader, first + index * shape.entry_size) for index in range(count - 1, -1, -1)]
        entries.reverse()
        # The nodes that follow lie before everything that this one points to.
        reader.start, reader.end, reader.lowest = start, reader.lowest, min(lowest, reader.lowest)
        pointed = position + POINTER_OFFSET + offset if offset else None
        return _Node(position, inner, pointed, entries)

    def _shape(self, *, inner: bool) -> NodeShape:
        return self._inner if inner else self._leaf

    def _read_leaf_entry(self, reader: Reader, position: int) -> tuple[Any, Any]:
        key_offset, value_offset = self._leaf.parts
        key = self._checked_key(reader, position + key_offset)
        try:
            return key, self._read_value(reader, position + value_offset)
        except Mismatch as mismatch:
            mismatch.within(repr(key)[:80])
            raise

    def _read_inner_entry(self, reader: Reader, position: int) -> tuple[Any, int]:
        pointer_offset, key_offset = self._inner.parts
        pointer = position + pointer_offset
        (offset,) = POINTER.unpack_from(reader.data, pointer)
        return self._checked_key(reader, position + key_offset), pointer + offset

    def _checked_key(self, reader: Reader, position: int) -> Any:
        try:
            return self._read_key(reader, position)
        except Mismatch as mismatch:
            mismatch.within("key")
            raise


def _linked_entries(leaves: list[_Node]) -> list[tuple[Any, Any]]:
    """The entries of all leaves, whose headers must link them in their order."""
    following: list[int | None] = [leaf.position for leaf in leaves[1:]]
    for leaf, expected in zip(leaves, [*following, None], strict=True):
        if leaf.pointed != expected:
            raise Mismatch("leaves linked in their order", "another link", leaf.position)
    return [entry for leaf in leaves for entry in leaf.entries]


def _check_inner_keys(levels: list[list[_Node]]) -> None:
    """Each key in an inner node must be the least key below the child that it stands for."""
    least = {leaf.position: leaf.entries[0][0] for leaf in levels[-1]}
    for level in reversed(levels[:-1]):
        for node in level:
            for key, child in node.entries:
                if key != least[child]:
                    raise Mismatch("the first key of the child in an inner node", repr(key)[:80], node.position)
            least[node.position] = least[node.children[0]]
