"""Where a person stands in a store: HEAD, the working state behind it, and the way back through the operations.

- `HEAD` is a branch (symbolic; the branch may not exist yet) or a commit. Without a ref `HEAD` it is the branch `main`.
- The *working state* is the commit that the ref `draft` names; its parent is HEAD's commit. It is replaced by every
  deploy and call, and gone after a commit.
- Everything that is done is one operation with its ref changes in one frame, so `undo` is the inverse of an
  operation, and itself an operation. What an undone operation had made stays in the store until garbage is collected.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from enum import Enum

from piecrust.objects.errors import Conflict, ObjectNotFound, UnknownRevision
from piecrust.objects.ids import ZERO, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation, OperationRecord
from piecrust.objects.reach import reachable
from piecrust.objects.refs import BRANCHES, DEFAULT_BRANCH, DEFAULT_HEAD, DRAFT, HEAD, PINS, Symbolic
from piecrust.objects.store import Store
from piecrust.objects.transaction import Transaction
from piecrust.vm.errors import NothingToRedo, NothingToUndo, UncommittedChanges

UNDO = "undo"
REDO = "redo"


@dataclass(frozen=True, slots=True)
class Head:
    """What HEAD names: `branch` is None where it is a commit itself, `commit` is None on a branch without commits."""

    branch: str | None
    commit: CommitId | None

    @property
    def ref(self) -> str:
        """The ref that a commit moves."""
        return HEAD if self.branch is None else BRANCHES + self.branch


class Leaving(Enum):
    """What happens to a working state that HEAD moves away from."""

    REFUSE = "refuse"
    DISCARD = "discard"
    KEEP = "keep"  # as a commit without a name, which lives until it is deleted


class Workspace:
    """HEAD and the working state of a store. Every method looks at the refs anew."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def head(self) -> Head:
        """Where HEAD is."""
        refs = self._store.refs()
        value = refs.get(HEAD, DEFAULT_HEAD)
        if isinstance(value, CommitId):
            return Head(None, value)
        at = refs.get(value.name)
        return Head(value.name.removeprefix(BRANCHES), at if isinstance(at, CommitId) else None)

    def draft(self) -> CommitId | None:
        """The working state's commit, None if nothing was done since HEAD."""
        value = self._store.refs().get(DRAFT)
        return value if isinstance(value, CommitId) else None

    def start(self, branch: str = DEFAULT_BRANCH) -> None:
        """Put HEAD on a branch that has no commits yet (what `init` does)."""
        transaction = self._store.transaction()
        transaction.set_ref(HEAD, Symbolic(BRANCHES + branch), expected=None)
        transaction.publish(Operation("init", (branch,)))

    def move(
        self,
        target: Symbolic | CommitId,
        operation: Operation,
        *,
        leaving: Leaving = Leaving.REFUSE,
        create: CommitId | None = None,
    ) -> CommitId | None:
        """Move HEAD to a branch or a commit, and open an empty working state there.

        Args:
            target: where HEAD goes.
            operation: what the operation log says.
            leaving: what becomes of the working state.
            create: where the branch `target` is to begin; it must not exist.

        Returns:
            The commit that the working state was kept as, if it was.

        Raises:
            UncommittedChanges: There is a working state, and `leaving` is REFUSE.
            UnknownRevision: The commit is here without its state.
            Conflict: Somebody else moved HEAD or the working state meanwhile, or the branch to create exists.
        """
        if isinstance(target, CommitId):
            self._check_state(target)
        transaction = self._store.transaction()
        kept = self._leave(transaction, leaving)
        if create is not None and isinstance(target, Symbolic):
            transaction.set_ref(target.name, create, expected=None)
        transaction.set_ref(HEAD, target, expected=self._store.refs().get(HEAD))
        transaction.publish(operation)
        return kept

    def rename_head(self, branch: Symbolic, commit: CommitId | None, operation: Operation) -> None:
        """Go on on another, new branch, with the working state as it is.

        Raises:
            Conflict: The branch exists, or somebody else moved HEAD.
        """
        transaction = self._store.transaction()
        if commit is not None:
            transaction.set_ref(branch.name, commit, expected=None)
        transaction.set_ref(HEAD, branch, expected=self._store.refs().get(HEAD))
        transaction.publish(operation)

    def advance(self, transaction: Transaction, commit: CommitId) -> None:
        """Stage that HEAD's branch (or HEAD itself) goes on to `commit`, from where it is.

        Raises:
            UncommittedChanges: There is a working state.
        """
        self._leave(transaction, Leaving.REFUSE)
        head = self.head()
        transaction.set_ref(head.ref, commit, expected=head.commit)

    def undo(self) -> OperationRecord:
        """Take back the last operation that is in effect; returns it.

        Raises:
            NothingToUndo: There is none, or it can not be taken back.
            Conflict: A ref is not where that operation had put it; or what it took away was collected.
        """
        record = _last_in_effect(self._store.operations())
        if record is None:
            raise NothingToUndo
        self._apply(record, Operation(UNDO, (str(record.sequence),)), backwards=True)
        return record

    def redo(self) -> OperationRecord:
        """Do again what the last `undo` took back; returns it.

        Raises:
            NothingToRedo: The last operation that is in effect was no `undo`.
            Conflict: A ref is not where it was before that operation; or what it had brought was collected.
        """
        sequence = _last_undone(self._store.operations())
        record = next((r for r in self._store.operations() if r.sequence == sequence), None)
        if record is None:
            raise NothingToRedo
        self._apply(record, Operation(REDO, (str(record.sequence),)), backwards=False)
        return record

    def _check_state(self, commit: CommitId) -> None:
        if self._store.is_deleted(commit):
            root = self._store.load(Kind.COMMIT, commit).map_root
            if root != ZERO and not self._store.contains(Kind.NODE, root):
                error = UnknownRevision(commit.hex())
                error.add_note("its state is not here: it was deleted, or lies beyond the depth of a shallow clone")
                raise error

    def _leave(self, transaction: Transaction, leaving: Leaving) -> CommitId | None:
        draft = self.draft()
        if draft is None:
            return None
        if leaving is Leaving.REFUSE:
            raise UncommittedChanges(draft)
        if leaving is Leaving.KEEP:
            transaction.keep(draft)
        transaction.set_ref(DRAFT, None, expected=draft)
        return draft if leaving is Leaving.KEEP else None

    def _apply(self, record: OperationRecord, operation: Operation, *, backwards: bool) -> None:
        transaction = self._store.transaction()
        for name, change in record.ref_changes.items():
            before, after = (change.after, change.before) if backwards else (change.before, change.after)
            transaction.set_ref(name, after, expected=before)
        again = record.deleted if backwards else record.kept
        whole = self._whole(again)
        # Commits that came without states were never kept: they are there for the sake of others.
        if len(whole) < len(again) and not (backwards and (record.kept or record.ref_changes)):
            gone = next(commit for commit in again if commit not in whole)
            raise Conflict(f"commit {gone.hex()}", "its state", "nothing: it was collected")
        for commit in whole:
            transaction.keep(commit)
        for commit in record.kept if backwards else record.deleted:
            transaction.delete(commit)
        transaction.publish(operation)

    def _whole(self, commits: Collection[CommitId]) -> list[CommitId]:
        """Those of some commits that are there with all that belongs to them."""
        whole, seen = list[CommitId](), set[tuple[Kind, bytes]]()
        for commit in commits:
            try:
                is_whole = all(self._store.contains(*item) for item in reachable(self._store, commit, seen))
            except ObjectNotFound:
                is_whole = False
            if is_whole:
                whole.append(commit)
            else:
                seen = set()  # what was missed was seen, too
        return whole


def _changes_something(record: OperationRecord) -> bool:
    """Whether there is anything to take back. That a commit was finalized never is."""
    refs = [name for name in record.ref_changes if not name.startswith(PINS)]
    return bool(refs or record.kept or record.deleted)


def _last_in_effect(newest_first: Iterator[OperationRecord]) -> OperationRecord | None:
    """The newest operation that was not taken back, `undo` and `redo` themselves not counted."""
    undone = 0
    for record in newest_first:
        if record.operation.command == UNDO:
            undone += 1
        elif record.operation.command == REDO:
            undone -= 1
        elif not _changes_something(record):
            continue
        elif undone == 0:
            return record
        else:
            undone -= 1
    return None


def _last_undone(newest_first: Iterator[OperationRecord]) -> int | None:
    """The sequence number of what the last `undo` that is in effect took back."""
    redone = 0
    for record in newest_first:
        if record.operation.command == REDO:
            redone += 1
        elif record.operation.command == UNDO:
            if redone == 0:
                return int(record.operation.arguments[0])
            redone -= 1
        elif _changes_something(record):
            return None
    return None
