"""Decodes a WebAssembly module strictly, from bytes that nobody vouches for.

- Everything outside of function bodies is checked, but for what only a validator of types can know. The engine
  validates the module too; neither relies on the other.
- Time and memory are linear in the length of the module; nothing recurses. `InvalidModule` is the only error.
- Only the features that contracts may use are known: no other section, type or constant expression passes.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import leb128
from piecrust.vm.rewrite.module import (
    Constant,
    DataSegment,
    ElementSegment,
    Export,
    ExternKind,
    FunctionType,
    Global,
    GlobalType,
    Import,
    MemoryType,
    Module,
    Section,
    TableType,
    ValueType,
)
from piecrust.vm.rewrite.reader import TABLE_ENTRIES_MAX, Reader

MAGIC = b"\0asm\x01\0\0\0"
CUSTOM, TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, CODE, DATA, DATA_COUNT = range(13)
SECTION_ORDER = (TYPE, IMPORT, FUNCTION, TABLE, MEMORY, GLOBAL, EXPORT, START, ELEMENT, DATA_COUNT, CODE, DATA)

# The engine has these limits, and that of the original had them. One global is kept for gas.
TYPES_MAX = FUNCTIONS_MAX = 1_000_000
GLOBALS_MAX = 1_000_000 - 1
EXPORTS_MAX = ELEMENTS_MAX = SEGMENTS_MAX = 100_000
TABLES_MAX = MEMORIES_MAX = 100
PARAMS_MAX = RESULTS_MAX = 1000

EXTERN_KINDS = {kind.value: kind for kind in ExternKind}


def decode(wasm: bytes) -> Module:
    """The module that `wasm` encodes; `InvalidModule` if it is none, or has a part that contracts may not have."""
    decoder = _Decoder(wasm)
    for section in decoder.sections:
        decoder.read(section)
    return decoder.module()


class _Decoder:
    """The module as far as it has been read: each section may refer to those before it."""

    def __init__(self, wasm: bytes) -> None:
        if not wasm.startswith(MAGIC):
            raise InvalidModule("not a WebAssembly module of version 1", 0)
        self.data = bytes(wasm) + bytes(leb128.PADDING)
        self.length = len(wasm)
        self.sections = self._sections()
        self.types: tuple[FunctionType, ...] = ()
        self.imports: tuple[Import, ...] = ()
        self.functions: list[int] = []
        self.imported_functions = 0
        self.tables: list[TableType] = []
        self.memories: list[MemoryType] = []
        self.global_types: list[GlobalType] = []
        self.imported_globals: list[GlobalType] = []
        self.globals: list[Global] = []
        self.exports: tuple[Export, ...] = ()
        self.start: int | None = None
        self.elements: tuple[ElementSegment, ...] = ()
        self.data_count: int | None = None
        self.segments: tuple[DataSegment, ...] = ()
        self.bodies: list[tuple[int, int]] = []
        self.readers: dict[int, Callable[[Reader], None]] = {
            TYPE: self._types,
            IMPORT: self._imports,
            FUNCTION: self._functions,
            TABLE: self._tables,
            MEMORY: self._memories,
            GLOBAL: self._globals,
            EXPORT: self._exports,
            START: self._start,
            ELEMENT: self._elements,
            DATA_COUNT: self._data_count,
            CODE: self._code,
            DATA: self._segments,
        }

    def _sections(self) -> tuple[Section, ...]:
        reader = Reader(self.data, len(MAGIC), self.length)
        sections, last = [], -1
        while reader.at < reader.end:
            identifier, size = reader.byte(), reader.u32()
            start = reader.at
            if size > reader.end - start:
                raise reader.error("section out of bounds")
            if identifier == CUSTOM:
                Reader(self.data, start, start + size).name()
            elif identifier not in SECTION_ORDER:
                raise reader.error(f"unknown section {identifier}")
            else:
                order = SECTION_ORDER.index(identifier)
                if order <= last:
                    raise reader.error("section out of order")
                last = order
                sections.append(Section(identifier, start, start + size))
            reader.at = start + size
        return tuple(sections)

    def read(self, section: Section) -> None:
        reader = Reader(self.data, section.start, section.end)
        self.readers[section.id](reader)
        if reader.at != section.end:
            raise reader.error("section size mismatch")

    def module(self) -> Module:
        if len(self.bodies) != len(self.functions) - self.imported_functions:
            raise InvalidModule("function and code section have inconsistent lengths")
        if self.data_count is not None and self.data_count != len(self.segments):
            raise InvalidModule("data count and data section have inconsistent lengths")
        return Module(
            data=self.data,
            sections=self.sections,
            types=self.types,
            imports=self.imports,
            functions=tuple(self.functions),
            tables=tuple(self.tables),
            memories=tuple(self.memories),
            global_types=tuple(self.global_types),
            globals=tuple(self.globals),
            exports=self.exports,
            start=self.start,
            elements=self.elements,
            segments=self.segments,
            bodies=tuple(self.bodies),
        )

    def _types(self, reader: Reader) -> None:
        def function_type() -> FunctionType:
            if reader.byte() != 0x60:
                raise reader.error("invalid function type")
            params = reader.vector(reader.value_type, PARAMS_MAX, "parameters")
            return FunctionType(params, reader.vector(reader.value_type, RESULTS_MAX, "results"))

        self.types = reader.vector(function_type, TYPES_MAX, "types")

    def _imports(self, reader: Reader) -> None:
        def entry() -> Import:
            module, name = reader.name(), reader.name()
            kind = EXTERN_KINDS.get(reader.byte())
            if kind is ExternKind.FUNCTION:
                index = self._type_index(reader)
                self.functions.append(index)
                return Import(module, name, kind, self.types[index])
            if kind is ExternKind.TABLE:
                self.tables.append(reader.table_type())
                return Import(module, name, kind, self.tables[-1])
            if kind is ExternKind.MEMORY:
                self.memories.append(reader.memory_type())
                return Import(module, name, kind, self.memories[-1])
            if kind is ExternKind.GLOBAL:
                self.global_types.append(reader.global_type())
                return Import(module, name, kind, self.global_types[-1])
            raise reader.error("invalid kind of import")

        self.imports = reader.vector(entry, FUNCTIONS_MAX, "imports")
        self.imported_functions = len(self.functions)
        self.imported_globals = self.global_types.copy()
        self._check_spaces(reader)

    def _functions(self, reader: Reader) -> None:
        self.functions += reader.vector(lambda: self._type_index(reader), FUNCTIONS_MAX, "functions")
        if len(self.functions) > FUNCTIONS_MAX:
            raise reader.error("too many functions")

    def _tables(self, reader: Reader) -> None:
        self.tables += reader.vector(reader.table_type, TABLES_MAX, "tables")
        self._check_spaces(reader)

    def _memories(self, reader: Reader) -> None:
        self.memories += reader.vector(reader.memory_type, MEMORIES_MAX, "memories")
        self._check_spaces(reader)

    def _globals(self, reader: Reader) -> None:
        def entry() -> Global:
            global_type = reader.global_type()
            initial = self._constant(reader)
            if initial.type != global_type.value:
                raise reader.error("type mismatch in the initial value of a global")
            return Global(global_type, initial)

        self.globals += reader.vector(entry, GLOBALS_MAX, "globals")
        self.global_types += [entry.type for entry in self.globals]
        self._check_spaces(reader)

    def _check_spaces(self, reader: Reader) -> None:
        for what, space, most in (
            ("tables", self.tables, TABLES_MAX),
            ("memories", self.memories, MEMORIES_MAX),
            ("globals", self.global_types, GLOBALS_MAX),
        ):
            if len(space) > most:
                raise reader.error(f"too many {what}")

    def _exports(self, reader: Reader) -> None:
        spaces = {
            ExternKind.FUNCTION: len(self.functions),
            ExternKind.TABLE: len(self.tables),
            ExternKind.MEMORY: len(self.memories),
            ExternKind.GLOBAL: len(self.global_types),
        }

        def entry() -> Export:
            name, kind, index = reader.name(), EXTERN_KINDS.get(reader.byte()), reader.u32()
            if kind is None:
                raise reader.error("invalid kind of export")
            if index >= spaces[kind]:
                raise reader.error(f"unknown {kind.name.lower()}")
            return Export(name, kind, index)

        self.exports = reader.vector(entry, EXPORTS_MAX, "exports")
        if len({export.name for export in self.exports}) != len(self.exports):
            raise reader.error("duplicate export name")

    def _start(self, reader: Reader) -> None:
        self.start = self._function_index(reader)

    def _data_count(self, reader: Reader) -> None:
        self.data_count = reader.u32()
        if self.data_count > SEGMENTS_MAX:
            raise reader.error("too many data segments")

    def _elements(self, reader: Reader) -> None:
        self.elements = reader.vector(lambda: self._element(reader), ELEMENTS_MAX, "element segments")

    def _element(self, reader: Reader) -> ElementSegment:
        """One of the eight forms: bit 0 not active, bit 1 declared or with a table index, bit 2 of expressions."""
        flags = reader.u32()
        if flags > 7:
            raise reader.error("invalid flags of an element segment")
        active, explicit, expressions = not flags & 1, flags & 2, flags & 4
        table, offset = None, None
        if active:
            table = reader.u32() if explicit else 0
            if table >= len(self.tables):
                raise reader.error("unknown table")
            offset = self._offset(reader, ValueType.I32)
        element = ValueType.FUNCREF
        if not active or explicit:
            if expressions:
                element = reader.reference_type()
            elif reader.byte() != 0:
                raise reader.error("invalid kind of element")
        if table is not None and self.tables[table].element is not element:
            raise reader.error("type mismatch between element segment and table")
        length = reader.count(TABLE_ENTRIES_MAX, "elements")
        for _ in itertools.repeat(None, length):
            if not expressions:
                self._function_index(reader)
            elif self._constant(reader).type is not element:
                raise reader.error("type mismatch in an element")
        return ElementSegment(table, offset, length)

    def _code(self, reader: Reader) -> None:
        for _ in range(reader.count(FUNCTIONS_MAX, "functions")):
            size = reader.u32()
            start = reader.at
            reader.at += size
            if reader.at > reader.end:
                raise reader.error("function body out of bounds")
            self.bodies.append((start, reader.at))

    def _segments(self, reader: Reader) -> None:
        self.segments = reader.vector(lambda: self._segment(reader), SEGMENTS_MAX, "data segments")

    def _segment(self, reader: Reader) -> DataSegment:
        mode = reader.u32()
        if mode > 2:
            raise reader.error("invalid mode of a data segment")
        offset = None
        if mode != 1:
            memory = reader.u32() if mode == 2 else 0
            if memory >= len(self.memories):
                raise reader.error("unknown memory")
            offset = self._offset(reader, self.memories[memory].address)
        return DataSegment(mode != 1, offset, reader.take(reader.u32()))

    def _offset(self, reader: Reader, address: ValueType) -> int | None:
        constant = self._constant(reader)
        if constant.type is not address:
            raise reader.error("type mismatch in the offset of a segment")
        return None if constant.bits is None else int.from_bytes(constant.bits, "little")

    def _constant(self, reader: Reader) -> Constant:
        """A constant expression of one operator; longer ones are a proposal that contracts may not use."""
        constant = self._constant_operator(reader)
        if reader.byte() != 0x0B:
            raise reader.error("extended constant expression")
        return constant

    def _constant_operator(self, reader: Reader) -> Constant:
        match reader.byte():
            case 0x41:
                return Constant(ValueType.I32, reader.signed(32).to_bytes(4, "little", signed=True))
            case 0x42:
                return Constant(ValueType.I64, reader.signed(64).to_bytes(8, "little", signed=True))
            case 0x43:
                return Constant(ValueType.F32, reader.take(4))
            case 0x44:
                return Constant(ValueType.F64, reader.take(8))
            case 0xFD:
                if reader.u32() != 12:
                    raise reader.error("invalid constant expression")
                return Constant(ValueType.V128, reader.take(16))
            case 0xD0:
                return Constant(reader.reference_type(), None)
            case 0xD2:
                self._function_index(reader)
                return Constant(ValueType.FUNCREF, None)
            case 0x23:
                index = reader.u32()
                if index >= len(self.imported_globals) or self.imported_globals[index].mutable:
                    raise reader.error("constant expression requires an imported immutable global")
                return Constant(self.imported_globals[index].value, None)
            case _:
                raise reader.error("invalid constant expression")

    def _type_index(self, reader: Reader) -> int:
        index = reader.u32()
        if index >= len(self.types):
            raise reader.error("unknown type")
        return index

    def _function_index(self, reader: Reader) -> int:
        index = reader.u32()
        if index >= len(self.functions):
            raise reader.error("unknown function")
        return index
