"""Garbage collection: what lives stays, what is dead goes, whoever commits, reads, crashes or is killed meanwhile."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from piecrust.objects import collector
from piecrust.objects.errors import CommitPinned, Conflict, CorruptObject, CorruptStore, ObjectNotFound, StoreReadOnly
from piecrust.objects.format import Layout
from piecrust.objects.frame import Encoding
from piecrust.objects.garbage import GarbageReport
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import page_hash
from piecrust.objects.store import Store
from support.crashes import DIRECTORY, Run, check, explore, keep_up, look, open_simulated, rotate
from support.stores import make_commit, read_content, read_page, stage_commit

LAYOUT = Layout(DIRECTORY / ".piecrust")


def big(number: int) -> dict[int, bytes]:
    """A page that can't be compressed much."""
    return {1: (b"%8d" % number + random.Random(number).randbytes(3000)).ljust(65536, b"\0")}


def delete(store: Store, *commits: CommitId) -> None:
    transaction = store.transaction()
    for commit in commits:
        transaction.delete(commit)
    transaction.publish(Operation("delete"))


def set_ref(store: Store, name: str, commit: CommitId | None) -> None:
    transaction = store.transaction()
    transaction.set_ref(name, commit)
    transaction.publish(Operation("move", (name,)))


def collect(store: Store, retention_seconds: float = 0) -> GarbageReport:
    return store.gc(retention_seconds=retention_seconds)


def dry_run(store: Store) -> GarbageReport:
    return store.gc(retention_seconds=0, dry_run=True)


@pytest.fixture
def run() -> Run:
    run = Run()
    run.create()
    return run


def test_a_dry_run_counts_what_a_run_counts_also_of_a_pack_that_this_handle_has_sealed(run: Run) -> None:
    with run.open() as store, run.open() as other:
        first = make_commit(store, b"1", branch="main")
        make_commit(store, b"2", parent=first, branch="main", expected=first)
        collect(store)
        delete(store, first)
        other.refresh()
        counts = [(r.objects_live, r.objects_dead, r.bytes_dead) for r in (dry_run(store), dry_run(other))]
        report = collect(store)
        assert counts == [(report.objects_live, report.objects_dead, report.bytes_dead)] * 2


def test_what_is_deleted_goes_and_nothing_else_changes(run: Run) -> None:
    with run.open() as store, run.open(read_only=True) as reader:
        first = make_commit(store, b"", pages=big(1), branch="main")
        kept = [make_commit(store, b"", pages=big(n), parent=first) for n in range(2, 8)]
        dead = [make_commit(store, b"", pages=big(n), parent=first) for n in range(10, 20)]
        report = collect(store)
        assert (report.commits_living, report.commits_collected, report.objects_dead) == (17, 0, 0)
        reader.refresh()
        delete(store, *dead)
        report = collect(store)
        assert (report.commits_living, report.commits_collected, report.tombstones) == (7, 10, 0)
        assert report.bytes_after < report.bytes_before - 10 * 2500
        for handle in (store, reader):
            handle.refresh()
            assert set(handle.commits()) == {first, *kept}
            for number, commit in enumerate([first, *kept], start=1):
                assert read_page(handle, commit) == big(number)[1]
        assert not any(store.contains(Kind.COMMIT, commit) for commit in dead)
        for handle in (store, reader):
            handle._reader.cache.clear()
        with pytest.raises(ObjectNotFound):
            read_page(store, dead[0])
        # A handle that reads may still be in a session on it: what it has mapped stays.
        assert read_page(reader, dead[0]) == big(10)[1]
    with run.open() as store:
        assert set(store.commits()) == {first, *kept}
        assert collect(store).objects_dead == 0


def test_what_was_collected_is_no_root_of_the_next_run_though_its_operation_can_still_be_read(
    tmp_path: Path,
) -> None:
    with Store.open(tmp_path, create=True) as store:
        first = make_commit(store, b"1")
        second = make_commit(store, b"2", parent=first)
        assert store.is_ancestor(first, second)  # the graph remembers them
        delete(store, first, second)
        store.gc()
        assert not store.contains(Kind.COMMIT, second)
        assert store.gc().commits_living == 0


def test_a_dry_run_changes_nothing_and_says_the_same(run: Run) -> None:
    with run.open() as store:
        first = make_commit(store, b"", pages=big(1))
        delete(store, *[make_commit(store, b"", pages=big(n), parent=first) for n in range(10, 15)])
        before = dict(run.disk.names)
        found = store.gc(dry_run=True, retention_seconds=0)
        assert found.dry_run
        assert dict(run.disk.names) == before
        with run.open(read_only=True) as reader:
            assert reader.gc(dry_run=True, retention_seconds=0).as_dict() == found.as_dict()
            with pytest.raises(StoreReadOnly):
                reader.gc()
        done = collect(store)
        for name in ("commits_living", "commits_collected", "objects_live", "objects_dead", "bytes_dead"):
            assert getattr(done, name) == getattr(found, name), name


def test_a_deleted_commit_with_descendants_stays_as_a_tombstone(run: Run) -> None:
    with run.open() as store:
        first = make_commit(store, b"", pages=big(1))
        middle = make_commit(store, b"", pages=big(2), parent=first)
        last = make_commit(store, b"", pages=big(3), parent=middle, branch="main")
        delete(store, middle)
        report = collect(store)
        assert (report.commits_living, report.commits_collected, report.tombstones) == (2, 0, 1)
    for read_only in (False, True):
        with run.open(read_only=read_only) as store:
            assert set(store.commits()) == {first, last}
            assert store.is_deleted(middle)
            assert store.graph(last).parents == (middle,)
            assert store.graph(middle).parents == (first,)
            assert read_page(store, first) == big(1)[1]
            assert read_page(store, last) == big(3)[1]
            with pytest.raises((ObjectNotFound, CorruptObject)):
                read_page(store, middle)
    with run.open() as store:
        assert store._log.ledger.exceptions == {}
        with pytest.raises(Conflict):
            set_ref(store, "heads/back", middle)
        # Made again, it is a commit like any other.
        assert make_commit(store, b"", pages=big(2), parent=first) == middle
        assert not store.is_deleted(middle)
        assert collect(store).commits_living == 3
        assert read_page(store, middle) == big(2)[1]
        assert set(store.commits()) == {first, middle, last}


def test_pins_and_refs_and_ancestors_live(run: Run) -> None:
    with run.open() as store:
        line = [make_commit(store, b"", pages=big(0))]
        for number in range(1, 6):
            line.append(make_commit(store, b"", pages=big(number), parent=line[-1]))
        set_ref(store, f"pins/{line[2]}", line[2])
        with pytest.raises(CommitPinned):
            delete(store, line[1])
        delete(store, line[4], line[5])
        set_ref(store, "tags/v1", line[3])
        report = collect(store)
        assert (report.commits_living, report.commits_collected) == (4, 2)
        for number, commit in enumerate(line[:4]):
            assert read_page(store, commit) == big(number)[1]


def test_what_an_operation_left_can_be_undone_within_the_retention(run: Run) -> None:
    clock = iter(range(10**18, 2 * 10**18, 10**9))
    with Store.open(DIRECTORY, disk=run.disk, background=False, clock=lambda: next(clock)) as store:
        drafts = []
        for number in range(3):
            transaction = store.transaction()
            commit = stage_commit(transaction, b"", pages=big(number))
            transaction.kept.clear()
            transaction.set_ref("draft", commit)
            transaction.publish(Operation("call"))
            drafts.append(commit)
        set_ref(store, "draft", None)
        assert store.gc(retention_seconds=10**10).commits_collected == 0
        assert read_page(store, drafts[0]) == big(0)[1]
        assert store.gc(retention_seconds=0).commits_collected == 3
        assert not store.contains(Kind.COMMIT, drafts[0])


def test_what_a_session_stands_on_lives(run: Run) -> None:
    with run.open() as one, run.open() as two:
        commit = make_commit(one, b"", pages=big(1))
        with two.lease(commit):
            delete(one, commit)
            assert collect(one).commits_collected == 0
            two.refresh()
            assert read_page(two, commit) == big(1)[1]
            child = make_commit(two, b"", pages=big(2), parent=commit)
        report = collect(one)
        assert (report.commits_living, report.tombstones) == (1, 1)
        assert read_page(one, child) == big(2)[1]


def test_a_commit_whose_base_was_collected_meanwhile_is_a_conflict(run: Run) -> None:
    with run.open() as one, run.open() as two:
        base = make_commit(one, b"", pages=big(1))
        two.refresh()
        transaction = two.transaction()
        child = stage_commit(transaction, b"", pages=big(2), parent=base)
        delete(one, base)
        collect(one)
        with pytest.raises(Conflict):
            transaction.publish(Operation("commit"))
        assert not two.contains(Kind.COMMIT, child)


def test_what_was_left_out_because_it_was_there_is_written_after_all(run: Run) -> None:
    with run.open() as one, run.open() as two:
        dead = make_commit(one, b"", pages=big(1))
        two.refresh()
        transaction = two.transaction()
        again = stage_commit(transaction, b"", pages=big(1), message="the same state")
        assert (Kind.PAGE, read_address(two, dead)) in transaction.assumed
        delete(one, dead)
        assert collect(one).commits_collected == 1
        transaction.publish(Operation("commit"))
        assert read_page(two, again) == big(1)[1]
        one.refresh()
        assert read_page(one, again) == big(1)[1]


def read_address(store: Store, commit: CommitId) -> bytes:
    return page_hash(read_page(store, commit))


def test_the_base_of_a_delta_stays_as_long_as_the_delta(run: Run) -> None:
    data = bytearray(random.Random(1).randbytes(65536))
    with run.open() as store:
        whole = make_commit(store, b"", pages={1: bytes(data)})
        address = read_address(store, whole)
        data[:8] = b"changed1"
        delta = make_commit(store, b"", pages={1: bytes(data)}, parent=whole)
        found = store._reader.catalog.locate(Kind.PAGE, read_address(store, delta))
        assert found is not None
        assert found.encoding == Encoding.DELTA
        delete(store, whole)
        collect(store)
        store._reader.cache.clear()
        assert read_page(store, delta) == bytes(data)
        assert store.contains(Kind.PAGE, address)
        delete(store, delta)
        collect(store)
        assert not store.contains(Kind.PAGE, address)


def test_a_delta_is_not_made_against_what_was_collected(run: Run) -> None:
    data = bytearray(random.Random(1).randbytes(65536))
    with run.open() as one, run.open() as two:
        whole = make_commit(two, b"", pages={1: bytes(data)}, message="whole")
        data[:8] = b"changed1"
        delta = make_commit(two, b"", pages={1: bytes(data)}, parent=whole)
        one.refresh()
        delete(one, delta, whole)
        other = make_commit(one, b"", pages=big(5))
        collect(one)
        data[:8] = b"changed2"
        # The base is still in this handle's cache and memory, but no longer in the store.
        fresh = make_commit(two, b"", pages={1: bytes(data)})
        with run.open() as third:
            assert read_page(third, fresh) == bytes(data)
            assert read_page(third, other) == big(5)[1]


def test_operations_stay_in_order_through_sealing_and_collecting(run: Run) -> None:
    with run.open() as store:
        commits = [make_commit(store, b"%8d" % n) for n in range(12)]
        rotate(store)
        keep_up(store)
        commits += [make_commit(store, b"%8d" % n) for n in range(12, 24)]
        delete(store, *commits[::2])
        before = list(store.operations())
        collect(store)
        assert list(store.operations()) == before
        commits += [make_commit(store, b"%8d" % n) for n in range(24, 30)]
        delete(store, *commits[1:9:2])
        before = list(store.operations())
        collect(store)
    with run.open(read_only=True) as store:
        assert list(store.operations()) == before
        assert [record.sequence for record in before] == list(reversed(range(len(before))))


def test_old_operations_go_when_there_are_many(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("piecrust.objects.marking.OPERATIONS_KEPT_MIN", 5)
    with run.open() as store:
        for number in range(20):
            make_commit(store, b"%8d" % number)
        collect(store)
        assert [record.sequence for record in store.operations()] == list(reversed(range(15, 20)))
        assert len(store.commits()) == 20
    with run.open() as store:
        make_commit(store, b"another ")
        assert [record.sequence for record in store.operations()] == list(reversed(range(15, 21)))


def test_room_comes_back(run: Run) -> None:
    """After deleting nine tenths the store is about as large as one that never held them."""
    fresh = Run()
    fresh.create()
    with run.open() as store, fresh.open() as other:
        keep = []
        for number in range(300):
            commit = make_commit(store, b"", pages=big(number))
            if number % 10 == 0:
                keep.append(commit)
                make_commit(other, b"", pages=big(number))
        delete(store, *(set(store.commits()) - set(keep)))
        after = collect(store).bytes_after
        assert after < 1.05 * collect(other).bytes_after


def test_what_was_said_of_files_goes_with_them(run: Run) -> None:
    """Neither the index nor the log grows by what was collected."""
    with run.open() as store:
        first = make_commit(store, b"", pages=big(0), branch="main")
        many = [make_commit(store, b"", pages=big(number), parent=first) for number in range(1, 60)]
        keep_up(store)
        delete(store, *many)
        collect(store)
        assert store._log.ledger.condemned == set()
        assert not store._to_write().log.in_use
        index = sum(len(c.data) for p, c in run.disk.names.items() if c and p.parent == LAYOUT.index)
        assert index < 600
        names = run.disk.list(LAYOUT.log)
        collect(store)
        assert run.disk.list(LAYOUT.log) == names, "there was nothing to do"
    with run.open(read_only=True) as store:
        assert store.commits() == [first]


def test_a_segment_that_holds_operations_is_kept(run: Run) -> None:
    with run.open() as store, run.open() as other:
        first = make_commit(store, b"", pages=big(0), branch="main")
        delete(store, make_commit(store, b"", pages=big(1)))

        def meanwhile(what: str, _done: int, _total: int) -> None:
            if what == "rewrite":
                set_ref(other, "tags/meanwhile", first)

        store.gc(retention_seconds=0, progress=meanwhile)
        assert [record.sequence for record in store.operations()] == [3, 2, 1, 0]
        collect(store)
    with run.open(read_only=True) as store:
        assert [record.sequence for record in store.operations()] == [3, 2, 1, 0]
        assert store.ref("tags/meanwhile") == first


def test_pack_by_pack_there_is_one_too_many_at_most() -> None:
    sizes: list[int] = []

    def watch(_what: str, _done: int, _total: int) -> None:
        where = (LAYOUT.packs, LAYOUT.quarantine)
        sizes.append(sum(len(c.data) for p, c in run.disk.names.items() if c and p.parent in where))

    run = Run()
    run.create(segment_bytes_max=1 << 16)
    with run.open() as store:
        keep_everything_large(store)
        largest = max(len(c.data) for p, c in run.disk.names.items() if c and p.parent == LAYOUT.packs)
        before = sum(len(c.data) for p, c in run.disk.names.items() if c and p.parent == LAYOUT.packs)
        store.gc(retention_seconds=0, progress=watch)
        assert len(sizes) > 3
        assert max(sizes) <= before + 2 * largest
        watch("", 0, 0)
        assert sizes[-1] < before // 2


def keep_everything_large(store: Store) -> None:
    commits = [make_commit(store, b"", pages=big(number)) for number in range(150)]
    store.seal()
    delete(store, *(commit for number, commit in enumerate(commits) if number % 5))


def test_collecting_stops_before_it_takes_anything_if_something_is_damaged(run: Run) -> None:
    with run.open() as store:
        commit = make_commit(store, b"", pages=big(1))
        dead = make_commit(store, b"", pages=big(2))
        delete(store, dead)
        store.seal()
        at = store._reader.catalog.locate(Kind.NODE, store.load(Kind.COMMIT, commit).state_root)
        assert at is not None
    (path,) = [path for path in run.disk.names if path.parent == LAYOUT.packs]
    content = run.disk.names[path]
    assert content is not None
    content.data = bytearray(content.data)
    content.data[at.offset + 90] ^= 1
    with run.open() as store:
        with pytest.raises((CorruptObject, CorruptStore)):
            collect(store)
        assert run.disk.names[path] is content


def test_a_pack_that_cannot_be_read_back_is_taken_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with run.open() as store:
        commit = make_commit(store, b"", pages=big(1))
        delete(store, make_commit(store, b"", pages=big(2)))
        store.seal()
        (before,) = run.disk.list(LAYOUT.packs)

        def broken(source: object, name: bytes) -> None:
            raise CorruptStore(LAYOUT.packs, 0, "flipped")

        with monkeypatch.context() as patch:
            patch.setattr(collector, "verify_pack", broken)
            with pytest.raises(CorruptStore, match="flipped"):
                collect(store)
        assert read_page(store, commit) == big(1)[1]
        assert [pack.name.hex() + ".pk" for pack in store._log.ledger.packs] == [before]
        assert collect(store).commits_living == 1
        assert read_page(store, commit) == big(1)[1]
        assert run.disk.list(LAYOUT.quarantine) == []


def test_quarantine_is_kept_on_demand_until_the_next_run(run: Run) -> None:
    with run.open() as store:
        make_commit(store, b"", pages=big(1))
        delete(store, make_commit(store, b"", pages=big(2)))
        store.gc(retention_seconds=0, keep_quarantine=True)
        assert len(run.disk.list(LAYOUT.quarantine)) == 1
        collect(store)
        assert run.disk.list(LAYOUT.quarantine) == []
        assert store.restore_collected() == 0


def test_what_is_in_quarantine_can_be_brought_back(run: Run) -> None:
    with run.open() as store, run.open() as other:
        kept, dead = make_commit(store, b"", pages=big(1)), make_commit(store, b"", pages=big(2))
        delete(store, dead)
        store.gc(retention_seconds=0, keep_quarantine=True)
        assert not store.contains(Kind.COMMIT, dead)
        assert store.restore_collected() == 1
        for handle in (store, other):
            handle.refresh()
            handle._reader.cache.clear()
            assert read_page(handle, dead) == big(2)[1]
            assert read_page(handle, kept) == big(1)[1]
            assert set(handle.commits()) == {kept, dead}
        delete(store, dead)
        assert collect(store).commits_collected == 1
        assert set(store.commits()) == {kept}


# What others do between any two steps of a run.


def at_every_step(run: Run, act: Callable[[Store, int], None], prepare: Callable[[Store], None]) -> int:
    """Collect with `act` done by another handle after the n-th call of the disk, for every n."""
    number = 0
    while True:
        part = Run(run.disk.killed(), run.contents)
        with part.open() as one, part.open() as two:
            prepare(one)
            two.refresh()
            start = len(part.disk.calls)
            part.disk.interrupt_at = (start + number, lambda two=two, number=number: act(two, number))
            try:
                collect(one)
            except Conflict:
                pytest.fail("collecting met a conflict")
            reached, part.disk.interrupt_at = part.disk.interrupt_at is None, None
        with part.open() as store:
            assert store.damage == ()
            for commit in store.commits():
                assert read_content(store, commit) == part.contents[commit]
        if not reached:
            return number
        number += 1


def test_commits_between_any_two_steps_are_safe(run: Run) -> None:
    """Somebody makes the very states again that are being collected, as new commits and as the old ones."""
    dead: list[CommitId] = []

    def prepare(store: Store) -> None:
        nonlocal dead
        contents = [b"kept    ", b"dead one", b"dead two"]
        commits = [make_commit(store, content) for content in contents]
        run.contents |= dict(zip(commits, contents, strict=True))
        dead = commits[1:]
        delete(store, *dead)

    def act(store: Store, number: int) -> None:
        store.refresh()
        again = make_commit(store, b"dead one", message=f"again {number % 2}")
        run.contents[again] = b"dead one"
        if number % 3 == 0:
            assert make_commit(store, b"dead two") == dead[1]
        child = make_commit(store, b"child   ", parent=again)
        run.contents[child] = b"child   "
        store._reader.cache.clear()
        assert read_content(store, child) == b"child   "
        assert read_content(store, again) == b"dead one"

    steps = at_every_step(run, act, prepare)
    assert steps > 60


def sealed_and_collected(run: Run) -> None:
    with run.open() as store:
        first = run.commit(store, 1)
        delete(store, make_commit(store, b"garbage1"), make_commit(store, b"garbage2"))
        second = run.commit(store, 2, first)
        collect(store)
        run.commit(store, 3, second)


def test_power_may_go_at_any_time_while_garbage_is_collected() -> None:
    run = Run()
    run.create()
    run.synced()
    sealed_and_collected(run)
    assert explore(run, states_max=3, seed=7) > 300


def test_a_run_that_was_killed_at_any_point_is_finished_by_the_next(run: Run) -> None:
    part = Run(run.disk.killed(), run.contents)
    sealed_and_collected(part)
    sizes = set()
    for stop in range(0, len(part.disk.events), 2):
        dead = part.disk.replayed(run.disk.killed(), stop)
        marks = ["created", *(event.mark for event in part.disk.events[:stop] if event.name == "mark")]
        check(part, dead, marks)
        with open_simulated(dead.killed()) as store:
            collect(store)
            look(part, store, [mark for mark in marks if isinstance(mark, CommitId)])
            for directory in (LAYOUT.quarantine, LAYOUT.tmp):
                assert store._log.disk.list(directory) == []
            sizes.add(len(store._log.disk.list(LAYOUT.packs)))
    assert sizes <= {0, 1, 2}
