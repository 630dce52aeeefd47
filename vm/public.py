"""Calls and callbacks through wasmtime's public classes: what `unchecked` does, where that does not work.

wasmtime keeps the last exception of a callback in a global of the process. It is not used: exceptions are kept by the
thread, and what crosses the engine only says that there is one.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import wasmtime
from piecrust.vm.errors import ContractTrap, EngineFailure
from piecrust.vm.host import GAS_VISIBLE_MAX, HostFunction, active
from piecrust.vm.interface import HOST_FUNCTIONS
from piecrust.vm.rewrite.module import FunctionType, ValueType
from piecrust.vm.traps import failure_of
from piecrust.vm.unchecked import engine_types

if TYPE_CHECKING:
    from piecrust.vm.memory import HostMemory
    from piecrust.vm.rewrite import Reset

NAME = "public"
_FORMS = {ValueType.I32: "<i", ValueType.I64: "<q", ValueType.F32: "<f", ValueType.F64: "<d"}


class _Ended(Exception):
    """A host function ended the call."""


class Linker:
    """See `unchecked.Linker`."""

    def __init__(
        self, engine: wasmtime.Engine, functions: Mapping[str, HostFunction], *, is64: bool, modules: Iterable[str]
    ) -> None:
        self._engine = engine
        self._linker = wasmtime.Linker(engine)
        for name, declared in HOST_FUNCTIONS[is64].items():
            function_type = wasmtime.FuncType(engine_types(declared.params), engine_types(declared.results))
            for module in modules:
                self._linker.define_func(module, name, function_type, _callback(functions[name], declared))

    def prepare(self, module: wasmtime.Module) -> Prepared:
        """See `unchecked.Linker`."""
        return Prepared(self._engine, self._linker, self._linker.instantiate_pre(module))


class Prepared:
    """See `unchecked.Linker.prepare`."""

    __slots__ = ("_engine", "_linker", "_pre")

    def __init__(self, engine: wasmtime.Engine, linker: wasmtime.Linker, pre: wasmtime.InstancePre) -> None:
        self._engine, self._linker, self._pre = engine, linker, pre

    def instantiate(
        self, memories: list[HostMemory], gas_export: str, resets: tuple[Reset, ...], epochs: int | None
    ) -> NativeInstance:
        """See `unchecked.Prepared.instantiate`."""
        store = wasmtime.Store(self._engine)
        if epochs is not None:
            store.set_epoch_deadline(epochs)
        active.making = memories
        instance = _run(lambda: self._pre.instantiate(store))
        return NativeInstance(store, instance, gas_export, resets)


class NativeInstance:
    """See `unchecked.NativeInstance`."""

    __slots__ = ("_beyond", "_exports", "_functions", "_gas", "_resets", "_store")

    def __init__(
        self, store: wasmtime.Store, instance: wasmtime.Instance, gas_export: str, resets: tuple[Reset, ...]
    ) -> None:
        self._store = store
        self._exports = exports = instance.exports(store)
        self._functions: dict[str, wasmtime.Func] = {}
        self._gas = _typed(exports[gas_export], wasmtime.Global)
        self._beyond = 0
        self._resets = [(_typed(exports[entry.export], wasmtime.Global), _value(entry)) for entry in resets]

    def call(self, name: str, argument: int) -> int:
        """See `unchecked.NativeInstance`."""
        function = self._functions.get(name)
        if function is None:
            function = self._functions[name] = _typed(self._exports[name], wasmtime.Func)
        store = self._store
        return int(_run(lambda: function(store, argument))) & 0xFFFFFFFF

    def set_gas(self, remaining: int) -> None:
        """See `unchecked.NativeInstance`."""
        self._beyond = max(remaining - GAS_VISIBLE_MAX, 0)
        self._gas.set_value(self._store, self._beyond - remaining)

    def remaining(self) -> int:
        """See `unchecked.NativeInstance`."""
        return self._beyond + max(-int(self._gas.value(self._store)), 0)

    def reset(self) -> None:
        """See `unchecked.NativeInstance`."""
        for exported, value in self._resets:
            exported.set_value(self._store, value)

    def close(self) -> None:
        """See `unchecked.NativeInstance`."""
        self._store.close()


def _run(step: Callable[[], Any]) -> Any:
    """Runs a step of the engine, and raises what really ended it."""
    try:
        result = step()
    except wasmtime.Trap as trap:
        code = trap.trap_code
        failure: BaseException = failure_of(None if code is None else _code(trap), trap.message)
    except _Ended:
        failure = ContractTrap("host function failed")
    except wasmtime.WasmtimeError as error:
        failure = ContractTrap(str(error))
    else:
        if active.pending is None:
            return result
        failure = EngineFailure("unreachable")
    pending, active.pending = active.pending, None
    raise pending if pending is not None else failure


def _callback(function: HostFunction, declared: FunctionType) -> Callable[..., int | None]:
    """What wasmtime calls: with signed integers, and one result or none."""
    masks = [0xFFFFFFFF if type_ is ValueType.I32 else (1 << 64) - 1 for type_ in declared.params]
    results = declared.results
    bits = 64 if ValueType.I64 in results else 32

    def call(*arguments: int) -> int | None:
        try:
            result = function(active.session, *(a & mask for a, mask in zip(arguments, masks, strict=True)))
        except BaseException as error:
            active.pending = error
            raise _Ended from None
        if not results or result is None:
            return 0 if results else None
        result &= (1 << bits) - 1
        return result - (1 << bits) if result >> bits - 1 else result

    return call


def _typed(export: Any, kind: type[Any]) -> Any:
    if not isinstance(export, kind):
        raise EngineFailure("an export is missing")
    return export


def _value(entry: Reset) -> wasmtime.Val:
    number = struct.unpack(_FORMS[entry.type], entry.bits)[0]
    make = {
        ValueType.I32: wasmtime.Val.i32, ValueType.I64: wasmtime.Val.i64,
        ValueType.F32: wasmtime.Val.f32, ValueType.F64: wasmtime.Val.f64,
    }  # fmt: skip
    return make[entry.type](number)


def _code(trap: wasmtime.Trap) -> int | None:
    from wasmtime import _ffi as ffi

    code = ffi.wasmtime_trap_code_t()
    return int(code.value) if ffi.wasmtime_trap_code(trap.ptr(), ctypes.byref(code)) else None
