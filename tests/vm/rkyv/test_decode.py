"""What the decoder refuses: everything that rkyv's validation refuses, and what exceeds the limits."""

from __future__ import annotations

import inspect
import struct
import sys
from typing import Annotated, Any

import pytest
from piecrust.vm.errors import DecodeError
from piecrust.vm.rkyv.annotations import Box, Length, NonZero, Option, Result, bytes32
from piecrust.vm.rkyv.codec import Codec, decode, encode
from piecrust.vm.rkyv.declare import TaggedUnion, archive
from piecrust.vm.rkyv.notation import parse
from piecrust.vm.rkyv.reader import Limits
from piecrust.vm.rkyv.standard import Duration
from piecrust.vm.rkyv.values import char, u8, u16, u32, u64


class Shape(TaggedUnion):
    pass


class Empty(Shape):
    pass


class Circle(Shape):
    radius: NonZero[u8]


@archive
class Node:
    value: u8
    next: Option[Box[Node]]


@archive
class Even:
    number: u64

    def __post_init__(self) -> None:
        if self.number % 2:
            raise ValueError("odd")


REFUSED: list[tuple[str, Any, str, str]] = [
    ("too short", u64, "01020304", "byte 0: expected u64 of at least 8 bytes, got 4 bytes"),
    ("not aligned", u32, "0000000000", "byte 1: expected u32 aligned to 4, got 5 bytes"),
    ("a bool of 2", tuple[u8, bool], "0102", r"1 \(byte 1\): expected bool \(0 or 1\), got 2"),
    ("a surrogate", char, "00d80000", "byte 0: expected char, got 0xd800"),
    ("beyond Unicode", char, "00001100", "byte 0: expected char, got 0x110000"),
    ("a zero that is none", NonZero[u16], "0000", "byte 0: expected NonZeroU16, got 0"),
    ("no tag of Option", Option[u8], "0200", r"byte 0: expected a tag of Option \(below 2\), got 2"),
    ("no tag of Result", Result[u8, u8], "ff00", "byte 0: expected a tag of Result"),
    ("no tag of an enum", Shape, "0201", r"byte 0: expected a tag of Shape \(below 2\), got 2"),
    ("inside of a variant", Shape, "0100", r"Circle.radius \(byte 1\): expected NonZeroU8, got 0"),
    ("inside of Err", Result[u8, bool], "0105", r"Err \(byte 1\): expected bool"),
    ("inline text too long", str, "3132333435363708", "expected text of at most 7 bytes, got 8 bytes"),
    ("inline text not UTF-8", str, "c328000000000002", "byte 0: expected UTF-8, got byte 0xc3"),
    ("text not UTF-8", str, "6161616161616161ff00000009000000f4ffffff", "byte 8: expected UTF-8, got byte 0xff"),
    ("text before the archive", str, "616161616161616108000000f7ffffff", "byte 8: expected 8 bytes between 0 and 8"),
    ("text over the root", str, "616161616161616108000000f9ffffff", "byte 8: expected 8 bytes between 0 and 8"),
    ("more items than bytes", list[u8 | None], "0001f8ffffffffffffff", "byte 2"),
    ("items not aligned", list[u16], "0102030405000000f9ffffff01000000", "byte 8: expected a position aligned to 2"),
    ("a box that contains itself", Box[Box[u8]], "00000000fcfffffffcffffff00000000", "byte 12: expected 4 bytes"),
    ("a pointer to its own", Box[u32], "00000000", "byte 0: expected 4 bytes between 0 and 0"),
    ("a refusing constructor", Even, "0300000000000000", r"byte 0: expected Even, got what it refuses \(odd\)"),
    ("more than all time", Duration, "ff" * 8 + "00ca9a3b00000000", "expected Duration, got what it refuses"),
]


@pytest.mark.parametrize(("annotation", "data", "message"), [r[1:] for r in REFUSED], ids=[r[0] for r in REFUSED])
def test_invalid_archives_are_refused(annotation: Any, data: str, message: str) -> None:
    with pytest.raises(DecodeError, match=message):
        decode(bytes.fromhex(data), annotation)


@archive
class Never:
    def __post_init__(self) -> None:
        if made:
            raise ValueError("never")


made: list[int] = []


def test_a_refused_value_without_bytes_lies_at_the_end() -> None:
    data = encode((5, Never()), tuple[u8, Never])
    made.append(1)
    with pytest.raises(DecodeError, match=r"1 \(byte 1\): expected Never, got what it refuses \(never\)"):
        decode(data, tuple[u8, Never])
    made.clear()


def test_two_pointers_can_not_share_what_they_point_to() -> None:
    data = bytearray(encode(["a" * 8, "b" * 8], list[str]))
    first = struct.unpack_from("<i", data, 20)[0]
    assert decode(bytes(data), list[str]) == ["a" * 8, "b" * 8]
    struct.pack_into("<i", data, 28, first - 8)
    with pytest.raises(DecodeError, match=r"1 \(byte 24\): expected 8 bytes between 8 and 16, got a pointer to 0"):
        decode(bytes(data), list[str])


def test_parts_must_lie_in_the_order_of_writing() -> None:
    data = bytearray(encode(["a" * 8, "b" * 8], list[str]))
    struct.pack_into("<i", data, 20, 8 - 16)
    struct.pack_into("<i", data, 28, 0 - 24)
    with pytest.raises(DecodeError, match="between 16 and 16"):
        decode(bytes(data), list[str])


def test_the_items_of_a_tuple_lie_from_last_to_first() -> None:
    data = encode(("first one", "second one"), tuple[str, str])
    assert data.startswith(b"second onefirst one")
    assert decode(data, tuple[str, str]) == ("first one", "second one")


def test_bytes_before_the_root_that_nothing_points_to_are_allowed() -> None:
    assert decode(bytes(8) + encode(7, u64), u64) == 7
    assert decode(b"anything", None) is None


def test_any_kind_of_bytes_is_read_and_nothing_else() -> None:
    data = encode((1, [2]), tuple[u8, list[u16]])
    assert decode(bytearray(data), tuple[u8, list[u16]]) == decode(memoryview(data), tuple[u8, list[u16]]) == (1, [2])
    with pytest.raises(DecodeError, match="expected bytes, got str"):
        decode("0102", u16)  # type: ignore[call-overload]


def test_long_archives_are_refused_before_they_are_looked_at() -> None:
    with pytest.raises(DecodeError, match="at most 8 bytes, got 9 bytes"):
        decode(bytes(9), u64, Limits(bytes_max=8))


def test_items_without_a_size_are_counted() -> None:
    many = struct.pack("<iI", 0, 0xFFFFFFFF)
    with pytest.raises(DecodeError, match="fewer values"):
        decode(many, list[None])
    assert decode(struct.pack("<iI", 0, 3), list[None]) == [None, None, None]


def test_small_items_can_not_grow_into_many_values() -> None:
    codec = Codec[Any](parse("Vec<(u8, [[(); 1000]; 100])>"))
    data = bytes(20) + struct.pack("<iI", -20, 20)
    with pytest.raises(DecodeError, match="fewer values"):
        codec.decode(data)


def linked(length: int) -> Node:
    node = Node(0, None)
    for value in range(length - 1):
        node = Node(value % 256, node)
    return node


def test_nesting_has_a_limit() -> None:
    deep = linked(30)
    assert decode(encode(deep), Node) == deep
    with pytest.raises(DecodeError, match="less nesting"):
        decode(encode(linked(100)), Node)
    with pytest.raises(DecodeError, match="less nesting"):
        decode(encode(deep), Node, Limits(nesting_max=20))


def test_a_stack_without_room_is_an_error_like_others() -> None:
    data = encode(linked(60))
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 100)
    try:
        with pytest.raises(DecodeError, match="nested too deeply"):
            decode(data, Node)
    finally:
        sys.setrecursionlimit(limit)


def test_offsets_say_where_inside_of_what() -> None:
    data = encode([(1, [True]), (2, [False, True])], "Vec<(u8, Vec<bool>)>")
    bad = data.replace(b"\0\1", b"\0\7", 1)
    with pytest.raises(DecodeError) as refused:
        decode(bad, "Vec<(u8, Vec<bool>)>")
    assert refused.value.path == "1.1.1"
    assert bad[refused.value.offset] == 7


def test_errors_in_flat_values_say_where() -> None:
    inner = tuple[bytes32, Annotated[list[bool], Length(3)]]
    data = encode((5, (b"x" * 32, [True, True, False])), tuple[u64, inner])
    with pytest.raises(DecodeError) as refused:
        decode(data[:-6] + b"\3" + data[-5:], tuple[u64, inner])
    assert (refused.value.path, refused.value.offset) == ("1.1.2", 42)
