"""Remotes in files: what a small push asks for, how fast and in how much memory a clone goes, what a lazy one reads.

`python benchmarks/remotes.py [--commits N] [--pages N]` makes a history of N commits with N distinct, incompressible
pages in a temporary directory (1 GiB by default, three times on the disk), pushes it, and clones it in processes of its
own. Requests and bytes are counted between the remote and the library.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from blake3 import blake3
from piecrust.objects import contract_map, tree
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.ids import ZERO, BytecodeHash, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import MemoryKind
from piecrust.objects.remote.bucket import Content, Listed
from piecrust.objects.remote.open_bucket import open_bucket
from piecrust.objects.remote.push import Update, push
from piecrust.objects.remote.remotes import Remotes
from piecrust.objects.remote.storage import Storage
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, write_state
from piecrust.objects.store import Store
from piecrust.vm.remotes import clone

MAIN = "heads/main"
CONTRACT = ContractId(blake3(b"contract").digest())
CODE = b"\0asm" + bytes(100_000)


class CountingBucket:
    """A remote in files that counts what is asked for, for the whole process."""

    requests = 0
    writes = 0
    bytes_read = 0

    def __init__(self, url: str) -> None:
        self._inner = open_bucket(url)

    def get(self, key: str) -> Content | None:
        """A whole object."""
        CountingBucket.requests += 1
        found = self._inner.get(key)
        CountingBucket.bytes_read += 0 if found is None else len(found.data)
        return found

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """Some bytes."""
        CountingBucket.requests += 1
        data = self._inner.get_range(key, start, length)
        CountingBucket.bytes_read += len(data)
        return data

    def put_if_absent(self, key: str, data: bytes) -> bool:
        """A new object."""
        CountingBucket.requests += 1
        CountingBucket.writes += 1
        return self._inner.put_if_absent(key, data)

    def compare_and_swap(self, key: str, tag: str, data: bytes) -> bool:
        """Another version of an object."""
        CountingBucket.requests += 1
        CountingBucket.writes += 1
        return self._inner.compare_and_swap(key, tag, data)

    def list(self, prefix: str) -> Iterator[Listed]:
        """The objects."""
        CountingBucket.requests += 1
        return self._inner.list(prefix)


def make_history(store: Store, commits: int, pages: int) -> CommitId:
    """A contract that grows by distinct pages, commit by commit."""
    tip: CommitId | None = None
    for number in range(commits):
        first, last = number * pages // commits, (number + 1) * pages // commits
        tip = make_commit(store, tip, {index: noise(index) for index in range(first, last)} or {0: noise(-number - 1)})
    assert tip is not None
    return tip


def make_commit(store: Store, parent: CommitId | None, pages: dict[int, bytes]) -> CommitId:
    transaction = store.transaction()
    base, root = EMPTY_STATE, ZERO
    if parent is not None:
        base = store.load(Kind.COMMIT, parent).state
        record = contract_map.lookup(store, base.map_root, CONTRACT)
        assert record is not None
        root = record.pages_root
    code = BytecodeHash(blake3(CODE).digest())
    transaction.put(Kind.BYTECODE, code, CODE)
    writes = {index: PageWrite(page) for index, page in pages.items()}
    change = ContractChange(CONTRACT, code, bytes(32), MemoryKind.WASM32, 1 << 32, root, writes)
    commit = new_commit(transaction, write_state(transaction, base, [change]), [parent] if parent else [], None)
    identity = commit_id(commit)
    transaction.put(Kind.COMMIT, identity, commit)
    transaction.keep(identity)
    transaction.set_ref(MAIN, identity)
    transaction.publish(Operation("commit", ()))
    return identity


def noise(seed: int) -> bytes:
    return blake3(str(seed).encode()).digest(length=PAGE_BYTES)


def read_state(store: Store, wanted: list[int]) -> None:
    """What a query reads: the commit, the map, the record, the code and some pages."""
    commit = store.load(Kind.COMMIT, store.ref_commit(MAIN))
    record = contract_map.lookup(store, commit.map_root, CONTRACT)
    assert record is not None
    store.load(Kind.BYTECODE, record.bytecode)
    for index in wanted:
        address = tree.lookup(store, record.memory_kind.shape, record.pages_root, index)
        assert address is not None
        assert store.load(Kind.PAGE, address) == noise(index)


def in_a_process(*words: str) -> str:
    return subprocess.run([sys.executable, __file__, *words], check=True, capture_output=True, text=True).stdout


def peak_bytes() -> int:
    """The most memory that this process took. What getrusage tells begins with what its parent took."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) << 10


def clone_whole(url: str, target: str) -> None:
    start = time.perf_counter()
    report = clone(url, Path(target))
    seconds = time.perf_counter() - start
    peak = peak_bytes() / (1 << 20)
    size = sum(path.stat().st_size for path in (Path(url) / "packs").iterdir())
    rate = size / seconds / 1e6
    print(f"clone: {len(report.commits):,} commits, {size >> 20} MiB in {seconds:.1f} s, {rate:.0f} MB/s, ", end="")
    print(f"peak memory {peak:.0f} MiB")


def clone_lazily(url: str, target: str, pages: int) -> None:
    Remotes.open = lambda _self, name: Storage(name, CountingBucket(url))  # type: ignore[method-assign]
    start = time.perf_counter()
    clone(url, Path(target), lazy=True)
    cloned = CountingBucket.bytes_read
    with Store.open(Path(target)) as store:
        read_state(store, [0, pages // 2, pages - 1])
    seconds = time.perf_counter() - start
    read = CountingBucket.bytes_read / 1024
    print(f"lazy clone: {cloned / 1024:.0f} KiB; with code and three pages of a query {read:.0f} KiB, ", end="")
    print(f"{CountingBucket.requests} requests, {seconds:.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=16_384)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="piecrust-bench-") as folder:
        url = str(Path(folder) / "remote")
        with Store.open(Path(folder) / "ours", create=True, sync=False) as store:
            tip = make_history(store, arguments.commits, arguments.pages)
            storage = Storage("origin", CountingBucket(url))
            start = time.perf_counter()
            report = push(store, storage, [Update(MAIN, tip)])
            seconds = time.perf_counter() - start
            print(
                f"push: {report.commits:,} commits, {report.bytes_sent >> 20} MiB in {len(report.packs)} packs, ",
                end="",
            )
            print(f"{seconds:.1f} s, {report.bytes_sent / seconds / 1e6:.0f} MB/s", flush=True)
            CountingBucket.requests = CountingBucket.writes = 0
            small = make_commit(store, tip, {7: noise(-1)})
            start = time.perf_counter()
            report = push(store, storage, [Update(MAIN, small)])
            seconds = time.perf_counter() - start
            print(f"small push: {CountingBucket.requests} requests, {CountingBucket.writes} of them writes, ", end="")
            print(f"{report.bytes_sent / 1024:.0f} KiB, {seconds * 1e3:.0f} ms", flush=True)
        print(in_a_process("--clone", url, str(Path(folder) / "whole")), end="", flush=True)
        print(in_a_process("--lazy", url, str(Path(folder) / "lazy"), str(arguments.pages)), end="", flush=True)


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--clone", url, target]:
            clone_whole(url, target)
        case ["--lazy", url, target, pages]:
            clone_lazily(url, target, int(pages))
        case _:
            main()
