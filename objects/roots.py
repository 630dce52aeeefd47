"""What garbage collection starts from: the commits that live, and those that stay for their descendants' sake.

A commit lives, with its state and its transcript, if

- a ref stands on it: a branch, a tag, a pin, HEAD, the draft;
- it is kept: made through the library and not deleted;
- an operation within the retention moved a ref to it or away from it, so that this can be undone;
- a session stands on it (a lease);
- a commit that lives, or that stays, descends from it.

One that was deleted lives only for a ref or a lease. Otherwise it stays, as an object without a state, if a commit that
lives descends from it; and if none does, it goes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from piecrust.objects.checkpoint import Ledger
from piecrust.objects.errors import ObjectNotFound
from piecrust.objects.graph import CommitNode
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import OperationRecord


@dataclass(slots=True)
class Lineage:
    """Commits that are not garbage."""

    living: set[CommitId] = field(default_factory=set)
    tombstones: set[CommitId] = field(default_factory=set)

    def grow(
        self, firm: Iterable[CommitId], soft: Iterable[CommitId], is_deleted: Callable[[CommitId], bool], graph: Graph
    ) -> list[CommitId]:
        """Take in more roots and their ancestors; the commits that live now and did not before.

        `firm` ones live even if they were deleted, `soft` ones don't. Ancestors that the store doesn't have are passed
        over: what was imported may begin anywhere.
        """
        fresh: list[CommitId] = []
        todo = [(commit, True) for commit in firm] + [(commit, False) for commit in soft if not is_deleted(commit)]
        while todo:
            commit, is_firm = todo.pop()
            if commit in self.living:
                continue
            try:
                parents = graph(commit).parents
            except ObjectNotFound:
                continue
            if is_firm or not is_deleted(commit):
                self.living.add(commit)
                self.tombstones.discard(commit)
                fresh.append(commit)
            elif commit in self.tombstones:
                continue
            else:
                self.tombstones.add(commit)
            todo += [(parent, False) for parent in parents]
        return fresh


Graph = Callable[[CommitId], CommitNode]


def firm_roots(ledger: Ledger, leases: Iterable[CommitId]) -> set[CommitId]:
    """The commits that refs and sessions stand on."""
    return {value for value in ledger.refs.values() if isinstance(value, CommitId)} | set(leases)


def soft_roots(records: Iterable[OperationRecord]) -> set[CommitId]:
    """The commits that operations moved refs to or away from, or said to keep."""
    found: set[CommitId] = set()
    for record in records:
        found.update(record.kept)
        for change in record.ref_changes.values():
            found.update(value for value in change if isinstance(value, CommitId))
    return found
