"""Remotes on a real S3 server: `python tests/s3/serve.py pytest -q tests/s3` starts one; skipped without."""

from __future__ import annotations

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from piecrust.objects.errors import InvalidRemote, NonFastForward, RemoteUnavailable
from piecrust.objects.reach import history, reachable
from piecrust.objects.remote.fetch import fetch
from piecrust.objects.remote.open_bucket import open_bucket
from piecrust.objects.remote.push import Force, Update, push
from piecrust.objects.remote.remotes import Remotes
from piecrust.objects.store import Store
from piecrust.vm.remotes import clone
from support.buckets import Fault, FaultyBucket, storage_over
from support.sample_objects import noise
from support.stores import make_commit, read_content

pytest.importorskip("obstore")
ADDRESS = os.environ.get("PIECRUST_S3")
pytestmark = pytest.mark.skipif(ADDRESS is None, reason="no S3 server: python tests/s3/serve.py pytest -q tests/s3")

MAIN = "heads/main"
RACERS = 8


@pytest.fixture
def url() -> str:
    """An address that nothing is at."""
    assert ADDRESS is not None
    bucket, _, options = ADDRESS.partition("?")
    return f"{bucket}/{uuid.uuid4()}?{options}"


def race(*runners) -> list[object]:
    """What each gave or raised, all of them having started at once."""
    start = Barrier(len(runners))

    def run(runner) -> object:
        start.wait()
        try:
            return runner()
        except NonFastForward as error:
            return error

    with ThreadPoolExecutor(len(runners)) as pool:
        return list(pool.map(run, runners))


def test_operations_of_a_bucket(url):
    bucket = open_bucket(url)
    assert bucket.get("packs/a") is None
    assert bucket.put_if_absent("packs/a", b"hello")
    assert not bucket.put_if_absent("packs/a", b"other")
    found = bucket.get("packs/a")
    assert found is not None
    assert found.data == b"hello"
    assert bucket.get_range("packs/a", 1, 3) == b"ell"
    assert bucket.compare_and_swap("packs/a", found.tag, b"swapped")
    assert not bucket.compare_and_swap("packs/a", found.tag, b"again")
    assert not bucket.compare_and_swap("packs/none", found.tag, b"again")
    assert [tuple(entry) for entry in bucket.list("packs/")] == [("packs/a", 7)]
    with pytest.raises(RemoteUnavailable):
        bucket.get_range("packs/none", 0, 1)


@pytest.mark.parametrize("_attempt", range(10))
def test_of_eight_that_create_one_does(url, _attempt):
    buckets = [open_bucket(url) for _ in range(RACERS)]
    done = race(*(lambda n=n: buckets[n].put_if_absent("refs/x", b"%d" % n) for n in range(RACERS)))
    assert sorted(done) == [False] * (RACERS - 1) + [True]
    found = buckets[0].get("refs/x")
    assert found is not None
    assert found.data == b"%d" % done.index(True)


@pytest.mark.parametrize("_attempt", range(10))
def test_of_eight_that_swap_one_does(url, _attempt):
    buckets = [open_bucket(url) for _ in range(RACERS)]
    buckets[0].put_if_absent("refs/x", b"first")
    found = buckets[0].get("refs/x")
    assert found is not None
    swaps = (lambda n=n: buckets[n].compare_and_swap("refs/x", found.tag, b"%d" % n) for n in range(RACERS))
    done = race(*swaps)
    assert sorted(done) == [False] * (RACERS - 1) + [True]
    after = buckets[0].get("refs/x")
    assert after is not None
    assert after.data == b"%d" % done.index(True)


def test_eight_pushers_until_all_have_pushed(url, tmp_path):
    """Each pushes a commit; who loses fetches, goes on from the winner's and pushes again."""
    with Store.open(tmp_path / "first", create=True, sync=False) as store:
        first = make_commit(store, b"first!!!")
        push(store, storage_over(open_bucket(url)), [Update(MAIN, first)])
    start, losses = Barrier(RACERS), []

    def pusher(number: int) -> None:
        storage = storage_over(open_bucket(url))
        with Store.open(tmp_path / f"{number}", create=True, sync=False) as store:
            head = fetch(store, "origin", storage).refs[MAIN]
            start.wait()
            while True:
                mine = make_commit(store, b"pusher %d" % number, parent=head)
                try:
                    push(store, storage, [Update(MAIN, mine)])
                except NonFastForward as error:
                    losses.append(error)
                    head = fetch(store, "origin", storage).refs[MAIN]
                else:
                    return

    with ThreadPoolExecutor(RACERS) as pool:
        list(pool.map(pusher, range(RACERS)))
    with Store.open(tmp_path / "last", create=True, sync=False) as store:
        tip = fetch(store, "origin", storage_over(open_bucket(url))).refs[MAIN]
        contents = [read_content(store, commit) for commit, _ in history(store, tip, set())]
    assert sorted(contents) == sorted([b"first!!!", *(b"pusher %d" % n for n in range(RACERS))])
    assert losses


def test_a_clone_with_lost_and_doubled_requests(url, tmp_path):
    plan = {3: Fault.LOST, 5: Fault.CUT, 6: Fault.TWICE, 7: Fault.LOST}
    faulty = FaultyBucket(open_bucket(url), lambda number, _operation: plan.get(number % 9))
    with Store.open(tmp_path / "ours", create=True, sync=False) as ours:
        tip = None
        for number in range(20):
            tip = make_commit(ours, b"%08d" % number, parent=tip, pages={number: noise(str(number))})
            push(ours, storage_over(faulty), [Update(MAIN, tip)])
        other = make_commit(ours, b"other!!!")
        with pytest.raises(NonFastForward):
            push(ours, storage_over(faulty), [Update(MAIN, other)])
        with Store.open(tmp_path / "theirs", create=True, sync=False) as theirs:
            assert fetch(theirs, "origin", storage_over(faulty)).refs == {MAIN: tip}
            for commit, _ in history(theirs, tip, set()):
                for item in reachable(theirs, commit, set()):
                    theirs.load(*item)
        push(ours, storage_over(faulty), [Update(MAIN, other, Force.LEASE, tip)])


def test_lazily_by_address(url, tmp_path):
    with Store.open(tmp_path / "ours", create=True, sync=False) as ours:
        Remotes(ours).add("origin", url)
        tip = make_commit(ours, b"lazily!!", pages={1: b"lazily!!".ljust(65536, b"\0"), 2: noise("2")})
        push(ours, Remotes(ours).open("origin"), [Update(MAIN, tip)])
    clone(url, tmp_path / "theirs", lazy=True)
    with Store.open(tmp_path / "theirs") as theirs:
        assert theirs.ref("heads/main") == tip
        assert read_content(theirs, tip) == b"lazily!!"


def test_a_bucket_that_is_not_there(url, tmp_path: Path):
    assert ADDRESS is not None
    with pytest.raises((RemoteUnavailable, InvalidRemote)):
        clone("s3://no-such-bucket?" + ADDRESS.partition("?")[2], tmp_path / "theirs")
    assert not (tmp_path / "theirs").exists()
