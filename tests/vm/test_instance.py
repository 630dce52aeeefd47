from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from piecrust.vm import engine, host
from piecrust.vm.code import Code
from piecrust.vm.contents import PAGE_BYTES
from piecrust.vm.deadline import Deadline
from piecrust.vm.errors import ContractTrap, InvalidFunction, TimeLimitExceeded
from piecrust.vm.instance import Instance, apply_segments
from piecrust.vm.memory import Memory
from piecrust.vm.modules import Modules
from support.scratch import ARGUMENT, GAS, Scratch, host_functions, scratch_code

pytestmark = pytest.mark.usefixtures("native_path")


def compiled(body: str, *, imports: str = "", memory: str = "1") -> Code:
    return Modules().compile(
        engine.to_wasm(
            f'(module {imports} (memory (export "memory") {memory}) (global (export "A") i32 (i32.const 0)) {body})'
        )
    )


@pytest.fixture
def made(scratch: Scratch, native_path: str) -> Iterator[Scratch]:
    scratch.renew()
    return scratch


def test_calls_an_exported_function(made: Scratch) -> None:
    made.store(24, 1 << 40)
    assert made.load(24) == 1 << 40
    assert made.call("size") == 4


def test_a_function_that_is_not_exported_is_invalid(made: Scratch) -> None:
    for name in ("nothing", "memory", "", "\0gas"):
        with pytest.raises(InvalidFunction) as caught:
            made.call(name)
        assert caught.value.name == name


def test_results_are_unsigned(made: Scratch) -> None:
    with host_functions(hq=lambda *_: -1):
        made.renew()
        assert made.call("ask", 0) == 0xFFFFFFFF


def test_gas_is_spent(made: Scratch) -> None:
    made.instance.set_gas(1000)
    made.instance.call("size", 0)
    spent = 1000 - made.instance.remaining()
    assert 0 < spent < 20
    made.instance.set_gas(spent)
    made.instance.call("size", 0)
    assert made.instance.remaining() == 0


def test_without_gas_nothing_runs(made: Scratch) -> None:
    made.instance.set_gas(1)
    with pytest.raises(ContractTrap):
        made.instance.call("size", 0)
    assert made.instance.remaining() == 0


@pytest.mark.parametrize("gas", [0, 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1])
def test_gas_is_any_64_bit_number(made: Scratch, gas: int) -> None:
    made.instance.set_gas(gas)
    assert made.instance.remaining() == gas
    if gas > 1:
        made.instance.call("size", 0)
        assert gas - 20 < made.instance.remaining() < gas


@pytest.mark.parametrize(
    ("function", "reason"), [("trap", "unreachable"), ("recurse", "call stack exhausted"), ("load", "out of bounds")]
)
def test_a_trap_says_why_in_stable_words(tracker: str, native_path: str, function: str, reason: str) -> None:
    with host_functions():
        made = Scratch()
        with pytest.raises(ContractTrap, match=reason) as caught:
            made.call(function, (1 << 32) - 1)
        assert "\n" not in caught.value.reason
        assert made.load(8) == 0, "an instance survives its traps"
        made.close()


class TestHostFunctions:
    def test_get_the_session_and_unsigned_arguments(self, tracker: str) -> None:
        seen: list[object] = []
        with host_functions(hq=lambda *arguments: seen.append(arguments) or 3):  # type: ignore[func-returns-value]
            made = Scratch()
            with host.running("the session"):
                assert made.call("ask", 0xFFFFFFFE, 0) == 3
            made.close()
        assert seen == [("the session", 0xFFFFFFFE, 4, 16)]
        assert host.active.session is None

    def test_of_64_bit_contracts_get_64_bit_pointers(self, tracker: str) -> None:
        seen: list[object] = []
        with host_functions(hq=lambda *arguments: seen.append(arguments)):
            made = Scratch(is64=True)
            made.call("ask", (1 << 64) - 2)
            made.close()
        assert seen == [(None, (1 << 64) - 2, 4, 8)]

    @pytest.mark.parametrize("result", [0, 5, -1, 1 << 31, (1 << 32) + 7])
    def test_results_are_cut_to_their_type(self, tracker: str, result: int) -> None:
        with host_functions(hq=lambda *_: result, limit=lambda _: (1 << 64) - 5):
            made = Scratch()
            assert made.call("ask", 0) == result & 0xFFFFFFFF
            assert made.call("limit") == (1 << 32) - 5
            made.close()

    @pytest.mark.parametrize("error", [KeyError("x"), KeyboardInterrupt(), SystemExit(3), RecursionError()])
    def test_what_they_raise_comes_out_unchanged(self, made: Scratch, error: BaseException) -> None:
        def fails(*_: object) -> int:
            raise error

        with host_functions(hq=fails):
            made.renew()
            with pytest.raises(type(error)) as caught:
                made.call("ask", 0)
            assert caught.value is error
            assert host.active.pending is None
            assert made.call("size") == 4

    def test_may_call_other_contracts(self, tracker: str) -> None:
        inner = []

        def nest(session: object, at: int, length: int, argument: int) -> int:
            return inner[0].call("size") + 1

        with host_functions(hq=nest):
            outer = Scratch()
            inner.append(Scratch(pages=7))
            assert outer.call("ask", 0) == 8
            assert outer.load(8) == 0
            inner[0].close()
            outer.close()

    def test_exceptions_stay_in_their_thread(self, tracker: str) -> None:
        barrier = threading.Barrier(2)
        outcomes: dict[int, list[object]] = {0: [], 1: []}

        def fails(session: int, *_: int) -> int:
            raise KeyError(session)

        def work(number: int) -> None:
            made = Scratch()
            barrier.wait()
            with host.running(number):
                for _ in range(200):
                    try:
                        made.call("ask" if number == 0 else "trap", 0)
                    except (KeyError, ContractTrap) as error:
                        outcomes[number].append(error.args[0])
            made.close()

        with host_functions(hq=fails):
            threads = [threading.Thread(target=work, args=(number,)) for number in outcomes]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert outcomes[0] == [0] * 200
        assert len(outcomes[1]) == 200
        assert all("unreachable" in str(text) for text in outcomes[1])

    def test_a_missing_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="hq"):
            host.install({name: (lambda *_: 0) for name in ("c", "feed")})


class TestReset:
    def test_sets_globals_back(self, made: Scratch) -> None:
        assert [made.call("count") for _ in range(3)] == [1, 2, 3]
        assert made.instance.reset()
        assert made.call("count") == 1

    def test_after_a_trap_too(self, made: Scratch) -> None:
        made.call("count")
        with pytest.raises(ContractTrap):
            made.call("trap")
        assert made.instance.reset()
        assert made.call("count") == 1

    @pytest.mark.parametrize(
        ("name", "declared", "change"),
        [
            ("i64", "(global $g (mut i64) (i64.const -7))", "(global.set $g (i64.const 1))"),
            ("f32", "(global $g (mut f32) (f32.const 0.5))", "(global.set $g (f32.const 1))"),
            ("f64", "(global $g (mut f64) (f64.const 0.25))", "(global.set $g (f64.const 1))"),
        ],
    )
    def test_of_every_type(self, tracker: str, name: str, declared: str, change: str) -> None:
        body = f"""{declared} (func (export "get") (param i32) (result i32)
            ({name}.store (i32.const 8) (global.get $g)) (i32.const 0))
            (func (export "set") (param i32) (result i32) {change} (i32.const 0))"""
        with host_functions():
            code = compiled(body)
            memory = Memory(32, PAGE_BYTES)
            instance = Instance(code, memory)
            seen = []
            for function in ("get", "set", "get", "reset", "get"):
                if function == "reset":
                    assert instance.reset()
                    continue
                instance.set_gas(GAS)
                instance.call(function, 0)
                seen.append(memory.read(8, 8))
            assert seen[0] == seen[3] != seen[2]
            instance.close()
            memory.close()

    def test_a_contract_that_changes_tables_cannot_be_reset(self, tracker: str) -> None:
        body = """(table $t 1 funcref) (func $f) (elem declare func $f)
            (func (export "set") (param i32) (result i32) (table.set $t (i32.const 0) (ref.func $f)) (i32.const 0))"""
        with host_functions():
            code = compiled(body)
            memory = Memory(32, PAGE_BYTES)
            instance = Instance(code, memory)
            assert not instance.reset()
            instance.close()
            memory.close()


def test_imports_go_by_their_names_alone(tracker: str) -> None:
    imports = '(import "elsewhere" "hdebug" (func $a (param i32))) (import "" "hdebug" (func $b (param i32)))'
    seen: list[int] = []
    with host_functions(hdebug=lambda _, number: seen.append(number)):
        body = (
            '(func (export "f") (param i32) (result i32) (call $a (i32.const 1)) (call $b (i32.const 2)) (i32.const 0))'
        )
        memory = Memory(32, PAGE_BYTES)
        instance = Instance(compiled(body, imports=imports), memory)
        instance.set_gas(GAS)
        instance.call("f", 0)
        instance.close()
        memory.close()
    assert seen == [1, 2]


def test_data_segments_are_written_once(tracker: str) -> None:
    with host_functions():
        code = compiled('(data (i32.const 10) "abc") (data (i32.const 70000) "") (data "passive")', memory="2")
        memory = Memory(32, code.initial_length)
        apply_segments(code, memory)
        assert memory.read(9, 5) == b"\0abc\0"
        assert memory.written() == {0: 1}
        memory.write(10, b"xyz")
        for _ in range(2):
            Instance(code, memory).close()
        assert memory.read(9, 5) == b"\0xyz\0"
        memory.close()


class TestTimeLimit:
    def test_stops_an_endless_call(self, tracker: str) -> None:
        with host_functions(), Deadline(0.1) as deadline:
            code = scratch_code(interruptible=True)
            memory = Memory(32, code.initial_length)
            instance = Instance(code, memory, deadline=deadline)
            instance.set_gas(1 << 60)
            begun = time.monotonic()
            with pytest.raises(TimeLimitExceeded) as caught:
                instance.call("spin", 0)
            assert caught.value.seconds == 0.1
            assert deadline.passed
            assert time.monotonic() - begun < 30, "it ended at all"
            instance.close()
            memory.close()

    def test_costs_the_same_gas(self, tracker: str) -> None:
        spent = []
        with host_functions(), Deadline(60) as deadline:
            for limited in (False, True):
                code = scratch_code(interruptible=limited)
                memory = Memory(32, code.initial_length)
                memory.write(ARGUMENT, bytes(24))
                instance = Instance(code, memory, deadline=deadline if limited else None)
                instance.set_gas(GAS)
                instance.call("copy", 24)
                spent.append(GAS - instance.remaining())
                instance.close()
                memory.close()
        assert spent[0] == spent[1]

    def test_an_instance_outlives_other_deadlines(self, tracker: str) -> None:
        with host_functions():
            code = scratch_code(interruptible=True)
            with Deadline(60) as patient:
                memory = Memory(32, code.initial_length)
                instance = Instance(code, memory, deadline=patient)
                with Deadline(0.05) as hasty:
                    while not hasty.passed:
                        instance.set_gas(GAS)
                        instance.call("size", 0)
                instance.set_gas(GAS)
                assert instance.call("size", 0) == 4
                assert not instance.reset(), "its deadline belongs to one call"
                instance.close()
                memory.close()


def test_more_instances_than_a_store_can_hold(tracker: str) -> None:
    """A store of the engine holds 10,000 instances over its life."""
    with host_functions():
        code = scratch_code()
        memory = Memory(32, code.initial_length)
        for _ in range(10_100):
            Instance(code, memory).close()
        memory.close()
