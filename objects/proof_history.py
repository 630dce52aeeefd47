"""Makes proofs about history: of ancestry, and of what differs between two commits."""

from __future__ import annotations

from functools import partial

from piecrust.objects.access import ObjectReader
from piecrust.objects.commit import Commit, way_back
from piecrust.objects.errors import NotProvable
from piecrust.objects.ids import ZERO, CommitId
from piecrust.objects.kinds import CONTENT_HASH, Kind
from piecrust.objects.proof import encoded
from piecrust.objects.record import ContractRecord
from piecrust.objects.shown import show_both, show_difference
from piecrust.objects.tree import CONTRACTS
from piecrust.objects.verifier.encoding import encode
from piecrust.objects.verifier.verify import ANCESTRY, DIFFERENCE, MAGIC, VERSION


def prove_ancestry(reader: ObjectReader, ancestor: CommitId, descendant: CommitId) -> bytes:
    """That one commit comes before another: the links of some 2 log2(n) commits between them.

    Raises:
        NotProvable: it doesn't.
    """
    way = _way(reader, descendant, ancestor)
    if way is None or len(way) < 2:
        raise NotProvable(f"{ancestor} is an ancestor of {descendant}", "it is not")
    commits: list[Commit] = [reader.load(Kind.COMMIT, commit) for commit in way]
    links = [(*commit.place(), CONTENT_HASH(encode(commit.content()))) for commit in commits]
    return encoded((MAGIC, VERSION, ANCESTRY, links))


def prove_difference(reader: ObjectReader, old: CommitId, new: CommitId) -> bytes:
    """In exactly which contracts and pages two commits differ; proof grows with what does."""
    before: Commit = reader.load(Kind.COMMIT, old)
    after: Commit = reader.load(Kind.COMMIT, new)
    tree, changes = show_difference(reader, CONTRACTS, before.map_root, after.map_root)
    entries, positions = [], set[int]()
    for _, was, now in changes:
        old_record = None if was is None else reader.load(Kind.RECORD, was)
        new_record = None if now is None else reader.load(Kind.RECORD, now)
        memories = [_page_difference(reader, a, b) for a, b in _sides(old_record, new_record)]
        entries.append(
            (
                None if old_record is None else old_record.fields(),
                None if new_record is None else new_record.fields(),
                [memory for memory in memories if memory is not None],
            )
        )
        positions.update([record.position for record in (old_record, new_record) if record is not None])
    anchors = [(*commit.place(), commit.content()) for commit in (before, after)]
    state_tree = show_both(reader, CONTRACTS, before.state_root, after.state_root, positions)
    return encoded((MAGIC, VERSION, DIFFERENCE, *anchors, tree, state_tree, entries))


def _way(reader: ObjectReader, start: CommitId, goal: CommitId) -> list[CommitId] | None:
    """Commits from one to an ancestor, each naming the next: by jumps along first parents, else through merges."""
    place_of = partial(reader.load, Kind.COMMIT)
    target: Commit = place_of(goal)
    todo, seen = [(start, [start])], set[CommitId]()
    while todo:
        here, path = todo.pop()
        if place_of(here).depth >= target.depth:
            steps = list(way_back(place_of, here, target.depth))
            if (steps or [here])[-1] == goal:
                return path + steps
        commit, value = here, place_of(here)
        while commit not in seen and value.generation > target.generation:
            seen.add(commit)
            line = list(way_back(place_of, here, value.depth)) if len(value.parents) > 1 else []
            todo += [(parent, [*path, *line, parent]) for parent in value.parents[1:]]
            commit = value.parents[0]
            value = place_of(commit)
    return None


def _sides(
    old: ContractRecord | None, new: ContractRecord | None
) -> list[tuple[ContractRecord | None, ContractRecord | None]]:
    """The pairs of page trees that are compared: of one contract, or each against an empty one."""
    if old is not None and new is not None and (old.id, old.memory_kind) == (new.id, new.memory_kind):
        return [(old, new)]
    return [pair for pair in ((old, None), (None, new)) if pair != (None, None)]


def _page_difference(
    reader: ObjectReader, old: ContractRecord | None, new: ContractRecord | None
) -> tuple[object, ...] | None:
    """The page trees where they differ, None if they don't."""
    record = old or new
    assert record is not None
    roots = [ZERO if side is None else side.pages_root for side in (old, new)]
    if roots[0] == roots[1]:
        return None
    tree, changes = show_difference(reader, record.memory_kind.shape, roots[0], roots[1])
    return tree, [(was, now) for _, was, now in changes]
