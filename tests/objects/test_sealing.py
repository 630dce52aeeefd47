"""Packs, tables and snapshots: the log in other forms, and caches that may vanish at any time."""

from __future__ import annotations

import contextlib
import random
import struct
import threading
from pathlib import Path

import pytest
from blake3 import blake3
from piecrust.objects import compaction, upkeep
from piecrust.objects.ancestry import merge_base, walk
from piecrust.objects.commit import ancestor
from piecrust.objects.disk import Mode, RealDisk
from piecrust.objects.errors import CorruptObject, CorruptStore, ObjectNotFound, StoreLocked, UnsupportedFormat
from piecrust.objects.format import Layout
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.pack import PackSource, pack_name, verify_pack
from piecrust.objects.segment import scan
from piecrust.objects.snapshot import STATE, read_snapshot
from piecrust.objects.source import SegmentSource
from piecrust.objects.store import Store
from support.crashes import DIRECTORY, Run, keep_up, open_simulated, rotate
from support.simulated_disk import Content, SimulatedDisk
from support.stores import make_commit, read_content

LAYOUT = Layout(DIRECTORY / ".piecrust")


@pytest.fixture(autouse=True)
def _little_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compaction, "FRESH_OBJECTS_MAX", 20)
    monkeypatch.setattr(upkeep, "FRESH_OBJECTS_MAX", 20)


def fill(run: Run, *, rounds: int = 3, commits: int = 8, tail: int = 3) -> list[CommitId]:
    """Commits in packs, in tables, and in the tail of the log."""
    made: list[CommitId] = []
    head = None
    with run.open() as store:
        for _ in range(rounds):
            for _ in range(commits):
                head = run.commit(store, len(run.contents), head)
                made.append(head)
                if len(made) % 5 == 0:
                    keep_up(store)
            rotate(store)
            keep_up(store)
        for _ in range(tail):
            head = run.commit(store, len(run.contents), head)
            made.append(head)
    return made


@pytest.fixture
def run() -> Run:
    run = Run()
    run.create()
    return run


def everything_is_there(run: Run, store: Store, made: list[CommitId]) -> None:
    assert store.damage == ()
    assert sorted(store.commits()) == sorted(made)
    for index, commit in enumerate(made):
        assert read_content(store, commit) == run.contents[commit]
        node = store.graph(commit)
        assert node.generation == node.depth == index
        assert node.parents == ((made[index - 1],) if index else ())
        assert store.commits_with_root(store.load(Kind.COMMIT, commit).state_root) == [commit]
        assert store.find(Kind.COMMIT, commit.hex()[:12]) == [commit]
    assert [r.sequence for r in store.operations()] == list(reversed(range(len(made))))
    assert [r.operation.arguments[0] for r in store.operations()] == [run.contents[c].hex() for c in reversed(made)]


def test_a_sealed_segment_is_a_pack_and_gone(run: Run) -> None:
    made = fill(run)
    assert run.disk.list(LAYOUT.log) == ["00000004.seg"]
    assert len(run.disk.list(LAYOUT.packs)) == 3
    for read_only in (True, False):
        with run.open(read_only=read_only) as store:
            everything_is_there(run, store, made)


def test_a_pack_begins_with_the_bytes_of_its_segment(run: Run) -> None:
    with run.open() as store:
        run.commit(store, 2, run.commit(store, 1))
        source = SegmentSource.open(run.disk, LAYOUT.segment(1), Mode.READ)
        data = source.read(0, store._log.position.end)
        store.seal()
    (name,) = run.disk.list(LAYOUT.packs)
    pack = PackSource.open(run.disk, LAYOUT.packs / name)
    assert pack.read(0, 1 << 20) == data
    assert [frame.offset for frame in scan(pack, pack.header, 64)] == [
        frame.offset for frame in scan(source, source.header, 64, end=len(data))
    ]
    verify_pack(pack, pack_name(name) or b"")
    assert LAYOUT.segment(1) not in run.disk.names


def test_handles_that_are_open_go_on_while_segments_are_sealed(run: Run) -> None:
    with run.open() as one, run.open() as two, run.open(read_only=True) as reader:
        made = [run.commit(one, 0)]
        for number in range(1, 30):
            store = (one, two)[number % 2]
            store.refresh()
            made.append(run.commit(store, number, made[-1]))
            if number % 7 == 0:
                keep_up(store)
            if number % 10 == 0:
                store.seal()
        for store in (one, two, reader):
            store.refresh()
            everything_is_there(run, store, made)


def test_opening_reads_the_tail_alone(run: Run) -> None:
    """However long the log is, a second open reads as much as it did when the log was short."""

    def bytes_read() -> int:
        disk = run.disk.killed()
        with open_simulated(disk, read_only=True):
            return disk.bytes_read

    fill(run, rounds=1, commits=30, tail=0)
    with run.open() as store:
        keep_up(store)
        short = bytes_read()
        head = store.ref_commit("heads/main")
        for number in range(100, 220):
            head = run.commit(store, number, head)
            if number % 5 == 4:
                keep_up(store)
        assert bytes_read() < short + 5000
        assert store._log.position.end > 60_000


def test_histories_are_walked_without_reading_commits(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    made = fill(run, tail=0)
    with run.open() as store:
        fork = made[10]
        side = run.commit(store, 900, fork)
        side = run.commit(store, 901, side)
        store.seal()
        keep_up(store)
    with run.open(read_only=True) as store:
        load = store._reader.load

        def refused(kind: Kind, address: bytes) -> object:
            assert kind is not Kind.COMMIT
            return load(kind, address)

        monkeypatch.setattr(store._reader, "load", refused)
        assert list(walk(store.graph, [made[-1]])) == made[::-1]
        assert merge_base(store.graph, made[-1], side) == fork
        assert store.is_ancestor(made[3], side)
        assert not store.is_ancestor(side, made[-1])
        assert ancestor(store.graph, made[-1], 17) == made[-18]


@pytest.mark.parametrize("seed", range(8))
def test_caches_may_be_deleted_or_damaged_at_any_time(run: Run, seed: int) -> None:
    rng = random.Random(seed)
    made = fill(run, tail=seed)
    for _ in range(12):
        disk = run.disk.killed()
        for path in [path for path in disk.names if path.parent == LAYOUT.index]:
            damage(disk, path, rng)
        part = Run(disk, run.contents)
        with part.open() as store:
            everything_is_there(part, store, made)
            made_here = [*made, make_commit(store, b"another ", parent=made[-1])]
            keep_up(store)
            assert sorted(store.commits()) == sorted(made_here)
        with part.open(read_only=True) as store:
            assert sorted(store.commits()) == sorted(made_here)


def damage(disk: SimulatedDisk, path: Path, rng: random.Random) -> None:
    content = disk.names[path]
    assert content is not None
    match rng.randrange(6):
        case 0:
            del disk.names[path]
        case 1:
            disk.names[path] = Content(content.number, bytes(content.data)[: rng.randrange(len(content.data) + 1)])
        case 2 | 3:
            data = bytearray(content.data)
            for _ in range(rng.randrange(1, 4)):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
            disk.names[path] = Content(content.number, data)
        case 4:
            data = bytearray(content.data)
            start = rng.randrange(len(data))
            data[start : start + 512] = bytes(len(data[start : start + 512]))
            disk.names[path] = Content(content.number, data)
        case _:
            pass


def test_a_table_that_is_damaged_while_it_is_in_use_is_made_anew(run: Run) -> None:
    made = fill(run, tail=0)
    with run.open() as store:
        for path, content in run.disk.names.items():
            if path.parent == LAYOUT.index and path.suffix == ".tbl" and content is not None:
                content.data[-500:] = bytes(500)
        everything_is_there(run, store, made)


def test_a_snapshot_that_is_ahead_of_the_log_is_left_aside(run: Run) -> None:
    fill(run, rounds=1)
    before = run.disk.killed()
    with run.open() as store:
        head = store.ref_commit("heads/main")
        for number in range(100, 110):
            head = run.commit(store, number, head)
        keep_up(store)
    for path, content in run.disk.names.items():
        if path.parent == LAYOUT.index:
            before.names[path] = content and Content(content.number + 1000, bytes(content.data))
    with open_simulated(before) as store:
        assert len(store.commits()) == 11
        assert store.damage == ()
        make_commit(store, b"another ")


def test_a_snapshot_of_another_store_is_left_aside(run: Run) -> None:
    made = fill(run)
    other = Run()
    other.create()
    fill(other, commits=9)
    disk = run.disk.killed()
    for path, content in other.disk.names.items():
        if path.parent == LAYOUT.index and content is not None:
            disk.names[path] = Content(content.number + 1000, bytes(content.data))
    with open_simulated(disk) as store:
        everything_is_there(run, store, made)


def test_another_process_uses_the_tables_that_one_has_made(run: Run) -> None:
    with run.open() as one, run.open() as two:
        head = None
        for number in range(20):
            head = run.commit(one, number, head)
        keep_up(one)
        two.refresh()
        assert two._log.catalog.fresh_count() > 20
        two._log.adopt_snapshot()
        assert two._log.catalog.fresh_count() == 0
        assert sorted(two.commits()) == sorted(one.commits())


def test_tables_stay_few(run: Run) -> None:
    with run.open() as store:
        head = None
        for number in range(120):
            head = run.commit(store, number, head)
            keep_up(store)
        assert len(store._log.catalog.tables) <= 6
    snapshot = read_snapshot(run.disk, LAYOUT)
    assert snapshot is not None
    assert sorted([*snapshot.tables, STATE]) == sorted(run.disk.list(LAYOUT.index))


def test_many_packs_get_one_table(run: Run) -> None:
    made = fill(run, rounds=12, commits=3)
    with run.open() as store:
        assert len(store._log.ledger.packs) == 12
        assert len(store._log.catalog.tables) <= 12
        everything_is_there(run, store, made)


def test_every_flipped_bit_of_a_pack_is_noticed_or_harmless(run: Run) -> None:
    made = fill(run, rounds=1, commits=4, tail=1)
    (name,) = run.disk.list(LAYOUT.packs)
    content = run.disk.names[LAYOUT.packs / name]
    assert content is not None
    for at in range(0, len(content.data), 11):
        disk = run.disk.killed()
        data = bytearray(content.data)
        data[at] ^= 1 << at % 8
        disk.names[LAYOUT.packs / name] = Content(content.number, data)
        with pytest.raises(CorruptStore):
            verify_pack(PackSource.open(disk, LAYOUT.packs / name), pack_name(name) or b"")
        with open_simulated(disk) as store:
            for commit in made:
                with contextlib.suppress(CorruptObject, ObjectNotFound):
                    assert read_content(store, commit) == run.contents[commit]


@pytest.mark.parametrize("length", [0, 10, 64, 127, 128, 1000, -1, -64, -100])
def test_a_truncated_pack_is_noticed(run: Run, length: int) -> None:
    fill(run, rounds=1, commits=4, tail=1)
    (name,) = run.disk.list(LAYOUT.packs)
    content = run.disk.names[LAYOUT.packs / name]
    assert content is not None
    run.disk.names[LAYOUT.packs / name] = Content(content.number, bytes(content.data)[:length])
    with run.open() as store:
        assert [damage.path for damage in store.damage] == [LAYOUT.packs / name]
        with pytest.raises(CorruptStore):
            make_commit(store, b"refused ")


def test_a_newer_pack_is_refused(run: Run) -> None:
    fill(run, rounds=1, commits=4, tail=1)
    (name,) = run.disk.list(LAYOUT.packs)
    content = run.disk.names[LAYOUT.packs / name]
    assert content is not None
    trailer = bytearray(content.data[-64:-32])
    struct.pack_into("<I", trailer, 8, 7)
    content.data[-64:] = trailer + blake3(trailer).digest()
    with pytest.raises(UnsupportedFormat):
        run.open()


def test_only_one_process_does_upkeep(run: Run) -> None:
    with run.open() as one, run.open(lock_seconds=0.01) as two:
        run.commit(one, 1)
        with one._to_write().upkeep.alone, pytest.raises(StoreLocked):
            two.seal()
        two.seal()


def test_a_thread_does_it_on_a_real_disk(tmp_path: Path) -> None:
    Store.create(tmp_path, segment_bytes_max=1 << 16)
    with Store.open(tmp_path, disk=RealDisk()) as store:
        head, made = None, []
        for number in range(300):
            head = make_commit(store, b"%8d" % number, parent=head, branch="main")
            made.append(head)
        assert store._to_write().upkeep.failure is None
    with Store.open(tmp_path) as store:
        assert sorted(store.commits()) == sorted(made)
        store.seal()
        assert len(list((tmp_path / ".piecrust" / "log").iterdir())) == 1
        assert [read_content(store, commit) for commit in made[::30]] == [b"%8d" % n for n in range(0, 300, 30)]
    with Store.open(tmp_path, read_only=True) as store:
        assert store._log.catalog.fresh_count() <= 20
        assert sorted(store.commits()) == sorted(made)


def test_sealing_at_once_waits_for_the_thread_that_seals(tmp_path: Path) -> None:
    """An flock does not keep two threads apart that share the file."""
    Store.create(tmp_path, segment_bytes_max=1 << 16)
    with Store.open(tmp_path, lock_seconds=0.01) as store:
        alone = store._to_write().upkeep.alone
        refused: list[bool] = []

        def attempt() -> None:
            refused.append(not alone.try_enter())
            with pytest.raises(StoreLocked):
                store.seal()

        with alone:
            thread = threading.Thread(target=attempt)
            thread.start()
            thread.join()
        assert refused == [True]
        store.seal()


def test_operations_of_a_segment_that_a_table_covers_in_part_keep_their_numbers(run: Run) -> None:
    with run.open() as store:
        head = None
        for number in range(12):
            if number == 4:
                rotate(store)
                keep_up(store)
            if number == 8:
                rotate(store)
            head = run.commit(store, number, head)
    for read_only in (True, False):
        with open_simulated(run.disk.killed(), read_only=read_only) as store:
            assert [record.sequence for record in store.operations()] == list(reversed(range(12)))
