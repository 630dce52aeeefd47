"""The seam between the store and the operating system: everything the store asks of a disk goes through it.

Two things stand behind it: `RealDisk` here, and the simulated disk of the tests, which loses, reorders and tears what
was not synced. What the store relies on is written in docs/format.md, "Assumptions about the disk":

- `File.sync` returns after all that was written to the file, and its length, survive a loss of power;
- `sync_directory` does the same for the names in a directory;
- `rename` within the store is atomic: the name stands for the old file or for the new one;
- what a process wrote is there for every other process of this boot, even if the writer was killed.

Errors are the operating system's own (`OSError`); `store_error` turns them into the store's.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import mmap
import os
import sys
from enum import Enum
from pathlib import Path
from typing import Protocol, TypeAlias

from blake3 import blake3
from piecrust.objects.errors import NotAStore, StoreError, StoreFull, StoreIOError

Bytes: TypeAlias = bytes | bytearray | memoryview


class Mode(Enum):
    """How a file is opened."""

    READ = "read"  # it must exist
    WRITE = "write"  # it must exist
    CREATE = "create"  # it must not exist
    ENSURE = "ensure"  # it is created if it does not exist


class File(Protocol):
    """An open file, addressed by offsets; there is no position."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end of the file."""

    def write(self, offset: int, data: Bytes) -> int:
        """How many bytes were written: fewer than given when the disk got full on the way."""

    def allocate(self, offset: int, length: int) -> None:
        """Lengthen the file by zeros, with room on the disk behind them, where the platform can; else do nothing."""

    def sync(self) -> None:
        """Return when everything that was written is on stable storage."""

    def size(self) -> int:
        """The file's length in bytes."""

    def map(self) -> memoryview:
        """The file's content for reading, as it is at any time; it outlives the file's name and this handle."""

    def inode(self) -> int:
        """What tells this file from its copies."""

    def try_lock(self) -> bool:
        """Lock the file against every other handle, in this process or another; False if one holds it."""

    def unlock(self) -> None:
        """Give the lock back."""

    def close(self) -> None:
        """Give the handle back; a lock goes with it."""


class Disk(Protocol):
    """The file system."""

    def boot_id(self) -> bytes:
        """16 bytes that change when the machine starts anew, when what was not synced may be lost."""

    def make_directory(self, path: Path) -> None:
        """Make a directory, and what is missing above it, unless there is one."""

    def list(self, path: Path) -> list[str]:
        """The names in a directory, in no order; none if there is no such directory."""

    def open(self, path: Path, mode: Mode) -> File:
        """Open a file."""

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, atomically; a file that had it is gone."""

    def unlink(self, path: Path) -> None:
        """Take a file's name away; it must exist."""

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""

    def sync_directory(self, path: Path) -> None:
        """Return when the names in the directory are on stable storage."""


def store_error(path: Path, operation: str, error: OSError) -> StoreError:
    """The store's error for the operating system's."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return StoreFull(path)
    if isinstance(error, NotADirectoryError):
        return NotAStore(path, "a part of this path is no directory")
    return StoreIOError(path, operation, error.errno)


def write_all(file: File, offset: int, data: Bytes) -> None:
    """Write all of `data`, or raise: a disk that takes only a part of it is full."""
    view = memoryview(data)
    while len(view):
        count = file.write(offset, view)
        if count <= 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        offset += count
        view = view[count:]


class RealFile:
    """A file of the operating system."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def read(self, offset: int, length: int) -> bytes:
        """Read with `pread`, again where it gave less."""
        data = os.pread(self._fd, length, offset)
        if len(data) in (length, 0):
            return data
        parts = [data]
        while data and (missing := length - sum(map(len, parts))):
            data = os.pread(self._fd, missing, offset + length - missing)
            parts.append(data)
        return b"".join(parts)

    def write(self, offset: int, data: Bytes) -> int:
        """Write with one `pwrite`."""
        return os.pwrite(self._fd, data, offset)

    def allocate(self, offset: int, length: int) -> None:
        """Reserve room with `posix_fallocate`, where there is one."""
        # Syncing a frame into allocated room costs about two thirds of syncing one that lengthens the file.
        if hasattr(os, "posix_fallocate"):
            with contextlib.suppress(OSError):  # the write that follows tells whether there is room
                os.posix_fallocate(self._fd, offset, length)

    def sync(self) -> None:
        """`fdatasync`; on macOS `F_FULLFSYNC`."""
        if sys.platform == "darwin":
            fcntl.fcntl(self._fd, fcntl.F_FULLFSYNC)  # macOS's fsync leaves the data in the drive's cache
        else:
            os.fdatasync(self._fd)

    def size(self) -> int:
        """The length by `fstat`."""
        return os.fstat(self._fd).st_size

    def map(self) -> memoryview:
        """Map the whole file, shared."""
        if self.size() == 0:
            return memoryview(b"")
        return memoryview(mmap.mmap(self._fd, 0, access=mmap.ACCESS_READ))

    def inode(self) -> int:
        """The inode's number."""
        return os.fstat(self._fd).st_ino

    def try_lock(self) -> bool:
        """`flock`, without waiting."""
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def unlock(self) -> None:
        """Give the `flock` back."""
        fcntl.flock(self._fd, fcntl.LOCK_UN)

    def __del__(self) -> None:
        """Files that were replaced are closed when their last reader lets go of them."""
        self.close()

    def close(self) -> None:
        """Close the descriptor, once."""
        if self._fd >= 0:
            fd, self._fd = self._fd, -1
            os.close(fd)


_FLAGS = {
    Mode.READ: os.O_RDONLY,
    Mode.WRITE: os.O_RDWR,
    Mode.CREATE: os.O_RDWR | os.O_CREAT | os.O_EXCL,
    Mode.ENSURE: os.O_RDWR | os.O_CREAT,
}


class RealDisk:
    """The operating system's file system; it must be a local one."""

    def boot_id(self) -> bytes:
        """The kernel's boot id."""
        return _boot_id()

    def make_directory(self, path: Path) -> None:
        """Make a directory and what is missing above it."""
        path.mkdir(parents=True, exist_ok=True)

    def list(self, path: Path) -> list[str]:
        """The names of a directory's entries."""
        try:
            return [entry.name for entry in path.iterdir()]
        except FileNotFoundError:
            return []

    def open(self, path: Path, mode: Mode) -> RealFile:
        """Open a file that child processes do not inherit."""
        return RealFile(os.open(path, _FLAGS[mode] | os.O_CLOEXEC, 0o644))

    def rename(self, source: Path, target: Path) -> None:
        """Rename, replacing the target."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """Remove a file."""
        path.unlink()

    def remove_directory(self, path: Path) -> None:
        """Remove an empty directory."""
        path.rmdir()

    def sync_directory(self, path: Path) -> None:
        """`fsync` of the directory."""
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if sys.platform == "darwin":
                fcntl.fcntl(fd, fcntl.F_FULLFSYNC)
            else:
                os.fsync(fd)
        finally:
            os.close(fd)


def _boot_id() -> bytes:
    try:
        text = Path("/proc/sys/kernel/random/boot_id").read_bytes()
    except OSError:
        # Without a boot id no two opens are of the same boot: every tail is taken as it came from the disk.
        text = os.urandom(16) if sys.platform != "darwin" else _darwin_boot_session()
    return blake3(text).digest(16)


def _darwin_boot_session() -> bytes:
    import ctypes

    name, buffer, size = b"kern.bootsessionuuid", ctypes.create_string_buffer(64), ctypes.c_size_t(64)
    ctypes.CDLL(None).sysctlbyname(name, buffer, ctypes.byref(size), None, 0)
    return buffer.value


def forget(mapped: memoryview) -> None:
    """Let the system have the memory of a mapped file; what is read of it again comes from the file."""
    if isinstance(mapped.obj, mmap.mmap):
        mapped.obj.madvise(mmap.MADV_DONTNEED)
