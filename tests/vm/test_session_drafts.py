"""Drafts: what a session did is kept in the store, and another one goes on with it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from piecrust import VM, CommitId, Conflict, InvalidFormat, MissingHostQuery, Panic
from piecrust.objects import transcript
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import DRAFT, Symbolic
from piecrust.objects.state import EMPTY_STATE
from piecrust.rkyv import u64
from piecrust.vm.session import Session
from support.programs import SCRATCH, Program
from support.sessions import A, B, C, deploy, load, store

OpenVM = Callable[..., VM]


@pytest.fixture
def base(vm: VM) -> CommitId:
    with vm.session() as session:
        deploy(session, A)
        store(session, "base")
        return session.commit()


def two_steps(session: Session) -> None:
    deploy(session, C)
    store(session, "1st")
    with pytest.raises(Panic):
        session.call(A, "run", Program().emit("pending").panic("").bytes())


def three_more(session: Session) -> list[str]:
    deploy(session, B)
    session.set_meta("height", u64(2))
    events = session.call(C, "run", Program().store(SCRATCH, b"c").emit("now").bytes()).events
    return [event.topic for event in events]


def test_a_draft_goes_on_as_one_session_would(open_vm: OpenVM, tmp_path: Path) -> None:
    def begun(directory: str) -> VM:
        vm = open_vm(tmp_path / directory)
        with vm.session("HEAD") as session:
            deploy(session, A)
            session.commit()
        return vm

    library = begun("library")
    with library.session("HEAD", meta={"height": u64(1)}) as session:
        two_steps(session)
        assert three_more(session) == ["pending", "now"]
        root = session.root()
        expected = session.commit(message="done")

    command = begun("command")
    with command.session(draft=True, meta={"height": u64(1)}) as session:
        two_steps(session)
        session.save_draft()
    command.close()
    command = open_vm(tmp_path / "command")
    for _ in range(2):
        with command.session(draft=True) as session:
            session.save_draft()
    with command.session(draft=True) as session:
        assert three_more(session) == ["pending", "now"]
        session.save_draft()
    with command.session(draft=True) as session:
        assert session.root() == root
        assert session.contracts() == [A, B, C]
        assert session.commit(message="done") == expected
    assert command.branches["main"] == expected
    assert "draft" not in command.store.refs()
    with command.session("HEAD") as session:
        assert (load(session, 3), load(session, 1, on=C)) == (b"1st", b"c")


def test_a_draft_is_replaced_not_chained_and_no_kept_commit(vm: VM) -> None:
    with vm.session(draft=True) as session:
        deploy(session, A)
        first = session.save_draft()
        store(session, "more")
        second = session.save_draft()
    assert vm.store.ref("draft") == second != first
    assert vm.commit_info(second).parents == ()
    assert vm.commits() == []


def test_somebody_else_s_draft_is_a_conflict(vm: VM) -> None:
    with vm.session(draft=True) as one, vm.session(draft=True) as two:
        deploy(one, A)
        deploy(two, B)
        one.save_draft()
        with pytest.raises(Conflict):
            two.save_draft()


def test_a_draft_whose_head_moved_is_a_conflict(vm: VM) -> None:
    with vm.session(draft=True) as session:
        deploy(session, A)
        session.save_draft()
    with vm.session("HEAD") as session:
        deploy(session, B)
        session.commit()
    with pytest.raises(Conflict):
        vm.session(draft=True)


def test_a_draft_moves_other_refs_with_it(vm: VM, base: CommitId) -> None:
    with vm.session(draft=True) as session:
        deploy(session, B)
        session.save_draft(refs={"tags/with": base, "HEAD": Symbolic("heads/main")})
    assert vm.tags["with"] == base


def test_a_draft_that_is_rolled_back_is_head(vm: VM) -> None:
    with vm.session("HEAD") as session:
        deploy(session, A)
        store(session, "head")
        session.commit()
    with vm.session(draft=True, meta={"height": u64(1)}) as session:
        store(session, "lost")
        session.save_draft()
    with vm.session(draft=True) as session:
        session.rollback()
        assert load(session, 4) == b"head"
        assert session.steps == ()


def test_a_draft_in_which_nothing_was_done_has_the_options_of_who_goes_on(vm: VM) -> None:
    vm.register_host_query("echo", bytes)
    with vm.session(draft=True) as session:
        session.save_draft()
    with vm.session(draft=True, meta={"height": u64(1)}, exclude_host_queries=["echo"]) as session:
        deploy(session, A)
        assert session.meta("height") == (1).to_bytes(8, "little")
        with pytest.raises(MissingHostQuery):
            session.call(A, "run", Program().query("echo", b"x").bytes())


def test_what_no_session_did_is_no_draft(vm: VM, base: CommitId) -> None:
    transaction = vm.store.transaction()
    derivation = transcript.store(transaction, transcript.Restore(base))
    commit = new_commit(transaction, EMPTY_STATE, (), derivation)
    transaction.put(Kind.COMMIT, commit_id(commit), commit)
    transaction.set_ref(DRAFT, commit_id(commit))
    transaction.publish(Operation("draft"))
    with pytest.raises(InvalidFormat):
        vm.session(draft=True)
