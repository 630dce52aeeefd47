"""Sealing: a segment that is no longer written to becomes a pack, with its own index, and goes away.

The pack is complete, synced and named before the log says that it stands for the segment, and only then is the segment
unlinked. Its frames are the segment's, byte for byte, so every place stays what it was; each is verified on the way.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Final

from piecrust.objects.catalog import OpenTable, covered
from piecrust.objects.checkpoint import ClosedSegment, Ledger, SourcesChange
from piecrust.objects.compaction import compact
from piecrust.objects.errors import CorruptStore
from piecrust.objects.frame import EntryFlags, FrameType, decode_head
from piecrust.objects.graph import CommitGraph
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.lock import StoreLock
from piecrust.objects.log_writer import LogWriter
from piecrust.objects.oplog import unpack_history, unpack_records
from piecrust.objects.pack import PackWriter
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, scan
from piecrust.objects.source import Source
from piecrust.objects.table import Coverage, pack_place
from piecrust.objects.table_writer import Records, build_table

_STEP_FRAMES: Final = 4
_SYNC_BYTES: Final = 2 << 20  # commits that are synced beside it wait for no more than this


def seal(log: LogWriter, lock: StoreLock, graph: CommitGraph) -> Generator[None, None, None]:
    """Seal every closed segment, the oldest first; one process at a time.

    Raises:
        CorruptStore: a segment is damaged; it stays as it is.
    """
    while (closed := next(iter(log.ledger.segments), None)) is not None:
        if not is_covered(log, closed):
            yield from compact(log, graph)
        yield from _seal(log, lock, graph, closed)


def is_covered(log: LogWriter, closed: ClosedSegment) -> bool:
    """Whether the index knows all of a segment, so that nothing of it has to be decoded to seal it."""
    return covered(_of_index(log)).get(closed.salt, 0) >= closed.end


def _of_index(log: LogWriter) -> list[OpenTable]:
    return [opened for opened in log.catalog.tables if opened.name]


def _seal(log: LogWriter, lock: StoreLock, graph: CommitGraph, closed: ClosedSegment) -> Generator[None, None, None]:
    source = log.source(closed.salt)
    coverage = [Coverage(closed.salt, SEGMENT_HEADER_BYTES, closed.end)]
    writer = PackWriter(log.disk, log.layout, "pack")
    try:
        yield from _copy(source, closed.end, writer)
        if is_covered(log, closed):
            table = yield from build_table(coverage, Records(), [opened.table for opened in _of_index(log)])
        else:
            table = yield from build_table(coverage, (yield from read_records(source, closed.end, graph)))
        pack = writer.finish(closed.salt, table)
    except BaseException:
        writer.abandon()
        raise
    yield
    with log.mutex, lock:
        log.prepare()
        if closed not in log.ledger.segments:
            return
        ledger = log.ledger
        change = SourcesChange([closed.number], [], [pack], ledger.generation, ledger.first_operation, [], None)
        log.publish_sources(change)
    log.disk.unlink(log.layout.segment(closed.number))


def _copy(source: Source, end: int, writer: PackWriter) -> Generator[None, None, None]:
    """Copy frames that are verified on the way; what lies between them is nothing."""
    at = synced = SEGMENT_HEADER_BYTES
    writer.add(source.read(0, at))
    pieces: list[memoryview | bytes] = []
    for frame in scan(source, source.header, at, end=end):
        pieces.append(frame.data)
        at = frame.end
        if len(pieces) == _STEP_FRAMES:
            writer.add(b"".join(pieces))
            pieces.clear()
            yield
            if at >= synced + _SYNC_BYTES:
                writer.sync()
                synced = at
    writer.add(b"".join(pieces))
    if at != end:
        raise CorruptStore(source.path, at, "a frame is damaged")


def read_records(source: Source, end: int, graph: CommitGraph) -> Generator[None, None, Records]:
    """What a table notes of the frames of a closed segment or pack.

    Raises:
        CorruptStore: not every frame up to `end` is valid.
    """
    records = Records()
    at, next_operation = SEGMENT_HEADER_BYTES, 0
    for count, frame in enumerate(scan(source, source.header, at, end=end)):
        head = decode_head(frame.body, frame.header.body_length)
        for kind, encoding, flags, length, address, offset in head.rows:
            place = frame.offset if flags & EntryFlags.INLINE else frame.offset + offset
            records.add_object(address, pack_place(0, place, kind, encoding, flags), length)
            if kind == Kind.COMMIT:
                commit = CommitId(address)
                records.add_commit(commit, graph.root_of(commit), graph.node(commit), flags=flags, source=0)
        match frame.header.type:
            case FrameType.CHECKPOINT:
                next_operation = Ledger.decode(head.meta).next_operation
            case FrameType.TRANSACTION:
                records.add_operation(next_operation, pack_place(0, frame.offset))
                next_operation += len(unpack_records(head.meta, next_operation))
            case FrameType.HISTORY:
                records.add_operation(unpack_history(head.meta)[0], pack_place(0, frame.offset))
            case _:
                pass
        at = frame.end
        if count % _STEP_FRAMES == 0:
            yield
    if at != end:
        raise CorruptStore(source.path, at, "a frame is damaged")
    return records
