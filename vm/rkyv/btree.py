"""The archived form of `BTreeMap` and `BTreeSet`: what its encoder and decoder share.

A map is `{length: u32, root: pointer}`. Nodes are filled from the greatest key down to about 4 KiB each, leaves first,
then level by level the inner nodes above them; each begins with a header:

    0  u32  size     bytes from the first thing that the node's entries point to, up to the node
    4  i32  pointer  leaf: to the next leaf, 0 for the last; inner node: to the child below its first key
    8  u16  meta     number of entries; the highest bit is set in an inner node

then come the entries, in ascending order of their keys: `{key, value}` in a leaf, `{pointer, key}` in an inner node,
where the key is the first one of the child. Entries are structs, so rustc chooses the order of their fields.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from piecrust.vm.rkyv.layout import Layout, align_up, product

HEADER = struct.Struct("<IiH2x")
POINTER_OFFSET = 4
INNER_BIT = 0x8000
ENTRIES_MAX = 0x7FFF
POINTER = struct.Struct("<i")
MAP = struct.Struct("<Ii")
ROOT_OFFSET = 4

_HEADER_ALIGN = 4


@dataclass(frozen=True, slots=True)
class NodeShape:
    """Where things lie in leaves or inner nodes; the entry's parts are (key, value) or (pointer, key)."""

    entry_size: int
    entry_align: int
    parts: tuple[int, ...]

    @property
    def align(self) -> int:
        """The alignment of a node, in bytes."""
        return max(self.entry_align, _HEADER_ALIGN)

    @property
    def entries(self) -> int:
        """Where the entries begin, after the node's begin."""
        return align_up(HEADER.size, self.entry_align)

    def size(self, entries: int) -> int:
        """The size of a node without padding behind it."""
        return self.entries + entries * self.entry_size


def leaf_shape(key: Layout, value: Layout) -> NodeShape:
    """The shape of a leaf."""
    entry = product((key, value), movable=2)
    return NodeShape(entry.size, entry.align, entry.offsets)


def inner_shape(key: Layout) -> NodeShape:
    """The shape of an inner node."""
    entry = product((Layout(4, 4), key), movable=2)
    return NodeShape(entry.size, entry.align, entry.offsets)
