"""The Rust type of a Python value, for calls that name no type."""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import Any

from piecrust.objects.ids import Hash
from piecrust.vm.rkyv.annotations import rust_type
from piecrust.vm.rkyv.declare import TaggedUnion, declaration
from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.types import (
    BOOL,
    F64,
    STRING,
    UNIT,
    MapType,
    OptionType,
    RustType,
    SetType,
    TupleType,
    TypedValue,
    VecType,
)
from piecrust.vm.rkyv.values import Some, Typed

_KNOWN = "a value that tells its type"


def infer(value: Any) -> tuple[RustType, Any]:
    """The type of a value, and the value without `Typed` around it or inside of it.

    Numbers must be typed (`u64(7)`), as there is no telling how wide they should be; bytes too (`ByteArray`,
    `ByteVec`); lists, maps and sets need items, all of one type.

    Raises:
        EncodeError: the value does not tell its type.
        InvalidType: what a `Typed` names is no type.

    """
    try:
        return _infer(value)
    except Mismatch as mismatch:
        raise mismatch.as_encode_error() from None
    except RecursionError:
        raise Mismatch(_KNOWN, "a value nested too deeply").as_encode_error() from None


def _infer(value: Any) -> tuple[RustType, Any]:
    if isinstance(value, Typed):
        return rust_type(value.type), value.value
    if isinstance(value, TypedValue):
        return value.rust, value
    match value:
        case None:
            return UNIT, None
        case bool():
            return BOOL, value
        case str() if not isinstance(value, enum.Enum):
            return STRING, value
        case float() if not isinstance(value, enum.Enum):
            return F64, value
        case Some(value=inner):
            item, plain = _infer(inner)
            return OptionType(item), Some(plain)
        case tuple():
            items, plain_items = _each(value)
            return (TupleType(tuple(items)), tuple(plain_items)) if items else (UNIT, None)
        case list():
            item, plain_items = _alike(value, "list")
            return VecType(item), plain_items
        case set() | frozenset():
            item, plain_items = _alike(value, "set")
            return SetType(item), plain_items
        case Mapping():
            key, keys = _alike(value, "map")
            item, values = _alike(value.values(), "map")
            return MapType(key, item), list(zip(keys, values, strict=True))
    return _class_type(value), value


def _class_type(value: Any) -> RustType:
    cls = type(value)
    if isinstance(value, TaggedUnion) and declaration(cls) is None:
        return rust_type(cls.__bases__[0])
    if isinstance(value, Hash | enum.Enum) or declaration(cls) is not None:
        return rust_type(cls)
    hints = {int: "an int of no width: write u64(...)", bytes: "bytes: write ByteVec(...) or ByteArray(...)"}
    raise Mismatch(_KNOWN, hints.get(cls, describe(value)))


def _each(values: Iterable[Any]) -> tuple[list[RustType], list[Any]]:
    types, plain_values = [], []
    for index, value in enumerate(values):
        try:
            rust, plain = _infer(value)
        except Mismatch as mismatch:
            mismatch.within(index)
            raise
        types.append(rust)
        plain_values.append(plain)
    return types, plain_values


def _alike(values: Iterable[Any], what: str) -> tuple[RustType, list[Any]]:
    types, plain_values = _each(values)
    if not types:
        raise Mismatch(_KNOWN, f"an empty {what}: write Typed(type, value)")
    for index, rust in enumerate(types):
        if rust != types[0]:
            mismatch = Mismatch(f"{types[0]}, as its neighbours", str(rust))
            mismatch.within(index)
            raise mismatch
    return types[0], plain_values
