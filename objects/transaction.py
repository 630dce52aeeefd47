"""Transactions: what is to be published together, objects and refs and the record of who asked for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from piecrust.objects.access import Overlay, Staged
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import RefValue, check_ref_name

if TYPE_CHECKING:
    from piecrust.objects.store import Store


class Anything:
    """The type of `ANYTHING`."""


ANYTHING: Final = Anything()  # wherever a ref is, it may be moved


class RefUpdate(NamedTuple):
    """Where a ref goes (None: away), and where it must be until then (None: nowhere)."""

    value: RefValue | None
    expected: RefValue | Anything | None


class Transaction(Overlay):
    """Objects, refs and kept commits that become durable and visible together, or not at all.

    For one thread. Nothing is encoded or written before `publish`.
    """

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.generation = store.generation
        self.assumed: dict[tuple[Kind, bytes], Staged] = {}  # what the store had when it was put here
        self.ahead_since: int | None = None  # the generation of the store when others of its objects were published
        self.ref_updates: dict[str, RefUpdate] = {}
        self.kept: list[CommitId] = []
        self.deleted: list[CommitId] = []
        self._store = store

    def put(
        self, kind: Kind, address: bytes, value: Any, /, *, base: bytes | None = None, hint: int | None = None
    ) -> None:
        """Stage an object, unless the store has it."""
        if address in self._staged[kind]:
            return
        if self._store.contains(kind, address):
            # If garbage is collected before this is published, the object may be gone by then.
            self.assumed[kind, address] = Staged(value, base, hint)
        else:
            self._staged[kind][address] = Staged(value, base, hint)

    def put_bare(self, commit: CommitId, value: Any) -> None:
        """Stage a commit without its state, for its descendants' sake: as one that was deleted and collected."""
        if not self.contains(Kind.COMMIT, commit):
            self._staged[Kind.COMMIT][commit] = Staged(value, None, None, bare=True)

    def set_ref(self, name: str, value: RefValue | None, *, expected: RefValue | Anything | None = ANYTHING) -> None:
        """Move a ref when this is published, or take it away; `Conflict` then if it isn't where it was expected.

        Raises:
            InvalidRefName: no ref may have this name.
        """
        self.ref_updates[check_ref_name(name)] = RefUpdate(value, expected)

    def keep(self, commit: CommitId) -> None:
        """Keep a commit until it is deleted, whether or not a ref leads to it."""
        self.kept.append(commit)

    def delete(self, commit: CommitId) -> None:
        """Stop keeping a commit; if others descend from it, it stays as a tombstone, without its state.

        `publish` raises `CommitInUse` if a ref stands on it, `CommitPinned` if a finalized commit is it or descends
        from it.
        """
        self.deleted.append(commit)

    def publish(self, operation: Operation) -> None:
        """Make all of it durable and visible; when this returns it survives a loss of power (a batch: when it ends).

        Raises:
            Conflict: a ref was moved by somebody else, or something that this builds on is gone, or may be.
            CommitInUse, CommitPinned: a commit can't be deleted.
            StoreFull, StoreLocked, StoreIOError, CorruptStore, StoreClosed, StoreReadOnly: nothing was published.
        """
        self._store.publish(self, operation)
