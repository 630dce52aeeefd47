from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from piecrust.objects import transcript, tree
from piecrust.objects.errors import ContractPositionCollision
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.record import ContractRecord
from piecrust.objects.transcript import Merge, Restore, Side
from piecrust.vm.errors import ContractDoesNotExist, MergeConflict, NothingCommitted
from piecrust.vm.merge import MergeResult, merge
from piecrust.vm.restore import restore
from piecrust.vm.workspace import Workspace
from support.derived import PAGE_BYTES, History, contract, page


@pytest.fixture
def history(tmp_path: Path) -> Iterator[History]:
    made = History(tmp_path)
    yield made
    made.store.close()


def page_of(history: History, commit: CommitId, name: str, index: int = 0) -> bytes:
    record = history.record(commit, name)
    assert record is not None
    address = tree.lookup(history.store, record.memory_kind.shape, record.pages_root, index)
    assert address is not None
    return bytes(history.store.load(Kind.PAGE, address))


def test_a_branch_without_commits_of_its_own_moves_on(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    theirs = history.commit([first], {"a": {0: page("2")}}, branch="side")
    result = merge(history.store, theirs)
    assert result == MergeResult(theirs, first, fast_forward=True)
    assert Workspace(history.store).head().commit == theirs


def test_what_ours_already_has_changes_nothing(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    second = history.commit([first], {"a": {0: page("2")}})
    assert merge(history.store, first).commit == second
    assert Workspace(history.store).head().commit == second


def test_changes_of_different_contracts_come_together(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}, "b": {0: page("1")}})
    ours = history.commit([first], {"a": {0: page("ours")}})
    theirs = history.commit([first], {"b": {0: page("theirs")}}, branch="side")
    result = merge(history.store, theirs, message="together")
    assert not result.fast_forward
    assert page_of(history, result.commit, "a") == page("ours")
    assert page_of(history, result.commit, "b") == page("theirs")
    made = history.store.load(Kind.COMMIT, result.commit)
    assert made.parents == (ours, theirs)
    assert made.message == "together"
    assert transcript.load(history.store, made.transcript) == Merge(first, ours, theirs, {})
    assert result.commit in history.store.commits()


def test_positions_of_ours_stay_and_new_contracts_follow_in_the_order_of_their_ids(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    history.commit([first], {"ours": {0: page("1")}})
    names = sorted(("x", "y", "z"), key=contract)
    theirs = history.commit([first], {name: {0: page(name)} for name in names}, branch="side")
    result = merge(history.store, theirs)
    positions = []
    for name in ("a", "ours", *names):
        record = history.record(result.commit, name)
        assert record is not None
        positions.append(record.position)
    assert positions == [1, 2, 3, 4, 5]


def test_the_root_depends_on_which_side_is_ours(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    left = history.commit([first], {"left": {0: page("l")}})
    right = history.commit([first], {"right": {0: page("r")}}, branch="side")
    one = merge(history.store, right).commit
    workspace = Workspace(history.store)
    workspace.undo()
    workspace.move(right, Operation("checkout"))
    other = merge(history.store, left).commit
    assert history.state(one).state_root != history.state(other).state_root


@pytest.fixture
def parted(history: History) -> tuple[CommitId, CommitId]:
    first = history.commit([], {"a": {0: page("1"), 3: page("same")}, "b": {0: page("1")}})
    ours = history.commit([first], {"a": {0: page("ours", at=8), 1: page("new")}, "b": {0: page("ours")}})
    theirs = history.commit([first], {"a": {0: page("theirs", at=8)}, "b": {0: page("theirs")}}, branch="side")
    return ours, theirs


def test_contracts_that_both_sides_changed_are_conflicts_by_page_and_nothing_is_written(
    history: History, parted: tuple[CommitId, CommitId]
) -> None:
    ours, theirs = parted
    before = dict(history.store.refs())
    with pytest.raises(MergeConflict) as caught:
        merge(history.store, theirs)
    found = {conflict.contract: conflict.pages for conflict in caught.value.conflicts}
    assert found == {contract("a"): (0, 1), contract("b"): (0,)}
    assert history.store.refs() == before
    assert Workspace(history.store).head().commit == ours


def test_a_choice_settles_a_conflict_and_is_recorded(history: History, parted: tuple[CommitId, CommitId]) -> None:
    _, theirs = parted
    choices = {contract("a"): Side.OURS, contract("b"): Side.THEIRS}
    result = merge(history.store, theirs, choices=choices)
    assert page_of(history, result.commit, "a") == page("ours", at=8)
    assert page_of(history, result.commit, "b") == page("theirs")
    made = history.store.load(Kind.COMMIT, result.commit)
    derivation = transcript.load(history.store, made.transcript)
    assert isinstance(derivation, Merge)
    assert dict(derivation.choices) == choices


@pytest.mark.parametrize(("scratch", "conflicts"), [([range(8, 16)], 0), ([range(9, 16)], 1), ([range(8, 13)], 1)])
def test_sides_that_differ_in_scratch_only_are_no_conflict(
    history: History, scratch: Sequence[range], conflicts: int
) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    history.commit([first], {"a": {0: page("ours", at=8)}})
    theirs = history.commit([first], {"a": {0: page("theirs", at=8)}}, branch="side")

    def scratch_of(record: ContractRecord) -> Sequence[range]:
        assert record.id == contract("a")
        return scratch

    if conflicts:
        with pytest.raises(MergeConflict):
            merge(history.store, theirs, scratch_of=scratch_of)
    else:
        result = merge(history.store, theirs, scratch_of=scratch_of)
        assert page_of(history, result.commit, "a") == page("ours", at=8)
        assert result.choices == {contract("a"): Side.OURS}


@pytest.mark.parametrize("reading", ["ours", "theirs"])
def test_a_side_that_changed_scratch_only_gives_way_to_the_other(history: History, reading: str) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    changed = page("changed", at=64)
    texts = {"ours": changed, "theirs": changed, reading: page("1" + "scratch")}
    history.commit([first], {"a": {0: texts["ours"]}})
    theirs = history.commit([first], {"a": {0: texts["theirs"]}}, branch="side")
    result = merge(history.store, theirs, scratch_of=lambda _: [range(1, 32)])
    assert page_of(history, result.commit, "a") == changed
    assert result.choices == {contract("a"): Side.THEIRS if reading == "ours" else Side.OURS}


def test_scratch_may_span_pages(history: History) -> None:
    first = history.commit([], {"a": {0: page("1"), 1: page("1")}})
    history.commit([first], {"a": {0: page("o", at=PAGE_BYTES - 1), 1: page("o", at=0)}})
    theirs = history.commit([first], {"a": {0: page("t", at=PAGE_BYTES - 1), 1: page("t", at=0)}}, branch="side")
    spanning = [range(PAGE_BYTES - 4, PAGE_BYTES + 4)]
    before = page_of(history, theirs, "a", 1)
    assert before == page("t")
    assert not merge(history.store, theirs, scratch_of=lambda _: [range(4), *spanning]).fast_forward


def test_replaced_code_on_both_sides_is_a_conflict(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    history.commit([first], {"a": {}}, code=b"ours")
    theirs = history.commit([first], {"a": {}}, code=b"theirs", branch="side")
    with pytest.raises(MergeConflict) as caught:
        merge(history.store, theirs)
    assert caught.value.conflicts[0].pages == ()
    assert "code" in caught.value.conflicts[0].reason


def test_unrelated_histories_merge_from_nothing(history: History) -> None:
    ours = history.commit([], {"a": {0: page("1")}})
    theirs = history.commit([], {"b": {0: page("1")}}, branch="side")
    result = merge(history.store, theirs)
    assert result.base is None
    assert {name: history.record(result.commit, name) is not None for name in "ab"} == {"a": True, "b": True}
    assert history.store.load(Kind.COMMIT, result.commit).parents == (ours, theirs)


def test_contracts_with_one_position_key_can_not_be_merged(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = contract("a"), bytearray(contract("a"))
    theirs[0:4], theirs[4:8] = theirs[4:8], theirs[0:4]
    ids = {"a": ours, "twin": ContractId(bytes(theirs))}
    monkeypatch.setattr("support.derived.contract", lambda name: ids.get(name, contract(name)))
    base = history.commit([], {"c": {0: page("1")}})
    history.commit([base], {"a": {0: page("1")}})
    other = history.commit([base], {"twin": {0: page("1")}}, branch="side")
    with pytest.raises(ContractPositionCollision):
        merge(history.store, other)


def test_there_must_be_something_to_merge_into(history: History) -> None:
    theirs = history.commit([], {"a": {0: page("1")}}, branch="side")
    with pytest.raises(NothingCommitted):
        merge(history.store, theirs)


def test_restoring_a_whole_state_gives_its_root_in_a_new_commit(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    second = history.commit([first], {"a": {0: page("2")}, "b": {0: page("2")}})
    third = restore(history.store, first)
    assert history.state(third).state_root == history.state(first).state_root
    made = history.store.load(Kind.COMMIT, third)
    assert made.parents == (second,)
    assert transcript.load(history.store, made.transcript) == Restore(first)
    assert Workspace(history.store).head().commit == third


def test_a_position_is_not_given_again_after_a_restore(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    history.commit([first], {"b": {0: page("2")}})
    third = restore(history.store, first)
    fourth = history.commit([third], {"c": {0: page("3")}})
    record = history.record(fourth, "c")
    assert record is not None
    assert record.position == 3


def test_restoring_one_contract_leaves_the_others_and_its_position(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}, "b": {0: page("1")}})
    second = history.commit([first], {"a": {0: page("2")}, "b": {0: page("2")}})
    third = restore(history.store, first, [contract("a")])
    assert page_of(history, third, "a") == page("1")
    assert page_of(history, third, "b") == page("2")
    was, now = history.record(second, "a"), history.record(third, "a")
    assert was is not None
    assert now is not None
    assert was.position == now.position


def test_restoring_what_is_there_already_writes_nothing(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    assert restore(history.store, first) == first
    assert restore(history.store, first, [contract("a")]) == first


def test_a_contract_that_the_source_lacks_can_not_be_restored(history: History) -> None:
    first = history.commit([], {"a": {0: page("1")}})
    with pytest.raises(ContractDoesNotExist):
        restore(history.store, first, [contract("nobody")])
