"""Restores: a new commit whose state, or some contracts of it, are those of another commit."""

from __future__ import annotations

from collections.abc import Collection

from piecrust.objects import contract_map
from piecrust.objects.access import ObjectWriter
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.oplog import Operation
from piecrust.objects.rebuild import as_it_is
from piecrust.objects.state import State, write_state
from piecrust.objects.store import Store
from piecrust.objects.transcript import Restore
from piecrust.vm.derivation import put_commit, state_of
from piecrust.vm.errors import ContractDoesNotExist, NothingCommitted
from piecrust.vm.workspace import Workspace


def restore(
    store: Store,
    source: CommitId,
    contracts: Collection[ContractId] = (),
    *,
    message: str | None = None,
    author: str | None = None,
) -> CommitId:
    """Commit the state of `source` onto HEAD's branch: the whole of it, or only these contracts.

    A restored contract keeps its position where HEAD has it, so that the state root is not `source`'s, but for a whole
    restore. If nothing differs, HEAD's commit is returned and nothing written.

    Raises:
        ContractDoesNotExist: `source` has no such contract.
        NothingCommitted: HEAD has no commit to build on.
        UncommittedChanges: There is a working state.
        Conflict: Somebody else moved the branch meanwhile.
    """
    workspace = Workspace(store)
    head = workspace.head().commit
    if head is None:
        raise NothingCommitted
    transaction = store.transaction()
    here, there = state_of(transaction, head), state_of(transaction, source)
    state = restored_state(transaction, here, there, contracts)
    if (state.state_root, state.map_root) == (here.state_root, here.map_root):
        return head
    derivation = Restore(source, frozenset(contracts))
    commit = put_commit(transaction, state, (head,), derivation, message, author)
    workspace.advance(transaction, commit)
    transaction.publish(Operation("restore", (source.hex(), *(contract.hex() for contract in sorted(contracts)))))
    return commit


def restored_state(writer: ObjectWriter, here: State, there: State, contracts: Collection[ContractId]) -> State:
    """The state `here` with these contracts as they are `there`; without any, the state `there`.

    Raises:
        ContractDoesNotExist: `there` is no such contract.
    """
    if not contracts:
        # A position that was given once is not given again, whatever state comes back.
        return State(there.state_root, there.map_root, max(here.positions, there.positions))
    changes = []
    for contract in sorted(contracts):
        record = contract_map.lookup(writer, there.map_root, contract)
        if record is None:
            raise ContractDoesNotExist(contract)
        changes.append(as_it_is(record))
    return write_state(writer, here, changes)
