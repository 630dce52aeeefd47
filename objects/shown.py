"""The parts of trees that proofs show: what `piecrust.objects.verifier.tree` reads, made from a store."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from piecrust.objects.access import ObjectReader
from piecrust.objects.errors import NotProvable
from piecrust.objects.ids import ZERO
from piecrust.objects.node import BITS
from piecrust.objects.place import Place
from piecrust.objects.tree import LeafChange, Shape
from piecrust.objects.verifier.tree import OPENED, PRUNED


@dataclass
class Shown:
    """A part of a tree while it is made: a byte for each opened node, and the hashes of what is pruned."""

    codes: bytearray = field(default_factory=bytearray)
    hashes: list[bytes] = field(default_factory=list)

    def field(self) -> tuple[bytes, bytes]:
        """As it stands in a proof."""
        return bytes(self.codes), b"".join(self.hashes)


def show(
    reader: ObjectReader, shape: Shape, root: bytes, positions: Iterable[int], *, zero_leaves: bool = False
) -> tuple[bytes, bytes]:
    """The tree with the ways to some positions opened, whether there are leaves or not.

    With `zero_leaves` there are leaves at all of them; these may be zero, which a stored tree doesn't tell from none.
    """
    return _shown(reader, shape, [root], positions, zero_leaves=zero_leaves)


def show_both(
    reader: ObjectReader, shape: Shape, old: bytes, new: bytes, positions: Iterable[int]
) -> tuple[bytes, bytes]:
    """Two trees with the ways to some positions opened, at each of which one of them has a leaf, which may be zero.

    Raises:
        NotProvable: they differ anywhere else.
    """
    return _shown(reader, shape, [old, new], positions, zero_leaves=True)


def _shown(
    reader: ObjectReader, shape: Shape, roots: list[bytes], positions: Iterable[int], *, zero_leaves: bool
) -> tuple[bytes, bytes]:
    shown, wanted = Shown(), sorted(positions)
    places = [Place.top(reader, shape, root) for root in roots]
    if not wanted or not any(places):
        _check_equal({*roots})
        return b"", b"" if roots[0] == ZERO else roots[0]
    _open(shown, places, wanted, zero_leaves=zero_leaves)
    return shown.field()


def _open(shown: Shown, places: list[Place | None], wanted: list[int], *, zero_leaves: bool) -> None:
    """Open a node above the wanted positions, on the side or sides where it is; no deeper than the tree is high."""
    number = len(shown.codes)
    shown.codes.append(0)
    shape, height = next((place.shape, place.height) for place in places if place is not None)
    nothing: list[Place | None] = [None] * shape.arity
    columns = zip(*[nothing if place is None else place.children() for place in places], strict=True)
    for digit, children in enumerate(columns):
        below = [p for p in wanted if p >> (height - 1) * BITS[shape.arity] & shape.arity - 1 == digit]
        if below and (any(children) or (zero_leaves and height == 1)):
            shown.codes[number] |= OPENED << 2 * digit
            if height > 1:
                _open(shown, list(children), below, zero_leaves=zero_leaves)
            continue
        hashes = {ZERO if child is None else child.hash for child in children}
        _check_equal(hashes)
        if hashes != {ZERO}:
            shown.codes[number] |= PRUNED << 2 * digit
            shown.hashes += hashes


def _check_equal(hashes: set[bytes]) -> None:
    if len(hashes) > 1:
        raise NotProvable("in what the commits differ", "their contract maps and their state trees disagree")


def show_difference(
    reader: ObjectReader, shape: Shape, old: bytes, new: bytes
) -> tuple[tuple[bytes, bytes], list[LeafChange]]:
    """Two trees opened wherever they differ, and the leaves that do."""
    shown, changes = Shown(), list[LeafChange]()
    if old == new:
        return (b"", b"" if old == ZERO else old), changes
    _open_both(shown, changes, Place.top(reader, shape, old), Place.top(reader, shape, new), 0)
    return shown.field(), changes


def _open_both(shown: Shown, changes: list[LeafChange], old: Place | None, new: Place | None, position: int) -> None:
    """Open a node that differs, on the side or sides where it is."""
    number = len(shown.codes)
    shown.codes.append(0)
    present = old or new
    assert present is not None
    arity = present.shape.arity
    nothing: list[Place | None] = [None] * arity
    pairs = zip(old.children() if old else nothing, new.children() if new else nothing, strict=True)
    for digit, (before, after) in enumerate(pairs):
        was, now = None if before is None else before.hash, None if after is None else after.hash
        child = position * arity + digit
        if was is None and now is None:
            continue  # empty in both
        if was == now:
            shown.codes[number] |= PRUNED << 2 * digit
            shown.hashes.append(was or ZERO)
            continue
        shown.codes[number] |= OPENED << 2 * digit
        if present.height > 1:
            _open_both(shown, changes, before, after, child)
        else:
            changes.append((child, was, now))
