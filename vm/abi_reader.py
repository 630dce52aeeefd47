"""Reading the interface of a contract from JSON that may come from anybody.

The document is described in docs/abi.md. Unknown and repeated keys, wrong types of values and whatever exceeds `LIMITS`
are refused with `InvalidAbi`, whose path leads to the place.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from piecrust.vm.abi_model import (
    ADDRESS_MAX,
    INIT,
    RAW,
    VERSION,
    Abi,
    Argument,
    EventType,
    Function,
    NamedValue,
    Raw,
    ScratchRange,
    together,
)
from piecrust.vm.errors import InvalidAbi, InvalidType
from piecrust.vm.rkyv.codec import Codec, Compiler
from piecrust.vm.rkyv.dynamic import VariantFields, attribute_name, is_name, make_enum, make_struct
from piecrust.vm.rkyv.layout import TUPLE_ITEMS_MAX
from piecrust.vm.rkyv.notation import parse as parse_type
from piecrust.vm.rkyv.types import UNIT, EnumType, NamedType, Repr, RustType, StructType, is_plain

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class AbiLimits:
    """What a document may have at most."""

    bytes_max: int = 1 << 17
    functions_max: int = 1024
    types_max: int = 512
    events_max: int = 1024
    values_max: int = 1024
    scratch_max: int = 64
    fields_max: int = 256
    variants_max: int = 512
    doc_characters_max: int = 4096
    name_characters_max: int = 128
    topic_characters_max: int = 1024


LIMITS = AbiLimits()


def parse(text: str | bytes) -> Abi:
    """The interface that a JSON document describes. Raises `InvalidAbi`."""
    return _Document(_load(text)).abi()


def _load(text: str | bytes) -> Any:
    data = text.encode() if isinstance(text, str) else text
    if len(data) > LIMITS.bytes_max:
        raise InvalidAbi(f"{len(data)} bytes, at most {LIMITS.bytes_max} are read")
    try:
        return json.loads(data.decode(), object_pairs_hook=_object, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise InvalidAbi(f"not JSON: {error}"[:200]) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key twice in one object")
    return found


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is no JSON number")


class _Node:
    """A value in the document, with the path to it; reading it checks what it is."""

    def __init__(self, value: Any, path: str = "") -> None:
        self.value = value
        self.path = path

    def error(self, reason: str) -> InvalidAbi:
        return InvalidAbi(reason, self.path)

    def child(self, step: object, value: Any) -> _Node:
        return _Node(value, f"{self.path}.{step}" if self.path else str(step))

    def object(self, known: str) -> Mapping[str, _Node]:
        """The members of an object, which may be those in the list `known`; those marked * must be there."""
        if not isinstance(self.value, dict):
            raise self.error("expected an object")
        names = known.split()
        for key in self.value:
            if key not in names and f"{key}*" not in names:
                raise self.error(f"unknown key {key[:40]!r}")
        for name in names:
            if name.endswith("*") and name[:-1] not in self.value:
                raise self.error(f"lacks {name[:-1]!r}")
        return {key: self.child(key, value) for key, value in self.value.items()}

    def list(self, length_max: int) -> list[_Node]:
        if not isinstance(self.value, list):
            raise self.error("expected a list")
        if len(self.value) > length_max:
            raise self.error(f"{len(self.value)} items, at most {length_max} are allowed")
        return [self.child(index, value) for index, value in enumerate(self.value)]

    def text(self, length_max: int) -> str:
        if not isinstance(self.value, str):
            raise self.error("expected a string")
        if len(self.value) > length_max:
            raise self.error(f"{len(self.value)} characters, at most {length_max} are allowed")
        try:
            self.value.encode()
        except UnicodeEncodeError:
            raise self.error("a lone surrogate") from None
        return self.value

    def name(self) -> str:
        """A name that can be a Python attribute."""
        name = self.text(LIMITS.name_characters_max)
        if not is_name(name):
            raise self.error(f"not a name: {name!r}")
        return name

    def whole_number(self, maximum: int) -> int:
        if type(self.value) is not int or not 0 <= self.value <= maximum:
            raise self.error(f"expected a number from 0 to {maximum}")
        return self.value

    def flag(self) -> bool:
        if not isinstance(self.value, bool):
            raise self.error("expected true or false")
        return self.value


class _Document:
    """A document that is being read."""

    def __init__(self, value: Any) -> None:
        self._root = _Node(value)
        self._types: dict[str, NamedType] = {}
        self._compiler = Compiler()

    def abi(self) -> Abi:
        root = self._root.object("piecrust_abi* name doc types init functions events memory scratch")
        version = root["piecrust_abi"]
        if type(version.value) is not int or version.value != VERSION:
            raise version.error(f"version {str(version.value)[:20]} is not known, {VERSION} is")
        self._read_types(_items(root, "types", LIMITS.types_max))
        functions = [self._function(node) for node in _items(root, "functions", LIMITS.functions_max)]
        events = [self._event(node) for node in _items(root, "events", LIMITS.events_max)]
        values = [self._value(node) for node in _items(root, "memory", LIMITS.values_max)]
        return Abi(
            name=root["name"].text(LIMITS.name_characters_max) if "name" in root else "",
            doc=_doc(root),
            types=self._types,
            init=self._init(root["init"]) if "init" in root else None,
            functions=self._by_name("functions", functions, lambda function: function.name),
            events=self._by_name("events", events, lambda event: event.topic),
            values=self._by_name("memory", values, lambda value: value.name),
            scratch=tuple(_scratch(node) for node in _items(root, "scratch", LIMITS.scratch_max)),
        )

    def _by_name(self, path: str, items: Sequence[T], key: Callable[[T], str]) -> dict[str, T]:
        found: dict[str, T] = {}
        for item in items:
            if key(item) in found:
                raise InvalidAbi(f"{key(item)!r} twice", path)
            found[key(item)] = item
        return found

    def _read_types(self, nodes: Sequence[_Node]) -> None:
        """Two passes, so that types may name each other in any order: first the classes, then what is in them."""
        for node in nodes:
            members = node.object("name* doc repr struct enum")
            name = members["name"].name()
            if name in self._types:
                raise node.error(f"{name!r} twice")
            if ("struct" in members) == ("enum" in members):
                raise node.error("expected either 'struct' or 'enum'")
            if "struct" in members:
                self._types[name] = self._struct(name, members)
            else:
                self._types[name] = self._enum(name, members)
        for node, rust in zip(nodes, self._types.values(), strict=True):
            self._codec(node, rust)

    def _struct(self, name: str, members: Mapping[str, _Node]) -> StructType:
        representation: Repr = "Rust"
        if "repr" in members:
            if members["repr"].value not in ("Rust", "C"):
                raise members["repr"].error("expected 'Rust' or 'C'")
            representation = members["repr"].value
        names, types = self._fields(members["struct"])
        return make_struct(name, names, types, representation, _doc(members))

    def _enum(self, name: str, members: Mapping[str, _Node]) -> EnumType:
        if "repr" in members:
            raise members["repr"].error("enums have none")
        nodes = members["enum"].list(LIMITS.variants_max)
        if not nodes:
            raise members["enum"].error("an enum needs a variant")
        variants: list[VariantFields] = []
        for node in nodes:
            parts = node.object("name* fields")
            names, types = self._fields(parts["fields"]) if "fields" in parts else ([], tuple)
            variants.append(VariantFields(parts["name"].name(), names, types))
        _check_distinct(members["enum"], [variant.name for variant in variants])
        return make_enum(name, variants, _doc(members))

    def _fields(self, node: _Node) -> tuple[list[str], Callable[[], Sequence[RustType]]]:
        """The names of fields, and a function for their types. A list of types alone is that of a tuple struct."""
        nodes = node.list(LIMITS.fields_max)
        names, type_nodes = [], []
        for index, item in enumerate(nodes):
            if isinstance(item.value, str):
                names.append(str(index))
                type_nodes.append(item)
            else:
                parts = item.object("name* type*")
                names.append(parts["name"].name())
                type_nodes.append(parts["type"])
        _check_distinct(node, names)
        return names, lambda: [self._type(type_node) for type_node in type_nodes]

    def _type(self, node: _Node) -> RustType:
        try:
            return parse_type(node.text(LIMITS.doc_characters_max), self._types)
        except InvalidType as error:
            raise node.error(str(error)) from None

    def _codec(self, node: _Node, rust: RustType) -> Codec[Any]:
        try:
            return Codec(rust, self._compiler)
        except InvalidType as error:
            raise node.error(str(error)) from None

    def _codec_or_raw(self, node: _Node) -> Codec[Any] | Raw:
        return RAW if node.value == "raw" else self._codec(node, self._type(node))

    def _function(self, node: _Node) -> Function:
        members = node.object("name* doc arguments returns query")
        name = members["name"].text(LIMITS.name_characters_max)
        if name == INIT:
            raise members["name"].error("init is described by 'init', beside the functions")
        return self._make_function(name, members)

    def _init(self, node: _Node) -> Function:
        return self._make_function(INIT, node.object("doc arguments returns"))

    def _make_function(self, name: str, members: Mapping[str, _Node]) -> Function:
        arguments, codec = self._arguments(members["arguments"]) if "arguments" in members else ((), None)
        returns = members.get("returns")
        return Function(
            name=name,
            arguments=arguments,
            returns=self._codec_or_raw(returns) if returns is not None else Codec(UNIT, self._compiler),
            codec=codec,
            query=members["query"].flag() if "query" in members else False,
            doc=_doc(members),
        )

    def _arguments(self, node: _Node) -> tuple[tuple[Argument, ...] | Raw, Codec[Any] | None]:
        if node.value == "raw":
            return RAW, None
        arguments = []
        for item in node.list(TUPLE_ITEMS_MAX):
            parts = item.object("name* type* doc")
            codec = self._codec(parts["type"], self._type(parts["type"]))
            arguments.append(Argument(parts["name"].name(), codec, _doc(parts)))
        _check_distinct(node, [argument.name for argument in arguments])
        try:
            return tuple(arguments), together(arguments, self._compiler)
        except InvalidType as error:
            raise node.error(str(error)) from None

    def _event(self, node: _Node) -> EventType:
        members = node.object("topic* type* doc")
        topic = members["topic"].text(LIMITS.topic_characters_max)
        return EventType(topic, self._codec_or_raw(members["type"]), _doc(members))

    def _value(self, node: _Node) -> NamedValue:
        members = node.object("name* type* address symbol doc")
        if ("address" in members) == ("symbol" in members):
            raise node.error("expected either 'address' or 'symbol'")
        codec = self._codec(members["type"], self._type(members["type"]))
        if not is_plain(codec.type):
            raise members["type"].error("more than scalars lies in memory otherwise than archived")
        return NamedValue(
            name=members["name"].text(LIMITS.name_characters_max),
            codec=codec,
            address=members["address"].whole_number(ADDRESS_MAX) if "address" in members else None,
            symbol=members["symbol"].text(LIMITS.name_characters_max) if "symbol" in members else None,
            doc=_doc(members),
        )


def _items(members: Mapping[str, _Node], key: str, length_max: int) -> list[_Node]:
    return members[key].list(length_max) if key in members else []


def _doc(members: Mapping[str, _Node]) -> str:
    return members["doc"].text(LIMITS.doc_characters_max) if "doc" in members else ""


def _scratch(node: _Node) -> ScratchRange:
    members = node.object("address* length*")
    return ScratchRange(members["address"].whole_number(ADDRESS_MAX), members["length"].whole_number(ADDRESS_MAX))


def _check_distinct(node: _Node, names: Sequence[str]) -> None:
    """No two names may be one in Python, as `from` and `from_` would be."""
    attributes = [attribute_name(name) for name in names]
    for index, attribute in enumerate(attributes):
        if attribute in attributes[:index]:
            raise node.error(f"{names[index]!r} twice")
