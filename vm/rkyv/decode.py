"""Archives to Python values, checking everything that rkyv's `check_archived_root` checks before it is believed.

A decoder reads the archived value at a position; what it points to is visited in the order in which rkyv wrote it,
under the guard of `Reader`. Bytes that are no valid archive raise `Mismatch`, never anything else.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.btree_decode import map_reader
from piecrust.vm.rkyv.encode import INLINE_STRING_MAX
from piecrust.vm.rkyv.flat import Flat, Flats
from piecrust.vm.rkyv.layout import Layout, Layouts
from piecrust.vm.rkyv.mismatch import Mismatch
from piecrust.vm.rkyv.products import Make, maker
from piecrust.vm.rkyv.reader import Reader
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
    Variant,
    VecType,
    is_bytes,
    may_be_none,
)
from piecrust.vm.rkyv.values import Err, Ok, Some

T = TypeVar("T")
Read = Callable[[Reader, int], Any]

_pointer_and_length = struct.Struct("<iI").unpack_from
_length_and_pointer = struct.Struct("<Ii").unpack_from
_pointer = struct.Struct("<i").unpack_from


@dataclass(frozen=True, slots=True)
class Decoder:
    """Reads the archived form of a type at a position; `layout` is that form's."""

    read: Read
    layout: Layout
    flat: Flat | None


class Decoders:
    """Makes decoders, each type's once; a type that contains itself finds its own in the making.

    Inside keys of maps and items of sets, values are hashable: tuples in place of lists, and so on.
    """

    def __init__(self, layouts: Layouts, flats: Flats) -> None:
        self._layouts = layouts
        self._flats = flats
        self._known: dict[tuple[RustType, bool], Decoder] = {}
        self._open: set[tuple[RustType, bool]] = set()

    def of(self, rust: RustType, *, hashable: bool = False) -> Decoder:
        """The decoder of a type. Raises `InvalidType`."""
        key = (rust, hashable)
        known = self._known.get(key)
        if known is not None:
            return known
        layout = self._layouts.of(rust)
        if key in self._open:
            return Decoder(lambda reader, position: self._known[key].read(reader, position), layout, None)
        self._open.add(key)
        flat = self._flats.of(rust)
        read = self._reader(rust, layout, hashable=hashable) if flat is None else _flat_reader(flat)
        self._open.remove(key)
        decoder = Decoder(read, layout, flat)
        self._known[key] = decoder
        return decoder

    def _reader(self, rust: RustType, layout: Layout, *, hashable: bool) -> Read:
        if rust in (STRING, BOXED_STR):
            return _read_string if rust == STRING else _read_boxed_str

        def of(inner: RustType) -> Decoder:
            return self.of(inner, hashable=hashable)

        match rust:
            case TupleType(items):
                # rkyv serializes the items of a tuple from the last to the first.
                order = range(len(items) - 1, -1, -1)
                return _product_reader([of(item) for item in items], range(len(items)), layout.offsets, order, tuple)
            case StructType(fields=fields):
                names = [field.name for field in fields]
                parts = [of(field.type) for field in fields]
                return _product_reader(parts, names, layout.offsets, range(len(fields)), maker(str(rust), rust.make))
            case ArrayType(item, length):
                return _array_reader(of(item), length)
            case VecType() if is_bytes(rust):
                return _read_bytes
            case VecType(item):
                return _vec_reader(of(item), tuple if hashable else list)
            case BoxType(item):
                return _box_reader(of(item))
            case OptionType(item):
                return _option_reader(of(item), layout.offsets[0], wrap=may_be_none(item))
            case ResultType(ok, err):
                return _result_reader((of(ok), of(err)), layout.offsets)
            case EnumType():
                return _enum_reader(rust, layout, [[of(field.type) for field in v.fields] for v in rust.variants])
            case MapType(key, value):
                return map_reader(rust, key, self.of(key, hashable=True), of(value), _pairs if hashable else dict)
            case SetType(item):
                make_set = _items_of(frozenset if hashable else set)
                return map_reader(rust, item, self.of(item, hashable=True), of(UNIT), make_set)
        raise InvalidType(str(rust), "not a type that is archived")


def _flat_reader(flat: Flat) -> Read:
    unpack_from, build, offset = flat.packer().unpack_from, flat.build, flat.offset

    def read(reader: Reader, position: int) -> Any:
        try:
            return build(unpack_from(reader.data, position), 0)
        except Mismatch as mismatch:
            mismatch.offset = position + offset(mismatch.offset)
            raise

    return read


def _product_reader(
    parts: Sequence[Decoder], steps: Sequence[object], offsets: Sequence[int], order: Iterable[int], make: Make
) -> Read:
    plan = [(index, steps[index], offsets[index], parts[index].read) for index in order]

    def read(reader: Reader, position: int) -> Any:
        values: list[Any] = [None] * len(plan)
        for index, step, offset, read_part in plan:
            try:
                values[index] = read_part(reader, position + offset)
            except Mismatch as mismatch:
                mismatch.within(step)
                raise
        try:
            return make(values)
        except Mismatch as mismatch:
            mismatch.offset = position
            raise

    return read


def _items_reader(item: Decoder) -> Callable[[Reader, int, int], list[Any]]:
    """Reads a number of items that lie side by side."""
    read_item, size = item.read, item.layout.size

    def read_items(reader: Reader, position: int, count: int) -> list[Any]:
        values = []
        for index in range(count):
            try:
                values.append(read_item(reader, position + index * size))
            except Mismatch as mismatch:
                mismatch.within(index)
                raise
        return values

    return read_items


def _array_reader(item: Decoder, length: int) -> Read:
    read_items = _items_reader(item)
    return lambda reader, position: tuple(read_items(reader, position, length))


def _vec_reader(item: Decoder, make: Callable[[list[Any]], Any]) -> Read:
    layout, read_items = item.layout, _items_reader(item)

    def read(reader: Reader, position: int) -> Any:
        offset, length = _pointer_and_length(reader.data, position)
        start, size = position + offset, length * layout.size
        end = reader.enter(start, size, layout.align, position)
        reader.spend(length * layout.values, layout.nesting, position)
        values = read_items(reader, start, length)
        reader.refund(layout.nesting)
        reader.leave(start + size, end)
        return make(values)

    return read


def _box_reader(item: Decoder) -> Read:
    layout, read_item = item.layout, item.read

    def read(reader: Reader, position: int) -> Any:
        start = position + _pointer(reader.data, position)[0]
        end = reader.enter(start, layout.size, layout.align, position)
        reader.spend(layout.values, layout.nesting, position)
        value = read_item(reader, start)
        reader.refund(layout.nesting)
        reader.leave(start + layout.size, end)
        return value

    return read


def _option_reader(item: Decoder, offset: int, *, wrap: bool) -> Read:
    def read(reader: Reader, position: int) -> Any:
        if _tag(reader, position, 2, "Option") == 0:
            return None
        value = item.read(reader, position + offset)
        return Some(value) if wrap else value

    return read


def _result_reader(branches: tuple[Decoder, Decoder], offsets: Sequence[int]) -> Read:
    def read(reader: Reader, position: int) -> Any:
        tag = _tag(reader, position, 2, "Result")
        try:
            value = branches[tag].read(reader, position + offsets[tag])
        except Mismatch as mismatch:
            mismatch.within(("Ok", "Err")[tag])
            raise
        return Err(value) if tag else Ok(value)

    return read


def _enum_reader(rust: EnumType, layout: Layout, parts: Sequence[Sequence[Decoder]]) -> Read:
    bodies = [
        _variant_reader(f"{rust}::{variant.name}", variant, variant_parts, offsets)
        for variant, variant_parts, offsets in zip(rust.variants, parts, layout.variants, strict=True)
    ]
    tag_size, name = rust.tag.size, str(rust)
    return lambda reader, position: bodies[_tag(reader, position, len(bodies), name, tag_size)](reader, position)


def _variant_reader(owner: str, variant: Variant, parts: Sequence[Decoder], offsets: Sequence[int]) -> Read:
    member = variant.member
    if not isinstance(member, type):
        return lambda _reader, _position: member
    names = [f"{variant.name}.{field.name}" for field in variant.fields]
    return _product_reader(parts, names, offsets, range(len(parts)), maker(owner, member))


def _tag(reader: Reader, position: int, count: int, owner: str, size: int = 1) -> int:
    tag = int.from_bytes(reader.data[position : position + size], "little")
    if tag >= count:
        raise Mismatch(f"a tag of {owner} (below {count})", str(tag), position)
    return tag


def _text(reader: Reader, start: int, length: int) -> str:
    try:
        return reader.data[start : start + length].decode()
    except UnicodeDecodeError as error:
        raise Mismatch("UTF-8", f"byte {reader.data[start + error.start]:#04x}", start + error.start) from None


def _read_string(reader: Reader, position: int) -> str:
    last = reader.data[position + INLINE_STRING_MAX]
    if last < 0x80:
        if last > INLINE_STRING_MAX:
            raise Mismatch("text of at most 7 bytes", f"{last} bytes", position)
        return _text(reader, position, last)
    length, offset = _length_and_pointer(reader.data, position)
    return _read_outside(reader, position, offset, length, _text)


def _read_boxed_str(reader: Reader, position: int) -> str:
    offset, length = _pointer_and_length(reader.data, position)
    return _read_outside(reader, position, offset, length, _text)


def _read_bytes(reader: Reader, position: int) -> bytes:
    offset, length = _pointer_and_length(reader.data, position)
    return _read_outside(reader, position, offset, length, _slice)


def _slice(reader: Reader, start: int, length: int) -> bytes:
    return reader.data[start : start + length]


def _read_outside(reader: Reader, position: int, offset: int, length: int, read: Callable[[Reader, int, int], T]) -> T:
    start = position + offset
    end = reader.enter(start, length, 1, position)
    value = read(reader, start, length)
    reader.leave(start + length, end)
    return value


def _pairs(pairs: list[tuple[Any, Any]]) -> tuple[tuple[Any, Any], ...]:
    """A map inside a key: the pairs in the order of their keys, of which the last of equal ones counts."""
    return tuple(dict(pairs).items())


def _items_of(make: Callable[[Iterable[Any]], Any]) -> Callable[[list[tuple[Any, Any]]], Any]:
    return lambda pairs: make(item for item, _ in pairs)
