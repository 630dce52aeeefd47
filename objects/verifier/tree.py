"""Merkle trees of which a proof shows a part: their roots, computed upwards from what is shown.

A tree is two byte strings. Each *opened* node has one byte in the first, with two bits for each of its children, the
first child's lowest: 0 empty, 1 pruned, 2 opened (a leaf, on the lowest level). The second has the hashes of the pruned
subtrees. Both are in the order in which a walk from the left comes to them. A tree without opened nodes is its root
alone, or nothing if it is empty.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from blake3 import blake3
from piecrust.objects.verifier.encoding import an_array, fail, some_bytes

EMPTY, PRUNED, OPENED = 0, 1, 2
CONTRACTS: Final = (2, 32)  # arity and height of the state tree and of the contract map
PAGES: Final = {32: (4, 8), 64: (4, 13)}  # bits of a memory -> arity and height of its page tree
ZERO: Final = bytes(32)

PAGES_MAX: Final = 4096
CHUNKS_MAX: Final = 1 << 15  # in slices; each takes some 0.1 ms to hash
NODES_MAX: Final = 1 << 18
RANGE_BYTES_MAX: Final = 1 << 24

Leaf = Callable[[int], tuple[bytes, ...]]
Shape = tuple[int, int]
Place = tuple[int, int]  # height above the leaves, position at that height


class Limits:
    """What all parts of a proof may have together."""

    def __init__(self) -> None:
        self._left = {"pages": PAGES_MAX, "chunks": CHUNKS_MAX, "nodes": NODES_MAX, "range bytes": RANGE_BYTES_MAX}

    def take(self, what: str, count: int) -> None:
        """Fails when there is too much of something."""
        self._left[what] -= count
        if self._left[what] < 0:
            fail(f"too many {what}")


def roots_of(
    limits: Limits, tree: object, shape: Shape, leaf: Leaf, *, sides: int = 1, zero_leaves: bool = False
) -> tuple[tuple[bytes, ...], set[Place]]:
    """The roots of a tree of which a part is shown, and the places of its empty subtrees.

    Two trees of one shape may be shown at once (`sides`): what is pruned is the same in both. `leaf` gives the hashes
    of an opened leaf. A subtree without leaves has the hash zero; where leaves may be zero, an opened node is hashed.
    """
    arity, height = shape
    codes, hashes = [some_bytes(part) for part in an_array(tree, 2)]
    limits.take("nodes", len(codes))
    if not codes:
        if hashes == ZERO:
            fail("no hash for a pruned tree")
        return (some_bytes(hashes, 32) if hashes else ZERO,) * sides, set() if hashes else {(height, 0)}
    empty: set[Place] = set()
    frames: list[tuple[int, list[tuple[bytes, ...]]]] = [(codes[0], [])]  # opened nodes: code, hashes of their children
    read, taken, position = 1, 0, 0
    while True:
        code, children = frames[-1]
        below, child = height - len(frames), position * arity + len(children)
        state = code >> 2 * len(children) & 3
        if len(children) == arity:
            if code >> 2 * arity:
                fail("a node with too many children")
            columns = [b"".join(column) for column in zip(*children, strict=True)]
            value = tuple([blake3(c).digest() if zero_leaves or any(c) else ZERO for c in columns])
            frames.pop()
            if not frames:
                break
            position //= arity
            frames[-1][1].append(value)
        elif state == EMPTY:
            empty.add((below, child))
            children.append((ZERO,) * sides)
        elif state == PRUNED:
            sibling, taken = hashes[taken : taken + 32], taken + 32
            if len(sibling) < 32 or sibling == ZERO:
                fail("no hash for a pruned subtree")
            children.append((sibling,) * sides)
        elif state == OPENED and below == 0:
            children.append(leaf(child))
        elif state == OPENED and read < len(codes):
            frames.append((codes[read], []))
            read, position = read + 1, child
        else:
            fail("a node is missing")
    if read != len(codes) or taken != len(hashes):
        fail("more nodes or hashes than the tree has")
    return value, empty


def is_empty(empty: set[Place], shape: Shape, position: int) -> bool:
    """Whether a position lies in one of the empty subtrees."""
    bits = 1 if shape[0] == 2 else 2
    return any((height, position >> bits * height) in empty for height in range(shape[1] + 1))
