"""Calls and callbacks through wasmtime's C API with plain integers: some fifteen times faster than its Python classes.

The engine's private structures are used: their sizes, and the layout of values. `native` runs a self-test before it
chooses this path, and has the same path through wasmtime's public classes beside it.

- Short functions keep the GIL (a switch of threads costs more than they do). Calls into WebAssembly give it up.
- Callbacks return 0 or the address of a trap, never None: ctypes would print an error at each call.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable, Iterable, Mapping
from ctypes import c_bool, c_char_p, c_int64, c_size_t, c_ubyte, c_uint64, c_void_p
from typing import TYPE_CHECKING, Any

import wasmtime
from piecrust.vm.errors import ContractTrap, EngineFailure
from piecrust.vm.host import GAS_VISIBLE_MAX, HostFunction, active
from piecrust.vm.interface import HOST_FUNCTIONS
from piecrust.vm.mapping import SPACE, WORDS
from piecrust.vm.rewrite.module import ValueType
from piecrust.vm.shield import shielded
from piecrust.vm.traps import failure_of
from wasmtime import _ffi as ffi

if TYPE_CHECKING:
    from piecrust.vm.memory import HostMemory
    from piecrust.vm.rewrite import Reset

_quick, _slow = ctypes.PyDLL(ffi.dll._name), ctypes.CDLL(ffi.dll._name)  # noqa: SLF001  (the library's path)


def _function(library: ctypes.CDLL, name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
    found = library[name]
    found.restype, found.argtypes = result, arguments
    return found


_P = c_void_p
_store_new = _function(_quick, "wasmtime_store_new", _P, _P, _P, _P)
_store_context = _function(_quick, "wasmtime_store_context", _P, _P)
_store_delete = _function(_quick, "wasmtime_store_delete", None, _P)
_set_epoch_deadline = _function(_quick, "wasmtime_context_set_epoch_deadline", None, _P, c_uint64)
_instantiate = _function(_quick, "wasmtime_instance_pre_instantiate", _P, _P, _P, _P, _P)
_export_get = _function(_quick, "wasmtime_instance_export_get", c_bool, _P, _P, c_char_p, c_size_t, _P)
_global_get = _function(_quick, "wasmtime_global_get", None, _P, _P, _P)
_global_set = _function(_quick, "wasmtime_global_set", _P, _P, _P, _P)
_call = _function(_slow, "wasmtime_func_call_unchecked", _P, _P, _P, _P, c_size_t, _P)
_trap_new = _function(_quick, "wasmtime_trap_new", _P, c_char_p, c_size_t)
_trap_delete = _function(_quick, "wasm_trap_delete", None, _P)
_trap_code = _function(_quick, "wasmtime_trap_code", c_bool, _P, _P)
_trap_message = _function(_quick, "wasm_trap_message", None, _P, _P)
_error_message = _function(_quick, "wasmtime_error_message", None, _P, _P)
_error_delete = _function(_quick, "wasmtime_error_delete", None, _P)
_bytes_delete = _function(_quick, "wasm_byte_vec_delete", None, _P)
_define = _function(
    _quick, "wasmtime_linker_define_func_unchecked",
    _P, _P, c_char_p, c_size_t, c_char_p, c_size_t, _P, _P, _P, _P,
)  # fmt: skip
_Callback = ctypes.CFUNCTYPE(c_size_t, c_size_t, c_size_t, c_size_t, c_size_t)

EXTERN_BYTES, EXTERN_VALUE = ctypes.sizeof(ffi.wasmtime_extern_t), ffi.wasmtime_extern_t.of.offset
VALUE_BYTES, VALUE_BITS = ctypes.sizeof(ffi.wasmtime_val_t), ffi.wasmtime_val_t.of.offset
_RAW_BYTES = ctypes.sizeof(ffi.wasmtime_val_raw_t)
VALUE_KINDS = {ValueType.I32: 0, ValueType.I64: 1, ValueType.F32: 2, ValueType.F64: 3, ValueType.V128: 4}  # in a value
_KIND_I64 = 1
_UNPACK_CODE = {ValueType.I32: "I", ValueType.I64: "Q"}

NAME = "unchecked"


class Linker:
    """The host functions, for contracts of one kind of memory in one engine, under each of some module names."""

    def __init__(
        self, engine: wasmtime.Engine, functions: Mapping[str, HostFunction], *, is64: bool, modules: Iterable[str]
    ) -> None:
        self.engine_address = _address(engine.ptr())
        self._linker = wasmtime.Linker(engine)
        self._kept: list[Any] = []
        linker = _address(self._linker.ptr())
        for name, declared in HOST_FUNCTIONS[is64].items():
            function_type = wasmtime.FuncType(engine_types(declared.params), engine_types(declared.results))
            callback = _Callback(_callback(functions[name], declared.params))
            self._kept += function_type, callback
            for module in modules:
                encoded, encoded_module = name.encode(), module.encode()
                error = _define(
                    linker, encoded_module, len(encoded_module), encoded, len(encoded),
                    _address(function_type.ptr()), ctypes.cast(callback, _P), None, None,
                )  # fmt: skip
                if error:
                    raise EngineFailure(_take_error(error))

    def prepare(self, module: wasmtime.Module) -> Prepared:
        """A module whose imports are resolved, ready to be instantiated often.

        Raises:
            wasmtime.WasmtimeError: an import is unknown or has another type.
        """
        return Prepared(self, self._linker.instantiate_pre(module))


class Prepared:
    """See `Linker.prepare`."""

    __slots__ = ("_linker", "_pre", "address", "engine_address")

    def __init__(self, linker: Linker, pre: wasmtime.InstancePre) -> None:
        self._linker, self._pre = linker, pre
        self.engine_address = linker.engine_address
        self.address = _address(pre.ptr())

    def instantiate(
        self, memories: list[HostMemory], gas_export: str, resets: tuple[Reset, ...], epochs: int | None
    ) -> NativeInstance:
        """A store with an instance over the host's memories, the first one last.

        `epochs`: after how many ticks of an interruptible engine it is interrupted.

        Raises:
            ContractTrap: its start function or a segment trapped.
        """
        return NativeInstance(self, memories, gas_export, resets, epochs)


class NativeInstance:
    """A store with one instance in it, both gone after `close`."""

    __slots__ = (
        "_arguments", "_arguments_address", "_beyond", "_context", "_functions", "_gas", "_gas_address", "_instance",
        "_kept", "_prepared", "_resets", "_resets_asked", "_store", "_trap", "_trap_address", "_value",
        "_value_address", "_value_bits",
    )  # fmt: skip

    def __init__(
        self,
        prepared: Prepared,
        memories: list[HostMemory],
        gas_export: str,
        resets: tuple[Reset, ...],
        epochs: int | None,
    ) -> None:
        self._prepared = prepared
        self._store = _store_new(prepared.engine_address, None, None)
        self._context = _store_context(self._store)
        if epochs is not None:
            _set_epoch_deadline(self._context, epochs)
        self._instance = (c_uint64 * 2)()
        self._trap = c_uint64()
        self._trap_address = ctypes.addressof(self._trap)
        active.making = memories
        error = _instantiate(prepared.address, self._context, ctypes.addressof(self._instance), self._trap_address)
        if error or self._trap.value:
            try:
                raise self._failure(error)
            finally:
                self.close()
        self._functions: dict[str, tuple[int, Any]] = {}
        self._gas = self._export(gas_export)
        self._gas_address = ctypes.addressof(self._gas)
        self._value = (c_ubyte * VALUE_BYTES)(_KIND_I64)
        self._value_address = ctypes.addressof(self._value)
        self._value_bits = c_int64.from_address(self._value_address + VALUE_BITS)
        self._arguments = (c_int64 * (_RAW_BYTES // 8))()
        self._arguments_address = ctypes.addressof(self._arguments)
        self._beyond = 0
        self._resets_asked = resets
        self._resets: list[tuple[int, int]] | None = None
        self._kept: list[Any] = []  # what the addresses in `_resets` are of

    def call(self, name: str, argument: int) -> int:
        """Calls an exported function that takes and returns an i32; the result is unsigned."""
        function = self._functions.get(name)
        if function is None:
            export = self._export(name)
            function = self._functions[name] = (ctypes.addressof(export), export)
        arguments = self._arguments
        arguments[0] = argument
        error = _call(self._context, function[0], self._arguments_address, 1, self._trap_address)
        if error or self._trap.value or active.pending is not None:
            raise self._failure(error)
        return int(arguments[0]) & 0xFFFFFFFF

    def set_gas(self, remaining: int) -> None:
        """Sets what the contract may spend, up to 2**64 - 1: the contract sees 2**63 - 1 of it."""
        self._beyond = remaining - GAS_VISIBLE_MAX if remaining > GAS_VISIBLE_MAX else 0
        self._value_bits.value = self._beyond - remaining
        _global_set(self._context, self._gas_address, self._value_address)

    def remaining(self) -> int:
        """What the contract may still spend."""
        _global_get(self._context, self._gas_address, self._value_address)
        used_up = self._value_bits.value
        return self._beyond - used_up if used_up < 0 else self._beyond

    def reset(self) -> bool:
        """Sets the contract's own globals back to their initial values; False if that cannot be done."""
        if self._resets is None:
            self._resets = []
            for entry in self._resets_asked:
                export = self._export(entry.export)
                value = (c_ubyte * VALUE_BYTES)(VALUE_KINDS[entry.type])
                ctypes.memmove(ctypes.addressof(value) + VALUE_BITS, entry.bits, len(entry.bits))
                self._resets.append((ctypes.addressof(export), ctypes.addressof(value)))
                self._kept += export, value
        for export_address, value_address in self._resets:
            _global_set(self._context, export_address, value_address)
        return True

    def close(self) -> None:
        """Deletes the store. The host's memories stay."""
        store, self._store = self._store, 0  # first, so that an interrupt never makes it be deleted twice
        if store:
            _store_delete(store)

    def __del__(self) -> None:
        if getattr(self, "_store", None):
            self.close()

    def _export(self, name: str) -> ctypes.Array[ctypes.c_char]:
        encoded = name.encode()
        extern = ctypes.create_string_buffer(EXTERN_BYTES)
        found = _export_get(
            self._context, ctypes.addressof(self._instance), encoded, len(encoded), ctypes.addressof(extern)
        )
        if not found:
            raise EngineFailure(f"no export {name!r}")
        return ctypes.create_string_buffer(extern.raw[EXTERN_VALUE:], EXTERN_BYTES - EXTERN_VALUE)

    def _failure(self, error: int | None) -> BaseException:
        """What ended a call: the exception of a host function if there is one. Frees what the engine gave."""
        pending, active.pending = active.pending, None
        trap, self._trap.value = self._trap.value, 0
        if pending is None:
            return ContractTrap(_take_error(error)) if error else _take_trap(trap)
        if error:
            _error_delete(error)
        if trap:
            _trap_delete(trap)
        return pending


def _callback(function: HostFunction, parameters: Iterable[ValueType]) -> Callable[[int, int, int, int], int]:
    """What the engine calls: reads the arguments, writes the result over the first one."""
    form = struct.Struct(
        "<" + "".join(_UNPACK_CODE[p] + f"{_RAW_BYTES - struct.calcsize(_UNPACK_CODE[p])}x" for p in parameters)
    )
    unpack, size, state, space, words = form.unpack, form.size, active, SPACE, WORDS

    def call(_environment: int, _caller: int, values: int, _count: int) -> int:
        try:
            result = (
                function(state.session, *unpack(space[values : values + size])) if size else function(state.session)
            )
            if result is not None:
                words[values >> 3] = result if result < 1 << 63 else result - (1 << 64)
        except BaseException as error:
            state.pending = error
            return _host_trap()
        return 0

    return shielded(call)


def _host_trap() -> int:
    """What a callback returns to end the call that it is part of."""
    try:
        trap: int = _trap_new(b"host", 4)
    except BaseException as error:  # a second interrupt: it must not leave the callback either
        active.pending = error
        trap = _trap_new(b"host", 4)
    return trap


def engine_types(types: Iterable[ValueType]) -> list[wasmtime.ValType]:
    """Integer types, as the engine has them."""
    return [wasmtime.ValType.i64() if type_ is ValueType.I64 else wasmtime.ValType.i32() for type_ in types]


def _address(pointer: Any) -> int:
    return ctypes.cast(pointer, c_void_p).value or 0


def _take_trap(trap: int) -> Exception:
    code = c_ubyte()
    has_code = _trap_code(trap, ctypes.addressof(code))
    failure = failure_of(code.value if has_code else None, "" if has_code else _take_text(_trap_message, trap))
    _trap_delete(trap)
    return failure


def _take_error(error: int) -> str:
    message = _take_text(_error_message, error)
    _error_delete(error)
    return message


def _take_text(read: Callable[[int, int], None], source: int) -> str:
    vector = (c_uint64 * 2)()
    read(source, ctypes.addressof(vector))
    text = SPACE[vector[1] : vector[1] + vector[0]].decode(errors="replace").rstrip("\0")
    _bytes_delete(ctypes.addressof(vector))
    return text
