"""Measures proofs: their size, and how long it takes to make and to verify them.

    python benchmarks/proofs.py [--commits N] [--json]

The state has 1,000 contracts with a few pages and one with 1,000; the store has 100,000 commits. Beside sizes stands
what the original gives to prove a page: two openings of fixed length (see docs/proofs.md, section 8) and the page, with
no binding to a contract's id; it has nothing for less than a page. Times are medians.
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Callable
from pathlib import Path

from blake3 import blake3
from measure import Row, quiet, repeat, table
from piecrust.objects import contract_map
from piecrust.objects.commit import Commit, commit_id, new_commit
from piecrust.objects.ids import ZERO, BytecodeHash, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.proof import prove_state
from piecrust.objects.proof_history import prove_ancestry, prove_difference
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, write_state
from piecrust.objects.store import Store
from piecrust.objects.verifier.opening import opening_bytes
from piecrust.objects.verifier.tree import CONTRACTS, PAGES
from piecrust.objects.verifier.verify import verify
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, RecordOf, Wanted

CONTRACT_COUNT = 1000
LARGE_PAGES = 1000
BATCH = 1000
OPENINGS = opening_bytes(PAGES[32]) + opening_bytes(CONTRACTS)
TIMES = 30


def main() -> None:
    parser = argparse.ArgumentParser(
        description="Measures proofs: their size, and how long making and verifying takes."
    )
    parser.add_argument("--commits", type=int, default=100_000)
    parser.add_argument("--json", action="store_true", help="a row per line")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder), create=True, sync=False) as store:
        world = World(store, arguments.commits)
        with quiet():
            rows = [*ranges(world), *pages(world), *absences(world), *many(world), *ancestry(world), *difference(world)]
    print("\n".join(row.json() for row in rows) if arguments.json else table(rows))


class World:
    """A store with many contracts and many commits."""

    def __init__(self, store: Store, commits: int) -> None:
        self.store, self.commits = store, list[CommitId]()
        self.large, self.small = name(0), name(1)
        changes = [change(n, {0: noise(n % 7), 1: noise(n % 5), 16: noise(n % 3)}) for n in range(1, CONTRACT_COUNT)]
        changes.append(change(0, {n: noise(1000 + n) for n in range(LARGE_PAGES)}))
        transaction = store.transaction()
        state = write_state(transaction, EMPTY_STATE, changes)
        self._commit(transaction, state, "contracts")
        transaction.publish(Operation("contracts"))
        record = contract_map.lookup(store, state.map_root, self.large)
        assert record is not None
        edited = {3: noise(1), 500: noise(2), 999: noise(3)}
        while len(self.commits) < commits:
            transaction = store.transaction()
            for _ in range(min(BATCH, commits - len(self.commits))):
                if len(self.commits) == commits - 1:
                    state = write_state(transaction, state, [change(0, edited, root=record.pages_root)])
                self._commit(transaction, state, None)
            transaction.publish(Operation("commits"))

    def _commit(self, writer: object, state: object, message: str | None) -> None:
        commit: Commit = new_commit(writer, state, self.commits[-1:], None, message=message)
        self.commits.append(commit_id(commit))
        writer.put(Kind.COMMIT, self.commits[-1], commit)


def name(n: int) -> ContractId:
    return ContractId(blake3(b"contract %d" % n).digest())


def noise(n: int) -> bytes:
    return blake3(b"page %d" % n).digest(length=PAGE_BYTES)


def change(n: int, pages: dict[int, bytes], *, root: bytes = ZERO) -> ContractChange:
    writes = {index: PageWrite(data) for index, data in pages.items()}
    length = max(17, *pages, LARGE_PAGES * (n == 0)) * PAGE_BYTES
    return ContractChange(name(n), BytecodeHash(bytes(32)), b"o" * 96, MemoryKind.WASM32, length, root, writes)


def both(what: str, make: Callable[[], bytes], *, make_limit: float | None, verify_limit: float | None) -> list[Row]:
    """How long it takes to make a proof, and to verify it, in ms."""
    proof = make()
    return [
        Row(f"make {what}", "ms", repeat(make, TIMES).p50 / 1000, limit=make_limit),
        Row(f"verify {what}", "ms", repeat(lambda: verify(proof), TIMES).p50 / 1000, limit=verify_limit),
    ]


def proof_of(world: World, *wanted: Wanted, deflate: bool = True) -> bytes:
    return prove_state(world.store, world.commits[-1], wanted, deflate=deflate)


def ranges(world: World) -> list[Row]:
    draw = random.Random(1)
    places = [draw.randrange(LARGE_PAGES * PAGE_BYTES - 32) for _ in range(20)]
    chunks = [n * 1024 - 16 for n in range(100, 60_000, 1711)]
    edges = [n * PAGE_BYTES - 16 for n in (1, 4, 16, *range(64, LARGE_PAGES, 64))]
    small = (0, 1000, 16 * PAGE_BYTES + 77, 2 * PAGE_BYTES - 16)
    sizes = [len(proof_of(world, RangeOf(world.large, at, 32))) for at in places]
    over_chunks = [len(proof_of(world, RangeOf(world.large, at, 32))) for at in chunks]
    over_pages = [len(proof_of(world, RangeOf(world.large, at, 32))) for at in edges]
    few = [len(proof_of(world, RangeOf(world.small, at, 32))) for at in small]
    original = OPENINGS + PAGE_BYTES
    wanted = RangeOf(world.large, 77 * PAGE_BYTES + 5000, 32)
    across = RangeOf(world.large, 256 * PAGE_BYTES - 16, 32)
    return [
        Row("32 bytes of a memory of 1,000 pages", "bytes", max(sizes), original, limit=4096),
        Row("32 bytes over two chunks of it", "bytes", max(over_chunks), original, limit=4096),
        Row("32 bytes over two of its pages, at worst", "bytes", max(over_pages), 2 * original, limit=4096),
        Row("32 bytes of a memory of 3 pages", "bytes", max(few), original, limit=4096),
        *both("a proof of 32 bytes", lambda: proof_of(world, wanted), make_limit=10, verify_limit=2),
        *both("one over two pages", lambda: proof_of(world, across), make_limit=10, verify_limit=2),
    ]


def pages(world: World) -> list[Row]:
    wanted = PageOf(world.large, 77)
    raw = len(proof_of(world, wanted, deflate=False))
    return [
        Row("a page of noise, raw", "bytes", raw, OPENINGS + PAGE_BYTES, limit=66 * 1024),
        Row("its tree bytes", "bytes", raw - PAGE_BYTES, OPENINGS),
        *both("a proof of a page", lambda: proof_of(world, wanted), make_limit=10, verify_limit=1),
    ]


def absences(world: World) -> list[Row]:
    return [
        Row("a contract's record", "bytes", len(proof_of(world, RecordOf(world.small)))),
        Row("an absent contract", "bytes", len(proof_of(world, NoContract(name(5000))))),
        Row("an absent page", "bytes", len(proof_of(world, NoPage(world.large, 2000)))),
    ]


def many(world: World) -> list[Row]:
    wanted = [PageOf(world.large, n) for n in range(LARGE_PAGES)]
    together = len(proof_of(world, *wanted, deflate=False)) - LARGE_PAGES * PAGE_BYTES
    alone = sum(len(proof_of(world, page, deflate=False)) - PAGE_BYTES for page in wanted)
    return [
        Row("1,000 pages in one proof: tree bytes", "bytes", together, OPENINGS * LARGE_PAGES),
        Row("the same against 1,000 proofs", "%", 100 * together / alone, limit=60),
    ]


def ancestry(world: World) -> list[Row]:
    draw = random.Random(2)
    head = world.commits[-1]
    sizes = [len(prove_ancestry(world.store, draw.choice(world.commits[:-1]), head)) for _ in range(300)]
    sizes.append(len(prove_ancestry(world.store, world.commits[0], head)))
    far = world.commits[len(world.commits) // 3]
    what = f"ancestry over {len(world.commits):,} commits"
    return [
        Row(what, "bytes", max(sizes), limit=8192),
        *both("such a proof", lambda: prove_ancestry(world.store, far, head), make_limit=10, verify_limit=None),
    ]


def difference(world: World) -> list[Row]:
    proof = prove_difference(world.store, world.commits[0], world.commits[-1])
    return [Row("two commits differ in exactly 3 pages", "bytes", len(proof))]


if __name__ == "__main__":
    main()
