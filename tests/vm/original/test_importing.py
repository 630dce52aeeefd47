"""Commits out of directories that the original wrote: the same states, and the same answers from there on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from piecrust import VM
from piecrust.objects import contract_map, transcript
from piecrust.objects.commit import Commit
from piecrust.objects.errors import StoreLocked, UnknownRevision
from piecrust.objects.ids import CommitId, Hash, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.store import Store
from piecrust.objects.transcript import Import
from piecrust.vm.original.directory import OriginalDirectory
from piecrust.vm.original.importing import ImportedDirectory, import_original
from piecrust.vm.verdict import Holds
from support import originals
from support.answers import differences
from support.machine import Machine

LOST = {"finalized": {"lost"}, "deleted": {"lost"}}
GONE = {"finalized": {"one"}, "deleted": {"gone", "leaf"}}


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], OriginalDirectory]:
    return lambda name: OriginalDirectory(originals.unpacked(name, tmp_path / name))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    with Store.open(tmp_path / "store", create=True, sync=False) as store:
        yield store


def by_name(name: str, brought: ImportedDirectory) -> dict[str, CommitId]:
    """The imported commits, by the names that they were made with."""
    made = {imported.root: imported.commit for imported in brought.commits}
    return {commit: made[root] for commit, root in originals.roots(name).items() if root in made}


@pytest.mark.parametrize("name", originals.names())
def test_going_on_from_its_commits_gives_what_the_original_gives(
    name: str, written: Callable[[str], OriginalDirectory], tmp_path: Path, code_cache: Path
) -> None:
    with Store.open(tmp_path / originals.STORE, create=True, sync=False) as store:
        import_original(store, written(name))
    machine = Machine(tmp_path, code_cache)
    try:
        for operation, expected in originals.answers(name):
            assert list(differences(machine.perform(operation), expected)) == [], operation
    finally:
        machine.close()


@pytest.mark.parametrize("name", originals.names())
def test_every_commit_that_the_original_did_not_lose_is_imported(
    name: str, written: Callable[[str], OriginalDirectory], store: Store
) -> None:
    roots = originals.roots(name)
    brought = import_original(store, written(name))
    assert by_name(name, brought).keys() == roots.keys() - LOST.get(name, set()) - GONE.get(name, set())
    assert {lost.root for lost in brought.lost} == {roots[lost] for lost in LOST.get(name, ())}
    assert brought.refused == {}
    listed = originals.listed(name)
    if listed is not None:
        found = {imported.root for imported in brought.commits}
        assert found - listed == ({roots["two"]} if name == "finalized" else set())  # which it lists no more
    for imported in brought.commits:
        commit: Commit = store.load(Kind.COMMIT, imported.commit)
        assert commit.state_root == imported.root
        assert commit.transcript is not None
        assert transcript.load(store, commit.transcript) == Import("original", Hash(imported.root))
    assert set(store.commits()) == {imported.commit for imported in brought.commits}


def parents(store: Store, made: dict[str, CommitId]) -> dict[str, list[str]]:
    named = {commit: name for name, commit in made.items()}
    return {name: [named[p] for p in store.load(Kind.COMMIT, commit).parents] for name, commit in made.items()}


def test_parents_are_what_commits_were_made_on(written: Callable[[str], OriginalDirectory], store: Store) -> None:
    made = by_name("line", import_original(store, written("line")))
    assert parents(store, made) == {
        "empty": [],
        "one": ["empty"],
        "two": ["one"],
        "three": ["two"],
        "branch": ["one"],
        "four": ["three"],
    }


def test_what_was_finalized_last_is_the_parent_of_what_was_made_on_it(
    written: Callable[[str], OriginalDirectory], store: Store
) -> None:
    made = by_name("finalized", import_original(store, written("finalized")))
    assert parents(store, made) == {"two": [], "three": ["two"], "four": ["three"], "side": ["two"]}


def test_commits_are_chosen_and_go_on_from_those_that_were_imported_before(
    written: Callable[[str], OriginalDirectory], store: Store
) -> None:
    source, roots = written("line"), originals.roots("line")
    first = by_name("line", import_original(store, source, [roots["two"], roots["branch"]]))
    assert parents(store, first) == {"two": [], "branch": []}
    second = import_original(store, source, [roots["four"], roots["three"]])
    assert [imported.root for imported in second.commits] == [roots["three"], roots["four"]]
    made = first | by_name("line", second)
    assert parents(store, made) == {"two": [], "branch": [], "three": ["two"], "four": ["three"]}
    again = import_original(store, source, [roots["three"]])
    assert [(imported.commit, imported.is_new) for imported in again.commits] == [(made["three"], False)]
    with pytest.raises(UnknownRevision):
        import_original(store, source, [StateRoot(b"\1" * 32)])


def test_the_same_commits_have_the_same_ids_in_every_store(
    written: Callable[[str], OriginalDirectory], store: Store, tmp_path: Path
) -> None:
    source = written("line")
    brought = import_original(store, source)
    assert not any(imported.is_new for imported in import_original(store, source).commits)
    with Store.open(tmp_path / "other", create=True, sync=False) as other:
        assert import_original(other, source) == brought


def test_commits_are_gone_again_after_an_undo(written: Callable[[str], OriginalDirectory], vm: VM) -> None:
    from piecrust.vm.workspace import Workspace

    brought = vm.import_original(written("line").path)
    assert set(vm.commits()) == {imported.commit for imported in brought.commits}
    Workspace(vm.store).undo()
    assert vm.commits() == []
    Workspace(vm.store).redo()
    assert set(vm.commits()) == {imported.commit for imported in brought.commits}


def test_nothing_is_collected_while_an_import_runs(written: Callable[[str], OriginalDirectory], store: Store) -> None:
    refused = []

    def report(done: int, total: int) -> None:
        with Store.open(store.root_dir, lock_seconds=0.01, background=False) as other:
            try:
                other.gc()
            except StoreLocked as error:
                refused.append(error)

    import_original(store, written("migrated"), report=report)
    assert len(refused) == 2
    store.gc()
    assert len(store.commits()) == 2


def test_a_replay_leaves_it_open_where_an_import_came_from(written: Callable[[str], OriginalDirectory], vm: VM) -> None:
    brought = vm.import_original(written("line").path)
    told = list(vm.replay(brought.commits[-1].commit, workers=1))
    assert [verdict.holds for verdict in told] == [Holds.UNKNOWN] * 5


def test_a_memory_that_is_longer_than_its_element_can_say_is_as_long_as_it_was(
    written: Callable[[str], OriginalDirectory], store: Store
) -> None:
    made = by_name("full", import_original(store, written("full")))
    state = store.load(Kind.COMMIT, made["three"]).state
    lengths = [record.memory_length for record in contract_map.items(store, state.map_root)]
    assert lengths == [1 << 32, (1 << 32) + 3 * 65536]
