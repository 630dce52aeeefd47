"""Making tables of what is in memory, so that the next one who opens the store has little to scan.

New tables are small; one that is no more than twice as large as what is newer than it is merged with that. So there are
few tables, of growing sizes, and each object is written to a table a few times in all. A table of which a source is
gone is merged, too, whatever its size: what it knows of that source is left out.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final, NamedTuple

from piecrust.objects.catalog import Location, OpenTable, OperationFrame, covered
from piecrust.objects.graph import CommitGraph
from piecrust.objects.kinds import Kind
from piecrust.objects.log_reader import LogReader
from piecrust.objects.segment import SEGMENT_HEADER_BYTES
from piecrust.objects.snapshot import Snapshot, open_table, write_snapshot, write_table
from piecrust.objects.table import Coverage, pack_place
from piecrust.objects.table_writer import Records, build_table

FRESH_OBJECTS_MAX: Final = 2048  # more than this in memory are made a table of: about 350 small commits
_PACK_TABLES_MAX: Final = 8  # more tables of packs than this are merged into one over all of them
_STEP_OBJECTS: Final = 16


class _Fresh(NamedTuple):
    """What is in memory, as it stood under the mutex."""

    snapshot: Snapshot
    objects: list[tuple[Kind, list[tuple[bytes, Location]]]]
    operations: list[OperationFrame]
    ends: dict[bytes, int]  # by salt
    tables: tuple[OpenTable, ...]


def compact(log: LogReader, graph: CommitGraph) -> Generator[None, None, None]:
    """Make a table, and a snapshot that names it; one process at a time."""
    fresh = _take(log)
    if fresh is None:
        return
    known = covered(fresh.tables)
    starts = {salt: known.get(salt, SEGMENT_HEADER_BYTES) for salt in fresh.ends}
    news = [Coverage(salt, starts[salt], end) for salt, end in fresh.ends.items() if starts[salt] < end]
    merged = _to_merge(fresh)
    replaced = {opened.name for opened in merged}
    coverage = _joined([*news, *(c for opened in merged for c in opened.table.coverage if c.salt in fresh.ends)])
    numbers = {covering.salt: number for number, covering in enumerate(coverage)}
    records = Records()
    objects = ((kind, address, at) for kind, of_kind in fresh.objects for address, at in of_kind)
    for count, (kind, address, at) in enumerate(objects):
        if starts[at.source.salt] <= at.offset < fresh.ends[at.source.salt]:
            number = numbers[at.source.salt]
            records.add_object(address, pack_place(number, at.offset, kind, at.encoding, at.flags), at.length)
            if kind == Kind.COMMIT:
                records.add_commit(address, graph.root_of(address), graph.node(address), flags=at.flags, source=number)
        if count % _STEP_OBJECTS == 0:
            yield
    for count, frame in enumerate(fresh.operations):
        if starts[frame.source.salt] <= frame.offset < fresh.ends[frame.source.salt]:
            records.add_operation(frame.first, pack_place(numbers[frame.source.salt], frame.offset))
        if count % _STEP_OBJECTS == 0:
            yield
    pieces = yield from build_table(coverage, records, [opened.table for opened in merged])
    name = write_table(log.disk, log.layout, pieces)
    older = [opened.name for opened in fresh.tables if opened.name and opened.name not in replaced]
    write_snapshot(log.disk, log.layout, fresh.snapshot._replace(tables=[name, *older]))
    yield
    table = open_table(log.disk, log.layout, name)
    if table is not None:
        log.adopt(OpenTable(table, (), name), merged)


def _take(log: LogReader) -> _Fresh | None:
    with log.mutex:
        if log.forgotten or log.damage:
            return None
        position, active = log.position, log.active
        snapshot = Snapshot(
            position.segment,
            active.salt,
            log.last_frame,
            position.end,
            position.sequence,
            position.chain,
            log.ledger.encode(),
            (),
        )
        objects = [(kind, list(log.catalog.fresh[kind].items())) for kind in Kind]
        ends = log.known() | {active.salt: position.end}
        return _Fresh(snapshot, objects, list(log.catalog.fresh_operations), ends, log.catalog.tables)


def _to_merge(fresh: _Fresh) -> list[OpenTable]:
    """The newest tables, as long as they are not much larger than what is newer; stale ones; those of many packs."""
    merged = []
    total, growing = sum(len(of_kind) for _, of_kind in fresh.objects), True
    for opened in fresh.tables:
        if opened.name:
            growing = growing and opened.table.objects <= 2 * total
            if growing or opened.is_stale:
                merged.append(opened)
                total += opened.table.objects
    of_packs = [opened for opened in fresh.tables if not opened.name]
    return merged + (of_packs if len(of_packs) > _PACK_TABLES_MAX else [])


def _joined(pieces: list[Coverage]) -> list[Coverage]:
    """One coverage for each source, from the first of its frames that are covered to the last."""
    joined: dict[bytes, Coverage] = {}
    for piece in pieces:
        other = joined.get(piece.salt, piece)
        joined[piece.salt] = Coverage(piece.salt, min(piece.start, other.start), max(piece.end, other.end))
    return list(joined.values())
