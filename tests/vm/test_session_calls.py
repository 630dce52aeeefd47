"""Calls: what they give, what their failures leave, and what is refused before anything runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from piecrust import (
    VM,
    ContractDoesNotExist,
    ContractId,
    ContractPositionCollision,
    ContractRefused,
    ContractTrap,
    GasLimitInvalid,
    InitializationError,
    InvalidFunction,
    InvalidModule,
    MemoryAccessOutOfBounds,
    MissingOwner,
    OutOfGas,
    Panic,
)
from piecrust.objects.errors import PiecrustError
from piecrust.rkyv import u64
from piecrust.vm.errors import CompositeSerializerError, TimeLimitInvalid
from piecrust.vm.session import Session
from piecrust.vm.undo import MERGED_MIN, UndoLog
from support.fixtures import CONTRACTS, contract
from support.programs import SCRATCH, Program

A, B, C = (ContractId(bytes(31) + bytes([n])) for n in (1, 2, 3))
ECHO = """(module (memory (export "memory") 1) (global (export "A") i32 (i32.const 0))
  (func (export "echo") (param i32) (result i32) local.get 0))"""


@pytest.fixture
def session(vm: VM) -> Session:
    session = vm.session()
    for name in (A, B):
        session.deploy(contract("script"), b"owner", contract_id=name)
    return session


def run(session: Session, program: object, on: ContractId = A, **options: object) -> bytes:
    return session.call_raw(on, "run", program.bytes(), **options).data


def test_a_receipt_tells_data_gas_and_the_tree_of_calls(session: Session) -> None:
    inner = Program().call(A, 0, Program().limit())
    receipt = session.call_raw(A, "run", Program().call(B, 0, inner).call(B, 5000, Program()).bytes(), gas_limit=10**6)
    assert receipt.gas_limit == 10**6
    assert sum(element.spent for element in receipt.call_tree) == receipt.gas_spent
    assert [(element.contract, element.depth) for element in receipt.call_tree] == [(B, 1), (A, 2), (B, 1), (A, 0)]
    assert [element.function for element in receipt.call_tree] == ["run"] * 4
    assert receipt.call_tree[0].limit == 5000
    assert receipt.call_tree[-1].memory_length == 16 * 65536


def test_a_failed_call_leaves_memory_length_and_root_as_they_were(session: Session) -> None:
    run(session, Program().store(SCRATCH, b"kept"))
    root, length = session.root(), session.memory_len(A)
    for ending in (Program().panic("no"), Program().trap(), Program().exit(-5)):
        with pytest.raises(PiecrustError):
            run(session, Program().store(SCRATCH, b"lost").grow(3).append(ending))
        assert (session.root(), session.memory_len(A)) == (root, length)
    assert run(session, Program().load(SCRATCH, 4)) == b"kept"


def test_a_failed_call_says_what_it_emitted_and_where_it_failed(session: Session) -> None:
    inner = Program().emit("inner", b"1").panic("deep")
    with pytest.raises(Panic) as caught:
        run(session, Program().emit("outer").call(B, 50_000, inner).panic("shallow"), gas_limit=10**6)
    error = caught.value
    assert (error.kind, error.message, error.gas_limit) == ("Panic", "shallow", 10**6)
    assert [(event.source, event.topic, event.reverted) for event in error.events] == [
        (A, "outer", True),
        (B, "inner", True),
    ]
    assert [(frame.contract, frame.function, frame.gas_limit) for frame in error.frames] == [
        (A, "run", 10**6),
        (B, "run", 50_000),
    ]
    assert [frame.reason for frame in error.frames] == ["panic: shallow", "panic: deep"]


def test_events_of_a_failed_call_come_first_in_the_next_receipt(session: Session) -> None:
    for name in ("first", "second"):
        with pytest.raises(Panic):
            run(session, Program().emit(name).panic(""))
    receipt = session.call_raw(B, "run", Program().emit("third").bytes())
    assert [(event.topic, event.reverted) for event in receipt.events] == [
        ("first", True),
        ("second", True),
        ("third", False),
    ]
    assert session.call_raw(B, "run").events == ()


def test_a_query_leaves_no_trace(session: Session) -> None:
    run(session, Program().store(SCRATCH, b"kept"))
    with pytest.raises(Panic):
        run(session, Program().emit("pending").panic(""))
    before = session.root(), session.memory_len(A), session.steps
    receipt = session.query(A, "run", Program().store(SCRATCH, b"lost").grow(1).emit("mine").bytes())
    assert [event.topic for event in receipt.events] == ["mine"]
    with pytest.raises(Panic) as caught:
        session.query(A, "run", Program().emit("gone").panic("").bytes())
    assert [event.topic for event in caught.value.events] == ["gone"]
    assert (session.root(), session.memory_len(A), session.steps) == before
    receipt = session.call(A, "run", Program().load(SCRATCH, 4).bytes())
    assert receipt.data == b"kept"
    assert [(event.topic, event.reverted) for event in receipt.events] == [("pending", True)]


def test_a_query_gives_what_a_call_gives(session: Session) -> None:
    program = Program().add64(SCRATCH, 1).load(SCRATCH, 8).call(B, 0, Program().size()).spent().bytes()
    for _ in range(3):
        queried = session.query(A, "run", program)
        assert queried == session.call(A, "run", program)


def test_a_contract_keeps_no_globals_between_calls(vm: VM) -> None:
    with vm.session() as session:
        for reusable in ("", "(table $t 2 funcref) (func (table.set $t (i32.const 0) (ref.null func)))"):
            text = f"""(module (memory (export "memory") 1) (global (export "A") i32 (i32.const 0)) {reusable}
              (global $n (mut i32) (i32.const 5))
              (func (export "bump") (param i32) (result i32)
                (global.set $n (i32.add (global.get $n) (i32.const 1)))
                (i32.store (i32.const 0) (global.get $n)) (i32.const 4)))"""
            bumper, _ = session.deploy(text, owner=b"")
            assert [session.call(bumper, "bump").data[0] for _ in range(3)] == [6, 6, 6]


def test_any_failure_without_gas_left_is_out_of_gas(session: Session) -> None:
    with pytest.raises(OutOfGas):
        run(session, Program().burn(10**9), gas_limit=100_000)
    with pytest.raises(OutOfGas):
        run(session, Program(), gas_limit=0)
    with pytest.raises(InvalidFunction):
        session.call(A, "missing", gas_limit=0)


@pytest.mark.parametrize("limit", [-1, 2**64, 1.5, "7", None])
def test_gas_limits_are_numbers_of_64_bits(session: Session, limit: object) -> None:
    with pytest.raises(GasLimitInvalid) as caught:
        session.call(A, "run", gas_limit=limit)  # type: ignore[arg-type]
    assert caught.value.gas_limit == limit
    assert session.call(A, "run", gas_limit=2**64 - 1).gas_limit == 2**64 - 1


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_time_limits_are_positive(session: Session, seconds: float) -> None:
    with pytest.raises(TimeLimitInvalid):
        session.call(A, "run", time_limit=seconds)


def test_what_can_not_be_called(session: Session) -> None:
    with pytest.raises(ContractDoesNotExist) as missing:
        session.call(C, "run")
    assert missing.value.contract == C
    with pytest.raises(InvalidFunction) as function:
        session.call(A, "memory")
    assert function.value.name == "memory"
    with pytest.raises(InitializationError):
        session.call(C, "init")
    with pytest.raises(MemoryAccessOutOfBounds) as argument:
        session.call(A, "run", bytes(65537))
    assert (argument.value.offset, argument.value.length, argument.value.memory_length) == (0, 65537, 65536)


def test_results_beyond_the_buffer_undo_the_call(session: Session) -> None:
    root = session.root()
    with pytest.raises(MemoryAccessOutOfBounds) as caught:
        run(session, Program().store(SCRATCH, b"lost").exit(65537))
    assert caught.value.length == 65537
    assert session.root() == root


def test_bytecode_comes_as_bytes_path_or_text(vm: VM, tmp_path: Path) -> None:
    wat = tmp_path / "echo.wat"
    wat.write_text(ECHO)
    with vm.session() as session:
        counter, _ = session.deploy(CONTRACTS / "counter.wasm", owner=b"")
        assert session.deploy(str(CONTRACTS / "counter.wasm"), owner=b"", contract_id=A)[0] == A
        first, _ = session.deploy(ECHO, owner=b"")
        session.deploy(wat, owner=b"", contract_id=B)
        for name in (first, B):
            assert session.call(name, "echo", b"hello").data == b"hello"
        assert session.contracts() == sorted([counter, first, A, B])


@pytest.mark.parametrize(
    "bytecode", [b"", b"(module)", b"\0asm\1\0\0\0", "(module", "no/such/file.wasm", Path("no/such/file.wat")]
)
def test_what_is_no_contract_is_refused_and_nothing_is_left(vm: VM, bytecode: bytes | str | Path) -> None:
    with vm.session() as session:
        with pytest.raises(ContractRefused) as caught:
            session.deploy(bytecode, owner=b"")
        assert isinstance(caught.value, InvalidModule) or bytecode == b"\0asm\1\0\0\0"
        assert session.contracts() == []
        assert session.steps == ()


def test_an_owner_is_needed_and_fits_its_buffer(vm: VM) -> None:
    with vm.session() as session:
        with pytest.raises(MissingOwner):
            session.deploy(ECHO)
        with pytest.raises(CompositeSerializerError):
            session.deploy(ECHO, owner=bytes(65497))
        echo, _ = session.deploy(ECHO, owner=bytes(65496))
        assert session.contract_metadata(echo).owner == bytes(65496)


def test_an_id_is_deployed_once(session: Session) -> None:
    with pytest.raises(InitializationError):
        session.deploy(ECHO, owner=b"", contract_id=A)
    with pytest.raises(ContractPositionCollision):
        session.deploy(ECHO, owner=b"", contract_id=ContractId(A[28:] + A[:28]))
    session.deploy(ECHO, owner=b"", contract_id=C)


def test_init_runs_at_deployment_with_its_argument(vm: VM) -> None:
    with vm.session() as session:
        program = Program().emit("born", b"!").caller().store(SCRATCH, b"set")
        name, receipt = session.deploy(contract("script_init"), b"", init=program.bytes(), gas_limit=10**6)
        assert receipt is not None
        assert [(event.source, event.topic) for event in receipt.events] == [(name, "born")]
        assert receipt.gas_limit == 10**6
        assert run(session, Program().load(SCRATCH, 3), on=name) == b"set"
        _, receipt = session.deploy(ECHO, owner=b"", init=b"ignored")
        assert receipt is None


def test_a_failing_init_leaves_no_contract_and_no_change_elsewhere(session: Session) -> None:
    root = session.root()
    program = Program().call(A, 0, Program().store(SCRATCH, b"lost")).emit("lost").panic("unborn")
    with pytest.raises(Panic, match="unborn"):
        session.deploy(contract("script_init"), b"", contract_id=C, init=program.bytes())
    assert session.root() == root
    assert session.contract_metadata(C) is None
    session.deploy(contract("script_init"), b"", contract_id=C)
    assert [(event.topic, event.reverted) for event in session.call(C, "run").events] == []


def test_events_of_a_failing_init_come_first_in_the_next_receipt(session: Session) -> None:
    with pytest.raises(Panic):
        session.deploy(contract("script_init"), b"", contract_id=C, init=Program().emit("lost").panic("").bytes())
    _, receipt = session.deploy(contract("script_init"), b"", contract_id=C)
    assert receipt is not None
    assert [(event.topic, event.reverted) for event in receipt.events] == [("lost", True)]


def test_nested_calls_end_at_48_frames(session: Session) -> None:
    program = Program()
    for level in range(47):
        program = Program().call([A, B][level % 2], 0, program)
    receipt = session.call_raw(A, "run", program.bytes(), gas_limit=10**12)
    assert max(element.depth for element in receipt.call_tree) == 47
    deeper = Program().call(B, 0, program)
    receipt = session.call_raw(A, "run", deeper.bytes(), gas_limit=10**12)
    assert max(element.depth for element in receipt.call_tree) == 47


def test_of_many_nested_calls_not_each_one_is_remembered(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint, marks = UndoLog.checkpoint, []
    monkeypatch.setattr(UndoLog, "checkpoint", lambda log, ran: (marks.append(checkpoint(log, ran)), marks[-1])[1])
    root = session.root()
    count = Program().call(B, 0, Program().add64(SCRATCH, 1))
    lost = Program().call(A, 10_000, Program().call(B, 0, Program().add64(SCRATCH, 5)).grow(1).panic("lost"))
    loops = Program().repeat(80, Program().call(A, 0, Program().repeat(40, count)).append(lost))
    with pytest.raises(Panic, match="in vain"):
        session.call_raw(A, "run", loops.panic("in vain").bytes(), gas_limit=10**12)
    assert session.root() == root
    loops = Program().repeat(80, Program().call(A, 0, Program().repeat(40, count)).append(lost))
    session.call_raw(A, "run", loops.bytes(), gas_limit=10**12)
    assert int.from_bytes(session.call(B, "run", Program().load(SCRATCH, 8).bytes()).data, "little") == 3200
    assert len(marks) > 2 * 3200
    assert max(marks) < 3 * MERGED_MIN  # two levels of frames that call, and what is left of what they wrote


def test_traps_are_told_in_words_and_the_session_goes_on(vm: VM) -> None:
    with vm.session() as session:
        panics, _ = session.deploy(contract("panics"), owner=b"")
        for function, arguments, reason in (
            ("trap", (), "unreachable"),
            ("recurse", (u64(10**9),), "call stack exhausted"),
        ):
            with pytest.raises(ContractTrap, match=reason) as caught:
                session.call(panics, function, *arguments)
            assert caught.value.kind == "RuntimeError"
        with pytest.raises(Panic, match="there is nothing"):
            session.call(panics, "unwrap_nothing")


def test_bound_methods_call_functions(vm: VM) -> None:
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=b"")
        bound = session.contract(counter)
        bound.increment()
        assert bound.read_value(returns="i64").data == 0xFD
        with pytest.raises(InvalidFunction):
            bound.missing()
