"""Writing packs anew: what stays of some packs, in the same encodings, and the operation records still held."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from piecrust.objects.checkpoint import Ledger, PackName
from piecrust.objects.errors import CorruptStore, InvalidFormat
from piecrust.objects.frame import (
    NO_CHAIN,
    Encoding,
    Entry,
    EntryFlags,
    FrameType,
    Head,
    decode_head,
    encode_body,
    seal_frame,
)
from piecrust.objects.graph import CommitGraph
from piecrust.objects.kinds import Kind
from piecrust.objects.log_reader import LogReader
from piecrust.objects.oplog import OperationRecord, pack_history, unpack_history, unpack_records
from piecrust.objects.pack import PackWriter
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, ScannedFrame, SegmentHeader, scan
from piecrust.objects.source import Source
from piecrust.objects.table import Coverage, pack_place
from piecrust.objects.table_writer import Records, build_table, exhaust

_FRAME_OBJECTS: Final = 64  # that share a head
_FRAME_BYTES: Final = 256 << 10
_FRAME_RECORDS: Final = 256

Item = tuple[Kind, bytes]


class Rewriter:
    """Collects objects and operation records into new packs."""

    def __init__(self, log: LogReader, graph: CommitGraph, bytes_max: int) -> None:
        self.packs: list[PackName] = []  # those that are complete
        self.copied: set[Item] = set()
        self._log, self._graph, self._bytes_max = log, graph, bytes_max
        self._pack: _Pack | None = None
        self._entries: list[Entry] = []
        self._size = 0
        self._history: list[OperationRecord] = []

    def add(self, entry: Entry) -> None:
        """Take in an object."""
        self._entries.append(entry)
        self.copied.add((entry.kind, entry.address))
        self._size += len(entry.payload)
        if len(self._entries) >= _FRAME_OBJECTS or self._size >= _FRAME_BYTES:
            self._flush_objects()

    def add_records(self, records: Iterable[OperationRecord]) -> None:
        """Take in operation records, in their order."""
        for record in records:
            if self._history and record.sequence != self._history[-1].sequence + 1:
                self._flush_history()
            self._history.append(record)
            if len(self._history) >= _FRAME_RECORDS:
                self._flush_history()

    def finish(self) -> list[PackName]:
        """Complete the last pack; all of them, synced and named."""
        self._flush_objects()
        self._flush_history()
        self._end_pack()
        return self.packs

    def abandon(self) -> None:
        """Remove what is not complete."""
        if self._pack is not None:
            self._pack.writer.abandon()

    def _flush_objects(self) -> None:
        if self._entries:
            self._write(FrameType.OBJECTS, self._entries, b"")
            self._entries, self._size = [], 0

    def _flush_history(self) -> None:
        if self._history:
            offset = self._write(FrameType.HISTORY, [], pack_history(self._history))
            assert self._pack is not None
            self._pack.records.add_operation(self._history[0].sequence, pack_place(0, offset))
            self._history = []

    def _write(self, kind: FrameType, entries: list[Entry], meta: bytes) -> int:
        if self._pack is not None and self._pack.writer.length > self._bytes_max:
            self._end_pack()
        if self._pack is None:
            self._pack = _Pack(self._log)
        return self._pack.write(kind, entries, meta, self._graph)

    def _end_pack(self) -> None:
        if self._pack is not None:
            self.packs.append(self._pack.finish())
            self._pack = None


class _Pack:
    """A pack that is being written."""

    def __init__(self, log: LogReader) -> None:
        self.writer = PackWriter(log.disk, log.layout, "pack")
        self.records = Records()
        self._header = SegmentHeader.new(0)
        self._chain, self._sequence = NO_CHAIN, 0
        self.writer.add(self._header.encode())

    def write(self, kind: FrameType, entries: list[Entry], meta: bytes, graph: CommitGraph) -> int:
        """Append a frame; its offset."""
        body = encode_body(entries, meta)
        offset, header = self.writer.length, self._header
        self._sequence += 1
        frame, self._chain = seal_frame(header.salt, header.mark, kind, self._sequence, 0, self._chain, body.data)
        self.writer.add(frame)
        for row in body.rows:
            at = offset if row.flags & EntryFlags.INLINE else offset + row.offset
            self.records.add_object(row.address, pack_place(0, at, row.kind, row.encoding, row.flags), row.length)
            if row.kind == Kind.COMMIT:
                root, node = graph.root_of(row.address), graph.node(row.address)
                self.records.add_commit(row.address, root, node, flags=row.flags, source=0)
        return offset

    def finish(self) -> PackName:
        """Complete the pack."""
        salt = self._header.salt
        steps = build_table([Coverage(salt, SEGMENT_HEADER_BYTES, self.writer.length)], self.records)
        return self.writer.finish(salt, exhaust(steps))


def entries_of(head: Head, frame: ScannedFrame) -> Iterable[Entry]:
    """The objects of a frame, as they can be written again; flags without INLINE."""
    for kind, encoding, flags, length, address, offset in head.rows:
        data = head.data if flags & EntryFlags.INLINE else frame.data
        payload = bytes(data[offset : offset + length])
        yield Entry(Kind(kind), address, Encoding(encoding), payload, flags & ~EntryFlags.INLINE)


def copy_source(
    source: Source,
    rewriter: Rewriter,
    stays: Callable[[Item], bool],
    flags_of: Callable[[bytes, int], int],
    first_operation: int,
) -> Iterable[int]:
    """Copy what stays of a source, commits with new flags; gives the offset after each frame, for progress.

    Raises:
        CorruptStore: a frame is damaged.
    """
    at, next_operation = SEGMENT_HEADER_BYTES, 0
    for frame in scan(source, source.header, at):
        try:
            head = decode_head(frame.body, frame.header.body_length)
            for entry in entries_of(head, frame):
                if stays((entry.kind, entry.address)):
                    flags = flags_of(entry.address, entry.flags) if entry.kind is Kind.COMMIT else entry.flags
                    rewriter.add(entry._replace(flags=flags))
            records: list[OperationRecord] = []
            match frame.header.type:
                case FrameType.CHECKPOINT:
                    next_operation = Ledger.decode(head.meta).next_operation
                case FrameType.TRANSACTION:
                    records = unpack_records(head.meta, next_operation)
                    next_operation += len(records)
                case FrameType.HISTORY:
                    records = unpack_history(head.meta)[1]
                case _:
                    pass
        except InvalidFormat as error:
            raise CorruptStore(source.path, frame.offset, error.reason) from error
        rewriter.add_records(record for record in records if record.sequence >= first_operation)
        at = frame.end
        yield at
    if at != source.size():
        raise CorruptStore(source.path, at, "a frame is damaged")
