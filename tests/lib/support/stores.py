"""Small commits for tests of the store: a contract with one page, and what a session would put for it."""

from __future__ import annotations

from blake3 import blake3
from piecrust.objects import contract_map
from piecrust.objects.commit import Commit, commit_id, new_commit
from piecrust.objects.ids import BytecodeHash, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, write_state
from piecrust.objects.store import Store
from piecrust.objects.transaction import ANYTHING, Anything, Transaction
from piecrust.objects.tree import lookup

CONTRACT = ContractId(blake3(b"contract").digest())
BYTECODE = b"\0asm" + bytes(100)


def page(content: bytes, filler: bytes = b"") -> bytes:
    """A page that begins with `content` and goes on with noise made of `filler`."""
    noise = blake3(filler).digest(length=4096) if filler else b""
    return (content + noise).ljust(PAGE_BYTES, b"\0")


def stage_commit(
    transaction: Transaction,
    content: bytes,
    *,
    parent: CommitId | None = None,
    contract: ContractId = CONTRACT,
    pages: dict[int, bytes] | None = None,
    message: str | None = None,
) -> CommitId:
    """Put a commit whose contract has `content` in page 1 (or `pages`), and keep it."""
    base = EMPTY_STATE
    root = bytes(32)
    if parent is not None:
        base = transaction.load(Kind.COMMIT, parent).state
        record = contract_map.lookup(transaction, base.map_root, contract)
        root = bytes(32) if record is None else record.pages_root
    written = {1: page(content, b"filler")} if pages is None else pages
    bytecode = BytecodeHash(blake3(BYTECODE).digest())
    transaction.put(Kind.BYTECODE, bytecode, BYTECODE)
    change = ContractChange(
        contract,
        bytecode,
        b"owner".ljust(32),
        MemoryKind.WASM32,
        2 * PAGE_BYTES,
        root,
        {index: PageWrite(data) for index, data in written.items()},
    )
    state = write_state(transaction, base, [change])
    commit = new_commit(transaction, state, [] if parent is None else [parent], None, message=message)
    identity = commit_id(commit)
    transaction.put(Kind.COMMIT, identity, commit)
    transaction.keep(identity)
    return identity


def make_commit(
    store: Store,
    content: bytes,
    *,
    parent: CommitId | None = None,
    branch: str | None = None,
    expected: CommitId | Anything | None = ANYTHING,
    contract: ContractId = CONTRACT,
    pages: dict[int, bytes] | None = None,
    message: str | None = None,
) -> CommitId:
    """Publish a commit, on a branch if one is named."""
    transaction = store.transaction()
    commit = stage_commit(transaction, content, parent=parent, contract=contract, pages=pages, message=message)
    if branch is not None:
        transaction.set_ref(f"heads/{branch}", commit, expected=expected)
    transaction.publish(Operation("commit", (content.hex(),)))
    return commit


def read_page(store: Store, commit: CommitId, index: int = 1, contract: ContractId = CONTRACT) -> bytes:
    """A page of a commit's contract, by way of the commit, the map, the record and the tree."""
    value: Commit = store.load(Kind.COMMIT, commit)
    record = contract_map.lookup(store, value.map_root, contract)
    assert record is not None
    address = lookup(store, record.memory_kind.shape, record.pages_root, index)
    assert address is not None
    data: bytes = store.load(Kind.PAGE, address)
    return data


def read_content(store: Store, commit: CommitId) -> bytes:
    """What `make_commit` was given as `content`, if it was 8 bytes."""
    return read_page(store, commit)[:8]
