"""A decoded WebAssembly module: what its sections declare, and where its function bodies lie."""

from __future__ import annotations

import enum
from dataclasses import dataclass


class ValueType(enum.IntEnum):
    """A value type, by its code in the binary format."""

    I32 = 0x7F
    I64 = 0x7E
    F32 = 0x7D
    F64 = 0x7C
    V128 = 0x7B
    FUNCREF = 0x70
    EXTERNREF = 0x6F


class ExternKind(enum.IntEnum):
    """What an import or export is, by its code in the binary format."""

    FUNCTION = 0
    TABLE = 1
    MEMORY = 2
    GLOBAL = 3


@dataclass(frozen=True, slots=True)
class FunctionType:
    """Parameters and results of a function."""

    params: tuple[ValueType, ...]
    results: tuple[ValueType, ...]


@dataclass(frozen=True, slots=True)
class TableType:
    """Element type of a table, and its limits in elements."""

    element: ValueType
    minimum: int
    maximum: int | None


@dataclass(frozen=True, slots=True)
class MemoryType:
    """Limits of a memory, in pages of 64 KiB, and whether its addresses are 64-bit."""

    is64: bool
    minimum: int
    maximum: int | None

    @property
    def address(self) -> ValueType:
        """The type of an address in this memory."""
        return ValueType.I64 if self.is64 else ValueType.I32


@dataclass(frozen=True, slots=True)
class GlobalType:
    """Type of a global, and whether the contract can change it."""

    value: ValueType
    mutable: bool


@dataclass(frozen=True, slots=True)
class Constant:
    """A constant expression.

    `bits` are the little-endian bytes of a number (4, 8 or 16); None for a reference, and for the value of an imported
    global, which is known only at instantiation.
    """

    type: ValueType
    bits: bytes | None


@dataclass(frozen=True, slots=True)
class Global:
    """A global that the module defines."""

    type: GlobalType
    initial: Constant


@dataclass(frozen=True, slots=True)
class Import:
    """An import; `type` fits `kind`."""

    module: str
    name: str
    kind: ExternKind
    type: FunctionType | TableType | MemoryType | GlobalType


@dataclass(frozen=True, slots=True)
class Export:
    """An export: `index` counts in the index space of its kind, imports first."""

    name: str
    kind: ExternKind
    index: int


@dataclass(frozen=True, slots=True)
class ElementSegment:
    """An element segment: `table` and `offset` are None unless it is active, `offset` also where it is no number."""

    table: int | None
    offset: int | None
    length: int


@dataclass(frozen=True, slots=True)
class DataSegment:
    """A data segment, active (written at instantiation) or passive (written by memory.init).

    `offset` is where an active one goes (unsigned), None where an imported global says it.
    """

    active: bool
    offset: int | None
    data: bytes


@dataclass(frozen=True, slots=True)
class Section:
    """A section that is not custom: its body is `data[start:end]` of the module."""

    id: int
    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """A module whose declarations are well-formed and whose indices are in range.

    Function bodies have known bounds, but are not looked into. `functions`, `tables`, `memories` and `global_types`
    are whole index spaces: imports first.
    """

    data: bytes  # the module, and zero bytes after it (leb128.PADDING)
    sections: tuple[Section, ...]
    types: tuple[FunctionType, ...]
    imports: tuple[Import, ...]
    functions: tuple[int, ...]  # type index of each
    tables: tuple[TableType, ...]
    memories: tuple[MemoryType, ...]
    global_types: tuple[GlobalType, ...]
    globals: tuple[Global, ...]
    exports: tuple[Export, ...]
    start: int | None
    elements: tuple[ElementSegment, ...]
    segments: tuple[DataSegment, ...]
    bodies: tuple[tuple[int, int], ...]  # first byte (of the local declarations) and end, of each function defined

    @property
    def imported_functions(self) -> int:
        """How many of `functions` are imports."""
        return len(self.functions) - len(self.bodies)
