"""Hypothesis strategies for Rust types, and for values as the decoder gives them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from piecrust.vm.rkyv import types
from piecrust.vm.rkyv.dynamic import VariantFields, make_enum, make_struct
from piecrust.vm.rkyv.ordering import sort_key
from piecrust.vm.rkyv.standard import DURATION, RANGES, Duration, range_type
from piecrust.vm.rkyv.types import RustType
from piecrust.vm.rkyv.values import Err, Ok, Some

_INTEGERS = st.sampled_from(list(types.INTEGERS.values()))
_BYTES = st.integers(0, 40).map(lambda length: types.ArrayType(types.U8, length))
_ORDERED_LEAVES = st.one_of(
    _INTEGERS,
    st.builds(types.NonZeroType, _INTEGERS),
    _BYTES,
    st.sampled_from([types.BOOL, types.CHAR, types.UNIT, types.STRING, types.BOXED_STR, types.VecType(types.U8)]),
)
_LEAVES = st.one_of(_ORDERED_LEAVES, st.sampled_from([types.F32, types.F64, DURATION]))


def _struct(items: list[RustType], representation: types.Repr) -> RustType:
    return make_struct("S", [f"f{index}" for index in range(len(items))], lambda: items, representation, "")


def _enum(variants: list[list[RustType]]) -> RustType:
    described = [
        VariantFields(f"V{number}", [f"f{index}" for index in range(len(items))], lambda items=items: items)
        for number, items in enumerate(variants)
    ]
    return make_enum("E", described, "")


def _products(inner: st.SearchStrategy[RustType]) -> st.SearchStrategy[RustType]:
    """What may hold any types, and be a key if they may."""
    some = st.lists(inner, max_size=5)
    return st.one_of(
        st.lists(inner, min_size=1, max_size=5).map(lambda items: types.TupleType(tuple(items))),
        st.builds(types.ArrayType, inner, st.integers(0, 4)),
        st.builds(types.VecType, inner, st.booleans()),
        st.builds(types.BoxType, inner),
        st.builds(types.OptionType, inner),
        st.builds(types.ResultType, inner, inner),
        st.builds(_struct, some, st.sampled_from(["Rust", "C"])),
        st.lists(some, min_size=1, max_size=4).map(_enum),
    )


_KEYS = st.recursive(_ORDERED_LEAVES, _products, max_leaves=4)

rust_types: st.SearchStrategy[RustType] = st.recursive(
    _LEAVES,
    lambda inner: st.one_of(
        _products(inner),
        st.builds(types.MapType, _KEYS, inner),
        st.builds(types.SetType, _KEYS),
        st.builds(range_type, st.sampled_from(list(RANGES.values())), inner),
    ),
    max_leaves=8,
)


def values(rust: RustType, *, hashable: bool = False) -> st.SearchStrategy[Any]:
    """Values of a type; `hashable` ones are those of keys."""

    def inner(other: RustType) -> st.SearchStrategy[Any]:
        return values(other, hashable=hashable)

    match rust:
        case types.IntegerType():
            return st.integers(rust.minimum, rust.maximum)
        case types.NonZeroType(integer):
            return st.integers(integer.minimum, integer.maximum).filter(bool)
        case types.FloatType(size):
            return st.floats(width=8 * size, allow_nan=False)
        case types.TupleType(items):
            return st.tuples(*map(inner, items))
        case types.ArrayType(length=length) if types.is_bytes(rust):
            return st.binary(min_size=length, max_size=length)
        case types.ArrayType(item, length):
            return st.tuples(*[inner(item)] * length)
        case types.VecType() if types.is_bytes(rust):
            return st.binary(max_size=20)
        case types.VecType(item):
            return st.lists(inner(item), max_size=4).map(tuple if hashable else list)
        case types.BoxType(item):
            return inner(item)
        case types.OptionType(item):
            return st.none() | (inner(item).map(Some) if types.may_be_none(item) else inner(item))
        case types.ResultType(ok, err):
            return inner(ok).map(Ok) | inner(err).map(Err)
        case types.MapType(key, value):
            key_of = sort_key(key)
            pairs = st.lists(
                st.tuples(values(key, hashable=True), inner(value)),
                max_size=4,
                unique_by=lambda pair: repr(key_of(pair[0])),
            )
            return pairs.map(dict)
        case types.SetType(item):
            return st.sets(values(item, hashable=True), max_size=4)
        case types.EnumType():
            return st.one_of([_variant_values(variant, hashable=hashable) for variant in rust.variants])
        case types.StructType() if rust is DURATION:
            return st.builds(Duration, st.integers(0, types.U64.maximum), st.integers(0, 999_999_999))
        case types.StructType():
            return st.builds(rust.make, *(inner(field.type) for field in rust.fields))
    return {
        types.BOOL: st.booleans(),
        types.CHAR: st.characters(exclude_categories=["Cs"]),
        types.UNIT: st.none(),
    }.get(rust, st.text(st.characters(exclude_categories=["Cs"]), max_size=12))


def _variant_values(variant: types.Variant, *, hashable: bool) -> st.SearchStrategy[Any]:
    if not isinstance(variant.member, type):
        return st.just(variant.member)
    return st.builds(variant.member, *(values(field.type, hashable=hashable) for field in variant.fields))


@st.composite
def typed_values(draw: st.DrawFn) -> tuple[RustType, Any]:
    """A type and a value of it."""
    rust = draw(rust_types)
    return rust, draw(values(rust))
