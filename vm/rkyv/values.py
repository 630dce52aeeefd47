"""Python values that carry their Rust type: `u64(7)`, `ByteVec(b"abc")`, `Ok(u8(1))`, `Typed(type, value)`.

The number and character types are both annotations and constructors. For a type checker they are plain `int`, `float`
and `str`, so that a field declared `u64` takes any `int`; its range is checked when the value is made or encoded.

>>> u64(7), i16(-2)
(u64(7), i16(-2))
>>> u8(300)
Traceback (most recent call last):
    ...
piecrust.vm.errors.EncodeError: expected u8 (0 to 255), got 300
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.scalars import leaf
from piecrust.vm.rkyv.types import CHAR, F32, F64, INTEGERS, U8, ArrayType, RustType, TypedValue, VecType

T = TypeVar("T")
E = TypeVar("E")

if TYPE_CHECKING:
    u8 = int
    u16 = int
    u32 = int
    u64 = int
    u128 = int
    usize = int
    i8 = int
    i16 = int
    i32 = int
    i64 = int
    i128 = int
    isize = int
    f32 = float
    f64 = float
    char = str
else:

    def _scalar(rust: RustType, base: type, plain: Callable[[Any], Any]) -> type:
        """A subclass of `base` whose values are checked when made; operators give plain values of `base`."""
        item = leaf(rust)
        assert item is not None
        check = item.check

        def new(cls: type, value: Any) -> Any:
            try:
                value = plain(value)
                check(value)
            except TypeError:
                raise Mismatch(str(rust), describe(value)).as_encode_error() from None
            except Mismatch as mismatch:
                raise mismatch.as_encode_error() from None
            return base.__new__(cls, value)

        members = {
            "__doc__": f"Rust's `{rust}`. Raises `EncodeError` for a value that it does not have.",
            "__module__": __name__,
            "__new__": new,
            "__repr__": lambda self: f"{rust}({base.__repr__(self)})",
            "__slots__": (),
            "__str__": base.__str__ if base is str else base.__repr__,
            "rust": rust,
        }
        return type(str(rust), (TypedValue, base), members)

    def _integer(name: str) -> type:
        return _scalar(INTEGERS[name], int, lambda value: value if isinstance(value, bool) else operator.index(value))

    def _plain_float(value: Any) -> Any:
        return float(value) if isinstance(value, float) else value

    def _round_to_f32(value: Any) -> Any:
        try:
            return struct.unpack("<f", struct.pack("<f", value))[0]
        except (OverflowError, struct.error):
            return value  # the check says what is wrong with it

    u8, u16, u32, u64, u128, usize = map(_integer, ("u8", "u16", "u32", "u64", "u128", "usize"))
    i8, i16, i32, i64, i128, isize = map(_integer, ("i8", "i16", "i32", "i64", "i128", "isize"))
    f32, f64 = _scalar(F32, float, _round_to_f32), _scalar(F64, float, _plain_float)
    char = _scalar(CHAR, str, lambda value: value)


class ByteArray(bytes, TypedValue):
    """A `[u8; N]` of as many bytes as it is made of."""

    @property
    def rust(self) -> RustType:  # type: ignore[override]  # per value: N is part of the type
        """The type of this value."""
        return ArrayType(U8, len(self))

    def __repr__(self) -> str:
        return f"ByteArray({super().__repr__()})"


class ByteVec(bytes, TypedValue):
    """A `Vec<u8>`."""

    rust = VecType(U8)

    def __repr__(self) -> str:
        return f"ByteVec({super().__repr__()})"


@dataclass(frozen=True, slots=True)
class Some(Generic[T]):
    """The `Some` of an `Option`.

    It may be left out unless the inner value may be `None` itself, as in `Option<Option<u8>>` and `Option<()>`: decoded
    values of these are wrapped, all others are bare.
    """

    value: T


@dataclass(frozen=True, slots=True)
class Ok(Generic[T]):
    """The `Ok` of a `Result`."""

    value: T


@dataclass(frozen=True, slots=True)
class Err(Generic[E]):
    """The `Err` of a `Result`."""

    error: E


@dataclass(frozen=True, slots=True)
class Typed:
    """Any value with its type, which may be written in every way that a type may be: `Typed("Vec<u64>", [])`."""

    type: Any
    value: Any
