"""What the store relies on, held by the real disk and by the simulated one."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from piecrust.objects.disk import Disk, Mode, RealDisk, store_error, write_all
from piecrust.objects.errors import StoreFull, StoreIOError
from support.simulated_disk import ROOT, Fault, SimulatedDisk


class DiskSuite:
    """Subclasses give `disk` and an empty directory `root`."""

    def test_bytes_are_read_where_they_were_written(self, disk: Disk, root: Path) -> None:
        file = disk.open(root / "a", Mode.CREATE)
        assert file.write(0, b"hello") == 5
        assert file.write(8, memoryview(b"there")) == 5
        assert file.read(0, 100) == b"hello\0\0\0there"
        assert file.read(8, 3) == b"the"
        assert file.read(13, 5) == b""
        assert file.size() == 13
        file.sync()
        file.close()

    def test_modes_say_whether_a_file_must_exist(self, disk: Disk, root: Path) -> None:
        for mode in (Mode.READ, Mode.WRITE):
            with pytest.raises(FileNotFoundError):
                disk.open(root / "a", mode)
        disk.open(root / "a", Mode.ENSURE).close()
        disk.open(root / "a", Mode.ENSURE).close()
        with pytest.raises(FileExistsError):
            disk.open(root / "a", Mode.CREATE)
        disk.open(root / "a", Mode.READ).close()
        with pytest.raises(FileNotFoundError):
            disk.open(root / "missing" / "a", Mode.CREATE)

    def test_allocated_room_is_zeros_or_is_not_there(self, disk: Disk, root: Path) -> None:
        file = disk.open(root / "a", Mode.CREATE)
        file.write(0, b"hello")
        file.allocate(5, 4091)
        assert file.read(0, 5000) in (b"hello", b"hello" + bytes(4091))
        file.close()

    def test_a_map_shows_later_writes_and_outlives_the_name(self, disk: Disk, root: Path) -> None:
        file = disk.open(root / "a", Mode.CREATE)
        file.write(0, bytes(256))
        view = file.map()
        file.write(10, b"later")
        assert bytes(view[10:15]) == b"later"
        assert view.readonly
        disk.unlink(root / "a")
        file.close()
        assert bytes(view[10:15]) == b"later"

    def test_an_empty_file_maps_to_nothing(self, disk: Disk, root: Path) -> None:
        file = disk.open(root / "a", Mode.CREATE)
        assert len(file.map()) == 0
        file.close()

    def test_renaming_replaces_and_unlinking_removes(self, disk: Disk, root: Path) -> None:
        for name in ("a", "b"):
            file = disk.open(root / name, Mode.CREATE)
            file.write(0, name.encode())
            file.close()
        disk.make_directory(root / "sub")
        disk.make_directory(root / "sub")
        disk.rename(root / "a", root / "sub" / "c")
        disk.rename(root / "b", root / "sub" / "c")
        disk.sync_directory(root / "sub")
        assert disk.list(root) == ["sub"]
        assert disk.list(root / "sub") == ["c"]
        file = disk.open(root / "sub" / "c", Mode.READ)
        assert file.read(0, 9) == b"b"
        file.close()
        disk.unlink(root / "sub" / "c")
        with pytest.raises(FileNotFoundError):
            disk.unlink(root / "sub" / "c")
        disk.remove_directory(root / "sub")
        assert disk.list(root) == disk.list(root / "sub") == []

    def test_a_directory_is_made_with_its_parents(self, disk: Disk, root: Path) -> None:
        disk.make_directory(root / "x" / "y")
        assert disk.list(root / "x") == ["y"]

    def test_a_lock_keeps_other_handles_out_until_it_is_given_back(self, disk: Disk, root: Path) -> None:
        one, two = disk.open(root / "a", Mode.CREATE), disk.open(root / "a", Mode.READ)
        assert one.try_lock()
        assert one.try_lock()
        assert not two.try_lock()
        one.unlock()
        assert two.try_lock()
        two.close()
        assert one.try_lock()
        one.close()

    def test_a_copy_has_another_inode_and_a_renamed_file_the_same(self, disk: Disk, root: Path) -> None:
        one, two = disk.open(root / "a", Mode.CREATE), disk.open(root / "b", Mode.CREATE)
        assert one.inode() != two.inode()
        disk.rename(root / "a", root / "c")
        again = disk.open(root / "c", Mode.READ)
        assert again.inode() == one.inode()
        for file in (one, two, again):
            file.close()

    def test_the_boot_id_stays_while_the_machine_runs(self, disk: Disk) -> None:
        assert disk.boot_id() == disk.boot_id()
        assert len(disk.boot_id()) == 16


class TestRealDisk(DiskSuite):
    @pytest.fixture
    def disk(self) -> RealDisk:
        return RealDisk()

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path


class TestSimulatedDisk(DiskSuite):
    @pytest.fixture
    def disk(self) -> SimulatedDisk:
        return SimulatedDisk()

    @pytest.fixture
    def root(self) -> Path:
        return ROOT


def test_a_disk_that_takes_only_a_part_is_full() -> None:
    disk = SimulatedDisk()
    file = disk.open(ROOT / "a", Mode.CREATE)
    disk.faults = {len(disk.calls): Fault(errno.ENOSPC, short=3), len(disk.calls) + 1: Fault(errno.ENOSPC)}
    with pytest.raises(OSError, match=r".*") as caught:
        write_all(file, 0, b"hello")
    assert caught.value.errno == errno.ENOSPC
    assert file.read(0, 9) == b"hel"


def test_the_operating_systems_errors_become_the_stores() -> None:
    assert isinstance(store_error(ROOT, "write", OSError(errno.ENOSPC, "")), StoreFull)
    assert isinstance(store_error(ROOT, "write", OSError(errno.EDQUOT, "")), StoreFull)
    error = store_error(ROOT, "sync", OSError(errno.EIO, ""))
    assert isinstance(error, StoreIOError)
    assert (error.path, error.operation, error.errno) == (ROOT, "sync", errno.EIO)
