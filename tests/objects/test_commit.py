"""Commits: ids that hang on everything, history that is consistent, jumps that reach far."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import encoding
from piecrust.objects.access import MemoryObjects
from piecrust.objects.commit import Commit, ancestor, commit_id, misplaced, new_commit, way_back
from piecrust.objects.errors import CorruptObject, InvalidFormat, ObjectNotFound
from piecrust.objects.ids import Address, CommitId, NodeHash, StateRoot
from piecrust.objects.kinds import COMMIT_HASH, CONTENT_HASH, Kind
from piecrust.objects.state import EMPTY_STATE, State
from support.sample_objects import put_commit

hashes = st.binary(min_size=32, max_size=32)
notes = st.fixed_dictionaries(
    {},
    optional={"message": st.text(max_size=20), "author": st.text(max_size=20), "time": st.integers(0, 2**64 - 1)},
)
states = st.builds(State, hashes.map(StateRoot), hashes.map(NodeHash), st.integers(0, 2**32 - 1))


@settings(max_examples=100, deadline=None)
@given(states, notes, st.none() | hashes)
def test_commits_come_back(state, note, transcript):
    objects = MemoryObjects()
    first = put_commit(objects, state, [], transcript, **note)
    second = put_commit(objects, state, [first], transcript, **note)
    for name in (first, second):
        commit = objects.load(Kind.COMMIT, name)
        assert Commit.decode(name, commit.encode()) == commit
        assert commit.state == state


def a_commit() -> Commit:
    return Commit(
        StateRoot(b"\x01" * 32),
        NodeHash(b"\x02" * 32),
        3,
        (CommitId(b"\x04" * 32),),
        5,
        4,
        CommitId(b"\x06" * 32),
        Address(b"\x07" * 32),
        "message",
        "author",
        8,
    )


@pytest.mark.parametrize(
    "changes",
    [
        {"state_root": StateRoot(bytes(32))},
        {"map_root": NodeHash(bytes(32))},
        {"positions": 4},
        {"parents": (CommitId(bytes(32)),)},
        {"generation": 6},
        {"depth": 3},
        {"jump": CommitId(bytes(32))},
        {"transcript": None},
        {"message": None},
        {"message": ""},
        {"author": "another"},
        {"time": 0},
    ],
    ids=str,
)
def test_the_id_hangs_on_every_field(changes):
    assert commit_id(dataclasses.replace(a_commit(), **changes)) != commit_id(a_commit())


def test_the_id_is_the_hash_of_the_link_and_of_the_contents_hash():
    commit = a_commit()
    content = encoding.encode(
        (b"\x01" * 32, b"\x02" * 32, 3, b"\x07" * 32, {"author": "author", "message": "message", "time": 8})
    )
    link = encoding.encode((1, 5, 4, (b"\x04" * 32,), b"\x06" * 32, CONTENT_HASH(content)))
    assert commit_id(commit) == COMMIT_HASH(link)


def test_a_plain_commit_is_small():
    commit = dataclasses.replace(a_commit(), message=None, author=None, time=None)
    assert len(commit.encode()) <= 190
    assert len(commit.link()) <= 110


def line(objects: MemoryObjects, length: int) -> list[CommitId]:
    commits: list[CommitId] = []
    for n in range(length):
        commits.append(put_commit(objects, EMPTY_STATE, commits[-1:], None, time=n))
    return commits


def test_every_ancestor_is_found_in_few_steps():
    objects = MemoryObjects()
    commits = line(objects, 300)
    place_of = partial(objects.load, Kind.COMMIT)
    for back in range(300):
        assert ancestor(place_of, commits[-1], back) == commits[299 - back]
        steps = list(way_back(place_of, commits[-1], 299 - back))
        assert len(steps) <= 3 * 8 - 2  # 3 log2(n + 1) - 2, the bound of skew-binary jumps
        assert not back or steps[-1] == commits[299 - back]
    assert ancestor(place_of, commits[-1], 300) is None


def test_generation_and_depth_of_a_merge():
    objects = MemoryObjects()
    root, *rest = line(objects, 4)
    side = put_commit(objects, EMPTY_STATE, [root], None, message="side")
    merge: Commit = objects.load(Kind.COMMIT, put_commit(objects, EMPTY_STATE, [side, rest[-1]], None))
    assert (merge.generation, merge.depth) == (4, 2)
    assert merge.parents == (side, rest[-1])


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, None),
        ({"generation": 9}, "generation 9"),
        ({"depth": 1}, "depth 1"),
        ({"jump": None}, "jumps"),
        ({"jump": CommitId(bytes(32))}, "jumps"),
        ({"parents": (), "jump": None}, "no parents"),
    ],
)
def test_a_wrong_place_in_history_is_found(changes, reason):
    objects = MemoryObjects()
    place_of = partial(objects.load, Kind.COMMIT)
    for commit in line(objects, 20):
        assert misplaced(place_of, place_of(commit)) is None
    wrong = misplaced(place_of, dataclasses.replace(place_of(commit), **changes))
    assert wrong is None if reason is None else reason in wrong


def test_parents_must_be_there_and_be_different():
    objects = MemoryObjects()
    (root,) = line(objects, 1)
    with pytest.raises(ObjectNotFound):
        new_commit(objects, EMPTY_STATE, [CommitId(bytes(32))], None)
    with pytest.raises(InvalidFormat):
        new_commit(objects, EMPTY_STATE, [root, root], None)


@pytest.mark.parametrize(
    "note",
    [{"message": "x" * 65537}, {"author": "é" * 2049}, {"message": "\ud800"}, {"time": -1}, {"time": 2**64}],
    ids=["long message", "long author", "surrogate", "early", "late"],
)
def test_notes_have_bounds(note):
    with pytest.raises(InvalidFormat):
        new_commit(MemoryObjects(), EMPTY_STATE, [], None, **note)


good = [1, 5, 4, (b"\x04" * 32,), b"\x06" * 32, (bytes(32), bytes(32), 3, None, {})]


def changed(field: int, value: object) -> bytes:
    return encoding.encode(tuple(value if i == field else v for i, v in enumerate(good)))


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (changed(0, 2), "version 2"),
        (changed(1, 0), "generation 0"),
        (changed(2, 0), "depth 0"),
        (changed(2, 6), "depth 6"),
        (changed(3, ()), "0 parents"),
        (changed(3, (bytes(32), bytes(32))), "parents"),
        (changed(3, tuple(bytes([n]) * 32 for n in range(17))), "array"),
        (changed(4, None), "jump"),
        (changed(5, (bytes(32), bytes(32), 3, None)), "too few"),
        (changed(5, (bytes(32), bytes(32), 3, None, {"mood": "good"})), "no map"),
        (changed(5, (bytes(32), bytes(32), 3, None, {"time": "now"})), "time"),
        (changed(5, (bytes(32), bytes(32), 3, None, {"message": 5})), "text"),
        (changed(5, (bytes(32), bytes(32), 1 << 32, None, {})), "integer"),
        (encoding.encode((*good, 0)), "too many"),
    ],
)
def test_malformed_commits_are_refused(body, reason):
    with pytest.raises(CorruptObject, match=reason):
        Commit.decode(bytes(32), body)
