"""Scalars and fixed byte arrays: how one Python value becomes one item of a `struct` format, and back.

Checks raise `Mismatch`; they accept what a Python programmer would call a value of that type, but neither `True` as a
number nor a typed value (`u32(7)`) of another type.
"""

from __future__ import annotations

import operator
import struct
from collections.abc import Callable
from typing import Any, NamedTuple

from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.types import (
    BOOL,
    CHAR,
    ArrayType,
    FloatType,
    IntegerType,
    NonZeroType,
    RustType,
    TypedValue,
    is_bytes,
)

_CODES = {1: "b", 2: "h", 4: "i", 8: "q"}
_FLOAT_CODES = {4: "f", 8: "d"}


class Leaf(NamedTuple):
    """One item of a `struct` format. `load` is None where the unpacked item is the value."""

    code: str
    check: Callable[[Any], Any]
    load: Callable[[Any], Any] | None


def leaf(rust: RustType) -> Leaf | None:
    """The leaf for a scalar or byte array, None for all other types."""
    match rust:
        case IntegerType(size=size, signed=signed):
            if size == 16:
                return Leaf("16s", _wide_checker(rust), lambda raw: int.from_bytes(raw, "little", signed=signed))
            return Leaf(_code(rust), integer_checker(rust), None)
        case NonZeroType(integer):
            return _non_zero(rust, integer)
        case FloatType(size):
            return Leaf(_FLOAT_CODES[size], _float_checker(rust), None)
        case ArrayType(length=length, bytes_class=bytes_class) if is_bytes(rust):
            return Leaf(f"{length}s", _bytes_checker(rust), None if bytes_class is bytes else bytes_class)
    if rust == BOOL:
        return Leaf("B", _check_bool, _load_bool)
    if rust == CHAR:
        return Leaf("I", _check_char, _load_char)
    return None


def integer_checker(rust: IntegerType) -> Callable[[Any], int]:
    """A function that returns the integer it is given, if it is one and in range."""
    minimum, maximum = rust.minimum, rust.maximum

    def check(value: Any) -> int:
        if type(value) is not int:
            if isinstance(value, TypedValue) and value.rust != rust:
                raise Mismatch(str(rust), str(value.rust))
            value = as_integer(rust, value)
        if not minimum <= value <= maximum:
            raise Mismatch(
                f"{rust} ({minimum} to {maximum})", str(value) if abs(value) < 1 << 256 else "a larger number"
            )
        return value  # type: ignore[no-any-return]  # an int, see above

    return check


def as_integer(rust: IntegerType, value: Any) -> int:
    """The `int` in what is an integer, but no `bool`."""
    if isinstance(value, bool):
        raise Mismatch(str(rust), "bool")
    try:
        return operator.index(value)
    except TypeError:
        raise Mismatch(str(rust), describe(value)) from None


def _wide_checker(rust: IntegerType) -> Callable[[Any], bytes]:
    check = integer_checker(rust)
    return lambda value: check(value).to_bytes(16, "little", signed=rust.signed)


def _non_zero(rust: NonZeroType, integer: IntegerType) -> Leaf:
    inner = leaf(integer)
    assert inner is not None
    code, check_integer, load_integer = inner

    def check(value: Any) -> Any:
        packed = check_integer(value)
        if value == 0:
            raise Mismatch(str(rust), "0")
        return packed

    def load(item: Any) -> int:
        value: int = item if load_integer is None else load_integer(item)
        if value == 0:
            raise Mismatch(str(rust), "0")
        return value

    return Leaf(code, check, load)


def _float_checker(rust: FloatType) -> Callable[[Any], float]:
    pack = struct.Struct(f"<{_FLOAT_CODES[rust.size]}").pack

    def check(value: Any) -> float:
        if isinstance(value, TypedValue) and value.rust != rust:
            raise Mismatch(str(rust), str(value.rust))
        if isinstance(value, bool) or not isinstance(value, float | int):
            raise Mismatch(str(rust), describe(value))
        try:
            number = float(value)
            pack(number)
        except OverflowError:
            raise Mismatch(str(rust), "a larger number") from None
        return number

    return check


def _bytes_checker(rust: ArrayType) -> Callable[[Any], bytes]:
    length = rust.length

    def check(value: Any) -> bytes:
        if type(value) is not bytes:
            value = as_bytes(rust, value)
        if len(value) != length:
            raise Mismatch(str(rust), f"{len(value)} bytes")
        return value  # type: ignore[no-any-return]  # bytes, see above

    return check


def as_bytes(rust: RustType, value: Any) -> bytes:
    """The bytes in what may stand for a `[u8; N]` or `Vec<u8>`: bytes-like objects, lists and tuples of u8."""
    if isinstance(value, TypedValue) and value.rust != rust:
        raise Mismatch(str(rust), str(value.rust))
    if not isinstance(value, bytes | bytearray | memoryview | list | tuple):
        raise Mismatch(str(rust), describe(value))
    try:
        return bytes(value)
    except (TypeError, ValueError):
        raise Mismatch(str(rust), f"a {describe(value)} of other things than u8") from None


def _check_bool(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise Mismatch("bool", describe(value))


def _load_bool(item: int) -> bool:
    if item > 1:
        raise Mismatch("bool (0 or 1)", str(item))
    return item == 1


def _check_char(value: Any) -> int:
    if not isinstance(value, str):
        raise Mismatch("char", describe(value))
    if len(value) != 1:
        raise Mismatch("char", f"{len(value)} characters")
    code = ord(value)
    if 0xD800 <= code <= 0xDFFF:
        raise Mismatch("char", f"the surrogate {code:#x}")
    return code


def _load_char(item: int) -> str:
    if item > 0x10FFFF or 0xD800 <= item <= 0xDFFF:
        raise Mismatch("char", f"{item:#x}")
    return chr(item)


def _code(rust: IntegerType) -> str:
    code = _CODES[rust.size]
    return code if rust.signed else code.upper()
