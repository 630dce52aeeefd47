"""The interface that a contract may carry: described in JSON, in its WebAssembly or in a file beside it.

With it, arguments need no types, errors name the argument, results and events are decoded. The document is described in
docs/abi.md; in a module it is the body of the custom section `piecrust-abi`.

>>> abi = parse('''{"piecrust_abi": 1, "functions": [
...     {"name": "transfer", "arguments": [{"name": "to", "type": "[u8; 32]"}, {"name": "amount", "type": "u64"}]}]}''')
>>> transfer = abi.function("transfer")
>>> print(transfer)
transfer(to: [u8; 32], amount: u64)
>>> len(transfer.encode_arguments([bytes(32), 5]))
40
>>> transfer.encode_arguments([bytes(32), "5"])
Traceback (most recent call last):
    ...
piecrust.vm.errors.InvalidArgument: argument 2: expected u64, got str
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from piecrust.vm.abi_model import (
    ADDRESS_MAX,
    INIT,
    RAW,
    Abi,
    Argument,
    EventType,
    Function,
    NamedValue,
    Raw,
    ScratchRange,
)
from piecrust.vm.abi_reader import parse
from piecrust.vm.abi_writer import write
from piecrust.vm.errors import InvalidAbi, InvalidModule
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.leb128 import PADDING, encode_unsigned, read_u32
from piecrust.vm.rewrite.module import ExternKind, Module

__all__ = [
    "RAW",
    "SECTION",
    "Abi",
    "Argument",
    "EventType",
    "Function",
    "NamedValue",
    "Raw",
    "ScratchRange",
    "attach",
    "beside",
    "detach",
    "extract",
    "parse",
    "resolve",
    "write",
]

SECTION = "piecrust-abi"
"""The name of the custom section."""

_MAGIC = b"\0asm\1\0\0\0"
_CUSTOM = 0


def extract(wasm: bytes) -> Abi | None:
    """The interface that a contract carries, None if it carries none.

    Only the frame of the module is looked at, in time linear to its length.

    Raises:
        InvalidAbi: there is a section, but what it says makes no sense; or there are two.
        InvalidModule: the bytes are not framed as a module.

    """
    found = [(start, end) for name, _, start, end in _custom_sections(wasm) if name == SECTION.encode()]
    if len(found) > 1:
        raise InvalidAbi(f"{len(found)} sections {SECTION!r}")
    return parse(wasm[found[0][0] : found[0][1]]) if found else None


def attach(wasm: bytes, abi: Abi) -> bytes:
    """The contract with this interface in it, and without another that it had.

    The contract does what it did, but as its bytecode changes, so does the id that is made from it.

    Raises:
        InvalidAbi: the interface names functions or symbols that the contract does not export.
        InvalidModule: the bytes are no module.

    """
    resolve(wasm, abi)
    name = SECTION.encode()
    body = encode_unsigned(len(name)) + name + write(abi).encode()
    return detach(wasm) + bytes([_CUSTOM]) + encode_unsigned(len(body)) + body


def detach(wasm: bytes) -> bytes:
    """The contract without the interface in it. Raises `InvalidModule` if the bytes are not framed as a module."""
    kept, position = bytearray(), 0
    for name, start, _, end in _custom_sections(wasm):
        if name == SECTION.encode():
            kept += wasm[position:start]
            position = end
    return bytes(kept) + wasm[position:]


def beside(path: Path) -> Abi | None:
    """The interface in the file beside a contract, `counter.abi.json` for `counter.wasm`; None if there is none.

    Raises `InvalidAbi`.
    """
    try:
        text = path.with_suffix(".abi.json").read_bytes()
    except FileNotFoundError:
        return None
    return parse(text)


def resolve(wasm: bytes, abi: Abi) -> Abi:
    """The interface, compared with the contract that it describes, and with the addresses of its symbols.

    Raises:
        InvalidAbi: the interface names functions or symbols that the contract does not export.
        InvalidModule: the bytes are no module.

    """
    module = decode(wasm)
    exported = {export.name for export in module.exports if export.kind is ExternKind.FUNCTION}
    for name in (*abi.functions, *((INIT,) if abi.init is not None else ())):
        if name not in exported:
            raise InvalidAbi(f"the contract exports no function {name!r}", "functions")
    if all(value.symbol is None for value in abi.values.values()):
        return abi
    symbols = _symbols(module)
    values = {}
    for name, value in abi.values.items():
        if value.symbol is not None:
            if value.symbol not in symbols:
                raise InvalidAbi(f"the contract exports no constant {value.symbol!r}", f"memory.{name}")
            value = replace(value, address=symbols[value.symbol])
        values[name] = value
    return replace(abi, values=values)


def _symbols(module: Module) -> dict[str, int]:
    """The constants that a module exports: for Rust, the addresses of `#[no_mangle]` statics."""
    imported = len(module.global_types) - len(module.globals)
    found = {}
    for export in module.exports:
        if export.kind is ExternKind.GLOBAL and export.index >= imported:
            constant = module.globals[export.index - imported]
            if not constant.type.mutable and constant.initial.bits is not None:
                address = int.from_bytes(constant.initial.bits, "little")
                if address <= ADDRESS_MAX:
                    found[export.name] = address
    return found


def _custom_sections(wasm: bytes) -> Iterator[tuple[bytes, int, int, int]]:
    """Name, start of the section, start and end of the body of each custom section."""
    if wasm[: len(_MAGIC)] != _MAGIC:
        raise InvalidModule("not a WebAssembly module", 0)
    data, position = wasm + bytes(PADDING), len(_MAGIC)
    while position < len(wasm):
        start = position
        size, position = read_u32(data, position + 1)
        end = position + size
        if end > len(wasm):
            raise InvalidModule("section out of bounds", start)
        if data[start] == _CUSTOM:
            length, position = read_u32(data, position)
            if position + length > end:
                raise InvalidModule("section name out of bounds", start)
            yield data[position : position + length], start, position + length, end
        position = end
