"""Pushing and fetching: what one store has, another gets, whole, with few requests."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from piecrust.objects.errors import NonFastForward, ObjectNotFound, UnknownRef
from piecrust.objects.fsck import fsck
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.reach import history, reachable
from piecrust.objects.remote.fetch import fetch
from piecrust.objects.remote.open_bucket import open_bucket
from piecrust.objects.remote.push import Force, Update, push
from piecrust.objects.remote.storage import Storage
from piecrust.objects.store import Store

pytest.importorskip("obstore")

from support.buckets import FaultyBucket, memory_bucket, storage_over
from support.sample_objects import sample
from support.stores import make_commit, page, read_content

MAIN = "heads/main"
OpenStore = Callable[[str], Store]


@pytest.fixture(params=["memory", "files"])
def bucket(request: pytest.FixtureRequest, tmp_path: Path) -> FaultyBucket:
    inner = memory_bucket() if request.param == "memory" else open_bucket(str(tmp_path / "remote"))
    return FaultyBucket(inner)


@pytest.fixture
def storage(bucket: FaultyBucket) -> Storage:
    return storage_over(bucket)


def line(store: Store, count: int, *, parent: CommitId | None = None, seed: int = 0) -> CommitId:
    """A line of small commits; the last one."""
    rng = random.Random(seed)
    for _ in range(count):
        pages = {rng.randrange(300): page(rng.randbytes(8), rng.randbytes(4))}
        parent = make_commit(store, rng.randbytes(8), parent=parent, pages=pages)
    assert parent is not None
    return parent


def whole(store: Store, tip: CommitId) -> int:
    """Every object of a commit's history is there; how many commits."""
    seen: set[tuple[Kind, bytes]] = set()
    commits = [commit for commit, _ in history(store, tip, set())]
    for commit in commits:
        for kind, address in reachable(store, commit, seen):
            store.load(kind, address)
    return len(commits)


def pushed(store: Store, storage: Storage, commit: CommitId, ref: str = MAIN) -> None:
    push(store, storage, [Update(ref, commit)])


def test_what_was_pushed_is_fetched_whole(open_store, storage, tmp_path):
    ours, theirs = open_store("ours"), open_store("theirs")
    tip = line(ours, 30)
    report = push(ours, storage, [Update(MAIN, tip), Update("tags/v1", tip)])
    assert (report.commits, len(report.packs)) == (30, 1)
    fetched = fetch(theirs, "origin", storage)
    assert fetched.refs == {MAIN: tip, "tags/v1": tip}
    assert theirs.refs() == {"remotes/origin/main": tip, "tags/v1": tip}
    assert len(fetched.commits) == 30 == whole(theirs, tip) == len(theirs.commits())
    assert fsck(tmp_path / "theirs").clean


def test_every_kind_of_object_travels(open_store, storage):
    ours, theirs, everything = open_store("ours"), open_store("theirs"), sample()
    transaction = ours.transaction()
    for kind, address, staged in everything.objects.staged():
        transaction.put(kind, address, staged.value)
    transaction.keep(everything.merge)
    transaction.publish(Operation("test", ()))
    pushed(ours, storage, everything.merge)
    fetch(theirs, "origin", storage)
    assert whole(theirs, everything.merge) == 4


def test_a_small_change_is_one_pack_and_one_ref(open_store, bucket, storage):
    ours = open_store("ours")
    first = line(ours, 50)
    pushed(ours, storage, first)
    bucket.requests.clear()
    pushed(ours, storage, make_commit(ours, b"changed!", parent=first))
    assert bucket.writes == [("put_if_absent", "packs"), ("compare_and_swap", "refs")]
    assert len(bucket.requests) == 3


def test_fetching_again_brings_what_is_new_alone(open_store, bucket, storage):
    ours, theirs = open_store("ours"), open_store("theirs")
    first = line(ours, 20)
    pushed(ours, storage, first)
    fetch(theirs, "origin", storage)
    second = make_commit(ours, b"changed!", parent=first)
    pushed(ours, storage, second)
    bucket.requests.clear()
    report = fetch(theirs, "origin", storage)
    assert (report.commits, report.packs) == ((second,), 1)
    assert [operation for operation, _ in bucket.requests] == ["list", "get", "list", "get_range"]
    assert read_content(theirs, second) == b"changed!"
    bucket.requests.clear()
    assert fetch(theirs, "origin", storage).moved == {}
    assert [operation for operation, _ in bucket.requests] == ["list", "get"]


def test_pushing_what_is_there_writes_nothing(open_store, bucket, storage):
    ours = open_store("ours")
    tip = line(ours, 3)
    pushed(ours, storage, tip)
    bucket.requests.clear()
    assert push(ours, storage, [Update(MAIN, tip)]).packs == ()
    assert bucket.writes == []


def test_the_same_push_makes_the_same_pack(open_store, tmp_path):
    ours = open_store("ours")
    tip = line(ours, 10)
    names = set()
    for _ in range(2):
        bucket = memory_bucket()
        pushed(ours, storage_over(bucket), tip)
        names.add(tuple(entry.key for entry in bucket.list("packs/")))
    assert len(names) == 1


def test_a_large_push_is_several_packs(open_store, storage, monkeypatch):
    monkeypatch.setattr("piecrust.objects.remote.outgoing.PACK_BYTES", 1 << 16)
    monkeypatch.setattr("piecrust.objects.remote.remote_pack._WINDOW_BYTES", 1 << 14)
    ours, theirs = open_store("ours"), open_store("theirs")
    tip = line(ours, 60)
    report = push(ours, storage, [Update(MAIN, tip)])
    assert len(report.packs) > 3
    assert fetch(theirs, "origin", storage).packs == len(report.packs)
    assert whole(theirs, tip) == 60


def test_who_did_not_pull_can_not_push(open_store, storage):
    ours, theirs = open_store("ours"), open_store("theirs")
    first = line(ours, 3)
    pushed(ours, storage, first)
    fetch(theirs, "origin", storage)
    other = make_commit(theirs, b"theirs!!", parent=first)
    pushed(theirs, storage, other)
    mine = make_commit(ours, b"ours!!!!", parent=first)
    with pytest.raises(NonFastForward, match="pull first") as caught:
        pushed(ours, storage, mine)
    assert caught.value.actual == other
    fetch(ours, "origin", storage)
    assert ours.ref("remotes/origin/main") == other


def test_force_needs_the_lease(open_store, storage):
    ours = open_store("ours")
    first, other = line(ours, 2), line(ours, 2, seed=1)
    pushed(ours, storage, first)
    with pytest.raises(NonFastForward):
        pushed(ours, storage, other)
    with pytest.raises(NonFastForward):
        push(ours, storage, [Update(MAIN, other, Force.LEASE, other)])
    report = push(ours, storage, [Update(MAIN, other, Force.LEASE, first)])
    assert (report.refs[0].before, report.refs[0].after) == (first, other)


def test_a_tag_stays_where_it_is(open_store, storage):
    ours = open_store("ours")
    first = line(ours, 2)
    pushed(ours, storage, first, "tags/v1")
    with pytest.raises(NonFastForward):
        pushed(ours, storage, make_commit(ours, b"changed!", parent=first), "tags/v1")


def test_a_deleted_branch_is_gone_and_may_come_again(open_store, storage):
    ours, theirs = open_store("ours"), open_store("theirs")
    tip = line(ours, 2)
    push(ours, storage, [Update(MAIN, tip), Update("heads/other/deep branch".replace(" ", "ö"), tip)])
    fetch(theirs, "origin", storage)
    assert theirs.ref("remotes/origin/other/deepöbranch") == tip
    push(ours, storage, [Update("heads/other/deepöbranch", None)])
    with pytest.raises(UnknownRef):
        push(ours, storage, [Update("heads/other/deepöbranch", None)])
    fetch(theirs, "origin", storage)
    assert theirs.refs() == {"remotes/origin/main": tip}
    push(ours, storage, [Update("heads/other/deepöbranch", tip)])
    assert len(fetch(theirs, "origin", storage).refs) == 2


def test_a_new_branch_from_the_middle_of_history_is_complete(open_store, storage):
    ours, theirs = open_store("ours"), open_store("theirs")
    middle = line(ours, 5)
    tip = line(ours, 5, parent=middle, seed=2)
    pushed(ours, storage, tip)
    branch = make_commit(ours, b"branched", parent=middle)
    report = push(ours, storage, [Update("heads/branch", branch)])
    assert report.commits == 1
    fetch(theirs, "origin", storage)
    assert whole(theirs, branch) == 6


def test_commits_that_were_deleted_travel_without_their_states(open_store, storage, tmp_path):
    ours, theirs = open_store("ours"), open_store("theirs")
    first = make_commit(ours, b"deleted!", pages={0: page(b"a", b"secret")})
    second = make_commit(ours, b"second!!", parent=first, pages={0: page(b"b", b"open")})
    transaction = ours.transaction()
    transaction.delete(first)
    transaction.publish(Operation("delete", ()))
    pushed(ours, storage, second)
    fetch(theirs, "origin", storage)
    assert theirs.is_deleted(first)
    assert theirs.commits() == [second]
    assert not theirs.contains(Kind.PAGE, blake3(page(b"a", b"secret")).digest())
    assert fsck(tmp_path / "theirs").clean
    with pytest.raises(ObjectNotFound):
        pushed(ours, storage, first, "heads/gone")


def test_contracts_beside_one_another_travel(open_store, storage):
    ours, theirs = open_store("ours"), open_store("theirs")
    tip = None
    for number in range(40):
        contract = ContractId(blake3(bytes([number])).digest())
        tip = make_commit(ours, bytes(8), parent=tip, contract=contract)
    pushed(ours, storage, tip)
    fetch(theirs, "origin", storage)
    assert whole(theirs, tip) == 40
