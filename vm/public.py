"""Calls through wasmtime's public classes, and callbacks with checked values: what `unchecked` does, where that fails.

Host functions are not defined through wasmtime's classes: these keep the last exception of a callback in a global of
the process, where another thread that traps finds it. Here an exception is kept by its thread, and wasm gets a trap.
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
from piecrust.vm.unchecked import VALUE_KINDS, engine_types
from wasmtime import _ffi as ffi

if TYPE_CHECKING:
    from piecrust.vm.memory import HostMemory
    from piecrust.vm.rewrite import Reset

NAME = "public"
_NOTHING = ctypes.CFUNCTYPE(None, ctypes.c_void_p)()
_FORMS = {ValueType.I32: "<i", ValueType.I64: "<q", ValueType.F32: "<f", ValueType.F64: "<d"}


class Linker:
    """See `unchecked.Linker`."""

    def __init__(
        self, engine: wasmtime.Engine, functions: Mapping[str, HostFunction], *, is64: bool, modules: Iterable[str]
    ) -> None:
        self._engine = engine
        self._linker = wasmtime.Linker(engine)
        self._kept: list[Any] = []
        for name, declared in HOST_FUNCTIONS[is64].items():
            function_type = wasmtime.FuncType(engine_types(declared.params), engine_types(declared.results))
            callback = ffi.wasmtime_func_callback_t(_callback(functions[name], declared))
            self._kept += function_type, callback
            for module in modules:
                encoded, encoded_module = name.encode(), module.encode()
                error = ffi.wasmtime_linker_define_func(
                    self._linker.ptr(), ctypes.create_string_buffer(encoded_module), len(encoded_module),
                    ctypes.create_string_buffer(encoded), len(encoded), function_type.ptr(), callback, None, _NOTHING,
                )  # fmt: skip
                if error:
                    raise wasmtime.WasmtimeError._from_ptr(error)  # noqa: SLF001

    def prepare(self, module: wasmtime.Module) -> Prepared:
        """See `unchecked.Linker`."""
        return Prepared(self, self._engine, self._linker.instantiate_pre(module))


class Prepared:
    """See `unchecked.Linker.prepare`."""

    __slots__ = ("_engine", "_linker", "_pre")

    def __init__(self, linker: Linker, engine: wasmtime.Engine, pre: wasmtime.InstancePre) -> None:
        self._linker, self._engine, self._pre = linker, engine, pre

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

    __slots__ = ("_beyond", "_exports", "_functions", "_gas", "_resets", "_resettable", "_store")

    def __init__(
        self, store: wasmtime.Store, instance: wasmtime.Instance, gas_export: str, resets: tuple[Reset, ...]
    ) -> None:
        self._store = store
        self._exports = exports = instance.exports(store)
        self._functions: dict[str, wasmtime.Func] = {}
        self._gas = _typed(exports[gas_export], wasmtime.Global)
        self._beyond = 0
        self._resettable = all(entry.type in _FORMS for entry in resets)
        self._resets = (
            [(_typed(exports[entry.export], wasmtime.Global), _value(entry)) for entry in resets]
            if self._resettable
            else []
        )

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

    def reset(self) -> bool:
        """See `unchecked.NativeInstance`. Vectors cannot be set this way."""
        for exported, value in self._resets:
            exported.set_value(self._store, value)
        return self._resettable

    def close(self) -> None:
        """See `unchecked.NativeInstance`."""
        self._store.close()


def _run(step: Callable[[], Any]) -> Any:
    """Runs a step of the engine, and raises what really ended it."""
    try:
        result = step()
    except wasmtime.Trap as trap:
        code = trap.trap_code
        failure: BaseException = failure_of(None if code is None else code.value, trap.message)
    except wasmtime.WasmtimeError as error:
        failure = ContractTrap(str(error))
    else:
        if active.pending is None:
            return result
        failure = EngineFailure("a call went on after it was ended")
    pending, active.pending = active.pending, None
    raise pending if pending is not None else failure


def _callback(function: HostFunction, declared: FunctionType) -> Callable[..., int]:
    """What the engine calls. It returns 0 or the address of a trap."""
    wide = [type_ is ValueType.I64 for type_ in declared.params]

    def call(_environment: Any, _caller: Any, values: Any, _count: int, results: Any, _results: int) -> int:
        try:
            arguments = [
                values[n].of.i64 & 0xFFFFFFFFFFFFFFFF if is_wide else values[n].of.i32 & 0xFFFFFFFF
                for n, is_wide in enumerate(wide)
            ]
            result = function(active.session, *arguments)
            for type_ in declared.results:
                results[0].kind = VALUE_KINDS[type_]
                if type_ is ValueType.I64:
                    results[0].of.i64 = result or 0
                else:
                    results[0].of.i32 = result or 0
        except BaseException as error:
            active.pending = error
            trap = wasmtime.Trap("host")._consume()  # noqa: SLF001
            return ctypes.cast(trap, ctypes.c_void_p).value or 0
        return 0

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
