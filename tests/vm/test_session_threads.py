"""Sessions in threads and processes, time limits, and that nothing is held for longer than it is needed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable

import pytest
from piecrust import VM, CommitId, ContractId, SessionBusy, SessionClosed, StoreClosed, TimeLimitExceeded
from piecrust.rkyv import i64
from piecrust.vm.session import Session
from support.fixtures import contract
from support.holdings import holdings_over_sessions
from support.programs import SCRATCH, Program
from support.stress import differences

A, B = (ContractId(bytes(31) + bytes([n])) for n in (1, 2))
OpenVM = Callable[..., VM]


def opened(vm: VM) -> Session:
    session = vm.session()
    for name in (A, B):
        session.deploy(contract("script"), b"owner", contract_id=name)
    return session


def test_sessions_in_threads_do_what_they_do_alone(vm: VM) -> None:
    assert differences(vm, threads=8, sessions=8, seed=1) == []


def test_nothing_grows_over_many_sessions(vm: VM) -> None:
    before, after = holdings_over_sessions(vm, 200)
    assert not after.grew_from(before), (before, after)


def test_a_session_that_runs_a_call_is_busy_for_other_threads(vm: VM) -> None:
    running, done = threading.Event(), threading.Event()

    def wait(argument: bytes) -> bytes:
        running.set()
        assert done.wait(30)
        return b""

    vm.register_host_query("wait", wait)
    session = opened(vm)
    thread = threading.Thread(target=session.call_raw, args=(A, "run", Program().query("wait").bytes()))
    thread.start()
    assert running.wait(30)
    for use in (session.root, session.commit, session.close, lambda: session.call_raw(B, "run")):
        with pytest.raises(SessionBusy):
            use()
    with opened(vm) as other:
        other.call_raw(A, "run")
    done.set()
    thread.join()
    session.call_raw(B, "run")


def test_a_session_may_move_to_another_thread(vm: VM) -> None:
    session = opened(vm)
    session.call(A, "run", Program().store(SCRATCH, b"one").bytes())
    seen: list[bytes] = []

    def use() -> None:
        seen.append(session.call(A, "run", Program().load(SCRATCH, 3).bytes()).data)

    for stack_bytes in (0, 1 << 20):  # the second one is too small for contracts: the call goes to a larger one
        threading.stack_size(stack_bytes)
        try:
            thread = threading.Thread(target=use)
            thread.start()
        finally:
            threading.stack_size(0)
        thread.join()
    assert seen == [b"one", b"one"]


def test_processes_see_each_other_s_commits(open_vm: OpenVM) -> None:
    vm = open_vm()
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), b"owner")
        base = session.commit()
    program = f"""
from piecrust import VM, CommitId
with VM({str(vm.root_dir)!r}, cache_directory={str(vm.root_dir / "cache")!r}) as vm:
    with vm.session(CommitId.from_hex({base.hex()!r})) as session:
        session.call(bytes.fromhex({counter.hex()!r}), "increment")
        print(session.commit().hex())
"""
    result = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    theirs = CommitId.from_hex(result.stdout.strip())
    assert set(vm.commits()) == {base, theirs}
    with vm.session(theirs) as session:
        assert session.call(counter, "read_value", returns=i64).data == 0xFD


@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
def test_after_fork_the_child_s_sessions_are_over_and_the_parent_s_go_on(open_vm: OpenVM) -> None:
    vm = open_vm()
    session = opened(vm)
    session.call(A, "run", Program().store(SCRATCH, b"parent").bytes())
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        verdict = 1
        try:
            with pytest.raises(SessionClosed, match="fork"):
                session.call(A, "run")
            with pytest.raises(StoreClosed):
                vm.commits()
            session.close()
            with VM(vm.root_dir, sync=False, cache_directory=vm.root_dir / "cache") as own, opened(own) as again:
                again.call(A, "run", Program().store(SCRATCH, b"child").bytes())
                again.commit(message="child")
            verdict = 0
        finally:
            os._exit(verdict)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    session.call(A, "run", Program().store(SCRATCH + 8, b"on").bytes())
    assert session.call(A, "run", Program().load(SCRATCH, 10).bytes()).data == b"parent\0\0on"
    commit = session.commit()
    assert set(vm.commits()) > {commit}


# Time limits


def test_an_endless_contract_is_stopped_and_the_session_goes_on(vm: VM) -> None:
    session = opened(vm)
    endless, _ = session.deploy(contract("endless"), b"owner")
    session.call(A, "run", Program().store(SCRATCH, b"kept").bytes())
    before = session.root(), session.steps
    with pytest.raises(TimeLimitExceeded) as caught:
        session.call(endless, "run", gas_limit=2**64 - 1, time_limit=0.05)
    assert caught.value.seconds == 0.05
    inner = Program().store(SCRATCH, b"lost").call(endless, 0)
    program = Program().emit("lost").call(B, 0, inner).store(SCRATCH, b"lost")
    with pytest.raises(TimeLimitExceeded) as caught:
        session.call(A, "run", program.bytes(), gas_limit=2**64 - 1, time_limit=0.05)
    assert [event.topic for event in caught.value.events] == ["lost"]
    assert (session.root(), session.steps) == before
    receipt = session.call(A, "run", Program().load(SCRATCH, 4).bytes())
    assert (receipt.data, receipt.events) == (b"kept", ())


def test_a_contract_can_not_outlive_the_end_of_the_one_that_it_called(vm: VM) -> None:
    """Its caller's code would notice the end at its next loop or call only; this one has neither."""
    session = opened(vm)
    endless, _ = session.deploy(contract("endless"), b"owner")
    target = "".join(f"\\{byte:02x}" for byte in endless)
    caller = f"""(module
        (import "env" "c" (func $c (param i32 i32 i32 i32 i64) (result i32)))
        (memory (export "memory") 1)
        (global (export "A") i32 (i32.const 1024))
        (data (i32.const 16) "{target}run")
        (func (export "go") (param i32) (result i32)
            (drop (call $c (i32.const 16) (i32.const 48) (i32.const 3) (i32.const 0) (i64.const 0)))
            (i32.const 0)))"""
    caller_id, _ = session.deploy(caller, b"owner")
    with pytest.raises(TimeLimitExceeded):
        session.call(caller_id, "go", gas_limit=2**64 - 1, time_limit=0.05)


def test_a_time_limit_that_suffices_changes_nothing(vm: VM) -> None:
    session = opened(vm)
    inner = Program().add64(SCRATCH, 1).burn(1000).emit("topic", b"data").spent()
    program = Program().call(B, 0, inner).call(A, 0, inner).load(SCRATCH, 8).bytes()
    limited = session.query(A, "run", program, time_limit=30)
    assert limited == session.call(A, "run", program)
    session.call(A, "run", program, time_limit=30)
    assert [step.outcome.data[-8] for step in session.steps[2:]] == [1, 2]
