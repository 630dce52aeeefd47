"""What the groups of `compare.py` share: both systems, how often things are repeated, and chains of commits."""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from measure import Measured, Stopwatch
from piecrust import VM
from piecrust.objects.ids import CommitId, ContractId
from piecrust.vm.session import Session
from reference import Original
from subjects import COUNTER, GAS, deploy, deploy_original

T = TypeVar("T")


@dataclass(frozen=True)
class Effort:
    """How often things are repeated; all but `rounds` within one of the rounds in which the two sides take turns."""

    rounds: int = 5
    calls: int = 1000
    commits: int = 200
    batched: int = 2000
    others: int = 1000  # contracts beside the one that is committed
    opened: tuple[int, ...] = (1000, 10_000, 100_000)  # commits in a store
    opened_original: int = 10_000  # of them in the original's, at most
    samples: int = 20  # random commits
    sessions: int = 100
    large_bytes: int = 1 << 30
    new_bytes: int = 64 << 20
    charted: tuple[int, ...] = (100, 300, 1000, 3000, 10_000)  # versions in the charts
    charted_mib: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    charted_seconds: float = 10  # for each system in a chart


@dataclass(frozen=True)
class Call:
    """What is called."""

    contract: ContractId = COUNTER
    function: str = "increment"
    argument: bytes = b""

    def fields(self) -> dict[str, object]:
        """As the original's driver is told."""
        return {"contract": self.contract.hex(), "fn": self.function, "arg": self.argument.hex(), "gas": GAS}


class Bench:
    """Both systems, in a folder of this run. Without the original only ours is measured."""

    def __init__(self, original: Original | None, folder: Path, effort: Effort) -> None:
        self.original = original
        self.folder = folder
        self.effort = effort
        self.code = folder / "code"

    def vm(self, directory: Path, *, sync: bool = True) -> VM:
        """Ours, on a directory."""
        return VM(directory, cache_directory=self.code, sync=sync)

    def empty(self) -> Path:
        """A directory of its own."""
        return Path(tempfile.mkdtemp(dir=self.folder))


class Chain:
    """Commits of ours in a line: each a session on the last one, a call and a commit. A side for `in_turn`."""

    def __init__(self, vm: VM, call: Call, base: CommitId, times: int) -> None:
        self.vm, self.call, self.base, self.times = vm, call, base, times

    def __call__(self) -> Measured:
        """Microseconds of each step and of all of them, and how much longer one in a hundred takes."""
        watch = Stopwatch()
        for _ in range(self.times):
            watch.time("whole", lambda: self.one(watch))
        whole = watch["whole"]
        steps = {step: watch[step].p50 for step in ("session", "call", "commit", "whole")}
        return {**steps, "session + call": steps["session"] + steps["call"], "p99 / p50": whole.p99 / whole.p50}

    def one(self, watch: Stopwatch) -> None:
        """One commit."""
        call = self.call
        session = watch.time("session", lambda: self.vm.session(self.base))
        watch.time("call", lambda: session.call_raw(call.contract, call.function, call.argument, gas_limit=GAS))
        self.base = watch.time("commit", session.commit)


class OriginalChain:
    """The same commits of the original, in the VM that is open there."""

    def __init__(self, original: Original, call: Call, base: str, times: int) -> None:
        self.original, self.call, self.base, self.times = original, call, base, times

    def __call__(self) -> Measured:
        """Microseconds of each step, and their sum."""
        told = self.original.ask("bench_commits", base=self.base, times=self.times, **self.call.fields())
        self.base = told["root"]
        session, call, commit = (told[f"{step}_us"]["p50"] for step in ("session", "call", "commit"))
        return {"session": session, "call": call, "session + call": session + call, "commit": commit,
                "whole": session + call + commit}  # fmt: skip


def first_commit(vm: VM, contracts: Iterable[ContractId] = (COUNTER,)) -> CommitId:
    with vm.session() as session:
        deploy(session, contracts)
        return session.commit()


def first_commit_original(
    original: Original, directory: Path | None, contracts: Iterable[ContractId] = (COUNTER,)
) -> str:
    """In a VM on that directory, which stays open."""
    open_original(original, directory)
    deploy_original(original, contracts)
    return original.ask("commit")["root"]


def open_original(original: Original, directory: Path | None) -> None:
    """A VM of the original on a directory, or an ephemeral one, with a session on the empty state."""
    original.ask("vm", **({} if directory is None else {"dir": str(directory)}))
    original.ask("session")


def extend(vm: VM, base: CommitId, times: int) -> list[CommitId]:
    """Commits that share one sync."""
    made = []
    with vm.batch():
        for _ in range(times):
            with vm.session(base) as session:
                session.call_raw(COUNTER, "increment", gas_limit=GAS)
                base = session.commit()
                made.append(base)
    return made


def in_process(function: Callable[..., T], *arguments: object) -> T:
    """What a function gives in a process of its own, which has nothing cached."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def call(session: Session, what: Call) -> None:
    session.call_raw(what.contract, what.function, what.argument, gas_limit=GAS)
