from __future__ import annotations

import os
from pathlib import Path

import pytest
from piecrust.objects import publisher
from piecrust.objects.errors import (
    CommitInUse,
    CommitPinned,
    Conflict,
    InvalidRefName,
    NotAStore,
    ObjectNotFound,
    StoreClosed,
    StoreReadOnly,
    UnknownRef,
    UnknownRevision,
)
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import ZERO_PAGE, ZERO_PAGE_HASH
from piecrust.objects.refs import Symbolic
from piecrust.objects.store import Store
from support.stores import make_commit, read_content, stage_commit


def test_a_commit_is_there_after_reopening(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        first = make_commit(store, b"first   ", branch="main", expected=None)
        second = make_commit(store, b"second  ", parent=first, branch="main", expected=first)
    for read_only in (True, False):
        with Store.open(tmp_path, read_only=read_only) as store:
            assert store.commits() == [first, second]
            assert store.ref_commit("heads/main") == second
            assert [read_content(store, commit) for commit in (first, second)] == [b"first   ", b"second  "]
            assert [record.operation for record in store.operations()] == [
                Operation("commit", (b"second  ".hex(),)),
                Operation("commit", (b"first   ".hex(),)),
            ]
            assert store.graph(second).parents == (first,)
            assert store.commits_with_root(store.load(Kind.COMMIT, first).state_root) == [first]


def test_an_unpublished_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        transaction = store.transaction()
        commit = stage_commit(transaction, b"dropped ")
        assert not store.contains(Kind.COMMIT, commit)
        assert transaction.contains(Kind.COMMIT, commit)
        with pytest.raises(ObjectNotFound):
            store.load(Kind.COMMIT, commit)


def test_two_handles_see_each_other_without_reopening(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as one, Store.open(tmp_path) as two:
        first = make_commit(one, b"first   ", branch="main")
        assert two.refresh()
        assert not two.refresh()
        assert read_content(two, first) == b"first   "
        second = make_commit(two, b"second  ", parent=first, branch="main", expected=first)
        assert one.refresh()
        assert one.ref("heads/main") == second


def test_a_ref_moved_by_another_handle_is_a_conflict(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as one, Store.open(tmp_path) as two:
        first = make_commit(one, b"first   ", branch="main", expected=None)
        with pytest.raises(Conflict) as caught:
            make_commit(two, b"other   ", branch="main", expected=None)
        assert (caught.value.ref, caught.value.expected, caught.value.actual) == ("heads/main", None, first)
        assert two.commits() == [first]


def test_refs_are_checked_and_followed(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        commit = make_commit(store, b"first   ", branch="a/b")
        transaction = store.transaction()
        transaction.set_ref("HEAD", Symbolic("heads/a/b"))
        transaction.publish(Operation("checkout", ("a/b",)))
        assert store.ref_commit("HEAD") == commit
        for name in (
            "main",
            "heads/",
            "heads/a..b",
            "heads/-x",
            "heads/a b",
            f"heads/{commit}",
            "pins/zz",
            "heads/x.lock",
        ):
            with pytest.raises(InvalidRefName):
                store.transaction().set_ref(name, commit)
        with pytest.raises(UnknownRef):
            store.ref("heads/none")
        transaction = store.transaction()
        transaction.set_ref("heads/a/b", None, expected=commit)
        transaction.publish(Operation("branch", ("-d", "a/b")))
        with pytest.raises(UnknownRef):
            store.ref_commit("HEAD")


def test_deleting_commits_respects_refs_and_pins(tmp_path: Path) -> None:
    def delete(store: Store, commit: CommitId) -> None:
        transaction = store.transaction()
        transaction.delete(commit)
        transaction.publish(Operation("delete"))

    with Store.open(tmp_path, create=True) as store:
        first = make_commit(store, b"first   ")
        second = make_commit(store, b"second  ", parent=first, branch="main")
        third = make_commit(store, b"third   ")
        with pytest.raises(CommitInUse) as caught:
            delete(store, second)
        assert caught.value.refs == ("heads/main",)
        with pytest.raises(UnknownRevision):
            delete(store, CommitId(os.urandom(32)))
        transaction = store.transaction()
        transaction.set_ref(f"pins/{second}", second)
        transaction.publish(Operation("finalize"))
        with pytest.raises(CommitPinned):
            delete(store, first)
        delete(store, third)
        assert store.commits() == [first, second]
    with Store.open(tmp_path) as store:
        assert store.commits() == [first, second]
        assert make_commit(store, b"third   ") == third
        assert set(store.commits()) == {first, second, third}
    with Store.open(tmp_path) as store:
        assert set(store.commits()) == {first, second, third}


def test_a_batch_is_seen_by_its_thread_alone_until_it_ends(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store, Store.open(tmp_path) as other:
        with store.batch():
            first = make_commit(store, b"first   ", branch="main", expected=None)
            second = make_commit(store, b"second  ", parent=first, branch="main", expected=first)
            assert store.ref("heads/main") == second
            assert store.commits() == [first, second]
            assert read_content(store, first) == b"first   "
            assert read_content(store, second) == b"second  "
            assert not other.refresh()
        assert other.refresh()
        assert other.ref("heads/main") == second
        assert read_content(other, second) == b"second  "
        assert len(list(other.operations())) == 2


def test_a_long_batch_is_cut_into_frames_with_short_heads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publisher, "HEAD_BYTES", 1000)
    contents = [b"%8d" % number for number in range(20)]
    with Store.open(tmp_path, create=True) as store, store.batch():
        parent, commits = None, []
        for content in contents:
            parent = make_commit(store, content, parent=parent)
            commits.append(parent)
    with Store.open(tmp_path) as store:
        assert set(store.commits()) == set(commits)
        assert not store._log.ledger.exceptions, "the flags beside the commits say that they are kept"
        assert [read_content(store, commit) for commit in commits] == contents
        assert len({at.offset for at in store._reader.catalog.fresh[Kind.RECORD].values()}) > 4


def test_a_batch_is_encoded_anew_when_garbage_was_collected_meanwhile(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store, Store.open(tmp_path) as other:
        given_up = make_commit(store, b"given up")
        other.refresh()
        with store.batch():
            first = make_commit(store, b"first   ")
            second = make_commit(store, b"second  ", parent=first)
            transaction = other.transaction()
            transaction.delete(given_up)
            transaction.publish(Operation("delete"))
            other.gc(retention_seconds=0)
        assert store.generation > 0
        assert read_content(store, second) == b"second  "
    with Store.open(tmp_path) as store:
        assert [read_content(store, commit) for commit in (first, second)] == [b"first   ", b"second  "]


def test_a_batch_that_fails_publishes_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store, Store.open(tmp_path) as other:

        def interrupted() -> None:
            with store.batch():
                make_commit(store, b"first   ", branch="main")
                raise RuntimeError("stop")

        def overtaken() -> None:
            with store.batch():
                make_commit(store, b"first   ", branch="main", expected=None)
                make_commit(other, b"theirs  ", branch="main")

        with pytest.raises(RuntimeError, match="stop"):
            interrupted()
        assert store.commits() == []
        with pytest.raises(Conflict):
            overtaken()
        assert store.commits() == other.commits() == [other.ref("heads/main")]


def test_reading_handles_write_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        commit = make_commit(store, b"first   ")
    (tmp_path / ".piecrust" / "DURABLE").unlink()
    before = {p: p.stat() for p in (tmp_path / ".piecrust").rglob("*")}
    with Store.open(tmp_path, read_only=True) as store:
        assert read_content(store, commit) == b"first   "
        with store.lease(commit):
            assert not store.refresh()
        with pytest.raises(StoreReadOnly):
            store.transaction()
        with pytest.raises(StoreReadOnly), store.batch():
            pass
        after = {p: p.stat() for p in (tmp_path / ".piecrust").rglob("*")}
    assert {p: (s.st_mtime_ns, s.st_size) for p, s in before.items()} == {
        p: (s.st_mtime_ns, s.st_size) for p, s in after.items()
    }


def test_a_directory_that_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotAStore):
        Store.open(tmp_path)
    with pytest.raises(NotAStore):
        Store.open(tmp_path / "missing")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(NotAStore):
        Store.open(tmp_path, create=True)
    for create in (False, True):
        with pytest.raises(NotAStore, match="no directory"):
            Store.open(tmp_path / "notes.txt", create=create)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]
    Store.create(tmp_path)
    Store.open(tmp_path).close()


def test_the_zero_page_is_always_there_and_takes_no_space(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        assert store.contains(Kind.PAGE, ZERO_PAGE_HASH)
        assert store.load(Kind.PAGE, ZERO_PAGE_HASH) == ZERO_PAGE
        transaction = store.transaction()
        transaction.put(Kind.PAGE, ZERO_PAGE_HASH, ZERO_PAGE)
        assert not list(transaction.staged())


def test_a_closed_handle_and_a_forked_one_say_so(tmp_path: Path) -> None:
    store = Store.open(tmp_path, create=True)
    commit = make_commit(store, b"first   ")
    child = os.fork()
    if child == 0:
        try:
            store.load(Kind.COMMIT, commit)
        except StoreClosed as error:
            os._exit(0 if error.reason == "fork" else 2)
        os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    make_commit(store, b"second  ", parent=commit)
    store.close()
    store.close()
    for use in (lambda: store.load(Kind.COMMIT, commit), store.transaction, store.refresh, store.refs, store.commits):
        with pytest.raises(StoreClosed):
            use()


def test_objects_are_found_by_a_prefix_of_their_address(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        commits = [make_commit(store, b"%8d" % i) for i in range(20)]
        for length in (1, 2, 3, 7, 64):
            prefix = commits[3].hex()[:length]
            assert store.find(Kind.COMMIT, prefix) == sorted(c for c in commits if c.hex().startswith(prefix))
