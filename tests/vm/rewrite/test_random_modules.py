"""Random contracts: what the original answered to them, and what rewriting must preserve.

    fixtures/reference/random_modules.py compare FIRST COUNT

goes on with fresh contracts for as long as one likes.
"""

from __future__ import annotations

import contextlib
import json
import random
from typing import Any

import pytest
import wasmtime
from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import Rewritten, operators, rewrite
from piecrust.vm.rewrite.decode import decode
from support import wasm_encoding
from support.fixtures import VECTORS
from support.gas_vectors import replay
from support.metered import ENGINE, VALIDATOR, is_valid
from support.wasm_generator import generate

CASES = [json.loads(line) for line in (VECTORS / "gas" / "random_modules.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("first", range(0, len(CASES), 20))
def test_gas_results_and_written_pages_are_those_of_the_original(first: int) -> None:
    for case in CASES[first : first + 20]:
        assert replay(case) == [], f"seed {case['seed']}"


def test_the_recorded_answers_are_of_all_kinds() -> None:
    answers: dict[Any, int] = {}
    for case in CASES:
        for *_, answer in case["calls"]:
            kind = answer.get("error")
            answers[kind] = answers.get(kind, 0) + 1
    assert answers[None] > 1000
    assert answers["OutOfGas"] > 100
    assert answers["RuntimeError"] > 100


@pytest.mark.parametrize("seed", range(50_000, 50_300, 50))
def test_valid_modules_stay_valid(seed: int) -> None:
    for each in range(seed, seed + 50):
        wasm = generate(each).wasm
        assert is_valid(wasm), each
        assert is_valid(rewrite(wasm, track_writes=False).wasm), each
        assert is_valid(rewrite(wasm, track_writes=True).wasm, ENGINE), each


@pytest.mark.parametrize("seed", range(80_000, 80_100, 25))
def test_rewriting_changes_nothing_but_gas(seed: int) -> None:
    """The same functions as they were written, and rewritten with gas in abundance."""
    compared = 0
    for each in range(seed, seed + 25):
        contract = generate(each)
        for track_writes in (True, False):
            rewritten = rewrite(contract.wasm, track_writes=track_writes)
            for function in contract.functions:
                told = observe(rewritten.wasm, function, rewritten)
                if told is not None:
                    assert told == observe(contract.wasm, function), f"seed {each}"
                    compared += 1
    assert compared > 25


def observe(wasm: bytes, function: str, rewritten: Rewritten | None = None) -> tuple[object, ...] | None:
    """Result or trap of a call, and length and beginning of memory then; None if the call takes too long."""
    with contextlib.closing(wasmtime.Store(ENGINE)) as store:
        kind = wasmtime.FuncType([], [wasmtime.ValType.i64()])
        imports = [wasmtime.Func(store, kind, lambda number=number: number) for number in (12345, 54321)]
        exports = wasmtime.Instance(store, wasmtime.Module(ENGINE, wasm), imports).exports(store)
        memory = exports["memory"]
        if rewritten is not None:
            exports[rewritten.gas_export].set_value(store, -20_000)
            for offset, data in rewritten.segments:
                memory.write(store, data, offset)
        try:
            result = exports[function](store, 0)
        except wasmtime.Trap as trap:
            if rewritten is not None and exports[rewritten.gas_export].value(store) >= 0:
                return None
            result = trap.trap_code
        near = bytes(memory.read(store, 0, 1 << 17))
        return result, memory.size(store), near


@pytest.mark.parametrize("seed", range(60_000, 60_400, 50))
def test_a_damaged_module_is_refused_or_as_valid_as_before(seed: int) -> None:
    for each in range(seed, seed + 50):
        rnd = random.Random(each)
        wasm = damaged(generate(each).wasm, rnd)
        valid = is_valid(wasm)
        for track_writes, engine in ((False, VALIDATOR), (True, ENGINE)):
            try:
                rewritten = rewrite(wasm, track_writes=track_writes)
            except InvalidModule:
                assert not valid, f"seed {each}"
            else:
                assert is_valid(rewritten.wasm, engine) == valid, f"seed {each}"


def damaged(wasm: bytes, rnd: random.Random) -> bytes:
    """A few bytes of the code changed, or of anything."""
    content = bytearray(wasm)
    bodies = decode(wasm).bodies
    for _ in range(rnd.choice((1, 1, 1, 2, 3))):
        start, end = rnd.choice(bodies) if rnd.random() < 0.8 else (0, len(wasm))
        at = rnd.randrange(start, end)
        choices = (rnd.choice(b"\0\1\2\3\4\5\x0b\x0c\x0d\x0f\x10\x20\x21\x23\x24\x40"), rnd.randrange(256))
        content[at] = rnd.choice((*choices, content[at] ^ 1 << rnd.randrange(8), (content[at] + 1) % 256))
    return bytes(content)


def test_every_operator_can_occur_in_a_random_module() -> None:
    computing = {code for code, *_ in (*wasm_encoding.NUMERIC, *wasm_encoding.TRAPPING)}
    plain = {opcode for opcode in range(256) if operators.FORMS[opcode] == operators.Form.PLAIN} - {0x1B, 0xD1}
    assert {bytes((opcode,)) for opcode in plain} | {bytes((0xFC, number)) for number in range(8)} == computing
    vectors = {operator for operator, *_ in wasm_encoding.VECTOR} | wasm_encoding.VECTOR_LOADS.keys()
    assert set(operators.VECTOR_FORMS) == vectors | {0x0B, 0x0C, 0x0D} | set(range(0x54, 0x5C))
    assert operators.STORES.keys() == wasm_encoding.STORES.keys()
