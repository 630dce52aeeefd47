"""Questions about who descends from whom, answered from the commit graph alone.

Generations make these short: a commit's is greater than those of its parents, so a walk by descending generation meets
every commit before its parents, and may stop as soon as nothing interesting is left.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Protocol

from piecrust.objects.ids import CommitId


class Node(Protocol):
    """What is asked of a commit."""

    @property
    def parents(self) -> Sequence[CommitId]:
        """The commits that it was made from, the first one being the line that it continues."""

    @property
    def generation(self) -> int:
        """Greater than that of every parent."""


Graph = Callable[[CommitId], Node]


class _Queue:
    """Commits by descending generation, ties by id, each once."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._heap: list[tuple[int, CommitId]] = []
        self._seen: set[CommitId] = set()

    def push(self, commit: CommitId) -> None:
        if commit not in self._seen:
            self._seen.add(commit)
            heapq.heappush(self._heap, (-self._graph(commit).generation, commit))

    def pop(self) -> CommitId:
        return heapq.heappop(self._heap)[1]

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[CommitId]:
        return (commit for _, commit in self._heap)


def walk(graph: Graph, tips: Iterable[CommitId], *, first_parent: bool = False) -> Iterator[CommitId]:
    """`tips` and all their ancestors, every commit before its parents.

    With `first_parent` only the line of first parents is followed.
    """
    queue = _Queue(graph)
    for tip in tips:
        queue.push(tip)
    while queue:
        commit = queue.pop()
        yield commit
        parents = graph(commit).parents
        for parent in parents[:1] if first_parent else parents:
            queue.push(parent)


def walk_between(graph: Graph, tips: Collection[CommitId], excluded: Collection[CommitId]) -> Iterator[CommitId]:
    """What is reachable from `tips` but not from `excluded`: the range `excluded..tip`, children before parents.

    Cost: the commits down to the lowest generation at which the two sides still differ.
    """
    queue = _Queue(graph)
    hidden = set(excluded)
    for commit in (*tips, *excluded):
        queue.push(commit)
    wanted = {commit for commit in tips if commit not in hidden}
    while wanted:
        commit = queue.pop()
        parents = graph(commit).parents
        if commit in hidden:
            hidden.update(parents)
            wanted.difference_update(parents)
        else:
            wanted.discard(commit)
            yield commit
            wanted.update(parent for parent in parents if parent not in hidden)
        for parent in parents:
            queue.push(parent)


def merge_base(graph: Graph, ours: CommitId, theirs: CommitId) -> CommitId | None:
    """The common ancestor to compare both sides with; None if they have nothing in common.

    Of several best ones (after criss-cross merges) it is the one of highest generation, then of the lowest id, so
    that it is the same on every machine.
    """
    sides: dict[CommitId, int] = {}
    queue = _Queue(graph)
    for commit, side in ((ours, 1), (theirs, 2)):
        sides[commit] = sides.get(commit, 0) | side
        queue.push(commit)
    while queue:
        commit = queue.pop()
        if sides[commit] == 3:
            return commit
        for parent in graph(commit).parents:
            sides[parent] = sides.get(parent, 0) | sides[commit]
            queue.push(parent)
    return None


def suspects(graph: Graph, good: Collection[CommitId], bad: CommitId) -> list[CommitId]:
    """The commits that may have brought a change which `bad` has and none of `good` has; the last one is `bad`."""
    return list(walk_between(graph, [bad], good))[::-1]


def halfway(candidates: Sequence[CommitId]) -> CommitId | None:
    """The suspect to look at next; None if `bad`, the last one, is the only one left.

    On a line of commits it halves what is left. Across merges it is the middle by generation, which may need a few
    steps more than the best choice, and no look at the whole graph.
    """
    return candidates[(len(candidates) - 1) // 2] if len(candidates) > 1 else None
