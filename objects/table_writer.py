"""Making tables: from what is known of some frames, and from other tables.

The work is cut into steps of a fraction of a millisecond: the functions are generators that give others a turn between
steps, and return what they made.
"""

from __future__ import annotations

import heapq
import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Generator, Iterator, Sequence
from typing import Final, Protocol, TypeVar, cast

from piecrust.objects.catalog import key_of
from piecrust.objects.disk import Bytes
from piecrust.objects.graph import CommitNode
from piecrust.objects.ids import ID_BYTES
from piecrust.objects.table import (
    BLOCK_BYTES,
    COMMIT_ROW,
    COVERAGE,
    FAN_BITS_MAX,
    GENERATION_UNKNOWN,
    HEADER,
    KEY_BYTES,
    MAGIC,
    OPERATION,
    ROW,
    TABLE_HEADER_BYTES,
    Coverage,
    Table,
    layout,
    table_check,
)

_ROWS_PER_BUCKET: Final = 64
_STEP_ROWS: Final = 256
_STEP_BLOCKS: Final = 32
_STEP_BYTES: Final = 1 << 20  # what is copied or written at once
_RANGE_BITS_MAX: Final = 16
_BINS: Final = 256
_PLACE_LENGTH = struct.Struct("<QI")
_SOURCE: Final = slice(22, 24)  # where a record's place says the source
_OPERATION_SOURCE: Final = slice(14, 16)
_COMMIT_SOURCE: Final = slice(66, 68)

T = TypeVar("T")
Steps = Generator[None, None, list[Bytes]]
Mapping = list[bytes | None]  # the new number of each source of a table, as two bytes; None: it is left out


class Bins:
    """Records by their first byte, so that no step has to sort all of them."""

    def __init__(self) -> None:
        self._bins: list[list[bytes]] = [[] for _ in range(_BINS)]
        self.count = 0

    def add(self, record: bytes) -> None:
        """Take in a record."""
        self._bins[record[0]].append(record)
        self.count += 1

    def part(self, number: int, bits: int) -> list[bytes]:
        """The records whose first `bits` bits are `number`, in no order. Numbers have to be asked for as they rise."""
        if bits <= 8:
            width = _BINS >> bits
            return [record for some in self._bins[number * width : (number + 1) * width] for record in some]
        some = self._bins[number >> bits - 8]
        if number & (1 << bits - 8) - 1 == 0:
            some.sort()
        start = bisect_left(some, (number << 64 - bits).to_bytes(8, "big"))
        if number + 1 & (1 << bits - 8) - 1 == 0:
            return some[start:]
        return some[start : bisect_left(some, (number + 1 << 64 - bits).to_bytes(8, "big"))]


class Records:
    """The content of a table, each item as bytes that sort as its column does."""

    def __init__(self) -> None:
        self.objects = Bins()  # 16 bytes of the address, place, length
        self.commits = Bins()  # 8 bytes of the id, then the row
        self.roots = Bins()  # 8 bytes of the state root, 32 of the id
        self.operations: list[bytes] = []  # big-endian sequence number, place

    def add_object(self, address: bytes, place: int, length: int) -> None:
        """Note an object; `place` is made by `pack_place`."""
        self.objects.add(address[: 2 * KEY_BYTES] + _PLACE_LENGTH.pack(place, length))

    def add_commit(self, identity: bytes, state_root: bytes, node: CommitNode, *, flags: int, source: int) -> None:
        """Note a commit."""
        parents = node.parents
        one, two = [key_of(parent) for parent in parents[:2]] + [0] * (2 - min(2, len(parents)))
        row = COMMIT_ROW.pack(
            identity[KEY_BYTES:],
            min(node.generation, GENERATION_UNKNOWN),
            min(node.depth, GENERATION_UNKNOWN),
            0 if node.jump is None else key_of(node.jump),
            one,
            two,
            len(parents),
            flags,
            source,
        )
        self.commits.add(identity[:KEY_BYTES] + row)
        self.roots.add(state_root[:KEY_BYTES] + identity)

    def add_operation(self, sequence: int, place: int) -> None:
        """Note a frame with operations."""
        self.operations.append(sequence.to_bytes(KEY_BYTES, "big") + place.to_bytes(8, "little"))


def exhaust(steps: Generator[None, None, T]) -> T:
    """Do all steps at once; what they make."""
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return cast(T, stop.value)


def build_table(coverage: Sequence[Coverage], records: Records, tables: Sequence[Table] = ()) -> Steps:
    """A table of these records and of all that is in `tables`, as pieces to be written one after another.

    Sources are told by their salts: what `tables` have of sources that `coverage` doesn't name is left out. The places
    of `records` number the sources as `coverage` does.
    """
    numbers = {covered.salt: number for number, covered in enumerate(coverage)}
    older = [(table, _renumbering(table, numbers)) for table in tables]
    for table in tables:
        yield from table.checks()
    keys, rows = array("Q"), bytearray()
    for batch in _sorted(records.objects, [_ObjectColumn(*old) for old in older]):
        keys.frombytes(_keys(batch))
        rows += b"".join([record[KEY_BYTES:] for record in batch])
        yield
    commit_keys, commit_rows = bytearray(), bytearray()
    numbers_of: dict[bytes, int] = {}
    for batch in _sorted(records.commits, [_CommitColumn(*old) for old in older]):
        batch = sorted(set(batch))
        commit_keys += _keys(batch)
        commit_rows += b"".join([record[KEY_BYTES:] for record in batch])
        numbers_of |= {record[:ID_BYTES]: number for number, record in enumerate(batch, len(numbers_of))}
        yield
    root_keys, root_rows = bytearray(), array("I")
    for batch in _sorted(records.roots, [_RootColumn(*old) for old in older]):
        batch = sorted({record for record in batch if record[KEY_BYTES:] in numbers_of})
        root_keys += _keys(batch)
        root_rows.extend([numbers_of[record[KEY_BYTES:]] for record in batch])
        yield
    operations = bytearray()
    last = b""
    runs = [sorted(records.operations), *(_operations(*old) for old in older)]
    for count, record in enumerate(heapq.merge(*runs)):
        if record != last:
            operations += record[KEY_BYTES - 1 :: -1] + record[KEY_BYTES:]
            last = record
        if count % _STEP_ROWS == 0:
            yield
    columns: list[Bytes] = [keys.tobytes(), rows, commit_keys, commit_rows, root_keys, root_rows.tobytes(), operations]
    yield
    return (yield from _assemble(coverage, keys, len(numbers_of), len(operations) // OPERATION.size, columns))


def _assemble(
    coverage: Sequence[Coverage], keys: array[int], commits: int, operations: int, columns: Sequence[Bytes]
) -> Steps:
    """The finished table: columns at their places, fan-out and checks before them."""
    bits = min(FAN_BITS_MAX, max(0, (len(keys) // _ROWS_PER_BUCKET).bit_length()))
    place = layout(0, len(keys), commits, operations)
    starts = [place.keys, place.rows, place.commit_keys, place.commit_rows, place.root_keys, place.root_rows]
    body = memoryview(bytearray(place.end))
    for start, column in zip([*starts, place.operations], columns, strict=True):
        for at in range(0, len(column), _STEP_BYTES):
            piece = column[at : at + _STEP_BYTES]
            body[start + at : start + at + len(piece)] = piece
            yield
    checks = array("I")
    for block in range(-(-place.end // BLOCK_BYTES)):
        checks.append(zlib.crc32(body[block * BLOCK_BYTES : (block + 1) * BLOCK_BYTES]))
        if block % _STEP_BLOCKS == 0:
            yield
    fan = array("I")
    shift = 64 - bits
    for bucket in range(1 << bits):
        fan.append(bisect_left(keys, bucket << shift))
        if bucket % _STEP_ROWS == 0:
            yield
    fan.append(len(keys))
    header = HEADER.pack(MAGIC, 1, bits, len(keys), commits, operations, len(coverage))
    lists = b"".join([COVERAGE.pack(*covered) for covered in coverage]) + checks.tobytes() + fan.tobytes()
    lists += bytes(-(TABLE_HEADER_BYTES + len(lists)) % 8)
    pieces = [body[at : at + _STEP_BYTES] for at in range(0, len(body), _STEP_BYTES)]
    return [header, table_check(header, lists), lists, *pieces]


class _Column(Protocol):
    """A column of a table that is taken over, as records."""

    count: int

    def between(self, first: int, last: int) -> list[bytes]:
        """Those whose keys are from `first` to `last`, with their sources' new numbers."""


def _sorted(records: Bins, columns: Sequence[_Column]) -> Iterator[list[bytes]]:
    """All records in their order, some hundreds at a time."""
    total = records.count + sum(column.count for column in columns)
    bits = min(_RANGE_BITS_MAX, (total // _STEP_ROWS).bit_length())
    for number in range(1 << bits):
        batch = records.part(number, bits)
        for column in columns:
            batch += column.between(number << 64 - bits, (number + 1 << 64 - bits) - 1)
        batch.sort()
        yield batch


class _ObjectColumn:
    def __init__(self, table: Table, mapping: Mapping) -> None:
        self.count = table.objects
        self._table, self._mapping = table, mapping

    def between(self, first: int, last: int) -> list[bytes]:
        columns, place = self._table.columns()
        span = self._table.rows_between(first, last)
        keys = array("Q", columns[place.keys + 8 * span.start : place.keys + 8 * span.stop].cast("Q"))
        _swap(keys)
        heads = keys.tobytes()
        rows = bytes(columns[place.rows + ROW.size * span.start : place.rows + ROW.size * span.stop])
        records = [heads[8 * i : 8 * i + 8] + rows[ROW.size * i : ROW.size * i + ROW.size] for i in range(len(span))]
        return _renumbered(records, self._mapping, _SOURCE)


class _CommitColumn:
    def __init__(self, table: Table, mapping: Mapping) -> None:
        self.count = table.commits
        self._table, self._mapping = table, mapping

    def between(self, first: int, last: int) -> list[bytes]:
        columns, place = self._table.columns()
        records = []
        for number in self._table.commits_between(first, last):
            at = place.commit_rows + COMMIT_ROW.size * number
            key = bytes(columns[place.commit_keys + 8 * number : place.commit_keys + 8 * number + 8])[::-1]
            records.append(key + bytes(columns[at : at + COMMIT_ROW.size]))
        return _renumbered(records, self._mapping, _COMMIT_SOURCE)


class _RootColumn:
    """Of commits that are left out, too: who takes the records knows which are there."""

    def __init__(self, table: Table, _mapping: Mapping) -> None:
        self.count = table.commits
        self._table = table

    def between(self, first: int, last: int) -> list[bytes]:
        columns, place = self._table.columns()
        records = []
        for number in self._table.roots_between(first, last):
            key = bytes(columns[place.root_keys + 8 * number : place.root_keys + 8 * number + 8])[::-1]
            (commit,) = struct.unpack_from("<I", columns, place.root_rows + 4 * number)
            records.append(key + self._table.commit(commit).id)
        return records


def _operations(table: Table, mapping: Mapping) -> Iterator[bytes]:
    """The operations of a table as records, in their order."""
    columns, place = table.columns()
    for number in range(table.operations):
        at = place.operations + OPERATION.size * number
        sequence, rest = columns[at : at + 8], columns[at + 8 : at + OPERATION.size]
        yield from _renumbered([bytes(sequence)[::-1] + bytes(rest)], mapping, _OPERATION_SOURCE)


def _renumbering(table: Table, numbers: dict[bytes, int]) -> Mapping:
    """For each source of a table its new number as two bytes, None if it is left out."""
    new = [numbers.get(covered.salt) for covered in table.coverage]
    return [None if number is None else number.to_bytes(2, "little") for number in new]


def _renumbered(records: list[bytes], mapping: Mapping, at: slice) -> list[bytes]:
    """The records with new numbers of their sources; without those whose source is left out."""
    if all(number == old.to_bytes(2, "little") for old, number in enumerate(mapping)):
        return records
    found = []
    for record in records:
        number = mapping[int.from_bytes(record[at], "little")]
        if number is not None:
            found.append(record[: at.start] + number + record[at.stop :])
    return found


def _keys(records: list[bytes]) -> bytes:
    """The keys of records as a column."""
    keys = array("Q", b"".join([record[:KEY_BYTES] for record in records]))
    _swap(keys)
    return keys.tobytes()


def _swap(keys: array[int]) -> None:
    """Between the order of bytes that sorts and the one that is computed with."""
    if sys.byteorder == "little":
        keys.byteswap()
