"""The history of a store as the library shows it: commits with what they say, branches and tags."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from piecrust.objects.commit import Commit
from piecrust.objects.errors import UnknownRef
from piecrust.objects.ids import Address, CommitId, NodeHash, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import Symbolic, check_ref_name
from piecrust.objects.store import Store
from piecrust.objects.transaction import ANYTHING, Anything


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """A commit. `generation` and `depth` are 0 without parents; `time` is seconds since 1970, if one was given."""

    id: CommitId
    state_root: StateRoot
    map_root: NodeHash
    parents: tuple[CommitId, ...]
    generation: int
    depth: int
    message: str | None
    author: str | None
    time: int | None
    transcript: Address | None


def commit_info(store: Store, commit: CommitId) -> CommitInfo:
    """What a commit says.

    Raises:
        ObjectNotFound: There is no such commit.
    """
    found: Commit = store.load(Kind.COMMIT, commit)
    return CommitInfo(
        commit,
        found.state_root,
        found.map_root,
        found.parents,
        found.generation,
        found.depth,
        found.message,
        found.author,
        found.time,
        found.transcript,
    )


def first_parents(store: Store, commit: CommitId) -> Iterator[CommitInfo]:
    """A commit and its first parents, newest first."""
    here: CommitId | None = commit
    while here is not None:
        info = commit_info(store, here)
        yield info
        here = info.parents[0] if info.parents else None


class Names(Mapping[str, CommitId]):
    """The branches or the tags of a store: names for commits. A view, always as the store is."""

    def __init__(self, store: Store, prefix: str, resolve: Callable[[CommitId | bytes | str], CommitId]) -> None:
        self._store = store
        self._prefix = prefix
        self._resolve = resolve

    def __getitem__(self, name: str) -> CommitId:
        value = self._refs().get(name)
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._refs())

    def __len__(self) -> int:
        return len(self._refs())

    def create(self, name: str, revision: CommitId | bytes | str) -> CommitId:
        """Gives a commit a new name.

        Raises:
            Conflict: The name is taken.
            InvalidRefName: Nothing may have it.
            NotFound: The revision names no commit.
        """
        return self._set(name, revision, None, "create")

    def move(
        self, name: str, revision: CommitId | bytes | str, *, expected: CommitId | Anything | None = ANYTHING
    ) -> CommitId:
        """Makes a name stand for another commit.

        Raises:
            Conflict: It does not stand for the `expected` one.
            InvalidRefName: Nothing may have this name.
            NotFound: The revision names no commit.
        """
        return self._set(name, revision, expected, "move")

    def delete(self, name: str) -> None:
        """Takes a name away; the commit stays.

        Raises:
            UnknownRef: There is no such name.
            Conflict: It was moved meanwhile.
        """
        ref, old = self._prefix + name, self._refs().get(name)
        if old is None:
            raise UnknownRef(ref)
        transaction = self._store.transaction()
        transaction.set_ref(ref, None, expected=old)
        transaction.publish(Operation("delete", (ref,)))

    def _set(
        self, name: str, revision: CommitId | bytes | str, expected: CommitId | Anything | None, command: str
    ) -> CommitId:
        ref = check_ref_name(self._prefix + name)
        commit = self._resolve(revision)
        transaction = self._store.transaction()
        transaction.set_ref(ref, commit, expected=expected)
        transaction.publish(Operation(command, (ref, commit.hex())))
        return commit

    def _refs(self) -> dict[str, CommitId]:
        self._store.refresh()
        prefix = self._prefix
        return {
            name.removeprefix(prefix): value
            for name, value in sorted(self._store.refs().items())
            if name.startswith(prefix) and not isinstance(value, Symbolic)
        }
