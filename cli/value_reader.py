"""Reads a value of a Rust type from the way it is typed on a command line, or printed by `value_writer`.

- The type decides what the text means: `5` for a `u64`, `some text` for a `String`, `00ff` for bytes.
- Inside of something else strings are quoted as in JSON; alone they may stand bare.

>>> from piecrust.vm.rkyv.types import INTEGERS, OptionType, TupleType, VecType, BOOL
>>> read_value(TupleType((INTEGERS["u64"], BOOL)), "(5, true)")
(5, True)
>>> read_value(VecType(OptionType(INTEGERS["i16"])), "[Some(-3), None]")
[-3, None]
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from piecrust.cli.command_errors import UsageError
from piecrust.vm.rkyv import types
from piecrust.vm.rkyv.types import RustType
from piecrust.vm.rkyv.values import Err, Ok, Some

NESTING_MAX = 64
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NUMBER = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F_]+|0[bB][01_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(
    r"[-+]?(?:inf(?:inity)?|nan|(?:[0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(?:[eE][-+]?[0-9]+)?)", re.IGNORECASE
)
_HEX = re.compile(r"(?:hex:|0x)?((?:[0-9a-fA-F]{2})*)(?![0-9a-fA-F])")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_value(rust: RustType, text: str) -> Any:
    """The Python value that `text` writes, as the codec takes it.

    Raises:
        UsageError: the text is no value of that type; the message says where it stops being one.

    """
    if rust in (types.STRING, types.BOXED_STR) and not _STRING.fullmatch(text.strip()):
        return text
    if rust == types.CHAR and len(text) == 1:
        return text
    reader = _Reader(text)
    value = reader.value(rust, 0)
    reader.end()
    return value


class _Reader:
    """A recursive-descent reader; `position` is where the unread text begins."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.position = 0

    def fail(self, expected: object) -> UsageError:
        """The error at the current position."""
        rest = self.text[self.position : self.position + 20]
        found = f"found {rest!r}" if rest else "the text ends"
        return UsageError(f"expected {expected} at character {self.position + 1} of {self.text!r}, {found}")

    def space(self) -> None:
        """Skip white space."""
        while self.position < len(self.text) and self.text[self.position].isspace():
            self.position += 1

    def accept(self, token: str) -> bool:
        """Skip `token` if it is next."""
        self.space()
        if self.text.startswith(token, self.position):
            self.position += len(token)
            return True
        return False

    def expect(self, token: str) -> None:
        """Skip `token`, which must be next."""
        if not self.accept(token):
            raise self.fail(repr(token))

    def match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        """Skip what `pattern` matches here."""
        self.space()
        found = pattern.match(self.text, self.position)
        if found is not None:
            self.position = found.end()
        return found

    def word(self, *known: str, expected: str) -> str:
        """Skip one of these words, whatever its case; the word in small letters."""
        found = self.match(_WORD)
        if found is None or found[0].lower() not in known:
            self.position = found.start() if found is not None else self.position
            raise self.fail(expected)
        return found[0].lower()

    def end(self) -> None:
        """Nothing may follow."""
        self.space()
        if self.position < len(self.text):
            raise self.fail("the end")

    def value(self, rust: RustType, depth: int) -> Any:
        """One value of type `rust`."""
        if depth > NESTING_MAX:
            raise UsageError(f"values nest deeper than {NESTING_MAX} levels")
        deeper = depth + 1
        match rust:
            case types.IntegerType() | types.NonZeroType():
                return self.integer(rust)
            case types.FloatType():
                found = self.match(_FLOAT)
                if found is None:
                    raise self.fail(rust)
                return float(found[0].replace("_", ""))
            case types.ScalarType():
                return self.scalar(rust)
            case types.ArrayType() | types.VecType() if types.is_bytes(rust):
                return self.byte_string(rust)
            case types.ArrayType() | types.VecType():
                return self.sequence("[", "]", lambda: self.value(rust.item, deeper))
            case types.SetType():
                return frozenset(self.sequence("{", "}", lambda: self.value(rust.item, deeper)))
            case types.MapType():
                return dict(self.sequence("{", "}", lambda: self.entry(rust, deeper)))
            case types.TupleType():
                return self.tuple_of(rust.items, deeper)
            case types.BoxType():
                return self.value(rust.item, deeper)
            case types.OptionType():
                return self.option(rust, deeper)
            case types.ResultType():
                return self.result(rust, deeper)
            case types.StructType():
                return self.struct(rust, deeper)
            case types.EnumType():
                return self.enum(rust, deeper)
            case _:
                raise UsageError(f"values of type {rust} cannot be written on a command line")

    def integer(self, rust: RustType) -> int:
        """A number, decimal, `0x` or `0b`."""
        found = self.match(_NUMBER)
        if found is None:
            raise self.fail(rust)
        try:
            return int(found[0].replace("_", ""), 0)
        except ValueError as error:  # 007
            raise self.fail(rust) from error

    def scalar(self, rust: types.ScalarType) -> Any:
        """A bool, a character, a unit or a quoted string."""
        if rust == types.BOOL:
            return self.word("true", "false", expected="true or false") == "true"
        if rust == types.UNIT:
            self.expect("(")
            self.expect(")")
            return None
        found = self.match(_STRING)
        if found is None:
            raise self.fail("a string in double quotes")
        try:
            return json.loads(found[0])
        except ValueError as error:
            raise self.fail("a string as JSON writes it") from error

    def byte_string(self, rust: types.ArrayType | types.VecType) -> bytes:
        """Bytes: hex digits, or numbers in brackets."""
        self.space()
        if self.text.startswith("[", self.position):
            return bytes(self.sequence("[", "]", lambda: self.byte()))
        found = self.match(_HEX)
        if found is None:
            raise self.fail(f"{rust} as hex digits")
        return bytes.fromhex(found[1])

    def byte(self) -> int:
        """A number from 0 to 255."""
        value = self.integer(types.U8)
        if not 0 <= value <= types.U8.maximum:
            raise self.fail("a byte")
        return value

    def sequence(self, opening: str, closing: str, item: Callable[[], Any]) -> list[Any]:
        """Items between brackets, separated by commas; one may follow the last."""
        self.expect(opening)
        items: list[Any] = []
        while not self.accept(closing):
            if items:
                self.expect(",")
                if self.accept(closing):
                    break
            items.append(item())
        return items

    def entry(self, rust: types.MapType, depth: int) -> tuple[Any, Any]:
        """`key: value`."""
        key = self.value(rust.key, depth)
        self.expect(":")
        return key, self.value(rust.value, depth)

    def tuple_of(self, items: tuple[RustType, ...], depth: int) -> tuple[Any, ...]:
        """`(a, b)`; the types say how many."""
        self.expect("(")
        values = []
        for index, item in enumerate(items):
            if index:
                self.expect(",")
            values.append(self.value(item, depth))
        self.accept(",")
        self.expect(")")
        return tuple(values)

    def option(self, rust: types.OptionType, depth: int) -> Any:
        """`None`, `Some(value)`, or the value alone where that can be told apart."""
        start = self.position
        word = self.match(_WORD)
        if word is not None and word[0].lower() == "none":
            return None
        if word is not None and word[0].lower() == "some":
            self.expect("(")
            value = self.value(rust.item, depth)
            self.expect(")")
            return Some(value) if types.may_be_none(rust.item) else value
        self.position = start
        if types.may_be_none(rust.item):
            raise self.fail("None or Some(...)")
        return self.value(rust.item, depth)

    def result(self, rust: types.ResultType, depth: int) -> Any:
        """`Ok(value)` or `Err(value)`."""
        fine = self.word("ok", "err", expected="Ok(...) or Err(...)") == "ok"
        self.expect("(")
        value = self.value(rust.ok if fine else rust.err, depth)
        self.expect(")")
        return Ok(value) if fine else Err(value)

    def named_fields(self, fields: tuple[types.Field, ...], depth: int) -> list[Any]:
        """`{ name: value, ... }`, each field once, in any order."""
        types_by_name = {field.name: field.type for field in fields}
        found: dict[str, Any] = {}

        def one() -> None:
            word = self.match(_WORD)
            if word is None or word[0] not in types_by_name or word[0] in found:
                raise self.fail(f"one of {', '.join(name for name in types_by_name if name not in found) or 'no more'}")
            self.expect(":")
            found[word[0]] = self.value(types_by_name[word[0]], depth)

        self.sequence("{", "}", one)
        missing = [name for name in types_by_name if name not in found]
        if missing:
            raise self.fail(f"the field {missing[0]}")
        return [found[name] for name in types_by_name]

    def fields(self, fields: tuple[types.Field, ...], depth: int) -> list[Any]:
        """Fields by name in braces, or in order in parentheses."""
        self.space()
        if self.text.startswith("(", self.position):
            return list(self.tuple_of(tuple(field.type for field in fields), depth))
        return self.named_fields(fields, depth)

    def struct(self, rust: types.StructType, depth: int) -> Any:
        """`Name { field: value }`, the name may be left out."""
        self.accept(rust.name)
        return rust.make(*self.fields(rust.fields, depth))

    def enum(self, rust: types.EnumType, depth: int) -> Any:
        """`Variant`, `Variant(value)` or `Variant { field: value }`."""
        word = self.match(_WORD)
        variant = rust.by_name.get(word[0]) if word is not None else None
        if variant is None:
            self.position -= len(word[0]) if word is not None else 0
            raise self.fail(f"one of {', '.join(rust.by_name)}")
        if not variant.fields:
            return variant.member() if isinstance(variant.member, type) else variant.member
        assert isinstance(variant.member, type), "a variant with fields has a class"
        return variant.member(*self.fields(variant.fields, depth))
