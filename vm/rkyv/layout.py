"""Where the fields of an archived value lie: rustc's layout of rkyv's archived types.

rustc puts the fields of structs in an order of its own choice, to save padding and to bring *niches* (bit patterns that
no value has, as 2 to 255 in a `bool`) to an edge; likewise the items of tuples, but for the last, which stays behind.
rkyv without the feature `strict` archives what rustc lays out, so this module follows `rustc_abi`'s `univariant`.
Enums, `Option` and `Result` are `repr(u8)`: their variants are laid out in the order of declaration behind the tag.

A `u128` is aligned to 16 bytes. Compilers before LLVM 20 aligned it to 8 on wasm32; that can not be described here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.types import (
    U8,
    ArrayType,
    BoxType,
    EnumType,
    FloatType,
    IntegerType,
    MapType,
    NonZeroType,
    OptionType,
    ResultType,
    RustType,
    ScalarType,
    SetType,
    StructType,
    TupleType,
    VecType,
)

SIZE_MAX = 1 << 24
"""Bytes of an archived type, without what it points to."""

VALUES_MAX = 1 << 20
"""Python values that one archived value may decode to, without what it points to."""

TUPLE_ITEMS_MAX = 12
"""More would be a type for which rkyv has no implementation."""

NESTING_MAX = 64
"""Levels of types inside types, without what they point to."""


class Niche(NamedTuple):
    """The largest run of invalid bit patterns: of the scalar at `offset` with `size` bytes, `available` are free."""

    offset: int
    size: int
    available: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Size and alignment of an archived type in bytes, and what the decoder needs to bound its work."""

    size: int
    align: int
    niche: Niche | None = None
    offsets: tuple[int, ...] = ()
    """Of the items or fields, in the order of declaration; of an `Option`'s or `Result`'s values: two."""
    variants: tuple[tuple[int, ...], ...] = ()
    """Of an enum: the offsets of each variant's fields."""
    values: int = 1
    nesting: int = 1


POINTER = Layout(8, 4)
"""`Vec`, `String`, `BTreeMap`, ...: two words of 4 bytes."""

_SCALARS = {
    "()": Layout(0, 1),
    "bool": Layout(1, 1, Niche(0, 1, 254)),
    "char": Layout(4, 4, Niche(0, 4, 0xFFFFFFFF - 0x10FFFF)),
    "String": POINTER,
    "Box<str>": POINTER,
}


class Layouts:
    """Computes layouts, each type's once. Raises `InvalidType` for types that are infinite or beyond the limits."""

    def __init__(self) -> None:
        self._known: dict[RustType, Layout] = {}
        self._open: list[RustType] = []

    def of(self, rust: RustType) -> Layout:
        """The layout of the archived form of a type."""
        layout = self._known.get(rust)
        if layout is None:
            if rust in self._open:
                raise InvalidType(str(rust), "contains itself without a Box or Vec in between")
            self._open.append(rust)
            try:
                layout = self._compute(rust)
            finally:
                self._open.pop()
            if layout.size > SIZE_MAX or layout.values > VALUES_MAX or layout.nesting > NESTING_MAX:
                raise InvalidType(str(rust)[:80], "too large a type")
            self._known[rust] = layout
        return layout

    def _compute(self, rust: RustType) -> Layout:
        match rust:
            case IntegerType(size=size) | FloatType(size=size):
                return Layout(size, size)
            case NonZeroType(integer):
                return Layout(integer.size, integer.size, Niche(0, integer.size, 1))
            case ScalarType(name):
                return _SCALARS[name]
            case BoxType():
                return Layout(4, 4)
            case VecType() | MapType() | SetType():
                return POINTER
            case ArrayType(item, length):
                return self._array(item, length)
            case TupleType(items):
                if len(items) > TUPLE_ITEMS_MAX:
                    raise InvalidType(str(rust)[:80], f"rkyv archives tuples of at most {TUPLE_ITEMS_MAX} items")
                return _arrange(tuple(map(self.of, items)), movable=len(items) - 1)
            case StructType():
                fields = tuple(self.of(field.type) for field in rust.fields)
                return product(fields, movable=0 if rust.representation == "C" else len(fields))
            case OptionType(item):
                return tagged(1, ((), (self.of(item),)))
            case ResultType(ok, err):
                return tagged(1, ((self.of(ok),), (self.of(err),)))
            case EnumType():
                variants = tuple(tuple(self.of(field.type) for field in variant.fields) for variant in rust.variants)
                return tagged(rust.tag.size, variants)
        raise InvalidType(str(rust), "not a type that is archived")

    def _array(self, item: RustType, length: int) -> Layout:
        inner = self.of(item)
        return Layout(
            inner.size * length,
            inner.align,
            inner.niche if length else None,
            values=1 if item == U8 else 1 + inner.values * length,
            nesting=inner.nesting + 1,
        )


def align_up(position: int, align: int) -> int:
    """The next position that is a multiple of `align`, a power of two."""
    return -(-position // align) * align


def product(fields: Sequence[Layout], *, movable: int) -> Layout:
    """The layout of a struct whose first `movable` fields rustc may move: all of them, or none in `repr(C)`."""
    layout = _arrange(fields, movable=movable)
    niche = layout.niche
    if niche is not None and len(fields) > 1:
        # rustc tries again with niches at the end, and keeps what brings the niche nearer to an edge.
        edge = min(niche.offset, layout.size - niche.offset - niche.size)
        if edge > 0:
            other = _arrange(fields, movable=movable, niche_last=True)
            assert other.niche is not None
            if edge > min(other.niche.offset, other.size - other.niche.offset - other.niche.size):
                return other
    return layout


def tagged(tag_size: int, variants: Sequence[Sequence[Layout]]) -> Layout:
    """The layout of an enum with an explicit integer tag: each variant a `repr(C)` struct behind it."""
    tag = Layout(tag_size, tag_size)
    bodies = [_arrange((tag, *fields), movable=0) for fields in variants]
    align = max((body.align for body in bodies), default=tag_size)
    return Layout(
        align_up(max((body.size for body in bodies), default=tag_size), align),
        align,
        Niche(0, tag_size, (1 << 8 * tag_size) - len(variants)),
        offsets=tuple(body.offsets[1] for body in bodies if len(body.offsets) > 1),
        variants=tuple(body.offsets[1:] for body in bodies),
        values=1 + max((sum(field.values for field in fields) for fields in variants), default=0),
        nesting=1 + max((field.nesting for fields in variants for field in fields), default=0),
    )


def _arrange(fields: Sequence[Layout], *, movable: int, niche_last: bool = False) -> Layout:
    """The layout of a product whose first `movable` fields are sorted."""
    group = _alignment_group(fields[:movable], niche_last=niche_last)
    order = sorted(
        range(movable), key=lambda index: (-group(fields[index]), *_niche_keys(fields[index], niche_last=niche_last))
    )
    order.extend(range(movable, len(fields)))
    offsets = [0] * len(fields)
    position, align, largest = 0, 1, None
    for index in order:
        field = fields[index]
        position = align_up(position, field.align)
        offsets[index] = position
        if field.niche is not None:
            available = largest.available if largest is not None else 0
            if field.niche.available > available or (niche_last and field.niche.available == available):
                largest = field.niche._replace(offset=position + field.niche.offset)
        position += field.size
        align = max(align, field.align)
    return Layout(
        align_up(position, align),
        align,
        largest,
        tuple(offsets),
        values=1 + sum(field.values for field in fields),
        nesting=1 + max((field.nesting for field in fields), default=0),
    )


def _alignment_group(fields: Sequence[Layout], *, niche_last: bool) -> Callable[[Layout], int]:
    """The primary sort key: log2 of an alignment that counts `[u8; 4]` as a `u32`."""
    align_max = max((field.align for field in fields), default=1)
    niche_max = max((field.niche.available for field in fields if field.niche is not None), default=0)

    def group(field: Layout) -> int:
        size_as_align = _trailing_zeros(max(field.align, field.size))
        if not niche_max:
            return size_as_align
        if not niche_last:
            return min(_trailing_zeros(align_max), size_as_align)
        if field.niche is not None and field.niche.available == niche_max:
            return _trailing_zeros(field.align)
        return size_as_align

    return group


def _niche_keys(field: Layout, *, niche_last: bool) -> tuple[int, int]:
    """The secondary sort keys: large niches first (or last), among equal ones those nearer to that edge."""
    if field.niche is None:
        return 0, 0
    offset, size, available = field.niche
    return (available, offset + size - field.size) if niche_last else (-available, offset)


def _trailing_zeros(number: int) -> int:
    return (number & -number).bit_length() - 1
