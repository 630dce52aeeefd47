"""Structs and enums that are described by data, not by Python source: classes are made for their values.

Names must be checked by the caller (`is_name`): they become names of classes, fields and members.
"""

from __future__ import annotations

import dataclasses
import enum
import keyword
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from piecrust.vm.rkyv.declare import Declaration, TaggedUnion, declaration
from piecrust.vm.rkyv.types import EnumType, Field, Repr, RustType, StructType, Variant

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,127}")
_RESERVED = {"mro"}

Types = Callable[[], Sequence[RustType]]
"""Gives the types of some fields when they are first needed, so that types may name each other in any order."""


@dataclass(frozen=True, slots=True)
class VariantFields:
    """A variant to be: the names of its fields, and their types."""

    name: str
    fields: Sequence[str]
    types: Types


def is_name(name: str) -> bool:
    """Whether a Rust name can be a class, field or member here: ASCII, up to 128 characters, no underscore first."""
    return _NAME.fullmatch(name) is not None and name not in _RESERVED


def attribute_name(name: str) -> str:
    """The Python attribute for a Rust name: `from` is `from_`, and the field 0 of a tuple struct is `_0`."""
    if name.isdecimal():
        return f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def make_struct(name: str, fields: Sequence[str], types: Types, representation: Repr, doc: str) -> StructType:
    """A struct type with a frozen dataclass for its values."""
    members = [(attribute_name(field), Any) for field in fields]
    cls = dataclasses.make_dataclass(name, members, frozen=True, namespace={"__doc__": doc or None})
    declared = Declaration(cls, representation)
    type.__setattr__(cls, "__rkyv__", declared)
    made = StructType(name, cls, lambda: _fields(fields, types), representation, doc=doc)
    declared.types[()] = made
    return made


def make_enum(name: str, variants: Sequence[VariantFields], doc: str) -> EnumType:
    """An enum type: an `enum.Enum` if no variant has fields, else a `TaggedUnion` with its variants as attributes."""
    cls: Any
    if any(variant.fields for variant in variants):
        cls = type(name, (TaggedUnion,), {})
        members = [_make_variant(cls, variant) for variant in variants]
        declared = declaration(cls)
        assert declared is not None
    else:
        cls = enum.EnumType.__call__(enum.Enum, name, {attribute_name(v.name): tag for tag, v in enumerate(variants)})
        members = list(cls)
        declared = Declaration(cls, "Rust", [])
        type.__setattr__(cls, "__rkyv__", declared)
    cls.__doc__ = doc or None

    def resolve() -> tuple[Variant, ...]:
        return tuple(
            Variant(variant.name, tag, _fields(variant.fields, variant.types), members[tag])
            for tag, variant in enumerate(variants)
        )

    made = EnumType(name, cls, resolve, doc)
    declared.types[()] = made
    return made


def _make_variant(union: type, variant: VariantFields) -> type:
    attribute = attribute_name(variant.name)
    annotations = {attribute_name(field): Any for field in variant.fields}
    member = type(attribute, (union,), {"__annotations__": annotations})
    type.__setattr__(union, attribute, member)
    return member


def _fields(names: Sequence[str], types: Types) -> tuple[Field, ...]:
    return tuple(Field(name, rust, attribute_name(name)) for name, rust in zip(names, types(), strict=True))
