"""What keeps versions of 64 KiB pages: this project and the original, behind one interface with the rivals.

The workload: a first version of some pages, then versions that differ from the one before in eight bytes at the start
of one page. A contract changes the pages of ours and the original's, which also run it.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from pathlib import Path

from bench import Bench, Call, call
from measure import Latencies, bytes_in, repeat
from piecrust.objects.ids import CommitId
from piecrust.objects.page import PAGE_BYTES
from reference import INITIAL_PAGES, Original, Program
from store import used_bytes
from subjects import GAS, SCRIPT, deploy, deploy_original

CHANGED = 1  # the page that every version changes, counted from the first one that is filled
PIECE = PAGE_BYTES // 2  # what an argument has room for


class System(ABC):
    """A store of versions in a directory of its own."""

    name: str

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    @abstractmethod
    def fill(self, pages: list[bytes]) -> None:
        """The first version."""

    @abstractmethod
    def commits(self, times: int) -> Latencies:
        """Makes more versions, and tells how long each took."""

    @abstractmethod
    def read_old(self, version: int) -> bytes:
        """Opens the store anew, and gives the first 8 bytes of the changed page in that version; the first is 0."""

    def read_old_us(self, version: int) -> float:
        """How long that takes; the content is checked."""
        begun = time.perf_counter()
        content = self.read_old(version)
        spent = time.perf_counter() - begun
        if content != self.changed(version)[:8]:
            raise RuntimeError(f"{self.name}: version {version} has other content")
        return spent * 1e6

    def changed(self, version: int) -> bytes:
        """The page that changes, in a version."""
        begin = int.from_bytes(self.page[:8], "little") + version
        return (begin % 2**64).to_bytes(8, "little") + self.page[8:]

    page: bytes  # the page that changes, in the first version

    def used_bytes(self) -> int:
        """What the versions take on the disk."""
        return bytes_in(self.directory)

    def close(self) -> None:  # noqa: B027 (few have anything to give back)
        """Gives everything back."""


def address(page: int) -> int:
    """Where the script contract has one of the pages."""
    return (INITIAL_PAGES + page) * PAGE_BYTES


def filling(pages: list[bytes]) -> list[Call]:
    """Calls that put the pages into the script contract."""
    programs = [Program().grow(len(pages))]
    for number, page in enumerate(pages):
        programs += [Program().store(address(number) + at, page[at : at + PIECE]) for at in range(0, PAGE_BYTES, PIECE)]
    return [Call(SCRIPT, "run", program.bytes()) for program in programs]


CHANGE = Call(SCRIPT, "run", Program().add64(address(CHANGED), 1).bytes())
READ = Call(SCRIPT, "run", Program().load(address(CHANGED), 8).bytes())


class Piecrust(System):
    """Ours: a session on the last commit, a call, a durable commit."""

    name = "piecrust"

    def __init__(self, directory: Path, bench: Bench) -> None:
        super().__init__(directory)
        self.bench = bench
        self.vm = bench.vm(directory)
        self.versions: list[CommitId] = []

    def fill(self, pages: list[bytes]) -> None:
        """A contract with the pages."""
        self.page = pages[CHANGED]
        with self.vm.session() as session:
            deploy(session, (SCRIPT,))
            for what in filling(pages):
                call(session, what)
            self.versions.append(session.commit())

    def commits(self, times: int) -> Latencies:
        """Commits in a line."""

        def commit() -> None:
            session = self.vm.session(self.versions[-1])
            call(session, CHANGE)
            self.versions.append(session.commit())

        return repeat(commit, times)

    def read_old(self, version: int) -> bytes:
        """A call of the contract in a session on the old commit."""
        with self.bench.vm(self.directory) as vm, vm.session(self.versions[version]) as session:
            told = session.call_raw(READ.contract, READ.function, READ.argument, gas_limit=GAS).data
        return told[-8:]

    def used_bytes(self) -> int:
        """Without the room that is allocated ahead."""
        return used_bytes(self.directory)

    def close(self) -> None:
        """Closes the VM."""
        self.vm.close()


class TheOriginal(System):
    """The original: the same, not durable. Its latencies are the sums of medians that it measures itself."""

    name = "original"

    def __init__(self, directory: Path, original: Original) -> None:
        super().__init__(directory)
        self.original = original
        self.versions: list[str] = []

    def fill(self, pages: list[bytes]) -> None:
        """A contract with the pages."""
        self.page = pages[CHANGED]
        self.original.ask("vm", dir=str(self.directory))
        self.original.ask("session")
        deploy_original(self.original, (SCRIPT,))
        for what in filling(pages):
            self.original.ask("call", **what.fields())
        self.versions.append(self.original.ask("commit")["root"])

    def commits(self, times: int) -> Latencies:
        """Commits in a line."""
        told = self.original.ask("bench_commits", base=self.versions[-1], times=times, **CHANGE.fields())
        self.versions += [""] * (times - 1) + [told["root"]]
        return Latencies([sum(told[f"{step}_us"]["p50"] for step in ("session", "call", "commit"))])

    def read_old(self, version: int) -> bytes:
        """A call of the contract in a session on the old commit."""
        self.original.ask("vm", dir=str(self.directory))
        self.original.ask("session", base=self.versions[version])
        return bytes.fromhex(self.original.ask("call", **READ.fields())["data"])[-8:]
