"""Python annotations as Rust types.

bool str bytes float None      bool String Vec<u8> f64 ()
u64 i16 f32 char ...           the same
tuple[A, B]                    (A, B)
list[T], Vec[T]                Vec<T>              Vec[T] is a Sequence for type checkers
Annotated[bytes, Length(32)]   [u8; 32]            also of a list, Sequence or tuple[T, ...]: [T; 32]
T | None, Option[T]            Option<T>
Result[T, E]  Box[T]           Result<T, E>  Box<T>
dict[K, V]  set[T]             BTreeMap<K, V>  BTreeSet<T>
NonZero[u64]                   NonZeroU64
ContractId                     [u8; 32], with values of that class
@archive classes               structs, which may be generic
TaggedUnion classes            enums with data
enum.Enum classes              enums without data
"(u64, [u8; 32])"              Rust notation, outside of classes

Strings inside of declared classes are Python annotations that are not evaluated yet, as everywhere.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import enum
import keyword
import types as python_types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

from piecrust.objects.ids import Hash
from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.declare import Declaration, TaggedUnion, declaration
from piecrust.vm.rkyv.notation import parse
from piecrust.vm.rkyv.standard import DURATION, RANGE_FULL, RANGES, Duration, RangeFull, range_type
from piecrust.vm.rkyv.types import (
    BOOL,
    BOXED_STR,
    F64,
    STRING,
    U8,
    UNIT,
    ArrayType,
    BoxType,
    EnumType,
    Field,
    IntegerType,
    MapType,
    NonZeroType,
    OptionType,
    ResultType,
    RustType,
    SetType,
    StructType,
    TupleType,
    TypedValue,
    Variant,
    VecType,
)
from piecrust.vm.rkyv.values import Err, Ok

__all__ = [
    "Box",
    "BoxedSlice",
    "BoxedStr",
    "Length",
    "NonZero",
    "Option",
    "Result",
    "Vec",
    "bytes32",
    "bytes48",
    "bytes64",
    "bytes96",
    "rust_name",
    "rust_type",
]

T = TypeVar("T")
E = TypeVar("E")

VARIANTS_MAX = 0xFFFF
"""The tag of an enum has at most two bytes."""

_BUILTINS: dict[type, RustType] = {
    type(None): UNIT,
    bool: BOOL,
    str: STRING,
    float: F64,
    bytes: VecType(U8),
}

_HINTS: dict[Any, str] = {
    int: "an int has no width: write u64, i32, ...",
    tuple: "write tuple[A, B]",
    list: "write list[T]",
    dict: "write dict[K, V]",
    set: "write set[T]",
    bytearray: "write bytes",
}


@dataclass(frozen=True, slots=True)
class Length:
    """The length of an array: `Annotated[bytes, Length(32)]` is `[u8; 32]`."""

    items: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What `Option[u64]` is at run time: a constructor of Rust types, and annotations for its arguments."""

    make: Callable[..., RustType]
    arguments: tuple[Any, ...]

    def __or__(self, other: object) -> Applied:
        """`Vec[u64] | None`."""
        return Applied(_optional, (self, other))

    def __ror__(self, other: object) -> Applied:
        """`None | Vec[u64]`."""
        return Applied(_optional, (other, self))


@dataclass(frozen=True, slots=True)
class Constructor:
    """What `Option` is at run time: subscribed, it gives an annotation."""

    make: Callable[..., RustType]
    arity: int

    def __getitem__(self, arguments: Any) -> Applied:
        """The annotation for these arguments."""
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        if len(arguments) != self.arity:
            raise TypeError(f"{self.arity} type arguments needed, {len(arguments)} given")
        return Applied(self.make, arguments)


def _optional(*types: RustType) -> RustType:
    some = [rust for rust in types if rust != UNIT]
    if len(some) != 1 or len(types) != 2:
        raise InvalidType(" | ".join(map(str, types)), "of a union only T | None is archived, as Option<T>")
    return OptionType(some[0])


def _non_zero(integer: RustType) -> RustType:
    if not isinstance(integer, IntegerType):
        raise InvalidType(f"NonZero<{integer}>", "only integers can be NonZero")
    return NonZeroType(integer)


def _boxed_slice(item: RustType) -> RustType:
    return VecType(item, boxed=True)


if TYPE_CHECKING:
    from typing import Optional as Option  # an alias `T | None` could not be used in expressions

    Result: TypeAlias = Ok[T] | Err[E]
    Vec: TypeAlias = Sequence[T]
    Box: TypeAlias = Annotated[T, "Box"]
    BoxedSlice: TypeAlias = Sequence[T]
    BoxedStr: TypeAlias = str
    NonZero: TypeAlias = Annotated[T, "NonZero"]
else:
    Option = Constructor(OptionType, 1)
    Result = Constructor(ResultType, 2)
    Vec = Constructor(VecType, 1)
    Box = Constructor(BoxType, 1)
    BoxedSlice = Constructor(_boxed_slice, 1)
    BoxedStr = BOXED_STR
    NonZero = Constructor(_non_zero, 1)

bytes32 = Annotated[bytes, Length(32)]
"""`[u8; 32]`"""

bytes48 = Annotated[bytes, Length(48)]
"""`[u8; 48]`"""

bytes64 = Annotated[bytes, Length(64)]
"""`[u8; 64]`"""

bytes96 = Annotated[bytes, Length(96)]
"""`[u8; 96]`"""


def rust_type(annotation: Any, names: Mapping[str, Any] | None = None) -> RustType:
    """The Rust type that an annotation, a class, a string in Rust notation or a `RustType` stands for.

    `names` are the structs and enums that the notation may name: classes, or whatever is a type. Raises `InvalidType`.
    The fields of structs and enums are looked at when they are first needed.
    """
    named = {name: rust_type(written) for name, written in (names or {}).items()}
    return _Reader({}, lambda text: parse(text, named)).read(annotation)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads annotations, given what type variables stand for and how a string is read."""

    variables: Mapping[Any, RustType]
    read_string: Callable[[str], RustType]

    def read(self, annotation: Any) -> RustType:
        if isinstance(annotation, RustType):
            return annotation
        if isinstance(annotation, str):
            return self.read_string(annotation)
        if isinstance(annotation, Applied):
            return annotation.make(*map(self.read, annotation.arguments))
        if isinstance(annotation, TypeVar):
            if annotation not in self.variables:
                raise InvalidType(str(annotation), "a type variable without a type")
            return self.variables[annotation]
        origin = typing.get_origin(annotation)
        if origin is not None:
            return self._read_generic(annotation, origin, typing.get_args(annotation))
        if isinstance(annotation, type):
            return self._read_class(annotation)
        if annotation is None:
            return UNIT
        if hasattr(annotation, "__value__"):  # `type Key = bytes32`, from Python 3.12 on
            return self.read(annotation.__value__)
        if hasattr(annotation, "__supertype__"):  # a NewType
            return self.read(annotation.__supertype__)
        raise InvalidType(_written(annotation), "no Rust type is written like this")

    def _read_class(self, cls: type) -> RustType:
        declared = declaration(cls)
        if declared is not None:
            return _declared_type(declared, ())
        if issubclass(cls, TypedValue):
            if isinstance(cls.rust, RustType):
                return cls.rust
            raise InvalidType(cls.__name__, "write Annotated[bytes, Length(n)]")
        if cls is Duration or cls is RangeFull:
            return DURATION if cls is Duration else RANGE_FULL
        if issubclass(cls, Hash):
            return ArrayType(U8, 32, cls)
        if issubclass(cls, enum.Enum):
            return _enum_type(cls)
        if issubclass(cls, TaggedUnion):
            raise InvalidType(cls.__name__, "a variant is no type, its enum is")
        if cls in _BUILTINS:
            return _BUILTINS[cls]
        raise InvalidType(cls.__name__, _HINTS.get(cls, "the class is not declared: decorate it with @archive"))

    def _read_generic(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> RustType:
        if origin is Annotated:
            return self._read_annotated(arguments[0], annotation.__metadata__)
        if origin is typing.Union or origin is python_types.UnionType:
            if {typing.get_origin(argument) for argument in arguments} == {Ok, Err} and len(arguments) == 2:
                inner = {typing.get_origin(argument): typing.get_args(argument)[0] for argument in arguments}
                return ResultType(self.read(inner[Ok]), self.read(inner[Err]))
            return _optional(*map(self.read, arguments))
        if origin is tuple:
            if Ellipsis in arguments:
                raise InvalidType(_written(annotation), "an array needs Annotated[tuple[T, ...], Length(n)]")
            return TupleType(tuple(map(self.read, arguments))) if arguments else UNIT
        if origin in (list, collections.abc.Sequence):
            return VecType(self._item(annotation, origin, arguments))
        if origin in (dict, collections.abc.Mapping):
            return MapType(*map(self.read, arguments))
        if origin in (set, collections.abc.Set):
            return SetType(*map(self.read, arguments))
        if RANGES.get(getattr(origin, "__name__", "")) is origin:
            return range_type(origin, self.read(arguments[0]))
        declared = declaration(origin) if isinstance(origin, type) else None
        if declared is not None:
            return _declared_type(declared, tuple(map(self.read, arguments)))
        raise InvalidType(_written(annotation), "no Rust type is written like this")

    def _read_annotated(self, annotation: Any, metadata: tuple[Any, ...]) -> RustType:
        for item in metadata:
            if isinstance(item, RustType):
                return item
            if isinstance(item, Length):
                return self._array(annotation, item.items)
        return self.read(annotation)

    def _array(self, annotation: Any, length: int) -> RustType:
        if not isinstance(length, int) or length < 0:
            raise InvalidType(f"Length({length!r})", "a length is a number from 0 on")
        if annotation is bytes:
            return ArrayType(U8, length)
        origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
        if origin in (list, collections.abc.Sequence) or (origin is tuple and arguments[1:] == (Ellipsis,)):
            return ArrayType(self._item(annotation, origin, arguments), length)
        if isinstance(annotation, Applied) and annotation.make is VecType:
            return ArrayType(self.read(annotation.arguments[0]), length)
        raise InvalidType(_written(annotation), "only bytes, list[T], Sequence[T] and tuple[T, ...] have a Length")

    def _item(self, annotation: Any, origin: Any, arguments: tuple[Any, ...]) -> RustType:
        item = self.read(arguments[0])
        if item == U8 and origin is not collections.abc.Sequence:
            raise InvalidType(_written(annotation), "sequences of u8 are decoded as bytes: write bytes")
        return item


def _declared_type(declared: Declaration, arguments: tuple[RustType, ...]) -> RustType:
    """The type made of a declared class with these type arguments: always the same one."""
    found = declared.types.get(arguments)
    if found is not None:
        return found
    cls = declared.cls
    parameters = getattr(cls, "__parameters__", ())
    if len(parameters) != len(arguments):
        raise InvalidType(cls.__name__, f"{len(parameters)} type arguments needed, {len(arguments)} given")
    name = cls.__name__ + (f"<{', '.join(map(str, arguments))}>" if arguments else "")
    variables = dict(zip(parameters, arguments, strict=True))
    made: RustType
    if declared.variants is None:
        made = StructType(name, cls, lambda: _fields(cls, variables), declared.representation, doc=declared.doc)
    else:
        made = EnumType(name, cls, lambda: _variants(name, declared.variants or [], variables), declared.doc)
    return declared.types.setdefault(arguments, made)


def _fields(cls: type, variables: Mapping[Any, RustType]) -> tuple[Field, ...]:
    """The fields of a dataclass that its constructor takes."""
    try:
        hints = typing.get_type_hints(cls, localns={cls.__name__: cls}, include_extras=True)
    except (NameError, TypeError, AttributeError, SyntaxError) as error:
        raise InvalidType(cls.__name__, f"its annotations can not be evaluated: {error}") from error

    def evaluate(text: str) -> RustType:
        raise InvalidType(f"{cls.__name__}: {text!r}", "quote the whole annotation, not a part of it")

    reader = _Reader(variables, evaluate)
    fields = []
    for field in dataclasses.fields(cls):
        if field.init:
            if field.kw_only:
                raise InvalidType(f"{cls.__name__}.{field.name}", "fields can not be keyword-only")
            fields.append(Field(rust_name(field.name), reader.read(hints[field.name]), field.name))
    return tuple(fields)


def _variants(name: str, classes: list[type], variables: Mapping[Any, RustType]) -> tuple[Variant, ...]:
    if not 0 < len(classes) <= VARIANTS_MAX:
        raise InvalidType(name, f"{len(classes)} variants")
    return tuple(Variant(rust_name(cls.__name__), tag, _fields(cls, variables), cls) for tag, cls in enumerate(classes))


def _enum_type(cls: type[enum.Enum]) -> RustType:
    """The type of an enum without data. It is kept at the class, so that there is one."""

    def variants() -> tuple[Variant, ...]:
        members = list(cls)
        if not 0 < len(members) <= VARIANTS_MAX:
            raise InvalidType(cls.__name__, f"{len(members)} variants")
        return tuple(Variant(rust_name(member.name), tag, (), member) for tag, member in enumerate(members))

    declared = Declaration(cls, "Rust", [])
    type.__setattr__(cls, "__rkyv__", declared)
    return declared.types.setdefault((), EnumType(cls.__name__, cls, variants, declared.doc))


def rust_name(attribute: str) -> str:
    """The Rust name of a Python attribute: without the underscore that a keyword needs."""
    return attribute[:-1] if attribute.endswith("_") and keyword.iskeyword(attribute[:-1]) else attribute


def _written(annotation: Any) -> str:
    return getattr(annotation, "__name__", None) or str(annotation)
