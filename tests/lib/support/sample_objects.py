"""One store in memory with every kind of object in it, always the same: for golden files, flips and proofs."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from blake3 import blake3
from piecrust.objects import contract_map
from piecrust.objects.access import MemoryObjects
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.ids import ZERO, BytecodeHash, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, State, write_state
from piecrust.objects.steps import Call, Deploy, Event, Failure, QueryAnswer, QueryFailure, SetMeta, Success
from piecrust.objects.transcript import Merge, Side, Transcript, store

WASM = b"\0asm\x01\0\0\0"


def contract(n: int) -> ContractId:
    return ContractId(hashlib.sha256(b"contract %d" % n).digest())


def noise(seed: str, length: int = PAGE_BYTES) -> bytes:
    return blake3(seed.encode()).digest(length=length)


def change(
    n: int,
    pages: dict[int, bytes],
    *,
    root: bytes = ZERO,
    kind: MemoryKind = MemoryKind.WASM32,
    length: int = 2 * PAGE_BYTES,
) -> ContractChange:
    """A change of contract n, with whole pages."""
    writes = {index: PageWrite(page) for index, page in pages.items()}
    bytecode = BytecodeHash(blake3(WASM).digest())
    return ContractChange(contract(n), bytecode, b"owner %d" % n, kind, length, root, writes)


@dataclass(frozen=True)
class Sample:
    """A root commit, two on it, and their merge."""

    objects: MemoryObjects
    first: CommitId
    ours: CommitId
    theirs: CommitId
    merge: CommitId


def put_commit(
    objects: MemoryObjects, state: State, parents: list[CommitId], transcript: bytes | None, **note: object
) -> CommitId:
    commit = new_commit(objects, state, parents, transcript, **note)
    name = commit_id(commit)
    objects.put(Kind.COMMIT, name, commit)
    return name


def sample() -> Sample:
    """The objects: 32-bit and 64-bit memories, zero, small and noisy pages, all kinds of steps."""
    objects = MemoryObjects()
    objects.put(Kind.BYTECODE, blake3(WASM).digest(), WASM)
    pages = {0: bytes(PAGE_BYTES), 1: b"\x01" + bytes(PAGE_BYTES - 1), 300: noise("page")}
    deployed = [
        change(1, pages),
        change(2, {}),
        change(3, {70000: noise("far")}, kind=MemoryKind.WASM64, length=1 << 33),
    ]
    state = write_state(objects, EMPTY_STATE, deployed)
    code = BytecodeHash(blake3(WASM).digest())
    deploys = tuple(Deploy(contract(n), code, b"owner %d" % n, None, 10**6, None) for n in (1, 2, 3))
    first = put_commit(objects, state, [], store(objects, Transcript(deploys, {"block_height": bytes(8)})))

    record = contract_map.lookup(objects, state.map_root, contract(1))
    event = Event(contract(1), "tick", b"\x01", reverted=False)
    steps = (
        SetMeta("k", b"v"),
        Call(contract(1), "go", bytes(300), 2**64 - 1, Success(17, b"\x2a", (event,)), (QueryAnswer("q", 5, b"a"),)),
        Call(contract(2), "no", b"", 9, Failure("Panic", "boom"), (QueryAnswer("z", 0, QueryFailure("Panic")),)),
    )
    ours_state = write_state(objects, state, [change(1, {1: b"\x02" + bytes(PAGE_BYTES - 1)}, root=record.pages_root)])
    ours_transcript = store(objects, Transcript(steps, excluded_queries=frozenset(["random"])))
    ours = put_commit(objects, ours_state, [first], ours_transcript, message="ours", author="someone", time=1)

    theirs_state = write_state(objects, state, [change(4, {0: noise("new")})])
    theirs = put_commit(objects, theirs_state, [first], None)

    both = write_state(objects, ours_state, [change(4, {0: noise("new")})])
    choices = {contract(1): Side.OURS}
    merge = put_commit(objects, both, [ours, theirs], store(objects, Merge(first, ours, theirs, choices)), message="")
    return Sample(objects, first, ours, theirs, merge)
