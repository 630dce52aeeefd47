from __future__ import annotations

import contextlib
import json
import struct

import pytest
import wasmtime
from blake3 import blake3
from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import REWRITER_VERSION, Reset, Rewritten, rewrite
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.module import ExternKind, MemoryType, ValueType
from piecrust.vm.rewrite.rewriter import RESETS_MAX
from support.fixtures import VECTORS
from support.gas_vectors import unpacked
from support.metered import ENGINE, Run, State, compiled, is_valid
from support.wasm_encoding import name, section
from support.wasm_generator import generate


def module(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def exports(wasm: bytes) -> dict[str, tuple[ExternKind, int]]:
    return {export.name: (export.kind, export.index) for export in decode(wasm).exports}


def test_the_gas_global_comes_last_and_is_exported() -> None:
    rewritten = rewrite(module('(global i32 (i32.const 1)) (memory (export "m") 1)'), track_writes=False)
    assert exports(rewritten.wasm) == {"m": (ExternKind.MEMORY, 0), "\0gas": (ExternKind.GLOBAL, 1)}
    assert decode(rewritten.wasm).globals[1].type.mutable
    assert rewritten.gas_export == "\0gas"


def test_names_that_the_contract_has_are_not_taken_from_it() -> None:
    text = """(global $g (mut i64) (i64.const 7)) (memory (export "\\00dirty") 1)
      (func (export "\\00gas") (param i32) (result i32) local.get 0) (global (export "\\00g0") i32 (i32.const 1))"""
    rewritten = rewrite(module(text), track_writes=True)
    assert rewritten.gas_export == "\0\0gas"
    assert rewritten.dirty_map_export == "\0\0dirty"
    assert [reset.export for reset in rewritten.resets] == ["\0\0g0"]
    assert exports(rewritten.wasm) == {
        "\0dirty": (ExternKind.MEMORY, 0),
        "\0gas": (ExternKind.FUNCTION, 0),
        "\0g0": (ExternKind.GLOBAL, 1),
        "\0\0gas": (ExternKind.GLOBAL, 2),
        "\0\0dirty": (ExternKind.MEMORY, 1),
        "\0\0g0": (ExternKind.GLOBAL, 0),
    }
    assert is_valid(rewritten.wasm, ENGINE)


@pytest.mark.parametrize(
    "text", ["", "(func)", '(memory (export "m") 1)', "(global i32 (i32.const 0))", "(type (func))"]
)
@pytest.mark.parametrize("track_writes", [False, True])
def test_sections_that_are_missing_are_made(text: str, *, track_writes: bool) -> None:
    rewritten = rewrite(module(text), track_writes=track_writes)
    assert is_valid(rewritten.wasm, ENGINE)
    assert rewritten.gas_export in exports(rewritten.wasm)


def test_custom_sections_are_dropped() -> None:
    secret = b"a custom section's content"
    plain = module("(func $named)")
    rewritten = rewrite(plain + section(0, name("x") + secret), track_writes=False)
    assert secret not in rewritten.wasm
    assert b"named" not in rewritten.wasm
    assert rewritten.wasm == rewrite(plain, track_writes=False).wasm


def test_a_declared_maximum_of_the_memory_is_dropped() -> None:
    for kind in ("", "i64"):
        rewritten = rewrite(module(f'(memory (export "m") {kind} 1 5)'), track_writes=True)
        first, dirty_map = decode(rewritten.wasm).memories
        assert first == MemoryType(is64=bool(kind), minimum=1, maximum=None)
        assert dirty_map == MemoryType(is64=False, minimum=dirty_map.minimum, maximum=dirty_map.minimum)


def test_a_module_is_rewritten_as_its_bytecode_is() -> None:
    wasm = generate(3).wasm
    assert rewrite(decode(wasm), track_writes=True) == rewrite(wasm, track_writes=True)


@pytest.mark.parametrize(
    "text",
    [
        '(import "" "m" (memory 1))',
        '(import "" "g" (global i32))',
        '(import "" "t" (table 1 funcref))',
        "(memory 1) (memory 1)",
    ],
)
def test_what_contracts_may_not_have_is_refused(text: str) -> None:
    with pytest.raises(InvalidModule):
        rewrite(module(text), track_writes=False)


# Data segments.


def test_active_segments_are_given_to_the_host_in_order() -> None:
    text = '(memory 1) (data (i32.const 8) "ab") (data "passive") (data (i32.const -1) "z") (data (i32.const 8) "")'
    rewritten = rewrite(module(text), track_writes=False)
    assert rewritten.segments == ((8, b"ab"), (0xFFFF_FFFF, b"z"), (8, b""))
    emptied = decode(rewritten.wasm).segments
    assert [(each.active, each.data) for each in emptied] == [
        (True, b""),
        (False, b"passive"),
        (True, b""),
        (True, b""),
    ]


@pytest.mark.parametrize("kind", ["i32", "i64"])
def test_segments_behave_as_if_they_had_been_applied(kind: str) -> None:
    text = f"""(memory (export "m") {kind} 1) (data $a ({kind}.const 1) "active") (data $p "passive")
      (func (export "active") (param i32) (memory.init $a ({kind}.const 0) (i32.const 0) (local.get 0)))
      (func (export "passive") (param i32) (memory.init $p ({kind}.const 0) (i32.const 0) (local.get 0)))
      (func (export "drop") (data.drop $p) (data.drop $a))"""
    rewritten = rewrite(module(text), track_writes=False)
    with contextlib.closing(Run(rewritten, compiled(rewritten), State(1), 1000)) as run:
        call = run.exports
        assert bytes(run.memory.read(run.store, 0, 10)) == bytes(10)
        call["active"](run.store, 0)
        with pytest.raises(wasmtime.Trap, match="out of bounds memory access"):
            call["active"](run.store, 1)
        call["passive"](run.store, 7)
        assert bytes(run.memory.read(run.store, 0, 7)) == b"passive"
        call["drop"](run.store)
        with pytest.raises(wasmtime.Trap, match="out of bounds memory access"):
            call["passive"](run.store, 1)


# Reuse of instances.


def test_mutable_globals_can_be_set_back() -> None:
    text = """(memory (export "m") 1)
      (global (mut i32) (i32.const -2)) (global i32 (i32.const 1)) (global (mut i64) (i64.const -3))
      (global (mut f32) (f32.const nan:0x200001)) (global (mut f64) (f64.const -0))
      (global (mut v128) (v128.const i32x4 1 2 3 4))"""
    rewritten = rewrite(module(text), track_writes=False)
    assert rewritten.reusable
    assert rewritten.resets == (
        Reset("\0g0", ValueType.I32, struct.pack("<i", -2)),
        Reset("\0g2", ValueType.I64, struct.pack("<q", -3)),
        Reset("\0g3", ValueType.F32, bytes.fromhex("0100a07f")),
        Reset("\0g4", ValueType.F64, struct.pack("<d", -0.0)),
        Reset("\0g5", ValueType.V128, struct.pack("<4I", 1, 2, 3, 4)),
    )
    found = exports(rewritten.wasm)
    assert [found[reset.export][1] for reset in rewritten.resets] == [0, 2, 3, 4, 5]


FORMATS = {ValueType.I32: "<i", ValueType.I64: "<q", ValueType.F32: "<f", ValueType.F64: "<d"}


def test_a_reused_instance_does_what_a_fresh_one_does() -> None:
    checked = 0
    for seed in range(70_000, 70_200):
        contract = generate(seed)
        rewritten = rewrite(contract.wasm, track_writes=True)
        if rewritten.reusable and all(reset.type in FORMATS for reset in rewritten.resets):
            checked += compare_reused(rewritten, contract.functions)
    assert checked > 50


def compare_reused(rewritten: Rewritten, functions: tuple[str, ...]) -> int:
    """Calls functions in one instance, reset in between, and in fresh ones; returns how many were compared."""
    machine_code, state, compared = compiled(rewritten), State(decode(rewritten.wasm).memories[0].minimum), 0
    with contextlib.closing(Run(rewritten, machine_code, state, 1000)) as reused:
        for function in functions * 2:
            with contextlib.closing(Run(rewritten, machine_code, state, 1000)) as fresh:
                assert outcome(reused, function) == outcome(fresh, function)
            compared += 1
            if reused.memory.size(reused.store) != state.pages:
                break  # who undoes growth discards the instance
            for index in reused.dirty_ranges():
                reused.memory.write(reused.store, bytes(4096), index * 4096)
            reused.clear_marks()
            reused.set_gas(1000)
            for reset in rewritten.resets:
                (value,) = struct.unpack(FORMATS[reset.type], reset.bits)
                reused.exports[reset.export].set_value(reused.store, value)
    return compared


def outcome(run: Run, function: str) -> tuple[object, ...]:
    try:
        result = run.exports[function](run.store, 0)
    except wasmtime.Trap as trap:
        result = trap.trap_code
    contents = [bytes(run.memory.read(run.store, at * 4096, at * 4096 + 4096)) for at in run.dirty_ranges()]
    return result, run.remaining(), run.memory.size(run.store), run.dirty_ranges(), contents


def test_a_global_that_is_no_number_makes_instances_single_use() -> None:
    rewritten = rewrite(
        module("(global (mut funcref) (ref.null func)) (global (mut i32) (i32.const 1))"), track_writes=False
    )
    assert not rewritten.reusable
    assert rewritten.resets == ()
    assert list(exports(rewritten.wasm)) == ["\0gas"]


def test_many_mutable_globals_make_instances_single_use() -> None:
    for count, reusable in ((RESETS_MAX, True), (RESETS_MAX + 1, False)):
        rewritten = rewrite(module("(global (mut i32) (i32.const 1))" * count), track_writes=False)
        assert rewritten.reusable is reusable
        assert len(rewritten.resets) == (count if reusable else 0)


def test_the_version_counts_up_with_every_change_of_the_output() -> None:
    """It is part of the key of what is kept compiled: where this fails, change all three."""
    digests = {track_writes: blake3() for track_writes in (False, True)}
    for line in (VECTORS / "gas" / "random_modules.jsonl").read_text().splitlines():
        wasm = unpacked(json.loads(line)["wasm"])
        for track_writes, digest in digests.items():
            digest.update(rewrite(wasm, track_writes=track_writes).wasm)
    assert (REWRITER_VERSION, digests[False].hexdigest()[:16], digests[True].hexdigest()[:16]) == (
        2,
        "fbcd4754c866e629",
        "3d6b0cfeebc0d681",
    )
