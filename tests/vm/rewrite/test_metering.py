"""Gas, by hand-made functions; numbers are the original's (random contracts: test_random_modules)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
import wasmtime
from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import function, metering, operators, rewrite
from support.metered import ENGINE, Run, State, compiled, is_valid
from support.wasm_encoding import section, signed, unsigned

LIMIT = 1000
LOOP = "(loop (br_if 0 (i32.lt_u (local.tee $n (i32.add (local.get $n) (i32.const 1))) (i32.const 10))))"
PRELUDE = """(import "env" "spent" (func $spent (result i64)))
 (memory (export "m") 2) (global $g (mut i64) (i64.const 0)) (table 2 funcref) (elem (i32.const 0) $inc $inc)
 (elem $e func $inc) (data $d "abc")
 (func $inc (param i32) (result i32) (i32.add (local.get 0) (i32.const 1)))
 (func $two (result i32 i64) (i32.const 1) (i64.const 2))"""


@contextlib.contextmanager
def running(body: str, params: str = "(param i32)") -> Iterator[Run]:
    wasm = wasmtime.wat2wasm(f'(module {PRELUDE} (func (export "f") {params} {body}))')
    rewritten = rewrite(bytes(wasm), track_writes=False)
    with contextlib.closing(Run(rewritten, compiled(rewritten), State(2), LIMIT)) as run:
        yield run


def cost(body: str, argument: int = 0) -> int:
    """Gas that a function spends, entry included."""
    with running(body) as run:
        run.exports["f"](run.store, argument)
        return LIMIT - run.remaining()


def remaining_after_trap(body: str, gas: int = LIMIT, argument: int = 0) -> int:
    """Gas that the host sees after a function has trapped."""
    with running(body) as run:
        run.set_gas(gas)
        with pytest.raises(wasmtime.Trap):
            run.exports["f"](run.store, argument)
        return run.remaining()


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("", 1),
        ("nop nop (block) (drop (i32.const 1))", 2),
        ("(drop (i32.add (i32.const 1) (i32.const 2)))", 4),
        ("(i32.store (i32.const 0) (i32.const 0))", 1 + 2 + 16),
        ("(i32.store8 (i32.const 0) (i32.const 0))", 1 + 2 + 16),
        ("(i32.store16 (i32.const 0) (i32.const 0))", 1 + 2 + 16),
        ("(f32.store (i32.const 0) (f32.const 0))", 1 + 2 + 16),
        ("(i64.store (i32.const 0) (i64.const 0))", 1 + 2 + 32),
        ("(i64.store8 (i32.const 0) (i64.const 0))", 1 + 2 + 32),
        ("(i64.store32 (i32.const 0) (i64.const 0))", 1 + 2 + 32),
        ("(f64.store (i32.const 0) (f64.const 0))", 1 + 2 + 32),
        ("(v128.store (i32.const 0) (v128.const i64x2 0 0))", 1 + 2 + 64),
        ("(v128.store8_lane 0 (i32.const 0) (v128.const i64x2 0 0))", 1 + 2 + 64),
        ("(memory.fill (i32.const 0) (i32.const 1) (i32.const 0))", 5),
        ("(memory.fill (i32.const 0) (i32.const 1) (i32.const 100000))", 5),
        ("(memory.copy (i32.const 0) (i32.const 1) (i32.const 100000))", 5),
        ("(memory.init $d (i32.const 0) (i32.const 0) (i32.const 3))", 5),
        ("(data.drop $d)", 2),
        ("(elem.drop $e)", 2),
        ("(drop (memory.grow (i32.const 5)))", 3),
        ("(drop (memory.grow (i32.const -1)))", 3),
        ("(drop (memory.size))", 2),
        ("(drop (table.grow (ref.null func) (i32.const 100)))", 4),
        ("(table.fill (i32.const 0) (ref.null func) (i32.const 2))", 5),
        ("(drop (call $inc (i32.const 1)))", 3 + 4),
        ("(drop (call_indirect (param i32) (result i32) (i32.const 1) (i32.const 0)))", 4 + 4),
        ("(call $two) drop drop", 2 + 3),
        ("(return)", 1),
        ("(br 0)", 2),
        ("(if (local.get 0) (then (drop (i32.const 1))))", 3),
        ("(if (i32.eqz (local.get 0)) (then (drop (i32.const 1))))", 5),
        ("(if (local.get 0) (then) (else nop (drop (i32.const 1)) (drop (i32.const 1))))", 5),
        ("(block (br_if 0 (i32.const 1)) (drop (i32.const 1)))", 3),
        ("(block (br_if 0 (i32.const 0)) (drop (i32.const 1)))", 4),
        ("(block (br_table 0 0 1 (i32.const 1)))", 3),
        ("(local $n i32) " + LOOP, 1 + 10 * 7),
    ],
)  # fmt: skip
def test_a_function_costs_what_it_executes(body: str, expected: int) -> None:
    assert cost(body) == expected


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("(br 0) (drop (i32.const 1)) (i64.store (i32.const 0) (i64.const 0))", 2),
        ("(block (br 0) (drop (i32.const 1))) (drop (i32.const 1))", 3),
        ("(block (br 1) (drop (i32.const 1))) (drop (i32.const 1))", 2),
        ("(return) (block (loop (br 0))) (if (i32.const 0) (then (drop (i32.const 1))))", 1),
        ("(if (i32.const 0) (then (return)) (else (return))) (drop (i32.const 1))", 3),
        ("(if (i32.const 0) (then (return))) (drop (i32.const 1))", 4),
        ("(if (i32.const 1) (then (br 0) (drop (i32.const 1))) (else (return))) (drop (i32.const 1))", 5),
        ("(loop (return)) (drop (i32.const 1))", 1),
    ],
)
def test_dead_code_costs_nothing(body: str, expected: int) -> None:
    assert cost(body) == expected


def test_code_that_cannot_be_reached_is_copied_as_it_is() -> None:
    dead = "(drop (i32.const 12345)) (block (loop (br_if 1 (i32.const 1)) (br 0))) (return)"
    code = [wasmtime.wat2wasm(f"(module (func return {part}))") for part in (dead, "")]
    sizes = [len(rewrite(bytes(each), track_writes=False).wasm) - len(each) for each in code]
    assert sizes[0] == sizes[1]


@pytest.mark.parametrize(("gas", "out_of_gas"), [(0, True), (1, True), (2, False)])
def test_gas_is_checked_at_the_entry_of_a_function(gas: int, *, out_of_gas: bool) -> None:
    """A limit equal to the cost fails where a check comes last."""
    with running("") as run:
        run.set_gas(gas)
        if out_of_gas:
            with pytest.raises(wasmtime.Trap, match="unreachable"):
                run.exports["f"](run.store, 0)
            assert run.remaining() == 0
        else:
            run.exports["f"](run.store, 0)
            assert run.remaining() == 1


def test_straight_code_may_spend_more_than_there_is() -> None:
    with running("(i64.store (i32.const 0) (i64.const 0))") as run:
        run.set_gas(2)
        run.exports["f"](run.store, 0)
        assert run.remaining() == 0
        assert run.gas.value(run.store) == 33


def test_gas_is_checked_at_each_turn_of_a_loop() -> None:
    with running("(loop (br 0))") as run:
        run.set_gas(100)
        with pytest.raises(wasmtime.Trap, match="unreachable"):
            run.exports["f"](run.store, 0)
        assert run.gas.value(run.store) == 0


@pytest.mark.parametrize(
    ("body", "seen"),
    [
        ("(global.set $g (call $spent))", 2),
        ("(drop (i32.const 1)) (global.set $g (call $spent))", 3),
        ("(drop (call $inc (i32.const 1))) (global.set $g (call $spent))", 3 + 4 + 1),
    ],
)
def test_a_host_function_sees_all_that_was_spent_before_it(body: str, seen: int) -> None:
    with running(f'{body} (drop (i32.wrap_i64 (global.get $g)))) (export "g" (global $g)') as run:
        run.exports["f"](run.store, 0)
        assert run.exports["g"].value(run.store) == seen


def test_a_trap_leaves_what_was_saved_last() -> None:
    assert remaining_after_trap("(drop (i32.div_u (i32.const 1) (i32.const 0)))") == LIMIT
    assert remaining_after_trap("(drop (i32.const 1)) unreachable") == LIMIT - 2
    assert remaining_after_trap("(drop (call $spent)) (drop (i32.div_u (i32.const 1) (i32.const 0)))") == LIMIT - 2


def test_what_a_callee_gives_back_counts_for_its_caller() -> None:
    """The host may charge during a call: the caller goes on with what it left."""
    wasm = wasmtime.wat2wasm(
        '(module (import "env" "spent" (func $h (result i64))) (func (export "f") (drop (call $h))))'
    )
    rewritten = rewrite(bytes(wasm), track_writes=False)
    with contextlib.closing(wasmtime.Store(ENGINE)) as store:
        exports: wasmtime.InstanceExports

        def host() -> int:
            exports[rewritten.gas_export].set_value(store, -100)
            return 0

        function = wasmtime.Func(store, wasmtime.FuncType([], [wasmtime.ValType.i64()]), host)
        exports = wasmtime.Instance(store, compiled(rewritten), [function]).exports(store)
        exports[rewritten.gas_export].set_value(store, -1000)
        exports["f"](store)
        assert exports[rewritten.gas_export].value(store) == -100


def test_a_function_may_have_several_results() -> None:
    wat = """(module (func (export "f") (param i32) (result i32 i64 f32)
      (block (br_if 1 (i32.const 5) (i64.const 6) (f32.const 7) (local.get 0)) drop drop drop)
      (i32.const 1) (i64.const 2) (f32.const 3)))"""
    rewritten = rewrite(bytes(wasmtime.wat2wasm(wat)), track_writes=False)
    with contextlib.closing(wasmtime.Store(ENGINE)) as store:
        exports = wasmtime.Instance(store, compiled(rewritten), []).exports(store)
        exports[rewritten.gas_export].set_value(store, -1000)
        assert exports["f"](store, 0) == [1, 2, 3.0]
        assert exports["f"](store, 1) == [5, 6, 7.0]


# Operators: exactly those that the engine knows.


def with_body(code: bytes, *, locals_: bytes = b"\0", memory: bytes = b"\0\1") -> bytes:
    """A module with one function, a memory, a table, a global, an element and a data segment."""
    body = locals_ + code
    return b"\0asm\1\0\0\0" + b"".join(
        (
            section(1, b"\x01\x60\x00\x00"),
            section(3, b"\x01\x00"),
            section(4, b"\x01\x70\x00\x01"),
            section(5, b"\x01" + memory),
            section(6, b"\x01\x7f\x01\x41\x00\x0b"),
            section(9, b"\x01\x03\x00\x01\x00"),
            section(12, b"\x01"),
            section(10, b"\x01" + unsigned(len(body)) + body),
            section(11, b"\x01\x01\x00"),
        )
    )


def accepted(code: bytes) -> bool:
    """Whether a body can be rewritten, and the result is valid."""
    try:
        rewritten = rewrite(with_body(code), track_writes=True)
    except InvalidModule:
        return False
    return is_valid(rewritten.wasm, ENGINE)


# What may follow an operator: zeros, a block, a typed select, a heap type.
IMMEDIATES = [*(bytes(count) for count in (*range(5), 8, 16)), b"\x40\x0b", b"\x01\x7f", b"\x70"]


@pytest.mark.parametrize("prefix", [b"", b"\xfb", b"\xfc", b"\xfd", b"\xfe"])
def test_exactly_the_operators_of_the_engine_are_known(prefix: bytes) -> None:
    for number in range(0x140 if prefix else 0x100):
        operator = prefix + unsigned(number) if prefix else bytes((number,))
        for immediates in IMMEDIATES:
            code = b"\x00" + operator + immediates + b"\x00\x0b"  # in dead code, where any operands are there
            assert accepted(code) == is_valid(with_body(code)), code.hex()


def test_the_forms_are_in_the_order_that_the_reader_relies_on() -> None:
    first = [operators.Form.LOCAL, operators.Form.PLAIN, operators.Form.CONSTANT, operators.Form.LOAD]
    assert list(operators.Form)[:6] == [*first, operators.Form.STORE, operators.Form.FREE]


# Hostile bodies.


@pytest.mark.parametrize(
    "code",
    [
        b"\x20\x00\x1a\x0b",  # the local that would hold gas
        b"\x20\x80\x00\x1a\x0b",
        b"\x20\x80\x01\x1a\x0b",
        b"\x42\x00\x24\x01\x0b",  # the global that holds gas
        b"\x42\x00\x24\x81\x00\x0b",
        b"\x0c\x01\x0b",  # the label that is added
        b"\x00\x0c\x01\x0b",
        b"\x41\x00\x0e\x01\x00\x01\x0b",
        b"\x02\x01\x0b\x0b",  # a function type that may be added
        b"\x41\x00\x11\x01\x00\x0b",
        b"\x3f\x01\x1a\x0b",  # the memory of marks
        b"\x41\x00\x28\x42\x01\x00\x1a\x0b",
        b"\x41\x00\x41\x00\x41\x00\xfc\x0b\x01\x0b",
        b"\x41\x00\x41\x00\x41\x00\xfc\x0a\x00\x01\x0b",
        b"\x41\x00\x41\x00\x41\x00\xfc\x08\x00\x01\x0b",
        b"\xfd\x00\x42\x01\x00\x0b",
    ],
)
def test_what_is_added_cannot_be_reached(code: bytes) -> None:
    with pytest.raises(InvalidModule):
        rewrite(with_body(code), track_writes=True)


@pytest.mark.parametrize(
    "code",
    [
        b"",
        b"\x01",
        b"\x0b\x0b",
        b"\x0b\x01",
        b"\x02\x40\x0b",
        b"\x05\x0b",
        b"\x02\x40\x05\x0b\x0b",
        b"\x41\x00\x04\x40\x05\x05\x0b\x0b",
        b"\x41",
        b"\x41\x80",
        b"\x43\x00\x00\x00",
        b"\xfd\x0c\x00\x00\x0b",
        b"\xfd",
        b"\xfc\x80\x80\x80\x80\x80\x00\x0b",
        b"\x0e\xff\xff\xff\xff\x0f\x0b",
        b"\x0e\x04\x80\x80\x80\x80\x00\x0b",
        b"\x1c\x02\x7f\x7f\x0b",
        b"\xd0\x7f\x1a\x0b",
        b"\x02\x50\x0b\x0b",
        b"\x41\x00\x28\x05\x00\x1a\x0b",
        b"\x41\x00\x28\x02\x80\x80\x80\x80\x10\x1a\x0b",
    ],
)
def test_a_malformed_body_is_refused(code: bytes) -> None:
    assert not is_valid(with_body(code))
    with pytest.raises(InvalidModule):
        rewrite(with_body(code), track_writes=False)


@pytest.mark.parametrize(
    "body",
    [
        b"\0\x0e\x64" + b"\x80\x80\x80\x80\0" * 20,  # labels that are longer than counted
        b"\x64" + b"\x80\x80\x80\x80\0\x7f" * 17,  # local groups, likewise
        b"\0\xfd\x0c",
        b"\0\xfc",
        b"",
    ],
)
def test_a_body_at_the_very_end_of_a_module_is_not_read_past_it(body: bytes) -> None:
    code = section(10, b"\x01" + unsigned(len(body)) + body)
    with pytest.raises(InvalidModule):
        rewrite(b"\0asm\1\0\0\0" + section(1, b"\x01\x60\0\0") + section(3, b"\x01\0") + code, track_writes=True)


@pytest.mark.parametrize(
    "declarations",
    [b"\x01\xff\xff\xff\xff\x0f\x7f", b"\x01" + unsigned(50_001) + b"\x7f", b"\xff\x7f", b"\x01\x01\x40"],
)
def test_impossible_locals_are_refused(declarations: bytes) -> None:
    with pytest.raises(InvalidModule):
        rewrite(with_body(b"\x0b", locals_=declarations), track_writes=False)


def test_as_many_locals_as_promised_are_accepted() -> None:
    """Both ways of tracking accept the same contracts, although one adds more locals."""
    every_kind = "".join(
        f"({store} (i32.const 0) {value})"
        for store, value in (
            ("i32.store", "(i32.const 0)"), ("i64.store", "(i64.const 0)"), ("f32.store", "(f32.const 0)"),
            ("f64.store", "(f64.const 0)"), ("v128.store", "(v128.const i64x2 0 0)"),
        )
    )  # fmt: skip
    every_kind += "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0))"
    for is64 in (False, True):
        code = every_kind.replace("(i32.const 0) ", "(i64.const 0) ") if is64 else every_kind
        code = code.replace("(memory.fill (i64.const 0) (i64.const 0)", "(memory.fill (i64.const 0) (i32.const 0)")
        code = code.replace("(i32.const 0) (i32.const 0))", "(i32.const 0) (i64.const 0))") if is64 else code
        locals_ = "(local " + "i32 " * function.LOCALS_MAX + ")"
        wasm = bytes(wasmtime.wat2wasm(f"(module (memory {'i64' if is64 else ''} 1) (func {locals_} {code}))"))
        for track_writes in (False, True):
            assert is_valid(rewrite(wasm, track_writes=track_writes).wasm, ENGINE)


@pytest.mark.parametrize("is64", [False, True])
def test_both_ways_of_tracking_accept_functions_of_the_same_size(
    monkeypatch: pytest.MonkeyPatch, *, is64: bool
) -> None:
    """Nodes that differ in how they track writes must not differ in what can be deployed."""
    monkeypatch.setattr(metering, "BODY_BYTES_MAX", 200_000)
    store = (b"\x42" if is64 else b"\x41") + b"\x00\x41\x00\x36\x00\x00"
    stores = {}
    for turns in (2000, 6000):
        wasm = with_body(store * turns + b"\x0b", memory=b"\x04\x01" if is64 else b"\x00\x01")
        stores[turns] = []
        for track_writes in (False, True):
            try:
                rewrite(wasm, track_writes=track_writes)
            except InvalidModule as error:
                stores[turns].append(error.reason)
            else:
                stores[turns].append(None)
    assert stores == {2000: [None, None], 6000: ["function too large", "function too large"]}


def test_no_body_grows_more_than_is_allowed_for() -> None:
    """The worst case: operands come from elsewhere, and locals have long indices."""
    fills = 20_000
    for memory, address in ((b"\0\1", b"\x41"), (b"\4\1", b"\x42")):
        operands = (address + b"\0\x41\0" + address + b"\0") * fills
        code = operands + b"\xfc\x0b\0" * fills + b"\x0b"
        locals_ = b"\x01" + unsigned(40_000) + b"\x7f"
        plain = with_body(code, locals_=locals_, memory=memory)
        growth = len(rewrite(plain, track_writes=True).wasm) - len(plain)
        assert growth / fills + 3 < 3 * metering.GROWTH_MAX


def test_a_deeply_nested_body_is_read_without_recursion() -> None:
    depth = 200_000
    wasm = with_body(b"\x02\x40" * depth + b"\x0b" * depth + b"\x0b")
    rewritten = rewrite(wasm, track_writes=False)
    assert len(rewritten.wasm) < len(wasm) + 200


def test_a_body_of_nothing_but_branches_grows_moderately() -> None:
    turns = 50_000
    code = b"\x41\x00\x0d\x00" * turns
    assert len(rewrite(with_body(code + b"\x0b"), track_writes=True).wasm) < 5 * len(code)


def test_operators_that_change_instances_are_noticed() -> None:
    changing = {
        b"\x41\x00\xd0\x70\x26\x00",
        b"\xfc\x09\x00",
        b"\x41\x00\x41\x00\x41\x00\xfc\x0c\x00\x00",
        b"\xfc\x0d\x00",
        b"\x41\x00\x41\x00\x41\x00\xfc\x0e\x00\x00",
        b"\xd0\x70\x41\x00\xfc\x0f\x00\x1a",
        b"\x41\x00\xd0\x70\x41\x00\xfc\x11\x00",
    }
    harmless = {
        b"\x41\x00\x25\x00\x1a",
        b"\xfc\x10\x00\x1a",
        b"\x41\x00\x41\x00\x41\x00\xfc\x08\x00\x00",
        b"\x41\x00\x41\x00\x41\x00\xfc\x0b\x00",
        b"\x41" + signed(0) + b"\x40\x00\x1a",
    }
    for code in changing | harmless:
        assert is_valid(with_body(code + b"\x0b")), code.hex()
        assert rewrite(with_body(code + b"\x0b"), track_writes=False).reusable == (code in harmless), code.hex()
