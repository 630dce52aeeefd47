"""DURABLE: how far the log is published, for the processes of this boot.

Two slots of 128 bytes at offsets 0 and 128, written in turn, so that one is whole whenever a reader looks::

    0   8  counter    the higher one counts
    8  16  boot       blake3 of the boot id and of this file's inode: slots of other boots and copies say nothing
   24   8  segment    the number of the active segment
   32   8  end        where its last published frame ends
   40   8  synced     everything below this offset was synced
   48   8  sequence   of the last published frame
   56  16  chain      hash of the last published frame
   72   8  successor  number of a segment about to take over, or zero
   80  16  check      blake3 of the 80 bytes before

The file is never synced: after a reboot it says nothing, and the log is read to its last valid frame. While the boot
lasts, what other processes wrote is there even if they were killed, so it is exact.
"""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Final, NamedTuple

from blake3 import blake3
from piecrust.objects.disk import Disk, File, Mode, write_all

DURABLE_BYTES: Final = 256
_SLOT_BYTES: Final = 128
_SLOT = struct.Struct("<Q16sQQQQ16sQ")
_CHECK_BYTES: Final = 16
_LOOKS: Final = 8


class Position(NamedTuple):
    """A place in the log: everything before it is published."""

    segment: int
    end: int
    synced: int
    sequence: int
    chain: bytes
    successor: int = 0


class Published(NamedTuple):
    """What DURABLE says: `position` is None if no slot is of this boot.

    If a slot is damaged the other may be the older one: then `exact` is False, and the log is read to its end.
    """

    position: Position | None
    exact: bool


class Durable:
    """The two slots."""

    def __init__(self, disk: Disk, path: Path, *, writable: bool) -> None:
        """Over the file at `path`; a writable handle makes it, a reading one can do without."""
        self._disk, self._path, self._writable = disk, path, writable
        self._file: File | None = None
        self._view = self._counters = memoryview(b"")
        self._boot = b""
        self._counter = 0
        self._seen: tuple[int, ...] = ()
        self._open()

    def moved(self) -> bool:
        """Whether a slot was written since the last `read` or `write`. Costs 0.2 us."""
        counters = self._counters
        if not counters:
            return self._open()
        return (counters[0], counters[_SLOT_BYTES // 8]) != self._seen

    def read(self) -> Published:
        """What the slots say; a slot that is being written meanwhile is looked at again."""
        published = self._read()
        for _ in range(_LOOKS):
            if published.exact:
                break
            published = self._read()
        return published

    def write(self, position: Position) -> None:
        """Publish a position. Under the lock only, after what it covers was synced."""
        counter = self._counter + 1
        data = _SLOT.pack(counter, self._boot, *position)
        if self._file is None:
            raise RuntimeError("DURABLE is open for reading only")
        write_all(self._file, counter % 2 * _SLOT_BYTES, data + _check(data))
        self._counter = counter
        self._note()

    def close(self) -> None:
        """Give the file back; nothing moves any more."""
        self._view = self._counters = memoryview(b"")
        if self._file is not None:
            self._file.close()

    def _open(self) -> bool:
        """Open and map the file; False while it is not there or not whole."""
        try:
            file = self._disk.open(self._path, Mode.ENSURE if self._writable else Mode.READ)
        except FileNotFoundError:
            return False
        if self._writable and file.size() < DURABLE_BYTES:
            # The room must be there before a slot is written: that it fits can't be in doubt after a sync. In a new
            # file another process may be writing its first slot: only the last byte is written, which no slot has.
            start = 0 if file.size() else DURABLE_BYTES - 1
            write_all(file, start, bytes(DURABLE_BYTES - start))
        if file.size() < DURABLE_BYTES:
            file.close()
            return False
        self._boot = blake3(self._disk.boot_id() + struct.pack("<Q", file.inode())).digest(16)
        self._file, self._view = file, file.map()
        self._counters = self._view[:DURABLE_BYTES].cast("Q")
        return True

    def _read(self) -> Published:
        self._note()
        position, newest, exact = None, -1, True
        for at in (0, _SLOT_BYTES):
            data = bytes(self._view[at : at + _SLOT.size + _CHECK_BYTES])
            if not any(data):
                continue
            if data[_SLOT.size :] != _check(data[: _SLOT.size]):
                exact = False
                continue
            counter, boot, *fields = _SLOT.unpack(data[: _SLOT.size])
            self._counter = max(self._counter, counter)
            if boot == self._boot and counter > newest:
                position, newest = Position(*fields), counter
        return Published(position, exact)

    def _note(self) -> None:
        counters = self._counters
        if counters:
            self._seen = counters[0], counters[_SLOT_BYTES // 8]


def _check(data: bytes) -> bytes:
    return blake3(data).digest(_CHECK_BYTES)
