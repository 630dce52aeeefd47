"""Rust's `Ord` for Python values: the order in which a `BTreeMap` keeps its keys.

Structs and enums compare as `#[derive(Ord)]` does: field by field, variants in the order of declaration. A contract
whose key type has an `Ord` of its own can not be served by this codec: its maps are refused as unsorted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.products import array_exploder, field_exploder, sequence, tuple_exploder, variant_chooser
from piecrust.vm.rkyv.scalars import as_bytes
from piecrust.vm.rkyv.types import (
    UNIT,
    ArrayType,
    BoxType,
    EnumType,
    FloatType,
    MapType,
    OptionType,
    ResultType,
    RustType,
    SetType,
    StructType,
    TupleType,
    VecType,
    is_bytes,
)
from piecrust.vm.rkyv.values import Err, Ok, Some

SortKey = Callable[[Any], Any]


def sort_key(rust: RustType) -> SortKey:
    """A function whose results compare as Rust compares the values. Raises `InvalidType` for types without `Ord`.

    The results are meaningful for values of the type only; others may raise `Mismatch` or any error of comparing.
    """
    return _sort_key(rust, {})


def _sort_key(rust: RustType, known: dict[RustType, SortKey]) -> SortKey:
    if rust not in known:
        # A type that contains itself finds this entry before there is a key; it is asked only for values.
        known[rust] = lambda value: known[rust](value)
        known[rust] = _make(rust, lambda inner: _sort_key(inner, known))
    return known[rust]


def _make(rust: RustType, of: Callable[[RustType], SortKey]) -> SortKey:
    if is_bytes(rust):
        return lambda value: as_bytes(rust, value)
    match rust:
        case FloatType() | MapType() | SetType():
            raise InvalidType(str(rust), "can not be the key of a map")
        case TupleType(items):
            return _fields(tuple_exploder(rust), [of(item) for item in items])
        case StructType(fields=fields, make=make):
            return _fields(field_exploder(str(rust), make, fields), [of(field.type) for field in fields])
        case ArrayType(item):
            item_key, explode = of(item), array_exploder(rust)
            return lambda value: [item_key(part) for part in explode(value)]
        case VecType(item):
            item_key = of(item)
            return lambda value: [item_key(part) for part in sequence(rust, value)]
        case BoxType(item):
            return of(item)
        case OptionType(item):
            item_key = of(item)
            return lambda value: () if value is None else (item_key(value.value if isinstance(value, Some) else value),)
        case ResultType(ok, err):
            return _branches(rust, of(ok), of(err))
        case EnumType():
            return _variants(rust, of)
    return (lambda _value: ()) if rust == UNIT else lambda value: value


def _branches(rust: ResultType, ok_key: SortKey, err_key: SortKey) -> SortKey:
    def key(value: Any) -> Any:
        if isinstance(value, Ok):
            return 0, ok_key(value.value)
        if isinstance(value, Err):
            return 1, err_key(value.error)
        raise Mismatch(f"Ok or Err of {rust}", describe(value))

    return key


def _fields(explode: Callable[[Any], Any], keys: list[SortKey]) -> SortKey:
    return lambda value: [key(item) for key, item in zip(keys, explode(value), strict=True)]


def _variants(rust: EnumType, of: Callable[[RustType], SortKey]) -> SortKey:
    choose = variant_chooser(rust)
    keys = [[of(field.type) for field in variant.fields] for variant in rust.variants]

    def key(value: Any) -> Any:
        tag, items = choose(value)
        return tag, [item_key(item) for item_key, item in zip(keys[tag], items, strict=True)]

    return key
