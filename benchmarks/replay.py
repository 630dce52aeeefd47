"""Measures replays of small commits with one process and with two, and bundles of pages.

    python benchmarks/replay.py [--commits N] [--pages N] [--json]

The rival of a replay with two processes is the same with one. Rates of bundles are of distinct pages, half of which
compress well, in MB/s; import is into a store that syncs.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3
from measure import Row, table
from piecrust import VM, CommitId
from piecrust.objects.bundle_reader import read_bundle
from piecrust.objects.bundle_writer import write_history
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.ids import ZERO, BytecodeHash, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, write_state
from piecrust.objects.store import Store
from piecrust.vm.replay import commits_to_replay, replay
from piecrust.vm.verdict import Holds
from subjects import CONTRACTS, OWNER

BATCH = 500
SPEEDUP = 1.7
BUNDLE_SECONDS_PER_GB = 5.0  # 200 MB/s


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures replays with one process and with two, and bundles.")
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--pages", type=int, default=4096)
    parser.add_argument("--json", action="store_true", help="a row per line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        rows = [*replays(Path(folder, "replay"), arguments.commits), *bundles(Path(folder), arguments.pages)]
    print("\n".join(row.json() for row in rows) if arguments.json else table(rows))


def replays(directory: Path, count: int) -> list[Row]:
    tip = make_commits(directory, count)
    with Store.open(directory, read_only=True) as store:
        commits = commits_to_replay(store, None, tip)

    def confirm(workers: int) -> None:
        verdicts = replay(directory, commits, workers=workers, cache_directory=directory / "code")
        assert all(told.holds is Holds.YES for told in verdicts)

    confirm(1)  # what is compiled and cached is no part of it
    one, two = seconds(lambda: confirm(1)), seconds(lambda: confirm(2))
    return [Row(f"replay {len(commits):,} commits, two processes", "s", two, one, target=1 / SPEEDUP)]


def make_commits(directory: Path, count: int) -> CommitId:
    with VM(directory, sync=False) as vm:
        with vm.session(branch="main") as session:
            counter, _ = session.deploy(CONTRACTS / "counter.wasm", owner=OWNER)
            tip = session.commit()
        for _ in range(0, count, BATCH):
            with vm.batch():
                for _ in range(BATCH):
                    with vm.session("main") as session:
                        session.call(counter, "increment")
                        tip = session.commit()
        return tip


def bundles(folder: Path, count: int) -> list[Row]:
    path, size = folder / "bundle", count * PAGE_BYTES / 1e9
    with Store.open(folder / "pages", create=True, sync=False) as store:
        tip = make_pages(store, count)
    with Store.open(folder / "pages", read_only=True) as store, path.open("wb") as file:
        written = seconds(lambda: write_history(store, tip, file))
    with Store.open(folder / "imported", create=True) as store, path.open("rb") as file:
        read = seconds(lambda: read_bundle(store, file))
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return [
        Row(f"export {count:,} pages, seconds per GB", "s", written / size, limit=BUNDLE_SECONDS_PER_GB),
        Row(f"import {count:,} pages, seconds per GB", "s", read / size, limit=BUNDLE_SECONDS_PER_GB),
        Row("most memory", "MiB", most),
    ]


def make_pages(store: Store, count: int) -> CommitId:
    transaction = store.transaction()
    code = b"\0asm\x01\0\0\0"
    bytecode = BytecodeHash(blake3(code).digest())
    transaction.put(Kind.BYTECODE, bytecode, code)
    state = EMPTY_STATE
    for start in range(0, count, BATCH):
        pages = {index: PageWrite(page(index)) for index in range(start, min(start + BATCH, count))}
        contract = ContractId(blake3(b"%d" % start).digest())
        length = PAGE_BYTES * count
        change = ContractChange(contract, bytecode, OWNER, MemoryKind.WASM32, length, ZERO, pages)
        state = write_state(transaction, state, [change])
        transaction.publish(Operation("pages"))
        transaction = store.transaction()
    commit = new_commit(transaction, state, (), None)
    transaction.put(Kind.COMMIT, commit_id(commit), commit)
    transaction.keep(commit_id(commit))
    transaction.publish(Operation("commit"))
    return commit_id(commit)


def page(index: int) -> bytes:
    noise = blake3(b"%d" % index).digest(length=PAGE_BYTES if index % 2 else PAGE_BYTES // 4)
    return noise * (PAGE_BYTES // len(noise))


def seconds(action: Callable[[], object]) -> float:
    begun = time.perf_counter()
    action()
    return time.perf_counter() - begun


if __name__ == "__main__":
    main()
