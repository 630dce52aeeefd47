"""The rules that bytecode must obey to be a contract, and what the VM needs to know of one that does.

The checks come in the original's order, because a contract may break several rules at once:

1. the bytecode is a valid module: `InvalidModule`
2. it exports exactly one memory, once, and has no other: `InvalidMemory`
3. every exported function takes an i32 and returns one: `InvalidFunction`, naming it
4. every import is a host function by its name (the module's name does not matter): `InvalidFunction`, naming it
5. their types are the host's; segments fit the memory and the tables; there is no start function: `InvalidModule`
6. the export `A` is an immutable global, i32 or i64 as the memory is, and the 64 KiB from there lie within the range
   of addresses: `InvalidArgumentBuffer`

Stricter than the original: memories that are not exported, 64-bit memories that begin with more than 4 TiB, and an `A`
so close to the end of the range that its buffer would wrap around, are accepted there and corrupt it later.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from piecrust.vm.errors import InvalidArgumentBuffer, InvalidFunction, InvalidMemory, InvalidModule
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.module import ExternKind, FunctionType, MemoryType, Module, ValueType

PAGE_BYTES = 65_536
ARGUMENT_BUFFER_BYTES = 65_536
ADDRESSES_32 = 1 << 32
ADDRESSES_64 = 1 << 42

CALL_TYPE = FunctionType((ValueType.I32,), (ValueType.I32,))
"""Argument length in, result length out."""


_SIGNATURES = {  # P is an address of the contract's memory
    "c": "PPiiI i",
    "caller": " i",
    "callstack": " i",
    "emit": "Pii ",
    "feed": "i ",
    "hd": "Pi i",
    "hdebug": "i ",
    "hq": "Pii i",
    "limit": " I",
    "owner": "P i",
    "panic": "i ",
    "self_id": " ",
    "spent": " I",
}


def _host_functions(address: ValueType) -> dict[str, FunctionType]:
    types = {"i": ValueType.I32, "I": ValueType.I64, "P": address}
    return {
        name: FunctionType(*(tuple(types[letter] for letter in side) for side in signature.split(" ")))
        for name, signature in _SIGNATURES.items()
    }


HOST_FUNCTIONS = {False: _host_functions(ValueType.I32), True: _host_functions(ValueType.I64)}
"""The types of what contracts can import, by whether their memory is 64-bit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractInterface:
    """What the VM needs to know of a contract. Offsets and lengths are bytes."""

    is64: bool
    initial_length: int
    argument_offset: int
    functions: frozenset[str]
    imports: tuple[tuple[str, str], ...]  # module and name, in order


def accept(wasm: bytes, validate: Callable[[bytes], None]) -> tuple[Module, ContractInterface]:
    """Decodes and checks the bytecode of a contract that is to be deployed.

    `validate` asks the engine, which knows types, and raises `InvalidModule`. It allows one memory only, therefore
    further ones are refused before.

    Raises:
        ContractRefused: as the module's description says.
    """
    module = decode(wasm)
    if len(module.memories) > 1:
        _exported_memory(module)
    validate(wasm)
    return module, inspect(module)


def inspect(module: Module) -> ContractInterface:
    """The interface of a valid module; raises `ContractRefused` if it is no contract."""
    memory = _exported_memory(module)
    functions = _exported_functions(module)
    _check_imports(module, HOST_FUNCTIONS[memory.is64])
    _check_segments(module, memory)
    if module.start is not None:
        raise InvalidModule("a start function would run without gas")
    return ContractInterface(
        is64=memory.is64,
        initial_length=memory.minimum * PAGE_BYTES,
        argument_offset=_argument_offset(module, memory),
        functions=functions,
        imports=tuple((entry.module, entry.name) for entry in module.imports),
    )


def _exported_memory(module: Module) -> MemoryType:
    exported = sum(export.kind is ExternKind.MEMORY for export in module.exports)
    for count in (exported, len(module.memories)):
        if count != 1:
            raise InvalidMemory(f"module has {count} memories, but only one is allowed")
    memory = module.memories[0]
    if memory.minimum * PAGE_BYTES > (ADDRESSES_64 if memory.is64 else ADDRESSES_32):
        raise InvalidMemory(f"memory begins with {memory.minimum} pages, more than can be addressed")
    return memory


def _exported_functions(module: Module) -> frozenset[str]:
    names = []
    for export in module.exports:
        if export.kind is ExternKind.FUNCTION:
            if module.types[module.functions[export.index]] != CALL_TYPE:
                raise InvalidFunction(export.name, "exported functions take an i32 and return one")
            names.append(export.name)
    return frozenset(names)


def _check_imports(module: Module, host_functions: dict[str, FunctionType]) -> None:
    for entry in module.imports:
        if entry.name not in host_functions:
            raise InvalidFunction(entry.name, "no host function of this name to import")
    for entry in module.imports:
        if entry.type != host_functions[entry.name]:
            raise InvalidModule(f"incompatible import type for {entry.module}::{entry.name}")


def _check_segments(module: Module, memory: MemoryType) -> None:
    for element in module.elements:
        if element.table is not None and (
            element.offset is None or element.offset + element.length > module.tables[element.table].minimum
        ):
            raise InvalidModule("element segment out of bounds")
    for segment in module.segments:
        if segment.active and (
            segment.offset is None or segment.offset + len(segment.data) > memory.minimum * PAGE_BYTES
        ):
            raise InvalidModule("data segment out of bounds")


def _argument_offset(module: Module, memory: MemoryType) -> int:
    export = next((export for export in module.exports if export.name == "A"), None)
    if export is None or export.kind is not ExternKind.GLOBAL:
        raise InvalidArgumentBuffer("no global of this name is exported")
    entry = module.globals[export.index]
    if entry.type.mutable or entry.type.value is not memory.address or entry.initial.bits is None:
        raise InvalidArgumentBuffer(f"must be an immutable {memory.address.name.lower()}")
    offset = int.from_bytes(entry.initial.bits, "little", signed=True)
    if not 0 <= offset < (ADDRESSES_64 if memory.is64 else ADDRESSES_32) - ARGUMENT_BUFFER_BYTES:
        raise InvalidArgumentBuffer(f"at {offset} it leaves the range of addresses")
    return offset
