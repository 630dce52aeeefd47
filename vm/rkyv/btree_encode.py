"""Encoding `BTreeMap` and `BTreeSet`: rkyv's `serialize_from_reverse_iter`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from itertools import pairwise
from operator import itemgetter
from typing import Any

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
from piecrust.vm.rkyv.layout import Layouts
from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.ordering import sort_key
from piecrust.vm.rkyv.steps import Encoder, Place, Prepare, reserve
from piecrust.vm.rkyv.types import UNIT, MapType, RustType, SetType

NODE_BYTES = 4096
"""A node takes no more entries once it and what they point to are as large as this."""

INNER_ALIGN_MIN = 8
"""rkyv aligns inner nodes as its own `NodeHeaderData`: to 8 bytes on 64-bit hosts, where arguments are encoded."""

_Node = tuple[Any, int]
"""The first key below a node, and the node's position."""


def map_steps(rust: MapType, key: Encoder, value: Encoder, layouts: Layouts) -> tuple[Prepare, Place]:
    """The two steps for a `BTreeMap`. Its values are mappings, or sequences of pairs."""
    return _steps(_pairs(rust, rust.key, _map_items), _Writer(rust.key, key, rust.value, value, layouts))


def set_steps(rust: SetType, item: Encoder, unit: Encoder, layouts: Layouts) -> tuple[Prepare, Place]:
    """The two steps for a `BTreeSet`, which is a map to `()`. Its values are sets, or sequences of items."""
    return _steps(_pairs(rust, rust.item, _set_items), _Writer(rust.item, item, UNIT, unit, layouts))


def _steps(pairs: Callable[[Any], list[tuple[Any, Any]]], writer: _Writer) -> tuple[Prepare, Place]:
    def prepare(out: bytearray, value: Any) -> tuple[int, int]:
        entries = pairs(value)
        return len(entries), writer.write(out, entries) if entries else 0

    def place(out: bytearray, position: int, prepared: tuple[int, int]) -> None:
        length, root = prepared
        MAP.pack_into(out, position, length, root - position - ROOT_OFFSET)

    return prepare, place


class _Writer:
    def __init__(
        self, key_type: RustType, key: Encoder, value_type: RustType, value: Encoder, layouts: Layouts
    ) -> None:
        self._key = key
        self._value = value
        self._leaf = leaf_shape(layouts.of(key_type), layouts.of(value_type))
        self._inner = inner_shape(layouts.of(key_type))

    def write(self, out: bytearray, entries: list[tuple[Any, Any]]) -> int:
        """Appends all nodes for the entries, which descend by key; returns the root's position."""
        level = self._write_leaves(out, entries)
        while len(level) > 1:
            level = self._write_inner(out, level)
        return level[0][1]

    def _write_leaves(self, out: bytearray, entries: list[tuple[Any, Any]]) -> list[_Node]:
        shape, nodes = self._leaf, list[_Node]()
        key_offset, value_offset = shape.parts
        rest = iter(entries)
        for first in rest:
            start = len(out)
            prepared = [self._prepare_entry(out, first)]
            while len(out) - start + HEADER.size + len(prepared) * shape.entry_size < NODE_BYTES:
                entry = next(rest, None)
                if entry is None:
                    break
                prepared.append(self._prepare_entry(out, entry))
            node = _begin_node(out, shape, start, shape.align, len(prepared), nodes[-1][1] if nodes else None)
            nodes.append((prepared[-1][0], node))
            position = node + shape.entries
            for _, key, value in reversed(prepared):
                self._key.place(out, position + key_offset, key)
                self._value.place(out, position + value_offset, value)
                position += shape.entry_size
        return nodes

    def _prepare_entry(self, out: bytearray, entry: tuple[Any, Any]) -> tuple[Any, Any, Any]:
        key, value = entry
        try:
            prepared = self._key.prepare(out, key)
        except Mismatch as mismatch:
            mismatch.within("key")
            raise
        try:
            return key, prepared, self._value.prepare(out, value)
        except Mismatch as mismatch:
            mismatch.within(repr(key)[:80])
            raise

    def _write_inner(self, out: bytearray, level: list[_Node]) -> list[_Node]:
        shape, nodes = self._inner, list[_Node]()
        pointer_offset, key_offset = shape.parts
        index, last = 0, len(level) - 1
        while index < last:
            start = len(out)
            prepared: list[tuple[int, Any]] = []
            while index < last:
                key, child = level[index]
                index += 1
                prepared.append((child, self._key.prepare(out, key)))
                if (
                    len(out) - start + HEADER.size + len(prepared) * shape.entry_size >= NODE_BYTES
                    and len(prepared) >= 2
                ):
                    break
            if index == last - 1:
                # With two children left the next node would have one only, so this node takes the first of them.
                key, child = level[index]
                index += 1
                prepared.append((child, self._key.prepare(out, key)))
            first_key, first_child = level[index]
            index += 1
            align = max(shape.entry_align, INNER_ALIGN_MIN)
            node = _begin_node(out, shape, start, align, len(prepared) | INNER_BIT, first_child)
            nodes.append((first_key, node))
            position = node + shape.entries
            for child, prepared_key in reversed(prepared):
                POINTER.pack_into(out, position + pointer_offset, child - position - pointer_offset)
                self._key.place(out, position + key_offset, prepared_key)
                position += shape.entry_size
        return nodes


def _begin_node(out: bytearray, shape: NodeShape, start: int, align: int, meta: int, pointed: int | None) -> int:
    """Appends a node with its header filled in and its entries zero; returns its position."""
    node = reserve(out, align, shape.size(meta & ~INNER_BIT))
    HEADER.pack_into(out, node, node - start, 0 if pointed is None else pointed - node - POINTER_OFFSET, meta)
    return node


def _pairs(
    rust: RustType, key_type: RustType, items: Callable[[RustType, Any], list[tuple[Any, Any]]]
) -> Callable[[Any], list[tuple[Any, Any]]]:
    """A function that gives the entries of a map in descending order of their keys."""
    key = sort_key(key_type)

    def pairs(value: Any) -> list[tuple[Any, Any]]:
        unsorted = items(rust, value)
        try:
            entries = sorted(((key(item[0]), item) for item in unsorted), key=itemgetter(0), reverse=True)
        except Mismatch as mismatch:
            mismatch.within("key")
            raise
        except TypeError:
            raise Mismatch(str(rust), f"a {describe(value)} whose keys have no common order") from None
        for (one, (found, _)), (other, _) in pairwise(entries):
            if one == other:
                raise Mismatch(str(rust), f"the key {found!r} twice"[:80])
        return [entry for _, entry in entries]

    return pairs


def _map_items(rust: RustType, value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple) and all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in value):
        return [(key, item) for key, item in value]
    raise Mismatch(str(rust), describe(value))


def _set_items(rust: RustType, value: Any) -> list[tuple[Any, Any]]:
    if not isinstance(value, AbstractSet | list | tuple):
        raise Mismatch(str(rust), describe(value))
    return [(item, None) for item in value]
