"""Python annotations and declared classes as Rust types."""

from __future__ import annotations

import enum
import typing
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import FrozenInstanceError, dataclass, field
from typing import Annotated, Any, ClassVar, Generic, NewType, Optional, TypeVar

import pytest
from piecrust.objects.ids import ContractId, StateRoot
from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.annotations import (
    Box,
    BoxedSlice,
    BoxedStr,
    Length,
    NonZero,
    Option,
    Result,
    Vec,
    bytes32,
    rust_type,
)
from piecrust.vm.rkyv.codec import codec, decode, encode
from piecrust.vm.rkyv.declare import TaggedUnion, archive
from piecrust.vm.rkyv.layout import Layouts
from piecrust.vm.rkyv.standard import Duration, Range, RangeFull
from piecrust.vm.rkyv.types import EnumType, StructType
from piecrust.vm.rkyv.values import ByteArray, ByteVec, Err, Ok, char, f64, i16, u8, u16, u32, u64

T = TypeVar("T")
Height = NewType("Height", int)

WRITTEN: list[tuple[Any, str]] = [
    (u64, "u64"),
    (char, "char"),
    (float, "f64"),
    (f64, "f64"),
    (bool, "bool"),
    (str, "String"),
    (bytes, "Vec<u8>"),
    (ByteVec, "Vec<u8>"),
    (None, "()"),
    (tuple[()], "()"),
    (tuple[u8], "(u8,)"),
    (tuple[u8, str], "(u8, String)"),
    (list[u16], "Vec<u16>"),
    (Sequence[u16], "Vec<u16>"),
    (Vec[u8], "Vec<u8>"),
    (Vec[Vec[u16]], "Vec<Vec<u16>>"),
    (bytes32, "[u8; 32]"),
    (Annotated[bytes, Length(5)], "[u8; 5]"),
    (Annotated[list[u16], Length(5)], "[u16; 5]"),
    (Annotated[tuple[str, ...], Length(5)], "[String; 5]"),
    (Annotated[Vec[u16], Length(5)], "[u16; 5]"),
    (Annotated[u64, "a comment"], "u64"),
    (Option[u8], "Option<u8>"),
    (Optional[str], "Option<String>"),  # noqa: UP045 - both ways
    (u8 | None, "Option<u8>"),
    (None | u8, "Option<u8>"),
    (Vec[u8] | None, "Option<Vec<u8>>"),
    (None | Vec[u8], "Option<Vec<u8>>"),
    (Option[Option[u8]], "Option<Option<u8>>"),
    (Result[u8, str], "Result<u8, String>"),
    (Ok[u8] | Err[str], "Result<u8, String>"),
    (Err[str] | Ok[u8], "Result<u8, String>"),
    (Box[u8], "Box<u8>"),
    (BoxedStr, "Box<str>"),
    (BoxedSlice[u16], "Box<[u16]>"),
    (NonZero[u32], "NonZeroU32"),
    (dict[u8, str], "BTreeMap<u8, String>"),
    (Mapping[u8, str], "BTreeMap<u8, String>"),
    (set[u8], "BTreeSet<u8>"),
    (AbstractSet[u8], "BTreeSet<u8>"),
    (ContractId, "ContractId"),
    (Range[u8], "Range<u8>"),
    (RangeFull, "RangeFull"),
    (Duration, "Duration"),
    (NewType("Nonce", u64), "u64"),
    ("(u64, [u8; 32])", "(u64, [u8; 32])"),
    (rust_type("u64"), "u64"),
]


@pytest.mark.parametrize(("annotation", "notation"), WRITTEN, ids=range(len(WRITTEN)))
def test_annotations_are_read(annotation: Any, notation: str) -> None:
    assert str(rust_type(annotation)) == notation


class Undeclared:
    pass


@dataclass
class NotArchived:
    number: u8


class Shape(TaggedUnion):
    """Something with an outline."""


class Empty(Shape):
    pass


class Circle(Shape):
    radius: u32


REFUSED: list[tuple[Any, str]] = [
    (int, "an int has no width: write u64"),
    (tuple, r"write tuple\[A, B\]"),
    (list, r"write list\[T\]"),
    (list[u8], "write bytes"),
    (tuple[u8, ...], "Length"),
    (u8 | str, "only T | None"),
    (u8 | str | None, "only T | None"),
    (object, "not declared"),
    (Undeclared, "Undeclared: the class is not declared"),
    (NotArchived, "decorate it with @archive"),
    (Circle, "a variant is no type, its enum is"),
    (ByteArray, "Length"),
    (Annotated[str, Length(3)], "have a Length"),
    (Annotated[bytes, Length(-1)], "from 0 on"),
    (NonZero[str], "only integers"),
    (Height, "an int has no width"),
    (T, "a type variable"),
    (typing.Callable, "no Rust type"),
    (5, "no Rust type"),
    ([u8], "no Rust type"),
    (dict[float, u8], "can not be the key of a map"),
    (set[Annotated[dict[u8, u8], "inside"]], "can not be the key of a map"),
    (tuple.__class_getitem__((u8,) * 13), "at most 12 items"),
    (Annotated[bytes, Length(1 << 25)], "too large"),
    (Annotated[list[None], Length(1 << 22)], "too large"),
]


@pytest.mark.parametrize(("annotation", "message"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_type_is_refused(annotation: Any, message: str) -> None:
    with pytest.raises(InvalidType, match=message):
        codec(annotation)


def test_markers_need_their_arguments() -> None:
    with pytest.raises(TypeError, match="2 type arguments needed, 1 given"):
        Result[u8]  # type: ignore[misc]


@archive
class Everything:
    from_: u8
    later: Option[Later]
    shape: Shape
    kind: Kind
    many: Annotated[list[u16], Length(2)]
    constant: ClassVar[int] = 5
    derived: int = field(init=False, default=7)


@archive(repr="C")
class Later:
    """Declared after its first use."""

    a: u8
    b: u64
    c: u8


class Kind(enum.Enum):
    OLD = "old"
    NEW = "new"
    ALIAS = "new"  # noqa: PIE796 - an alias is no variant
    None_ = 0


@archive
class Pair(Generic[T]):
    one: T
    many: list[T]
    maybe: Option[T]


def test_fields_are_what_the_constructor_takes() -> None:
    rust = rust_type(Everything)
    assert isinstance(rust, StructType)
    assert [(part.name, str(part.type), part.attribute) for part in rust.fields] == [
        ("from", "u8", "from_"),
        ("later", "Option<Later>", "later"),
        ("shape", "Shape", "shape"),
        ("kind", "Kind", "kind"),
        ("many", "[u16; 2]", "many"),
    ]
    value = Everything(1, Later(1, 2, 3), Circle(4), Kind.NEW, (5, 6))
    assert decode(encode(value), Everything) == value
    with pytest.raises(FrozenInstanceError):
        value.from_ = 2  # type: ignore[misc]


def test_repr_c_keeps_the_order_of_the_fields() -> None:
    assert Layouts().of(rust_type(Later)).offsets == (0, 8, 16)


def test_a_declared_dataclass_stays_as_it_is() -> None:
    @archive
    @dataclass
    class Mutable:
        number: u8

    value = Mutable(5)
    value.number = 6  # type: ignore[misc]
    assert encode(value) == b"\6"


def test_enums_have_the_order_of_their_members() -> None:
    rust = rust_type(Kind)
    assert isinstance(rust, EnumType)
    assert [(variant.name, variant.tag) for variant in rust.variants] == [("OLD", 0), ("NEW", 1), ("None", 2)]
    assert rust_type(Kind) is rust
    assert encode(Kind.ALIAS) == b"\1"


def test_enums_of_more_than_255_variants_have_a_tag_of_two_bytes() -> None:
    few = enum.Enum("few", [f"V{n}" for n in range(255)])  # type: ignore[misc]
    many = enum.Enum("many", [f"V{n}" for n in range(256)])  # type: ignore[misc]
    assert (codec(few).layout.size, codec(many).layout.size) == (1, 2)
    last = list(many)[-1]
    assert codec(many).encode(last) == b"\xff\0"
    assert codec(many).decode(b"\xff\0") is last


def test_unions_know_their_variants_and_their_docstring() -> None:
    rust = rust_type(Shape)
    assert isinstance(rust, EnumType)
    assert [variant.name for variant in rust.variants] == ["Empty", "Circle"]
    assert rust.doc == "Something with an outline."


def test_a_union_in_use_takes_no_more_variants() -> None:
    class Used(TaggedUnion):
        pass

    class First(Used):
        pass

    codec(Used)
    with pytest.raises(TypeError, match="is in use"):

        class Second(Used):
            pass

    with pytest.raises(TypeError, match="one base"):

        class Nested(First):
            pass


def test_an_enum_needs_a_variant() -> None:
    class Nothing(TaggedUnion):
        pass

    with pytest.raises(InvalidType, match="0 variants"):
        codec(Nothing)


def test_generic_structs_are_made_for_their_arguments() -> None:
    assert str(rust_type(Pair[u8])) == "Pair<u8>"
    assert rust_type(Pair[u8]) is rust_type(Pair[u8]) is not rust_type(Pair[u16])
    value = Pair("a", ["b"], None)
    assert decode(encode(value, Pair[str]), Pair[str]) == value
    with pytest.raises(InvalidType, match="1 type arguments needed, 0 given"):
        codec(Pair)


@archive
class Node:
    value: u8
    next: Option[Box[Node]]
    children: list[Node]


@archive
class Endless:
    self: tuple[u8, Endless]


@archive
class Unknown:
    field: Missing  # type: ignore[name-defined]  # noqa: F821 - what is tested


@archive
class Keywords:
    number: u8 = field(kw_only=True)


def test_types_may_contain_themselves_behind_a_pointer() -> None:
    value = Node(1, Node(2, None, []), [Node(3, None, [Node(4, None, [])])])
    assert decode(encode(value), Node) == value


BROKEN = [(Endless, "contains itself"), (Unknown, "name 'Missing' is not defined"), (Keywords, "keyword-only")]


@pytest.mark.parametrize(("cls", "message"), BROKEN, ids=["endless", "unknown", "keywords"])
def test_broken_declarations_are_refused(cls: type, message: str) -> None:
    with pytest.raises(InvalidType, match=message):
        codec(cls)


def test_other_ids_are_bytes_too() -> None:
    root = StateRoot(b"r" * 32)
    assert type(decode(encode(root), StateRoot)) is StateRoot


def test_codecs_are_made_once() -> None:
    assert codec(Everything) is codec(Everything)
    assert codec("(u8, u16)") is codec("(u8, u16)")
    assert codec(i16).layout.size == 2
