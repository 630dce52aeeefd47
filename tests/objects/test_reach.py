"""What a commit reaches is enough to open it and to execute its transcript, and no more."""

from __future__ import annotations

from piecrust.objects import contract_map, transcript, tree
from piecrust.objects.access import MemoryObjects
from piecrust.objects.commit import Commit
from piecrust.objects.kinds import Kind
from piecrust.objects.reach import history, reachable
from support.sample_objects import sample

SAMPLE = sample()


def copied(commit: bytes) -> MemoryObjects:
    objects = MemoryObjects()
    for kind, address in reachable(SAMPLE.objects, commit, set()):
        objects.put(kind, address, SAMPLE.objects.load(kind, address))
    return objects


def test_a_copy_of_what_is_reached_is_whole():
    for commit in (SAMPLE.first, SAMPLE.ours, SAMPLE.theirs, SAMPLE.merge):
        objects = copied(commit)
        value: Commit = objects.load(Kind.COMMIT, commit)
        for record in contract_map.items(objects, value.map_root):
            assert objects.contains(Kind.BYTECODE, record.bytecode)
            for _, page in tree.leaves(objects, record.memory_kind.shape, record.pages_root):
                objects.load(Kind.PAGE, page)
        if value.transcript is not None:
            transcript.load(objects, value.transcript)
        assert list(tree.leaves(objects, tree.CONTRACTS, value.state_root))


def test_parents_are_not_reached():
    assert not copied(SAMPLE.ours).contains(Kind.COMMIT, SAMPLE.first)


def test_what_was_seen_is_passed_over():
    seen: set[tuple[Kind, bytes]] = set()
    first = list(reachable(SAMPLE.objects, SAMPLE.first, seen))
    then = list(reachable(SAMPLE.objects, SAMPLE.ours, seen))
    assert len(set(first)) == len(first)
    assert not set(first) & set(then)
    assert list(reachable(SAMPLE.objects, SAMPLE.ours, seen)) == []
    pages = [address for kind, address in then if kind is Kind.PAGE]
    assert len(pages) == 1


def test_all_objects_of_the_sample_are_reached():
    seen: set[tuple[Kind, bytes]] = set()
    for commit in (SAMPLE.first, SAMPLE.ours, SAMPLE.theirs, SAMPLE.merge):
        list(reachable(SAMPLE.objects, commit, seen))
    everything = {(kind, address) for kind, address, _ in SAMPLE.objects.staged()}
    zero = {(Kind.PAGE, address) for kind, address in seen - everything}
    assert everything <= seen
    assert len(zero) == 1  # the zero page, which every reader has


def test_history_has_every_ancestor_once():
    found = [commit for commit, _ in history(SAMPLE.objects, SAMPLE.merge, set())]
    assert sorted(found) == sorted([SAMPLE.first, SAMPLE.ours, SAMPLE.theirs, SAMPLE.merge])
    assert [c for c, _ in history(SAMPLE.objects, SAMPLE.merge, {SAMPLE.first, SAMPLE.theirs})] == [
        SAMPLE.merge,
        SAMPLE.ours,
    ]
