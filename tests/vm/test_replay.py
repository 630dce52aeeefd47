"""Replays: a commit that its transcript leads to is confirmed, any other is told from it, and where."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from piecrust import VM, CommitId, ContractId
from piecrust.objects import transcript
from piecrust.objects.commit import Commit, commit_id, new_commit
from piecrust.objects.errors import PiecrustError
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.steps import Event, Failure, QueryAnswer, Success
from piecrust.objects.transcript import Import, Side, Transcript
from piecrust.rkyv import u64
from piecrust.vm.merge import merge
from piecrust.vm.replay import commits_to_replay, replay
from piecrust.vm.replay_commit import Replayer
from piecrust.vm.restore import restore
from piecrust.vm.verdict import Derived, Holds, Verdict
from support.fixtures import contract
from support.host_queries import Counting
from support.programs import SCRATCH, Program

A, B, C = (ContractId(bytes(31) + bytes([n])) for n in (1, 2, 3))
OpenVM = Callable[..., VM]


def verdict(vm: VM, commit: CommitId, cache: Path | None = None) -> Verdict:
    with Replayer(vm.store, cache) as replayer:
        return replayer.verdict(commit)


def attempt(use: Callable[..., object], *arguments: object, **options: object) -> None:
    with suppress(PiecrustError, ValueError):
        use(*arguments, **options)


@pytest.fixture
def eventful(open_vm: OpenVM) -> tuple[VM, CommitId]:
    """A commit with every kind of step, outcome and answer."""
    vm = open_vm(transient_storage=True)
    vm.register_host_query("counting", Counting())
    with vm.session(meta={"height": u64(1), "other": b"x"}) as session:
        for name in (A, B):
            session.deploy(contract("script"), b"owner", contract_id=name)
        ask = Program().query("counting", b"x").store(SCRATCH, b"kept")
        session.call(A, "run", ask.call(B, 0, Program().query("counting", b"y").query("counting", b"fail")).bytes())
        attempt(session.call, A, "run", Program().emit("lost").query("counting", b"fail").bytes())
        attempt(session.call, A, "run", Program().query("counting", b"z").bytes(), gas_limit=700)
        attempt(session.call, A, "run", Program().query("missing").bytes())
        attempt(session.call, C, "run")
        session.feeder_call(A, "run", Program().feed("one").feed(b"\0\xff").bytes(), feed=[])
        session.set_meta("height", u64(2))
        session.call(A, "run", Program().data("height").data("other").bytes())
        session.remove_meta("other")
        attempt(session.deploy, contract("script_init"), b"", contract_id=C, init=Program().panic("no").bytes())
        session.deploy(contract("script_init"), b"", contract_id=C, init=Program().query("counting").bytes())
        session.set_call_hook(lambda callee, function, argument, stack: "no" if argument == b"\x12" else None)
        session.call(A, "run", Program().call(B, 0, Program()).call(B, 0, Program().spent()).bytes())
        session.set_call_hook(None)
        session.call_raw(A, "run", Program().caller().callstack().bytes(), caller=B)
        session.call(A, "run", Program().query("transient_set", bytes(32) + b"v").bytes())

        def move(new: ContractId, session: object) -> None:
            session.call(new, "run", Program().query("counting", b"moved").bytes())

        session.migrate(B, contract("script_init"), move, init=Program().query("counting", b"new").bytes())
        session.call(A, "run", Program().emit("last").store(SCRATCH, bytes(3000)).bytes())
        return vm, session.commit(message="first")


def test_an_honest_commit_is_confirmed_without_the_host_queries(eventful: tuple[VM, CommitId]) -> None:
    vm, commit = eventful
    told = verdict(vm, commit)
    assert (told.derived, told.holds, told.divergence) == (Derived.CALLS, Holds.YES, None)
    assert told.steps > 15
    assert told.gas_spent > 0


def test_uncontained_failures_are_replayed(open_vm: OpenVM) -> None:
    vm = open_vm()
    vm.register_host_query("counting", Counting())
    with vm.session(contain_host_query_failures=False) as session:
        session.deploy(contract("script"), b"owner", contract_id=A)
        attempt(session.call, A, "run", Program().emit("lost").query("counting", b"fail").bytes())
        session.call(A, "run", Program().query("counting", b"x").bytes())
        commit = session.commit()
    assert verdict(vm, commit).holds is Holds.YES


@pytest.fixture
def line(vm: VM) -> list[CommitId]:
    """Four commits: a deployment, then calls that write, emit and call another contract."""
    commits = []
    with vm.session(branch="main") as session:
        for name in (A, B):
            session.deploy(contract("script"), b"owner", contract_id=name)
        commits.append(session.commit())
    for number in range(3):
        with vm.session("main") as session:
            inner = Program().store(SCRATCH + 8 * number, b"inner")
            session.call(A, "run", Program().store(SCRATCH, bytes([number + 1])).emit("done").call(B, 0, inner).bytes())
            commits.append(session.commit())
    return commits


def forged(vm: VM, commit: CommitId, change: Callable[[Transcript], Transcript], **fields: object) -> CommitId:
    """The commit with another transcript, or other fields; its own id is right."""
    value: Commit = vm.store.load(Kind.COMMIT, commit)
    told = transcript.load(vm.store, value.transcript)
    transaction = vm.store.transaction()
    lie = replace(value, transcript=transcript.store(transaction, change(told)), **fields)
    transaction.put(Kind.COMMIT, commit_id(lie), lie)
    transaction.keep(commit_id(lie))
    transaction.publish(Operation("forge"))
    return commit_id(lie)


def with_step(index: int, **fields: object) -> Callable[[Transcript], Transcript]:
    def change(told: Transcript) -> Transcript:
        steps = list(told.steps)
        steps[index] = replace(steps[index], **fields)
        return replace(told, steps=tuple(steps))

    return change


def call_of(vm: VM, commit: CommitId) -> object:
    value: Commit = vm.store.load(Kind.COMMIT, commit)
    return transcript.load(vm.store, value.transcript).steps[0]


def test_a_whole_history_is_confirmed_by_any_executor(vm: VM, line: list[CommitId], code_cache: Path) -> None:
    commits = commits_to_replay(vm.store, None, line[-1])
    assert commits == line
    assert commits_to_replay(vm.store, line[1], line[-1]) == line[2:]
    with ThreadPoolExecutor(2) as executor:
        by_threads = list(replay(vm.root_dir, commits * 5, executor=executor, cache_directory=code_cache))
    assert [told.commit for told in by_threads] == commits * 5
    assert {told.holds for told in by_threads} == {Holds.YES}
    assert list(replay(vm.root_dir, commits, workers=1, cache_directory=code_cache)) == by_threads[:4]
    by_processes = list(replay(vm.root_dir, commits * 5, workers=2, cache_directory=code_cache))
    assert by_processes == by_threads


def test_other_gas_is_told_with_the_call_and_its_frames(vm: VM, line: list[CommitId]) -> None:
    step = call_of(vm, line[1])
    outcome = replace(step.outcome, gas_spent=step.outcome.gas_spent + 1)
    told = verdict(vm, forged(vm, line[1], with_step(0, outcome=outcome)))
    assert told.holds is Holds.NO
    found = told.divergence
    assert (found.what, found.step, found.contract, found.function) == ("gas", (0,), A, "run")
    assert (int(found.expected), int(found.actual)) == (outcome.gas_spent, outcome.gas_spent - 1)
    assert [(frame.depth, frame.contract) for frame in found.frames] == [(0, A), (1, B)]


@pytest.mark.parametrize(
    ("what", "change"),
    [
        ("data", lambda outcome: replace(outcome, data=outcome.data + b"x")),
        ("events", lambda outcome: replace(outcome, events=(Event(B, "done", b"", reverted=False),))),
        ("events", lambda outcome: replace(outcome, events=())),
        ("outcome", lambda outcome: Failure("Panic", "no")),
    ],
    ids=["data", "other events", "no events", "failure"],
)
def test_other_outcomes_are_told(vm: VM, line: list[CommitId], what: str, change: Callable[[Success], object]) -> None:
    told = verdict(vm, forged(vm, line[1], with_step(0, outcome=change(call_of(vm, line[1]).outcome))))
    assert (told.holds, told.divergence.what) == (Holds.NO, what)
    assert told.divergence.expected != told.divergence.actual


def test_another_state_is_told_down_to_the_byte(vm: VM, line: list[CommitId]) -> None:
    program = Program().store(SCRATCH, b"\x02").emit("done").call(B, 0, Program().store(SCRATCH + 8, b"inneR")).bytes()
    told = verdict(vm, forged(vm, line[2], with_step(0, argument=program)))
    assert told.holds is Holds.NO
    found = told.divergence
    assert (found.what, found.contract) == ("state", A)  # its argument buffer has the program
    told = verdict(vm, forged(vm, line[2], lambda transcript: replace(transcript, steps=())))
    assert told.divergence.what == "state"
    assert told.divergence.page is not None
    assert told.divergence.expected != told.divergence.actual


def test_a_state_that_nothing_led_to_is_told(vm: VM, line: list[CommitId]) -> None:
    other: Commit = vm.store.load(Kind.COMMIT, line[3])
    value: Commit = vm.store.load(Kind.COMMIT, line[2])
    lie = replace(value, state_root=other.state_root, map_root=other.map_root, transcript=None)
    transaction = vm.store.transaction()
    transaction.put(Kind.COMMIT, commit_id(lie), lie)
    transaction.publish(Operation("forge"))
    told = verdict(vm, commit_id(lie))
    assert (told.derived, told.holds) == (Derived.NOTHING, Holds.NO)
    with vm.session("main") as session:
        nothing = session.commit(message="nothing")
    assert verdict(vm, nothing).holds is Holds.YES


def test_answers_that_were_not_asked_for_are_told(vm: VM, line: list[CommitId]) -> None:
    told = verdict(vm, forged(vm, line[1], with_step(0, answers=(QueryAnswer("oracle", 5, b"x"),))))
    assert (told.holds, told.divergence.what) == (Holds.NO, "answers")


def test_answers_that_are_missing_are_told(open_vm: OpenVM) -> None:
    vm = open_vm()
    vm.register_host_query("counting", Counting())
    with vm.session() as session:
        session.deploy(contract("script"), b"owner", contract_id=A)
        session.call(A, "run", Program().query("counting", b"x").query("counting", b"y").bytes())
        commit = session.commit()
    assert verdict(vm, commit).holds is Holds.YES
    told = verdict(vm, forged(vm, commit, with_step(1, answers=(QueryAnswer("counting", 0, b"1 b'x'"),))))
    assert told.holds is Holds.NO


def test_merges_and_restores_are_derived_again(vm: VM, line: list[CommitId]) -> None:
    vm.branches.create("side", line[1])
    with vm.session("side") as session:
        session.call(B, "run", Program().store(SCRATCH + 64, b"side").bytes())
        side = session.commit()
    done = merge(vm.store, side, choices={B: Side.THEIRS, A: Side.OURS})
    told = verdict(vm, done.commit)
    assert (told.derived, told.holds) == (Derived.MERGE, Holds.YES)
    back = restore(vm.store, line[1], [A])
    assert (verdict(vm, back).derived, verdict(vm, back).holds) == (Derived.RESTORE, Holds.YES)
    whole = restore(vm.store, line[0])
    assert verdict(vm, whole).holds is Holds.YES
    ours: Commit = vm.store.load(Kind.COMMIT, line[3])
    for commit in (done.commit, back):
        lie = forged(vm, commit, lambda told: told, state_root=ours.state_root, map_root=ours.map_root)
        assert verdict(vm, lie).holds is Holds.NO
    lie = forged(vm, done.commit, lambda told: replace(told, choices={**told.choices, C: Side.OURS}))
    assert verdict(vm, lie).divergence.what == "history"


def test_imports_are_checked_as_far_as_they_can_be(vm: VM, line: list[CommitId]) -> None:
    value: Commit = vm.store.load(Kind.COMMIT, line[0])
    transaction = vm.store.transaction()
    for named in ({A, B}, {A, C}):
        derivation = transcript.store(transaction, Import("elsewhere", line[0], frozenset(named)))
        commit = new_commit(transaction, value.state, (), derivation)
        transaction.put(Kind.COMMIT, commit_id(commit), commit)
        told = verdict(vm_of(vm, transaction), commit_id(commit))
        transaction = vm.store.transaction()
        assert told.derived is Derived.IMPORT
        assert told.holds is (Holds.UNKNOWN if C not in named else Holds.NO)


def vm_of(vm: VM, transaction: object) -> VM:
    transaction.publish(Operation("import"))
    return vm


def test_what_is_not_here_leaves_the_verdict_open(vm: VM) -> None:
    told = verdict(vm, CommitId(bytes(32)))
    assert told.holds is Holds.UNKNOWN
    assert told.reason
