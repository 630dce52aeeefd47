"""The indexes of a remote's packs: opened by their lists, of which most are remembered; the columns are read in parts.

A file `index/<pack>.remote` has the pack's trailer and the table's lists, which their own checks tell from anything
else; it may be torn, damaged or deleted at any time.
"""

from __future__ import annotations

import contextlib
import struct
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

_HEAD_BYTES = 1024  # most tables' lists are shorter: one read gets them


class RemoteTable(Table):
    """A table whose columns are read bucket by bucket, and row by row, as objects are looked up.

    They are not checked against the table's sums, which are of longer parts: what they lead to is verified.
    """

    def __init__(self, data: memoryview, columns: int, fetch: Callable[[int, int], bytes]) -> None:
        """Over room for all bytes, of which those before `columns` are there; `fetch` reads (offset, length)."""
        super().__init__(data)
        self._writable, self._start, self._fetch = data, columns, fetch
        self._buckets_here: set[int] = set()

    def rows_of(self, address: bytes) -> Sequence[int]:
        """The numbers of the rows with the first 16 bytes of this address; they are here then."""
        key = int.from_bytes(address[:KEY_BYTES], "big")
        bucket = key >> self._shift
        start, end = self._fan[bucket], self._fan[bucket + 1]
        if not 0 <= start <= end <= self.objects:
            raise TableDamaged("fan-out")
        place, found = self._place, []
        if bucket not in self._buckets_here and start < end:
            self._read(place.keys + KEY_BYTES * start, KEY_BYTES * (end - start))
            self._buckets_here.add(bucket)
        at = bisect_left(self._keys, key, start, end)
        while at < end and self._keys[at] == key:
            offset = place.rows + ROW.size * at
            self._read(offset, ROW.size)
            if self._columns[offset : offset + KEY_BYTES] == address[KEY_BYTES:PREFIX_BYTES]:
                found.append(at)
            at += 1
        return found

    def _read(self, offset: int, length: int) -> None:
        at = self._start + offset
        self._writable[at : at + length] = self._fetch(at, length)


def open_remote_table(storage: Storage, pack: RemotePack, cache: Path | None) -> RemoteTable:
    """The index of a pack; with a directory for what was read of it before, and is read here.

    Raises:
        CorruptRemote: the pack's end or index is damaged.
        RemoteUnavailable: the remote can't be reached.
    """
    path = None if cache is None else cache / f"{pack.name.hex()}{REMOTE_TABLE_SUFFIX}"
    if path is not None:
        with contextlib.suppress(OSError, TableDamaged, InvalidFormat, CorruptStore, UnsupportedFormat, struct.error):
            known = path.read_bytes()
            return _table(storage, pack, known[:TRAILER_BYTES], known[TRAILER_BYTES:])
    try:
        trailer = storage.get_range(pack.key, pack.size - TRAILER_BYTES, TRAILER_BYTES)
        start, length = read_end(trailer, pack.size, Path(pack.key))
        head = storage.get_range(pack.key, start, min(length, _HEAD_BYTES))
        columns = _columns_at(head, length)
        if columns > len(head):
            head += storage.get_range(pack.key, start + len(head), columns - len(head))
        table = _table(storage, pack, trailer, head[:columns])
    except (TableDamaged, InvalidFormat, CorruptStore, UnsupportedFormat) as error:
        raise CorruptRemote(storage.name, pack.key, f"its index: {error}") from error
    if path is not None:
        with contextlib.suppress(OSError):  # it is a cache
            path.write_bytes(trailer + head[:columns])
    return table


def _table(storage: Storage, pack: RemotePack, trailer: bytes, head: bytes) -> RemoteTable:
    start, length = read_end(trailer, pack.size, Path(pack.key))
    columns = _columns_at(head, length)
    if columns != len(head):
        raise TableDamaged("lists")
    data = memoryview(bytearray(head) + bytes(length - columns))
    return RemoteTable(data, columns, lambda at, count: storage.get_range(pack.key, start + at, count))


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
