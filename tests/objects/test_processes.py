"""Several real processes on one store, and processes that are killed."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from piecrust.objects.errors import StoreLocked
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.store import Store
from support.processes import check_acknowledged, kill_again_and_again, start, work_together
from support.stores import make_commit, read_content
from support.workers import commit_for_ever, race, serve

KILLS = 25


def test_two_processes_see_each_others_commits_without_reopening(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        process, connection = start(serve, tmp_path)
        assert connection.recv() == "ready"
        for number in range(5):
            ours = make_commit(store, b"our %4d" % number)
            connection.send(("read", ours))
            assert connection.recv() == b"our %4d" % number
            connection.send(("commit", b"his %4d" % number))
            theirs = connection.recv()
            assert store.refresh()
            assert read_content(store, theirs) == b"his %4d" % number
        process.kill()
        process.join()
        make_commit(store, b"the last")


def test_processes_that_commit_on_one_branch_lose_nothing(tmp_path: Path) -> None:
    workers, commits = 3, 12
    Store.open(tmp_path, create=True).close()
    started = [start(race, tmp_path, worker, commits) for worker in range(workers)]
    made: set[CommitId] = set()
    for process, connection in started:
        made |= set(connection.recv()[1])
        process.join()
        assert process.exitcode == 0
    with Store.open(tmp_path) as store:
        line = []
        head: CommitId | None = store.ref_commit("heads/main")
        while head is not None:
            line.append(head)
            parents = store.graph(head).parents
            head = parents[0] if parents else None
        assert len(line) == workers * commits
        assert set(line) == made == set(store.commits())
        assert len({read_content(store, commit) for commit in line}) == len(line)
        assert len(list(store.operations())) == workers * (commits + 1)


def test_a_store_that_is_locked_too_long_says_so(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as one, Store.open(tmp_path, lock_seconds=0.05) as two:
        with one._to_write().lock, pytest.raises(StoreLocked) as caught:
            make_commit(two, b"waiting ")
        assert caught.value.seconds == 0.05
        make_commit(two, b"waiting ")


def test_killed_writers_lose_nothing_that_they_acknowledged(tmp_path: Path) -> None:
    rng = random.Random(5)
    acknowledged: dict[CommitId, bytes] = {}
    Store.open(tmp_path, create=True).close()
    for _ in range(KILLS):
        process, connection = start(commit_for_ever, tmp_path, len(acknowledged))
        received = [connection.recv()]
        time.sleep(rng.random() * 0.03)
        process.kill()
        process.join()
        check_acknowledged(tmp_path, connection, received, acknowledged)
    with Store.open(tmp_path) as store:
        for commit, content in acknowledged.items():
            assert read_content(store, commit) == content
            assert store.commits_with_root(store.load(Kind.COMMIT, commit).state_root)
        make_commit(store, b"the last", parent=store.ref_commit("heads/main"))


def test_processes_that_commit_delete_collect_and_read_together(tmp_path: Path) -> None:
    counts = work_together(tmp_path / "state", workers=3, commits=24)
    assert counts["collections"] > 0
    assert counts["reads"] > 0


def test_killed_writers_sealers_and_collectors_lose_nothing(tmp_path: Path) -> None:
    """`benchmarks/kills.py` kills more."""
    counts = kill_again_and_again(tmp_path / "state", rounds=10, seed=6)
    assert counts["kills"] == 30
    assert counts["commits"] >= 10
