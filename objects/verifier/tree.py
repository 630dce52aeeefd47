"""Merkle trees of which a proof shows a part: their roots, computed upwards from what is shown.

A tree is two byte strings. Each *opened* node has one byte in the first, with two bits for each of its children, the
first child's lowest: 0 empty, 1 pruned, 2 opened (a leaf, on the lowest level). The second has the hashes of the pruned
subtrees. Both are in the order in which a walk from the left comes to them. A tree without opened nodes is its root
alone, or nothing if it is empty.

Two trees of one shape may be shown at once: what is pruned is the same in both, and each side of an opened leaf or node
may be missing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from blake3 import blake3
from piecrust.objects.verifier.encoding import an_array, fail, some_bytes

EMPTY, PRUNED, OPENED = 0, 1, 2
CONTRACTS: Final = (2, 32)  # arity and height of the state tree and of the contract map
PAGES: Final = {32: (4, 8), 64: (4, 13)}  # bits of a memory -> arity and height of its page tree
ZERO: Final = bytes(32)

_ALL_PRUNED: Final = {2: 0b01_01, 4: 0b01_01_01_01}

PAGES_MAX: Final = 4096
CHUNKS_MAX: Final = 1 << 13  # in slices; each takes up to 0.6 ms to hash
ABSENCES_MAX: Final = 1 << 16  # of pages and contracts
NODES_MAX: Final = 1 << 18
RANGE_BYTES_MAX: Final = 1 << 24

Leaf = Callable[[int], Sequence[bytes | None]]
Shape = tuple[int, int]
Places = dict[int, set[int]]  # height above the leaves -> positions at that height


class Limits:
    """What all parts of a proof may have together."""

    def __init__(self) -> None:
        self._left = {
            "pages": PAGES_MAX,
            "chunks": CHUNKS_MAX,
            "absences": ABSENCES_MAX,
            "nodes": NODES_MAX,
            "range bytes": RANGE_BYTES_MAX,
        }

    def take(self, what: str, count: int) -> None:
        """Fails when there is too much of something."""
        self._left[what] -= count
        if self._left[what] < 0:
            fail(f"too many {what}")


def roots_of(
    limits: Limits, tree: object, shape: Shape, leaf: Leaf, *, sides: int = 1
) -> tuple[tuple[bytes, ...], Places]:
    """The roots of one or two trees of which a part is shown, and the places of empty subtrees.

    `leaf` gives the hash of an opened leaf on each side, None where it is missing. A node without leaves has the hash
    zero and isn't hashed; one whose only leaf is zero, as the state tree may have it, is.
    """
    arity, height = shape
    codes, hashes = [some_bytes(part) for part in an_array(tree, 2)]
    limits.take("nodes", len(codes))
    if not codes:
        if hashes == ZERO:
            fail("no hash for a pruned tree")
        return (some_bytes(hashes, 32) if hashes else ZERO,) * sides, {} if hashes else {height: {0}}
    empty: Places = {}
    frames: list[tuple[int, list[Sequence[bytes | None]]]] = [(codes[0], [])]  # opened nodes: code, their children
    read, taken, position = 1, 0, 0
    while True:
        code, children = frames[-1]
        below, child = height - len(frames), position * arity + len(children)
        state = code >> 2 * len(children) & 3
        if len(children) == arity:
            if code in (0, _ALL_PRUNED[arity]) or code >> 2 * arity:
                fail("a node that shows nothing, or has too many children")
            value = [_hash(column) for column in zip(*children, strict=True)]
            frames.pop()
            if not frames:
                break
            position //= arity
            frames[-1][1].append(value)
        elif state == EMPTY:
            empty.setdefault(below, set()).add(child)
            children.append((None,) * sides)
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
    return tuple([root or ZERO for root in value]), empty


def _hash(children: Sequence[bytes | None]) -> bytes | None:
    """The hash of a node on one side, None if nothing is below it there."""
    if any(child is not None for child in children):
        return blake3(b"".join([child or ZERO for child in children])).digest()
    return None


def is_empty(empty: Places, shape: Shape, position: int) -> bool:
    """Whether a position lies in one of the empty subtrees."""
    bits = 1 if shape[0] == 2 else 2
    return any(position >> bits * height in places for height, places in empty.items())
