"""What the encoder accepts as a value, and how it says what does not fit."""

from __future__ import annotations

import enum
from typing import Annotated, Any

import pytest
from piecrust.objects.ids import ContractId
from piecrust.vm.errors import EncodeError, PiecrustError
from piecrust.vm.rkyv.annotations import Length, NonZero, Option, Result, bytes32
from piecrust.vm.rkyv.codec import codec, decode, encode
from piecrust.vm.rkyv.declare import TaggedUnion, archive
from piecrust.vm.rkyv.standard import Range
from piecrust.vm.rkyv.values import ByteArray, ByteVec, Err, Ok, Some, Typed, char, f32, f64, i8, i16, u8, u16, u64


class Color(enum.Enum):
    RED = "r"
    GREEN = "g"


class Flag(enum.IntEnum):
    ON = 0


class Shape(TaggedUnion):
    pass


class Empty(Shape):
    pass


class Rect(Shape):
    w: u8
    h: u64


@archive
class Account:
    nonce: u64
    key: bytes32


class Index:
    def __index__(self) -> int:
        return 7


def test_integers_are_what_is_an_index() -> None:
    assert encode(Index(), u8) == encode(Flag.ON + 7, u8) == encode(u8(7), u8) == b"\7"


def test_sequences_stand_for_each_other() -> None:
    assert encode([1, 2], tuple[u8, u8]) == encode((1, 2), Annotated[list[u8 | None], Length(2)])[1::2]
    assert encode((1, 2), list[u16]) == encode(range(1, 3), list[u16])
    assert encode([1, 2], bytes) == encode(bytearray(b"\1\2"), bytes) == encode(memoryview(b"\1\2"), bytes)
    assert encode([7] * 32, bytes32) == encode(ContractId(b"\7" * 32), bytes32) == b"\7" * 32


def test_mappings_stand_for_structs_and_variants() -> None:
    assert encode({"nonce": 1, "key": b"k" * 32}, Account) == encode(Account(1, b"k" * 32))
    assert encode("Empty", Shape) == encode({"Empty": {}}, Shape) == encode(Empty())
    assert encode({"Rect": {"w": 1, "h": 2}}, Shape) == encode({"Rect": [1, 2]}, Shape) == encode(Rect(1, 2))
    assert encode("GREEN", Color) == encode(Color.GREEN)


def test_some_may_be_left_out_where_none_is_no_value() -> None:
    assert encode(Some(5), Option[u8]) == encode(5, Option[u8]) == b"\1\5"
    assert encode(Some(None), Option[Option[u8]]) == b"\1\0\0"
    assert decode(b"\1\0\0", Option[Option[u8]]) == Some(None)
    assert decode(b"\1\1\5", Option[Option[u8]]) == Some(5)
    assert decode(b"\0\0\0", Option[Option[u8]]) is None


def test_ids_come_back_as_ids() -> None:
    value = decode(encode((ContractId(b"c" * 32), u8(1))), tuple[ContractId, u8])
    assert value == (ContractId(b"c" * 32), 1)
    assert type(value[0]) is ContractId


REFUSED: list[tuple[Any, Any, str]] = [
    (u64, "7", "expected u64, got str"),
    (u64, None, "expected u64, got None"),
    (u64, True, "expected u64, got bool"),
    (u64, 7.0, "expected u64, got float"),
    (u64, -1, r"expected u64 \(0 to 18446744073709551615\), got -1"),
    (u64, 1 << 5000, "got a larger number"),
    (u64, i16(7), "expected u64, got i16"),
    (i8, 128, r"expected i8 \(-128 to 127\), got 128"),
    (f32, 1e40, "expected f32, got a larger number"),
    (f64, "1.5", "expected f64, got str"),
    (f64, f32(1.5), "expected f64, got f32"),
    (bool, 1, "expected bool, got int"),
    (char, "ab", "expected char, got 2 characters"),
    (char, "\ud800", "got the surrogate 0xd800"),
    (str, b"text", "expected String, got bytes"),
    (str, "a\udfff", "text with the surrogate 0xdfff"),
    (None, 0, "expected ()"),
    (NonZero[u8], 0, "expected NonZeroU8, got 0"),
    (bytes32, b"x" * 31, r"expected \[u8; 32\], got 31 bytes"),
    (bytes32, "x" * 32, r"expected \[u8; 32\], got str"),
    (bytes32, ByteVec(b"x" * 32), r"expected \[u8; 32\], got Vec<u8>"),
    (bytes, [1, 256], "got a list of other things than u8"),
    (tuple[u8, u8], (1, 2, 3), r"expected \(u8, u8\), got 3 items"),
    (tuple[u8, str], (1, 2), "1: expected String, got int"),
    (list[str], "text", "expected Vec<String>, got str"),
    (list[str], ["a", 5], "1: expected String, got int"),
    (list[tuple[str, u8]], [("a", 1), ("b", -1)], r"1.1: expected u8 \(0 to 255\), got -1"),
    (Annotated[list[str], Length(2)], ["a"], r"expected \[String; 2\], got 1 items"),
    (Annotated[list[u16], Length(2)], [1, -1], "1: expected u16"),
    (Option[str], 5, "expected String, got int"),
    (Result[u8, str], 5, "expected Ok or Err of Result<u8, String>, got int"),
    (Result[u8, str], Err(5), "Err: expected String, got int"),
    (Account, 5, "expected Account, got int"),
    (Account, {"nonce": 1}, "expected Account with a field 'key', got a mapping without"),
    (Account, {"nonce": 1, "key": b"", "x": 1}, "expected Account, got a mapping with a field 'x'"),
    (Account, Account("1", b"k" * 32), "nonce: expected u64, got str"),  # type: ignore[arg-type]
    (Shape, Color.RED, "expected a variant of Shape, got Color"),
    (Shape, "Rect", "expected Shape::Rect with fields, got its name alone"),
    (Shape, "Circle", "expected a variant of Shape, got 'Circle'"),
    (Shape, Rect(1, -1), "Rect.h: expected u64"),
    (Color, Flag.ON, "expected a variant of Color, got Flag"),
    (dict[u8, str], [1, 2], "^expected BTreeMap<u8, String>, got list"),
    (list[u16], b"ab", "expected Vec<u16>, got bytes"),
    (dict[str, u8], {5: 1}, "key: expected String, got int"),
    (dict[bytes32, u8], {"a": 1}, r"key: expected \[u8; 32\], got str"),
    (set[Result[u8, str]], [5], "key: expected Ok or Err of Result<u8, String>, got int"),
    (set[Account], ["a"], "key: expected Account, got str"),
    (set[u8], 5, "expected BTreeSet<u8>, got int"),
    (Range[u8], Range(1, 300), "end: expected u8"),
]


@pytest.mark.parametrize(("annotation", "value", "message"), REFUSED, ids=range(len(REFUSED)))
def test_values_that_do_not_fit_are_refused(annotation: Any, value: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        codec(annotation).encode(value)


INFERRED: list[tuple[Any, str]] = [
    (u64(7), "u64"),
    (f32(0.5), "f32"),
    (char("x"), "char"),
    (1.5, "f64"),
    (True, "bool"),
    ("text", "String"),
    (None, "()"),
    ((), "()"),
    (ByteVec(b"ab"), "Vec<u8>"),
    (ByteArray(b"ab"), "[u8; 2]"),
    (ContractId(bytes(32)), "[u8; 32]"),
    ((u8(1), "a"), "(u8, String)"),
    ([u8(1), u8(2)], "Vec<u8>"),
    ({"a": u8(1)}, "BTreeMap<String, u8>"),
    ({u8(1)}, "BTreeSet<u8>"),
    (Some(u8(1)), "Option<u8>"),
    (Typed("Vec<u64>", []), "Vec<u64>"),
    ([Typed(Option[u8], None), Typed("Option<u8>", 5)], "Vec<Option<u8>>"),
    ({Typed("u16", 3): Typed("u16", 4)}, "BTreeMap<u16, u16>"),
]


@pytest.mark.parametrize(("value", "notation"), INFERRED, ids=range(len(INFERRED)))
def test_values_tell_their_type(value: Any, notation: str) -> None:
    def plain(part: Any) -> Any:
        if isinstance(part, Typed):
            return part.value
        if isinstance(part, list):
            return list(map(plain, part))
        return {plain(k): plain(v) for k, v in part.items()} if isinstance(part, dict) else part

    assert encode(value) == encode(plain(value), notation)


def test_declared_classes_tell_their_type() -> None:
    assert decode(encode((Account(1, b"k" * 32), Rect(1, 2), Color.GREEN)), tuple[Account, Shape, Color]) == (
        Account(1, b"k" * 32),
        Rect(1, 2),
        Color.GREEN,
    )


UNKNOWN: list[tuple[Any, str]] = [
    (7, "an int of no width: write u64"),
    (b"x", "bytes: write ByteVec"),
    ([], "an empty list"),
    ((1, 2), "^0: "),
    ([u8(1), u16(1)], "1: expected u8, as its neighbours, got u16"),
    (Ok(u8(1)), "got Ok"),
    (object(), "got object"),
    ({}, "an empty map"),
]


@pytest.mark.parametrize(("value", "message"), UNKNOWN, ids=range(len(UNKNOWN)))
def test_values_that_tell_no_type_are_refused(value: Any, message: str) -> None:
    with pytest.raises(EncodeError, match=message):
        encode(value)


def test_typed_values_are_checked_when_they_are_made() -> None:
    for make, value in [(u8, 256), (u8, "1"), (u8, True), (u8, 1.0), (f32, 1e40), (char, "ab"), (f64, "x")]:
        with pytest.raises(EncodeError):
            make(value)  # type: ignore[arg-type]
    assert (repr(u8(7)), str(u8(7)), f"{u8(7):02}", repr(char("x")), str(f32(0.5))) == (
        "u8(7)",
        "7",
        "07",
        "char('x')",
        "0.5",
    )
    assert type(u8(1) + u8(2)) is int
    assert u64(u8(5)) == 5
    assert f32(0.1) != 0.1


def test_errors_are_value_errors_of_this_project() -> None:
    with pytest.raises(ValueError, match="expected u8") as refused:
        encode("x", u8)
    assert isinstance(refused.value, PiecrustError)
    assert (refused.value.expected, refused.value.got, refused.value.path) == ("u8", "str", "")
    assert refused.value.kind == "CompositeSerializerError"


@archive
class Tree:
    children: list[Tree]


def test_endless_values_are_refused() -> None:
    tree = Tree([Tree([]), Tree([Tree([])])])
    assert decode(encode(tree), Tree) == tree
    tree.children.append(tree)
    with pytest.raises(EncodeError, match="nested too deeply"):
        encode(tree)
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(EncodeError, match="nested too deeply"):
        encode(endless)
