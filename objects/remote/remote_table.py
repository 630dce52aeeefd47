"""The indexes of a remote's packs: read block by block as objects are looked up, and remembered in files.

A file `index/<pack>.remote` is as long as the pack's table and has what was read of it; the rest are zeros. The table's
own checks tell one from the other, so the file may be torn, damaged or deleted at any time.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from bisect import bisect_left
from collections.abc import Callable, Sequence
from pathlib import Path

from piecrust.objects.errors import CorruptRemote, CorruptStore, InvalidFormat, UnsupportedFormat
from piecrust.objects.pack import TRAILER_BYTES, read_end
from piecrust.objects.remote.remote_pack import RemotePack
from piecrust.objects.remote.storage import Storage
from piecrust.objects.table import (
    BLOCK_BYTES,
    COVERAGE,
    FAN_BITS_MAX,
    HEADER,
    KEY_BYTES,
    MAGIC,
    PREFIX_BYTES,
    ROW,
    TABLE_HEADER_BYTES,
    Table,
    TableDamaged,
    layout,
)

REMOTE_TABLE_SUFFIX = ".remote"

_HEAD_BYTES = 2048  # most tables' lists are shorter: one read gets them


class RemoteTable(Table):
    """A table of which only some blocks are here; others are read when they are needed."""

    def __init__(self, data: memoryview, columns: int, fetch: Callable[[int, int], bytes]) -> None:
        """Over the bytes that are here: the lists, up to `columns`, are; `fetch` reads (offset, length) of others."""
        super().__init__(data)
        self._writable, self._start, self._fetch = data, columns, fetch

    def rows_of(self, address: bytes) -> Sequence[int]:
        """The numbers of the rows with the first 16 bytes of this address: keys first, rows where they match."""
        key = int.from_bytes(address[:KEY_BYTES], "big")
        bucket = key >> self._shift
        start, end = self._fan[bucket], self._fan[bucket + 1]
        if not 0 <= start <= end <= self.objects:
            raise TableDamaged("fan-out")
        place, found = self._place, []
        self._check_range(place.keys + 8 * start, place.keys + 8 * end)
        at = bisect_left(self._keys, key, start, end)
        while at < end and self._keys[at] == key:
            offset = place.rows + ROW.size * at
            self._check_range(offset, offset + ROW.size)
            if self._columns[offset : offset + KEY_BYTES] == address[KEY_BYTES:PREFIX_BYTES]:
                found.append(at)
            at += 1
        return found

    def _check_range(self, start: int, end: int) -> None:
        for block in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            if not self._sound[block] and not self._is_here(block):
                at = self._start + block * BLOCK_BYTES
                length = len(self._columns[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES])
                self._writable[at : at + length] = self._fetch(at, length)
        super()._check_range(start, end)

    def _is_here(self, block: int) -> bool:
        data = self._columns[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
        return zlib.crc32(data) == self._checks[block]


def open_remote_table(storage: Storage, pack: RemotePack, cache: Path | None) -> RemoteTable:
    """The index of a pack; with a directory for what was read of it before, and is read from here on.

    Raises:
        CorruptRemote: the pack's end or index is damaged.
        RemoteUnavailable: the remote can't be reached.
    """
    path = None if cache is None else cache / f"{pack.name.hex()}{REMOTE_TABLE_SUFFIX}"
    known = bytearray() if path is None else _read(path)
    if TABLE_HEADER_BYTES <= len(known) < pack.size:
        try:
            return _table(storage, pack, known, path)
        except (TableDamaged, InvalidFormat):
            pass  # it is read anew
    try:
        trailer = storage.get_range(pack.key, pack.size - TRAILER_BYTES, TRAILER_BYTES)
        start, length = read_end(trailer, pack.size, Path(pack.key))
        head = storage.get_range(pack.key, start, min(length, _HEAD_BYTES))
        columns = _columns_at(head, length)
        if columns > len(head):
            head += storage.get_range(pack.key, start + len(head), columns - len(head))
        table = _table(storage, pack, bytearray(head) + bytes(length - len(head)), path)
    except (TableDamaged, InvalidFormat, CorruptStore, UnsupportedFormat) as error:
        raise CorruptRemote(storage.name, pack.key, f"its index: {error}") from error
    if path is not None:
        _write(path, 0, head, length)
    return table


def _table(storage: Storage, pack: RemotePack, data: bytearray, path: Path | None) -> RemoteTable:
    start, length = pack.size - TRAILER_BYTES - len(data), len(data)

    def fetch(at: int, count: int) -> bytes:
        block = storage.get_range(pack.key, start + at, count)
        if path is not None:
            _write(path, at, block, length)
        return block

    return RemoteTable(memoryview(data), _columns_at(data, length), fetch)


def _columns_at(head: bytes | bytearray | memoryview, length: int) -> int:
    """Where the columns of a table of this length begin, by its header."""
    if len(head) < TABLE_HEADER_BYTES:
        raise InvalidFormat("table", "shorter than its header")
    magic, version, bits, objects, commits, operations, sources = HEADER.unpack_from(head)
    if magic != MAGIC or version != 1 or bits > FAN_BITS_MAX:
        raise InvalidFormat("table", "not a table of a known version")
    blocks = -(-layout(0, objects, commits, operations).end // BLOCK_BYTES)
    lists = TABLE_HEADER_BYTES + COVERAGE.size * sources + 4 * blocks + 4 * ((1 << bits) + 1)
    columns = -(-lists // 8) * 8
    if int(columns) > length:
        raise InvalidFormat("table", "longer than its file")
    return int(columns)


def _read(path: Path) -> bytearray:
    try:
        return bytearray(path.read_bytes())
    except OSError:
        return bytearray()


def _write(path: Path, at: int, data: bytes, length: int) -> None:
    """Remember what was read; a cache that can't be written is done without."""
    with contextlib.suppress(OSError):
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            os.ftruncate(handle, length)
            os.pwrite(handle, data, at)
        finally:
            os.close(handle)
