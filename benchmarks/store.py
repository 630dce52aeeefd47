"""Measures the store alone: durable commits, bytes on disk, opening, look-ups, sealing and collecting garbage.

    python benchmarks/store.py [--only PART] [--commits N] [--objects N] [--quick] [--json]

PART is publishing, sealing, growing, scripts, opening, looking-up, much or collecting; all of them without it. A commit
is what a session leaves of one contract: a changed page, the nodes above it, record, commit and operation; `scripts`
has sessions. Bytes are those of all files of the store, indexes included, over `--commits` commits.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from blake3 import blake3
from measure import Latencies, Row, Stopwatch, bytes_in, quiet, repeat, table
from piecrust.objects import contract_map
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.format import SEGMENT_BYTES_MAX
from piecrust.objects.ids import ZERO, BytecodeHash, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, State, write_state
from piecrust.objects.store import Store
from piecrust.objects.table import Coverage, Table, pack_place
from piecrust.objects.table_writer import Records, build_table, exhaust

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "lib"))  # for programs of the script contract

BYTECODE = BytecodeHash(blake3(b"bytecode").digest())


class Chain:
    """Commits one after the other, each of which changes 8 bytes in one page of one contract."""

    def __init__(
        self, store: Store, contracts: int, noise: int, *, seed: int = 1, branch: str | None = "heads/main"
    ) -> None:
        self.store, self.branch = store, branch
        rng = random.Random(seed)
        self.ids = [ContractId(blake3(b"%d" % number).digest()) for number in range(contracts)]
        self.pages = {i: bytearray(rng.randbytes(noise).ljust(PAGE_BYTES, b"\0")) for i in self.ids}
        self.roots: dict[ContractId, bytes] = dict.fromkeys(self.ids, ZERO)
        self.head: CommitId | None = None
        self.state: State = EMPTY_STATE
        self.number = 0
        self.commit(self.ids)

    def commit(self, contracts: list[ContractId] | None = None) -> None:
        """Change one contract's page (by default the next one's) and commit."""
        transaction = self.store.transaction()
        self.number += 1
        changed = contracts or [self.ids[self.number % len(self.ids)]]
        changes = []
        for contract in changed:
            page = self.pages[contract]
            page[100:108] = self.number.to_bytes(8, "little")
            write = {1: PageWrite(bytes(page))}
            root = self.roots[contract]
            change = ContractChange(contract, BYTECODE, bytes(32), MemoryKind.WASM32, 2 * PAGE_BYTES, root, write)
            changes.append(change)
        self.state = write_state(transaction, self.state, changes)
        for contract in changed:
            record = contract_map.lookup(transaction, self.state.map_root, contract)
            assert record is not None
            self.roots[contract] = record.pages_root
        commit = new_commit(transaction, self.state, [] if self.head is None else [self.head], None)
        identity = commit_id(commit)
        transaction.put(Kind.COMMIT, identity, commit)
        transaction.keep(identity)
        if self.branch is not None:
            transaction.set_ref(self.branch, identity, expected=self.head)
        transaction.publish(Operation("commit", ("main",)))
        self.head = identity


def publishing(folder: Path, commits: int) -> Iterator[Row]:
    """Commits without a sync each."""
    with Store.open(folder / "undurable", create=True, sync=False) as store:
        chain = Chain(store, 1, 2000)
        with quiet():
            yield Row("commit, not durable, p50", "us", repeat(chain.commit, commits).p50)
    with Store.open(folder / "batch", create=True) as store:
        chain = Chain(store, 1, 2000)
        begun = time.perf_counter()
        with quiet(), store.batch():
            for _ in range(commits):
                chain.commit()
        yield Row("commits in a batch", "1/s", commits / (time.perf_counter() - begun))


def sealing(folder: Path, commits: int) -> Iterator[Row]:
    """Latencies of durable commits: of all of them, and of those that came while a segment was being sealed."""
    for name, noise, segment_bytes_max in (("small", 2000, 1 << 20), ("16 KB", 16_000, SEGMENT_BYTES_MAX)):
        Store.create(folder / name, segment_bytes_max=segment_bytes_max)
        with Store.open(folder / name) as store:
            chain = Chain(store, 1, noise)
            rng = random.Random(4)
            watch = Stopwatch()
            with quiet():
                for _ in range(commits):
                    if noise > 2000:
                        chain.pages[chain.ids[0]][:noise] = rng.randbytes(noise)
                    watch.time("sealing" if store._log.ledger.segments else "commits", chain.commit)
            packs = len(store._log.ledger.packs)
        beside, alone = watch["sealing"], watch["commits"]
        everything = Latencies(sorted(beside.sorted_us + alone.sorted_us))
        yield Row(f"{name} commits, segments of {segment_bytes_max >> 20} MiB sealed", "", packs)
        yield Row(f"{name} commits, no seal, p50", "us", alone.p50)
        yield Row(f"{name} commits, no seal, p99", "us", alone.p99)
        yield Row(f"{name} commits, beside a seal, p50", "us", beside.p50)
        yield Row(f"{name} commits, beside a seal, p99", "us", beside.p99)
        yield Row(f"{name} commits, longest", "us", everything.percentile(100))
        yield Row(f"{name} commits, all, p99 / p50", "", everything.p99 / everything.p50, limit=3)
        yield Row(f"{name} commits, beside a seal, p99 / p50 of all", "", beside.p99 / everything.p50, limit=3)


def growing(folder: Path, commits: int) -> Iterator[Row]:
    """Bytes on disk of a commit, in the first and the second half of many."""
    for name, contracts, changing, noise, limit in (
        ("one contract", 1, 1, 2000, 1200),
        ("one of 1,000 contracts", 1000, 1, 2000, 2048),
        ("1,000 contracts in turn, pages of noise", 1000, 1000, PAGE_BYTES, 4096),
    ):
        with Store.open(folder / name, create=True, sync=False) as store:
            chain = Chain(store, contracts, noise)
            chain.ids = chain.ids[:changing]
            store.seal()
            for half in ("first", "second"):
                before = used_bytes(folder / name)
                for _ in range(commits // 2):
                    chain.commit()
                used = (used_bytes(folder / name) - before) / (commits // 2)
                yield Row(f"bytes, {name}, {half} half", "bytes", used, limit=limit)


def script_contracts(folder: Path, commits: int) -> Iterator[Row]:
    """Bytes on disk of a commit through sessions: 1,000 script contracts, each with a page that can't be compressed."""
    from piecrust import VM
    from subjects import CONTRACTS, GAS, OWNER
    from support.programs import SCRATCH, Program

    ids = [ContractId(number.to_bytes(32, "little")) for number in range(1, 1001)]
    rng = random.Random(5)
    count = Program().add64(SCRATCH, 1).bytes()
    vm = VM(folder / "scripts")
    with vm.session(branch="main") as session:
        for contract in ids:
            session.deploy(CONTRACTS / "script.wasm", OWNER, contract_id=contract)
            for at in (0, PAGE_BYTES // 2):
                noise = Program().store(SCRATCH + at, rng.randbytes(PAGE_BYTES // 2))
                session.call_raw(contract, "run", noise.bytes(), gas_limit=GAS)
        session.commit()
    vm.store.seal()
    for half in ("first", "second"):
        before = used_bytes(folder / "scripts")
        for number in range(commits // 2):
            with vm.session(base="main") as session:
                session.call_raw(ids[7 * number % len(ids)], "run", count, gas_limit=GAS)
                session.commit()
        used = (used_bytes(folder / "scripts") - before) / (commits // 2)
        yield Row(f"bytes, one of 1,000 script contracts, {half} half", "bytes", used, limit=4096)
    vm.close()


def used_bytes(folder: Path) -> int:
    """The bytes of a store without the room that is allocated ahead."""
    store = Store.open(folder, read_only=True)
    with store:
        position = store._log.position
        active = folder / ".piecrust" / "log" / f"{position.segment:08d}.seg"
        return bytes_in(folder) - active.stat().st_size + position.end


def opening(folder: Path, commits: int) -> Iterator[Row]:
    """Opening a store with many commits, and reading one of them."""
    directory = folder / "opening"
    with Store.open(directory, create=True, sync=False) as store:
        chain = Chain(store, 10, 2000)
        identities = []
        with store.batch():
            for _ in range(commits):
                chain.commit()
                identities.append(chain.head)
    with Store.open(directory) as store:
        store.seal()
    opened = repeat(lambda: Store.open(directory).close(), 20)
    yield Row(f"opening, {commits:,} commits", "ms", opened.p50 / 1000, limit=20)
    with Store.open(directory, read_only=True) as store:
        sample = iter(random.Random(2).sample(identities, 200))

        def read() -> None:
            commit = store.load(Kind.COMMIT, next(sample))
            contract_map.lookup(store, commit.map_root, chain.ids[0])

        yield Row("reading a commit and a record, cold", "us", repeat(read, 200).p50)
        begun = time.perf_counter()
        length, here = 0, chain.head
        while here is not None:
            parents = store.graph(here).parents
            length, here = length + 1, parents[0] if parents else None
        yield Row("walking the history, per commit", "us", 1e6 * (time.perf_counter() - begun) / length)


def looking_up(objects: int) -> Iterator[Row]:
    """Look-ups in one table over very many objects, in the processor's time."""
    records = Records()
    sample = []
    for number in range(objects):
        address = os.urandom(32)
        records.add_object(address, pack_place(0, number, Kind.PAGE), 100)
        if number % (objects // 50_000 or 1) == 0:
            sample.append(address)
    random.Random(3).shuffle(sample)
    found = Table(memoryview(b"".join(exhaust(build_table([Coverage(bytes(32), 64, 1 << 40)], records)))))
    absent = [os.urandom(32) for _ in sample]
    for name, addresses in (("first look-up", sample), ("look-up", sample), ("look-up of what is absent", absent)):
        begun = time.thread_time()
        for address in addresses:
            found.rows_of(address)
        spent = 1e6 * (time.thread_time() - begun) / len(addresses)
        yield Row(f"{name} among {objects:,} objects", "us", spent, limit=2 if name != "first look-up" else None)


def much(folder: Path, pages: int) -> Iterator[Row]:
    """One commit of many new pages that can't be compressed."""
    with Store.open(folder / "much", create=True) as store:
        chain = Chain(store, 1, 0)
        contract = chain.ids[0]
        writes = {index: PageWrite(os.urandom(PAGE_BYTES)) for index in range(2, pages + 2)}
        change = ContractChange(
            contract, BYTECODE, bytes(32), MemoryKind.WASM32, (pages + 2) * PAGE_BYTES, chain.roots[contract], writes
        )
        begun = time.perf_counter()
        transaction = store.transaction()
        write_state(transaction, chain.state, [change])
        transaction.publish(Operation("commit"))
        spent = time.perf_counter() - begun
    yield Row(f"commit of {pages * PAGE_BYTES >> 20} MiB of new pages, durable", "ms", 1000 * spent, limit=380)


def collecting(folder: Path, commits: int) -> Iterator[Row]:
    """What is left after nine tenths of many commits were deleted, against a store that never held them."""
    left = {}
    for name in ("fresh", "collected"):
        with Store.open(folder / name, create=True, sync=False) as store:
            with store.batch():
                numbers = range(0, commits, 10 if name == "fresh" else 1)
                made = {number: Chain(store, 1, 3000, seed=number, branch=None).head for number in numbers}
            with store.batch():
                for number, commit in made.items():
                    if number % 10 and commit is not None:
                        transaction = store.transaction()
                        transaction.delete(commit)
                        transaction.publish(Operation("delete"))
            begun = time.perf_counter()
            left[name] = store.gc(retention_seconds=0).bytes_after
            spent = time.perf_counter() - begun
    yield Row("bytes after collecting / fresh copy", "", left["collected"] / left["fresh"], limit=1.05)
    yield Row(f"collecting nine tenths of {commits:,} commits", "ms", 1000 * spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="PART", action="append", choices=PARTS, help="measure this part alone")
    parser.add_argument("--commits", type=int, default=10_000)
    parser.add_argument("--objects", type=int, default=10_000_000, help="of the table that is looked up in")
    parser.add_argument("--quick", action="store_true", help="a tenth of the commits, a hundredth of the objects")
    parser.add_argument("--json", action="store_true", help="a row per line")
    options = parser.parse_args()
    commits, objects = options.commits, options.objects
    if options.quick:
        commits, objects = commits // 10, objects // 100
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for part in options.only or PARTS:
            for row in PARTS[part](Path(name), commits, objects):
                rows.append(row)
                if options.json:
                    print(row.json(), flush=True)
    if not options.json:
        print(table(rows))


PARTS: dict[str, Callable[[Path, int, int], Iterator[Row]]] = {
    "sealing": lambda folder, commits, _: sealing(folder, commits),
    "publishing": lambda folder, commits, _: publishing(folder, commits),
    "growing": lambda folder, commits, _: growing(folder, commits),
    "scripts": lambda folder, commits, _: script_contracts(folder, commits // 2),
    "opening": lambda folder, commits, _: opening(folder, commits),
    "looking-up": lambda _folder, _commits, objects: looking_up(objects),
    "much": lambda folder, _commits, _objects: much(folder, 1024),
    "collecting": lambda folder, commits, _: collecting(folder, commits // 2),
}


if __name__ == "__main__":
    main()
