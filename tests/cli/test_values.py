from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.cli.command_errors import UsageError
from piecrust.cli.value_reader import read_value
from piecrust.cli.value_writer import json_value, show_value
from piecrust.vm.rkyv.types import (
    BOOL,
    CHAR,
    F64,
    INTEGERS,
    STRING,
    U8,
    U64,
    UNIT,
    ArrayType,
    BoxType,
    MapType,
    OptionType,
    ResultType,
    RustType,
    SetType,
    TupleType,
    VecType,
)
from piecrust.vm.rkyv.values import Err, Ok, Some

I16 = INTEGERS["i16"]


@pytest.mark.parametrize(
    ("rust", "text", "value"),
    [
        (U64, "18446744073709551615", 2**64 - 1),
        (U64, "0xff", 255),
        (I16, " -17 ", -17),
        (U64, "1_000", 1000),
        (BOOL, "true", True),
        (CHAR, "é", "é"),
        (UNIT, "()", None),
        (F64, "-1.5e3", -1500.0),
        (STRING, "no quotes, (any) [text]", "no quotes, (any) [text]"),
        (STRING, '"with \\n escapes"', "with \n escapes"),
        (TupleType((U64, BOOL)), "(5,true)", (5, True)),
        (TupleType((U64,)), "(5,)", (5,)),
        (VecType(U8), "00ff", b"\x00\xff"),
        (VecType(U8), "hex:00ff", b"\x00\xff"),
        (VecType(U8), "[0, 255]", b"\x00\xff"),
        (ArrayType(U8, 2), "0x00FF", b"\x00\xff"),
        (VecType(U64), "[]", []),
        (VecType(U64), "[1, 2, ]", [1, 2]),
        (OptionType(I16), "Some(3)", 3),
        (OptionType(I16), "3", 3),
        (OptionType(I16), "none", None),
        (OptionType(OptionType(I16)), "Some(None)", Some(None)),
        (ResultType(U64, STRING), 'Err("no")', Err("no")),
        (ResultType(U64, STRING), "Ok(1)", Ok(1)),
        (MapType(STRING, U64), '{"a": 1, "b": 2}', {"a": 1, "b": 2}),
        (SetType(U64), "{1, 2}", frozenset({1, 2})),
    ],
    ids=str,
)
def test_values_are_read_as_their_type_says(rust: RustType, text: str, value: Any) -> None:
    assert read_value(rust, text) == value


@pytest.mark.parametrize(
    ("rust", "text", "complaint"),
    [
        (U64, "", "expected u64 at character 1 of '', the text ends"),
        (U64, "5 apples", "expected the end at character 3 of '5 apples', found 'apples'"),
        (U64, "007", "expected u64"),
        (BOOL, "yes", "true or false"),
        (TupleType((U64, BOOL)), "(5)", "expected ','"),
        (VecType(U8), "0f0", "expected Vec<u8> as hex digits"),
        (VecType(U8), "[256]", "a byte"),
        (OptionType(OptionType(I16)), "3", "None or Some"),
        (ResultType(U64, U64), "3", "Ok(...) or Err(...)"),
        (VecType(STRING), "[bare]", "double quotes"),
    ],
    ids=str,
)
def test_what_is_no_value_is_refused_with_the_place(rust: RustType, text: str, complaint: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_value(rust, text)
    assert complaint in str(caught.value)


def test_deep_nesting_is_refused_before_it_exhausts_the_stack() -> None:
    rust: RustType = U64
    for _ in range(200):
        rust = VecType(rust)
    with pytest.raises(UsageError, match="nest deeper"):
        read_value(rust, "[" * 200 + "]" * 200)


def typed_values() -> st.SearchStrategy[tuple[RustType, Any]]:
    leaves = st.one_of(
        st.tuples(st.just(U64), st.integers(0, 2**64 - 1)),
        st.tuples(st.just(I16), st.integers(-(2**15), 2**15 - 1)),
        st.tuples(st.just(BOOL), st.booleans()),
        st.tuples(st.just(STRING), st.text(max_size=8)),
        st.tuples(st.just(CHAR), st.characters(codec="utf-8")),
        st.tuples(st.just(VecType(U8)), st.binary(max_size=6)),
        st.tuples(st.just(F64), st.floats(allow_nan=False)),
        st.tuples(st.just(UNIT), st.none()),
    )

    def wider(inner: st.SearchStrategy[tuple[RustType, Any]]) -> st.SearchStrategy[tuple[RustType, Any]]:
        return st.one_of(
            st.lists(inner, min_size=1, max_size=3).map(
                lambda items: (TupleType(tuple(t for t, _ in items)), tuple(v for _, v in items))
            ),
            inner.filter(lambda item: item[0] != U8).map(lambda item: (VecType(item[0]), [item[1], item[1]])),
            inner.map(lambda item: (OptionType(item[0]), optional(*item))),
            inner.map(lambda item: (OptionType(item[0]), None)),
            inner.map(lambda item: (ResultType(item[0], U64), Ok(item[1]))),
            inner.map(lambda item: (BoxType(item[0]), item[1])),
        )

    return st.recursive(leaves, wider, max_leaves=6)


def optional(rust: RustType, value: Any) -> Any:
    return Some(value) if rust == UNIT or isinstance(rust, OptionType) or boxes_none(rust) else value


def boxes_none(rust: RustType) -> bool:
    while isinstance(rust, BoxType):
        rust = rust.item
    return rust == UNIT or isinstance(rust, OptionType)


@given(typed_values())
@settings(max_examples=200, deadline=None)
def test_what_is_shown_can_be_typed_again(typed: tuple[RustType, Any]) -> None:
    rust, value = typed
    assert read_value(rust, show_value(rust, value)) == value


@pytest.mark.parametrize(
    ("rust", "value", "expected"),
    [
        (U64, 7, "7"),
        (I16, 7, 7),
        (VecType(U8), b"\x01", "01"),
        (TupleType((U64, I16)), (1, 2), ["1", 2]),
        (OptionType(U64), None, None),
        (OptionType(OptionType(U64)), Some(None), {"Some": None}),
        (ResultType(U64, STRING), Err("no"), {"Err": "no"}),
        (MapType(STRING, U64), {"b": 2, "a": 1}, {"a": "1", "b": "2"}),
        (MapType(U64, U64), {2: 2, 1: 1}, [["1", "1"], ["2", "2"]]),
        (F64, float("inf"), "inf"),
    ],
    ids=str,
)
def test_envelopes_hold_wide_integers_as_strings_and_bytes_as_hex(rust: RustType, value: Any, expected: Any) -> None:
    assert json_value(rust, value) == expected
