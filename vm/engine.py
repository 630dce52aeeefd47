"""The engine that compiles and runs contracts: one pinned, deterministic configuration for all of them.

- The engine's own fuel is off: gas is compiled into contracts (see `rewrite`). NaNs are canonical.
- What contracts may use is pinned, proposal by proposal, so that a new engine version cannot widen it by a default.
  A contract is validated with one memory; the rewritten one may have a second, for write marks.
- Memories are the host's (see `memory`): 4 GiB of static memory without a guard, so that loads and stores below 4 GiB
  succeed whatever the length is, and no others do.
- Private structures of wasmtime are used, therefore only majors that were tested are accepted, at import.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import threading
import weakref
from ctypes import c_void_p
from types import MethodType
from typing import TYPE_CHECKING, Any

from piecrust.vm.errors import InvalidModule, UnsupportedWasmtime
from piecrust.vm.host import active
from piecrust.vm.shield import shielded

MAJORS_TESTED = (50,)


def _installed_version() -> str:
    """The version of the wasmtime package; checked here, before anything of it is imported."""
    try:
        found = importlib.metadata.version("wasmtime")
    except importlib.metadata.PackageNotFoundError:
        found = "(not installed)"
    major = found.split(".", 1)[0]
    if not (major.isdecimal() and int(major) in MAJORS_TESTED):
        raise UnsupportedWasmtime(found, f">={MAJORS_TESTED[0]},<{MAJORS_TESTED[-1] + 1}")
    return found


WASMTIME_VERSION = _installed_version()

import wasmtime  # noqa: E402  (after the version was checked)
from wasmtime import _bindings as bindings  # noqa: E402

if TYPE_CHECKING:
    from piecrust.vm.memory import HostMemory

STACK_BYTES_MAX = 512 * 1024
"""Native stack of one store's WebAssembly, as the original's."""

RESERVATION_BYTES = 1 << 32

_REFUSED = (
    "wasm_threads", "shared_memory", "wasm_tail_call", "wasm_relaxed_simd", "wasm_function_references", "wasm_gc",
    "wasm_exceptions", "wasm_wide_arithmetic", "wasm_custom_page_sizes", "wasm_stack_switching",
    "wasm_branch_hinting", "wasm_compact_imports", "wasm_component_model",
)  # fmt: skip
_ACCEPTED = ("wasm_reference_types", "wasm_simd", "wasm_bulk_memory", "wasm_multi_value", "wasm_memory64")
_OFF = ("consume_fuel", "memory_may_move", "memory_init_cow", "native_unwind_info", "debug_info")
_ON = ("cranelift_nan_canonicalization",)
_OPTIMIZE_SPEED = 1

FINGERPRINT = "\n".join(
    (
        f"wasmtime {WASMTIME_VERSION}",
        *_REFUSED,
        "-",
        *_ACCEPTED,
        "-",
        *_OFF,
        "-",
        *_ON,
        f"{STACK_BYTES_MAX} {RESERVATION_BYTES}",
    )
)
"""What machine code depends on, besides the contract, the rewriter and the processor."""


def _configuration(*, memories: int, interruptible: bool) -> wasmtime.Config:
    config = wasmtime.Config()
    pointer = config.ptr()

    def configure(name: str, value: object) -> None:
        getattr(bindings, f"wasmtime_config_{name}_set")(pointer, value)

    settings = dict.fromkeys(_REFUSED, False) | dict.fromkeys(_ACCEPTED, True)
    settings |= dict.fromkeys(_OFF, False) | dict.fromkeys(_ON, True)
    for name, value in settings.items():
        configure(name, value)
    configure("wasm_multi_memory", memories > 1)
    configure("epoch_interruption", interruptible)
    configure("cranelift_opt_level", _OPTIMIZE_SPEED)
    configure("max_wasm_stack", STACK_BYTES_MAX)
    configure("memory_reservation", RESERVATION_BYTES)
    configure("memory_guard_size", 0)
    # The compiler's threads do not survive fork, and a child would wait for them for ever.
    configure("parallel_compilation", not _forked)
    return config


class _Creator:
    """Hands the memories of `active.making` to the engine, and tells it when they grow."""

    def __init__(self) -> None:
        self.memories: weakref.WeakValueDictionary[int, HostMemory] = weakref.WeakValueDictionary()
        self._none = ctypes.CFUNCTYPE(None, c_void_p)()
        self._get = bindings.wasmtime_memory_get_callback_t(MethodType(shielded(_Creator._size), self))
        self._grow = bindings.wasmtime_memory_grow_callback_t(MethodType(shielded(_Creator._grown), self))
        self._new = bindings.wasmtime_new_memory_callback_t(MethodType(shielded(_Creator._made), self))
        self._creator = bindings.wasmtime_memory_creator_t(None, self._new, self._none)

    def install(self, config: wasmtime.Config) -> None:
        bindings.wasmtime_config_host_memory_creator_set(config.ptr(), ctypes.byref(self._creator))

    # Callbacks: an exception that left one would be printed and lost.

    def _made(self, _env: int, _type: Any, _least: int, _most: int, _reserve: int, _guard: int, result: Any) -> int:
        try:
            memory = active.making.pop()
            self.memories[memory.address] = memory
            made = result[0]
            made.env, made.get_memory, made.grow_memory, made.finalizer = (
                memory.address, self._get, self._grow, self._none
            )  # fmt: skip
        except BaseException as error:
            active.pending = error
            return error_new(b"no memory was prepared")
        return 0

    def _size(self, env: int, size: Any, most: Any) -> int:
        try:
            self._tell(env, size, most)
        except BaseException as error:  # an interrupt; the engine needs the answer, whatever happens to the call
            active.pending = error
            self._tell(env, size, most)
        return env

    def _tell(self, env: int, size: Any, most: Any) -> None:
        memory = self.memories[env]
        size[0], most[0] = memory.length, memory.limit

    def _grown(self, env: int, length: int) -> int:
        try:
            self.memories[env].grow(length)
        except BaseException as error:
            active.pending = error
            return error_new(b"the host could not grow the memory")
        return 0


def error_new(message: bytes) -> int:
    """An engine error, as the address that a C callback returns."""
    pointer = bindings.wasmtime_error_new(ctypes.create_string_buffer(message))
    return ctypes.cast(pointer, c_void_p).value or 0


_lock = threading.Lock()
_engines: dict[bool, wasmtime.Engine] = {}
_validator: wasmtime.Engine | None = None
_forked = False
_creator = _Creator()


def engine(*, interruptible: bool = False) -> wasmtime.Engine:
    """The process's engine.

    The interruptible one checks for deadlines, which slows tight loops: it is made when the first time limit is used,
    and compiles contracts anew.
    """
    found = _engines.get(interruptible)
    if found is None:
        with _lock:
            found = _engines.get(interruptible)
            if found is None:
                config = _configuration(memories=2, interruptible=interruptible)
                _creator.install(config)
                found = _engines[interruptible] = wasmtime.Engine(config)
    return found


def validate(wasm: bytes) -> None:
    """Checks a contract, before it is rewritten, as WebAssembly with exactly the accepted features.

    Raises:
        InvalidModule: with the engine's reason.
    """
    global _validator
    with _lock:
        if _validator is None:
            _validator = wasmtime.Engine(_configuration(memories=1, interruptible=False))
    try:
        wasmtime.Module.validate(_validator, wasm)
    except wasmtime.WasmtimeError as error:
        raise InvalidModule(_first_line(error)) from error


def to_wasm(text: str) -> bytes:
    """Translates WebAssembly's text format.

    Raises:
        InvalidModule: with the parser's reason.
    """
    try:
        return bytes(wasmtime.wat2wasm(text))
    except wasmtime.WasmtimeError as error:
        raise InvalidModule(str(error)) from error


def _first_line(error: wasmtime.WasmtimeError) -> str:
    return str(error).split("\n", 1)[0]


def _after_fork() -> None:
    """A forked child makes engines of its own, which compile without threads."""
    global _forked, _validator, _lock
    _forked, _validator, _lock = True, None, threading.Lock()
    _abandoned.extend(_engines.values())
    _engines.clear()


_abandoned: list[wasmtime.Engine] = []  # kept: deleting them could wait for threads that the child does not have
os.register_at_fork(after_in_child=_after_fork)
