"""Turns a contract's bytecode into what is compiled: metered, with its data segments and names taken out.

Nothing is renumbered: what is added comes last in its index space. Added exports have names that begin with a NUL, and
that the contract does not export itself. Custom sections are dropped. A declared maximum of the memory is removed,
because the original ignores it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import decode as sections
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.leb128 import encode_unsigned, read_u32
from piecrust.vm.rewrite.metering import meter
from piecrust.vm.rewrite.module import Export, ExternKind, Global, MemoryType, Module, ValueType
from piecrust.vm.rewrite.segments import active_writes, empty_active
from piecrust.vm.rewrite.tracking import WriteMarks

REWRITER_VERSION = 2
"""Part of the key of compiled modules: counts up whenever `rewrite` gives other output for some input."""

DIRTY_MAP = 1  # its index among the memories
GAS_GLOBAL = b"\x7e\x01\x42\x00\x0b"  # mutable i64, 0 at first: without gas, a start function traps


RESETS_MAX = 32
"""With more mutable globals than that a new instance is quicker than setting them back."""


@dataclass(frozen=True, slots=True)
class Reset:
    """A mutable global of the contract: the name under which it is exported, and its initial value (little-endian)."""

    export: str
    type: ValueType
    bits: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Rewritten:
    """A rewritten module, and what the host must know of it.

    `segments` are bytes that the host writes at deployment, with their offsets, in order. `gas_export` names a mutable
    i64 global: minus the gas that remains. `dirty_map_export` names the memory of write marks (see `tracking`).

    `reusable` promises that an instance is as good as a fresh one once the `resets` were applied (and the gas set): the
    contract cannot change tables or drop segments, and has few mutable globals. It says nothing of memory, which the
    host keeps anyway. Without it there are no resets.
    """

    wasm: bytes
    segments: tuple[tuple[int, bytes], ...]
    gas_export: str
    dirty_map_export: str | None
    reusable: bool
    resets: tuple[Reset, ...]


def rewrite(contract: bytes | Module, *, track_writes: bool) -> Rewritten:
    """Compiles gas into a contract, and with `track_writes` also marks of what it writes.

    The contract should have been validated: what is invalid stays so, which the engine finds when it compiles.
    Raises `InvalidModule` if it is malformed, imports more than functions, or has more than one memory.
    """
    module = contract if isinstance(contract, Module) else decode(contract)
    if any(entry.kind is not ExternKind.FUNCTION for entry in module.imports):
        raise InvalidModule("only functions may be imported")
    if len(module.memories) > 1:
        raise InvalidModule("multiple memories")
    memory = module.memories[0] if module.memories else None
    marks = WriteMarks(is64=memory.is64) if memory and track_writes else None
    gas_global = len(module.global_types)
    code = meter(module, gas_global, marks)

    added = _AddedExports(module.exports)
    gas_export = added.add("gas", ExternKind.GLOBAL, gas_global)
    dirty_map_export = added.add("dirty", ExternKind.MEMORY, DIRTY_MAP) if marks else None
    resets = None if code.changes_instance else _resets(module.globals, added)

    bodies = {section.id: module.data[section.start : section.end] for section in module.sections}
    bodies[sections.GLOBAL] = _extended(bodies.get(sections.GLOBAL), [GAS_GLOBAL])
    bodies[sections.EXPORT] = _extended(bodies.get(sections.EXPORT), added.entries)
    if len(module.types) + len(code.added_types) > sections.TYPES_MAX:
        raise InvalidModule("too many types")
    if code.added_types:
        bodies[sections.TYPE] = _extended(bodies[sections.TYPE], code.added_types)
    if memory:
        bodies[sections.MEMORY] = _memories(memory, marks)
    if module.bodies:
        bodies[sections.CODE] = code.body
    if module.segments:
        bodies[sections.DATA] = empty_active(module.segments, is64=memory is not None and memory.is64)
    return Rewritten(
        wasm=_assemble(bodies),
        segments=active_writes(module.segments),
        gas_export=gas_export,
        dirty_map_export=dirty_map_export,
        reusable=resets is not None,
        resets=resets or (),
    )


class _AddedExports:
    """Exports of the host's, under names that the contract does not have."""

    def __init__(self, exports: tuple[Export, ...]) -> None:
        self.entries: list[bytes] = []
        self._taken = {export.name for export in exports}

    def add(self, name: str, kind: ExternKind, index: int) -> str:
        name = "\0" + name
        while name in self._taken:
            name = "\0" + name
        encoded = name.encode()
        self.entries.append(encode_unsigned(len(encoded)) + encoded + bytes((kind,)) + encode_unsigned(index))
        return name


def _resets(defined: tuple[Global, ...], added: _AddedExports) -> tuple[Reset, ...] | None:
    """How to set the mutable globals back; None where one of them is no number, or there are many. None is imported."""
    initial = [(index, entry.initial) for index, entry in enumerate(defined) if entry.type.mutable]
    if len(initial) > RESETS_MAX or any(constant.bits is None for _, constant in initial):
        return None
    return tuple(
        Reset(added.add(f"g{index}", ExternKind.GLOBAL, index), constant.type, constant.bits)
        for index, constant in initial
        if constant.bits is not None
    )


def _extended(body: bytes | None, entries: Sequence[bytes]) -> bytes:
    """The body of a section that is a vector, with more entries at its end."""
    count, start = read_u32(body, 0) if body else (0, 0)
    return encode_unsigned(count + len(entries)) + (body or b"")[start:] + b"".join(entries)


def _memories(memory: MemoryType, marks: WriteMarks | None) -> bytes:
    limits = (b"\x04" if memory.is64 else b"\x00") + encode_unsigned(memory.minimum)
    if marks is None:
        return b"\x01" + limits
    pages = encode_unsigned(marks.pages)
    return b"\x02" + limits + b"\x01" + pages + pages


def _assemble(bodies: dict[int, bytes]) -> bytes:
    pieces = [sections.MAGIC]
    for identifier in sections.SECTION_ORDER:
        body = bodies.get(identifier)
        if body is not None:
            pieces += bytes((identifier,)), encode_unsigned(len(body)), body
    return b"".join(pieces)
