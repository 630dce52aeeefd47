"""Values of contracts as bytes: a codec for rkyv 0.7 archives, as `piecrust-uplink` writes and reads them.

A type is written as a Python annotation or in Rust notation; a value may also carry its type itself:

>>> from piecrust.rkyv import *
>>> encode(u64(7)).hex()
'0700000000000000'
>>> encode([1, 2], list[u16]) == encode([1, 2], "Vec<u16>") == encode([u16(1), u16(2)])
True
>>> decode(bytes.fromhex("0700000000000000"), u64)
7

Rust structs are classes with `@archive`, enums without data any `enum.Enum`, enums with data a `TaggedUnion`:

>>> @archive
... class Transfer:
...     to: bytes32
...     amount: u64
...     note: Option[str]
>>> data = encode(Transfer(b"x" * 32, 5, None))
>>> decode(data, Transfer).amount
5
>>> class Shape(TaggedUnion): ...
>>> class Empty(Shape): ...
>>> class Circle(Shape):
...     radius: u32
>>> decode(encode(Circle(7)), Shape)
Circle(radius=7)

What Python and Rust call things, and how a value looks in Python:

=========================================  ======================  =====================================
annotation                                 Rust                    value
=========================================  ======================  =====================================
`bool`, `str`, `None`, `char`              bool String () char     `bool` `str` `None` `str`
`u8` ... `u128`, `i8` ... `i128`           u8 ... i128             `int`
`usize`, `isize`                           usize isize             `int`, archived in 32 bits
`f32`, `f64` or `float`                    f32 f64                 `float`
`bytes`                                    Vec<u8>                 `bytes`
`Annotated[bytes, Length(n)]`, `bytes32`   [u8; n]                 `bytes`
`Annotated[list[T], Length(n)]`            [T; n]                  `tuple`
`list[T]` or `Vec[T]`                      Vec<T>                  `list`
`tuple[A, B]`                              (A, B)                  `tuple`
`T | None` or `Option[T]`                  Option<T>               `None` or the value (`Some` if needed)
`Result[T, E]` or `Ok[T] | Err[E]`         Result<T, E>            `Ok` or `Err`
`dict[K, V]`, `set[T]`                     BTreeMap BTreeSet       `dict` `set`
`Box[T]`, `BoxedStr`, `BoxedSlice[T]`      Box<T>, Box<str>, ...   as without the box
`NonZero[u64]`                             NonZeroU64              `int`
`Range[T]`, ..., `Duration`                the same                the same
`ContractId`                               [u8; 32]                `ContractId`
=========================================  ======================  =====================================

Errors tell the way to what does not fit; archives may come from anybody:

>>> encode((b"x" * 32, "5"), "([u8; 32], u64)")
Traceback (most recent call last):
    ...
piecrust.vm.errors.EncodeError: 1: expected u64, got str
>>> decode(data[:-1], Transfer)
Traceback (most recent call last):
    ...
piecrust.vm.errors.DecodeError: byte 0: expected Transfer of at least 56 bytes, got 55 bytes
"""

from __future__ import annotations

from piecrust.vm.errors import DecodeError, EncodeError, InvalidType
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
    bytes64,
    bytes96,
    rust_type,
)
from piecrust.vm.rkyv.codec import Codec, codec, decode, encode
from piecrust.vm.rkyv.declare import TaggedUnion, archive
from piecrust.vm.rkyv.reader import Limits
from piecrust.vm.rkyv.standard import (
    Duration,
    Range,
    RangeFrom,
    RangeFull,
    RangeInclusive,
    RangeTo,
    RangeToInclusive,
)
from piecrust.vm.rkyv.types import RustType
from piecrust.vm.rkyv.values import (
    ByteArray,
    ByteVec,
    Err,
    Ok,
    Some,
    Typed,
    char,
    f32,
    f64,
    i8,
    i16,
    i32,
    i64,
    i128,
    isize,
    u8,
    u16,
    u32,
    u64,
    u128,
    usize,
)

__all__ = [
    "Box",
    "BoxedSlice",
    "BoxedStr",
    "ByteArray",
    "ByteVec",
    "Codec",
    "DecodeError",
    "Duration",
    "EncodeError",
    "Err",
    "InvalidType",
    "Length",
    "Limits",
    "NonZero",
    "Ok",
    "Option",
    "Range",
    "RangeFrom",
    "RangeFull",
    "RangeInclusive",
    "RangeTo",
    "RangeToInclusive",
    "Result",
    "RustType",
    "Some",
    "TaggedUnion",
    "Typed",
    "Vec",
    "archive",
    "bytes32",
    "bytes48",
    "bytes64",
    "bytes96",
    "char",
    "codec",
    "decode",
    "encode",
    "f32",
    "f64",
    "i8",
    "i16",
    "i32",
    "i64",
    "i128",
    "isize",
    "rust_type",
    "u8",
    "u16",
    "u32",
    "u64",
    "u128",
    "usize",
]
