"""The codec gives and takes what rkyv 0.7.46 itself wrote: fixtures/vectors/rkyv07.txt, byte for byte."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated, Any

import pytest
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
    bytes48,
    rust_type,
)
from piecrust.vm.rkyv.codec import codec
from piecrust.vm.rkyv.declare import TaggedUnion, archive
from piecrust.vm.rkyv.layout import Layouts
from piecrust.vm.rkyv.standard import Duration, Range, RangeInclusive
from piecrust.vm.rkyv.types import StructType
from piecrust.vm.rkyv.values import Err, Ok, Some, char, f64, i16, i64, u8, u16, u32, u64, u128, usize

VECTORS = Path(__file__).resolve().parents[3] / "fixtures" / "vectors" / "rkyv07.txt"
LONG = "hello world!"


@archive
class Sig:
    sig: bytes48
    counter: u64


@archive
class SigRev:
    counter: u64
    sig: bytes48


@archive
class Mixed:
    a: u8
    b: u64
    c: u16
    d: u32


@archive
class MixedBool:
    a: bool
    b: u64
    c: u16
    d: u32


@archive
class Named:
    id: u8
    name: str
    bal: u64


@archive
class Acc:
    nonce: u64
    key: bytes32
    opt: Option[u64]


@archive
class Acc2:
    nonce: u64
    key: bytes32
    flag: bool


@archive
class Small:
    a: u8
    b: Annotated[bytes, Length(4)]
    c: u16


@archive
class Small2:
    c: u16
    b: Annotated[bytes, Length(4)]
    a: u8


@archive
class U:
    first: u64
    second: u8


@archive
class Unit:
    pass


class Color(enum.Enum):
    RED = enum.auto()
    GREEN = enum.auto()
    BLUE = enum.auto()


class Shape(TaggedUnion):
    pass


class Empty(Shape):
    pass


class Circle(Shape):
    radius: u32


class Rect(Shape):
    w: u8
    h: u64


class Name(Shape):
    name: str


@archive
class Ev:
    from_: Option[bytes32]
    value: u64
    kind: Color
    to: bytes32


VALUES: dict[str, tuple[Any, Any]] = {
    "()": (None, None),
    "bool true": (bool, True),
    "u8 7": (u8, 7),
    "i64 -2": (i64, -2),
    "u64 0x0102030405060708": (u64, 0x0102030405060708),
    "u128 1": (u128, 1),
    "char 'A'": (char, "A"),
    "f64 1.5": (f64, 1.5),
    "usize 5": (usize, 5),
    "Option<i16> None": (Option[i16], None),
    "Option<i16> Some(-2)": (Option[i16], -2),
    "Option<u64> Some(1)": (Option[u64], 1),
    "Option<()> Some": (Option[None], Some(None)),
    "Option<bool> Some(true)": (Option[bool], True),
    "Option<Option<u8>> Some(Some(9))": (Option[Option[u8]], Some(9)),
    "Option<Box<u64>> Some": (Option[Box[u64]], 5),
    "Option<NonZeroU32>": (Option[NonZero[u32]], 3),
    "(u64,u64)=(1,2)": (tuple[u64, u64], (1, 2)),
    "(u8,u64)=(1,2)": (tuple[u8, u64], (1, 2)),
    "(u64,u8)=(2,1)": (tuple[u64, u8], (2, 1)),
    "(u8,u64,u8)=(1,2,3)": (tuple[u8, u64, u8], (1, 2, 3)),
    "(u8,u16,u32)=(1,2,3)": (tuple[u8, u16, u32], (1, 2, 3)),
    "(u64,[u8;32])": (tuple[u64, bytes32], (0x1111111111111111, b"\xaa" * 32)),
    "([u8;32],u64)": (tuple[bytes32, u64], (b"\xaa" * 32, 0x1111111111111111)),
    "(bool,u64,[u8;32])": (tuple[bool, u64, bytes32], (True, 0x1111111111111111, b"\xaa" * 32)),
    "(u32,String)=(7,hi)": (tuple[u32, str], (7, "hi")),
    "(String,u32)=(hi,7)": (tuple[str, u32], ("hi", 7)),
    "(u64,String)": (tuple[u64, str], (7, LONG)),
    "(u8,[u8;3],u16)": (tuple[u8, Annotated[bytes, Length(3)], u16], (1, b"\x09" * 3, 0x0202)),
    "(u8,[u8;4],u16)": (tuple[u8, Annotated[bytes, Length(4)], u16], (1, b"\x09" * 4, 0x0202)),
    "(u16,[u8;6])": (tuple[u16, Annotated[bytes, Length(6)]], (0x0202, b"\x06" * 6)),
    "(u32,[u8;6])": (tuple[u32, Annotated[bytes, Length(6)]], (0x04040404, b"\x06" * 6)),
    "([u8;6],u32)": (tuple[Annotated[bytes, Length(6)], u32], (b"\x06" * 6, 0x04040404)),
    "([u8;6],u16,u32)": (tuple[Annotated[bytes, Length(6)], u16, u32], (b"\x06" * 6, 0x0202, 0x04040404)),
    'String ""': (str, ""),
    'String "hi"': (str, "hi"),
    "String 7": (str, "1234567"),
    "String 8": (str, "12345678"),
    "String 12": (str, LONG),
    "Vec<u32> [1,2,3]": (list[u32], [1, 2, 3]),
    "Vec<u8> []": (bytes, b""),
    "Vec<u8> [1,2,3]": (bytes, b"\1\2\3"),
    "Vec<u64> []": (list[u64], []),
    "Vec<u64> [1]": (Vec[u64], [1]),
    "Vec<String> [hi,hello world!]": (list[str], ["hi", LONG]),
    "Vec<Vec<u8>> [[1],[2,3]]": (list[bytes], [b"\1", b"\2\3"]),
    "Vec<Option<u16>>": (list[Option[u16]], [None, 5]),
    "Vec<(u8,u32)>": (list[tuple[u8, u32]], [(1, 2)]),
    "[u8;32]": (bytes32, b"\7" * 32),
    "[u16;3]": (Annotated[list[u16], Length(3)], (1, 2, 3)),
    "[String;2]": (Annotated[tuple[str, ...], Length(2)], (LONG, "hi")),
    "Sig{sig:[ab;48],counter:5}": (Sig, Sig(b"\xab" * 48, 5)),
    "SigRev{counter:5,sig}": (SigRev, SigRev(5, b"\xab" * 48)),
    "Mixed{a:u8,b:u64,c:u16,d:u32}": (Mixed, Mixed(1, 2, 3, 4)),
    "MixedBool{a:bool,b:u64,c:u16,d:u32}": (MixedBool, MixedBool(True, 2, 3, 4)),
    "Named{id:u8,name:String,bal:u64}": (Named, Named(1, LONG, 9)),
    "Acc{nonce:u64,key:[u8;32],opt:Option<u64>}": (Acc, Acc(1, b"\xcc" * 32, 2)),
    "Acc2{nonce,key,flag:bool}": (Acc2, Acc2(1, b"\xcc" * 32, True)),
    "Small{a:u8,b:[u8;4],c:u16}": (Small, Small(1, b"\4" * 4, 0x0202)),
    "Small2{c:u16,b:[u8;4],a:u8}": (Small2, Small2(0x0202, b"\4" * 4, 1)),
    "U(u64,u8)": (U, U(1, 2)),
    "Unit": (Unit, Unit()),
    "Color::Blue": (Color, Color.BLUE),
    "Shape::Empty": (Shape, Empty()),
    "Shape::Circle(7)": (Shape, Circle(7)),
    "Shape::Rect{w:1,h:2}": (Shape, Rect(1, 2)),
    "Shape::Name(hi)": (Shape, Name("hi")),
    "Ev": (Ev, Ev(b"\x11" * 32, 2, Color.GREEN, b"\x22" * 32)),
    "Box<u64> 5": (Box[u64], 5),
    "Box<str> hi": (BoxedStr, "hi"),
    "Box<[u16]>": (BoxedSlice[u16], [1, 2]),
    "Result<u32,String> Ok(7)": (Result[u32, str], Ok(7)),
    "Result<u32,String> Err(hi)": (Result[u32, str], Err("hi")),
    "Result<(),u8>": (Result[None, u8], Ok(None)),
    "Option<String> Some(hello world!)": (Option[str], LONG),
    "BTreeMap<u32,u64>{}": (dict[u32, u64], {}),
    "BTreeMap<u32,u64>{1:10,2:20}": (dict[u32, u64], {1: 10, 2: 20}),
    "BTreeMap<String,u32>{a:1,hello world!:2}": (dict[str, u32], {"a": 1, LONG: 2}),
    "BTreeMap<[u8;32],u8>": (dict[bytes32, u8], {b"\1" * 32: 9}),
    "BTreeMap<u8,u64>{1:2}": (dict[u8, u64], {1: 2}),
    "BTreeSet<u16>{1,2}": (set[u16], {1, 2}),
    "Range<u32>": (Range[u32], Range(1, 5)),
    "Duration": (Duration, Duration(1, 2)),
    "RangeInclusive<u8>": (RangeInclusive[u8], RangeInclusive(1, 2)),
}


def rows() -> list[list[str]]:
    return [line.split("|") for line in VECTORS.read_text().splitlines() if not line.startswith("#")]


ARCHIVES = {row[0]: row[1:] for row in rows() if len(row) == 4}
OFFSETS = [entry for row in rows() if row[0].startswith("  ") for entry in row[0].split()]


def test_every_vector_has_a_value_here() -> None:
    assert set(ARCHIVES) == set(VALUES)


@pytest.mark.parametrize("label", VALUES)
def test_encodes_and_decodes_byte_for_byte(label: str) -> None:
    annotation, value = VALUES[label]
    shape, length, data = ARCHIVES[label]
    compiled = codec(annotation)
    assert f"size={compiled.layout.size} align={compiled.layout.align}" == shape
    assert f"len={len(bytes.fromhex(data))}" == length
    assert compiled.encode(value).hex() == data
    assert compiled.decode(bytes.fromhex(data)) == value


@pytest.mark.parametrize("entry", OFFSETS)
def test_fields_lie_where_rustc_puts_them(entry: str) -> None:
    owner, _, place = entry.removeprefix("Archived").partition(".")
    name, _, offset = place.partition("@")
    rust = rust_type(globals()[owner])
    assert isinstance(rust, StructType)
    position = [field.name for field in rust.fields].index(name)
    assert Layouts().of(rust).offsets[position] == int(offset)


def test_a_map_of_several_nodes() -> None:
    (row,) = [row[0] for row in rows() if row[0].startswith("BIGMAP")]
    length, tail = row.removeprefix("BIGMAP len=").split(" tail=")
    big = {number: bytes([number]) * 64 for number in range(200)}
    data = codec(dict[u32, Annotated[bytes, Length(64)]]).encode(big)
    assert len(data) == int(length)
    assert data.endswith(bytes.fromhex(tail))
    assert codec(dict[u32, Annotated[bytes, Length(64)]]).decode(data) == big


def test_padding_is_zero_whatever_the_buffer_held() -> None:
    (row,) = [row[0] for row in rows() if row[0].startswith("BufferSerializer dirty Some(5u64)")]
    assert codec(Option[u64]).encode(5).hex() == row.split()[-1]


def test_the_vectors_are_all_of_them() -> None:
    notes = [row[0] for row in rows() if row[0].startswith(("BIGMAP", "BufferSerializer", "check "))]
    assert len(ARCHIVES) + len({entry.split(".")[0] for entry in OFFSETS}) + len(notes) == len(rows())
