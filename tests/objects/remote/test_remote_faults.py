"""Whatever happens to requests, a ref of a remote leads to what is whole, and nothing half comes from one."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from piecrust.objects.errors import (
    CorruptRemote,
    NonFastForward,
    PiecrustError,
    RemoteUnavailable,
    StoreLocked,
)
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation
from piecrust.objects.reach import history, reachable
from piecrust.objects.remote.bucket import Bucket
from piecrust.objects.remote.fetch import fetch
from piecrust.objects.remote.push import Force, Update, push
from piecrust.objects.remote.remote_refs import RemoteRefs, encode_ref
from piecrust.objects.store import Store

pytest.importorskip("obstore")

from support.buckets import Fault, FaultyBucket, memory_bucket, storage_over
from support.stores import make_commit, page

MAIN = "heads/main"
REQUESTS_MAX = 64  # more than any of these pushes and fetches makes

Open = Callable[[str], Store]


@pytest.fixture(autouse=True)
def small_packs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("piecrust.objects.remote.outgoing.PACK_BYTES", 1 << 14)
    monkeypatch.setattr("piecrust.objects.remote.remote_pack._WINDOW_BYTES", 1 << 13)


@pytest.fixture
def open_store(tmp_path: Path) -> Iterator[Open]:
    opened: list[Store] = []

    def open_one(name: str) -> Store:
        opened.append(Store.open(tmp_path / name, create=True, sync=False, background=False))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


def line(store: Store, count: int, parent: CommitId | None = None, seed: int = 0) -> CommitId:
    rng = random.Random(seed)
    for _ in range(count):
        pages = {rng.randrange(40): page(rng.randbytes(8), rng.randbytes(4))}
        parent = make_commit(store, b"", parent=parent, pages=pages, message=str(seed))
    assert parent is not None
    return parent


def head(bucket: Bucket) -> CommitId | None:
    ref = RemoteRefs(storage_over(bucket)).read(MAIN)
    return None if ref is None else ref.commit


def assert_whole(bucket: Bucket, open_store: Open, name: str) -> CommitId | None:
    """A new client gets all that the remote's refs lead to; where `main` is."""
    store = open_store(name)
    for tip in fetch(store, "origin", storage_over(bucket)).refs.values():
        seen: set = set()
        for commit, _ in history(store, tip, set()):
            for item in reachable(store, commit, seen):
                store.load(*item)
    return head(bucket)


def requests_of(action: Callable[[FaultyBucket], object], bucket: Bucket) -> int:
    counted = FaultyBucket(bucket)
    action(counted)
    assert len(counted.requests) < REQUESTS_MAX
    return len(counted.requests)


@pytest.mark.parametrize("fault", [Fault.LOST, Fault.TWICE, Fault.CUT])
def test_one_request_goes_wrong_and_nobody_notices(open_store, fault):
    ours = open_store("ours")
    first = line(ours, 3)
    second = line(ours, 6, first, seed=1)
    for number in range(REQUESTS_MAX):
        bucket = FaultyBucket(memory_bucket())
        push(ours, storage_over(bucket), [Update(MAIN, first)])
        bucket.requests.clear()
        bucket.plan = lambda at, _operation, number=number: fault if at == number else None
        push(ours, storage_over(bucket), [Update(MAIN, second)])
        assert head(bucket.inner) == second
        if len(bucket.requests) <= number:
            break
    else:
        pytest.fail("it never ends")
    assert number > 3
    assert assert_whole(bucket.inner, open_store, "theirs") == second


@pytest.mark.parametrize("after", [Fault.CUT, Fault.LOST])
def test_a_push_that_is_cut_off_for_good_leaves_refs_whole_and_can_be_repeated(open_store, after):
    ours = open_store("ours")
    first = line(ours, 2)
    second = line(ours, 6, first, seed=1)
    bucket = memory_bucket()
    push(ours, storage_over(bucket), [Update(MAIN, first)])
    for number in range(REQUESTS_MAX):
        faulty = FaultyBucket(bucket, lambda at, _operation, number=number: after if at >= number else None)
        try:
            push(ours, storage_over(faulty), [Update(MAIN, second)])
        except RemoteUnavailable:
            assert assert_whole(bucket, open_store, f"theirs {number}") in (first, second)
        else:
            break
    else:
        pytest.fail("it never succeeds")
    push(ours, storage_over(bucket), [Update(MAIN, second)])
    assert assert_whole(bucket, open_store, "theirs") == second


def test_two_pushers_at_once_at_any_moment(open_store, tmp_path):
    ours, theirs = open_store("ours"), open_store("theirs")
    first = line(ours, 2)
    mine = line(ours, 4, first, seed=1)
    shared = memory_bucket()
    push(ours, storage_over(shared), [Update(MAIN, first)])
    fetch(theirs, "origin", storage_over(shared))
    other = line(theirs, 4, first, seed=2)
    lost = 0
    for number in range(REQUESTS_MAX):
        bucket = memory_bucket()
        push(ours, storage_over(bucket), [Update(MAIN, first)])
        faulty = FaultyBucket(bucket)

        def meanwhile(_operation: str, _key: str, faulty=faulty, bucket=bucket, number=number) -> None:
            if len(faulty.requests) == number + 1:
                push(theirs, storage_over(bucket), [Update(MAIN, other)])

        faulty.before = meanwhile
        refused = None
        try:
            push(ours, storage_over(faulty), [Update(MAIN, mine)])
        except NonFastForward as error:
            refused = error
        if refused is None:
            assert len(faulty.requests) <= number, "both won"
            assert head(bucket) == mine
            break
        lost += 1
        assert refused.actual == other == head(bucket)
        assert "pull first" in str(refused)
        assert assert_whole(bucket, open_store, f"fresh {number}") == other
    assert lost > 3


def test_two_pushers_make_one_branch(open_store):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), memory_bucket()
    mine, other = line(ours, 2, seed=1), line(theirs, 2, seed=2)
    faulty = FaultyBucket(bucket)
    done = []

    def meanwhile(operation: str, key: str) -> None:
        if operation == "put_if_absent" and key.startswith("refs/") and not done:
            done.append(push(theirs, storage_over(bucket), [Update(MAIN, other)]))

    faulty.before = meanwhile
    with pytest.raises(NonFastForward) as caught:
        push(ours, storage_over(faulty), [Update(MAIN, mine)])
    assert caught.value.actual == other == head(bucket)


def test_a_lost_answer_is_recognised_though_others_went_on(open_store):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), memory_bucket()
    first = line(ours, 2)
    push(ours, storage_over(bucket), [Update(MAIN, first)])
    second = line(ours, 1, first)
    faulty, gone_on = FaultyBucket(bucket), []

    def plan(_number: int, operation: str) -> Fault | None:
        return Fault.LOST if operation == "compare_and_swap" else None

    def meanwhile(operation: str, key: str) -> None:
        moved = any(operation == "compare_and_swap" for operation, _ in faulty.requests[:-1])
        if operation == "get" and moved and not gone_on:
            fetch(theirs, "origin", storage_over(bucket))
            gone_on.append(line(theirs, 1, second, seed=9))
            push(theirs, storage_over(bucket), [Update(MAIN, gone_on[0])])

    faulty.plan, faulty.before = plan, meanwhile
    push(ours, storage_over(faulty), [Update(MAIN, second)])
    assert head(bucket) == gone_on[0]


def test_a_move_that_arrives_late_and_twice_changes_nothing(open_store):
    ours, bucket = open_store("ours"), memory_bucket()
    first = line(ours, 2)
    push(ours, storage_over(bucket), [Update(MAIN, first)])
    second, third = line(ours, 1, first), line(ours, 1, first, seed=3)
    faulty = FaultyBucket(bucket, lambda _number, _operation: Fault.TWICE)
    push(ours, storage_over(faulty), [Update(MAIN, second)])
    push(ours, storage_over(faulty), [Update(MAIN, third, Force.LEASE, second)])
    assert head(bucket) == third


def test_garbage_is_collected_beside_a_push(open_store, tmp_path):
    ours, theirs = open_store("ours"), open_store("theirs")
    first = line(ours, 2)
    tip = line(ours, 4, first, seed=1)
    junk = line(ours, 4, seed=5)
    beside = Store.open(tmp_path / "ours", sync=False)
    transaction = beside.transaction()
    transaction.delete(junk)
    transaction.publish(Operation("delete", ()))
    bucket, collected = FaultyBucket(memory_bucket()), []

    def meanwhile(_operation: str, _key: str) -> None:
        if len(bucket.requests) == 2:
            beside.refresh()
            for commit in beside.commits():  # a lease is all that holds them
                transaction = beside.transaction()
                transaction.delete(commit)
                transaction.publish(Operation("delete", ()))
            collected.append(beside.gc(retention_seconds=0))

    bucket.before = meanwhile
    with beside:
        push(ours, storage_over(bucket), [Update(MAIN, tip)])
    assert collected[0].commits_collected > 0
    fetch(theirs, "origin", storage_over(bucket.inner))
    for item in reachable(theirs, tip, set()):
        theirs.load(*item)


def test_a_fetch_that_is_cut_off_is_taken_up_again(open_store):
    ours, bucket = open_store("ours"), memory_bucket()
    tip = line(ours, 12)
    push(ours, storage_over(bucket), [Update(MAIN, tip)])
    whole = requests_of(lambda counted: fetch(open_store("count"), "origin", storage_over(counted)), bucket)
    for number in range(whole):
        theirs = open_store(f"theirs {number}")
        faulty = FaultyBucket(bucket, lambda at, _operation, number=number: Fault.CUT if at >= number else None)
        with pytest.raises(RemoteUnavailable, match="origin"):
            fetch(theirs, "origin", storage_over(faulty))
        assert theirs.refs() == {}
        assert theirs.commits() == []
        again = FaultyBucket(bucket)
        fetch(theirs, "origin", storage_over(again))
        assert theirs.ref("remotes/origin/main") == tip
        if number == whole - 1:  # all but the last pack were there
            assert len(again.requests) < whole
        for commit, _ in history(theirs, tip, set()):
            for item in reachable(theirs, commit, set()):
                theirs.load(*item)


def test_objects_that_were_collected_after_a_cut_come_again(open_store):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), memory_bucket()
    tip = line(ours, 12)
    push(ours, storage_over(bucket), [Update(MAIN, tip)])
    whole = requests_of(lambda counted: fetch(open_store("count"), "origin", storage_over(counted)), bucket)
    for number in range(2, whole, 3):
        faulty = FaultyBucket(bucket, lambda at, _operation, number=number: Fault.CUT if at >= number else None)
        with pytest.raises(RemoteUnavailable):
            fetch(theirs, "origin", storage_over(faulty))
        theirs.gc(retention_seconds=0)
    fetch(theirs, "origin", storage_over(bucket))
    for item in reachable(theirs, tip, set()):
        theirs.load(*item)


class Liar:
    """A bucket that changes what it gives."""

    def __init__(self, inner: Bucket, lie: Callable[[str, int, bytes], bytes]) -> None:
        self.inner, self.lie = inner, lie

    def __getattr__(self, name: str) -> object:
        return getattr(self.inner, name)

    def get(self, key: str) -> object:
        found = self.inner.get(key)
        return found and found._replace(data=self.lie(key, 0, found.data))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        return self.lie(key, start, self.inner.get_range(key, start, length))


def test_no_flipped_bit_is_believed(open_store):
    ours, bucket = open_store("ours"), memory_bucket()
    tip = line(ours, 3)
    push(ours, storage_over(bucket), [Update(MAIN, tip)])
    sizes = {entry.key: entry.size for prefix in ("packs/", "refs/") for entry in bucket.list(prefix)}
    rng = random.Random(7)
    for key, size in sizes.items():
        for at in sorted({0, size - 1, *(rng.randrange(size) for _ in range(40))}):

            def lie(of: str, start: int, data: bytes, key=key, at=at) -> bytes:
                if of != key or not start <= at < start + len(data):
                    return data
                changed = bytearray(data)
                changed[at - start] ^= 1 << rng.randrange(8)
                return bytes(changed)

            theirs = open_store(f"{key} {at}".replace("/", " "))
            with pytest.raises(CorruptRemote):
                fetch(theirs, "origin", storage_over(Liar(bucket, lie)))
            assert theirs.refs() == {}
            assert theirs.commits() == []


def test_a_ref_to_what_is_not_there_is_refused(open_store):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), memory_bucket()
    tip = line(ours, 3)
    assert bucket.put_if_absent("refs/heads/main", encode_ref(tip, ("00" * 16,)))
    with pytest.raises(CorruptRemote, match="missing"):
        fetch(theirs, "origin", storage_over(bucket))
    assert theirs.refs() == {}


def test_a_remote_that_lacks_a_pack_is_refused(open_store):
    ours, bucket = open_store("ours"), memory_bucket()
    tip = line(ours, 12)
    push(ours, storage_over(bucket), [Update(MAIN, tip)])
    packs = [entry.key for entry in bucket.list("packs/")]
    assert len(packs) > 2
    for missing in packs:
        less = memory_bucket()
        for key in {*packs, "refs/heads/main"} - {missing}:
            found = bucket.get(key)
            assert found is not None
            less.put_if_absent(key, found.data)
        theirs = open_store(missing.replace("/", " "))
        with pytest.raises(CorruptRemote):
            fetch(theirs, "origin", storage_over(less))
        assert (theirs.refs(), theirs.commits()) == ({}, [])


def test_other_things_in_the_place_do_not_matter(open_store):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), memory_bucket()
    tip = line(ours, 2)
    push(ours, storage_over(bucket), [Update(MAIN, tip)])
    for key in ("packs/readme.txt", "refs/heads/=ZZ", "refs/notes/x", "other"):
        bucket.put_if_absent(key, b"?")
    assert fetch(theirs, "origin", storage_over(bucket)).refs == {MAIN: tip}


def test_a_pack_of_no_use_is_no_harm(open_store):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), memory_bucket()
    tip, abandoned = line(ours, 2), line(ours, 3, seed=8)
    push(ours, storage_over(bucket), [Update(MAIN, tip)])
    faulty = FaultyBucket(bucket, lambda _n, operation: Fault.CUT if operation == "compare_and_swap" else None)
    with pytest.raises(PiecrustError):
        push(ours, storage_over(faulty), [Update(MAIN, abandoned, Force.LEASE, tip)])
    fetch(theirs, "origin", storage_over(bucket))
    assert sorted(theirs.commits()) == sorted(commit for commit, _ in history(theirs, tip, set()))


def test_garbage_is_collected_beside_a_fetch(open_store, tmp_path):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), FaultyBucket(memory_bucket())
    tip = line(ours, 12)
    push(ours, storage_over(bucket), [Update(MAIN, tip)])
    runs = []

    def meanwhile(_operation: str, _key: str) -> None:
        with contextlib.suppress(StoreLocked):  # at the end nothing is collected
            runs.append(beside.gc(retention_seconds=0))

    with Store.open(tmp_path / "theirs", sync=False, lock_seconds=0.01) as beside:
        bucket.before = meanwhile
        fetch(theirs, "origin", storage_over(bucket))
        assert sum(run.objects_dead for run in runs) > 0
        beside.gc(retention_seconds=0)
    for commit, _ in history(theirs, tip, set()):
        for item in reachable(theirs, commit, set()):
            theirs.load(*item)


def test_a_frame_that_is_too_long_is_not_read_into_memory(open_store, monkeypatch):
    ours, theirs, bucket = open_store("ours"), open_store("theirs"), memory_bucket()
    push(ours, storage_over(bucket), [Update(MAIN, line(ours, 3))])
    monkeypatch.setattr("piecrust.objects.remote.remote_pack._FRAME_BYTES_MAX", 100)
    with pytest.raises(CorruptRemote, match="a frame of"):
        fetch(theirs, "origin", storage_over(bucket))
