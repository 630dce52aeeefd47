"""Writing the interface of a contract as JSON, which `abi_reader` reads back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from piecrust.vm.abi_model import VERSION, Abi, Function, NamedValue, Raw
from piecrust.vm.rkyv.codec import Codec
from piecrust.vm.rkyv.types import Field, NamedType, StructType


def write(abi: Abi, *, indent: int | None = None) -> str:
    """The JSON document that `parse` reads back; in one line, or indented for people."""
    document: dict[str, Any] = {"piecrust_abi": VERSION, **_given(name=abi.name, doc=abi.doc)}
    if abi.types:
        document["types"] = [_type_entry(rust) for rust in abi.types.values()]
    if abi.init is not None:
        entry = _function_entry(abi.init)
        del entry["name"]
        document["init"] = entry
    lists = {
        "functions": [_function_entry(function) for function in abi.functions.values()],
        "events": [
            {"topic": event.topic, "type": _written(event.codec), **_given(doc=event.doc)}
            for event in abi.events.values()
        ],
        "memory": [_value_entry(value) for value in abi.values.values()],
        "scratch": [{"address": part.address, "length": part.length} for part in abi.scratch],
    }
    document.update({key: entries for key, entries in lists.items() if entries})
    separators = (",", ":") if indent is None else None
    return json.dumps(document, indent=indent, separators=separators, ensure_ascii=False)


def _given(**entries: Any) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value}


def _written(codec: Codec[Any] | Raw) -> str:
    return "raw" if isinstance(codec, Raw) else str(codec.type)


def _function_entry(function: Function) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": function.name, **_given(doc=function.doc)}
    if isinstance(function.arguments, Raw):
        entry["arguments"] = "raw"
    elif function.arguments:
        entry["arguments"] = [
            {"name": argument.name, "type": str(argument.type), **_given(doc=argument.doc)}
            for argument in function.arguments
        ]
    returns = _written(function.returns)
    return {**entry, **_given(returns=returns if returns != "()" else "", query=function.query)}


def _value_entry(value: NamedValue) -> dict[str, Any]:
    place = {"symbol": value.symbol} if value.address is None else {"address": value.address}
    return {"name": value.name, **place, "type": str(value.codec.type), **_given(doc=value.doc)}


def _type_entry(rust: NamedType) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": rust.name, **_given(doc=rust.doc)}
    if isinstance(rust, StructType):
        return {**entry, **({"repr": "C"} if rust.representation == "C" else {}), "struct": _field_entries(rust.fields)}
    variants = [{"name": variant.name, **_given(fields=_field_entries(variant.fields))} for variant in rust.variants]
    return {**entry, "enum": variants}


def _field_entries(fields: Sequence[Field]) -> list[Any]:
    if fields and all(part.name.isdecimal() for part in fields):
        return [str(part.type) for part in fields]
    return [{"name": part.name, "type": str(part.type)} for part in fields]
