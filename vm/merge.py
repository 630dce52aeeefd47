"""Merges: the state of ours, with what theirs changed since both parted.

- A contract that only theirs changed is taken from there; one that only ours changed stays.
- A contract that both changed is a conflict, unless the sides differ in nothing but bytes that its interface
  declares as scratch (a stack, the argument buffer): ours stays then. `choices` settles conflicts, contract by
  contract.
- Positions of ours are kept; contracts that only theirs has are appended in the order of their ids. So the state root
  depends on which side is ours.
- A merge never takes a contract away.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from piecrust.objects import contract_map, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.ancestry import merge_base
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES, ZERO_PAGE
from piecrust.objects.rebuild import as_it_is
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import EMPTY_STATE, ContractChange, State, write_state
from piecrust.objects.store import Store
from piecrust.objects.transcript import Merge, Side
from piecrust.vm.derivation import put_commit, state_of
from piecrust.vm.errors import ConflictingContract, MergeConflict, NothingCommitted
from piecrust.vm.workspace import Workspace

ScratchOf = Callable[[ContractRecord], Sequence[range]]
"""The byte ranges of a contract's memory that hold nothing of value between calls."""


@dataclass(frozen=True, slots=True)
class MergeResult:
    """What a merge did. `commit` is where the branch is; `fast_forward`: it was theirs, and no new commit was made."""

    commit: CommitId
    base: CommitId | None
    fast_forward: bool
    taken: tuple[ContractId, ...] = ()
    choices: Mapping[ContractId, Side] | None = None


def no_scratch(record: ContractRecord) -> Sequence[range]:
    """What is known of a contract without an interface."""
    del record
    return ()


def merge(
    store: Store,
    theirs: CommitId,
    *,
    choices: Mapping[ContractId, Side] | None = None,
    scratch_of: ScratchOf = no_scratch,
    message: str | None = None,
    author: str | None = None,
    fast_forward: bool = True,
) -> MergeResult:
    """Join `theirs` into HEAD's branch, in one operation.

    Where ours has nothing of its own, the branch just moves on, unless `fast_forward` is off; where theirs has nothing
    that ours lacks, nothing happens.

    Raises:
        MergeConflict: Contracts that both sides changed; nothing was written.
        ContractPositionCollision: Two contracts, one of each side, have ids that can not be in one state.
        NothingCommitted: HEAD has no commit to merge into.
        UncommittedChanges: There is a working state.
        Conflict: Somebody else moved the branch meanwhile.
    """
    workspace = Workspace(store)
    ours = workspace.head().commit
    if ours is None:
        raise NothingCommitted
    if store.is_ancestor(theirs, ours):
        return MergeResult(ours, theirs, fast_forward=True)
    operation = Operation("merge", (theirs.hex(),))
    transaction = store.transaction()
    base = merge_base(store.graph, ours, theirs)
    if base == ours and fast_forward:
        workspace.advance(transaction, theirs)
        transaction.publish(operation)
        return MergeResult(theirs, base, fast_forward=True)
    state = state_of(transaction, ours)
    changes, settled = plan(
        transaction,
        EMPTY_STATE if base is None else state_of(transaction, base),
        state,
        state_of(transaction, theirs),
        choices or {},
        scratch_of,
    )
    merged = write_state(transaction, state, changes)
    commit = put_commit(transaction, merged, (ours, theirs), Merge(base, ours, theirs, settled), message, author)
    workspace.advance(transaction, commit)
    transaction.publish(operation)
    return MergeResult(commit, base, fast_forward=False, taken=tuple(c.id for c in changes), choices=settled)


def plan(
    reader: ObjectReader,
    base: State,
    ours: State,
    theirs: State,
    choices: Mapping[ContractId, Side],
    scratch_of: ScratchOf = no_scratch,
) -> tuple[list[ContractChange], dict[ContractId, Side]]:
    """What ours takes over, and for every contract that both sides changed whose it is.

    Raises:
        MergeConflict: A contract that both changed, and `choices` does not settle.
    """
    changes: list[ContractChange] = []
    settled: dict[ContractId, Side] = {}
    conflicts: list[ConflictingContract] = []
    for contract, old, new in contract_map.diff(reader, base.map_root, theirs.map_root):
        mine = contract_map.lookup(reader, ours.map_root, contract)
        if new is None or (old is not None and same(old, new)):
            continue
        if mine is None or (old is not None and same(old, mine)):
            changes.append(as_it_is(new))
            continue
        side = choices.get(contract)
        if side is None:
            side = _without_conflict(reader, old, mine, new, scratch_of(mine))
        if side is None:
            conflicts.append(_conflict(reader, mine, new))
            continue
        settled[contract] = side
        if side is Side.THEIRS:
            changes.append(as_it_is(new))
    if conflicts:
        raise MergeConflict(sorted(conflicts, key=lambda conflict: conflict.contract))
    return changes, settled


def same(a: ContractRecord, b: ContractRecord) -> bool:
    """Whether two records tell the same of a contract, wherever it stands in the state."""
    return _identity(a) == _identity(b) and a.memory_length == b.memory_length and a.pages_root == b.pages_root


def differs_in_scratch_only(
    reader: ObjectReader, a: ContractRecord, b: ContractRecord, scratch: Sequence[range]
) -> bool:
    """Whether all bytes in which two versions of a contract differ are scratch; true for equal ones."""
    if _identity(a) != _identity(b) or a.memory_length != b.memory_length:
        return False
    return all(
        _in_scratch(index * PAGE_BYTES, _page(reader, left), _page(reader, right), scratch)
        for index, left, right in tree.diff(reader, a.memory_kind.shape, a.pages_root, b.pages_root)
    )


def _without_conflict(
    reader: ObjectReader,
    old: ContractRecord | None,
    ours: ContractRecord,
    theirs: ContractRecord,
    scratch: Sequence[range],
) -> Side | None:
    """Whose contract it is if only one side, or none, changed more than scratch; None if both did."""
    if differs_in_scratch_only(reader, ours, theirs, scratch):
        return Side.OURS
    if old is not None and differs_in_scratch_only(reader, old, ours, scratch):
        return Side.THEIRS
    if old is not None and differs_in_scratch_only(reader, old, theirs, scratch):
        return Side.OURS
    return None


def _identity(record: ContractRecord) -> tuple[object, ...]:
    return record.bytecode, record.owner, record.memory_kind


def _page(reader: ObjectReader, address: bytes | None) -> bytes:
    return ZERO_PAGE if address is None else bytes(reader.load(Kind.PAGE, address))


def _in_scratch(start: int, left: bytes, right: bytes, scratch: Sequence[range]) -> bool:
    """Whether two versions of the page at `start` are equal outside of the scratch ranges."""
    if not scratch:
        return left == right
    kept_left, kept_right = bytearray(left), bytearray(right)
    for span in scratch:
        low, high = max(span.start - start, 0), min(span.stop - start, PAGE_BYTES)
        if low < high:
            kept_left[low:high] = kept_right[low:high] = bytes(high - low)
    return kept_left == kept_right


def _conflict(reader: ObjectReader, ours: ContractRecord, theirs: ContractRecord) -> ConflictingContract:
    if _identity(ours) != _identity(theirs):
        return ConflictingContract(ours.id, (), "both sides replaced its code or its owner")
    shape = ours.memory_kind.shape
    pages = tuple(index for index, _, _ in tree.diff(reader, shape, ours.pages_root, theirs.pages_root))
    return ConflictingContract(ours.id, pages, "both sides changed it")
