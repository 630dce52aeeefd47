"""Measures the rewriter: time and growth per module, and what metering and marking cost when code runs.

    python benchmarks/rewrite.py [MODULE.wasm ...]

Without modules: the large contract of fixtures, its functions repeated until it has more than 500 KB. The target is 150
ms for 500 KB, and in proportion for larger ones. Needs no original.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import wasmtime
from measure import Row, table
from piecrust.vm.rewrite import decode as sections
from piecrust.vm.rewrite import rewrite
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.leb128 import encode_unsigned, read_u32

LARGE = Path(__file__).resolve().parents[1] / "fixtures" / "contracts" / "bin" / "large.wasm"
SCALED_BYTES = 500_000
TARGET_MS = 150
TURNS = 10_000_000

LOOPS = """(module (memory (export "m") 16)
  (func (export "compute") (param $n i32) (local $i i32) (local $x i64)
    (loop (local.set $x (i64.mul (i64.add (local.get $x) (i64.const 7)) (i64.const 11)))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
  (func (export "branch") (param $n i32) (local $i i32) (local $x i32)
    (loop (if (i32.and (local.get $i) (i32.const 1))
        (then (local.set $x (i32.add (local.get $x) (i32.const 3))))
        (else (local.set $x (i32.xor (local.get $x) (i32.const 5)))))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
  (func (export "store") (param $n i32) (local $i i32)
    (loop (i64.store (i32.and (i32.mul (local.get $i) (i32.const 72)) (i32.const 0xffff8)) (i64.const 1))
      (br_if 0 (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (local.get $n)))))
  (func $callee (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
  (func (export "call") (param $n i32) (local $i i32)
    (loop (br_if 0 (i32.lt_u (local.tee $i (call $callee (local.get $i))) (local.get $n))))))"""


def best_ms(run: Callable[[], object], times: int = 7) -> float:
    """The shortest of several runs: the others were disturbed."""
    shortest = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        run()
        shortest = min(shortest, time.perf_counter() - start)
    return shortest * 1e3


def scaled(wasm: bytes) -> bytes:
    """The module with its functions repeated, until it has SCALED_BYTES or more."""
    module = decode(wasm)
    bodies = {section.id: module.data[section.start : section.end] for section in module.sections}
    _, functions_at = read_u32(bodies[sections.FUNCTION], 0)
    _, code_at = read_u32(bodies[sections.CODE], 0)
    functions, code = bodies[sections.FUNCTION][functions_at:], bodies[sections.CODE][code_at:]
    copies = max(1, -(-(SCALED_BYTES - len(wasm)) // len(code)) + 1)
    count = encode_unsigned(len(module.bodies) * copies)
    bodies[sections.FUNCTION], bodies[sections.CODE] = count + functions * copies, count + code * copies
    pieces = [bytes((each,)) + encode_unsigned(len(bodies[each])) + bodies[each] for each in bodies]
    return sections.MAGIC + b"".join(pieces)


def module_rows(name: str, wasm: bytes, engine: wasmtime.Engine) -> list[Row]:
    rows = [Row(f"{name}: bytecode", "bytes", len(wasm)), Row(f"{name}: decode", "ms", best_ms(lambda: decode(wasm)))]
    for label, track_writes in (("metered", False), ("metered and marked", True)):
        rewritten = rewrite(wasm, track_writes=track_writes)
        spent = best_ms(lambda track_writes=track_writes: rewrite(wasm, track_writes=track_writes))
        target = TARGET_MS * max(1.0, len(wasm) / SCALED_BYTES)
        rows.append(Row(f"{name}: {label}", "ms", spent, limit=target))
        rows.append(Row(f"{name}: {label}", "bytes", len(rewritten.wasm)))
        compiled = best_ms(lambda rewritten=rewritten: wasmtime.Module(engine, rewritten.wasm), times=1)
        rows.append(Row(f"{name}: {label}, compiled", "ms", compiled))
    return rows


def run_rows(engine: wasmtime.Engine) -> list[Row]:
    """Nanoseconds per turn of a loop; the rival is the same code without gas."""
    wasm = bytes(wasmtime.wat2wasm(LOOPS))
    times: dict[str, dict[str, float]] = {}
    for label in ("plain", "metered", "metered and marked"):
        rewritten = None if label == "plain" else rewrite(wasm, track_writes="marked" in label)
        store = wasmtime.Store(engine)
        module = wasmtime.Module(engine, wasm if rewritten is None else rewritten.wasm)
        exports = wasmtime.Instance(store, module, []).exports(store)
        if rewritten is not None:
            exports[rewritten.gas_export].set_value(store, -(1 << 62))
        times[label] = {
            loop: best_ms(lambda exports=exports, store=store, loop=loop: exports[loop](store, TURNS)) * 1e6 / TURNS
            for loop in ("compute", "branch", "store", "call")
        }
    return [
        Row(f"{loop} loop, {label}", "ns", times[label][loop], rival=times["plain"][loop])
        for label in ("metered", "metered and marked")
        for loop in times[label]
    ]


def main(paths: list[str]) -> None:
    config = wasmtime.Config()
    config.wasm_memory64 = config.wasm_multi_memory = True
    config.memory_guard_size, config.memory_reservation = 0, 1 << 32
    engine = wasmtime.Engine(config)
    modules = {Path(path).name: Path(path).read_bytes() for path in paths}
    for name, wasm in (modules or {"large": scaled(LARGE.read_bytes())}).items():
        print(table(module_rows(name, wasm, engine)))
    print(table(run_rows(engine), rival="no gas"))


if __name__ == "__main__":
    main(sys.argv[1:])
