"""What becomes of a session's changes: a root, a commit, a draft, or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from piecrust.objects.access import Overlay
from piecrust.objects.commit import commit_id, new_commit
from piecrust.objects.ids import CommitId, ContractId, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import DRAFT, RefValue
from piecrust.objects.state import State, write_state
from piecrust.objects.store import Store
from piecrust.objects.transaction import Transaction
from piecrust.vm.frames import Execution
from piecrust.vm.openings import PageOpening, open_pages
from piecrust.vm.recorder import Recorder


@dataclass(frozen=True, slots=True)
class Base:
    """What a session stands on.

    `commit` is None for the empty state. `ref` is what a commit moves, from `ref_value` (None: it is not there).
    `keeps_draft` says that the session is the store's draft, and `draft` which commit holds it so far.
    """

    commit: CommitId | None
    state: State
    ref: str | None = None
    ref_value: CommitId | None = None
    keeps_draft: bool = False
    draft: CommitId | None = None


class Publication:
    """Turns the changes of one session into objects of its store."""

    def __init__(
        self, store: Store, base: Base, execution: Execution, recorder: Recorder, release: Callable[[], None]
    ) -> None:
        self.base = base
        self._store = store
        self._execution = execution
        self._recorder = recorder
        self._release = release

    def root(self) -> StateRoot:
        """The state root that a commit would have."""
        return self._write(Overlay(self._store)).state_root

    def pages(self, contract: ContractId) -> Iterator[tuple[int, bytes, PageOpening]]:
        """The contract's pages in the state that a commit would have."""
        overlay = Overlay(self._store)
        return open_pages(overlay, self._write(overlay), contract)

    def commit(
        self,
        message: str | None,
        author: str | None,
        time: int | None,
        operation: Operation | None,
        refs: Mapping[str, RefValue | None],
        *,
        allow_empty: bool,
    ) -> CommitId:
        """See `Session.commit`."""
        base, transaction = self.base, self._store.transaction()
        state = self._write(transaction)
        empty = state == base.state and message is None and author is None and time is None
        if empty and base.commit is not None and not allow_empty:
            commit, transaction = base.commit, self._store.transaction()
        else:
            commit = self._put_commit(transaction, state, message, author, time)
            transaction.keep(commit)
            if base.ref is not None:
                transaction.set_ref(base.ref, commit, expected=base.ref_value)
        if base.draft is not None:
            transaction.set_ref(DRAFT, None, expected=base.draft)
        for name, value in refs.items():
            transaction.set_ref(name, value)
        if commit != base.commit or transaction.ref_updates:
            transaction.publish(operation or Operation("commit"))
        self._close(transaction, state)
        return commit

    def save_draft(self, operation: Operation | None, refs: Mapping[str, RefValue | None]) -> CommitId:
        """See `Session.save_draft`."""
        transaction = self._store.transaction()
        draft = self._put_commit(transaction, self._write(transaction))
        transaction.set_ref(DRAFT, draft, expected=self.base.draft)
        for name, value in refs.items():
            transaction.set_ref(name, value)
        transaction.publish(operation or Operation("draft"))
        self.base = replace(self.base, keeps_draft=True, draft=draft)
        return draft

    def rollback(self) -> None:
        """Forgets everything since the base."""
        execution = self._execution
        execution.abandon()
        execution.contracts.reset()
        execution.events = []
        execution.debug_messages = []
        execution.metadata.clear()
        execution.metadata.update(self._recorder.metadata)
        self._recorder.reset()

    def close(self) -> None:
        """Gives up everything that the session holds."""
        self._execution.abandon()
        if self._execution.torn:
            self._execution.contracts.discard()
        else:
            self._execution.contracts.close()
        self._release()

    def _write(self, writer: Overlay) -> State:
        return write_state(writer, self.base.state, self._execution.contracts.changes())

    def _put_commit(
        self,
        transaction: Transaction,
        state: State,
        message: str | None = None,
        author: str | None = None,
        time: int | None = None,
    ) -> CommitId:
        base = self.base.commit
        commit = new_commit(
            transaction,
            state,
            () if base is None else (base,),
            self._recorder.write(transaction),
            message=message,
            author=author,
            time=time,
        )
        address = commit_id(commit)
        transaction.put(Kind.COMMIT, address, commit)
        return address

    def _close(self, transaction: Transaction, state: State) -> None:
        self._execution.abandon()
        self._execution.contracts.close(transaction, state)
        self._release()
