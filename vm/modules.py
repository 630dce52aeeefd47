"""The compile cache: a contract is validated, rewritten and compiled once, not once per session.

Compiled code is kept in memory for the process, and on disk if there is a directory for it (see `code_files`). It
depends on the contract, the rewriter, the engine with its configuration, the processor, the write tracker, and on
whether it can be interrupted: each has its part in the key.
"""

from __future__ import annotations

import functools
import os
import platform
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import wasmtime
from blake3 import blake3
from piecrust.objects.ids import BytecodeHash
from piecrust.vm import tracking
from piecrust.vm.code import Code, CodeFacts
from piecrust.vm.code_files import CodeFiles
from piecrust.vm.engine import FINGERPRINT, engine, validate
from piecrust.vm.errors import InvalidModule
from piecrust.vm.interface import accept
from piecrust.vm.rewrite import REWRITER_VERSION, rewrite

__all__ = ["Code", "Modules"]

MEMORY_BYTES_MAX: Final = 256 << 20
DISK_BYTES_MAX: Final = 1 << 30

_FORMAT = 1  # of a cached file: length of the facts (4 bytes), facts, machine code
_LENGTH_BYTES = 4

_Key = tuple[BytecodeHash, str, bool]


class Modules:
    """Compiled contracts. All of the process share one memory cache; `directory`, if given, is the disk cache.

    Safe for all threads.

    Raises:
        UnsafeCacheDirectory: the directory is somebody else's, or others may write to it.
    """

    __slots__ = ("files",)

    def __init__(self, directory: Path | None = None, *, disk_bytes_max: int = DISK_BYTES_MAX) -> None:
        self.files = None if directory is None else CodeFiles(directory, bytes_max=disk_bytes_max)

    def compile(self, wasm: bytes, bytecode: BytecodeHash | None = None, *, interruptible: bool = False) -> Code:
        """A contract's code; `bytecode` is its hash, if known.

        Takes some 0.7 milliseconds a kilobyte, or from the disk cache 1.6 milliseconds for 400 kilobytes.

        Raises:
            ContractRefused: it cannot become a contract.
        """
        key = bytecode or BytecodeHash(blake3(wasm).digest())
        return self.load(key, lambda: wasm, interruptible=interruptible)

    def load(self, bytecode: BytecodeHash, read: Callable[[], bytes], *, interruptible: bool = False) -> Code:
        """The code of a contract that was compiled before; only if no cache has it the bytecode is read."""
        key = bytecode, tracking.active(), interruptible
        code = _shared.get(key)
        if code is None:
            with _shared.making(key):
                code = _shared.get(key)
                if code is None:
                    code = self._from_file(key) or self._compile(key, read())
                    _shared.put(key, code)
        return code

    def remove(self, bytecode: BytecodeHash) -> None:
        """Forgets the compiled code of a contract, in memory and on disk. Sessions that use it keep it."""
        for tracker in tracking.NAMES:
            for interruptible in (False, True):
                key = bytecode, tracker, interruptible
                _shared.remove(key)
                if self.files is not None:
                    self.files.remove(_file_name(key))

    def recompile(self, wasm: bytes, bytecode: BytecodeHash | None = None) -> Code:
        """Compiles a contract again, whatever the caches hold.

        Raises:
            ContractRefused: it cannot become a contract.
        """
        found = bytecode or BytecodeHash(blake3(wasm).digest())
        self.remove(found)
        return self.compile(wasm, found)

    def _from_file(self, key: _Key) -> Code | None:
        if self.files is None:
            return None
        name = _file_name(key)
        content = self.files.read(name)
        if content is None:
            return None
        start = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
        try:
            module = wasmtime.Module.deserialize(engine(interruptible=key[2]), content[start:])
            facts = CodeFacts.decode(content[_LENGTH_BYTES:start])
        except (wasmtime.WasmtimeError, ValueError, KeyError, TypeError):
            self.files.remove(name)
            return None
        return Code(key[0], facts, module, interruptible=key[2], size=len(content))

    def _compile(self, key: _Key, wasm: bytes) -> Code:
        bytecode, tracker, interruptible = key
        decoded, interface = accept(wasm, validate)
        rewritten = rewrite(decoded, track_writes=tracker == "compiled")
        facts = CodeFacts.of(interface, rewritten)
        try:
            module = wasmtime.Module(engine(interruptible=interruptible), rewritten.wasm)
        except wasmtime.WasmtimeError as error:
            raise InvalidModule(str(error).split("\n", 1)[0]) from error
        size = len(rewritten.wasm)
        if self.files is not None:
            encoded = facts.encode()
            content = len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded + module.serialize()
            size = len(content)
            self.files.write(_file_name(key), content)
        return Code(bytecode, facts, module, interruptible=interruptible, size=size)


class _SharedCode:
    """The process's code in memory; the least recently used goes first."""

    def __init__(self, bytes_max: int) -> None:
        self._bytes_max = bytes_max
        self._bytes = 0
        self._codes: OrderedDict[_Key, Code] = OrderedDict()
        self._lock = threading.Lock()
        self._making: dict[_Key, threading.Lock] = {}

    def get(self, key: _Key) -> Code | None:
        with self._lock:
            code = self._codes.get(key)
            if code is not None:
                self._codes.move_to_end(key)
            return code

    def put(self, key: _Key, code: Code) -> None:
        with self._lock:
            self._codes[key] = code
            self._bytes += code.size
            while self._bytes > self._bytes_max and len(self._codes) > 1:
                self._bytes -= self._codes.popitem(last=False)[1].size

    def remove(self, key: _Key) -> None:
        with self._lock:
            code = self._codes.pop(key, None)
            if code is not None:
                self._bytes -= code.size

    @contextmanager
    def making(self, key: _Key) -> Iterator[None]:
        """One thread at a time: the others wait for what it makes."""
        with self._lock:
            lock = self._making.setdefault(key, threading.Lock())
        try:
            with lock:
                yield
        finally:
            with self._lock:
                self._making.pop(key, None)


_shared = _SharedCode(MEMORY_BYTES_MAX)


def _file_name(key: _Key) -> str:
    bytecode, tracker, interruptible = key
    parts = (_FORMAT, REWRITER_VERSION, FINGERPRINT, _processor(), tracker, interruptible, bytecode.hex())
    return blake3("\0".join(map(str, parts)).encode()).hexdigest()


@functools.cache
def _processor() -> str:
    """What distinguishes processors that run different machine code."""
    description = f"{sys.platform} {platform.machine()}"
    if sys.platform == "linux":
        with Path("/proc/cpuinfo").open("rb") as file:
            for line in file:
                if line.startswith((b"flags", b"Features")):
                    return f"{description} {line.decode(errors='replace')}"
    return f"{description} {platform.processor()}"


def _after_fork() -> None:
    """The child's engines are its own, and so must be its code."""
    global _shared
    _abandoned.append(_shared)
    _shared = _SharedCode(MEMORY_BYTES_MAX)


_abandoned: list[_SharedCode] = []  # kept: its modules belong to engines that are never deleted
os.register_at_fork(after_in_child=_after_fork)
