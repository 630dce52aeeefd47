from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.errors import Conflict
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation
from piecrust.objects.refs import BRANCHES, DRAFT, HEAD, Symbolic
from piecrust.vm.errors import NothingToRedo, NothingToUndo, UncommittedChanges
from piecrust.vm.workspace import Head, Leaving, Workspace
from support.derived import History, page

MAIN = Symbolic(BRANCHES + "main")


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.store.close()


def set_draft(history: History, parent: CommitId, text: str) -> CommitId:
    """A working state on `parent`, as a session saves it."""
    draft = history.commit([parent], {"counter": {0: page(text)}}, branch=None)
    transaction = history.store.transaction()
    transaction.set_ref(DRAFT, draft)
    transaction.publish(Operation("call"))
    return draft


def test_head_of_a_new_store_is_a_branch_without_commits(history: History) -> None:
    assert Workspace(history.store).head() == Head("main", None)
    Workspace(history.store).start("trunk")
    assert Workspace(history.store).head() == Head("trunk", None)


def test_head_follows_its_branch(history: History) -> None:
    first = history.commit([], {"counter": {0: page("1")}})
    assert Workspace(history.store).head() == Head("main", first)


def test_head_may_be_a_commit(history: History) -> None:
    first = history.commit([], {"counter": {0: page("1")}})
    workspace = Workspace(history.store)
    workspace.move(first, Operation("checkout"))
    assert workspace.head() == Head(None, first)
    assert workspace.head().ref == HEAD


def test_moving_away_from_a_working_state_is_refused_unless_it_is_dropped_or_kept(history: History) -> None:
    first = history.commit([], {"counter": {0: page("1")}})
    workspace = Workspace(history.store)
    draft = set_draft(history, first, "2")
    with pytest.raises(UncommittedChanges):
        workspace.move(first, Operation("checkout"))
    assert workspace.draft() == draft
    assert workspace.move(first, Operation("checkout"), leaving=Leaving.KEEP) == draft
    assert workspace.draft() is None
    assert draft in history.store.commits()
    set_draft(history, first, "3")
    assert workspace.move(MAIN, Operation("switch"), leaving=Leaving.DISCARD) is None
    assert workspace.draft() is None


def test_a_branch_that_is_created_must_not_exist(history: History) -> None:
    first = history.commit([], {"counter": {0: page("1")}})
    workspace = Workspace(history.store)
    workspace.move(Symbolic("heads/side"), Operation("switch"), create=first)
    assert workspace.head() == Head("side", first)
    with pytest.raises(Conflict):
        workspace.move(MAIN, Operation("switch"), create=first)


def test_undo_takes_back_the_last_operation_and_redo_does_it_again(history: History) -> None:
    first = history.commit([], {"counter": {0: page("1")}})
    second = history.commit([first], {"counter": {0: page("2")}})
    workspace = Workspace(history.store)
    assert workspace.undo().operation.command == "commit"
    assert workspace.head().commit == first
    assert second not in history.store.commits()
    workspace.redo()
    assert workspace.head().commit == second
    assert second in history.store.commits()


def test_undo_goes_on_backwards_and_redo_comes_back_step_by_step(history: History) -> None:
    commits = [history.commit([], {"counter": {0: page("0")}})]
    for text in "123":
        commits.append(history.commit([commits[-1]], {"counter": {0: page(text)}}))
    workspace = Workspace(history.store)
    for expected in (2, 1, 0):
        workspace.undo()
        assert workspace.head().commit == commits[expected]
    for expected in (1, 2, 3):
        workspace.redo()
        assert workspace.head().commit == commits[expected]
    with pytest.raises(NothingToRedo):
        workspace.redo()


def test_a_new_operation_ends_what_can_be_redone(history: History) -> None:
    first = history.commit([], {"counter": {0: page("0")}})
    history.commit([first], {"counter": {0: page("1")}})
    workspace = Workspace(history.store)
    workspace.undo()
    history.commit([first], {"counter": {0: page("2")}})
    with pytest.raises(NothingToRedo):
        workspace.redo()


def test_an_empty_log_has_nothing_to_undo(history: History) -> None:
    with pytest.raises(NothingToUndo):
        Workspace(history.store).undo()


def test_undo_gives_a_working_state_back(history: History) -> None:
    first = history.commit([], {"counter": {0: page("1")}})
    workspace = Workspace(history.store)
    draft = set_draft(history, first, "2")
    workspace.move(MAIN, Operation("checkout"), leaving=Leaving.DISCARD)
    assert workspace.draft() is None
    workspace.undo()
    assert workspace.draft() == draft


@given(st.lists(st.sampled_from(["do", "undo", "redo"]), max_size=20))
@settings(max_examples=25, deadline=None)
def test_undo_and_redo_follow_a_list_of_states(tmp_path_factory: pytest.TempPathFactory, actions: list[str]) -> None:
    history = History(tmp_path_factory.mktemp("undo"))
    workspace = Workspace(history.store)
    done: list[CommitId | None] = [None]
    position, serial = 0, 0
    for action in actions:
        if action == "do":
            serial += 1
            parents = [] if done[position] is None else [done[position]]
            commit = history.commit(parents, {"counter": {0: page(str(serial))}})  # type: ignore[arg-type]
            done[position + 1 :] = [commit]
            position += 1
        elif action == "undo":
            if position == 0:
                with pytest.raises(NothingToUndo):
                    workspace.undo()
                continue
            workspace.undo()
            position -= 1
        elif position + 1 < len(done):
            workspace.redo()
            position += 1
        else:
            with pytest.raises(NothingToRedo):
                workspace.redo()
        assert workspace.head().commit == done[position]
    history.store.close()
