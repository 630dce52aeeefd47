"""Making tables: from what is known of some frames, and from other tables.

The work is cut into steps of a fraction of a millisecond: the functions are generators that give others a turn between
steps, and return what they made.
"""

from __future__ import annotations

import struct
import sys
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Generator, Sequence
from typing import Final, TypeVar, cast

from piecrust.objects.catalog import key_of
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
_STEP_ROWS: Final = 1024
_STEP_BLOCKS: Final = 64
_PLACE_LENGTH = struct.Struct("<QI")
_SOURCE: Final = slice(22, 24)  # where a record's place says the source
_OPERATION_SOURCE: Final = slice(14, 16)
_COMMIT_SOURCE: Final = slice(66, 68)

T = TypeVar("T")
Steps = Generator[None, None, list[bytes]]


class Records:
    """The content of a table, each item as bytes that sort as its column does."""

    def __init__(self) -> None:
        # Objects by the first byte of their address, so that no step has to sort all of them.
        self.objects: list[list[bytes]] = [[] for _ in range(256)]  # 16 bytes of the address, place, length
        self.commits: list[bytes] = []  # 8 bytes of the id, then the row
        self.roots: list[bytes] = []  # 8 bytes of the state root, 32 of the id
        self.operations: list[bytes] = []  # big-endian sequence number, place
        self.count = 0

    def add_object(self, address: bytes, place: int, length: int) -> None:
        """Note an object; `place` is made by `pack_place`."""
        self.objects[address[0]].append(address[: 2 * KEY_BYTES] + _PLACE_LENGTH.pack(place, length))
        self.count += 1

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
        self.commits.append(identity[:KEY_BYTES] + row)
        self.roots.append(state_root[:KEY_BYTES] + identity)

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
    renumbered = [_renumbering(table, numbers) for table in tables]
    keys, rows = array("Q"), bytearray()
    total = records.count + sum(table.objects for table in tables)
    width = 256 if total <= _STEP_ROWS else 1
    for first in range(0, 256, width):
        batch = [record for bin_ in records.objects[first : first + width] for record in bin_]
        for table, mapping in zip(tables, renumbered, strict=True):
            batch += _object_records(table, first << 56, ((first + width) << 56) - 1, mapping)
        batch.sort()
        keys.frombytes(b"".join([record[:KEY_BYTES] for record in batch]))
        rows += b"".join([record[KEY_BYTES:] for record in batch])
        yield
    _swap(keys)
    commits, roots, operations = records.commits, records.roots, records.operations
    for table, mapping in zip(tables, renumbered, strict=True):
        yield from _take_commits(table, mapping, commits, roots)
        yield from _take_operations(table, mapping, operations)
    commits, roots, operations = sorted(set(commits)), sorted(set(roots)), sorted(set(operations))
    yield
    numbers_of = {record[:ID_BYTES]: number for number, record in enumerate(commits)}
    columns = [
        keys.tobytes(),
        bytes(rows),
        _keys(commits),
        b"".join([record[KEY_BYTES:] for record in commits]),
        _keys(roots),
        array("I", [numbers_of[record[KEY_BYTES:]] for record in roots]).tobytes(),
        b"".join([record[KEY_BYTES - 1 :: -1] + record[KEY_BYTES:] for record in operations]),
    ]
    yield
    return (yield from _assemble(coverage, keys, len(commits), len(operations), columns))


def _assemble(
    coverage: Sequence[Coverage], keys: array[int], commits: int, operations: int, columns: list[bytes]
) -> Steps:
    """The finished table: columns at their places, fan-out and checks before them."""
    bits = min(FAN_BITS_MAX, max(0, (len(keys) // _ROWS_PER_BUCKET).bit_length()))
    place = layout(0, len(keys), commits, operations)
    starts = [place.keys, place.rows, place.commit_keys, place.commit_rows, place.root_keys, place.root_rows]
    body = bytearray(place.end)
    for start, column in zip([*starts, place.operations], columns, strict=True):
        body[start : start + len(column)] = column
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
    return [header, table_check(header, lists), lists, bytes(body)]


def _object_records(table: Table, first: int, last: int, mapping: list[bytes | None]) -> list[bytes]:
    """The objects of a table whose keys are from `first` to `last`, as records."""
    columns, place = table.columns()
    span = table.rows_between(first, last)
    keys = array("Q", columns[place.keys + 8 * span.start : place.keys + 8 * span.stop].cast("Q"))
    _swap(keys)
    heads = keys.tobytes()
    rows = bytes(columns[place.rows + ROW.size * span.start : place.rows + ROW.size * span.stop])
    records = [heads[8 * i : 8 * i + 8] + rows[ROW.size * i : ROW.size * i + ROW.size] for i in range(len(span))]
    return _renumbered(records, mapping, _SOURCE)


def _take_commits(
    table: Table, mapping: list[bytes | None], commits: list[bytes], roots: list[bytes]
) -> Generator[None, None, None]:
    columns, place = table.columns()
    ids = []
    taken = []
    for number in range(table.commits):
        offset = place.commit_rows + COMMIT_ROW.size * number
        key = bytes(columns[place.commit_keys + 8 * number : place.commit_keys + 8 * number + 8])[::-1]
        record = key + bytes(columns[offset : offset + COMMIT_ROW.size])
        taken.append(record)
        ids.append(record[:ID_BYTES])
        if number % _STEP_ROWS == 0:
            yield
    taken_roots = []
    for number in range(table.commits):
        key = bytes(columns[place.root_keys + 8 * number : place.root_keys + 8 * number + 8])[::-1]
        (commit,) = struct.unpack_from("<I", columns, place.root_rows + 4 * number)
        taken_roots.append(key + ids[commit])
        if number % _STEP_ROWS == 0:
            yield
    taken = _renumbered(taken, mapping, _COMMIT_SOURCE)
    left = {record[:ID_BYTES] for record in taken}
    commits += taken
    roots += [record for record in taken_roots if record[KEY_BYTES:] in left]


def _take_operations(table: Table, mapping: list[bytes | None], operations: list[bytes]) -> Generator[None, None, None]:
    columns, place = table.columns()
    records = []
    for number in range(table.operations):
        offset = place.operations + OPERATION.size * number
        sequence, rest = columns[offset : offset + 8], columns[offset + 8 : offset + OPERATION.size]
        records.append(bytes(sequence)[::-1] + bytes(rest))
        if number % _STEP_ROWS == 0:
            yield
    operations += _renumbered(records, mapping, _OPERATION_SOURCE)


def _renumbering(table: Table, numbers: dict[bytes, int]) -> list[bytes | None]:
    """For each source of a table its new number as two bytes, None if it is left out."""
    new = [numbers.get(covered.salt) for covered in table.coverage]
    return [None if number is None else number.to_bytes(2, "little") for number in new]


def _renumbered(records: list[bytes], mapping: list[bytes | None], at: slice) -> list[bytes]:
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
