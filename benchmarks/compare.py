"""Compares this project with the original on the same contracts, in one run.

    python benchmarks/compare.py [--quick] [--large] [--json]

The original is built on demand (two minutes, once), or named by PIECRUST_REFERENCE. Times are medians in microseconds
unless a row says otherwise; a ratio is ours / the original's. What the original is asked for is measured inside of its
process. Its commits are not durable; ours are. `--json` prints one row per line:
{"name", "unit", "ours", "rival", "target", "limit", "ratio", "holds"}. `--quick` takes less than a minute, `--large`
adds memories of 64 and 512 MiB.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from measure import Row, Stopwatch, Traffic, bytes_in, quiet, repeat, table
from piecrust import VM
from piecrust.objects.ids import CommitId, ContractId
from piecrust.vm.session import Session
from reference import SCRATCH, Original, Program
from subjects import (
    ALL,
    CONTRACTS,
    COUNTER,
    GAS,
    OTHER,
    OWNER,
    PAGES,
    SCRIPT,
    deploy,
    deploy_original,
    deploy_pages,
    deploy_pages_original,
    words,
)


@dataclass(frozen=True)
class Effort:
    """How often things are repeated."""

    calls: int
    commits: int
    reopened_commits: int


FULL = Effort(calls=5000, commits=1000, reopened_commits=1000)
QUICK = Effort(calls=500, commits=200, reopened_commits=1000)


class Bench:
    """Both sides, with the same contracts deployed."""

    def __init__(self, original: Original, folder: Path, effort: Effort) -> None:
        self.original = original
        self.folder = folder
        self.effort = effort

    def ours(self, name: str) -> VM:
        """A VM on a directory of this run."""
        return VM(self.folder / name, cache_directory=self.folder / "code")

    def call_rows(self) -> Iterator[Row]:
        """Calls in a session that has called before."""
        nested = Program()
        for _ in range(10):
            nested.call(OTHER, 0, Program())
        deep = Program()
        for level in range(39):
            deep = Program().call(SCRIPT if level % 2 else OTHER, 0, deep)
        queries, events = Program(), Program()
        for _ in range(10):
            queries.query("identity", bytes(8))
            events.emit("topic", bytes(8))

        with VM.ephemeral(cache_directory=self.folder / "code") as vm:
            vm.register_host_query("identity", lambda argument: argument)
            with vm.session() as session:
                deploy(session, ALL)
                self.original.ask("vm")
                self.original.ask("session")
                deploy_original(self.original, ALL)
                yield self.call_row(session, "call: counter.read_value", COUNTER, "read_value", b"", 0.5)
                yield self.call_row(session, "call: counter.increment", COUNTER, "increment", b"", 0.5)
                for name, program, target in (
                    ("call: empty program", Program(), 0.35),
                    ("call: one more page written", Program().add64(SCRATCH, 1), 0.25),
                    ("call: 10 nested calls", nested, 0.4),
                    ("call: 40 deep", deep, 0.4),
                    ("call: 10 host queries", queries, 0.8),
                    ("call: 10 events", events, 0.8),
                ):
                    yield self.call_row(session, name, SCRIPT, "run", program.bytes(), target)

    def call_row(
        self, session: Session, name: str, contract: ContractId, function: str, argument: bytes, target: float
    ) -> Row:
        """A call that is repeated in one session."""

        def call() -> None:
            session.call_raw(contract, function, argument, gas_limit=GAS)

        fields = {"contract": contract.hex(), "fn": function, "arg": argument.hex(), "gas": GAS}
        repeat(call, 20)
        self.original.ask("bench_calls", times=20, **fields)
        with quiet():
            ours = repeat(call, self.effort.calls).p50
        rival = self.original.ask("bench_calls", times=self.effort.calls, **fields)["call_us"]["p50"]
        return Row(name, "us", ours, rival, target)

    def commit_rows(self) -> Iterator[Row]:
        """A chain of commits: each time a session on the last one, its first call, and a commit."""
        times = self.effort.commits
        with self.ours("commits") as vm:
            base = first_commit(vm)
            base, _ = commit_chain(vm, base, 20)
            with quiet(), Traffic() as traffic:
                base, watch = commit_chain(vm, base, times)

        directory = self.folder / "original"
        fields = {"contract": COUNTER.hex(), "fn": "increment", "arg": "", "gas": GAS}
        self.original.ask("vm", dir=str(directory))
        self.original.ask("session")
        deploy_original(self.original, (COUNTER,))
        root = self.original.ask("commit")["root"]
        root = self.original.ask("bench_commits", base=root, times=20, **fields)["root"]
        before = bytes_in(directory)
        rival = self.original.ask("bench_commits", base=root, times=times, **fields)
        rival_bytes = (bytes_in(directory) - before) / times

        session, call, commit = (rival[f"{step}_us"]["p50"] for step in ("session", "call", "commit"))
        whole = watch["whole"]
        yield Row("session", "us", watch["session"].p50, session)
        yield Row("first call in a session", "us", watch["call"].p50, call)
        yield Row("session + first call", "us", watch["session"].p50 + watch["call"].p50, session + call, 0.4)
        yield Row("commit, durable", "us", watch["commit"].p50, commit)
        yield Row("session + call + durable commit", "us", whole.p50, session + call + commit, 0.9, 700)
        yield Row("the same, p99 / p50", "", whole.p99 / whole.p50, limit=3)
        yield Row("syncs per commit", "", traffic.syncs / times, limit=1)
        yield Row("bytes per commit", "bytes", traffic.bytes_written / times, rival_bytes, limit=1200)

    def batch_row(self) -> Row:
        """Commits that share one sync."""
        times = self.effort.commits
        with self.ours("batch") as vm:
            base = first_commit(vm)
            with quiet():
                watch = Stopwatch()

                def batch() -> None:
                    with vm.batch():
                        commit_chain(vm, base, times)

                watch.time("batch", batch)
        return Row("commit in a batch of many", "us", watch["batch"].p50 / times, limit=1e6 / 3000)

    def reopening_row(self) -> Row:
        """Opening a store with many commits."""
        times = self.effort.reopened_commits
        with self.ours("reopened") as vm, vm.batch():
            commit_chain(vm, first_commit(vm), times)
        ours = repeat(lambda: self.ours("reopened").close(), 5).p50

        directory = str(self.folder / "reopened-original")
        self.original.ask("vm", dir=directory)
        self.original.ask("session")
        deploy_original(self.original, (COUNTER,))
        root = self.original.ask("commit")["root"]
        fields = {"contract": COUNTER.hex(), "fn": "increment", "arg": "", "gas": GAS}
        self.original.ask("bench_commits", base=root, times=times, **fields)
        self.original.ask("vm")
        rival = self.original.ask("vm", dir=directory)["us"]
        return Row(f"opening a store of {times} commits", "ms", ours / 1000, rival / 1000, limit=20)

    def deploy_rows(self) -> Iterator[Row]:
        """Deployments of bytecode that was never seen; the original has no compiled form of it either."""
        for name in ("box", "token", "large"):
            wasm = (CONTRACTS / f"{name}.wasm").read_bytes()
            empty = tempfile.mkdtemp(dir=self.folder)
            with VM.ephemeral(cache_directory=empty) as vm, vm.session() as session:
                deploying = {"init": bytes(8)} if name == "token" else {}
                watch = Stopwatch()
                watch.time("deploy", lambda: session.deploy(wasm, OWNER, gas_limit=GAS, **deploying))  # noqa: B023 (called at once)
            self.original.ask("vm")
            self.original.ask("session")
            path = str(CONTRACTS / f"{name}.wasm")
            rival = self.original.ask("deploy", wasm=path, owner=OWNER.hex(), init=bytes(8).hex())["us"]
            yield Row(f"deploy: {name}, {len(wasm) // 1000} KB", "ms", watch["deploy"].p50 / 1000, rival / 1000)

    def large_rows(self) -> Iterator[Row]:
        """Large memories: new pages of bytes that can't be compressed, and one changed page among many."""
        yield self.pages_row("commit of 64 MiB of new pages", "noise", first=1, count=1024, target=0.4)
        yield self.changed_page_row()

    def pages_row(self, name: str, function: str, *, first: int, count: int, target: float) -> Row:
        """One commit of many pages."""
        argument = words(first, count, 7)
        with self.ours("pages") as vm, vm.session() as session:
            deploy_pages(session, first + count)
            session.call_raw(PAGES, function, argument, gas_limit=GAS)
            watch = Stopwatch()
            watch.time("commit", session.commit)
        self.original.ask("vm", dir=str(self.folder / "pages-original"))
        self.original.ask("session")
        deploy_pages_original(self.original, first + count)
        self.original.ask("call", contract=PAGES.hex(), fn=function, arg=argument.hex(), gas=GAS)
        rival = self.original.ask("commit")["us"]
        return Row(name, "ms", watch["commit"].p50 / 1000, rival / 1000, target)

    def changed_page_row(self) -> Row:
        """Commits that change one page of a contract with 512 MiB."""
        count = 512 * 16
        with self.ours("large") as vm:
            with vm.session() as session:
                deploy_pages(session, count + 1)
                session.call_raw(PAGES, "noise", words(1, count, 7), gas_limit=GAS)
                base = session.commit()
            with quiet():
                _, watch = commit_chain(vm, base, 50, PAGES, "touch", words(77, 1, 5))
        directory = str(self.folder / "large-original")
        self.original.ask("vm", dir=directory)
        self.original.ask("session")
        deploy_pages_original(self.original, count + 1)
        self.original.ask("call", contract=PAGES.hex(), fn="noise", arg=words(1, count, 7).hex(), gas=GAS)
        root = self.original.ask("commit")["root"]
        fields = {"contract": PAGES.hex(), "fn": "touch", "arg": words(77, 1, 5).hex(), "gas": GAS}
        rival = self.original.ask("bench_commits", base=root, times=50, **fields)
        whole = sum(rival[f"{step}_us"]["p50"] for step in ("session", "call", "commit"))
        return Row("512 MiB, one page changed: whole commit", "us", watch["whole"].p50, whole, 0.35, 2000)


def first_commit(vm: VM) -> CommitId:
    with vm.session() as session:
        deploy(session, (COUNTER,))
        return session.commit()


def commit_chain(
    vm: VM,
    base: CommitId,
    times: int,
    contract: ContractId = COUNTER,
    function: str = "increment",
    argument: bytes = b"",
) -> tuple[CommitId, Stopwatch]:
    """Commits in a line, and the latencies of opening, calling, committing, and all of it."""
    watch = Stopwatch()

    def one(base: CommitId) -> CommitId:
        session = watch.time("session", lambda: vm.session(base))
        watch.time("call", lambda: session.call_raw(contract, function, argument, gas_limit=GAS))
        return watch.time("commit", session.commit)

    for _ in range(times):
        base = watch.time("whole", lambda: one(base))  # noqa: B023 (called at once)
    return base, watch


def rows(bench: Bench, *, large: bool) -> Iterator[Row]:
    yield from bench.call_rows()
    yield from bench.commit_rows()
    yield bench.batch_row()
    yield bench.reopening_row()
    yield from bench.deploy_rows()
    if large:
        yield from bench.large_rows()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions")
    parser.add_argument("--large", action="store_true", help="large memories, too (needs 2 GB of disk)")
    parser.add_argument("--json", action="store_true", help="one row per line as JSON")
    options = parser.parse_args()
    with Original() as original, tempfile.TemporaryDirectory(prefix="piecrust-bench-") as folder:
        bench = Bench(original, Path(folder), QUICK if options.quick else FULL)
        measured = []
        for row in rows(bench, large=options.large):
            measured.append(row)
            if options.json:
                print(row.json(), flush=True)
    if not options.json:
        print(table(measured))


if __name__ == "__main__":
    main()
