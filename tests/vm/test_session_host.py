"""What contracts ask the host, and what it hears of them: queries, feeds, hooks, debug messages, transient data."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from piecrust import (
    VM,
    ContractDoesNotExist,
    ContractId,
    InvalidHostQuery,
    InvalidUtf8,
    MissingFeed,
    MissingHostQuery,
    OutOfGas,
    Panic,
    SessionBusy,
    TimeLimitExceeded,
)
from piecrust.objects.steps import Call, Failure, QueryFailure, feed_of
from piecrust.rkyv import ByteArray, Ok, u32, u64
from piecrust.vm.session import Session
from support.fixtures import contract
from support.programs import SCRATCH, Program

A, B = (ContractId(bytes(31) + bytes([n])) for n in (1, 2))
OpenVM = Callable[..., VM]


class Priced:
    """100 gas a byte."""

    def price(self, argument: bytes) -> int:
        return 100 * len(argument)

    def execute(self, argument: bytes) -> bytes:
        return argument.upper()


def opened(vm: VM, **options: object) -> Session:
    session = vm.session(**options)
    for name in (A, B):
        session.deploy(contract("script"), b"owner", contract_id=name)
    return session


def ask(session: Session, name: str, argument: bytes = b"", **options: object) -> bytes:
    data = session.call_raw(A, "run", Program().query(name, argument).bytes(), **options).data
    return data[4:]


def test_queries_answer_bytes_with_bytes(vm: VM) -> None:
    vm.register_host_query("reverse", lambda argument: argument[::-1])
    vm.register_host_query("view", lambda argument: memoryview(argument)[:2])
    session = opened(vm)
    assert ask(session, "reverse", b"abc") == b"cba"
    assert ask(session, "view", b"abc") == b"ab"
    assert vm.host_queries == ("reverse", "view")


def test_a_price_is_charged_before_the_query_runs(vm: VM) -> None:
    vm.register_host_query("upper", Priced())
    session = opened(vm)
    cheap = session.call_raw(A, "run", Program().query("upper", b"").bytes()).gas_spent
    dear = session.call_raw(A, "run", Program().query("upper", b"abcdefghij").bytes()).gas_spent
    assert dear - cheap >= 1000
    with pytest.raises(OutOfGas):
        ask(session, "upper", b"abcdefghij", gas_limit=1000)
    assert [answer.answer for answer in session.steps[-1].answers] == [QueryFailure("OutOfGas")]


def test_sessions_know_the_queries_of_their_beginning_but_the_excluded(vm: VM) -> None:
    vm.register_host_query("one", bytes)
    session = opened(vm)
    vm.register_host_query("two", bytes)
    with pytest.raises(MissingHostQuery) as missing:
        ask(session, "two")
    assert missing.value.name == "two"
    session = opened(vm, exclude_host_queries=["one", "unknown"])
    ask(session, "two")
    with pytest.raises(MissingHostQuery):
        ask(session, "one")


@pytest.mark.parametrize(
    "query",
    [
        lambda argument: 1 // 0,
        lambda argument: "text",
        lambda argument: bytes(65537),
        lambda argument: None,
        type("Bad", (Priced,), {"price": lambda self, argument: -1})(),
        type("Worse", (Priced,), {"price": lambda self, argument: 1 // 0})(),
    ],
    ids=["raises", "text", "long", "nothing", "bad price", "raising price"],
)
def test_a_failing_query_is_a_panic_of_the_contract(vm: VM, query: Callable[[bytes], bytes]) -> None:
    vm.register_host_query("bad", query)
    session = opened(vm)
    root = session.root()
    with pytest.raises(Panic, match="host query panicked") as caught:
        ask(session, "bad")
    assert isinstance(caught.value.__cause__, Exception)
    assert session.root() == root
    inner = Program().query("bad").bytes()
    data = session.call_raw(A, "run", Program().call(B, 0, inner).bytes()).data
    assert int.from_bytes(data[:4], "little", signed=True) == -1
    assert b"host query panicked" in data


def test_an_uncontained_failure_comes_out_as_it_is(vm: VM) -> None:
    vm.register_host_query("bad", lambda argument: 1 // 0)
    session = opened(vm, contain_host_query_failures=False)
    root = session.root()
    with pytest.raises(ZeroDivisionError):
        session.call_raw(A, "run", Program().emit("lost").call(B, 0, Program().query("bad")).bytes())
    assert session.root() == root
    assert session.steps[-1].outcome == Failure("HostPanic", "", session.steps[-1].outcome.events)
    receipt = session.call_raw(A, "run", Program().callstack().bytes())
    assert receipt.data[:4] == bytes(4)
    assert [event.topic for event in receipt.events] == ["lost"]


def test_an_interrupt_in_a_query_undoes_the_call_and_leaves_no_trace(vm: VM) -> None:
    def interrupt(argument: bytes) -> bytes:
        raise KeyboardInterrupt

    vm.register_host_query("interrupt", interrupt)
    session = opened(vm)
    before = session.root(), session.steps
    with pytest.raises(KeyboardInterrupt):
        session.call_raw(A, "run", Program().emit("lost").call(B, 0, Program().query("interrupt")).bytes())
    assert (session.root(), session.steps) == before
    assert session.call_raw(A, "run").events == ()


@pytest.mark.parametrize("query", [None, 7, object()])
def test_what_is_no_query_is_refused(vm: VM, query: object) -> None:
    with pytest.raises(InvalidHostQuery):
        vm.register_host_query("bad", query)  # type: ignore[arg-type]


def test_a_query_can_use_other_sessions_but_not_its_own(vm: VM) -> None:
    own: list[Session] = []

    def elsewhere(argument: bytes) -> bytes:
        with pytest.raises(SessionBusy):
            own[0].call_raw(A, "run")
        with pytest.raises(SessionBusy):
            own[0].root()
        with opened(vm) as session:
            return session.call_raw(B, "run", Program().self_id().bytes()).data

    vm.register_host_query("elsewhere", elsewhere)
    own.append(opened(vm))
    data = own[0].call_raw(A, "run", Program().query("elsewhere").self_id().bytes()).data
    assert data == (32).to_bytes(4, "little") + B + A


def test_what_is_fed_is_delivered_even_by_a_call_that_fails(vm: VM) -> None:
    session = opened(vm)
    fed: list[bytes] = []
    inner = Program().feed("two").panic("")
    program = Program().feed("one").call(B, 0, inner).feed("three")
    session.feeder_call(A, "run", program.bytes(), feed=fed)
    assert fed == [b"one", b"two", b"three"]
    with pytest.raises(Panic):
        session.feeder_call(A, "run", Program().feed("four").panic("").bytes(), feed=fed.append)
    assert fed[3:] == [b"four"]
    assert [step.feed for step in session.steps[2:]] == [feed_of(fed[:3]), feed_of(fed[3:])]
    with pytest.raises(MissingFeed):
        session.call(A, "run", Program().feed("five").bytes())


def test_a_feeder_that_raises_ends_the_call(vm: VM) -> None:
    session = opened(vm)
    root = session.root()

    def full(data: bytes) -> None:
        raise BufferError("full")

    with pytest.raises(BufferError):
        session.feeder_call(A, "run", Program().feed("one").bytes(), feed=full)
    assert session.root() == root


def test_the_call_hook_sees_and_refuses_nested_calls(vm: VM) -> None:
    session = opened(vm)
    seen: list[tuple[object, ...]] = []

    def hook(callee: ContractId, function: str, argument: bytes, stack: tuple[ContractId, ...]) -> str | None:
        seen.append((callee, function, argument, stack))
        return "not allowed" if argument == b"\x12" else None

    assert session.set_call_hook(hook) is None
    program = Program().call(B, 0, Program().call(A, 0, Program().spent()))
    receipt = session.call_raw(A, "run", program.bytes())
    assert [(callee, function, stack) for callee, function, _, stack in seen] == [
        (B, "run", (A,)),
        (A, "run", (B, A)),
    ]
    assert b"not allowed" in receipt.data
    assert [element.contract for element in receipt.call_tree] == [B, A]
    assert session.steps[-1].answers[0].answer == QueryFailure("Panic", "not allowed")
    assert session.set_call_hook(None) is hook
    assert b"not allowed" not in session.call_raw(A, "run", program.bytes()).data


def test_a_call_can_be_made_in_the_name_of_a_contract(vm: VM) -> None:
    session = opened(vm)
    seen: list[tuple[object, ...]] = []
    session.set_call_hook(lambda *asked: seen.append(asked))
    inner = Program().caller().callstack()
    receipt = session.call_raw(A, "run", inner.append(Program().call(A, 0, inner)).bytes(), caller=B)
    assert receipt.data.startswith((1).to_bytes(4, "little") + B + (1).to_bytes(4, "little") + B)
    assert receipt.data.endswith((2).to_bytes(4, "little") + A + B)
    assert [element.contract for element in receipt.call_tree] == [A, A]
    assert [stack for *_, stack in seen] == [(B,), (A, B)]
    assert session.call_raw(A, "run", Program().caller().bytes()).data == bytes(4)
    with pytest.raises(ContractDoesNotExist) as caught:
        session.call_raw(A, "run", caller=ContractId(bytes(32)))
    assert caught.value.contract == bytes(32)
    session.set_call_hook(lambda *asked: "not you")
    with pytest.raises(Panic, match="not you"):
        session.call_raw(A, "run", caller=B)


def test_the_contract_in_whose_name_a_call_is_made_counts_as_one_of_48(vm: VM) -> None:
    session = opened(vm)
    program = Program().callstack()
    for level in range(47):
        program = Program().call([A, B][level % 2], 0, program)
    for caller, deepest in ((None, 47), (B, 46)):
        receipt = session.call_raw(B, "run", program.bytes(), gas_limit=10**12, caller=caller)
        assert max(element.depth for element in receipt.call_tree) == deepest


def test_debug_messages_are_kept_even_if_the_call_fails(vm: VM) -> None:
    text = """(module (import "env" "hdebug" (func $say (param i32))) (memory (export "memory") 1)
      (global (export "A") i32 (i32.const 0))
      (func (export "say") (param i32) (result i32) (call $say (local.get 0)) (i32.const 0))
      (func (export "say_and_trap") (param i32) (result i32) (call $say (local.get 0)) unreachable))"""
    with vm.session() as session:
        debug, _ = session.deploy(text, owner=b"")
        session.call(debug, "say", "é".encode())
        with pytest.raises(Exception, match="unreachable"):
            session.call(debug, "say_and_trap", b"lost?")
        assert session.debug_messages == ("é", "lost?")


def test_metadata_is_what_contracts_read(vm: VM) -> None:
    session = opened(vm, meta={"height": u64(7), "raw": b"bytes"})
    assert session.call_raw(A, "run", Program().data("raw").bytes()).data == b"\5\0\0\0bytes"
    assert session.meta("height") == (7).to_bytes(8, "little")
    assert session.set_meta("raw", b"") == b"bytes"
    assert session.remove_meta("height") == (7).to_bytes(8, "little")
    assert session.remove_meta("height") is None
    assert session.call_raw(A, "run", Program().data("height").data("raw").bytes()).data == bytes(8)


def test_names_without_end_are_no_names_and_read_in_pieces(vm: VM) -> None:
    session = opened(vm)
    far, length = 0x4000_0000, 0x400_0000
    data = session.call_raw(A, "run", Program().raw_call(0, far, length, 0, 0).raw_data(far, length).bytes()).data
    assert data == (-3).to_bytes(4, "little", signed=True) + bytes(4)
    with pytest.raises(MissingHostQuery, match="67108864 bytes"):
        session.call_raw(A, "run", Program().raw_query(far, length, 0).bytes())
    middle = far + (1 << 17) - 1
    for broken, at in ((b"\xc3\xa9", None), (b"\xe2\x82\xac", None), (b"\xc3(", (1 << 17) - 1), (b"\0\xff", 1 << 17)):
        program = Program().store(middle, broken).raw_call(0, far, length, 0, 0)
        if at is None:
            assert session.query(A, "run", program.bytes()).data[-4:] == (-3).to_bytes(4, "little", signed=True)
        else:
            with pytest.raises(InvalidUtf8) as caught:
                session.query(A, "run", program.bytes())
            assert caught.value.offset == at
    for program in (Program().raw_call(0, far, 0xBFFF_FFFF, 0, 0), Program().raw_data(far, 0xBFFF_FFFF)):
        with pytest.raises(TimeLimitExceeded):
            session.call_raw(A, "run", program.bytes(), time_limit=0.01)


# Transient data

KEY = bytes(range(32))


@pytest.fixture
def transient(open_vm: OpenVM) -> Session:
    session = open_vm(transient_storage=True).session()
    for name in (A, B):
        session.deploy(contract("transient"), b"owner", contract_id=name)
    return session


def test_transient_data_lives_for_one_top_level_call(transient: Session) -> None:
    transient.call(A, "remember", KEY + (7).to_bytes(8, "little"))
    assert transient.call(A, "recall", KEY, returns=u64).data == 0


def test_transient_data_is_a_contract_s_own_and_shared_by_its_frames(transient: Session) -> None:
    for other, panicking, expected in ((A, False, 7), (A, True, 0), (B, False, 0)):
        receipt = transient.call(A, "recall_after", other, panicking, ByteArray(KEY), u64(7), returns=tuple[u64, bool])
        assert receipt.data == (expected, panicking)


def test_transient_data_costs_four_gas_a_byte(transient: Session) -> None:
    argument = KEY + (7).to_bytes(8, "little")
    assert transient.call(A, "cost_to_remember", argument, returns=u64).data >= 4 * 40


def test_transient_data_has_a_limit(transient: Session) -> None:
    transient.call(A, "fill", u32(31), gas_limit=10**12)
    with pytest.raises(Panic, match="transient storage is full"):
        transient.call(A, "fill", u32(32), gas_limit=10**12)
    transient.call(A, "fill", u32(31), gas_limit=10**12)


def test_transient_data_guards_against_reentrance(transient: Session) -> None:
    assert transient.call(A, "guarded", B).data == Ok(False)


def test_transient_storage_is_opt_in_and_recorded(open_vm: OpenVM) -> None:
    vm = open_vm()
    with vm.session() as session:
        name, _ = session.deploy(contract("transient"), b"owner")
        with pytest.raises(MissingHostQuery):
            session.call(name, "recall", KEY)
    with pytest.raises(InvalidHostQuery):
        open_vm(transient_storage=True).register_host_query("transient_get", bytes)


def test_transient_data_is_no_part_of_the_root(open_vm: OpenVM) -> None:
    session = opened(open_vm(transient_storage=True))
    ask(session, "transient_set", KEY + b"value")
    root = session.root()
    ask(session, "transient_set", KEY + b"value")
    assert session.root() == root


def test_keys_that_are_too_short_are_a_panic(open_vm: OpenVM) -> None:
    session = opened(open_vm(transient_storage=True))
    for name in ("transient_set", "transient_get"):
        with pytest.raises(Panic, match="a key has 32 bytes"):
            ask(session, name, b"short")
    assert ask(session, "transient_get", KEY + b"default") == b"default"
    assert isinstance(session.steps[-1], Call)
    program = Program().query("transient_set", KEY + b"long value").query("transient_get", KEY + b"d")
    assert session.call_raw(A, "run", program.store(SCRATCH, b"").bytes()).data[8:] == b"long value"
