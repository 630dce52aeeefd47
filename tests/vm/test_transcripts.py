"""A transcript is enough to make its commit again: same id, so same state, outcomes, events and answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from piecrust import VM, CommitId, ContractId, InvalidFunction, InvalidName
from piecrust.objects.errors import PiecrustError
from piecrust.rkyv import u64
from piecrust.vm.session import Session
from support.fixtures import contract
from support.host_queries import Counting
from support.programs import SCRATCH, Program
from support.repeat import repeated

A, B, C = (ContractId(bytes(31) + bytes([n])) for n in (1, 2, 3))
OpenVM = Callable[..., VM]


def attempt(use: Callable[..., object], *arguments: object, **options: object) -> None:
    with suppress(PiecrustError, ValueError):
        use(*arguments, **options)


def eventful(session: Session) -> None:
    for name in (A, B):
        session.deploy(contract("script"), b"owner", contract_id=name)
    ask = Program().query("counting", b"x").store(SCRATCH, b"kept")
    session.call(A, "run", ask.call(B, 0, Program().query("counting", b"y").query("counting", b"fail")).bytes())
    attempt(session.call, A, "run", Program().emit("lost").query("counting", b"fail").bytes())
    attempt(session.call, A, "run", Program().query("counting", b"z").bytes(), gas_limit=700)
    attempt(session.call, A, "run", Program().query("missing").bytes())
    attempt(session.call, C, "run")
    attempt(session.call, A, "missing é")
    attempt(session.call, A, "run", Program().raw_panic(3).bytes())
    session.feeder_call(A, "run", Program().feed("one").feed(b"\0\xff").bytes(), feed=[])
    attempt(session.feeder_call, A, "run", Program().feed("two").panic("").bytes(), feed=[])
    session.set_meta("height", u64(2))
    session.call(A, "run", Program().data("height").data("other").bytes())
    session.remove_meta("other")
    attempt(session.deploy, contract("script_init"), b"", contract_id=C, init=Program().emit("e").panic("").bytes())
    session.deploy(contract("script_init"), b"", contract_id=C, init=Program().query("counting").bytes())
    session.set_call_hook(lambda callee, function, argument, stack: "no" if argument == b"\x12" else None)
    twice = Program().call(B, 0, Program()).call(B, 0, Program().spent()).call(B, 0, Program())
    session.call(A, "run", twice.bytes())
    session.set_call_hook(None)
    session.call_raw(A, "run", Program().caller().callstack().bytes(), caller=B)
    attempt(session.call_raw, A, "run", caller=ContractId(bytes(32)))

    def move(new: ContractId, session: Session) -> None:
        session.call(new, "run", Program().query("counting", b"moved").bytes())
        attempt(session.call, B, "run", Program().emit("in vain").panic("").bytes())

    session.migrate(B, contract("script_init"), move, init=Program().query("counting", b"new").bytes())
    session.call(A, "run", Program().emit("last").store(SCRATCH, bytes(3000)).bytes())


@pytest.mark.parametrize("contain", [True, False])
def test_a_commit_is_made_again_from_its_transcript(open_vm: OpenVM, contain: bool) -> None:
    vm = open_vm(transient_storage=True)
    vm.register_host_query("counting", Counting())
    with vm.session(meta={"height": u64(1), "other": b"x"}, contain_host_query_failures=contain) as session:
        if contain:
            eventful(session)
        else:
            session.deploy(contract("script"), b"owner", contract_id=A)
            attempt(session.call, A, "run", Program().emit("lost").query("counting", b"fail").bytes())
            session.call(A, "run", Program().query("counting", b"x").bytes())
        first = session.commit(message="first", author="me", time=7)
    with vm.session(first, exclude_host_queries=["counting"]) as session:
        attempt(session.call, A, "run", Program().query("counting").bytes())
        session.call(A, "run", Program().query("transient_set", bytes(32) + b"v").add64(SCRATCH, 1).bytes())
        second = session.commit()
    for commit in (first, second):
        assert repeated(open_vm(transient_storage=True), commit) == commit


def test_long_sessions_are_made_again(open_vm: OpenVM) -> None:
    vm = open_vm()
    with vm.session() as session:
        session.deploy(contract("script"), b"owner", contract_id=A)
        for number in range(400):
            session.call(A, "run", Program().store(SCRATCH + 8 * number, f"{number}" * 20).bytes())
        commit = session.commit()
    assert repeated(open_vm(), commit) == commit


def test_what_was_given_up_from_outside_is_not_told(vm: VM) -> None:
    def commit_of(disturbed: bool) -> CommitId:
        with vm.session() as session:
            session.deploy(contract("script"), b"owner", contract_id=A)
            if disturbed:
                endless = Program().emit("e").burn(10**9).bytes()
                attempt(session.call, A, "run", endless, time_limit=1e-9, gas_limit=10**12)
            session.call(A, "run", Program().emit("kept").bytes())
            return session.commit()

    assert commit_of(disturbed=True) == commit_of(disturbed=False)


def test_names_that_can_not_be_written_down_are_refused_at_once(vm: VM) -> None:
    half = "\ud800"
    with vm.session() as session:
        session.deploy(contract("script"), b"owner", contract_id=A)
        with pytest.raises(InvalidFunction):
            session.call(A, half)
        with pytest.raises(InvalidName):
            session.set_meta(half, b"")
        session.set_call_hook(lambda *asked: half)
        session.call(A, "run", Program().call(A, 0, Program()).bytes())
        session.commit(message="written")
    for options in ({"meta": {half: b""}}, {"exclude_host_queries": [half]}):
        with pytest.raises(InvalidName):
            vm.session(**options)
