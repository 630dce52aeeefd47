"""A compiled contract, and what the host must know of it besides its machine code."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass
from typing import Any, Final, cast

import cbor2
import wasmtime
from piecrust.objects.ids import BytecodeHash
from piecrust.vm import host, native
from piecrust.vm.interface import ContractInterface
from piecrust.vm.rewrite import Reset, Rewritten
from piecrust.vm.rewrite.module import ValueType


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeFacts:
    """What a contract declares, and what its rewriting made of it.

    `kind`: 32 or 64, bits of its memory's addresses. `initial_length`: bytes of memory at deployment. `argument`:
    offset of the argument buffer. `functions`: names of its exported functions. `modules`: names of the modules that it
    imports from. `segments`: bytes to be written at deployment, with their offsets. `gas_export`, `reusable` and
    `resets`: see `Rewritten`.
    """

    kind: int
    initial_length: int
    argument: int
    functions: frozenset[str]
    modules: frozenset[str]
    segments: tuple[tuple[int, bytes], ...]
    gas_export: str
    reusable: bool
    resets: tuple[Reset, ...]

    @classmethod
    def of(cls, interface: ContractInterface, rewritten: Rewritten) -> CodeFacts:
        """The facts of a contract that was just accepted and rewritten."""
        return cls(
            kind=64 if interface.is64 else 32,
            initial_length=interface.initial_length,
            argument=interface.argument_offset,
            functions=interface.functions,
            modules=frozenset(module for module, _ in interface.imports),
            segments=rewritten.segments,
            gas_export=rewritten.gas_export,
            reusable=rewritten.reusable,
            resets=rewritten.resets,
        )

    def encode(self) -> bytes:
        """The facts as bytes, for a cache."""
        resets = [(reset.export, int(reset.type), reset.bits) for reset in self.resets]
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        sets = {"functions": sorted(self.functions), "modules": sorted(self.modules)}
        return cbor2.dumps({**fields, **sets, "resets": resets})

    @classmethod
    def decode(cls, encoded: bytes) -> CodeFacts:
        """The facts that `encode` wrote. They come from a cache that only this user writes to, so they are believed."""
        fields = cast(dict[str, Any], cbor2.loads(encoded))
        fields["functions"] = frozenset(fields["functions"])
        fields["modules"] = frozenset(fields["modules"])
        fields["segments"] = tuple((offset, data) for offset, data in fields["segments"])
        fields["resets"] = tuple(Reset(export, ValueType(type_), bits) for export, type_, bits in fields["resets"])
        return cls(**fields)


class Code:
    """A compiled contract, shared by all sessions of the process.

    `size` is about what its machine code takes, in bytes. `interruptible` code looks at the clock (see `deadline`).
    """

    __slots__ = (
        "_lock", "_module", "_prepared", "argument", "facts", "functions", "hash", "initial_length", "interruptible",
        "kind", "reusable", "size",
    )  # fmt: skip

    def __init__(
        self, bytecode: BytecodeHash, facts: CodeFacts, module: wasmtime.Module, *, interruptible: bool, size: int
    ) -> None:
        self.hash: Final = bytecode
        self.facts: Final = facts
        self.kind: Final = facts.kind
        self.initial_length: Final = facts.initial_length
        self.argument: Final = facts.argument
        self.functions: Final = facts.functions
        self.reusable: Final = facts.reusable
        self.interruptible: Final = interruptible
        self.size: Final = size
        self._module = module
        self._prepared: dict[tuple[str, int], native.Prepared] = {}
        self._lock = threading.Lock()

    def prepared(self) -> native.Prepared:
        """Ready to be instantiated, on the native path in use."""
        key = native.active(), host.installed()[0]
        found = self._prepared.get(key)
        if found is None:
            with self._lock:
                found = self._prepared.get(key)
                if found is None:
                    linker = native.linker(
                        is64=self.kind == 64, interruptible=self.interruptible, modules=self.facts.modules
                    )
                    found = self._prepared[key] = linker.prepare(self._module)
        return found
