"""Stores with many commits: opening them, and sessions on any of their commits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

from bench import Bench, Call, OriginalChain, call, extend, first_commit, first_commit_original
from measure import Measured, Row, Stopwatch, forget_files, in_turn, repeat
from piecrust import VM
from piecrust.objects.ids import CommitId
from piecrust.vm.session import Session
from reference import Original

BATCH = 1000
FLAT = 2.0  # times what opening the smallest store takes, beside milliseconds that vary by half


def rows(bench: Bench) -> Iterator[Row]:
    """The same stores grow, and are measured at each of the sizes."""
    history = History(bench)
    took: dict[int, float] = {}
    for commits in bench.effort.opened:
        history.grow(commits)
        row = history.opening_row()
        took[commits] = row.ours
        yield row
        if commits == bench.effort.opened_original or commits == bench.effort.opened[-1] < bench.effort.opened_original:
            yield from history.random_rows()
    smallest, largest = min(took), max(took)
    if smallest != largest:
        name = f"opening {largest:,} commits / {smallest:,} commits"
        yield Row(name, "", took[largest] / took[smallest], limit=FLAT)


class History:
    """A store of each side with so many commits in a line."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self.ours, self.theirs = bench.empty(), bench.empty()
        with bench.vm(self.ours) as vm:
            self.commits = [first_commit(vm)]
        self.original = bench.original
        self.chain: OriginalChain | None = None
        if self.original is not None:
            self.chain = OriginalChain(self.original, Call(), first_commit_original(self.original, self.theirs), 0)

    def grow(self, commits: int) -> None:
        """More commits; the original's store grows only as far as it is bearable."""
        with self.bench.vm(self.ours) as vm:
            while len(self.commits) < commits:
                self.commits += extend(vm, self.commits[-1], min(BATCH, commits - len(self.commits)))
        if self.chain is not None and commits <= self.bench.effort.opened_original:
            self.chain.times = commits - self.chain.times
            self.chain()
            self.chain.times = commits
        else:
            self.original = None

    def opening_row(self) -> Row:
        """Opening a store, as every program does."""
        original, directory = self.original, str(self.theirs)

        def ours() -> Measured:
            return {"open": repeat(lambda: self.bench.vm(self.ours).close(), 5).p50 / 1000}

        def rival() -> Measured:
            assert original is not None
            original.ask("vm")
            return {"open": original.ask("vm", dir=directory)["us"] / 1000}

        mine, theirs = in_turn(self.bench.effort.rounds, ours, rival if original is not None else None)
        return Row(f"opening {len(self.commits):,} commits", "ms", mine["open"], theirs.get("open"), limit=20)

    def random_rows(self) -> Iterator[Row]:
        """Sessions on commits that this VM was never asked for; then with nothing cached by the system either."""
        name = f"random one of {len(self.commits):,} commits: session + first call"
        for cold, suffix in ((False, ""), (True, ", no file cached")):
            mine = OurSample(self.bench, self.ours, self.commits, cold=cold)
            rival = None
            if self.original is not None:
                rival = OriginalSample(self.original, self.theirs, self.bench.effort.samples, cold=cold)
            ours, theirs = in_turn(self.bench.effort.rounds, mine, rival)
            yield Row(name + suffix, "us", ours["both"], theirs.get("both"), 1.0)


class OurSample:
    """Sessions on random commits, none of them twice; a side for `in_turn`.

    The VM is a fresh one in each round, and has loaded the code. If cold, it is fresh for each session, and loads the
    code with it: what a VM has mapped the system can't forget.
    """

    def __init__(self, bench: Bench, directory: Path, commits: list[CommitId], *, cold: bool) -> None:
        self.bench, self.directory, self.commits, self.cold = bench, directory, commits, cold
        self.random = random.Random(1)

    def __call__(self) -> Measured:
        """Microseconds of a session and its first call."""
        watch = Stopwatch()
        sample = self.random.sample(self.commits, self.bench.effort.samples)
        if self.cold:
            for commit in sample:
                forget_files(self.directory)
                with self.bench.vm(self.directory) as vm:
                    self.visit(vm, commit, watch)
        else:
            with self.bench.vm(self.directory) as vm:
                self.visit(vm, self.commits[0], Stopwatch())
                for commit in sample:
                    self.visit(vm, commit, watch)
        return {"both": watch["both"].p50}

    def visit(self, vm: VM, commit: CommitId, watch: Stopwatch) -> None:
        """One session, which is dropped."""

        def both() -> Session:
            session = vm.session(commit)
            call(session, Call())
            return session

        watch.time("both", both).close()


class OriginalSample:
    """The same with the original, which knows all commits from opening the store."""

    def __init__(self, original: Original, directory: Path, samples: int, *, cold: bool) -> None:
        self.original, self.directory, self.samples, self.cold = original, directory, samples, cold
        self.random = random.Random(1)
        self.commits = original.ask("commits")["commits"]

    def __call__(self) -> Measured:
        """Microseconds of a session and its first call."""
        took = []
        if self.cold:
            forget_files(self.directory)
        for commit in self.random.sample(self.commits, self.samples):
            if self.cold:  # it reads no other file of a commit again, and there are three of each
                forget_files(self.directory / "main" / "bytecode")
            told = self.original.ask("bench_commits", base=commit, times=1, **Call().fields())
            took.append(told["session_us"]["p50"] + told["call_us"]["p50"])
        return {"both": sorted(took)[len(took) // 2]}
