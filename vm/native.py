"""Which way into wasmtime this process uses, chosen by trying.

`unchecked` is the C API with plain integers, `public` wasmtime's Python classes: the same answers, ten times slower.
Linkers, which hold the host functions, are shared by all contracts of the process.
"""

from __future__ import annotations

import os
import threading
from typing import Final, Literal

import wasmtime
from piecrust.vm import host, public, unchecked
from piecrust.vm.engine import engine
from piecrust.vm.errors import ContractTrap, EngineFailure
from piecrust.vm.interface import HOST_FUNCTIONS
from piecrust.vm.mapping import GUARD_BYTES, release, reserve
from piecrust.vm.traps import failure_of

PathName = Literal["unchecked", "public"]
NAMES: Final[tuple[PathName, ...]] = ("unchecked", "public")

Linker = unchecked.Linker | public.Linker
Prepared = unchecked.Prepared | public.Prepared


_chosen: PathName | None = None
_reason: str | None = None
_lock = threading.Lock()
_linkers: dict[tuple[PathName, bool, bool, int, int], Linker] = {}
_USUAL: Final = frozenset({"env"})


def select(name: PathName | None) -> None:
    """Uses a path from here on; None: the best one that works. Code that is prepared keeps its own.

    Raises:
        ValueError: there is no path of that name.
    """
    global _chosen, _reason
    if name is not None and name not in NAMES:
        raise ValueError(f"no native path {name!r}")
    _chosen, _reason = name, None


def active() -> PathName:
    """The path in use."""
    global _chosen, _reason
    if _chosen is None:
        try:
            check()
        except EngineFailure as error:
            _chosen, _reason = "public", error.reason
        else:
            _chosen = "unchecked"
    return _chosen


def reason() -> str | None:
    """Why the fast path does not work here; None if it does, or was not tried."""
    return _reason


def check() -> None:
    """Tries what the fast path needs of the engine's private structures.

    Raises:
        EngineFailure: they are not what they were.
    """
    sizes = unchecked.EXTERN_BYTES, unchecked.EXTERN_VALUE, unchecked.VALUE_BYTES, unchecked.VALUE_BITS
    if sizes != (32, 8, 32, 8):
        raise EngineFailure(f"the engine's structures have other sizes: {sizes}")
    seen: list[object] = []

    def host_function(session: object, *arguments: int) -> int:
        seen.append((session, *arguments))
        return -3

    compiled_for = engine()
    functions = dict.fromkeys(HOST_FUNCTIONS[False], host_function)
    linker = unchecked.Linker(compiled_for, functions, is64=False, modules=_USUAL)
    tried = linker.prepare(wasmtime.Module(compiled_for, _TRIED))
    memory = _TriedMemory()
    try:
        instance = tried.instantiate([memory], "gas", (), None)
        with host.running("session"):
            instance.set_gas(1 << 63)
            found: list[object] = [instance.call("ask", 7), instance.remaining()]
            try:
                instance.call("trap", 0)
            except ContractTrap as error:
                found.append(error.reason)
        found.append(memory.length)
        instance.close()
    finally:
        release(memory.address, memory.limit + GUARD_BYTES)
    expected = [(1 << 32) - 3, (1 << 63) - 4, failure_of(9, "").args[0], 2 << 16]
    if found != expected or seen != [("session", 7, (1 << 32) - 1, 2)]:
        raise EngineFailure(f"the engine answers otherwise: {found}, {seen}")


_TRIED = """(module
  (import "env" "hq" (func $hq (param i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (global $gas (export "gas") (mut i64) (i64.const 0))
  (func (export "ask") (param i32) (result i32)
    (global.set $gas (i64.add (global.get $gas) (i64.const 4)))
    (call $hq (local.get 0) (i32.const -1) (i32.add (i32.const 1) (memory.grow (i32.const 1)))))
  (func (export "trap") (param i32) (result i32) (unreachable)))"""


class _TriedMemory:
    """A memory that is nobody's."""

    __slots__ = ("__weakref__", "address", "length", "limit")

    def __init__(self) -> None:
        self.length, self.limit = 1 << 16, 1 << 32
        self.address = reserve(self.limit + GUARD_BYTES)

    def grow(self, length: int) -> None:
        self.length = length


def linker(*, is64: bool, interruptible: bool, modules: frozenset[str]) -> Linker:
    """The host functions, for contracts that import them from modules of these names.

    Names do not matter to the original. The usual one is shared by all contracts; others are up to the contract, so
    their linkers are its own.
    """
    version, functions = host.installed()
    make = unchecked.Linker if active() == "unchecked" else public.Linker
    compiled_for = engine(interruptible=interruptible)
    if not modules <= _USUAL:
        return make(compiled_for, functions, is64=is64, modules=modules)
    key = active(), is64, interruptible, version, os.getpid()
    with _lock:
        found = _linkers.get(key)
        if found is None:
            found = _linkers[key] = make(compiled_for, functions, is64=is64, modules=_USUAL)
    return found


def _after_fork() -> None:
    """The child's engines are its own, and so are its linkers."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
