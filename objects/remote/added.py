"""What a commit has that the commit before it has not: what is sent, and what is looked at when it arrives.

Two trees are walked side by side, so the cost is what differs between them.
"""

from __future__ import annotations

from collections.abc import Iterator

from piecrust.objects import transcript, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.commit import Commit
from piecrust.objects.ids import ZERO
from piecrust.objects.kinds import Kind
from piecrust.objects.node import Node
from piecrust.objects.record import ContractRecord
from piecrust.objects.tree import CONTRACTS, Shape

Item = tuple[Kind, bytes]


def added_objects(reader: ObjectReader, commit: Commit, base: Commit | None) -> Iterator[Item]:
    """The objects of a commit's state and transcript, but those that `base` has at the same places.

    Nodes and records are loaded, after they were given; of the others only the addresses are told.

    Raises:
        ObjectNotFound, CorruptObject: a node or a record can't be read.
    """
    roots = (ZERO, ZERO) if base is None else (base.state_root, base.map_root)
    for _, _, node in _added(reader, CONTRACTS, roots[0], commit.state_root):
        if node is not None:
            yield Kind.NODE, node
    for was, now, node in _added(reader, CONTRACTS, roots[1], commit.map_root):
        if node is not None:
            yield Kind.NODE, node
        elif now is not None:
            yield Kind.RECORD, now
            yield from _of_record(reader, was, now)
    if commit.transcript is not None and (base is None or base.transcript != commit.transcript):
        yield Kind.TRANSCRIPT, commit.transcript
        yield from transcript.references(reader, commit.transcript)


def _of_record(reader: ObjectReader, was: bytes | None, now: bytes) -> Iterator[Item]:
    new: ContractRecord = reader.load(Kind.RECORD, now)
    old: ContractRecord | None = None if was is None else reader.load(Kind.RECORD, was)
    if old is None or old.bytecode != new.bytecode:
        yield Kind.BYTECODE, new.bytecode
    before = old.pages_root if old is not None and old.memory_kind is new.memory_kind else ZERO
    for _, page, node in _added(reader, new.memory_kind.shape, before, new.pages_root):
        if node is not None:
            yield Kind.NODE, node
        elif page is not None:
            yield Kind.PAGE, page


def _added(
    reader: ObjectReader, shape: Shape, old: bytes, new: bytes
) -> Iterator[tuple[bytes | None, bytes | None, bytes | None]]:
    """What the new tree has: (None, None, node), before it is loaded, or (old leaf, new leaf, None)."""
    if new != old and new != ZERO:
        yield None, None, new
        before = None if old == ZERO else tree.load_node(reader, shape, shape.height, old)
        yield from _below(reader, shape, shape.height, before, tree.load_node(reader, shape, shape.height, new))


def _below(
    reader: ObjectReader, shape: Shape, height: int, old: Node | None, new: Node
) -> Iterator[tuple[bytes | None, bytes | None, bytes | None]]:
    bottom = height - (new.levels if old is None else min(old.levels, new.levels))
    before = {} if old is None else tree.children_at(old, height - bottom)
    after = tree.children_at(new, height - bottom)
    for index, child in after.items():
        was = before.get(index)
        if isinstance(was, bytes) and was == child:
            continue
        if bottom == 0:
            yield _hash(was) if was is not None else None, _hash(child), None
            continue
        # Equal hashes don't tell that there is an object: trees may be cut into nodes in other ways.
        if isinstance(child, bytes):
            yield None, None, child
            child = tree.load_node(reader, shape, bottom, child)
        if isinstance(was, bytes):
            was = tree.load_node(reader, shape, bottom, was)
        yield from _below(reader, shape, bottom, was, child)


def _hash(child: bytes | Node) -> bytes:
    return child.top if isinstance(child, Node) else child
