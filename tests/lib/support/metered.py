"""Runs rewritten contracts on the engine alone, so that the rewriter can be tested without the VM.

Each call runs in a new instance over the memory that earlier successful calls left, twice: with write marks and
without. From one call to the next only what was marked is carried over, so a missing mark shows as lost memory.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

import wasmtime
from piecrust.vm.rewrite import Rewritten, rewrite
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.module import ExternKind

PAGE_BYTES, RANGE_BYTES, ARGUMENT_BYTES = 65_536, 4096, 65_536
RANGES_PER_PAGE = PAGE_BYTES // RANGE_BYTES
GAS_MAX = (1 << 63) - 1


def engine(*, memories: int = 1, **options: object) -> wasmtime.Engine:
    """An engine with the features that contracts may use."""
    config = wasmtime.Config()
    for feature in ("threads", "tail_call", "relaxed_simd", "function_references", "gc", "exceptions"):
        setattr(config, f"wasm_{feature}", False)
    for feature in ("wide_arithmetic", "custom_page_sizes", "stack_switching"):
        setattr(config, f"wasm_{feature}", False)
    config.wasm_memory64 = True
    config.wasm_multi_memory = memories > 1
    config.cranelift_nan_canonicalization = True
    config.max_wasm_stack = 0x80000
    for option, value in options.items():
        setattr(config, option, value)
    return wasmtime.Engine(config)


VALIDATOR = engine()
ENGINE = engine(memories=2)


def compiled(rewritten: Rewritten) -> wasmtime.Module:
    """The machine code of a rewritten module."""
    return wasmtime.Module(ENGINE, rewritten.wasm)


def is_valid(wasm: bytes, validator: wasmtime.Engine = VALIDATOR) -> bool:
    """Whether the engine accepts a module."""
    try:
        wasmtime.Module.validate(validator, wasm)
    except wasmtime.WasmtimeError:
        return False
    return True


@dataclass(frozen=True)
class Outcome:
    """What a call gave: `error` is None, "OutOfGas", "RuntimeError" or "MemoryAccessOutOfBounds"."""

    error: str | None
    data: bytes = b""
    spent: int = 0


@dataclass
class State:
    """A contract's memory: its length in pages, and the 4 KiB ranges ever written."""

    pages: int
    ranges: dict[int, bytes] = field(default_factory=dict)

    def write(self, at: int, data: bytes) -> None:
        """Writes as a host does."""
        for index in range(at // RANGE_BYTES, (at + len(data) - 1) // RANGE_BYTES + 1):
            start = index * RANGE_BYTES
            content = bytearray(self.ranges.get(index, bytes(RANGE_BYTES)))
            first, last = max(at, start), min(at + len(data), start + RANGE_BYTES)
            content[first - start : last - start] = data[first - at : last - at]
            self.ranges[index] = bytes(content)

    def written_pages(self) -> dict[int, bytes]:
        """Index and content of every 64 KiB page ever written."""
        return {
            page: b"".join(
                self.ranges.get(page * RANGES_PER_PAGE + k, bytes(RANGE_BYTES)) for k in range(RANGES_PER_PAGE)
            )
            for page in sorted({index // RANGES_PER_PAGE for index in self.ranges})
        }


class Contract:
    """A contract, rewritten both ways and compiled."""

    def __init__(self, wasm: bytes) -> None:
        module = decode(wasm)
        rewritten = [rewrite(module, track_writes=track_writes) for track_writes in (True, False)]
        self._modules = [(facts, compiled(facts)) for facts in rewritten]
        self.argument = next(
            int.from_bytes(module.globals[export.index].initial.bits or b"", "little")
            for export in module.exports
            if export.name == "A" and export.kind is ExternKind.GLOBAL
        )
        self.state = State(module.memories[0].minimum)
        for offset, data in rewritten[0].segments:
            if data:
                self.state.write(offset, data)

    def call(self, function: str, argument: bytes = b"", gas: int = GAS_MAX) -> Outcome:
        """Calls a function; the state is as before if it fails."""
        (marked, after), (plain, _) = (
            self._run(facts, module, function, argument, gas) for facts, module in self._modules
        )
        assert marked == plain, "marking writes changed what a call does"
        if marked.error is None:
            assert after is not None
            self.state = after
        return marked

    def _run(
        self, facts: Rewritten, module: wasmtime.Module, function: str, argument: bytes, gas: int
    ) -> tuple[Outcome, State | None]:
        with contextlib.closing(Run(facts, module, self.state, gas)) as run:
            return self._call(run, function, argument)

    def _call(self, run: Run, function: str, argument: bytes) -> tuple[Outcome, State | None]:
        if argument:
            run.memory.write(run.store, argument, self.argument)
        error, length = None, 0
        try:
            length = run.exports[function](run.store, len(argument)) & 0xFFFF_FFFF
        except wasmtime.Trap as trap:
            if trap.trap_code is wasmtime.TrapCode.STACK_OVERFLOW:  # its depth is the engine's own
                raise
            error = "RuntimeError"
        if error is None and length > ARGUMENT_BYTES:
            error = "MemoryAccessOutOfBounds"
        if error is not None:
            return Outcome("OutOfGas" if run.remaining() == 0 else error), None
        data = bytes(run.memory.read(run.store, self.argument, self.argument + length))
        after = State(run.memory.size(run.store), dict(self.state.ranges))
        if argument:
            after.write(self.argument, argument)
        for index in run.dirty_ranges():
            start = index * RANGE_BYTES
            after.ranges[index] = bytes(run.memory.read(run.store, start, start + RANGE_BYTES))
        return Outcome(None, data, run.limit - run.remaining()), after


class Run:
    """One instance, over a state, with some gas."""

    def __init__(self, facts: Rewritten, module: wasmtime.Module, state: State, gas: int) -> None:
        self.facts = facts
        self.limit = gas
        self.store = wasmtime.Store(ENGINE)
        host = {"spent": lambda: self.limit - self.remaining(), "limit": lambda: self.limit}
        kind = wasmtime.FuncType([], [wasmtime.ValType.i64()])
        imports = [wasmtime.Func(self.store, kind, host[entry.name]) for entry in module.imports]
        self.exports = wasmtime.Instance(self.store, module, imports).exports(self.store)
        self.gas: wasmtime.Global = self.exports[facts.gas_export]
        self.memory: wasmtime.Memory = next(
            self.exports[export.name]
            for export in module.exports
            if isinstance(export.type, wasmtime.MemoryType) and export.name != facts.dirty_map_export
        )
        growth = state.pages - self.memory.size(self.store)
        if growth:
            self.memory.grow(self.store, growth)
        for index, content in state.ranges.items():
            self.memory.write(self.store, content, index * RANGE_BYTES)
        self.set_gas(gas)

    def close(self) -> None:
        """Gives the instance back: what it imports refers to it, so it would live on."""
        self.store.close()

    def clear_marks(self) -> None:
        """Forgets what was written."""
        for index in self.dirty_ranges():
            self.exports[self.facts.dirty_map_export].write(self.store, b"\0", index)

    def set_gas(self, gas: int) -> None:
        """What the contract may spend from here on."""
        self.gas.set_value(self.store, -gas)

    def remaining(self) -> int:
        """Gas not spent, as of the last time that it was saved."""
        return max(0, -self.gas.value(self.store))

    def dirty_ranges(self) -> list[int]:
        """The 4 KiB ranges that are marked; none without a map."""
        if self.facts.dirty_map_export is None:
            return []
        dirty_map = self.exports[self.facts.dirty_map_export]
        marks = bytes(dirty_map.read(self.store, 0, max(1 << 20, self.memory.size(self.store) * RANGES_PER_PAGE)))
        found, at = [], marks.find(1)
        while at >= 0:
            found.append(at)
            at = marks.find(1, at + 1)
        return found
