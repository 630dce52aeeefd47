"""Lazy, shallow and partial clones: what is not there comes when it is touched, or is known to be missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from blake3 import blake3
from piecrust.objects.ancestry import merge_base
from piecrust.objects.codec import CODECS
from piecrust.objects.errors import CorruptRemote, ObjectNotFound, RemoteUnavailable
from piecrust.objects.fsck import fsck
from piecrust.objects.ids import ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.proof_history import prove_ancestry
from piecrust.objects.reach import reachable
from piecrust.objects.remote.fetch import Extent, fetch
from piecrust.objects.remote.push import Update, push
from piecrust.objects.remote.remotes import Remotes
from piecrust.objects.remote.storage import Storage
from piecrust.objects.store import Store
from piecrust.objects.verifier.verify import verify

pytest.importorskip("obstore")

from support.buckets import Fault, FaultyBucket, memory_bucket, storage_over
from support.sample_objects import noise
from support.stores import make_commit, page, read_content, read_page

MAIN = "heads/main"
OTHER = ContractId(blake3(b"other").digest())


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> FaultyBucket:
    """What every remote is opened with."""
    bucket = FaultyBucket(memory_bucket())
    monkeypatch.setattr(Remotes, "open", lambda _self, name: Storage(name, bucket, pause_seconds=0))
    return bucket


@pytest.fixture
def origin(tmp_path: Path, bucket: FaultyBucket) -> Store:
    """A store whose branch has 20 commits on two contracts, and is pushed."""
    with Store.open(tmp_path / "origin", create=True, sync=False) as store:
        tip = None
        for number in range(20):
            contract = {"contract": OTHER} if number % 2 else {}
            pages = {1: page(number.to_bytes(8, "big"), bytes([number])), 2 + number: noise(f"{number}")}
            tip = make_commit(store, b"", parent=tip, branch="main", pages=pages, message=str(number), **contract)
        push(store, storage_over(bucket), [Update(MAIN, tip)])
        yield store


@pytest.fixture
def open_clone(tmp_path: Path, origin: Store, bucket: FaultyBucket) -> Callable[..., Store]:
    """A clone that is closed and opened again, so that only what is on the disk counts."""

    def clone(*, lazy: bool = False, **options) -> Store:
        with Store.open(tmp_path / "clone", create=True, sync=False) as store:
            Remotes(store).add("origin", "memory://somewhere", lazy=lazy)
            extent = Extent.LAZY if lazy else Extent.WHOLE
            fetch(store, "origin", storage_over(bucket), extent=extent, **options)
        bucket.requests.clear()
        bucket.bytes_read = 0
        return Store.open(tmp_path / "clone", sync=False)

    return clone


def cut(bucket: FaultyBucket) -> None:
    bucket.plan = lambda _number, _operation: Fault.CUT


def test_a_lazy_clone_has_what_is_touched(open_clone, origin, bucket, tmp_path):
    tip = origin.ref_commit(MAIN)
    with open_clone(lazy=True) as clone:
        assert clone.commits() == [tip]
        assert read_content(clone, tip) == read_content(origin, tip)
        assert 0 < bucket.bytes_read < 100_000
    cut(bucket)
    with Store.open(tmp_path / "clone") as clone:
        assert read_content(clone, tip) == read_content(origin, tip)
        with pytest.raises(RemoteUnavailable, match="origin"):
            read_page(clone, tip, 3, OTHER)


def test_everything_of_a_lazy_clone_can_be_touched(open_clone, origin):
    with open_clone(lazy=True) as clone:
        here = origin.ref_commit(MAIN)
        while True:
            for kind, address in reachable(clone, here, set()):
                encode = CODECS[kind].encode
                assert encode(clone.load(kind, address)) == encode(origin.load(kind, address))
            parents = clone.graph(here).parents
            if not parents:
                break
            here = parents[0]


def test_a_lazy_clone_is_sound_and_collects_garbage_without_the_remote(open_clone, origin, bucket, tmp_path):
    tip = origin.ref_commit(MAIN)
    with open_clone(lazy=True) as clone:
        read_content(clone, tip)
        mine = make_commit(clone, b"mine!!!!", parent=tip, branch="mine")
        abandoned = make_commit(clone, b"away!!!!", parent=mine)
    cut(bucket)
    with Store.open(tmp_path / "clone", sync=False) as clone:
        transaction = clone.transaction()
        transaction.delete(abandoned)
        transaction.publish(Operation("delete", ()))
        assert clone.gc(dry_run=True).commits_collected >= 1
        clone.gc()
        assert not clone.contains(Kind.COMMIT, abandoned)
        assert read_content(clone, mine) == b"mine!!!!"
    assert fsck(tmp_path / "clone").clean


def test_what_was_made_in_a_lazy_clone_is_pushed(open_clone, origin, bucket):
    tip = origin.ref_commit(MAIN)
    with open_clone(lazy=True) as clone:
        mine = make_commit(clone, b"mine!!!!", parent=tip, branch="main")
        report = push(clone, storage_over(bucket), [Update(MAIN, mine)])
        assert (report.commits, len(report.packs)) == (1, 1)
    fetch(origin, "origin", storage_over(bucket))
    assert read_content(origin, mine) == b"mine!!!!"


def test_a_lazy_clone_follows_the_remote(open_clone, origin, bucket):
    tip = origin.ref_commit(MAIN)
    with open_clone(lazy=True) as clone:
        read_content(clone, tip)
        newer = make_commit(origin, b"newer!!!", parent=tip, branch="main")
        push(origin, storage_over(bucket), [Update(MAIN, newer)])
        fetch(clone, "origin", storage_over(bucket), extent=Extent.LAZY)
        assert clone.ref("remotes/origin/main") == newer
        assert read_content(clone, newer) == b"newer!!!"


def test_a_handle_that_only_reads_writes_nothing(open_clone, origin, tmp_path):
    tip = origin.ref_commit(MAIN)
    open_clone(lazy=True).close()
    before = sum(path.stat().st_size for path in (tmp_path / "clone" / ".piecrust" / "log").iterdir())
    with Store.open(tmp_path / "clone", read_only=True) as clone:
        assert read_content(clone, tip) == read_content(origin, tip)
    assert sum(path.stat().st_size for path in (tmp_path / "clone" / ".piecrust" / "log").iterdir()) == before


def test_a_damaged_or_torn_cache_of_indexes_is_read_anew(open_clone, origin, tmp_path):
    tip = origin.ref_commit(MAIN)
    with open_clone(lazy=True) as clone:
        read_content(clone, tip)
    caches = list((tmp_path / "clone" / ".piecrust" / "index").glob("*.remote"))
    assert caches
    for cache in caches:
        data = bytearray(cache.read_bytes())
        data[len(data) // 2] ^= 1
        cache.write_bytes(data)
    with Store.open(tmp_path / "clone") as clone:
        assert read_page(clone, tip, 3, OTHER) == read_page(origin, tip, 3, OTHER)


@pytest.mark.parametrize("flipped", range(0, 100, 7))
def test_a_lazy_clone_believes_nothing(open_clone, origin, bucket, flipped):
    tip = origin.ref_commit(MAIN)
    with open_clone(lazy=True) as clone:
        honest = bucket.inner.get_range

        def lie(key: str, start: int, length: int) -> bytes:
            data = bytearray(honest(key, start, length))
            data[len(data) * flipped // 100] ^= 0x55
            return bytes(data)

        bucket.inner.get_range = lie
        with pytest.raises((CorruptRemote, ObjectNotFound)):  # a lie about where something is hides it
            read_page(clone, tip, 3, OTHER)
        del bucket.inner.get_range
        assert read_page(clone, tip, 3, OTHER) == read_page(origin, tip, 3, OTHER)


def test_a_contract_comes_at_once_and_can_be_used_without_the_remote(open_clone, origin, bucket, tmp_path):
    tip = origin.ref_commit(MAIN)
    open_clone(lazy=True, contracts=[OTHER]).close()
    cut(bucket)
    with Store.open(tmp_path / "clone", sync=False) as clone:
        for number in range(1, 20, 2):
            assert read_page(clone, tip, 2 + number, OTHER) == noise(f"{number}")
        with pytest.raises(RemoteUnavailable):
            read_content(clone, tip)
    assert fsck(tmp_path / "clone").clean


def test_a_contract_that_is_nowhere_is_refused(open_clone):
    with pytest.raises(ObjectNotFound, match="contract"):
        open_clone(lazy=True, contracts=[ContractId(bytes(32))])


@pytest.mark.parametrize("depth", [1, 3, 100])
def test_a_shallow_clone_knows_its_history_and_has_the_newest_states(open_clone, origin, bucket, tmp_path, depth):
    tip = origin.ref_commit(MAIN)
    with open_clone(depth=depth) as clone:
        cut(bucket)
        assert len(clone.commits()) == min(depth, 20)
        line = [tip]
        while clone.graph(line[-1]).parents:
            line += clone.graph(line[-1]).parents
        assert len(line) == 20
        for age, commit in enumerate(line):
            assert clone.is_deleted(commit) == (age >= depth)
            if age < depth:
                for item in reachable(clone, commit, set()):
                    clone.load(*item)
        assert verify(prove_ancestry(clone, line[-1], tip), commit=tip).ancestor == line[-1]
        mine = make_commit(clone, b"mine!!!!", parent=tip)
        assert merge_base(clone.graph, mine, tip) == tip
        clone.gc()
        assert len(clone.commits()) == min(depth, 20) + 1
    assert fsck(tmp_path / "clone").clean


def test_a_shallow_clone_can_be_deepened_and_pushed_from(open_clone, origin, bucket, tmp_path):
    tip = origin.ref_commit(MAIN)
    with open_clone(depth=2) as clone:
        fetch(clone, "origin", storage_over(bucket), depth=5)
        assert len(clone.commits()) == 5
        mine = make_commit(clone, b"mine!!!!", parent=tip)
        assert push(clone, storage_over(bucket), [Update(MAIN, mine)]).commits == 1
        fetch(origin, "origin", storage_over(bucket))
        newer = make_commit(origin, b"newer!!!", parent=mine)
        push(origin, storage_over(bucket), [Update(MAIN, newer)])
        bucket.requests.clear()
        assert fetch(clone, "origin", storage_over(bucket)).commits == (newer,)
        assert len(bucket.requests) <= 6
        assert len(clone.commits()) == 7
    assert fsck(tmp_path / "clone").clean


def test_a_lazily_read_page_of_a_large_contract_costs_little(tmp_path, bucket, monkeypatch):
    monkeypatch.setattr("piecrust.objects.remote.outgoing.PACK_BYTES", 1 << 20)
    with Store.open(tmp_path / "origin", create=True, sync=False) as store:
        pages = {index: noise(f"page {index}") for index in range(160)}  # 10 MiB in 10 packs
        tip = make_commit(store, b"", pages=pages)
        push(store, storage_over(bucket), [Update(MAIN, tip)])
    with Store.open(tmp_path / "clone", create=True, sync=False) as clone:
        Remotes(clone).add("origin", "memory://somewhere", lazy=True)
        fetch(clone, "origin", storage_over(bucket), extent=Extent.LAZY)
    bucket.bytes_read = 0
    with Store.open(tmp_path / "clone") as clone:
        assert read_page(clone, tip, 77) == noise("page 77")
    assert bucket.bytes_read < 200_000


def test_an_old_commit_of_a_shallow_clone_stays_bare_though_a_branch_leaves_from_it(open_clone, origin, bucket):
    tip = origin.ref_commit(MAIN)
    with open_clone(depth=1) as clone:
        old = origin.graph(origin.graph(tip).parents[0]).parents[0]
        branch = make_commit(origin, b"branch!!", parent=old)
        push(origin, storage_over(bucket), [Update("heads/branch", branch)])
        assert fetch(clone, "origin", storage_over(bucket)).commits == (branch,)
        assert clone.is_deleted(old)
        for item in reachable(clone, branch, set()):
            clone.load(*item)
