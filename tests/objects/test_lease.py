from __future__ import annotations

from pathlib import Path

from piecrust.objects.disk import RealDisk
from piecrust.objects.format import STORE_DIRECTORY, Layout
from piecrust.objects.ids import CommitId
from piecrust.objects.lease import Leases, leased_commits
from piecrust.objects.store import Store
from support.processes import start
from support.workers import hold_lease

COMMITS = [CommitId(bytes([i]) * 32) for i in range(8)]


def layout_of(directory: Path) -> Layout:
    Store.create(directory)
    return Layout(directory / STORE_DIRECTORY)


def test_leases_count_their_holders(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    leases = Leases(RealDisk(), layout)
    assert leased_commits(RealDisk(), layout) == set()
    with leases.hold(COMMITS[0]), leases.hold(COMMITS[1]):
        with leases.hold(COMMITS[0]), leases.hold(COMMITS[2]):
            assert leased_commits(RealDisk(), layout) == set(COMMITS[:3])
        assert leased_commits(RealDisk(), layout) == set(COMMITS[:2])
        with leases.hold(COMMITS[3]):
            assert leased_commits(RealDisk(), layout) == {COMMITS[0], COMMITS[1], COMMITS[3]}
    assert leased_commits(RealDisk(), layout) == set()
    leases.close()
    assert not list(layout.leases.iterdir())
    assert not list(layout.tmp.iterdir())


def test_a_lease_ends_with_its_process(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    process, connection = start(hold_lease, tmp_path, bytes(COMMITS[5]))
    connection.recv()
    assert leased_commits(RealDisk(), layout) == {COMMITS[5]}
    process.kill()
    process.join()
    assert len(list(layout.leases.iterdir())) == 1
    assert leased_commits(RealDisk(), layout) == set()
    assert not list(layout.leases.iterdir())


def test_a_damaged_slot_is_no_lease(tmp_path: Path) -> None:
    layout = layout_of(tmp_path)
    leases = Leases(RealDisk(), layout)
    leases.acquire(COMMITS[0])
    leases.acquire(COMMITS[1])
    (path,) = layout.leases.iterdir()
    data = bytearray(path.read_bytes())
    data[3] ^= 1
    with path.open("r+b") as file:
        file.write(data[:78])
    assert leased_commits(RealDisk(), layout) == {COMMITS[1]}
    leases.close()
