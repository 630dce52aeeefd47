from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.ancestry import halfway, merge_base, suspects, walk, walk_between
from piecrust.objects.ids import CommitId


@dataclass(frozen=True)
class Node:
    parents: Sequence[CommitId]
    generation: int


class History:
    """A commit graph from `child: parents` by number, parents first."""

    def __init__(self, parents: dict[int, list[int]]) -> None:
        self.nodes: dict[CommitId, Node] = {}
        for number, above in parents.items():
            known = [commit(parent) for parent in above]
            generation = 1 + max((self.nodes[parent].generation for parent in known), default=-1)
            self.nodes[commit(number)] = Node(known, generation)

    def __call__(self, identifier: CommitId) -> Node:
        return self.nodes[identifier]

    def ancestors(self, identifier: CommitId) -> set[CommitId]:
        found: set[CommitId] = set()
        todo = [identifier]
        while todo:
            current = todo.pop()
            if current not in found:
                found.add(current)
                todo.extend(self.nodes[current].parents)
        return found


def commit(number: int) -> CommitId:
    return CommitId(number.to_bytes(32, "big"))


def numbers(commits: Sequence[CommitId]) -> list[int]:
    return [int.from_bytes(identifier, "big") for identifier in commits]


#   1 - 2 - 3 ------ 6 (merge of 3 and 5) - 7
#        \- 4 - 5 --/
DIAMOND = History({1: [], 2: [1], 3: [2], 4: [2], 5: [4], 6: [3, 5], 7: [6]})


def test_a_walk_meets_every_commit_before_its_parents() -> None:
    assert numbers(list(walk(DIAMOND, [commit(7)]))) == [7, 6, 5, 3, 4, 2, 1]


def test_the_line_of_first_parents_leaves_out_what_was_merged() -> None:
    assert numbers(list(walk(DIAMOND, [commit(7)], first_parent=True))) == [7, 6, 3, 2, 1]


def test_a_range_is_what_one_side_has_and_the_other_does_not() -> None:
    assert numbers(list(walk_between(DIAMOND, [commit(6)], [commit(3)]))) == [6, 5, 4]
    assert numbers(list(walk_between(DIAMOND, [commit(3)], [commit(6)]))) == []


def test_the_merge_base_is_the_newest_common_ancestor() -> None:
    assert merge_base(DIAMOND, commit(3), commit(5)) == commit(2)
    assert merge_base(DIAMOND, commit(7), commit(5)) == commit(5)


def test_unrelated_histories_have_no_merge_base() -> None:
    assert merge_base(History({1: [], 2: []}), commit(1), commit(2)) is None


@pytest.mark.parametrize("culprit", range(1, 100))
def test_a_bisection_of_a_line_finds_the_culprit_in_few_steps(culprit: int) -> None:
    line = History({0: [], **{number: [number - 1] for number in range(1, 100)}})
    good, bad, steps = [commit(0)], commit(99), 0
    while (candidate := halfway(suspects(line, good, bad))) is not None:
        steps += 1
        if candidate >= commit(culprit):
            bad = candidate
        else:
            good.append(candidate)
    assert bad == commit(culprit)
    assert steps <= 7


@st.composite
def histories(draw: st.DrawFn) -> History:
    count = draw(st.integers(1, 14))
    return History(
        {n: draw(st.lists(st.integers(0, n - 1), max_size=3, unique=True)) if n else [] for n in range(count)}
    )


@given(histories(), st.data())
@settings(max_examples=80, deadline=None)
def test_every_answer_agrees_with_the_sets_of_ancestors(history: History, data: st.DataObject) -> None:
    pick = st.sampled_from(sorted(history.nodes))
    a, b = data.draw(pick), data.draw(pick)
    above_a, above_b = history.ancestors(a), history.ancestors(b)
    assert set(walk(history, [a, b])) == above_a | above_b
    between = list(walk_between(history, [a], [b]))
    assert set(between) == above_a - above_b
    assert len(between) == len(set(between))
    base = merge_base(history, a, b)
    common = above_a & above_b
    if base is None:
        assert not common
    else:
        assert base in common
        assert not any(base in history.ancestors(other) for other in common - {base})


@given(histories(), st.data())
@settings(max_examples=80, deadline=None)
def test_a_bisection_ends_at_a_commit_that_is_bad_and_whose_parents_are_good(
    history: History, data: st.DataObject
) -> None:
    culprit, tip = (data.draw(st.sampled_from(sorted(history.nodes))) for _ in range(2))
    if culprit not in history.ancestors(tip):
        return
    bad, good = tip, []
    while (candidate := halfway(suspects(history, good, bad))) is not None:
        if culprit in history.ancestors(candidate):
            bad = candidate
        else:
            good.append(candidate)
    assert bad == culprit
