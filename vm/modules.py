"""Contracts' code, compiled once: in memory and on disk."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import wasmtime
from blake3 import blake3
from piecrust.vm import native, tracking
from piecrust.vm.contents import PAGE_BYTES
from piecrust.vm.engine import engine, validate
from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import Reset, Rewritten, rewrite
from piecrust.vm.rewrite.module import ExternKind


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFacts:
    """What the host must know of a rewritten contract, besides its machine code."""

    kind: int
    initial_length: int
    argument: int
    functions: frozenset[str]
    segments: tuple[tuple[int, bytes], ...]
    gas_export: str
    reusable: bool
    resets: tuple[Reset, ...]


class Code:
    """A compiled contract."""

    __slots__ = ("_lock", "_module", "_prepared", "facts", "functions", "hash", "interruptible", "reusable", "size")

    def __init__(
        self, hash_: bytes, facts: CodeFacts, module: wasmtime.Module, *, interruptible: bool, size: int
    ) -> None:
        self.hash, self.facts, self.interruptible, self.size = hash_, facts, interruptible, size
        self.functions, self.reusable = facts.functions, facts.reusable
        self._module = module
        self._prepared: dict[str, Any] = {}
        self._lock = threading.Lock()

    @property
    def kind(self) -> int:
        """32 or 64: bits of its memory's addresses."""
        return self.facts.kind

    @property
    def initial_length(self) -> int:
        """Bytes that its memory has at deployment."""
        return self.facts.initial_length

    @property
    def argument(self) -> int:
        """Offset of the argument buffer."""
        return self.facts.argument

    def prepared(self) -> native.Prepared:
        """Ready to be instantiated, on the native path in use."""
        path = native.active()
        found = self._prepared.get(path)
        if found is None:
            found = self._prepared[path] = native.prepare(
                self._module, kind=self.facts.kind, interruptible=self.interruptible
            )
        return found


def _facts(rewritten: Rewritten) -> CodeFacts:
    memory = rewritten.memory
    if memory is None:
        raise InvalidModule("no memory")
    a = [e.index for e in rewritten.exports if e.name == "A" and e.kind is ExternKind.GLOBAL]
    bits = rewritten.globals[a[0]].initial.bits if a else b""
    return CodeFacts(
        kind=64 if memory.is64 else 32,
        initial_length=memory.minimum * PAGE_BYTES,
        argument=int.from_bytes(bits or b"", "little"),
        functions=frozenset(e.name for e in rewritten.exports if e.kind is ExternKind.FUNCTION),
        segments=rewritten.segments,
        gas_export=rewritten.gas_export,
        reusable=rewritten.reusable,
        resets=rewritten.resets,
    )


class Modules:
    """The compile cache."""

    def __init__(self, directory: Path | None = None) -> None:
        self._directory = directory
        self._codes: OrderedDict[tuple[bytes, str, bool], Code] = OrderedDict()

    def compile(self, wasm: bytes, hash_: bytes | None = None, *, interruptible: bool = False) -> Code:
        """The compiled contract."""
        return self.load(hash_ or blake3(wasm).digest(), lambda: wasm, interruptible=interruptible)

    def load(self, hash_: bytes, read: Callable[[], bytes], *, interruptible: bool = False) -> Code:
        """The compiled contract with that hash; its bytecode is read only if need be."""
        key = bytes(hash_), tracking.active(), interruptible
        code = self._codes.get(key)
        if code is None:
            wasm = read()
            validate(wasm)
            rewritten = rewrite(wasm, track_writes=tracking.active() == "compiled")
            module = wasmtime.Module(engine(interruptible=interruptible), rewritten.wasm)
            code = Code(
                bytes(hash_), _facts(rewritten), module, interruptible=interruptible, size=len(rewritten.wasm) * 4
            )
            self._codes[key] = code
        return code
