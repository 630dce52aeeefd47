"""Commits made by hand in a real store: contracts of a few pages, without any code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from blake3 import blake3
from piecrust.objects import contract_map
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.ids import BytecodeHash, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.record import ContractRecord, MemoryKind
from piecrust.objects.refs import BRANCHES
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, State, write_state
from piecrust.objects.store import Store

PAGE_BYTES = 65536


def contract(name: str) -> ContractId:
    return ContractId(blake3(name.encode()).digest())


def page(text: str = "", *, at: int = 0) -> bytes:
    data = bytearray(PAGE_BYTES)
    data[at : at + len(text)] = text.encode()
    return bytes(data)


class History:
    """A store whose commits are written by hand; `branch` moves with them."""

    def __init__(self, directory: Path) -> None:
        Store.create(directory)
        self.store = Store.open(directory, sync=False)

    def state(self, commit: CommitId | None) -> State:
        if commit is None:
            return EMPTY_STATE
        found = self.store.load(Kind.COMMIT, commit)
        return State(found.state_root, found.map_root, found.positions)

    def record(self, commit: CommitId, name: str) -> ContractRecord | None:
        return contract_map.lookup(self.store, self.state(commit).map_root, contract(name))

    def commit(
        self,
        parents: Sequence[CommitId],
        pages: Mapping[str, Mapping[int, bytes]],
        *,
        branch: str | None = "main",
        owner: bytes = b"owner",
        code: bytes = b"code",
    ) -> CommitId:
        """A commit in which the named contracts have these pages on top of what the first parent has."""
        transaction = self.store.transaction()
        base = self.state(parents[0] if parents else None)
        changes = []
        for name, written in pages.items():
            old = contract_map.lookup(transaction, base.map_root, contract(name))
            transaction.put(Kind.BYTECODE, blake3(code).digest(), code)
            changes.append(
                ContractChange(
                    id=contract(name),
                    bytecode=BytecodeHash(blake3(code).digest()),
                    owner=owner,
                    memory_kind=MemoryKind.WASM32,
                    memory_length=16 * PAGE_BYTES,
                    pages_root=bytes(32) if old is None else old.pages_root,
                    pages={index: PageWrite(data) for index, data in written.items()},
                )
            )
        made = new_commit(transaction, write_state(transaction, base, changes), parents, None)
        identifier = commit_id(made)
        transaction.put(Kind.COMMIT, identifier, made)
        transaction.keep(identifier)
        if branch is not None:
            transaction.set_ref(BRANCHES + branch, identifier)
        transaction.publish(Operation("commit"))
        return identifier
