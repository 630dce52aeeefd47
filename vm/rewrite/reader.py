"""Reads the parts that sections are made of: numbers, vectors, names and types."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import leb128
from piecrust.vm.rewrite.module import GlobalType, MemoryType, TableType, ValueType

T = TypeVar("T")

# The engine's limits.
STRING_BYTES_MAX = 100_000
TABLE_ENTRIES_MAX = 10_000_000
MEMORY32_PAGES_MAX, MEMORY64_PAGES_MAX = 1 << 16, 1 << 48

VALUE_TYPES = {value_type.value: value_type for value_type in ValueType}
REFERENCES = (ValueType.FUNCREF, ValueType.EXTERNREF)


class Reader:
    """Reads forward through `data[at:end]`; past `end` is an error."""

    __slots__ = ("at", "data", "end")

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self.data = data
        self.at = at
        self.end = end

    def error(self, reason: str) -> InvalidModule:
        """What to raise about the bytes just read."""
        return InvalidModule(reason, self.at)

    def byte(self) -> int:
        """One byte."""
        if self.at >= self.end:
            raise self.error("unexpected end")
        self.at += 1
        return self.data[self.at - 1]

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        if length > self.end - self.at:
            raise self.error("unexpected end")
        self.at += length
        return self.data[self.at - length : self.at]

    def u32(self) -> int:
        """An unsigned 32-bit integer."""
        value, at = leb128.read_u32(self.data, self.at)
        return self._moved(value, at)

    def u64(self) -> int:
        """An unsigned 64-bit integer."""
        value, at = leb128.read_u64(self.data, self.at)
        return self._moved(value, at)

    def signed(self, bits: int) -> int:
        """A signed integer of `bits` bits."""
        value, at = leb128.read_signed(self.data, self.at, bits)
        return self._moved(value, at)

    def _moved(self, value: int, at: int) -> int:
        if at > self.end:
            raise self.error("unexpected end")
        self.at = at
        return value

    def count(self, most: int, what: str) -> int:
        """The length of a vector. It may promise more than there is: nothing is made before it has been read."""
        count = self.u32()
        if count > most:
            raise self.error(f"too many {what}")
        return count

    def vector(self, read: Callable[[], T], most: int, what: str) -> tuple[T, ...]:
        """A vector of at most `most` things, each had by `read`."""
        return tuple([read() for _ in range(self.count(most, what))])

    def name(self) -> str:
        """A string."""
        length = self.u32()
        if length > STRING_BYTES_MAX:
            raise self.error("string too long")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise InvalidModule("malformed UTF-8", self.at) from error

    def value_type(self) -> ValueType:
        """A value type."""
        value_type = VALUE_TYPES.get(self.byte())
        if value_type is None:
            raise self.error("invalid value type")
        return value_type

    def reference_type(self) -> ValueType:
        """A value type that is a reference."""
        value_type = self.value_type()
        if value_type not in REFERENCES:
            raise self.error("invalid reference type")
        return value_type

    def table_type(self) -> TableType:
        """The type of a table."""
        element, flags = self.reference_type(), self.byte()
        if flags > 1:
            raise self.error("shared and 64-bit tables are not supported")
        minimum = self.u32()
        maximum = self.u32() if flags else None
        if minimum > TABLE_ENTRIES_MAX:
            raise self.error("table too large")
        if maximum is not None and maximum < minimum:
            raise self.error("size minimum must not be greater than maximum")
        return TableType(element, minimum, maximum)

    def memory_type(self) -> MemoryType:
        """The type of a memory."""
        flags = self.byte()
        if flags & ~5:
            raise self.error("shared memories and custom page sizes are not supported")
        is64 = bool(flags & 4)
        read, pages_max = (self.u64, MEMORY64_PAGES_MAX) if is64 else (self.u32, MEMORY32_PAGES_MAX)
        minimum = read()
        maximum = read() if flags & 1 else None
        if max(minimum, maximum or 0) > pages_max:
            raise self.error("memory too large")
        if maximum is not None and maximum < minimum:
            raise self.error("size minimum must not be greater than maximum")
        return MemoryType(is64, minimum, maximum)

    def global_type(self) -> GlobalType:
        """The type of a global."""
        value, mutable = self.value_type(), self.byte()
        if mutable > 1:
            raise self.error("invalid mutability")
        return GlobalType(value, bool(mutable))
