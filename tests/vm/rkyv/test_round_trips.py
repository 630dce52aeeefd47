"""Any value of any type survives encoding and decoding; damaged archives give values or errors, nothing else."""

from __future__ import annotations

import contextlib
import random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from piecrust.vm.errors import DecodeError, InvalidType
from piecrust.vm.rkyv.codec import Codec
from piecrust.vm.rkyv.notation import parse
from piecrust.vm.rkyv.types import RustType, named_types
from support.random_types import damaged
from support.rkyv_fuzz import fuzz
from support.rkyv_strategies import rust_types, typed_values

SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@settings(max_examples=150, deadline=None, suppress_health_check=SLOW)
@given(typed_values())
def test_what_is_encoded_is_decoded(typed: tuple[RustType, Any]) -> None:
    rust, value = typed
    codec = Codec(rust)
    data = codec.encode(value)
    assert codec.decode(data) == value
    assert codec.encode(codec.decode(data)) == data
    assert (len(data) - codec.layout.size) % codec.layout.align == 0


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(typed_values(), st.integers(0, 2**32))
def test_damaged_archives_give_a_value_or_an_error(typed: tuple[RustType, Any], seed: int) -> None:
    rust, value = typed
    codec = Codec(rust)
    data = damaged(random.Random(seed), codec.encode(value))
    offset = 0
    try:
        decoded = codec.decode(data)
    except DecodeError as error:
        offset = error.offset
    else:
        codec.encode(decoded)
    assert 0 <= offset <= len(data)


@settings(max_examples=100, deadline=None, suppress_health_check=SLOW)
@given(rust_types)
def test_the_notation_of_a_type_reads_back(rust: RustType) -> None:
    if len({named.name for named in named_types(rust)}) == len(named_types(rust)):
        assert str(parse(str(rust), {named.name: named for named in named_types(rust)})) == str(rust)


@settings(max_examples=100, deadline=None)
@given(st.text("()[]<>,;: VecOptionu8Box64T", max_size=30))
def test_text_that_is_no_type_is_refused(text: str) -> None:
    with contextlib.suppress(InvalidType):
        parse(text)


def test_random_archives_give_a_value_or_an_error() -> None:
    outcome = fuzz(seed=1, rounds=1500)
    assert outcome.accepted > 100
    assert outcome.refused > 100
