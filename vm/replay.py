"""Replays: whether each commit of a history is what its transcript leads to, in parallel over commits."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from piecrust.objects.ancestry import walk, walk_between
from piecrust.objects.ids import CommitId
from piecrust.objects.store import Store
from piecrust.vm import native, tracking
from piecrust.vm.replay_commit import Replayer
from piecrust.vm.verdict import Verdict

CHUNK_COMMITS_MAX: Final = 1024
CHUNKS_PER_WORKER: Final = 4  # so that a worker with short commits gets more of them
AHEAD_CHUNKS: Final = 64  # handed to the executor before their verdicts are asked for


def commits_to_replay(store: Store, since: CommitId | None, tip: CommitId) -> list[CommitId]:
    """What `tip` came from and `since` did not, parents first; without `since` everything."""
    found = walk(store.graph, [tip]) if since is None else walk_between(store.graph, [tip], [since])
    return list(found)[::-1]


def replay(
    directory: Path,
    commits: Sequence[CommitId],
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    cache_directory: Path | None = None,
) -> Iterator[Verdict]:
    """The verdicts on commits of the store in a directory, in their order.

    Runs of commits go to the executor, by default one of `workers` new processes; with one worker and no executor all
    is done here. Every worker opens the store in the same directory, for reading. What the processes are started with
    is Python's `spawn`: a program that calls this has to guard its main module.

    Raises:
        CorruptObject: an object of the store is damaged.
    """
    tracker, path = tracking.active(), native.active()
    if executor is None and (workers == 1 or len(commits) < 2 * CHUNKS_PER_WORKER):
        with Store.open(directory, read_only=True) as store, Replayer(store, cache_directory) as replayer:
            yield from map(replayer.verdict, commits)
        return
    with ExitStack() as stack:
        if executor is None:
            executor = stack.enter_context(ProcessPoolExecutor(workers, get_context("spawn")))
        size = max(1, min(CHUNK_COMMITS_MAX, len(commits) // (CHUNKS_PER_WORKER * (workers or 2))))
        chunks = deque([bytes(c) for c in commits[at : at + size]] for at in range(0, len(commits), size))
        running: deque[Future[list[Verdict]]] = deque()
        while chunks or running:
            while chunks and len(running) < AHEAD_CHUNKS:
                chunk = chunks.popleft()
                running.append(executor.submit(replay_chunk, directory, chunk, cache_directory, tracker, path))
            yield from running.popleft().result()


def replay_chunk(
    directory: Path,
    commits: Sequence[bytes],
    cache_directory: Path | None,
    tracker: tracking.TrackerName,
    path: native.PathName,
) -> list[Verdict]:
    """The verdicts on a run of commits, in whatever process this is called."""
    if tracking.active() != tracker:
        tracking.select(tracker)
    if native.active() != path:
        native.select(path)
    with Store.open(directory, read_only=True) as store, Replayer(store, cache_directory) as replayer:
        return [replayer.verdict(CommitId(commit)) for commit in commits]
