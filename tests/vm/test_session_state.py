"""What becomes of a session: roots, commits, branches, drafts, rollback, migrations, and what can be read of it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
from piecrust import (
    VM,
    CommitId,
    CommitInUse,
    CommitPinned,
    Conflict,
    ContractId,
    InvalidRefName,
    MissingOwner,
    NotAStore,
    Panic,
    SessionClosed,
    StateRoot,
    StoreReadOnly,
    UnknownRevision,
)
from piecrust.objects import transcript
from piecrust.objects.ids import ZERO
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import HEAD
from piecrust.objects.steps import Call, Deploy, Failure, Migrate, SetMeta, Success
from piecrust.rkyv import u32, u64
from piecrust.vm.session import Session
from support.fixtures import contract
from support.programs import SCRATCH, Program
from support.sessions import A, B, C, deploy, load, store

OpenVM = Callable[..., VM]


@pytest.fixture
def base(vm: VM) -> CommitId:
    with vm.session() as session:
        deploy(session, A)
        store(session, "base")
        return session.commit()


def test_the_root_before_is_the_root_after_the_commit(vm: VM) -> None:
    with vm.session() as session:
        assert session.root() == StateRoot(ZERO)
        deploy(session, B, A)
        root = session.root()
        assert vm.commit_info(session.commit()).state_root == root


def test_an_empty_session_can_be_committed(vm: VM) -> None:
    with vm.session() as session:
        commit = session.commit()
    info = vm.commit_info(commit)
    assert (info.state_root, info.parents, info.transcript) == (StateRoot(ZERO), (), None)
    with vm.session(commit) as session:
        assert session.commit() == commit
    assert vm.commits() == [commit]


def test_committing_nothing_new_writes_nothing(vm: VM, base: CommitId) -> None:
    before = list(vm.store.operations())
    with vm.session(base) as session:
        load(session, 4)
        with pytest.raises(Panic):
            session.call(A, "run", Program().panic("").bytes())
        assert session.commit() == base
    assert list(vm.store.operations()) == before
    with vm.session(base) as session:
        empty = session.commit(allow_empty=True)
    with vm.session(base) as session:
        said = session.commit(message="said")
    assert len({base, empty, said}) == 3
    assert vm.commit_info(said).state_root == vm.commit_info(base).state_root


def test_the_same_calls_make_the_same_commit_everywhere(open_vm: OpenVM, tmp_path: Path) -> None:
    def commits(directory: Path) -> list[CommitId]:
        vm = open_vm(directory)
        made = []
        for number in range(3):
            with vm.session(made[-1] if made else None, meta={"n": u64(number)}) as session:
                if not made:
                    deploy(session, A, B)
                store(session, "same")
                session.set_meta("height", u64(number))
                made.append(session.commit(message=f"number {number}", author="me", time=number))
        return made

    assert commits(tmp_path / "one") == commits(tmp_path / "two")


def test_a_session_is_over_after_its_commit(vm: VM, base: CommitId) -> None:
    session = vm.session(base)
    session.commit()
    for use in (session.root, session.commit, session.rollback, session.contracts, lambda: session.call(A, "run")):
        with pytest.raises(SessionClosed, match="committed"):
            use()
    session.close()


def test_rollback_goes_back_to_the_base(vm: VM, base: CommitId) -> None:
    with vm.session(base, meta={"height": u64(1)}) as session:
        root = session.root()
        store(session, "lost")
        deploy(session, B)
        session.set_meta("height", u64(2))
        session.rollback()
        assert (session.root(), session.contracts(), session.steps) == (root, [A], ())
        assert session.meta("height") == (1).to_bytes(8, "little")
        assert load(session, 4) == b"base"
        deploy(session, B)
        store(session, "kept", on=B)
        commit = session.commit()
    with vm.session(commit) as session:
        assert (load(session, 4), load(session, 4, on=B)) == (b"base", b"kept")


@pytest.mark.parametrize("end", [Session.close, Session.rollback])
@pytest.mark.parametrize("granules", [1, 40, 64])
def test_nothing_of_a_session_that_was_given_up_is_in_the_next(
    vm: VM, base: CommitId, end: Callable[[Session], None], granules: int
) -> None:
    for _ in range(3):
        session = vm.session(base)
        assert load(session, 4) == b"base"
        for granule in range(granules):
            session.call(A, "run", Program().store(SCRATCH + 4096 * granule, "lost").bytes())
        end(session)
    with vm.session(base) as session:
        assert all(load(session, 4) == b"base" for _ in range(2))
        assert session.root() == vm.commit_info(base).state_root


def test_a_transcript_tells_what_was_done(vm: VM) -> None:
    vm.register_host_query("upper", bytes.upper)
    with vm.session(meta={"height": u64(1)}, exclude_host_queries=["other"]) as session:
        deploy(session, A)
        session.call(A, "run", Program().query("upper", b"abc").emit("done", b"!").bytes(), gas_limit=10**6)
        with pytest.raises(Panic):
            session.call(A, "run", Program().panic("no").bytes())
        session.set_meta("height", u64(2))
        session.query(A, "run")
        commit = session.commit()
    told = transcript.load(vm.store, vm.commit_info(commit).transcript)
    assert isinstance(told, transcript.Transcript)
    assert told.metadata == {"height": (1).to_bytes(8, "little")}
    assert told.excluded_queries == {"other"}
    deployed, called, failed, metadata = told.steps
    assert isinstance(deployed, Deploy)
    assert (deployed.contract, deployed.owner, deployed.outcome) == (A, b"owner", None)
    assert isinstance(called, Call)
    assert isinstance(called.outcome, Success)
    assert [(a.name, a.price, a.answer) for a in called.answers] == [("upper", 0, b"ABC")]
    assert [event.topic for event in called.outcome.events] == ["done"]
    assert isinstance(failed, Call)
    assert failed.outcome == Failure("Panic", "no")
    assert metadata == SetMeta("height", (2).to_bytes(8, "little"))


def test_bytecode_of_a_failed_deployment_is_part_of_its_commit(vm: VM) -> None:
    with vm.session() as session:
        deploy(session, A)
        with pytest.raises(Panic):
            session.deploy(contract("script_init"), b"", contract_id=B, init=Program().panic("").bytes())
        commit = session.commit()
    address = vm.commit_info(commit).transcript
    assert address is not None
    for kind, needed in transcript.references(vm.store, address):
        assert vm.store.contains(kind, needed)


# Bases


def test_bases_are_commits_prefixes_roots_branches_and_tags(vm: VM, base: CommitId) -> None:
    vm.branches.create("main", base)
    vm.tags.create("v1", base)
    root = vm.commit_info(base).state_root
    for name in (base, bytes(base), base.hex(), base.hex()[:8], f"root:{root.hex()}", root.hex(), "main", "v1"):
        with vm.session(name) as session:
            assert session.base == base
            assert load(session, 4) == b"base"
    for name in ("unknown", bytes(32), "ffffffff"):
        with pytest.raises(UnknownRevision):
            vm.session(name)


def test_a_branch_moves_with_the_commits_made_on_it(vm: VM, base: CommitId) -> None:
    vm.branches.create("main", base)
    with vm.session("main") as session:
        store(session, "next")
        second = session.commit()
    assert vm.branches["main"] == second
    assert [info.id for info in vm.log("main")] == [second, base]
    with vm.session(second) as session:
        store(session, "side")
        third = session.commit()
    assert vm.branches["main"] == second
    assert third in vm.commits()
    with vm.session(base, branch="other") as session:
        store(session, "new")
        fourth = session.commit()
    assert dict(vm.branches) == {"main": second, "other": fourth}


def test_a_session_that_names_only_a_branch_makes_it_once_and_then_goes_on_there(vm: VM) -> None:
    with vm.session(branch="trunk") as session:
        deploy(session, A)
        first = session.commit()
    with vm.session(branch="trunk") as session:
        store(session, "next")
        second = session.commit()
    assert [info.id for info in vm.log("trunk")] == [second, first]


def test_a_branch_that_moved_meanwhile_is_a_conflict_and_the_session_goes_on(vm: VM, base: CommitId) -> None:
    vm.branches.create("main", base)
    slow, fast = vm.session("main"), vm.session("main")
    store(slow, "slow")
    store(fast, "fast")
    first = fast.commit()
    with pytest.raises(Conflict) as caught:
        slow.commit()
    assert (caught.value.ref, caught.value.expected, caught.value.actual) == ("heads/main", base, first)
    assert load(slow, 4) == b"slow"
    store(slow, "more")
    slow.close()


def test_head_is_a_base_that_moves(vm: VM) -> None:
    with vm.session("HEAD") as session:
        deploy(session, A)
        first = session.commit()
    assert vm.branches["main"] == first
    transaction = vm.store.transaction()
    transaction.set_ref(HEAD, first)
    transaction.publish(Operation("checkout"))
    with vm.session("HEAD") as session:
        store(session, "detached")
        second = session.commit()
    assert vm.store.ref(HEAD) == second
    assert vm.branches["main"] == first


def test_names_are_created_moved_and_deleted(vm: VM, base: CommitId) -> None:
    with vm.session(base) as session:
        store(session, "second")
        second = session.commit()
    assert vm.tags.create("v1", base) == base
    with pytest.raises(Conflict):
        vm.tags.create("v1", second)
    with pytest.raises(Conflict):
        vm.tags.move("v1", second, expected=second)
    assert vm.tags.move("v1", "v1", expected=base) == base
    assert vm.tags.move("v1", second) == second
    vm.tags.delete("v1")
    assert "v1" not in vm.tags
    assert len(vm.tags) == 0
    with pytest.raises(InvalidRefName):
        vm.branches.create("a..b", base)
    with pytest.raises(UnknownRevision):
        vm.branches.create("main", "unknown")
    with pytest.raises(UnknownRevision):
        vm.branches.create("main", bytes(32))
    with pytest.raises(KeyError):
        vm.branches["none"]


def test_a_difference_tells_contracts_and_pages(vm: VM, base: CommitId) -> None:
    with vm.session(base) as session:
        deploy(session, B)
        store(session, "base!")
        second = session.commit()
    differences = {difference.id: difference for difference in vm.diff(base, second)}
    assert set(differences) == {A, B}
    assert differences[B].old is None
    assert 3 in [page.index for page in differences[A].pages(vm.store)]
    assert list(vm.diff(second, second)) == []
    with pytest.raises(UnknownRevision):
        vm.diff(base, bytes(32))


# Deleting and finalizing


def test_a_deleted_commit_can_not_be_opened_and_no_other_changes(vm: VM, base: CommitId) -> None:
    with vm.session(base) as session:
        store(session, "next")
        second = session.commit()
    held = vm.session(base)
    vm.delete_commit(base)
    assert vm.commits() == [second]
    with pytest.raises(UnknownRevision):
        vm.session(base)
    with vm.session(second) as session:
        assert load(session, 4) == b"next"
    assert load(held, 4) == b"base"
    assert [info.id for info in vm.log(second)] == [second, base]
    vm.delete_commit(base)
    vm.delete_commit(bytes(32))


def test_a_deleted_commit_that_is_made_again_is_there_again(vm: VM, base: CommitId) -> None:
    vm.delete_commit(base)
    with vm.session() as session:
        deploy(session, A)
        store(session, "base")
        assert session.commit() == base
    assert vm.commits() == [base]
    with vm.session(base) as session:
        assert load(session, 4) == b"base"


def test_a_commit_that_is_deleted_while_it_is_opened_is_not_there(
    open_vm: OpenVM, vm: VM, base: CommitId, monkeypatch: pytest.MonkeyPatch
) -> None:
    other, lease = open_vm(), vm.store.lease

    def late(commit: CommitId) -> AbstractContextManager[None]:
        other.delete_commit(commit)
        return lease(commit)

    monkeypatch.setattr(vm.store, "lease", late)
    with pytest.raises(UnknownRevision):
        vm.session(base)


def test_commits_in_use_and_pinned_ones_are_not_deleted(vm: VM, base: CommitId) -> None:
    with vm.session(base) as session:
        store(session, "next")
        second = session.commit()
    vm.tags.create("v1", second)
    with pytest.raises(CommitInUse) as used:
        vm.delete_commit(second)
    assert used.value.commit == second
    vm.finalize_commit(second)
    vm.finalize_commit(second)
    vm.finalize_commit(bytes(32))
    vm.tags.delete("v1")
    for commit in (base, second):
        with pytest.raises(CommitPinned):
            vm.delete_commit(commit)
        with vm.session(commit) as session:
            assert session.contracts() == [A]


# Migration


def test_a_migration_replaces_a_contract_under_its_id(vm: VM, base: CommitId) -> None:
    with vm.session(base) as session:
        receipts = []

        def move(new: ContractId, inner: Session) -> None:
            assert inner is session
            old = inner.query(A, "run", Program().load(SCRATCH, 4).bytes()).data
            receipts.append(inner.call(new, "run", Program().self_id().store(SCRATCH, b"moved " + old).bytes()))

        new = session.migrate(A, contract("script_init"), move, contract_id=B)
        assert new == B
        assert receipts[0].data == B
        assert session.contracts() == [A]
        assert session.contract_metadata(A).owner == b"owner"
        assert session.call(A, "run", Program().self_id().load(SCRATCH, 10).bytes()).data == A + b"moved base"
        root = session.root()
        commit = session.commit()
    assert vm.commit_info(commit).state_root == root
    with vm.session(commit) as session:
        assert load(session, 10) == b"moved base"
    told = transcript.load(vm.store, vm.commit_info(commit).transcript)
    migration = told.steps[0]
    assert isinstance(migration, Migrate)
    assert (migration.contract, migration.deploy.contract) == (A, B)
    assert [type(step) for step in migration.steps] == [Call]


def test_a_migrated_contract_has_none_of_the_old_one_s_pages(vm: VM, base: CommitId) -> None:
    small = '(module (memory (export "memory") 1) (global (export "A") i32 (i32.const 0)))'
    with vm.session(base) as session:
        session.migrate(A, small, owner=b"new")
        assert session.contract_metadata(A).owner == b"new"
        assert (session.memory_len(A), list(session.memory_pages(A))) == (65536, [])
        commit = session.commit()
    with vm.session(commit) as session:
        assert session.memory_len(A) == 65536


def test_a_failed_migration_ends_the_session(vm: VM, base: CommitId) -> None:
    def fail(new: ContractId, session: Session) -> None:
        session.call(new, "run", Program().panic("no").bytes())

    session = vm.session(base)
    with pytest.raises(Panic, match="no"):
        session.migrate(A, contract("script_init"), fail)
    with pytest.raises(SessionClosed, match="migration"):
        session.root()
    session = vm.session(base)
    with pytest.raises(MissingOwner):
        session.migrate(C, contract("script"))


# Reading


def test_pages_are_proven_by_their_openings(vm: VM, base: CommitId) -> None:
    with vm.session(base) as session:
        assert session.memory_pages(A) is None
        assert session.memory_len(A) == 16 * 65536
        assert session.memory_len(B) is None
        deploy(session, B, C)
        store(session, "other", on=B)
        store(session, "changed")
        for name in (A, B, C):
            pages = session.memory_pages(name)
            assert pages is not None
            for index, page, opening in pages:
                assert opening.root == session.root()
                assert opening.verify(page)
                assert not opening.verify(bytes([page[0] ^ 1]) + page[1:])
                if index == 3 and name == A:
                    assert page[:7] == b"changed"


def test_a_read_only_vm_sees_what_others_commit_and_writes_nothing(open_vm: OpenVM) -> None:
    writer = open_vm()
    with writer.session() as session:
        deploy(session, A)
        store(session, "one")
        first = session.commit()
    reader = open_vm(read_only=True)
    assert reader.commits() == [first]
    with writer.session(first) as session:
        store(session, "two")
        second = session.commit()
    assert set(reader.commits()) == {first, second}
    with reader.session(second) as session:
        assert load(session, 3) == b"two"
        store(session, "new")
        with pytest.raises(StoreReadOnly):
            session.commit()


def test_a_directory_that_is_no_store(open_vm: OpenVM, tmp_path: Path) -> None:
    with pytest.raises(NotAStore):
        open_vm(tmp_path / "missing", create=False)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("something else")
    with pytest.raises(NotAStore):
        open_vm(tmp_path / "full")


def test_root_dir_is_the_directory_it_was_opened_with(open_vm: OpenVM, tmp_path: Path) -> None:
    assert open_vm(tmp_path / "state").root_dir == tmp_path / "state"


def test_an_ephemeral_vm_leaves_nothing(code_cache: Path) -> None:
    with VM.ephemeral(cache_directory=code_cache) as vm:
        directory = vm.root_dir
        with vm.session() as session:
            deploy(session, A)
            session.commit()
        assert directory.exists()
    assert not directory.exists()
    vm.close()


def test_commits_of_a_batch_become_visible_together(open_vm: OpenVM) -> None:
    vm, other = open_vm(), open_vm()
    with vm.session() as session:
        deploy(session, A)
        commit = session.commit()
    made = []
    with vm.batch():
        for number in range(5):
            with vm.session(commit) as session:
                store(session, f"{number}")
                commit = session.commit()
                made.append(commit)
        assert set(made) <= set(vm.commits())
        assert not set(made) & set(other.commits())
    assert set(made) <= set(other.commits())
    with other.session(commit) as session:
        assert load(session, 1) == b"4"


def test_large_contracts_are_paged_in_from_a_batch(vm: VM) -> None:
    with vm.session() as session:
        pages, _ = session.deploy(contract("pages"), b"owner")
        session.call(pages, "grow", u32(100))
        base = session.commit()
    with vm.batch():
        with vm.session(base) as session:
            session.call(pages, "noise", u32(1), u32(100), u32(7))
            commit = session.commit()
        sessions = [vm.session(commit) for _ in range(2)]
        sums = [session.call(pages, "sum", u32(1), u32(100), returns=u64).data for session in sessions]
    assert sums[0] == sums[1] != 0
    with vm.session(commit) as session:
        assert session.call(pages, "sum", u32(1), u32(100), returns=u64).data == sums[0]


def test_compiled_code_can_be_removed_and_made_anew(vm: VM, base: CommitId) -> None:
    vm.remove_module(A, base)
    vm.recompile_module(A, base)
    with vm.session(base) as session:
        assert load(session, 4) == b"base"
    with pytest.raises(Exception, match="does not exist"):
        vm.remove_module(B, base)
