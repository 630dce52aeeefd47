from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import BISECT, DRAFT
from piecrust.vm.bisection import Bisection
from piecrust.vm.errors import NoBisection, UncommittedChanges
from piecrust.vm.workspace import Head, Workspace
from support.derived import History, page


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def line(history: History) -> list[CommitId]:
    commits: list[CommitId] = []
    for number in range(9):
        commits.append(history.commit(commits[-1:], {"a": {0: page(str(number))}}))
    return commits


@pytest.mark.parametrize("culprit", range(1, 9))
def test_a_bisection_finds_the_culprit(history: History, line: list[CommitId], culprit: int) -> None:
    bisection = Bisection(history.store)
    state = bisection.start(line[8], [line[0]])
    while state.next is not None:
        assert Workspace(history.store).head() == Head(None, state.next)
        state = bisection.mark(state.next, "bad" if line.index(state.next) >= culprit else "good")
    assert state.culprit == line[culprit]


def test_marks_may_come_one_by_one(history: History, line: list[CommitId]) -> None:
    bisection = Bisection(history.store)
    state = bisection.start(None, [])
    assert (state.next, state.culprit) == (None, None)
    assert bisection.mark(line[8], "bad").next is None
    assert bisection.mark(line[0], "good").next is not None


def test_what_can_not_be_judged_is_passed_over(history: History, line: list[CommitId]) -> None:
    bisection = Bisection(history.store)
    state = bisection.start(line[2], [line[0]])
    assert state.next == line[1]
    state = bisection.mark(line[1], "skip")
    assert (state.next, state.culprit) == (None, None)
    assert state.candidates == (line[1], line[2])


def test_reset_goes_back_and_leaves_no_marks(history: History, line: list[CommitId]) -> None:
    bisection = Bisection(history.store)
    bisection.start(line[8], [line[0]])
    bisection.reset()
    assert Workspace(history.store).head() == Head("main", line[8])
    assert not [name for name in history.store.refs() if name.startswith(BISECT)]
    with pytest.raises(NoBisection):
        bisection.state()


def test_starting_again_forgets_the_marks_but_not_where_head_was(history: History, line: list[CommitId]) -> None:
    bisection = Bisection(history.store)
    bisection.start(line[8], [line[0]])
    state = bisection.start(line[4], [line[2]])
    assert state.good == (line[2],)
    bisection.reset()
    assert Workspace(history.store).head() == Head("main", line[8])


def test_a_step_can_be_undone(history: History, line: list[CommitId]) -> None:
    bisection = Bisection(history.store)
    before = bisection.start(line[8], [line[0]])
    assert before.next is not None
    bisection.mark(before.next, "good")
    Workspace(history.store).undo()
    assert bisection.state() == before


def test_a_working_state_is_in_the_way(history: History, line: list[CommitId]) -> None:
    transaction = history.store.transaction()
    transaction.set_ref(DRAFT, line[8])
    transaction.publish(Operation("call"))
    with pytest.raises(UncommittedChanges):
        Bisection(history.store).start(line[8], [line[0]])


def test_nothing_can_be_marked_before_the_start(history: History, line: list[CommitId]) -> None:
    with pytest.raises(NoBisection):
        Bisection(history.store).mark(line[0], "good")
