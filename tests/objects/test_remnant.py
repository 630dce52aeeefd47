"""A store whose newest segment is missing or begins with damage: what is left is told, and can be had again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from piecrust.objects import compaction, upkeep
from piecrust.objects.errors import CorruptStore
from piecrust.objects.findings import Repair
from piecrust.objects.format import Layout
from piecrust.objects.fsck import fsck
from piecrust.objects.oplog import Operation
from piecrust.objects.repair import repair
from piecrust.objects.store import Store
from support.crashes import DIRECTORY, Run, keep_up, open_simulated, rotate
from support.simulated_disk import SimulatedDisk
from support.stores import make_commit, read_content

LAYOUT = Layout(DIRECTORY / ".piecrust")
NEWEST = LAYOUT.segment(3)
BEFORE = 8  # commits in older segments


@pytest.fixture(scope="module")
def filled() -> Run:
    """Four commits in a pack, four in a closed segment, four in the newest one, with a tag in each; no index."""
    run = Run()
    run.create()
    with run.open() as store:
        head = None
        for number in range(12):
            if number == 4:
                store.seal()
            if number == 8:
                rotate(store)
            head = run.commit(store, number, head)
            if number % 4 == 1:
                transaction = store.transaction()
                transaction.set_ref(f"tags/v{number}", head)
                transaction.publish(Operation("tag"))
    return run


@pytest.fixture
def indexed(filled: Run, monkeypatch: pytest.MonkeyPatch) -> Run:
    """The same with a snapshot in the middle of the newest segment."""
    for module in (compaction, upkeep):
        monkeypatch.setattr(module, "FRESH_OBJECTS_MAX", 1)
    run = Run(filled.disk.killed(), dict(filled.contents))
    with run.open() as store:
        keep_up(store)
        run.commit(store, 90, store.ref_commit("heads/main"))
    return run


def content_of(disk: SimulatedDisk, path: Path) -> bytearray:
    content = disk.names[path]
    assert content is not None
    content.data = bytearray(content.data)
    return content.data


def flip(at: int) -> Callable[[SimulatedDisk, Path], None]:
    def damage(disk: SimulatedDisk, path: Path) -> None:
        content_of(disk, path)[at] ^= 1 << at % 8

    damage.__name__ = f"flip_at_{at}"
    return damage


def zeros(start: int, end: int) -> Callable[[SimulatedDisk, Path], None]:
    def damage(disk: SimulatedDisk, path: Path) -> None:
        content_of(disk, path)[start:end] = bytes(end - start)

    damage.__name__ = f"zeros_{start}_{end}"
    return damage


def missing(disk: SimulatedDisk, path: Path) -> None:
    del disk.names[path]


def mend(disk: SimulatedDisk, **options: object) -> Repair:
    return repair(DIRECTORY, threads=1, disk=disk, **options)


def newest_of(disk: SimulatedDisk) -> Path:
    return LAYOUT.log / max(disk.list(LAYOUT.log))


def refs_of(disk: SimulatedDisk) -> dict[str, object]:
    with open_simulated(disk.killed(), read_only=True) as store:
        return dict(store.refs())


def test_it_is_refused_but_for_checks(filled: Run) -> None:
    for damage in (flip(5), flip(100), missing):
        disk = filled.disk.killed()
        damage(disk, NEWEST)
        with pytest.raises(CorruptStore):
            open_simulated(disk)
        before = {path: content and bytes(content.data) for path, content in disk.names.items()}
        report = fsck(DIRECTORY, full=False, threads=1, disk=disk)
        assert [file.path for file in report.files] == [NEWEST]
        assert {path: content and bytes(content.data) for path, content in disk.names.items()} == before


@pytest.mark.parametrize("rebooted", [False, True])
@pytest.mark.parametrize(
    "damage", [flip(5), flip(20), flip(30), flip(60), flip(70), flip(140), zeros(0, 24), zeros(64, 200)]
)
def test_a_damaged_beginning_loses_nothing(
    filled: Run, damage: Callable[[SimulatedDisk, Path], None], *, rebooted: bool
) -> None:
    disk = filled.disk.killed()
    disk.boot += rebooted
    damage(disk, NEWEST)
    done = mend(disk)
    assert done.after.clean, done.after
    assert done.quarantined == (LAYOUT.quarantine / NEWEST.name,)
    assert refs_of(disk) == refs_of(filled.disk)
    with open_simulated(disk) as store:
        assert store.damage == ()
        assert set(store.commits()) == set(filled.contents)
        for commit, content in filled.contents.items():
            assert read_content(store, commit) == content
        assert [record.sequence for record in store.operations()] == list(reversed(range(15)))
        fresh = make_commit(store, b"goes on ", parent=store.ref_commit("heads/main"), branch="main")
        store.seal()
        assert read_content(store, fresh) == b"goes on "


@pytest.mark.parametrize("damage", [flip(30), flip(100), zeros(64, 200), zeros(0, 64)])
def test_with_a_snapshot_even_the_salt_may_be_lost(indexed: Run, damage: Callable[[SimulatedDisk, Path], None]) -> None:
    disk = indexed.disk.killed()
    damage(disk, newest_of(disk))
    done = mend(disk)
    assert done.after.clean, done.after
    assert refs_of(disk) == refs_of(indexed.disk)
    with open_simulated(disk) as store:
        assert set(store.commits()) == set(indexed.contents)
        for commit, content in indexed.contents.items():
            assert read_content(store, commit) == content


@pytest.mark.parametrize("damage", [missing, zeros(0, 64), zeros(0, 4096)])
def test_what_is_lost_with_it_is_lost_and_the_rest_can_be_used(
    filled: Run, damage: Callable[[SimulatedDisk, Path], None]
) -> None:
    disk = filled.disk.killed()
    damage(disk, NEWEST)
    done = mend(disk)
    assert done.after.clean, done.after
    older = list(filled.contents)[:BEFORE]
    with open_simulated(disk) as store:
        assert set(store.commits()) == set(older)
        assert store.ref_commit("heads/main") == older[-1]
        assert {name for name in store.refs() if name.startswith("tags/")} == {"tags/v1", "tags/v5"}
        for commit in older:
            assert read_content(store, commit) == filled.contents[commit]
        make_commit(store, b"goes on ", parent=older[-1], branch="main")


def test_another_store_heals_what_an_index_still_names(indexed: Run) -> None:
    disk = indexed.disk.killed()
    missing(disk, newest_of(disk))
    named = list(indexed.contents)[:-1]  # but for the commit that is newer than the snapshot
    report = fsck(DIRECTORY, threads=1, disk=disk)
    assert {affected.commit for affected in report.commits} == set(named[BEFORE:])
    with open_simulated(indexed.disk.killed(), read_only=True) as other:
        done = mend(disk, heal_from=other)
    assert done.after.clean, done.after
    with open_simulated(disk) as store:
        assert set(store.commits()) == set(named)
        assert store.ref_commit("heads/main") == named[-1]
        for commit in named:
            assert read_content(store, commit) == indexed.contents[commit]


def test_after_garbage_was_collected_operation_records_tell_the_refs(filled: Run) -> None:
    disk = filled.disk.killed()
    with open_simulated(disk) as store:
        aside = make_commit(store, b"aside   ")
        transaction = store.transaction()
        transaction.delete(aside)
        transaction.publish(Operation("delete"))
        store.gc(retention_seconds=0)
        refs = dict(store.refs())
    zeros(0, 4096)(disk, newest_of(disk))
    for path in [path for path in disk.names if path.parent == LAYOUT.index]:
        del disk.names[path]
    done = mend(disk)
    assert done.after.clean, done.after
    assert refs_of(disk) == refs
    with open_simulated(disk) as store:
        assert set(store.commits()) == set(filled.contents)
        make_commit(store, b"goes on ", branch="other")


def test_an_interrupted_repair_can_be_done_again(filled: Run) -> None:
    damaged = filled.disk.killed()
    flip(100)(damaged, NEWEST)
    whole = damaged.killed()
    mend(whole)
    for stop in range(len(whole.events) + 1):
        disk = whole.replayed(damaged.killed(), stop)
        assert mend(disk).after.clean, stop
        with open_simulated(disk) as store:
            assert set(store.commits()) == set(filled.contents)


def test_on_a_real_disk(tmp_path: Path) -> None:
    with Store.open(tmp_path, create=True) as store:
        first = make_commit(store, b"first   ", branch="main")
        store.seal()
        second = make_commit(store, b"second  ", parent=first, branch="main")
    (segment,) = (tmp_path / ".piecrust" / "log").iterdir()
    data = bytearray(segment.read_bytes())
    data[70:90] = bytes(20)
    segment.write_bytes(data)
    done = repair(tmp_path)
    assert done.after.clean, done.after
    with Store.open(tmp_path) as store:
        assert set(store.commits()) == {first, second}
        assert store.ref_commit("heads/main") == second
