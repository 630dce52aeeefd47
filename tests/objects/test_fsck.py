"""Checking a store finds every kind of damage and names it; repairing saves what is whole and changes nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from piecrust.objects import compaction, upkeep
from piecrust.objects.commit import commit_id
from piecrust.objects.disk import Mode
from piecrust.objects.errors import CorruptStore, NotAStore, StoreLocked, UnsupportedFormat
from piecrust.objects.findings import Repair, Report
from piecrust.objects.format import Format, Layout
from piecrust.objects.frame import decode_head
from piecrust.objects.fsck import fsck
from piecrust.objects.ids import CommitId, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.lock import StoreLock
from piecrust.objects.oplog import Operation
from piecrust.objects.progress import Progress
from piecrust.objects.refs import Symbolic
from piecrust.objects.repair import repair
from piecrust.objects.segment import scan
from piecrust.objects.snapshot import STATE
from piecrust.objects.source import SegmentSource
from piecrust.objects.store import Store
from support.crashes import DIRECTORY, Run, keep_up, open_simulated, rotate
from support.simulated_disk import Content, SimulatedDisk
from support.stores import make_commit, read_content, stage_commit

LAYOUT = Layout(DIRECTORY / ".piecrust")
COMMITS = 12


@pytest.fixture(autouse=True)
def _little_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FRESH_OBJECTS_MAX", 20)
    monkeypatch.setattr(upkeep, "FRESH_OBJECTS_MAX", 20)


@pytest.fixture(scope="module")
def filled() -> Run:
    """Four commits in a pack, four in a closed segment, four in the active one; a tag on the second."""
    run = Run()
    run.create()
    with pytest.MonkeyPatch.context() as patch, run.open() as store:
        patch.setattr(compaction, "FRESH_OBJECTS_MAX", 20)
        patch.setattr(upkeep, "FRESH_OBJECTS_MAX", 20)
        head = None
        for number in range(COMMITS):
            if number == 4:
                rotate(store)
                keep_up(store)
            if number == 8:
                rotate(store)
            head = run.commit(store, number, head, filler=3000)
            if number == 1:
                transaction = store.transaction()
                transaction.set_ref("tags/second", head)
                transaction.publish(Operation("tag"))
    return run


def look(disk: SimulatedDisk, *, full: bool = True) -> Report:
    return fsck(DIRECTORY, full=full, threads=1, disk=disk)


def mend(disk: SimulatedDisk, **options: object) -> Repair:
    return repair(DIRECTORY, threads=1, disk=disk, **options)


def pack_of(disk: SimulatedDisk) -> Path:
    (name,) = disk.list(LAYOUT.packs)
    return LAYOUT.packs / name


def content_of(disk: SimulatedDisk, path: Path) -> bytearray:
    content = disk.names[path]
    assert content is not None
    content.data = bytearray(content.data)
    return content.data


def frames_of(disk: SimulatedDisk, path: Path) -> list[tuple[int, int]]:
    source = SegmentSource.open(disk, path, Mode.READ)
    return [(frame.offset, frame.end) for frame in scan(source, source.header, 64)]


def page_of(disk: SimulatedDisk, path: Path, number: int) -> int:
    """Where the page of the n-th commit in a file is stored."""
    source = SegmentSource.open(disk, path, Mode.READ)
    found = []
    for frame in scan(source, source.header, 64):
        rows = decode_head(frame.body).rows
        found += [frame.offset + row.offset for row in rows if row.kind == Kind.PAGE and row.length > 1024]
    return found[number]


def files(disk: SimulatedDisk) -> dict[Path, bytes | None]:
    return {path: content and bytes(content.data) for path, content in disk.names.items()}


PACK, CLOSED, ACTIVE = 0, 2, 3


def file_of(disk: SimulatedDisk, which: int) -> Path:
    return pack_of(disk) if which == PACK else LAYOUT.segment(which)


@pytest.mark.parametrize("full", [False, True])
def test_an_undamaged_store_is_clean_and_its_files_are_untouched(filled: Run, full: bool) -> None:
    disk = filled.disk.killed()
    before = files(disk)
    report = look(disk, full=full)
    assert report.clean, report
    assert report.full is full
    assert report.checked.operations == COMMITS + 1
    assert (report.checked.commits, report.checked.refs) == (COMMITS if full else 0, 2)
    assert files(disk) == before
    assert disk.events == []


def test_an_undamaged_store_is_left_alone_by_a_repair(filled: Run) -> None:
    disk = filled.disk.killed()
    before = files(disk)
    done = mend(disk)
    assert done.before.clean
    assert (done.quarantined, done.rebuilt, done.salvaged, done.healed) == ((), (), 0, ())
    assert {path: data for path, data in files(disk).items() if path in before} == before


def test_a_directory_without_a_store_is_no_store() -> None:
    disk = SimulatedDisk()
    with pytest.raises(NotAStore):
        look(disk)
    with pytest.raises(NotAStore):
        mend(disk)


@pytest.mark.parametrize("which", [PACK, CLOSED, ACTIVE])
def test_a_flipped_bit_of_a_page_names_the_file_the_object_and_every_commit_that_needs_it(
    filled: Run, which: int
) -> None:
    disk = filled.disk.killed()
    path = file_of(disk, which)
    content_of(disk, path)[page_of(disk, path, 1) + 900] ^= 4
    report = look(disk)
    assert {file.path for file in report.files} == {path}
    (lost,) = [damage for damage in report.objects if damage.kind is Kind.PAGE]
    assert lost.path == path
    first = {PACK: 0, CLOSED: 4, ACTIVE: 8}[which] + 1
    (affected,) = report.commits
    assert affected.commit == list(filled.contents)[first]
    assert [(item.kind, item.address) for item in affected.lost] == [(Kind.PAGE, lost.address)]
    assert affected.refs == (("heads/main", "tags/second") if first == 1 else ("heads/main",))


@pytest.mark.parametrize("which", [PACK, CLOSED, ACTIVE])
def test_a_repair_puts_a_damaged_file_into_quarantine_and_keeps_all_else(filled: Run, which: int) -> None:
    disk = filled.disk.killed()
    path = file_of(disk, which)
    content_of(disk, path)[page_of(disk, path, 1) + 900] ^= 4
    damaged = bytes(content_of(disk, path))
    others = {p: data for p, data in files(disk).items() if p.parent in (LAYOUT.log, LAYOUT.packs) and p != path}
    done = mend(disk)
    lost = done.before.commits[0].commit
    assert done.quarantined == (LAYOUT.quarantine / path.name,)
    assert bytes(content_of(disk, LAYOUT.quarantine / path.name)) == damaged
    assert path not in disk.names
    assert {p: data for p, data in files(disk).items() if p in others} == others
    assert done.salvaged > 0
    assert (done.after.files, done.after.objects) == ((), ())
    assert [affected.commit for affected in done.after.commits] == [lost]
    with open_simulated(disk) as store:
        assert store.damage == ()
        assert set(store.commits()) == set(filled.contents)
        for commit, content in filled.contents.items():
            if commit != lost:
                assert read_content(store, commit) == content
        assert [record.sequence for record in store.operations()]
        make_commit(store, b"goes on ", parent=store.ref_commit("heads/main"), branch="main")
        store.seal()


@pytest.mark.parametrize("which", [PACK, CLOSED, ACTIVE])
def test_what_another_store_has_is_healed(filled: Run, which: int) -> None:
    disk = filled.disk.killed()
    path = file_of(disk, which)
    content_of(disk, path)[page_of(disk, path, 1) + 900] ^= 4
    with open_simulated(filled.disk.killed(), read_only=True) as other:
        done = mend(disk, heal_from=other)
    assert [item.kind for item in done.healed] == [Kind.PAGE]
    assert done.after.clean, done.after
    with open_simulated(disk) as store:
        for commit, content in filled.contents.items():
            assert read_content(store, commit) == content


@pytest.mark.parametrize("which", [PACK, CLOSED])
def test_a_missing_file_is_healed_from_another_store(filled: Run, which: int) -> None:
    disk = filled.disk.killed()
    path = file_of(disk, which)
    del disk.names[path]
    report = look(disk)
    assert (path, "the file is missing") in [(file.path, file.reason) for file in report.files]
    newest = list(filled.contents)[3 if which == PACK else 7]  # what was there, its children and refs can tell
    assert newest in {affected.commit for affected in report.commits}
    with open_simulated(filled.disk.killed(), read_only=True) as other:
        done = mend(disk, heal_from=other)
    assert done.after.clean, done.after
    with open_simulated(disk) as store:
        assert set(store.commits()) == set(filled.contents)
        for commit, content in filled.contents.items():
            assert read_content(store, commit) == content


def test_without_another_store_a_missing_file_takes_its_commits_along_and_the_rest_can_be_used(filled: Run) -> None:
    disk = filled.disk.killed()
    del disk.names[LAYOUT.segment(CLOSED)]
    done = mend(disk)
    assert done.quarantined == ()
    assert done.after.commits
    assert not done.after.files
    with open_simulated(disk) as store:
        for commit in list(filled.contents)[:4]:
            assert read_content(store, commit) == filled.contents[commit]
        make_commit(store, b"goes on ", branch="other")


@pytest.mark.parametrize("which", [CLOSED, ACTIVE])
def test_a_frame_that_was_overwritten_is_told_by_its_place(filled: Run, which: int) -> None:
    disk = filled.disk.killed()
    path = file_of(disk, which)
    start, end = frames_of(disk, path)[2]
    content_of(disk, path)[start:end] = bytes(end - start)
    for full in (False, True):
        report = look(disk, full=full)
        assert (path, start) in [(file.path, file.offset) for file in report.files]
    done = mend(disk)
    assert not done.after.files
    with open_simulated(disk) as store:
        assert store.damage == ()
        survivors = [c for c in filled.contents if c not in {a.commit for a in done.after.commits}]
        assert len(survivors) >= 3
        for commit in survivors:
            assert read_content(store, commit) == filled.contents[commit]


@pytest.mark.parametrize("at", [0, 40, -64, -30, -100])
def test_a_pack_with_a_damaged_end_loses_nothing(filled: Run, at: int) -> None:
    disk = filled.disk.killed()
    path = pack_of(disk)
    content_of(disk, path)[at] ^= 1
    for full in (False, True):
        report = look(disk, full=full)
        assert {file.path for file in report.files} == {path}
        assert (report.commits, report.objects) == ((), ())
    done = mend(disk)
    assert done.after.clean, done.after
    with open_simulated(disk) as store:
        assert set(store.commits()) == set(filled.contents)
        assert [record.sequence for record in store.operations()] == list(reversed(range(COMMITS + 1)))


@pytest.mark.parametrize("name", [STATE, ".tbl"])
def test_a_damaged_cache_is_found_and_made_anew(filled: Run, name: str) -> None:
    disk = filled.disk.killed()
    path = next(p for p in disk.names if p.parent == LAYOUT.index and p.name.endswith(name))
    content_of(disk, path)[-10] ^= 1
    for full in (False, True):
        (found,) = look(disk, full=full).files
        assert (found.path, found.disposable) == (path, True)
    done = mend(disk)
    assert path in done.rebuilt
    assert done.quarantined == ()
    assert done.after.clean


def test_a_damaged_format_is_written_anew_and_a_newer_one_is_left_alone(filled: Run) -> None:
    disk = filled.disk.killed()
    content_of(disk, LAYOUT.format)[20] ^= 1
    (found,) = look(disk, full=False).files
    assert found.path == LAYOUT.format
    done = mend(disk)
    assert LAYOUT.format in done.rebuilt
    assert done.after.clean
    newer = filled.disk.killed()
    newer.names[LAYOUT.format] = Content(999, _newer_format())
    before = files(newer)
    with pytest.raises(UnsupportedFormat):
        mend(newer)
    assert {path: data for path, data in files(newer).items() if path in before} == before


def test_a_damaged_slot_of_durable_is_found_and_written_anew(filled: Run) -> None:
    for at in (5, 133):
        disk = filled.disk.killed()
        content_of(disk, LAYOUT.durable)[at] ^= 1
        (found,) = look(disk, full=False).files
        assert (found.path, found.disposable) == (LAYOUT.durable, True)
        assert mend(disk).after.clean
        with open_simulated(disk) as store:
            assert set(store.commits()) == set(filled.contents)


def test_a_store_of_which_nothing_is_left_is_refused(filled: Run) -> None:
    disk = filled.disk.killed()
    for path in [path for path in disk.names if path.parent in (LAYOUT.log, LAYOUT.packs)]:
        del disk.names[path]
    before = files(disk)
    with pytest.raises(CorruptStore):
        look(disk)
    with pytest.raises(CorruptStore):
        mend(disk)
    assert {path: data for path, data in files(disk).items() if path in before} == before


def test_a_commit_whose_roots_disagree_is_named() -> None:
    run = Run()
    run.create()
    with run.open() as store:
        good = run.commit(store, 1)
        value = store.load(Kind.COMMIT, good)
        other = run.commit(store, 2, good)
        wrong = replace(store.load(Kind.COMMIT, other), state_root=StateRoot(value.state_root))
        liar = _publish(store, wrong)
    (affected,) = look(run.disk.killed()).commits
    assert affected.commit == liar
    assert "state root" in affected.reason


def test_a_commit_in_the_wrong_place_of_history_is_named() -> None:
    run = Run()
    run.create()
    with run.open() as store:
        first = run.commit(store, 1)
        second = run.commit(store, 2, first)
        liar = _publish(store, replace(store.load(Kind.COMMIT, second), generation=7, message="liar"))
    (affected,) = look(run.disk.killed()).commits
    assert affected.commit == liar
    assert "generation 7" in affected.reason


def test_a_commit_that_was_never_complete_is_named_with_what_it_lacks() -> None:
    run = Run()
    run.create()
    with run.open() as store:
        good = run.commit(store, 1)
        aside = open_simulated(SimulatedDisk(), create=True)
        with aside:
            transaction = aside.transaction()
            foreign = stage_commit(transaction, b"foreign ")
            value = transaction.load(Kind.COMMIT, foreign)
            transaction.publish(Operation("commit"))
            assert _publish(store, value) == foreign
            report = look(run.disk.killed())
            (affected,) = report.commits
            assert affected.commit == foreign != good
            assert {item.kind for item in affected.lost} == {Kind.NODE}
            done = mend(run.disk, heal_from=aside)
            assert {item.kind for item in done.healed} >= {Kind.NODE, Kind.RECORD, Kind.PAGE}
            assert done.after.clean


def test_a_ref_that_leads_nowhere_is_named() -> None:
    run = Run()
    run.create()
    with run.open() as store:
        head = run.commit(store, 1)
        transaction = store.transaction()
        transaction.set_ref("aliases/counter", Symbolic("heads/main"))
        transaction.set_ref("pins/" + "ab" * 32, head)
        transaction.publish(Operation("odd"))
    assert {damage.name for damage in look(run.disk.killed(), full=False).refs} == {
        "aliases/counter",
        "pins/" + "ab" * 32,
    }


@pytest.mark.parametrize("which", [PACK, CLOSED, ACTIVE])
def test_every_flipped_bit_is_found_and_a_repair_leaves_a_store_that_works(filled: Run, which: int) -> None:
    source = file_of(filled.disk, which)
    length = frames_of(filled.disk, source)[-1][1] if which != PACK else len(content_of(filled.disk.killed(), source))
    for at in range(0, length, 397):
        disk = filled.disk.killed()
        content_of(disk, file_of(disk, which))[at] ^= 1 << at % 8
        assert not look(disk, full=True).clean, at
        done = mend(disk)
        assert (done.after.files, done.after.objects) == ((), ()), at
        lost = {affected.commit for affected in done.after.commits}
        with open_simulated(disk) as store:
            assert store.damage == ()
            for commit in set(store.commits()) - lost:
                assert read_content(store, commit) == filled.contents[commit]


def test_what_garbage_collection_took_on_purpose_is_no_damage(filled: Run) -> None:
    disk = filled.disk.killed()
    first, second, third, *_ = filled.contents
    with open_simulated(disk) as store:
        aside = make_commit(store, b"aside   ", parent=second)
        transaction = store.transaction()
        for commit in (first, third, aside):
            transaction.delete(commit)
        transaction.publish(Operation("delete"))
        for retention in (None, 0):
            store.gc(**({} if retention is None else {"retention_seconds": retention}))
            report = look(disk)
            assert report.clean, report
        assert not store.contains(Kind.COMMIT, aside)
        assert store.contains(Kind.COMMIT, third)


def test_nobody_writes_while_a_store_is_repaired(filled: Run) -> None:
    disk = filled.disk.killed()
    with StoreLock(disk.open(LAYOUT.lock, Mode.ENSURE), LAYOUT.lock), pytest.raises(StoreLocked):
        mend(disk, lock_seconds=0.01)


def test_an_interrupted_repair_leaves_a_store_that_can_be_repaired(filled: Run) -> None:
    damaged = filled.disk.killed()
    content_of(damaged, LAYOUT.segment(CLOSED))[page_of(damaged, LAYOUT.segment(CLOSED), 1) + 900] ^= 4
    whole = damaged.killed()
    mend(whole)
    for stop in range(1, len(whole.events) + 1):
        disk = whole.replayed(damaged.killed(), stop)
        done = mend(disk)
        assert not done.after.files, stop
        assert len(done.after.commits) == 1
        with open_simulated(disk) as store:
            assert set(store.commits()) == set(filled.contents)


def test_threads_and_progress_on_a_real_disk(tmp_path: Path) -> None:
    Store.create(tmp_path)
    with Store.open(tmp_path) as store:
        head = None
        for number in range(60):
            head = make_commit(store, b"%8d" % number, parent=head, branch="main")
            if number == 30:
                store.seal()
        steps: list[tuple[str, int, int]] = []
        progress: Progress = lambda *step: steps.append(step)  # noqa: E731
        report = fsck(tmp_path, threads=3, progress=progress)
        assert report.clean, report
        assert report.checked.commits == 60
        assert {what for what, _, _ in steps} == {"objects", "commits"}
        assert all(0 <= done <= total for _, done, total in steps)


def _publish(store: Store, value: object) -> CommitId:
    transaction = store.transaction()
    identity = commit_id(value)
    transaction.put(Kind.COMMIT, identity, value)
    transaction.keep(identity)
    transaction.publish(Operation("commit"))
    return identity


def _newer_format() -> bytes:
    from blake3 import blake3

    body = Format().encode().decode().replace("version 1", "version 2").rpartition("checksum ")[0]
    return f"{body}checksum {blake3(body.encode()).hexdigest()}\n".encode()
