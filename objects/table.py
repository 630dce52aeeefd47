"""Tables: sorted indexes over the frames of one or more sources. A pack ends in one; the index cache is made of them.

A table is a header of 64 bytes, three lists that a reader takes in whole, and columns that it maps::

    0   8  magic       "PIECRTAB"
    8   4  version     1
   12   4  fan bits    b: the first b bits of an address choose a bucket
   16   8  objects     n
   24   8  commits     m
   32   8  operations  k: frames with operations
   40   8  sources     s
   48  16  check       blake3 over header[0:48], sources, block checks and fan-out
   64   …  sources       s of 48 bytes: 32 salt, u64 from, u64 to: which frames are covered
    …   …  block checks  u32 for each 4096 bytes of the columns: CRC-32
    …   …  fan-out       2^b + 1 u32: where each bucket begins
    …   …  columns, each from a multiple of 8 on:

    keys           n u64   the first 8 bytes of the address, as a big-endian number; rising
    rows           n of 20 bytes: the next 8 bytes of the address, u64 place, u32 length of the payload
    commit keys    m u64   as above, rising
    commit rows    m of 64 bytes: the other 24 bytes of the id, u32 generation, u32 depth, u64 key of the jump, u64
    keys of
                   two parents, u8 number of parents, u8 flags, u16 source, 4 zeros
    root keys      m u64   the first 8 bytes of the state root, rising
    root rows      m u32   the number of the commit
    operations     k of 16 bytes, rising: u64 sequence number of the first operation, u64 place

    place: bits 63-48 source, 47-8 offset, 7-5 kind, 4-3 encoding, 2-0 flags

16 bytes of an address tell objects apart well enough to find them: what is read is verified against all 32.
Each block of the columns is checked when it is first used, so opening a table costs the same whatever its size.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from blake3 import blake3
from piecrust.objects.errors import InvalidFormat

TABLE_HEADER_BYTES: Final = 64
BLOCK_BYTES: Final = 4096
KEY_BYTES: Final = 8
OFFSET_MAX: Final = (1 << 40) - 1
PREFIX_BYTES: Final = 16  # of an address that a table knows
GENERATION_UNKNOWN: Final = (1 << 32) - 1  # larger ones are read from the commit itself
ROW: Final = struct.Struct("<8sQI")
COMMIT_ROW: Final = struct.Struct("<24sIIQQQBBH4x")
OPERATION: Final = struct.Struct("<QQ")

MAGIC: Final = b"PIECRTAB"
HEADER: Final = struct.Struct("<8sIIQQQQ")
COVERAGE: Final = struct.Struct("<32sQQ")
CHECK_BYTES: Final = 16
FAN_BITS_MAX: Final = 16

_STEP_BLOCKS: Final = 32
_ROW_BYTES: Final = ROW.size
_ROW = ROW.unpack_from
_REST = struct.Struct("<8s").unpack_from  # bytes 8-15 of an address, which a row begins with


class Coverage(NamedTuple):
    """The frames of a source that a table knows: from one offset to another."""

    salt: bytes
    start: int
    end: int


class Match(NamedTuple):
    """An object that a table knows."""

    source: int
    offset: int
    kind: int
    encoding: int
    flags: int
    length: int


class CommitRow(NamedTuple):
    """What a table knows of a commit; ancestors by their keys."""

    id: bytes
    generation: int
    depth: int
    jump: int
    parents: tuple[int, ...] | None  # None: more than two
    flags: int
    source: int


class TableDamaged(Exception):
    """A table is not what its checks say. Tables are caches: drop it, and make another."""


def pack_place(source: int, offset: int, kind: int = 0, encoding: int = 0, flags: int = 0) -> int:
    """A place as one number."""
    return source << 48 | offset << 8 | kind << 5 | encoding << 3 | flags


class Layout(NamedTuple):
    """Where the columns of a table are, counted from the table's start."""

    fan: int
    keys: int
    rows: int
    commit_keys: int
    commit_rows: int
    root_keys: int
    root_rows: int
    operations: int
    end: int


def layout(columns: int, objects: int, commits: int, operations: int) -> Layout:
    """The layout of a table whose columns begin at `columns`; `fan` is left to the caller."""
    keys = columns
    rows = keys + 8 * objects
    commit_keys = _aligned(rows + ROW.size * objects)
    commit_rows = commit_keys + 8 * commits
    root_keys = commit_rows + COMMIT_ROW.size * commits
    root_rows = root_keys + 8 * commits
    first_operation = _aligned(root_rows + 4 * commits)
    end = first_operation + OPERATION.size * operations
    return Layout(0, keys, rows, commit_keys, commit_rows, root_keys, root_rows, first_operation, end)


class Table:
    """A table in mapped memory. For any number of threads."""

    def __init__(self, data: memoryview) -> None:
        """Over the bytes of a table; `TableDamaged` or `InvalidFormat` if they are none."""
        if len(data) < TABLE_HEADER_BYTES:
            raise InvalidFormat("table", "shorter than its header")
        magic, version, bits, objects, commits, operations, sources = HEADER.unpack_from(data)
        if magic != MAGIC or version != 1 or bits > FAN_BITS_MAX:
            raise InvalidFormat("table", "not a table of a known version")
        checks = TABLE_HEADER_BYTES + COVERAGE.size * sources
        place = layout(0, objects, commits, operations)
        blocks = -(-place.end // BLOCK_BYTES)
        fan = checks + 4 * blocks
        columns = _aligned(fan + 4 * ((1 << bits) + 1))
        if columns + place.end > len(data):
            raise InvalidFormat("table", "longer than its file")
        if bytes(data[48:TABLE_HEADER_BYTES]) != table_check(data[:48], data[TABLE_HEADER_BYTES:columns]):
            raise TableDamaged("header")
        self.objects, self.commits, self.operations, self.length = objects, commits, operations, columns + place.end
        self.coverage = [
            Coverage(*COVERAGE.unpack_from(data, TABLE_HEADER_BYTES + COVERAGE.size * i)) for i in range(sources)
        ]
        self._shift = 64 - bits
        self._fan = data[fan : fan + 4 * ((1 << bits) + 1)].cast("I")
        self._checks = data[checks : checks + 4 * blocks].cast("I")
        self._columns = data[columns : columns + place.end]
        self._place, self._rows = place, place.rows
        self._keys = self._columns[place.keys : place.rows].cast("Q")
        self._commit_keys = self._columns[place.commit_keys : place.commit_rows].cast("Q")
        self._root_keys = self._columns[place.root_keys : place.root_rows].cast("Q")
        self._sound = bytearray(blocks)  # blocks whose check was made
        self._sound_buckets = bytearray(1 << bits)
        self._all_sound = self._commits_sound = False

    def find(self, kind: int, address: bytes) -> Iterator[Match]:
        """The places of an object, of which there may be several after repairs."""
        for row in self.rows_of(address):
            match = self.row(row)[1]
            if match.kind == kind:
                yield match

    def rows_of(self, address: bytes) -> Sequence[int]:
        """The numbers of the rows with the first 16 bytes of this address, of any kind."""
        key = int.from_bytes(address[:KEY_BYTES], "big")
        bucket = key >> self._shift
        start, end = self._fan[bucket], self._fan[bucket + 1]
        if start == end:
            return ()
        if not self._sound_buckets[bucket]:
            self._check_bucket(bucket, start, end)
        keys = self._keys
        at = bisect_left(keys, key, start, end)
        if at == end or keys[at] != key:
            return ()
        found = []
        rest = address[KEY_BYTES:PREFIX_BYTES]
        while at < end and keys[at] == key:
            if _REST(self._columns, self._rows + _ROW_BYTES * at)[0] == rest:
                found.append(at)
            at += 1
        return found

    def row(self, number: int) -> tuple[bytes, Match]:
        """The first 16 bytes of an object's address, and where it is."""
        rest, place, length = _ROW(self._columns, self._rows + _ROW_BYTES * number)
        match = Match(place >> 48, place >> 8 & OFFSET_MAX, place >> 5 & 7, place >> 3 & 3, place & 7, length)
        return self._keys[number].to_bytes(KEY_BYTES, "big") + rest, match

    def place(self, number: int) -> tuple[bytes, int, int]:
        """The same as it is stored: bytes 8-15 of the address, the place as one number, the length of the payload."""
        return _ROW(self._columns, self._rows + _ROW_BYTES * number)

    def rows_between(self, first: int, last: int) -> range:
        """The numbers of the rows whose keys are from `first` to `last`; every block must have been checked."""
        return range(bisect_left(self._keys, first), bisect_left(self._keys, last + 1))

    def commits_between(self, first: int, last: int) -> range:
        """The numbers of the commits whose keys are from `first` to `last`; every block must have been checked."""
        return range(bisect_left(self._commit_keys, first), bisect_left(self._commit_keys, last + 1))

    def roots_between(self, first: int, last: int) -> range:
        """The numbers of the state roots whose keys are from `first` to `last`; every block must have been checked."""
        return range(bisect_left(self._root_keys, first), bisect_left(self._root_keys, last + 1))

    def commits_by_key(self, key: int) -> list[int]:
        """The numbers of the commits whose ids begin with these 8 bytes."""
        self._check_commits()
        at, found = bisect_left(self._commit_keys, key), []
        while at < self.commits and self._commit_keys[at] == key:
            found.append(at)
            at += 1
        return found

    def commits_by_root(self, root: bytes) -> list[int]:
        """The numbers of the commits whose state roots begin with the 8 bytes that this one does."""
        place, key = self._place, int.from_bytes(root[:KEY_BYTES], "big")
        self._check_commits()
        at, found = bisect_left(self._root_keys, key), []
        while at < self.commits and self._root_keys[at] == key:
            (number,) = struct.unpack_from("<I", self._columns, place.root_rows + 4 * at)
            found.append(number)
            at += 1
        return found

    def commit(self, number: int) -> CommitRow:
        """A commit by its number; they are in the order of their ids."""
        offset = self._place.commit_rows + COMMIT_ROW.size * number
        self._check_commits()
        row = COMMIT_ROW.unpack_from(self._columns, offset)
        rest, generation, depth, jump, one, two, parents, flags, source = row
        identity = self._commit_keys[number].to_bytes(KEY_BYTES, "big") + rest
        known = None if parents > 2 else (one, two)[:parents]
        return CommitRow(identity, generation, depth, jump, known, flags, source)

    def operation(self, number: int) -> tuple[int, int, int]:
        """A frame with operations: the sequence number of the first one, source and offset."""
        offset = self._place.operations + OPERATION.size * number
        self._check_range(offset, offset + OPERATION.size)
        sequence, place = OPERATION.unpack_from(self._columns, offset)
        return sequence, place >> 48, place >> 8 & 0xFFFFFFFFFF

    def check_all(self) -> None:
        """Check every block; `TableDamaged` if one is not what it was."""
        for _ in self.checks():
            pass

    def checks(self) -> Iterator[None]:
        """The same in steps."""
        if not self._all_sound:
            for start in range(0, self._place.end, _STEP_BLOCKS * BLOCK_BYTES):
                self._check_range(start, min(start + _STEP_BLOCKS * BLOCK_BYTES, self._place.end))
                yield
            self._all_sound = True

    def columns(self) -> tuple[memoryview, Layout]:
        """All columns, checked, and where they are in them: for merging."""
        self.check_all()
        return self._columns, self._place

    def _check_bucket(self, bucket: int, start: int, end: int) -> None:
        if end < start or end > self.objects:
            raise TableDamaged("fan-out")
        place = self._place
        self._check_range(place.keys + 8 * start, place.keys + 8 * end)
        self._check_range(place.rows + ROW.size * start, place.rows + ROW.size * end)
        self._sound_buckets[bucket] = 1

    def _check_commits(self) -> None:
        """All that is known of commits is checked once: walking a history would look at every block of it anyway."""
        if not self._commits_sound:
            self._check_range(self._place.commit_keys, self._place.operations)
            self._commits_sound = True

    def _check_range(self, start: int, end: int) -> None:
        for block in range(start // BLOCK_BYTES, -(-end // BLOCK_BYTES)):
            if not self._sound[block]:
                data = self._columns[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]
                if zlib.crc32(data) != self._checks[block]:
                    raise TableDamaged(f"block {block}")
                self._sound[block] = 1


def table_check(header: bytes | memoryview, lists: bytes | memoryview) -> bytes:
    """The check of a table's header, sources, block checks and fan-out."""
    hasher = blake3(header)
    hasher.update(lists)
    return hasher.digest(CHECK_BYTES)


def _aligned(offset: int) -> int:
    return -(-offset // 8) * 8
