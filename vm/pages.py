"""Pages of a contract's memory in a stored state, as memories ask for them."""

from __future__ import annotations

from collections.abc import Sequence

from piecrust.objects import tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.ids import ZERO
from piecrust.objects.kinds import Kind
from piecrust.objects.node import BITS, Node
from piecrust.objects.tree import Shape


class StoredPages:
    """The leaves of one page tree. Every page is verified against its hash as it is read."""

    __slots__ = ("_reader", "_root", "_shape")

    def __init__(self, reader: ObjectReader, shape: Shape, root: bytes) -> None:
        self._reader = reader
        self._shape = shape
        self._root = root

    def page(self, index: int) -> bytes | None:
        """The 64 KiB of a page, None if it was never written.

        Raises:
            CorruptObject: What is stored is not what its address says.
        """
        address = self.leaf(index)
        if address is None:
            return None
        page: bytes = self._reader.load(Kind.PAGE, address)
        return page

    def leaf(self, index: int) -> bytes | None:
        """The hash of a page, None if it was never written."""
        return tree.lookup(self._reader, self._shape, self._root, index)

    def indices(self, at_most: int) -> Sequence[int] | None:
        """Which pages there are, in order; None if they are more than `at_most`."""
        found: list[int] = []
        for index, _ in tree.leaves(self._reader, self._shape, self._root):
            if len(found) == at_most:
                return None
            found.append(index)
        return found

    def last(self) -> int:
        """The highest index of a page, -1 if there is none."""
        if self._root == ZERO:
            return -1
        bits = BITS[self._shape.arity]
        height, position, address = self._shape.height, 0, self._root
        while True:
            node: Node = self._reader.load(Kind.NODE, address)
            height -= node.levels
            highest = max(node.children)
            position += (node.stem << 8 | highest) << height * bits
            if height <= 0:
                return position
            address = node.children[highest]
