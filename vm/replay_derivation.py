"""Checks commits that no session made: what they were derived from must give their state."""

from __future__ import annotations

from piecrust.objects import contract_map
from piecrust.objects.access import Overlay
from piecrust.objects.ancestry import merge_base
from piecrust.objects.commit import Commit
from piecrust.objects.errors import ContractPositionCollision, ObjectNotFound
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.rebuild import as_it_is
from piecrust.objects.state import EMPTY_STATE, State, write_state
from piecrust.objects.transcript import Import, Merge, Restore
from piecrust.vm.errors import ContractDoesNotExist, MergeConflict
from piecrust.vm.merge import plan
from piecrust.vm.original import ORIGINAL_FORMAT
from piecrust.vm.remote_history import History
from piecrust.vm.restore import restored_state
from piecrust.vm.verdict import Derived, Divergence, Holds, Verdict


def derived_state(
    store: History, identity: CommitId, commit: Commit, base: State, told: Merge | Restore | Import | None
) -> Verdict:
    """The verdict on a commit that is a merge, a restore or an import, or does nothing; `base` is its parent's state.

    Raises:
        ObjectNotFound: a commit that it came of is not here, or without its state.
    """
    match told:
        case None:
            return _verdict(identity, Derived.NOTHING, commit.state, base)
        case Import():
            return _imported(store, identity, commit, base, told)
        case Restore(source, contracts):
            try:
                there: Commit = store.load(Kind.COMMIT, source)
                state = restored_state(Overlay(store), base, there.state, contracts)
            except ObjectNotFound:
                reason = f"what it was restored from, {source.hex()}, is not here"
                return Verdict(identity, Derived.RESTORE, Holds.UNKNOWN, reason=reason)
            except ContractDoesNotExist as error:
                return _no(identity, Derived.RESTORE, Divergence("history", "a restored contract", str(error)))
            return _verdict(identity, Derived.RESTORE, commit.state, state)
        case Merge():
            return _merged(store, identity, commit, told)


def _merged(store: History, identity: CommitId, commit: Commit, told: Merge) -> Verdict:
    if commit.parents != (told.ours, told.theirs):
        return _no(identity, Derived.MERGE, Divergence("history", "the merged commits as parents", "others"))
    if told.base != merge_base(store.graph, told.ours, told.theirs):
        return _no(identity, Derived.MERGE, Divergence("history", "their common ancestor as base", "another"))
    overlay = Overlay(store)
    old, ours, theirs = (_state(store, side) for side in (told.base, told.ours, told.theirs))
    try:
        changes, settled = plan(overlay, old, ours, theirs, told.choices)
        state = write_state(overlay, ours, changes)
    except (MergeConflict, ContractPositionCollision) as error:
        return _no(identity, Derived.MERGE, Divergence("history", "every conflict settled", str(error)))
    if settled != told.choices:
        return _no(identity, Derived.MERGE, Divergence("history", "choices for conflicts alone", "others, too"))
    return _verdict(identity, Derived.MERGE, commit.state, state)


def _imported(store: History, identity: CommitId, commit: Commit, base: State, told: Import) -> Verdict:
    """Where an import came from is outside of the store; that it brought what it names, and no more, is checked."""
    there = {record.id: record for record in contract_map.items(store, commit.map_root)}
    named = told.contracts or there.keys()
    missing = [contract for contract in sorted(named) if contract not in there]
    if missing:
        return _no(identity, Derived.IMPORT, Divergence("state", "every imported contract", f"no {missing[0].hex()}"))
    state = write_state(Overlay(store), base, [as_it_is(there[contract]) for contract in named])
    if told.contracts and state != commit.state:
        return _verdict(identity, Derived.IMPORT, commit.state, state)
    if told.format == ORIGINAL_FORMAT and told.source != commit.state_root:
        return _no(identity, Derived.IMPORT, Divergence("state", told.source.hex(), commit.state_root.hex()))
    reason = f"what it was imported from ({told.format} {told.source.hex()}) is outside of the store"
    return Verdict(identity, Derived.IMPORT, Holds.UNKNOWN, reason=reason)


def _verdict(identity: CommitId, derived: Derived, expected: State, actual: State) -> Verdict:
    if expected == actual:
        return Verdict(identity, derived, Holds.YES)
    return _no(identity, derived, Divergence("state", expected.state_root.hex(), actual.state_root.hex()))


def _no(identity: CommitId, derived: Derived, divergence: Divergence) -> Verdict:
    return Verdict(identity, derived, Holds.NO, divergence=divergence)


def _state(store: History, commit: CommitId | None) -> State:
    if commit is None:
        return EMPTY_STATE
    found: Commit = store.load(Kind.COMMIT, commit)
    return found.state
