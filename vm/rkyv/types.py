"""The Rust types that rkyv archives, as values: what layouts, encoders and decoders are made from.

Types are immutable. Structural ones (`Vec<u8>`, `(u64, bool)`) are equal when they are written alike; structs and
enums are equal only to themselves, because two contracts may each have their own `Account`. The fields of a struct or
enum are resolved on first use, so that a type may contain itself behind a `Box` or a `Vec`.

`str(type)` is the Rust notation, which `piecrust.vm.rkyv.notation` reads back.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import ClassVar, Literal

Repr = Literal["Rust", "C"]


class RustType:
    """Base of all types."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"<rkyv {self}>"


class TypedValue:
    """Base of the Python values that know which Rust type they are of."""

    __slots__ = ()

    rust: ClassVar[RustType]


@dataclass(frozen=True, slots=True, repr=False)
class IntegerType(RustType):
    """An integer; `usize` and `isize` are archived in 32 bits (rkyv's feature `size_32`)."""

    name: str
    size: int
    signed: bool

    @property
    def minimum(self) -> int:
        """The smallest value."""
        return -(1 << (8 * self.size - 1)) if self.signed else 0

    @property
    def maximum(self) -> int:
        """The largest value."""
        return (1 << (8 * self.size - self.signed)) - 1

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, repr=False)
class NonZeroType(RustType):
    """`NonZeroU8` ... `NonZeroI128`."""

    integer: IntegerType

    def __str__(self) -> str:
        return f"NonZero{self.integer.name.capitalize()}"


@dataclass(frozen=True, slots=True, repr=False)
class FloatType(RustType):
    """`f32` or `f64`."""

    size: int

    def __str__(self) -> str:
        return f"f{8 * self.size}"


@dataclass(frozen=True, slots=True, repr=False)
class ScalarType(RustType):
    """A type without parameters: `bool`, `char`, `()`, `String` or `Box<str>`."""

    name: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True, repr=False)
class TupleType(RustType):
    """A tuple of at least one item."""

    items: tuple[RustType, ...]

    def __str__(self) -> str:
        inner = ", ".join(map(str, self.items))
        return f"({inner},)" if len(self.items) == 1 else f"({inner})"


@dataclass(frozen=True, slots=True, repr=False)
class ArrayType(RustType):
    """`[T; N]`. An array of `u8` has values of class `bytes_class`, others are tuples."""

    item: RustType
    length: int
    bytes_class: type[bytes] = bytes

    def __str__(self) -> str:
        return f"[{self.item}; {self.length}]" if self.bytes_class is bytes else self.bytes_class.__name__


@dataclass(frozen=True, slots=True, repr=False)
class VecType(RustType):
    """`Vec<T>`, or `Box<[T]>`, which is archived alike."""

    item: RustType
    boxed: bool = False

    def __str__(self) -> str:
        return f"Box<[{self.item}]>" if self.boxed else f"Vec<{self.item}>"


@dataclass(frozen=True, slots=True, repr=False)
class BoxType(RustType):
    """`Box<T>` of a sized type."""

    item: RustType

    def __str__(self) -> str:
        return f"Box<{self.item}>"


@dataclass(frozen=True, slots=True, repr=False)
class OptionType(RustType):
    """`Option<T>`."""

    item: RustType

    def __str__(self) -> str:
        return f"Option<{self.item}>"


@dataclass(frozen=True, slots=True, repr=False)
class ResultType(RustType):
    """`Result<T, E>`."""

    ok: RustType
    err: RustType

    def __str__(self) -> str:
        return f"Result<{self.ok}, {self.err}>"


@dataclass(frozen=True, slots=True, repr=False)
class MapType(RustType):
    """`BTreeMap<K, V>`."""

    key: RustType
    value: RustType

    def __str__(self) -> str:
        return f"BTreeMap<{self.key}, {self.value}>"


@dataclass(frozen=True, slots=True, repr=False)
class SetType(RustType):
    """`BTreeSet<T>`."""

    item: RustType

    def __str__(self) -> str:
        return f"BTreeSet<{self.item}>"


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a struct or of an enum's variant."""

    name: str
    type: RustType
    attribute: str
    """The name in Python: `name`, or `name_` where that is a keyword."""


class StructType(RustType):
    """A struct: `make` is called with the values of the fields, in their order, and gives the Python value.

    A `standard` one is of Rust's standard library, and known by its name.
    """

    def __init__(
        self,
        name: str,
        make: type,
        resolve: Callable[[], tuple[Field, ...]],
        representation: Repr,
        *,
        standard: bool = False,
        doc: str = "",
    ) -> None:
        self.name = name
        self.make = make
        self.representation = representation
        self.standard = standard
        self.doc = doc
        self._resolve = resolve

    @cached_property
    def fields(self) -> tuple[Field, ...]:
        """The fields in the order of their declaration. Raises `InvalidType` for what is no type."""
        return self._resolve()

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant of an enum."""

    name: str
    tag: int
    fields: tuple[Field, ...]
    member: Enum | type
    """The Python value itself (a member of an `enum.Enum`), or the class to be called with the fields' values."""


class EnumType(RustType):
    """An enum. The archived tag of a variant is its index, whatever discriminant the Rust source gives it."""

    def __init__(self, name: str, make: type, resolve: Callable[[], tuple[Variant, ...]], doc: str = "") -> None:
        self.name = name
        self.make = make
        self.doc = doc
        self._resolve = resolve

    @cached_property
    def tag(self) -> IntegerType:
        """The integer in front: the smallest that can count the variants."""
        return U8 if len(self.variants) <= U8.maximum else U16

    @cached_property
    def variants(self) -> tuple[Variant, ...]:
        """The variants in the order of their declaration. Raises `InvalidType` for what is no type."""
        return self._resolve()

    @cached_property
    def by_name(self) -> Mapping[str, Variant]:
        """The variants by name."""
        return {variant.name: variant for variant in self.variants}

    @cached_property
    def by_member(self) -> Mapping[Enum | type, Variant]:
        """The variants by their `member`."""
        return {variant.member: variant for variant in self.variants}

    def __str__(self) -> str:
        return self.name


INTEGERS = {
    integer.name: integer
    for integer in (
        *(IntegerType(f"u{8 * size}", size, signed=False) for size in (1, 2, 4, 8, 16)),
        *(IntegerType(f"i{8 * size}", size, signed=True) for size in (1, 2, 4, 8, 16)),
        IntegerType("usize", 4, signed=False),
        IntegerType("isize", 4, signed=True),
    )
}
U8, U16, U32, U64 = INTEGERS["u8"], INTEGERS["u16"], INTEGERS["u32"], INTEGERS["u64"]
F32, F64 = FloatType(4), FloatType(8)
BOOL, CHAR, UNIT = ScalarType("bool"), ScalarType("char"), ScalarType("()")
STRING, BOXED_STR = ScalarType("String"), ScalarType("Box<str>")


def is_bytes(rust: RustType) -> bool:
    """Whether the Python values of an array or vector type are `bytes`."""
    return isinstance(rust, ArrayType | VecType) and rust.item == U8


def may_be_none(rust: RustType) -> bool:
    """Whether `None` is a Python value of the type, so that an `Option` of it needs `Some`."""
    while isinstance(rust, BoxType):
        rust = rust.item
    return rust == UNIT or isinstance(rust, OptionType)


NamedType = StructType | EnumType


def named_types(rust: RustType) -> list[NamedType]:
    """The structs and enums in a type, those first that are in others; but for those of the standard library."""
    found: dict[RustType, None] = {}
    _find_named(rust, set(), found)
    return [named for named in found if isinstance(named, NamedType)]


def _find_named(rust: RustType, seen: set[RustType], found: dict[RustType, None]) -> None:
    if rust in seen:
        return
    seen.add(rust)
    for part in _parts(rust):
        _find_named(part, seen, found)
    if isinstance(rust, EnumType) or (isinstance(rust, StructType) and not rust.standard):
        found[rust] = None


def _parts(rust: RustType) -> tuple[RustType, ...]:
    """The types in a type."""
    match rust:
        case TupleType(items):
            return items
        case ArrayType(item=item) | VecType(item=item) | BoxType(item) | OptionType(item) | SetType(item):
            return (item,)
        case ResultType(first, second) | MapType(first, second):
            return (first, second)
        case StructType(fields=fields):
            return tuple(field.type for field in fields)
        case EnumType(variants=variants):
            return tuple(field.type for variant in variants for field in variant.fields)
    return ()


def is_plain(rust: RustType) -> bool:
    """Whether a value lies in memory as it is archived: scalars, and arrays, tuples and structs of them."""
    match rust:
        case IntegerType() | NonZeroType() | FloatType():
            return True
        case ArrayType(item):
            return is_plain(item)
        case TupleType(items):
            return all(map(is_plain, items))
        case StructType(fields=fields):
            return all(is_plain(field.type) for field in fields)
    return rust in (BOOL, CHAR, UNIT)
