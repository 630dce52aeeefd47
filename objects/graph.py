"""The commit graph: how commits descend from one another and which state each has, without their other content."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from piecrust.objects.catalog import Catalog
from piecrust.objects.errors import ObjectNotFound
from piecrust.objects.ids import CommitId, StateRoot
from piecrust.objects.kinds import Kind


class CommitNode(NamedTuple):
    """A commit in the graph."""

    parents: tuple[CommitId, ...]
    generation: int  # 1 + the highest of the parents'; 0 without parents
    depth: int  # first parents up to the first commit
    jump: CommitId | None  # an ancestor on the chain of first parents, for long ways
    state_root: StateRoot


class CommitGraph:
    """Nodes of the commits that were asked for, and the commits of each state root."""

    def __init__(self, catalog: Catalog, load: Callable[[Kind, bytes], Any]) -> None:
        """Over a catalog that lists commits, and what loads them."""
        self._catalog, self._load = catalog, load
        self._nodes: dict[bytes, CommitNode] = {}
        self._by_root: dict[bytes, list[CommitId]] = {}
        self._rooted: set[bytes] = set()  # the commits that are in `_by_root`

    def node(self, commit: bytes) -> CommitNode:
        """A commit's node.

        Raises:
            ObjectNotFound: there is no such commit.
        """
        node = self._nodes.get(commit)
        if node is None:
            value = self._load(Kind.COMMIT, commit)
            node = CommitNode(
                tuple(CommitId(p) for p in value.parents),
                value.generation,
                value.depth,
                None if value.jump is None else CommitId(value.jump),
                StateRoot(value.state_root),
            )
            self._nodes[bytes(commit)] = node
        return node

    def with_root(self, root: bytes) -> list[CommitId]:
        """The commits whose state has this root, deleted ones too."""
        for address, _ in self._catalog.addresses(Kind.COMMIT):
            if address not in self._rooted:
                commit = CommitId(address)
                self._by_root.setdefault(self.node(commit).state_root, []).append(commit)
                self._rooted.add(address)
        return list(self._by_root.get(root, ()))

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
