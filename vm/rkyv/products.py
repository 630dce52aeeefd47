"""Taking tuples, structs and arrays apart for the encoder, and putting them together for the decoder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from operator import attrgetter
from typing import Any

from piecrust.vm.rkyv.mismatch import Mismatch, describe
from piecrust.vm.rkyv.types import ArrayType, EnumType, Field, RustType, TupleType, Variant

Explode = Callable[[Any], Sequence[Any]]
"""Gives the items of a product in the order of declaration. Raises `Mismatch` for what is no such product."""

Make = Callable[[Sequence[Any]], Any]
"""Makes a product of its items."""


def tuple_exploder(rust: TupleType) -> Explode:
    """For tuples, and lists that stand for one."""
    length = len(rust.items)

    def explode(value: Any) -> Sequence[Any]:
        if not isinstance(value, tuple | list):
            raise Mismatch(str(rust), describe(value))
        if len(value) != length:
            raise Mismatch(str(rust), f"{len(value)} items")
        return value

    return explode


def array_exploder(rust: ArrayType) -> Explode:
    """For lists, tuples and other sequences but text."""
    length = rust.length

    def explode(value: Any) -> Sequence[Any]:
        items = sequence(rust, value)
        if len(items) != length:
            raise Mismatch(str(rust), f"{len(items)} items")
        return items

    return explode


def sequence(rust: RustType, value: Any) -> Sequence[Any]:
    """The value itself, if it is a sequence of items; text and bytes are not."""
    if not isinstance(value, list | tuple | Sequence) or isinstance(value, str | bytes | bytearray | memoryview):
        raise Mismatch(str(rust), describe(value))
    return value


def field_exploder(owner: str, make: type, fields: tuple[Field, ...]) -> Explode:
    """For instances of a class, and for mappings with exactly the fields' names."""
    explode_instance = attribute_getter([field.attribute for field in fields])
    explode_mapping = mapping_exploder(owner, fields)
    return lambda value: explode_instance(value) if isinstance(value, make) else explode_mapping(value)


def mapping_exploder(owner: str, fields: tuple[Field, ...]) -> Explode:
    """For mappings with exactly the fields' names."""
    names = [field.name for field in fields]

    def explode(value: Any) -> Sequence[Any]:
        if not isinstance(value, Mapping):
            raise Mismatch(owner, describe(value))
        for name in names:
            if name not in value:
                raise Mismatch(f"{owner} with a field {name!r}", "a mapping without")
        if len(value) != len(names):
            unknown = next(key for key in value if key not in names)
            raise Mismatch(owner, f"a mapping with a field {str(unknown)[:80]!r}")
        return [value[name] for name in names]

    return explode


def attribute_getter(attributes: Sequence[str]) -> Callable[[Any], Sequence[Any]]:
    """A function that gives the values of some attributes of an object."""
    if len(attributes) > 1:
        return attrgetter(*attributes)
    if attributes:
        only = attrgetter(attributes[0])
        return lambda value: (only(value),)
    return lambda _value: ()


def maker(owner: str, make: Callable[..., Any]) -> Make:
    """Makes instances of a class. What its constructor refuses with `ValueError` is a `Mismatch`."""

    def make_instance(values: Sequence[Any]) -> Any:
        try:
            return make(*values)
        except ValueError as error:
            raise Mismatch(owner, f"what it refuses ({error})") from None

    return make_instance


def variant_chooser(rust: EnumType) -> Callable[[Any], tuple[int, Sequence[Any]]]:
    """A function that gives the tag and the fields' values of an enum's value.

    Such a value is an instance of a variant's class or a member of an `enum.Enum`; or the name of a variant without
    fields; or a mapping from one variant's name to its fields (a mapping by name, or a sequence).
    """
    instances = {variant.member: variant.tag for variant in rust.variants}
    getters = [attribute_getter([field.attribute for field in variant.fields]) for variant in rust.variants]
    exploders = [mapping_exploder(f"{rust}::{variant.name}", variant.fields) for variant in rust.variants]

    def choose(value: Any) -> tuple[int, Sequence[Any]]:
        if isinstance(value, rust.make):
            tag = instances.get(value if isinstance(value, Enum) else type(value))
            if tag is not None:
                return tag, getters[tag](value)
        if isinstance(value, str):
            variant = named(value)
            if variant.fields:
                raise Mismatch(f"{rust}::{variant.name} with fields", "its name alone")
            return variant.tag, ()
        if isinstance(value, Mapping) and len(value) == 1:
            ((name, fields),) = value.items()
            variant = named(name)
            if isinstance(fields, list | tuple) and len(fields) == len(variant.fields):
                return variant.tag, fields
            return variant.tag, exploders[variant.tag](fields)
        raise Mismatch(f"a variant of {rust}", describe(value))

    def named(name: Any) -> Variant:
        variant = rust.by_name.get(name) if isinstance(name, str) else None
        if variant is None:
            raise Mismatch(f"a variant of {rust}", repr(name)[:80])
        return variant

    return choose
