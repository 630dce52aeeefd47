"""Replays: whether each commit of a history is what its transcript leads to, in parallel over commits."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

from piecrust.objects.ancestry import walk, walk_between
from piecrust.objects.errors import UnknownRevision
from piecrust.objects.ids import CommitId
from piecrust.objects.refs import REMOTES
from piecrust.objects.remote.remotes import Remotes
from piecrust.objects.store import Store
from piecrust.vm import native, tracking
from piecrust.vm.remote_history import History, RemoteHistory
from piecrust.vm.replay_commit import Replayer
from piecrust.vm.verdict import Verdict

CHUNK_COMMITS_MAX: Final = 256
CHUNKS_PER_WORKER: Final = 8  # so that a worker with short commits gets more of them
AHEAD_CHUNKS: Final = 64  # handed to an executor before their verdicts are asked for


@dataclass(frozen=True, slots=True)
class RemoteAddress:
    """A remote that has the commits: what errors call it, and its address."""

    name: str
    url: str


Source = Path | RemoteAddress
_Task = tuple[Source, Sequence[CommitId], Path | None, tracking.TrackerName, native.PathName]


def commits_to_replay(store: Store, since: CommitId | None, tip: CommitId) -> list[CommitId]:
    """What `tip` came from and `since` did not, parents first; without `since` everything."""
    found = walk(store.graph, [tip]) if since is None else walk_between(store.graph, [tip], [since])
    return list(found)[::-1]


def remote_with(store: Store, commits: Sequence[CommitId], name: str | None = None) -> RemoteAddress | None:
    """The remote of this name, or the one that there is; None if none is meant.

    Without a name, a remote that the commits were not pushed to is none.

    Raises:
        UnknownRemote: the store knows no remote of this name.
        UnknownRevision: the remote is not known to have all of the commits.
    """
    entries = list(Remotes(store)) if name is None else [Remotes(store)[name]]
    if len(entries) != 1:
        return None
    entry = entries[0]
    prefix = f"{REMOTES}{entry.name}/"
    there = [value for ref, value in store.refs().items() if ref.startswith(prefix) and isinstance(value, CommitId)]
    missing = set(walk_between(store.graph, commits[-1:], there)).intersection(commits) if there else set(commits)
    if not missing:
        return RemoteAddress(entry.name, entry.url)
    if name is None:
        return None
    error = UnknownRevision(min(missing).hex())
    error.add_note(f"remote {entry.name} is not known to have {len(missing)} of these commits: push or fetch first")
    raise error


def replay(
    source: Source,
    commits: Sequence[CommitId],
    *,
    executor: Executor | None = None,
    workers: int | None = None,
    cache_directory: Path | None = None,
) -> Iterator[Verdict]:
    """The verdicts on commits of the store in a directory, or of a remote, in their order.

    Runs of commits go to the executor; without one to this process and as many new ones as make up `workers`, by
    default one for each processor. Every worker opens the store in the same directory, for reading; or it fetches from
    the remote what it touches, with the credentials of its own environment. Without a `cache_directory` contracts are
    compiled anew for each run of commits. Processes are started by Python's `spawn`: a program that calls this has to
    guard its main module.

    Raises:
        CorruptObject: an object of the store is damaged.
        RemoteError: the remote can't be reached, or is damaged.
    """
    workers = workers or os.cpu_count() or 1
    size = max(1, min(CHUNK_COMMITS_MAX, len(commits) // (CHUNKS_PER_WORKER * workers)))
    settings = cache_directory, tracking.active(), native.active()
    tasks = deque((source, commits[at : at + size], *settings) for at in range(0, len(commits), size))
    with ExitStack() as stack:
        if executor is not None:
            yield from _handed_out(tasks, executor, AHEAD_CHUNKS)
            return
        if workers > 1 and len(tasks) > 1:
            # This process is one of the workers: it is there at once, the others have to start.
            pool = ProcessPoolExecutor(workers - 1, get_context("spawn"))
            executor = stack.enter_context(pool)
            stack.callback(pool.shutdown, cancel_futures=True)
        yield from _handed_out(tasks, executor, 2 * (workers - 1), help_out=True)


def _handed_out(
    tasks: deque[_Task], executor: Executor | None, ahead: int, *, help_out: bool = False
) -> Iterator[Verdict]:
    """The verdicts of tasks in their order, while `ahead` more are with the executor.

    To help out is to do a task here, rather than to wait for one.
    """
    begun: deque[Future[list[Verdict]] | list[Verdict]] = deque()
    while tasks or begun:
        if executor is not None:
            running = sum(1 for task in begun if isinstance(task, Future) and not task.done())
            for _ in range(min(ahead - running, len(tasks))):
                begun.append(executor.submit(replay_chunk, *tasks.popleft()))
        first = begun[0] if begun else None
        if isinstance(first, Future) and (first.done() or not (help_out and tasks)):
            begun.popleft()
            yield from first.result()
        elif isinstance(first, list):
            begun.popleft()
            yield from first
        else:
            begun.append(replay_chunk(*tasks.popleft()))


def replay_chunk(
    source: Source,
    commits: Sequence[CommitId],
    cache_directory: Path | None,
    tracker: tracking.TrackerName,
    path: native.PathName,
) -> list[Verdict]:
    """The verdicts on a run of commits, in whatever process this is called."""
    if tracking.active() != tracker:
        tracking.select(tracker)
    if native.active() != path:
        native.select(path)
    with ExitStack() as stack:
        history: History
        if isinstance(source, RemoteAddress):
            history = RemoteHistory(source.name, source.url)
        else:
            history = stack.enter_context(Store.open(source, read_only=True))
        replayer = stack.enter_context(Replayer(history, cache_directory))
        return [replayer.verdict(commit) for commit in commits]
