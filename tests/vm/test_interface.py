"""Which bytecode is a contract: by hand-made modules, and by what the original answered to its folder of bad ones."""

from __future__ import annotations

import json

import pytest
import wasmtime
from piecrust.vm.errors import (
    ContractRefused,
    InvalidArgumentBuffer,
    InvalidFunction,
    InvalidMemory,
    InvalidModule,
)
from piecrust.vm.interface import HOST_FUNCTIONS, ContractInterface, accept, inspect
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.module import FunctionType, ValueType
from support.fixtures import CONTRACTS, REFERENCE, VECTORS, contract
from support.metered import VALIDATOR

# Accepted by the original and harmful there, or refused with a host panic.
STRICTER = {
    "a64_negative": "InvalidArgumentBuffer",
    "a_last_page": "InvalidArgumentBuffer",
    "a_negative": "InvalidArgumentBuffer",
    "hidden_memory": "PersistenceError",
    "simd_relaxed": "RuntimeError",
    "start_import": "RuntimeError",
}

MEMORY, A = '(memory (export "m") 1)', '(global (export "A") i32 (i32.const 0))'


def validate(wasm: bytes) -> None:
    try:
        wasmtime.Module.validate(VALIDATOR, wasm)
    except wasmtime.WasmtimeError as error:
        raise InvalidModule(str(error)) from error


def interface(text: str) -> ContractInterface:
    return accept(bytes(wasmtime.wat2wasm(f"(module {text})")), validate)[1]


def recorded_deployments() -> list[tuple[str, str | None]]:
    lines = [json.loads(line) for line in (VECTORS / "bad_wasm.jsonl").read_text().splitlines()]
    return [
        (
            line["op"]["wasm"].removeprefix("contracts/bad/").removesuffix(".wasm"),
            line["expect"].get("error", {}).get("kind"),
        )
        for line in lines
        if line["op"]["op"] == "deploy"
    ]


@pytest.mark.parametrize(("stem", "kind"), recorded_deployments())
def test_bytecode_is_refused_as_by_the_original(stem: str, kind: str | None) -> None:
    wasm = (REFERENCE / "contracts" / "bad" / f"{stem}.wasm").read_bytes()
    found = None
    try:
        accept(wasm, validate)
    except ContractRefused as error:
        found = error.kind
    assert found == STRICTER.get(stem, kind)
    assert stem not in STRICTER or kind != found


def test_each_contract_in_fixtures_is_one() -> None:
    for path in sorted(CONTRACTS.glob("*.wasm")):
        assert accept(path.read_bytes(), validate)[1].functions or path.stem == "minimal", path.name


def test_what_the_vm_needs_to_know_is_found() -> None:
    found = interface(
        """(import "a" "emit" (func (param i64 i32 i32))) (import "b" "limit" (func (result i64)))
        (memory (export "heap") i64 3) (global (export "A") i64 (i64.const 65536))
        (func $f (param i32) (result i32) local.get 0) (export "f" (func $f)) (export "init" (func $f)) (func)"""
    )
    assert found == ContractInterface(
        is64=True,
        initial_length=3 * 65536,
        argument_offset=65536,
        functions=frozenset({"f", "init"}),
        imports=(("a", "emit"), ("b", "limit")),
    )
    assert "init" in found.functions


def test_a_global_named_init_is_no_init() -> None:
    assert "init" not in interface(f'{MEMORY} {A} (global (export "init") i32 (i32.const 1))').functions


@pytest.mark.parametrize(
    ("text", "error", "mentions"),
    [
        (A, InvalidMemory, "0 memories"),
        (f"{MEMORY} (memory 1) {A}", InvalidMemory, "2 memories"),
        (f'{MEMORY} (export "m2" (memory 0)) {A}', InvalidMemory, "2 memories"),
        ('(memory (export "m") i64 0x4000001) (global (export "A") i64 (i64.const 0))', InvalidMemory, "addressed"),
        (f'{MEMORY} {A} (func (export "g"))', InvalidFunction, "'g'"),
        (f'(import "env" "zzz" (func)) {MEMORY} {A}', InvalidFunction, "'zzz'"),
        (f'(import "env" "caller" (func)) {MEMORY} {A}', InvalidModule, "env::caller"),
        (f'(import "env" "caller" (global i32)) {MEMORY} {A}', InvalidModule, "env::caller"),
        (f'{MEMORY} {A} (data (i32.const 65535) "ab")', InvalidModule, "data segment"),
        (f'{MEMORY} {A} (data (i32.const -1) "a")', InvalidModule, "data segment"),
        (f'{MEMORY} {A} (data (i32.const 65537) "")', InvalidModule, "data segment"),
        (f"{MEMORY} {A} (table 1 funcref) (elem (i32.const 2) func)", InvalidModule, "element segment"),
        (f"{MEMORY} {A} (func $s) (start $s)", InvalidModule, "start"),
        (MEMORY, InvalidArgumentBuffer, "A"),
        (f'{MEMORY} (global (export "A") (mut i32) (i32.const 0))', InvalidArgumentBuffer, "immutable i32"),
        (f'{MEMORY} (global (export "A") i64 (i64.const 0))', InvalidArgumentBuffer, "immutable i32"),
        (f'{MEMORY} (global (export "A") externref (ref.null extern))', InvalidArgumentBuffer, "immutable i32"),
        (f'{MEMORY} (global (export "A") i32 (i32.const -1))', InvalidArgumentBuffer, "-1"),
    ],
)
def test_what_is_wrong_is_named(text: str, error: type[ContractRefused], mentions: str) -> None:
    with pytest.raises(error) as raised:
        interface(text)
    assert type(raised.value) is error
    assert mentions in str(raised.value)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (f'(import "" "zzz" (func)) {MEMORY} (func (export "g"))', "g"),
        (f'(import "" "caller" (func)) (import "" "zzz" (func)) {MEMORY}', "zzz"),
        (f'(import "" "zzz" (func)) {MEMORY} (data (i32.const -1) "a")', "zzz"),
    ],
)
def test_of_several_faults_the_original_one_is_told(text: str, error: str) -> None:
    with pytest.raises(InvalidFunction) as raised:
        interface(text)
    assert raised.value.name == error


def test_an_invalid_body_is_told_before_broken_rules() -> None:
    with pytest.raises(InvalidModule):
        interface('(func (export "g") (result i32))')


@pytest.mark.parametrize(("offset", "fits"), [((1 << 42) - 65537, True), ((1 << 42) - 65536, False), (-1, False)])
def test_the_argument_buffer_lies_within_four_tebibytes(offset: int, *, fits: bool) -> None:
    text = f'(memory (export "m") i64 1) (global (export "A") i64 (i64.const {offset}))'
    if fits:
        assert interface(text).argument_offset == offset
    else:
        with pytest.raises(InvalidArgumentBuffer):
            interface(text)


def test_segments_that_just_fit_are_accepted() -> None:
    data = '(data (i32.const 65536) "") (data (i32.const 65535) "x")'
    interface(f"{MEMORY} {A} {data} (table 2 funcref) (elem (i32.const 2) func)")


@pytest.mark.parametrize("is64", [False, True])
def test_each_host_function_can_be_imported_with_its_type(*, is64: bool) -> None:
    address = "i64" if is64 else "i32"
    for name, kind in HOST_FUNCTIONS[is64].items():
        params = " ".join(value.name.lower() for value in kind.params)
        results = " ".join(value.name.lower() for value in kind.results)
        found = interface(
            f'(import "any" "{name}" (func (param {params}) (result {results}))) '
            f'(memory (export "m") {address} 1) (global (export "A") {address} ({address}.const 0))'
        )
        assert found.imports == (("any", name),)


def test_pointers_are_as_wide_as_the_memory() -> None:
    i32, i64 = ValueType.I32, ValueType.I64
    assert HOST_FUNCTIONS[False]["c"] == FunctionType((i32, i32, i32, i32, i64), (i32,))
    assert HOST_FUNCTIONS[True]["c"] == FunctionType((i64, i64, i32, i32, i64), (i32,))
    assert HOST_FUNCTIONS[True]["owner"] == FunctionType((i64,), (i32,))
    assert HOST_FUNCTIONS[True]["self_id"] == FunctionType((), ())


def test_inspection_does_not_rely_on_validation() -> None:
    """Types inside of functions do not matter to it; indices were checked when the module was decoded."""
    wasm = bytearray(contract("counter"))
    start, end = decode(bytes(wasm)).bodies[0]
    wasm[start + 1 : end] = bytes(end - start - 1)
    assert inspect(decode(bytes(wasm))).functions
