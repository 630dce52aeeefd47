"""Leases: the commits that the sessions of a process stand on, so that collecting garbage leaves them alone.

Each handle that writes has one file in leases/, locked as long as the handle lives; the lock goes with the process,
so a lease can't outlive it. The file is a row of slots of 40 bytes: a commit's id and the first 8 bytes of its
blake3, or zeros. It is never synced: after a reboot no process stands on anything.
"""

from __future__ import annotations

import os
import threading
from types import TracebackType
from typing import Final

from blake3 import blake3
from piecrust.objects.disk import Disk, File, Mode, store_error, write_all
from piecrust.objects.format import Layout
from piecrust.objects.ids import ID_BYTES, CommitId

_SLOT_BYTES: Final = 40
_EMPTY: Final = bytes(_SLOT_BYTES)


class Lease:
    """`with leases.hold(commit):` holds it within the block."""

    __slots__ = ("_commit", "_leases")

    def __init__(self, leases: Leases, commit: CommitId) -> None:
        self._leases, self._commit = leases, commit

    def __enter__(self) -> None:
        """Hold the commit once more."""
        self._leases.acquire(self._commit)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hold it once less."""
        self._leases.release(self._commit)


class Leases:
    """The leases of one handle. For any number of threads."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        self._disk, self._layout = disk, layout
        self._path = layout.leases / f"{os.urandom(16).hex()}.lease"
        self._file: File | None = None
        self._mutex = threading.Lock()
        self._slots: dict[CommitId, list[int]] = {}  # slot and count of holders
        self._free: list[int] = []
        self._count = 0

    def hold(self, commit: CommitId) -> Lease:
        """Keep what a commit needs from being collected, until the block ends."""
        return Lease(self, commit)

    def acquire(self, commit: CommitId) -> None:
        """Hold a commit once more."""
        with self._mutex:
            held = self._slots.get(commit)
            if held is not None:
                held[1] += 1
                return
            slot = self._free.pop() if self._free else self._count
            self._write(slot, commit + blake3(commit).digest(8))
            self._count = max(self._count, slot + 1)
            self._slots[commit] = [slot, 1]

    def release(self, commit: CommitId) -> None:
        """Hold a commit once less."""
        with self._mutex:
            held = self._slots.get(commit)
            if held is None:
                return
            held[1] -= 1
            if held[1] == 0:
                del self._slots[commit]
                if self._file is not None:
                    self._write(held[0], _EMPTY)
                    self._free.append(held[0])

    def close(self) -> None:
        """Give everything back and take the file away."""
        with self._mutex:
            if self._file is not None:
                self._disk.unlink(self._path)
                self._file.close()
                self._file = None
            self._slots.clear()

    def _write(self, slot: int, data: bytes) -> None:
        try:
            if self._file is None:
                # Locked before it has its name: an unlocked one there is taken for a dead process's.
                draft = self._layout.tmp / self._path.name
                self._file = self._disk.open(draft, Mode.CREATE)
                self._file.try_lock()
                self._disk.rename(draft, self._path)
            write_all(self._file, slot * _SLOT_BYTES, data)
        except OSError as error:
            raise store_error(self._path, "write", error) from error


def leased_commits(disk: Disk, layout: Layout) -> set[CommitId]:
    """The commits that any living process stands on; files of processes that are gone are removed."""
    commits: set[CommitId] = set()
    for name in disk.list(layout.leases):
        path = layout.leases / name
        try:
            file = disk.open(path, Mode.READ)
        except FileNotFoundError:
            continue
        try:
            if file.try_lock():
                disk.unlink(path)
                continue
            data = file.read(0, file.size())
        finally:
            file.close()
        for at in range(0, len(data) - _SLOT_BYTES + 1, _SLOT_BYTES):
            commit, check = data[at : at + ID_BYTES], data[at + ID_BYTES : at + _SLOT_BYTES]
            if blake3(commit).digest(8) == check:
                commits.add(CommitId(commit))
    return commits
