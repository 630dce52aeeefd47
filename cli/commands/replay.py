"""`replay`: whether commits are what their transcripts lead to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack, contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from piecrust.cli.command import Outcome, Settings, settings
from piecrust.cli.command_errors import UsageError
from piecrust.cli.exit_codes import ExitCode
from piecrust.cli.progress import progress
from piecrust.cli.render import count
from piecrust.cli.working_state import opened, select_implementations

if TYPE_CHECKING:
    from piecrust.objects.ids import CommitId
    from piecrust.objects.store import Store
    from piecrust.vm.replay import Source
    from piecrust.vm.verdict import Divergence, Verdict

SCHEDULER_SECONDS = 10.0


def replay(
    context: typer.Context,
    revisions: Annotated[
        str | None, typer.Argument(metavar="[A..B]", help="A range, or a revision with all of its history.")
    ] = None,
    *,
    bundle: Annotated[
        str | None, typer.Option("--bundle", metavar="FILE", help="Replay a bundle, without any store.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", metavar="N", help="Processes; by default one for each processor.")
    ] = None,
    dask: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="Run it on the Dask cluster with this scheduler instead."),
    ] = None,
    remote: Annotated[
        str | None,
        typer.Option("--remote", metavar="NAME", help="Fetch what is needed from this remote, not from the store."),
    ] = None,
) -> Outcome:
    """Execute commits again and compare gas, data, events, outcomes and state; exit code 1 if one differs.

    Host queries are answered from the record. Merges and restores are derived again. What an import came from is not in
    the store, so its verdict stays open. By default HEAD is replayed with its whole history.

    The workers of a cluster fetch what they need from the store's remote, if it has one that the commits were pushed
    to; else they open the store at its path, which must be theirs, too.

    Examples:
      piecrust replay v1..main
      piecrust replay --bundle main.bundle --jobs 2
    """
    from piecrust.vm.verdict import Holds

    current = settings(context)
    select_implementations(current.environment)
    if bundle is not None and (revisions is not None or remote is not None):
        raise UsageError("a bundle is replayed whole, from the file: give --bundle without a range or a remote")
    if jobs is not None and jobs < 1:
        raise UsageError("--jobs takes a number from 1 on")
    found: list[Verdict] = []
    with ExitStack() as stack:
        source: Source
        if bundle is None:
            source, commits = _in_store(context, revisions, remote, on_cluster=dask is not None)
        else:
            source, commits = stack.enter_context(_in_bundle(bundle, current))
        executor = None if dask is None else stack.enter_context(_cluster(dask))
        bar = stack.enter_context(progress("replay"))
        for verdict in _verdicts(source, commits, executor, jobs, current):
            found.append(verdict)
            bar.update(len(found), len(commits))
    wrong = [verdict for verdict in found if verdict.holds is Holds.NO]
    open_ = [verdict for verdict in found if verdict.holds is Holds.UNKNOWN]
    data = {
        "commits": len(found),
        "confirmed": len(found) - len(wrong) - len(open_),
        "verdicts": [_told(verdict) for verdict in found],
    }
    warnings = [f"{verdict.commit.short()}: {verdict.reason}" for verdict in open_]
    lines = list(_lines(found, current))
    return Outcome(data, lines, ExitCode.NEGATIVE if wrong else ExitCode.OK, warnings)


def _verdicts(
    source: Source, commits: list[CommitId], executor: Executor | None, jobs: int | None, current: Settings
) -> Iterator[Verdict]:
    from piecrust.vm.replay import replay as replay_commits

    cache = _code_cache(current)
    yield from replay_commits(source, commits, executor=executor, workers=jobs, cache_directory=cache)


def _in_store(
    context: typer.Context, revisions: str | None, remote: str | None, *, on_cluster: bool
) -> tuple[Source, list[CommitId]]:
    """Where the workers find the commits that are meant: in the store's directory, or on a remote."""
    from piecrust.vm.replay import commits_to_replay, remote_with

    with opened(context, read_only=True) as at:
        if revisions is not None and ".." in revisions:
            commits = commits_to_replay(at.store, *at.ends(revisions))
        else:
            commits = commits_to_replay(at.store, None, at.commit(revisions or "HEAD"))
        found = remote_with(at.store, commits, remote) if on_cluster or remote is not None else None
        return found or at.store.root_dir, commits


@contextmanager
def _in_bundle(file: str, current: Settings) -> Iterator[tuple[Path, list[CommitId]]]:
    """A store that holds a bundle for a while."""
    from piecrust.vm.bundles import import_bundle
    from piecrust.vm.replay import commits_to_replay
    from piecrust.vm.vm import VM

    with VM.ephemeral(cache_directory=_code_cache(current)) as vm:
        found = import_bundle(vm.store, file)
        whole = commits_to_replay(vm.store, None, found.tip)
        store: Store = vm.store
        yield vm.root_dir, [commit for commit in whole if not store.is_deleted(commit)]


def _code_cache(current: Settings) -> Path:
    from piecrust.vm.code_files import default_directory

    return Path(current.environment.get("PIECRUST_CACHE") or default_directory())


@contextmanager
def _cluster(address: str) -> Iterator[Executor]:
    """An executor that hands its work to the workers of a Dask cluster."""
    try:
        distributed: Any = import_module("distributed")
    except ImportError:
        raise UsageError("--dask needs the package distributed", hints=["pip install 'piecrust-vm[dask]'"]) from None
    try:
        client = distributed.Client(address, timeout=SCHEDULER_SECONDS)
    except (OSError, ValueError) as error:
        raise UsageError(f"no Dask scheduler at {address!r}: {error}") from None
    with client:
        yield client.get_executor()


def _lines(verdicts: Iterable[Verdict], current: Settings) -> Iterator[str]:
    from piecrust.vm.verdict import Holds

    style, total, good = current.style, 0, 0
    for verdict in verdicts:
        total += 1
        good += verdict.holds is Holds.YES
        if verdict.divergence is not None:
            yield f"{style.commit(verdict.commit.short())} {style.removed('differs')}: {verdict.derived.value}"
            yield from (f"  {line}" for line in _explained(verdict.divergence, current))
    yield f"{good:,} of {count(total, 'commit')} confirmed"


def _explained(divergence: Divergence, current: Settings) -> Iterator[str]:
    names = current.labels
    where = []
    if divergence.step:
        where.append(f"step {'.'.join(map(str, divergence.step))}")
    if divergence.contract is not None:
        name = names.get(divergence.contract, divergence.contract.short())
        where.append(name if divergence.function is None else f"{name}.{divergence.function}")
    if divergence.page is not None:
        where.append(f"page {divergence.page}")
    if divergence.offset is not None:
        where.append(f"offset {divergence.offset:#x}")
    yield f"{divergence.what} at {', '.join(where)}" if where else divergence.what
    yield f"recorded: {divergence.expected}"
    yield f"executed: {divergence.actual}"
    for frame in divergence.frames:
        name = names.get(frame.contract, frame.contract.short())
        yield f"{'  ' * frame.depth}in {name}.{frame.function}  gas {frame.gas_spent:,} of {frame.gas_limit:,}"


def _told(verdict: Verdict) -> dict[str, Any]:
    divergence = verdict.divergence
    return {
        "commit": verdict.commit,
        "derived": verdict.derived.value,
        "holds": verdict.holds.value,
        "steps": verdict.steps,
        "gas_spent": str(verdict.gas_spent),
        "reason": verdict.reason or None,
        "divergence": None
        if divergence is None
        else {
            "what": divergence.what,
            "expected": divergence.expected,
            "actual": divergence.actual,
            "step": list(divergence.step),
            "contract": divergence.contract,
            "function": divergence.function,
            "page": divergence.page,
            "offset": None if divergence.offset is None else str(divergence.offset),
        },
    }
