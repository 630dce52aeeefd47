from __future__ import annotations

import importlib
import importlib.metadata
import os
import subprocess
import sys
import textwrap

import pytest
from piecrust.vm import engine
from piecrust.vm.errors import InvalidModule, UnsupportedWasmtime

MINIMAL = '(module (memory (export "memory") 1) {})'

REFUSED = {
    "threads": "(module (memory 1 1 shared))",
    "atomics": MINIMAL.format("(func (drop (i32.atomic.load (i32.const 0))))"),
    "tail calls": MINIMAL.format("(func $f (return_call $f))"),
    "relaxed SIMD": MINIMAL.format("(func (param v128) (result v128) (i32x4.relaxed_trunc_f32x4_s (local.get 0)))"),
    "typed function references": MINIMAL.format("(type $t (func)) (func (param (ref $t)))"),
    "garbage collection": MINIMAL.format("(type (struct (field i32)))"),
    "exceptions": MINIMAL.format("(tag) (func (throw 0))"),
    "wide arithmetic": MINIMAL.format(
        "(func (param i64 i64 i64 i64) (result i64 i64)"
        " (i64.add128 (local.get 0) (local.get 1) (local.get 2) (local.get 3)))"
    ),
    "custom page sizes": "(module (memory 1 (pagesize 1)))",
    "several memories": "(module (memory 1) (memory 1))",
    "components": "(component)",
}
ACCEPTED = {
    "SIMD": MINIMAL.format("(func (result v128) (v128.const i64x2 1 2))"),
    "64-bit memory": "(module (memory i64 1))",
    "bulk memory": MINIMAL.format("(func (memory.fill (i32.const 0) (i32.const 0) (i32.const 0)))"),
    "reference types": MINIMAL.format("(table 1 externref) (func (param externref))"),
    "several results": MINIMAL.format("(func (result i32 i32) (i32.const 1) (i32.const 2))"),
    "sign extension": MINIMAL.format("(func (result i32) (i32.extend8_s (i32.const 200)))"),
    "floats": MINIMAL.format("(func (result f64) (f64.sqrt (f64.const 2)))"),
}


@pytest.mark.parametrize("feature", REFUSED)
def test_refuses_what_contracts_may_not_use(feature: str) -> None:
    with pytest.raises(InvalidModule) as caught:
        engine.validate(engine.to_wasm(REFUSED[feature]))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("feature", ACCEPTED)
def test_accepts_what_contracts_may_use(feature: str) -> None:
    engine.validate(engine.to_wasm(ACCEPTED[feature]))


@pytest.mark.parametrize("wasm", [b"", b"(module)", b"\0asm\1\0\0\0\xff", b"\0asm\1\0\0\0"[:7]])
def test_refuses_what_is_no_module(wasm: bytes) -> None:
    with pytest.raises(InvalidModule):
        engine.validate(wasm)


def test_text_that_is_no_module_says_where() -> None:
    with pytest.raises(InvalidModule, match="1:"):
        engine.to_wasm("(modul)")


@pytest.mark.parametrize("version", ["49.0.0", "51.0.0", "unknown"])
def test_an_untested_wasmtime_is_refused_at_import(version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: version)
    with pytest.raises(UnsupportedWasmtime) as caught:
        engine._installed_version()
    assert (caught.value.found, caught.value.supported) == (version, ">=50,<51")


def test_no_wasmtime_is_refused_at_import() -> None:
    program = """
        import importlib.metadata
        def missing(name):
            raise importlib.metadata.PackageNotFoundError(name)
        importlib.metadata.version = missing
        from piecrust.vm.errors import UnsupportedWasmtime
        try:
            import piecrust.vm.engine
        except UnsupportedWasmtime as error:
            print(error)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "wasmtime (not installed) is not supported (needs >=50,<51)\n", done.stderr


def test_there_is_one_engine_of_each_kind() -> None:
    assert engine.engine() is engine.engine()
    assert engine.engine(interruptible=True) is engine.engine(interruptible=True)
    assert engine.engine() is not engine.engine(interruptible=True)


def test_a_forked_child_compiles_with_an_engine_of_its_own() -> None:
    """The compiler's threads do not survive a fork, and waiting for them would never end."""
    program = """
        import os
        from piecrust.vm.code import Code
        from support.scratch import Scratch, host_functions

        def work():
            with host_functions():
                scratch = Scratch()
                scratch.store(8, 5)
                assert scratch.load(8) == 5
                scratch.store(1 << 30, 6)
                assert scratch.load(1 << 30) == 6
                assert len(scratch.memory.written()) == 3
                scratch.close()

        work()
        child = os.fork()
        if child == 0:
            work()
            os._exit(7)
        assert os.waitpid(child, 0)[1] == 7 << 8
        work()
        print("done")
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.stdout == "done\n", done.stderr
