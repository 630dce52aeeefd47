"""A small contract that touches its memory as it is told, and what is needed to run it without a session."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from piecrust.vm import host
from piecrust.vm.code import Code
from piecrust.vm.contents import PAGE_BYTES
from piecrust.vm.engine import to_wasm
from piecrust.vm.instance import Instance
from piecrust.vm.interface import HOST_FUNCTIONS
from piecrust.vm.memory import Memory, PageSource
from piecrust.vm.modules import Modules
from piecrust.vm.undo import UndoLog

ARGUMENT = 65_536
GAS = 1 << 40


def scratch_wat(*, is64: bool = False, pages: int = 4) -> str:
    """The text of the contract. Arguments lie in its buffer, 8 bytes each: address, value or length, byte."""
    pointer, kind = ("i64", "i64 ") if is64 else ("i32", "")
    arg = [f"({pointer}.load ({pointer}.const {ARGUMENT + 8 * n}))" for n in range(3)]
    byte = f"(i32.load8_u ({pointer}.const {ARGUMENT + 16}))"
    result = "(i32.wrap_i64 {})" if is64 else "{}"

    def function(name: str, body: str) -> str:
        return f'(func (export "{name}") (param i32) (result i32) {body})'

    functions = [
        function("store", f"(i64.store {arg[0]} (i64.load ({pointer}.const {ARGUMENT + 8}))) (i32.const 0)"),
        function("load", f"(i64.store ({pointer}.const {ARGUMENT}) (i64.load {arg[0]})) (i32.const 8)"),
        function("fill", f"(memory.fill {arg[0]} {byte} {arg[1]}) (i32.const 0)"),
        function("copy", f"(memory.copy {arg[0]} {arg[1]} {arg[2]}) (i32.const 0)"),
        function("grow", result.format(f"(memory.grow {arg[0]})")),
        function("size", result.format("(memory.size)")),
        function("trap", "(unreachable)"),
        function("count", "(global.set $n (i32.add (global.get $n) (i32.const 1))) (global.get $n)"),
        function("spin", "(loop (br 0)) (unreachable)"),
        function("recurse", "(i32.add (call $recurse (local.get 0)) (i32.const 1))").replace("(func", "(func $recurse"),
        function("ask", f"(call $hq {arg[0]} (i32.const 4) (local.get 0))"),
        function("load_and_ask", f"(drop (i64.load {arg[0]})) (call $hq {arg[0]} (i32.const 4) (local.get 0))"),
        function("limit", "(i32.wrap_i64 (call $limit))"),
    ]
    return f"""(module
      (import "env" "hq" (func $hq (param {pointer} i32 i32) (result i32)))
      (import "env" "limit" (func $limit (result i64)))
      (memory (export "memory") {kind}{pages})
      (global (export "A") {pointer} ({pointer}.const {ARGUMENT}))
      (global $n (mut i32) (i32.const 0))
      {" ".join(functions)})"""


def scratch_code(*, is64: bool = False, pages: int = 4, interruptible: bool = False) -> Code:
    """The contract, compiled for the tracker in use."""
    return Modules().compile(to_wasm(scratch_wat(is64=is64, pages=pages)), interruptible=interruptible)


class Pages:
    """A base state made of a few pages."""

    def __init__(self, pages: Mapping[int, bytes] | None = None) -> None:
        self.pages = dict(pages or {})
        self.read: list[int] = []

    def page(self, index: int) -> bytes | None:
        self.read.append(index)
        return self.pages.get(index)

    def indices(self, at_most: int) -> Sequence[int] | None:
        return sorted(self.pages) if len(self.pages) <= at_most else None

    def last(self) -> int:
        return max(self.pages, default=-1)


def page(seed: int) -> bytes:
    """A page whose bytes differ from those of every other seed, granule by granule."""
    return b"".join(struct.pack("<II", seed, at) for at in range(0, PAGE_BYTES, 8))


class Scratch:
    """The contract in a session of its own, which is nothing but an undo log."""

    def __init__(self, base: PageSource | None = None, *, pages: int = 4, is64: bool = False) -> None:
        self.code = scratch_code(is64=is64, pages=pages)
        self.memory = Memory(self.code.kind, self.code.initial_length, base)
        self.log = UndoLog()
        self.memory.log = self.log
        self.instance = Instance(self.code, self.memory)

    def call(self, function: str, *arguments: int) -> int:
        """Calls a function with numbers in the argument buffer."""
        if arguments:
            self.memory.write(self.code.argument, struct.pack(f"<{len(arguments)}Q", *arguments))
        self.instance.set_gas(GAS)
        return self.instance.call(function, 8 * len(arguments))

    def store(self, at: int, value: int) -> None:
        self.call("store", at, value)

    def load(self, at: int) -> int:
        """The eight bytes at an address, as the contract sees them."""
        self.call("load", at)
        return int.from_bytes(self.memory.read(self.code.argument, 8), "little")

    def renew(self) -> None:
        """Exchanges the instance for a fresh one."""
        self.instance.close()
        self.instance = Instance(self.code, self.memory)

    def close(self) -> None:
        self.instance.close()
        self.memory.close()


@contextmanager
def host_functions(**functions: Callable[..., int | None]) -> Iterator[None]:
    """Installs host functions, those that are not given answer 0; puts back what was there."""
    before = dict(host._functions)
    table: dict[str, host.HostFunction] = dict.fromkeys(HOST_FUNCTIONS[False], lambda *_: 0)
    host.install({**table, **functions})
    try:
        yield
    finally:
        if before:
            host.install(before)
