r"""Writes values of Rust types: for people, in the notation that `value_reader` reads back, and for envelopes.

>>> from piecrust.vm.rkyv.types import INTEGERS, OptionType, TupleType, U8, VecType
>>> pair = TupleType((INTEGERS["u64"], OptionType(VecType(U8))))
>>> show_value(pair, (5, b"\x00\xff")), json_value(pair, (5, b"\x00\xff"))
('(5, Some(0x00ff))', ['5', '00ff'])
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import Enum
from typing import Any

from piecrust.vm.rkyv import types
from piecrust.vm.rkyv.types import RustType
from piecrust.vm.rkyv.values import Ok

SAFE_INTEGER_BYTES = 4


def show_value(rust: RustType, value: Any) -> str:
    """The value in Rust-like notation, on one line."""
    match rust:
        case types.IntegerType() | types.NonZeroType():
            return str(int(value))
        case types.FloatType():
            return repr(float(value))
        case types.ScalarType() if rust == types.BOOL:
            return "true" if value else "false"
        case types.ScalarType() if rust == types.UNIT:
            return "()"
        case types.ScalarType():
            return json.dumps(value, ensure_ascii=False)
        case types.ArrayType() | types.VecType() if types.is_bytes(rust):
            return f"0x{bytes(value).hex()}"
        case types.ArrayType() | types.VecType():
            return f"[{', '.join(show_value(rust.item, item) for item in value)}]"
        case types.SetType():
            return f"{{{', '.join(show_value(rust.item, item) for item in sorted(value))}}}"
        case types.MapType():
            entries = (f"{show_value(rust.key, k)}: {show_value(rust.value, v)}" for k, v in sorted(value.items()))
            return f"{{{', '.join(entries)}}}"
        case types.TupleType():
            inner = ", ".join(show_value(item, part) for item, part in zip(rust.items, value, strict=True))
            return f"({inner},)" if len(rust.items) == 1 else f"({inner})"
        case types.BoxType():
            return show_value(rust.item, value)
        case types.OptionType():
            return "None" if value is None else f"Some({show_value(rust.item, _inside(rust.item, value))})"
        case types.ResultType():
            if isinstance(value, Ok):
                return f"Ok({show_value(rust.ok, value.value)})"
            return f"Err({show_value(rust.err, value.error)})"
        case types.StructType():
            return f"{rust.name} {_show_fields(rust.fields, value)}"
        case types.EnumType():
            variant = rust.by_member[value if isinstance(value, Enum) else type(value)]
            return f"{variant.name} {_show_fields(variant.fields, value)}" if variant.fields else variant.name
        case _:
            return repr(value)


def json_value(rust: RustType, value: Any) -> Any:
    """The value for an envelope: 64-bit and wider integers as decimal strings, bytes as hex.

    An `Option` is null or the value (nested ones: `{"Some": ...}`), a `Result` `{"Ok": ...}` or `{"Err": ...}`, a map
    with other keys than strings a list of pairs, a variant with data `{"Name": {...}}`, without data its name.
    """
    match rust:
        case types.NonZeroType():
            return json_value(rust.integer, value)
        case types.IntegerType():
            return int(value) if rust.size <= SAFE_INTEGER_BYTES else str(int(value))
        case types.FloatType():
            number = float(value)
            return number if number - number == 0 else repr(number)
        case types.ScalarType():
            return value
        case types.ArrayType() | types.VecType() if types.is_bytes(rust):
            return bytes(value).hex()
        case types.ArrayType() | types.VecType():
            return [json_value(rust.item, item) for item in value]
        case types.SetType():
            return [json_value(rust.item, item) for item in sorted(value)]
        case types.MapType() if rust.key == types.STRING:
            return {key: json_value(rust.value, item) for key, item in sorted(value.items())}
        case types.MapType():
            return [[json_value(rust.key, key), json_value(rust.value, item)] for key, item in sorted(value.items())]
        case types.TupleType():
            return [json_value(item, part) for item, part in zip(rust.items, value, strict=True)]
        case types.BoxType():
            return json_value(rust.item, value)
        case types.OptionType():
            if value is None:
                return None
            inner = json_value(rust.item, _inside(rust.item, value))
            return {"Some": inner} if types.may_be_none(rust.item) else inner
        case types.ResultType():
            if isinstance(value, Ok):
                return {"Ok": json_value(rust.ok, value.value)}
            return {"Err": json_value(rust.err, value.error)}
        case types.StructType():
            return _json_fields(rust.fields, value)
        case types.EnumType():
            variant = rust.by_member[value if isinstance(value, Enum) else type(value)]
            return {variant.name: _json_fields(variant.fields, value)} if variant.fields else variant.name
        case _:
            return repr(value)


def _inside(item: RustType, value: Any) -> Any:
    """The value inside an `Option`: wrapped in `Some` only where `None` would be ambiguous."""
    return value.value if types.may_be_none(item) else value


def _show_fields(fields: Sequence[types.Field], value: Any) -> str:
    inner = (f"{field.name}: {show_value(field.type, getattr(value, field.attribute))}" for field in fields)
    return f"{{ {', '.join(inner)} }}"


def _json_fields(fields: Sequence[types.Field], value: Any) -> dict[str, Any]:
    return {field.name: json_value(field.type, getattr(value, field.attribute)) for field in fields}
