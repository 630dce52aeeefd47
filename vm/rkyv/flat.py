"""Types of a fixed number of scalars, `([u8; 32], u64)` for instance, packed and unpacked by one `struct` format.

A flat value is a list of leaves in the order of memory; nested tuples, structs and short arrays are flattened into it.
This is what makes the everyday arguments fast: one `struct` call, whatever the nesting.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from piecrust.vm.rkyv.layout import Layouts
from piecrust.vm.rkyv.mismatch import Mismatch
from piecrust.vm.rkyv.products import Explode, Make, array_exploder, field_exploder, maker, tuple_exploder
from piecrust.vm.rkyv.scalars import leaf
from piecrust.vm.rkyv.types import UNIT, ArrayType, RustType, StructType, TupleType

LEAVES_MAX = 256
"""Longer types (arrays, that is) are not worth a `struct` format: they are encoded item by item."""

Take = Callable[[list[Any], Any], None]
"""Appends the checked leaves of a value to a list. Raises `Mismatch`."""

Build = Callable[[Sequence[Any], int], Any]
"""Makes the value of the leaves from an index on. Raises `Mismatch` whose `offset` is the index of the bad leaf."""


@dataclass(frozen=True, slots=True)
class Flat:
    """How a flat type is packed: the format without byte order, with all padding, and the offsets of the leaves."""

    code: str
    offsets: tuple[int, ...]
    take: Take
    build: Build

    def packer(self) -> struct.Struct:
        """The compiled format, little-endian, as long as the archived type."""
        return struct.Struct("<" + self.code)

    def offset(self, leaf_index: int) -> int:
        """Where a leaf lies; for a part without leaves at the end, where the value ends."""
        return self.offsets[leaf_index] if leaf_index < len(self.offsets) else struct.calcsize("<" + self.code)


class Flats:
    """Finds the flat forms of types, each type's once."""

    def __init__(self, layouts: Layouts) -> None:
        self._layouts = layouts
        self._known: dict[RustType, Flat | None] = {}

    def of(self, rust: RustType) -> Flat | None:
        """The flat form, or None for types that point, choose between variants, or are too long."""
        if rust not in self._known:
            self._known[rust] = self._flatten(rust)
        return self._known[rust]

    def _flatten(self, rust: RustType) -> Flat | None:
        item = leaf(rust)
        if item is not None:
            return _leaf(item.code, item.check, item.load)
        if rust == UNIT:
            return Flat("", (), _take_unit, lambda _leaves, _index: None)
        match rust:
            case TupleType(items):
                return self._product(rust, items, range(len(items)), tuple_exploder(rust), tuple)
            case StructType(fields=fields, make=make):
                names = [field.name for field in fields]
                explode = field_exploder(str(rust), make, fields)
                return self._product(rust, [field.type for field in fields], names, explode, maker(str(rust), make))
            case ArrayType(item=element, length=length) if length <= LEAVES_MAX:
                return self._product(rust, [element] * length, range(length), array_exploder(rust), tuple)
        return None

    def _product(
        self, rust: RustType, items: Sequence[RustType], steps: Sequence[object], explode: Explode, make: Make
    ) -> Flat | None:
        inner: list[Flat] = []
        for item in items:
            flat = self.of(item)
            if flat is None:
                return None
            inner.append(flat)
        if sum(len(flat.offsets) for flat in inner) > LEAVES_MAX:
            return None
        layout = self._layouts.of(rust)
        sizes = [self._layouts.of(item).size for item in items]
        starts = layout.offsets or [index * size for index, size in enumerate(sizes)]
        code, position = "", 0
        offsets: list[int] = []
        takes: list[tuple[int, object, Take]] = []
        builds: dict[int, tuple[object, Build, int]] = {}
        for index in sorted(range(len(items)), key=lambda index: (starts[index], sizes[index])):
            code += _padding(starts[index] - position) + inner[index].code
            position = starts[index] + sizes[index]
            takes.append((index, steps[index], inner[index].take))
            builds[index] = (steps[index], inner[index].build, len(offsets))
            offsets.extend(starts[index] + offset for offset in inner[index].offsets)
        code += _padding(layout.size - position)
        return Flat(
            code,
            tuple(offsets),
            _product_take(explode, takes),
            _product_build(make, [builds[index] for index in range(len(items))]),
        )


def _leaf(code: str, check: Callable[[Any], Any], load: Callable[[Any], Any] | None) -> Flat:
    def take(leaves: list[Any], value: Any) -> None:
        leaves.append(check(value))

    def build_as_is(leaves: Sequence[Any], index: int) -> Any:
        return leaves[index]

    def build(leaves: Sequence[Any], index: int) -> Any:
        try:
            return load(leaves[index])  # type: ignore[misc]  # build is used only with a load
        except Mismatch as mismatch:
            mismatch.offset = index
            raise

    return Flat(code, (0,), take, build_as_is if load is None else build)


def _take_unit(_leaves: list[Any], value: Any) -> None:
    if value is not None and value != ():
        raise Mismatch("()", type(value).__name__)


def _product_take(explode: Explode, takes: list[tuple[int, object, Take]]) -> Take:
    def take(leaves: list[Any], value: Any) -> None:
        items = explode(value)
        for index, step, take_item in takes:
            try:
                take_item(leaves, items[index])
            except Mismatch as mismatch:
                mismatch.within(step)
                raise

    return take


def _product_build(make: Make, builds: list[tuple[object, Build, int]]) -> Build:
    def build(leaves: Sequence[Any], index: int) -> Any:
        values = []
        for step, build_item, start in builds:
            try:
                values.append(build_item(leaves, index + start))
            except Mismatch as mismatch:
                mismatch.within(step)
                raise
        try:
            return make(values)
        except Mismatch as mismatch:
            mismatch.offset = index
            raise

    return build


def _padding(length: int) -> str:
    return f"{length}x" if length else ""
