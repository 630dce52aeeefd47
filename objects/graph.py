"""The commit graph: how commits descend from one another, and which of them have a state root.

Tables answer for all but the newest commits, so that histories and bases of merges are found without reading commits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from piecrust.objects.catalog import Catalog
from piecrust.objects.errors import ObjectNotFound
from piecrust.objects.ids import CommitId, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.table import GENERATION_UNKNOWN, CommitRow

_NODES_MAX: Final = 1 << 17


class CommitNode(NamedTuple):
    """A commit in the graph."""

    parents: tuple[CommitId, ...]
    generation: int  # 1 + the highest of the parents'; 0 without parents
    depth: int  # first parents up to the first commit
    jump: CommitId | None  # an ancestor on the chain of first parents, for long ways


class CommitGraph:
    """Nodes of commits, by tables where they know them, by the commits themselves where not."""

    def __init__(self, catalog: Catalog, load: Callable[[Kind, bytes], Any]) -> None:
        """Over a catalog that lists commits, and what loads them."""
        self._catalog, self._load = catalog, load
        self._nodes: dict[bytes, CommitNode] = {}

    def node(self, commit: bytes) -> CommitNode:
        """A commit's node.

        Raises:
            ObjectNotFound: there is no such commit.
        """
        node = self._nodes.get(commit)
        if node is None:
            row = self._catalog.commit_row(commit)
            node = (None if row is None else self._of_row(row)) or node_of(self._load(Kind.COMMIT, commit))
            if len(self._nodes) >= _NODES_MAX:
                self._nodes.clear()
            self._nodes[bytes(commit)] = node
        return node

    def root_of(self, commit: bytes) -> StateRoot:
        """The state root of a commit; `ObjectNotFound` if there is no such commit."""
        return StateRoot(self._load(Kind.COMMIT, commit).state_root)

    def with_root(self, root: bytes) -> list[CommitId]:
        """The commits whose state has this root, deleted ones too, as far as they are still there."""
        candidates = [*self._catalog.commits_by_root(root), *list(self._catalog.fresh[Kind.COMMIT])]
        return [CommitId(c) for c in dict.fromkeys(candidates) if self._load(Kind.COMMIT, c).state_root == root]

    def is_ancestor(self, ancestor: bytes, commit: bytes) -> bool:
        """Whether `commit` descends from `ancestor`, or is it."""
        try:
            floor = self.node(ancestor).generation
        except ObjectNotFound:
            return False
        todo, seen = [CommitId(commit)], {bytes(commit)}
        while todo:
            here = todo.pop()
            if here == ancestor:
                return True
            node = self.node(here)
            if node.generation > floor:
                fresh = [parent for parent in node.parents if parent not in seen]
                seen.update(fresh)
                todo += fresh
        return False

    def _of_row(self, row: CommitRow) -> CommitNode | None:
        """The node that a table's row tells of; None if it doesn't tell everything."""
        if row.parents is None or GENERATION_UNKNOWN in (row.generation, row.depth):
            return None
        parents = [self._by_key(key) for key in row.parents]
        jump = self._by_key(row.jump) if parents else None
        if None in parents or (parents and jump is None):
            return None
        return CommitNode(tuple(filter(None, parents)), row.generation, row.depth, jump)

    def _by_key(self, key: int) -> CommitId | None:
        """The one commit of tables whose id begins with these 8 bytes."""
        found = set(self._catalog.commits_by_key(key))
        return CommitId(found.pop()) if len(found) == 1 else None


def node_of(commit: Any) -> CommitNode:
    """The node of a commit object."""
    jump = None if commit.jump is None else CommitId(commit.jump)
    return CommitNode(tuple(map(CommitId, commit.parents)), commit.generation, commit.depth, jump)
