"""Real processes for tests: forked from a server that has imported everything, so that one starts in milliseconds."""

from __future__ import annotations

import multiprocessing
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from piecrust.objects.fsck import fsck
from piecrust.objects.ids import CommitId
from piecrust.objects.marking import OPERATIONS_KEPT_MIN
from piecrust.objects.store import Store

from support.stores import read_content
from support.workers import collect_for_ever, commit_for_ever, read_for_ever, seal_for_ever, work_with_others

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["piecrust.objects.store", "support.stores", "support.workers"])


def start(target: Callable[..., None], *arguments: object) -> tuple[ForkServerProcess, Connection]:
    """Run `target(connection, *arguments)` in a process; the other end of the connection."""
    ours, theirs = _context.Pipe()
    process = _context.Process(target=target, args=(theirs, *arguments), daemon=True)
    process.start()
    theirs.close()
    return process, ours


def check_acknowledged(
    directory: Path,
    connection: Connection,
    received: list[tuple[bytes, bytes]],
    acknowledged: dict[CommitId, bytes],
) -> set[CommitId]:
    """Raise unless all that a killed writer acknowledged is in the store; all of the store's commits.

    `received` is what was read from the connection before; what is left there is added, and all of it to
    `acknowledged`.
    """
    while connection.poll():
        try:
            received.append(connection.recv())
        except (EOFError, OSError):
            break
    acknowledged |= {CommitId(commit): content for commit, content in received}
    with Store.open(directory, read_only=True) as store:
        assert store.damage == ()
        commits = set(store.commits())
        assert set(acknowledged) <= commits
        # What was published and not acknowledged before the kill is whole, too.
        assert store.ref_commit("heads/main") in commits
        for commit, content in received:
            assert read_content(store, CommitId(commit)) == content
    return commits


def kill_again_and_again(directory: Path, rounds: int, seed: int, seconds_max: float = 0.1) -> dict[str, int]:
    """Kill a writer, a sealer and a collector at any time, in each round; raise if anything acknowledged is lost."""
    rng = random.Random(seed)
    Store.create(directory, segment_bytes_max=1 << 16)
    acknowledged: dict[CommitId, bytes] = {}
    commits: set[CommitId] = set()
    kills = 0
    for _ in range(rounds):
        writer, connection = start(commit_for_ever, directory, len(acknowledged))
        others = [start(work, directory) for work in (seal_for_ever, collect_for_ever)]
        received = [connection.recv()]
        time.sleep(rng.random() * seconds_max)
        for process in rng.sample([writer, *(process for process, _ in others)], 3):
            process.kill()
            process.join()
            assert process.exitcode == -signal.SIGKILL, "it had failed before"
            kills += 1
        commits = check_acknowledged(directory, connection, received, acknowledged)
    report = fsck(directory)
    assert report.clean, report
    with Store.open(directory) as store:
        store.gc(retention_seconds=0)
        for commit, content in acknowledged.items():
            assert read_content(store, commit) == content
    return {
        "kills": kills,
        "commits": len(acknowledged),
        "not acknowledged, but whole": len(commits - set(acknowledged)),
    }


def work_together(directory: Path, workers: int, commits: int) -> dict[str, int]:
    """Many processes that commit and delete, one that collects garbage, one that reads; raise unless all is as it
    must be."""
    Store.create(directory, segment_bytes_max=1 << 20)
    collector, to_collector = start(collect_for_ever, directory)
    reader, to_reader = start(read_for_ever, directory)
    started = [start(work_with_others, directory, worker, commits) for worker in range(workers)]
    kept: dict[bytes, bytes] = {}
    operations = conflicts = 0
    for process, connection in started:
        theirs, done, met = connection.recv()
        process.join()
        assert process.exitcode == 0
        kept |= theirs
        operations, conflicts = operations + done, conflicts + met
    counts = {}
    for name, process, connection in (("collections", collector, to_collector), ("reads", reader, to_reader)):
        connection.send("stop")
        counts[name] = connection.recv()
        process.join()
        assert process.exitcode == 0
    with Store.open(directory) as store:
        assert store.damage == ()
        assert set(store.commits()) == set(kept)
        for commit, content in kept.items():
            assert read_content(store, CommitId(commit)) == content
        records = list(store.operations())
        assert len(records) >= min(operations, OPERATIONS_KEPT_MIN)
        assert [record.sequence for record in records] == list(range(operations - 1, operations - 1 - len(records), -1))
        line, head = 0, store.ref_commit("heads/main")
        while head is not None:
            parents = store.graph(head).parents
            line, head = line + 1, parents[0] if parents else None
        assert line == workers * sum(1 for number in range(commits) if number % 3)
        report = store.gc(retention_seconds=0)
        assert report.commits_living == len(kept)
    return {
        "commits": workers * commits,
        "kept": len(kept),
        "conflicts": conflicts,
        "bytes": report.bytes_after,
        **counts,
    }
