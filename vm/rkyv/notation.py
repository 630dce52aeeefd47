"""Reads types in Rust notation: `(u64, Option<[u8; 32]>)`.

>>> parse("BTreeMap<String, Vec<(u64, bool)>>")
<rkyv BTreeMap<String, Vec<(u64, bool)>>>
>>> parse("Vec<u64")
Traceback (most recent call last):
    ...
piecrust.vm.errors.InvalidType: 'Vec<u64', character 8: expected ',' or '>', found the end

Paths are read by their last part (`std::string::String`). Named structs and enums are given by the caller. The text may
come from anybody: its length and nesting are bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NoReturn

from piecrust.objects.ids import ContractId
from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.layout import NESTING_MAX, SIZE_MAX
from piecrust.vm.rkyv.standard import DURATION, RANGE_FULL, RANGES, range_type
from piecrust.vm.rkyv.types import (
    BOOL,
    BOXED_STR,
    CHAR,
    F32,
    F64,
    INTEGERS,
    STRING,
    U8,
    UNIT,
    ArrayType,
    BoxType,
    MapType,
    NonZeroType,
    OptionType,
    ResultType,
    RustType,
    SetType,
    TupleType,
    VecType,
)

LENGTH_MAX = 4096
"""Characters of one type."""

_TOKEN = re.compile(r"\s*(?:(?P<word>[A-Za-z_][A-Za-z0-9_]*)|(?P<number>[0-9][0-9a-zA-Z_]*)|(?P<sign>::|[()\[\]<>,;]))")

_NAMED: Mapping[str, RustType] = {
    **INTEGERS,
    **{f"NonZero{name.capitalize()}": NonZeroType(integer) for name, integer in INTEGERS.items()},
    "f32": F32,
    "f64": F64,
    "bool": BOOL,
    "char": CHAR,
    "String": STRING,
    "ContractId": ArrayType(U8, 32, ContractId),
    "Duration": DURATION,
    "RangeFull": RANGE_FULL,
}

_GENERIC: Mapping[str, tuple[Callable[..., RustType], int]] = {
    "Vec": (VecType, 1),
    "Option": (OptionType, 1),
    "Result": (ResultType, 2),
    "BTreeMap": (MapType, 2),
    "BTreeSet": (SetType, 1),
}

_REFUSED = {
    "HashMap": "hash maps are not supported; contracts of piecrust-uplink have none",
    "HashSet": "hash sets are not supported; contracts of piecrust-uplink have none",
    "Rc": "shared pointers can not be serialized by contracts",
    "Arc": "shared pointers can not be serialized by contracts",
    "str": "only a Box<str> or String holds text",
}


def parse(text: str, names: Mapping[str, RustType] | None = None) -> RustType:
    """The type that a text writes; `names` are the structs and enums that it may name. Raises `InvalidType`."""
    if len(text) > LENGTH_MAX:
        raise InvalidType(text[:80], f"longer than {LENGTH_MAX} characters", LENGTH_MAX)
    parser = _Parser(text, names or {})
    rust = parser.type(0)
    parser.end()
    return rust


class _Parser:
    """A recursive-descent parser with one token of look-ahead, `symbol` at `position`; the end is the empty token."""

    def __init__(self, text: str, names: Mapping[str, RustType]) -> None:
        self._text = text
        self._names = names
        self._next = 0
        self.advance()

    def advance(self) -> str:
        """Takes the current token and reads the next one."""
        taken = getattr(self, "symbol", "")
        found = _TOKEN.match(self._text, self._next)
        if found is None:
            rest = self._text[self._next :].lstrip()
            self.position = len(self._text) - len(rest)
            if rest:
                raise InvalidType(self._text, f"unexpected {rest[0]!r}", self.position)
            self.symbol, self.kind = "", "end"
            return taken
        self.kind = found.lastgroup or ""
        self.symbol = found[self.kind]
        self.position = found.start(self.kind)
        self._next = found.end()
        return taken

    def fail(self, expected: str) -> NoReturn:
        """Raises what the current token is not."""
        found = repr(self.symbol) if self.symbol else "the end"
        raise InvalidType(self._text, f"expected {expected}, found {found}", self.position)

    def expect(self, token: str) -> None:
        """Takes a token that must be there."""
        if self.symbol != token:
            self.fail(repr(token))
        self.advance()

    def end(self) -> None:
        """Nothing may follow."""
        if self.symbol:
            self.fail("the end")

    def type(self, depth: int) -> RustType:
        """One type."""
        if depth > NESTING_MAX:
            raise InvalidType(self._text, f"more than {NESTING_MAX} levels of types", self.position)
        if self.symbol == "(":
            return self._tuple(depth + 1)
        if self.symbol == "[":
            return self._array(depth + 1)
        if self.kind == "word":
            return self._path(depth + 1)
        return self.fail("a type")

    def _tuple(self, depth: int) -> RustType:
        self.advance()
        items = []
        while self.symbol != ")":
            items.append(self.type(depth))
            if self.symbol != ",":
                if len(items) == 1 and self.symbol == ")":
                    self.fail("',' (a tuple of one item is written (T,))")
                break
            self.advance()
        self.expect(")")
        return TupleType(tuple(items)) if items else UNIT

    def _array(self, depth: int) -> RustType:
        item, length = self._brackets(depth)
        if length is None:
            raise InvalidType(self._text, "a slice exists in a Box or Vec only", self.position)
        return ArrayType(item, length)

    def _brackets(self, depth: int) -> tuple[RustType, int | None]:
        """`[T; N]`, or `[T]` without a length."""
        self.advance()
        item = self.type(depth)
        if self.symbol == "]":
            self.advance()
            return item, None
        self.expect(";")
        if self.kind != "number":
            self.fail("a length")
        position = self.position
        try:
            length = int(self.advance().removesuffix("usize").replace("_", ""), 0)
        except ValueError:
            raise InvalidType(self._text, "not a length", position) from None
        if length > SIZE_MAX:
            raise InvalidType(self._text, f"an array of more than {SIZE_MAX} items", position)
        self.expect("]")
        return item, length

    def _path(self, depth: int) -> RustType:
        position = self.position
        name = self.advance()
        while self.symbol == "::":
            self.advance()
            if self.kind != "word":
                self.fail("a name")
            position = self.position
            name = self.advance()
        if name in self._names:
            return self._names[name]
        if name == "Box":
            return self._box(depth)
        if name in _GENERIC:
            make, arity = _GENERIC[name]
            return make(*self._arguments(arity, depth))
        if name in RANGES:
            return range_type(RANGES[name], *self._arguments(1, depth))
        if name in _NAMED:
            return _NAMED[name]
        raise InvalidType(self._text, _REFUSED.get(name, f"unknown type {name!r}"), position)

    def _arguments(self, arity: int, depth: int) -> list[RustType]:
        self.expect("<")
        arguments = [self.type(depth)]
        while len(arguments) < arity:
            self.expect(",")
            arguments.append(self.type(depth))
        self._close()
        return arguments

    def _close(self) -> None:
        if self.symbol == ",":
            self.advance()
        if self.symbol != ">":
            self.fail("',' or '>'")
        self.advance()

    def _box(self, depth: int) -> RustType:
        self.expect("<")
        if self.symbol == "str":
            self.advance()
            self._close()
            return BOXED_STR
        if self.symbol == "[":
            item, length = self._brackets(depth)
            self._close()
            return VecType(item, boxed=True) if length is None else BoxType(ArrayType(item, length))
        item = self.type(depth)
        self._close()
        return BoxType(item)
