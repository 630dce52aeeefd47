"""What happens on the disk when something is published: one write, one sync, and only then the acknowledgement."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from piecrust.objects import publisher, upkeep
from piecrust.objects.disk import Mode, RealDisk
from piecrust.objects.errors import CorruptStore, StoreClosed, StoreFull, StoreIOError
from piecrust.objects.format import Layout
from piecrust.objects.store import Store
from support.crashes import DIRECTORY, Run, check, keep_up, open_simulated
from support.simulated_disk import Fault, SimulatedDisk
from support.stores import make_commit, read_content

SEGMENT = Layout(DIRECTORY / ".piecrust").segment(1)
Work = Callable[[Run, Store], None]


def changes(disk: SimulatedDisk) -> list[str]:
    return [event.name for event in disk.events]


@pytest.fixture
def run() -> Run:
    run = Run()
    run.create()
    return run


def test_a_commit_is_one_write_then_one_sync_then_the_acknowledgement(run: Run) -> None:
    with run.open() as store:
        parent = run.commit(store, 1)
        run.disk.events.clear()
        for number in range(2, 6):
            parent = run.commit(store, number, parent)
        # The second write is DURABLE's slot; the mark is set when `publish` has returned.
        assert changes(run.disk) == ["write", "sync", "write", "mark"] * 4
        files = [event.content.number for event in run.disk.events if event.content is not None]
        assert files[0::3] == files[1::3] != files[2::3]


def test_a_batch_has_one_write_and_one_sync(run: Run) -> None:
    with run.open() as store:
        parent = run.commit(store, 1)
        run.disk.events.clear()
        with store.batch():
            for number in range(2, 12):
                parent = run.commit(store, number, parent, acknowledge=False)
        assert changes(run.disk) == ["write", "sync", "write"]


def test_reading_writes_nothing(run: Run) -> None:
    with run.open() as store:
        commit = run.commit(store, 1)
    disk = run.disk.killed()
    with open_simulated(disk, read_only=True) as store:
        assert read_content(store, commit) == run.contents[commit]
        list(store.operations())
    assert disk.events == []


@pytest.mark.skipif(sys.platform == "darwin", reason="there it is fcntl with F_FULLFSYNC")
def test_a_real_commit_calls_fdatasync_once_between_its_write_and_the_acknowledgement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, str]] = []
    for name in ("pwrite", "fdatasync", "fsync"):
        monkeypatch.setattr(os, name, _noting(calls, name, getattr(os, name)))
    with Store.open(tmp_path, create=True, disk=RealDisk()) as store:
        parent = make_commit(store, b"first   ")
        calls.clear()
        for number in range(3):
            parent = make_commit(store, b"%8d" % number, parent=parent)
            calls.append(("acknowledged", ""))
    segment = "00000001.seg"
    commit = [("pwrite", segment), ("fdatasync", segment), ("pwrite", "DURABLE"), ("acknowledged", "")]
    assert calls == commit * 3


def _noting(calls: list[tuple[str, str]], name: str, function: Callable) -> Callable:
    """The system call, noted with the file that it is made on."""

    def noted(descriptor: int, *arguments: object) -> object:
        calls.append((name, Path(f"/proc/self/fd/{descriptor}").readlink().name))
        return function(descriptor, *arguments)

    return noted


def test_without_sync_a_store_is_exact_for_this_boot(run: Run) -> None:
    with run.open(sync=False) as store:
        first = run.commit(store, 1)
        run.disk.events.clear()
        second = run.commit(store, 2, first)
        assert changes(run.disk) == ["write", "write", "mark"]
    with run.open() as store:
        assert store.commits() == [first, second]
        third = run.commit(store, 3, second)
    check(run, run.disk.killed(), [first, second, third])


def test_a_full_disk_leaves_the_store_as_it_was(run: Run) -> None:
    with run.open() as store:
        first = run.commit(store, 1)
        run.commit(store, 2, first)
        for short in (0, 1, 63, 64, 300):
            before = list(store.operations())
            run.disk.fail_next("write", Fault(errno.ENOSPC, short=short, lasting=True))
            with pytest.raises(StoreFull):
                make_commit(store, b"too much", parent=first)
            run.disk.clear_faults()
            assert list(store.operations()) == before
            run.commit(store, 10 + short, first)
    check(run, run.disk.killed(), list(run.contents)[:2])


def test_a_failed_sync_ends_the_handle_and_loses_nothing_acknowledged(run: Run) -> None:
    store = run.open()
    first = run.commit(store, 1)
    run.disk.fail_next("sync", Fault(errno.EIO))
    with pytest.raises(StoreIOError) as caught:
        make_commit(store, b"unknown ", parent=first, branch="main")
    assert (caught.value.operation, caught.value.errno) == ("sync", errno.EIO)
    with pytest.raises(StoreClosed) as closed:
        store.commits()
    assert closed.value.reason == "sync failed"
    with run.open() as store:
        # What was not acknowledged is not there, even if its bytes are in the file.
        assert store.commits() == [first]
        second = run.commit(store, 2, first)
    check(run, run.disk.killed(), [first, second])


def test_what_another_handle_left_behind_when_it_failed_is_not_written_over(run: Run) -> None:
    with run.open() as store:
        first = run.commit(store, 1)
        other = run.open()
        run.disk.fail_next("sync", Fault(errno.EIO))
        with pytest.raises(StoreIOError):
            make_commit(other, b"left    ", parent=first)
        left = run.disk.names[SEGMENT]
        assert left is not None
        before = bytes(left.data)
        second = run.commit(store, 2, first)
        assert bytes(left.data) == before
        assert store.commits() == [first, second]
    check(run, run.disk.killed(), [first, second])


def test_what_lies_behind_the_log_after_a_loss_of_power_is_not_written_over(run: Run) -> None:
    """The blocks of a write get to the disk in any order: its first one may be missing."""
    with run.open() as store:
        first = run.commit(store, 1)
        end = store._log.position.end
    disk = run.disk.killed()
    disk.boot += 1
    file = disk.open(SEGMENT, Mode.WRITE)
    file.write(end + 4096, b"left")
    with open_simulated(disk) as store:
        second = make_commit(store, b"second  ", parent=first)
        assert file.read(end, 4100) == bytes(4096) + b"left"
        assert store.commits() == [first, second]


def committing(run: Run, store: Store) -> None:
    run.commit(store, 2, run.commit(store, 1), filler=700)


def sealing_and_collecting(run: Run, store: Store) -> None:
    first = run.commit(store, 1)
    run.give_up(store, [make_commit(store, b"garbage "), make_commit(store, b"garbage2")])
    with contextlib.suppress(OSError):  # the thread that does this takes it as a failure of its own
        keep_up(store)
    store.seal()
    run.commit(store, 2, first)
    store.gc(retention_seconds=0)
    run.commit(store, 3, first)


def publishing_much(run: Run, store: Store) -> None:
    frame_bytes, publisher.FRAME_BYTES = publisher.FRAME_BYTES, 600
    try:
        with store.batch():
            first = run.commit(store, 1, filler=3000, acknowledge=False)
            run.commit(store, 2, first, acknowledge=False)
    finally:
        publisher.FRAME_BYTES = frame_bytes
    run.disk.mark(first)


@pytest.mark.parametrize("work", [committing, publishing_much, sealing_and_collecting])
@pytest.mark.parametrize("fault", [Fault(errno.EIO), Fault(errno.ENOSPC), Fault(errno.ENOSPC, short=20)], ids=repr)
def test_whatever_call_fails_the_store_stays_whole(work: Work, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "FRESH_OBJECTS_MAX", 1)
    number = 0
    while survives(work, number, fault):
        number += 1
    assert number > 10


def survives(work: Work, number: int, fault: Fault) -> bool:
    """Fail the n-th call of a run; False when the run has no more calls."""
    run = Run()
    run.create()
    first_call = len(run.disk.calls)
    run.disk.faults = {first_call + number: fault}
    with contextlib.suppress(StoreFull, StoreIOError, StoreClosed, CorruptStore), run.open() as store:
        work(run, store)
    reached = len(run.disk.calls) > first_call + number
    run.disk.clear_faults()
    acknowledged = ["created", *(event.mark for event in run.disk.events if event.name == "mark")]
    check(run, run.disk.killed(), acknowledged)
    return reached
