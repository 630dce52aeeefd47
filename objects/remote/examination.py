"""Whether commits of a remote are what they say, before a store takes them in.

Each new commit is followed to all that it needs: its place in history, every object of its state and transcript, and
that its roots follow from its records. What is missing here is asked of the remote.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import partial
from typing import Final

from piecrust.objects.bundle_writer import in_order, origins
from piecrust.objects.commit import Commit, misplaced
from piecrust.objects.commit_check import disagreement
from piecrust.objects.errors import (
    ContractPositionCollision,
    CorruptObject,
    CorruptRemote,
    InvalidFormat,
    ObjectNotFound,
)
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.progress import Progress
from piecrust.objects.remote.added import Item, added_objects
from piecrust.objects.remote.arrival import Arrival
from piecrust.objects.store import Store

_BATCH: Final = 128  # pages that are asked for at once
_REST_COMMITS: Final = 512
_CHECKED_BY_ADDRESS: Final = frozenset({Kind.PAGE, Kind.BYTECODE})


class Examination:
    """What was found of the commits that came."""

    def __init__(self, store: Store, arrival: Arrival, name: str, set_aside: Collection[bytes]) -> None:
        """`name` is what errors call the remote; `set_aside` are commits of a fetch that was cut off."""
        self._set_aside = set_aside
        self.whole: set[CommitId] = set()  # that are there with their states
        self.bare: set[CommitId] = set()  # that are there for their descendants' sake
        self._store, self._arrival, self._name = store, arrival, name
        self._seen: set[Item] = set()

    def is_here(self, commit: CommitId) -> bool:
        """Whether the store has the commit with its state."""
        return self._store.contains(Kind.COMMIT, commit) and not self._store.is_deleted(commit)

    def new_commits(self, tips: Collection[CommitId]) -> list[tuple[CommitId, Commit]]:
        """What `tips` come from, and what that was restored from, up to commits that are here; parents first.

        A commit that is here without its state, for it was deleted or lies beyond a clone's depth, stays as it is.

        Raises:
            CorruptRemote: one of them is missing, or not where its parents say.
        """
        found: dict[CommitId, Commit] = {}
        todo = list(tips)
        while todo:
            here = todo.pop()
            if here in found or self.is_here(here) or (here not in tips and self._stays_bare(here)):
                continue
            found[here] = self.commit(here)
            todo += self._origins(found[here])
        ordered = in_order(found)
        for identity, commit in ordered:
            self.check_place(identity, commit)
        return ordered

    def commit(self, identity: CommitId) -> Commit:
        """A commit that must be there."""
        try:
            commit: Commit = self._arrival.load(Kind.COMMIT, identity)
        except ObjectNotFound as error:
            raise self._fault(identity, "it is missing") from error
        return commit

    def check_place(self, identity: CommitId, commit: Commit) -> None:
        """That a commit's place in history follows from its parents'."""
        try:
            reason = misplaced(partial(self._arrival.load, Kind.COMMIT), commit)
        except ObjectNotFound as error:
            raise self._fault(identity, f"a commit that it came from is missing: {error}") from error
        if reason is not None:
            raise self._fault(identity, f"its place in history is wrong: {reason}")

    def examine(self, commits: list[tuple[CommitId, Commit]], tips: Collection[CommitId], progress: Progress) -> None:
        """Follow each commit to all that it needs; parents come first.

        Raises:
            CorruptRemote: something is missing, or does not fit.
        """
        for done, (identity, commit) in enumerate(commits):
            progress("check", done, len(commits))
            if done % _REST_COMMITS == 0:
                self._arrival.rest()
            try:
                self._follow(identity, commit)
            except ObjectNotFound as error:
                if identity in tips or not self._arrival.remote.is_without_state(identity):
                    raise self._fault(identity, f"it is not complete: {error}") from error
                self.bare.add(identity)
            else:
                self.whole.add(identity)
        progress("check", len(commits), len(commits))

    def _stays_bare(self, commit: CommitId) -> bool:
        return self._store.contains(Kind.COMMIT, commit) and commit not in self._set_aside

    def _follow(self, identity: CommitId, commit: Commit) -> None:
        base = next((parent for parent in commit.parents if parent in self.whole or self.is_here(parent)), None)
        before = None if base is None else self.commit(base)
        batch: list[Item] = []
        try:
            for kind, address in added_objects(self._arrival, commit, before):
                if kind in _CHECKED_BY_ADDRESS and (kind, address) not in self._seen:
                    self._seen.add((kind, bytes(address)))
                    batch.append((kind, bytes(address)))
                    if len(batch) >= _BATCH:
                        self._arrival.need(batch)
                        batch = []
            self._arrival.need(batch)
            reason = disagreement(self._arrival, commit, before)
        except (CorruptObject, InvalidFormat, ContractPositionCollision) as error:
            reason = str(error)
        if reason is not None:
            raise self._fault(identity, reason)

    def _origins(self, commit: Commit) -> list[CommitId]:
        try:
            return list(origins(self._arrival, commit))
        except ObjectNotFound:
            return list(commit.parents)  # its transcript is gone with its state, or this will be found out
        except InvalidFormat as error:
            raise CorruptRemote(self._name, f"transcript {(commit.transcript or b'').hex()}", str(error)) from error

    def _fault(self, commit: CommitId, reason: str) -> CorruptRemote:
        return CorruptRemote(self._name, f"commit {commit.hex()}", reason)
