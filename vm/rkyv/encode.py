"""Python values to archives, byte for byte as rkyv's `CompositeSerializer` writes them.

The order of the parts is rkyv's: fields one after the other, but the items of a *tuple* from the last to the first.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.btree_encode import map_steps, set_steps
from piecrust.vm.rkyv.flat import Flats, Take
from piecrust.vm.rkyv.layout import Layout, Layouts
from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.products import array_exploder, field_exploder, sequence, tuple_exploder, variant_chooser
from piecrust.vm.rkyv.scalars import as_bytes
from piecrust.vm.rkyv.steps import Encoder, Place, Prepare, reserve
from piecrust.vm.rkyv.types import (
    BOXED_STR,
    STRING,
    UNIT,
    ArrayType,
    BoxType,
    EnumType,
    MapType,
    OptionType,
    ResultType,
    RustType,
    SetType,
    StructType,
    TupleType,
    VecType,
    is_bytes,
)
from piecrust.vm.rkyv.values import Err, Ok, Some

INLINE_STRING_MAX = 7
"""Bytes of text that fit into an archived `String` itself."""

_pack_pointer_and_length = struct.Struct("<iI").pack_into
_pack_length_and_pointer = struct.Struct("<Ii").pack_into
_pack_pointer = struct.Struct("<i").pack_into


class Encoders:
    """Makes encoders, each type's once; a type that contains itself finds its own in the making."""

    def __init__(self, layouts: Layouts, flats: Flats) -> None:
        self._layouts = layouts
        self._flats = flats
        self._known: dict[RustType, Encoder] = {}
        self._open: set[RustType] = set()

    def of(self, rust: RustType) -> Encoder:
        """The encoder of a type. Raises `InvalidType`."""
        known = self._known.get(rust)
        if known is not None:
            return known
        if rust in self._open:
            return self._later(rust)
        self._open.add(rust)
        layout = self._layouts.of(rust)
        prepare, place = self._steps(rust, layout)
        self._open.remove(rust)
        encoder = Encoder(prepare, place, layout.size, layout.align)
        self._known[rust] = encoder
        return encoder

    def _later(self, rust: RustType) -> Encoder:
        layout = self._layouts.of(rust)
        return Encoder(
            lambda out, value: self._known[rust].prepare(out, value),
            lambda out, position, prepared: self._known[rust].place(out, position, prepared),
            layout.size,
            layout.align,
        )

    def _steps(self, rust: RustType, layout: Layout) -> tuple[Prepare, Place]:
        flat = self._flats.of(rust)
        if flat is not None:
            return _flat_steps(flat.packer(), flat.take)
        if rust == STRING:
            return _prepare_string, _place_string
        if rust == BOXED_STR:
            return lambda out, value: _append(out, _utf8("Box<str>", value)), _place_slice
        match rust:
            case TupleType(items):
                explode = tuple_exploder(rust)
                prepare, place = self._product(items, range(len(items)), layout.offsets, range(len(items) - 1, -1, -1))
                return lambda out, value: prepare(out, explode(value)), place
            case StructType(fields=fields, make=make):
                explode = field_exploder(str(rust), make, fields)
                types, names = [field.type for field in fields], [field.name for field in fields]
                prepare, place = self._product(types, names, layout.offsets, range(len(fields)))
                return lambda out, value: prepare(out, explode(value)), place
            case ArrayType():
                return self._array(rust)
            case VecType() if is_bytes(rust):
                return lambda out, value: _append(out, as_bytes(rust, value)), _place_slice
            case VecType():
                return self._vec(rust)
            case BoxType():
                return self._box(rust)
            case OptionType():
                return self._option(rust, layout.offsets[0])
            case ResultType():
                return self._result(rust, layout.offsets)
            case EnumType():
                return self._enum(rust, layout)
            case MapType():
                return map_steps(rust, self.of(rust.key), self.of(rust.value), self._layouts)
            case SetType(item):
                return set_steps(rust, self.of(item), self.of(UNIT), self._layouts)
        raise InvalidType(str(rust), "not a type that is archived")

    def _product(
        self, types: Sequence[RustType], steps: Sequence[object], offsets: Sequence[int], order: Iterable[int]
    ) -> tuple[Prepare, Place]:
        """The two steps for the items of a product, which are prepared in the given order."""
        parts = [(index, steps[index], offsets[index], self.of(types[index])) for index in order]

        def prepare(out: bytearray, items: Sequence[Any]) -> list[Any]:
            prepared = []
            for index, step, _, part in parts:
                try:
                    prepared.append(part.prepare(out, items[index]))
                except Mismatch as mismatch:
                    mismatch.within(step)
                    raise
            return prepared

        def place(out: bytearray, position: int, prepared: list[Any]) -> None:
            for (_, _, offset, part), item in zip(parts, prepared, strict=True):
                part.place(out, position + offset, item)

        return prepare, place

    def _array(self, rust: ArrayType) -> tuple[Prepare, Place]:
        explode = array_exploder(rust)
        prepare_items, place_items = _each(self.of(rust.item))
        return lambda out, value: prepare_items(out, explode(value)), place_items

    def _vec(self, rust: VecType) -> tuple[Prepare, Place]:
        item = self.of(rust.item)
        prepare_items, place_items = _each(item)

        def prepare(out: bytearray, value: Any) -> tuple[int, int]:
            prepared = prepare_items(out, sequence(rust, value))
            start = reserve(out, item.align, item.size * len(prepared))
            place_items(out, start, prepared)
            return start, len(prepared)

        return prepare, _place_slice

    def _box(self, rust: BoxType) -> tuple[Prepare, Place]:
        item = self.of(rust.item)

        def prepare(out: bytearray, value: Any) -> int:
            prepared = item.prepare(out, value)
            start = reserve(out, item.align, item.size)
            item.place(out, start, prepared)
            return start

        def place(out: bytearray, position: int, start: int) -> None:
            _pack_pointer(out, position, start - position)

        return prepare, place

    def _option(self, rust: OptionType, offset: int) -> tuple[Prepare, Place]:
        item = self.of(rust.item)

        def prepare(out: bytearray, value: Any) -> tuple[Any] | None:
            if value is None:
                return None
            return (item.prepare(out, value.value if isinstance(value, Some) else value),)

        def place(out: bytearray, position: int, prepared: tuple[Any] | None) -> None:
            if prepared is not None:
                out[position] = 1
                item.place(out, position + offset, prepared[0])

        return prepare, place

    def _result(self, rust: ResultType, offsets: Sequence[int]) -> tuple[Prepare, Place]:
        branches = (self.of(rust.ok), self.of(rust.err))

        def prepare(out: bytearray, value: Any) -> tuple[int, Any]:
            if isinstance(value, Ok):
                return 0, _within("Ok", branches[0].prepare, out, value.value)
            if isinstance(value, Err):
                return 1, _within("Err", branches[1].prepare, out, value.error)
            raise Mismatch(f"Ok or Err of {rust}", describe(value))

        def place(out: bytearray, position: int, prepared: tuple[int, Any]) -> None:
            tag, item = prepared
            out[position] = tag
            branches[tag].place(out, position + offsets[tag], item)

        return prepare, place

    def _enum(self, rust: EnumType, layout: Layout) -> tuple[Prepare, Place]:
        choose = variant_chooser(rust)
        bodies = [
            self._product(
                [field.type for field in variant.fields],
                [f"{variant.name}.{field.name}" for field in variant.fields],
                offsets,
                range(len(variant.fields)),
            )
            for variant, offsets in zip(rust.variants, layout.variants, strict=True)
        ]
        tag_size = rust.tag.size

        def prepare(out: bytearray, value: Any) -> tuple[int, list[Any]]:
            tag, items = choose(value)
            return tag, bodies[tag][0](out, items)

        def place(out: bytearray, position: int, prepared: tuple[int, list[Any]]) -> None:
            tag, items = prepared
            out[position : position + tag_size] = tag.to_bytes(tag_size, "little")
            bodies[tag][1](out, position, items)

        return prepare, place


def _flat_steps(packer: struct.Struct, take: Take) -> tuple[Prepare, Place]:
    pack_into = packer.pack_into

    def prepare(_out: bytearray, value: Any) -> list[Any]:
        leaves: list[Any] = []
        take(leaves, value)
        return leaves

    def place(out: bytearray, position: int, leaves: list[Any]) -> None:
        pack_into(out, position, *leaves)

    return prepare, place


def _each(item: Encoder) -> tuple[Callable[[bytearray, Sequence[Any]], list[Any]], Place]:
    """The two steps for items side by side, as in an array or behind a `Vec`."""
    prepare_item, place_item, size = item.prepare, item.place, item.size

    def prepare(out: bytearray, items: Sequence[Any]) -> list[Any]:
        prepared = []
        for index, value in enumerate(items):
            try:
                prepared.append(prepare_item(out, value))
            except Mismatch as mismatch:
                mismatch.within(index)
                raise
        return prepared

    def place(out: bytearray, position: int, prepared: list[Any]) -> None:
        for item in prepared:
            place_item(out, position, item)
            position += size

    return prepare, place


def _within(step: str, prepare: Prepare, out: bytearray, value: Any) -> Any:
    try:
        return prepare(out, value)
    except Mismatch as mismatch:
        mismatch.within(step)
        raise


def _utf8(expected: str, value: Any) -> bytes:
    if not isinstance(value, str):
        raise Mismatch(expected, describe(value))
    try:
        return value.encode()
    except UnicodeEncodeError as error:
        raise Mismatch(expected, f"text with the surrogate {ord(value[error.start]):#x}") from None


def _prepare_string(out: bytearray, value: Any) -> bytes | tuple[int, int]:
    """Short text itself, in the form of an inline `String`; where long text starts, and its length."""
    text = _utf8("String", value)
    if len(text) <= INLINE_STRING_MAX:
        return text.ljust(INLINE_STRING_MAX, b"\0") + bytes([len(text)])
    return _append(out, text)


def _place_string(out: bytearray, position: int, prepared: bytes | tuple[int, int]) -> None:
    if isinstance(prepared, bytes):
        out[position : position + INLINE_STRING_MAX + 1] = prepared
    else:
        start, length = prepared
        _pack_length_and_pointer(out, position, length, start - position)


def _append(out: bytearray, data: bytes) -> tuple[int, int]:
    out += data
    return len(out) - len(data), len(data)


def _place_slice(out: bytearray, position: int, prepared: tuple[int, int]) -> None:
    start, length = prepared
    _pack_pointer_and_length(out, position, start - position, length)
