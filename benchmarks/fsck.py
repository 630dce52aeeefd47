"""Measures the check of a store: how many bytes of pages it hashes in a second, and how many commits it follows.

    python benchmarks/fsck.py [--mebibytes N] [--commits N] [--json]

Pages are half noise, half zeros, as contracts' memories are; the files are in the system's cache. Every object is read,
decompressed, hashed and compared with its address, every commit is followed to all that it needs.
"""

from __future__ import annotations

import argparse
import os
import random
import tempfile
import time
from pathlib import Path

from blake3 import blake3
from measure import Row, quiet, table
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.fsck import fsck
from piecrust.objects.ids import ZERO, BytecodeHash, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, write_state
from piecrust.objects.store import Store

PAGES_PER_COMMIT = 64
CONTRACT = ContractId(blake3(b"contract").digest())


def main() -> None:
    parser = argparse.ArgumentParser(description="Measures the check of a store.")
    parser.add_argument("--mebibytes", type=int, default=512, help="of pages")
    parser.add_argument("--commits", type=int, default=5000, help="of one page each")
    parser.add_argument("--json", action="store_true", help="a row per line")
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), pages=arguments.mebibytes * 16, per_commit=PAGES_PER_COMMIT)
        threads = [1, *([cores] if (cores := os.cpu_count() or 1) > 1 else [])]
        for count in threads:
            rate, _, by_processor = measured(Path(folder), count)
            rows.append(Row(f"pages, {count} thread{'s' * (count > 1)}", "GB/s", rate))
            rows.append(Row("  processor time of one GB", "s", 1 / by_processor, limit=1.0))
    with tempfile.TemporaryDirectory() as folder:
        fill(Path(folder), pages=arguments.commits, per_commit=1)
        rows.append(Row("small commits", "commits/s", measured(Path(folder), 1)[1]))
    print("\n".join(row.json() for row in rows) if arguments.json else table(rows))


def fill(folder: Path, *, pages: int, per_commit: int) -> None:
    """A store whose contract has many pages, or one that changes."""
    noise = random.Random(1)
    with Store.open(folder, create=True, sync=False) as store:
        parent: CommitId | None = None
        for first in range(0, pages, per_commit):
            written = {
                (first + number if per_commit > 1 else 1): PageWrite(
                    noise.randbytes(PAGE_BYTES // 2 if per_commit > 1 else 64).ljust(PAGE_BYTES, b"\0")
                )
                for number in range(min(per_commit, pages - first))
            }
            parent = commit(store, parent, written)
        store.seal()


def commit(store: Store, parent: CommitId | None, written: dict[int, PageWrite]) -> CommitId:
    """A commit on another one."""
    transaction = store.transaction()
    code = b"\0asm" + bytes(100)
    bytecode = BytecodeHash(blake3(code).digest())
    transaction.put(Kind.BYTECODE, bytecode, code)
    base, pages_root = EMPTY_STATE, ZERO
    if parent is not None:
        base = transaction.load(Kind.COMMIT, parent).state
        pages_root = _pages_root(store, base.map_root)
    change = ContractChange(CONTRACT, bytecode, bytes(32), MemoryKind.WASM32, 1 << 30, pages_root, written)
    state = write_state(transaction, base, [change])
    value = new_commit(transaction, state, [] if parent is None else [parent], None)
    identity = commit_id(value)
    transaction.put(Kind.COMMIT, identity, value)
    transaction.keep(identity)
    transaction.publish(Operation("commit"))
    return identity


def measured(folder: Path, threads: int) -> tuple[float, float, float]:
    """Gigabytes of objects and commits in a second, and gigabytes in a second of a processor's time."""
    with quiet():
        begun, used = time.perf_counter(), time.process_time()
        report = fsck(folder, threads=threads)
        seconds, used = time.perf_counter() - begun, time.process_time() - used
    if not report.clean:
        raise SystemExit(f"the store is damaged: {report}")
    size = report.checked.object_bytes / 1e9
    return size / seconds, report.checked.commits / seconds, size / used


def _pages_root(store: Store, map_root: bytes) -> bytes:
    from piecrust.objects import contract_map

    record = contract_map.lookup(store, map_root, CONTRACT)
    assert record is not None
    return record.pages_root


if __name__ == "__main__":
    main()
