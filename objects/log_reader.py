"""Reading the log: from the files to the ledger, the catalog, and the place where the next frame goes.

- In the boot that DURABLE speaks of, the log ends where it says, exactly: what follows was never published.
- After a reboot the log ends with its last valid frame: what is there came from the disk.
- Damage below DURABLE, or below what any valid frame says was synced, is corruption: reads go on with what is left,
  writes are refused. Damage above both is a torn tail, whatever follows it.
- Reading the log writes nothing. Who wants to write settles the tail first (`piecrust.objects.log_writer`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final, NamedTuple

from piecrust.objects.catalog import Catalog
from piecrust.objects.checkpoint import ClosedSegment, Ledger
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.durable import Durable, Position, Published
from piecrust.objects.errors import CorruptStore, InvalidFormat
from piecrust.objects.format import Layout, segment_number
from piecrust.objects.frame import EntryFlags, FrameType, TableRow, decode_head
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import OperationRecord, unpack_records
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, ScannedFrame, later_frames, scan
from piecrust.objects.source import SegmentSource

_ATTEMPTS: Final = 16


class OperationFrame(NamedTuple):
    """A frame with operations: the sequence number of its first one, and where it is."""

    first: int
    source: SegmentSource
    offset: int


class LogReader:
    """What the log says, as far as it was read."""

    def __init__(self, disk: Disk, layout: Layout, durable: Durable, *, writable: bool) -> None:
        self.disk, self.layout, self.durable = disk, layout, durable
        self.mutex = threading.RLock()  # held by whoever changes what is below
        self.catalog = Catalog()
        self.ledger = Ledger()
        self.operation_frames: list[OperationFrame] = []
        self.damage: list[CorruptStore] = []
        self.exact = False  # DURABLE says where the log ends; otherwise it was read to its last valid frame
        self._mode = Mode.WRITE if writable else Mode.READ
        self._active: SegmentSource | None = None
        self._position: Position | None = None
        self._sources: dict[bytes, SegmentSource] = {}  # by salt
        self._closed: set[bytes] = set()  # salts of segments that were read to their end

    @property
    def active(self) -> SegmentSource:
        """The segment that frames are appended to."""
        if self._active is None:
            raise RuntimeError("the log was not read")
        return self._active

    @property
    def forgotten(self) -> bool:
        """Whether the log has to be read again from its newest checkpoint."""
        return self._position is None

    @property
    def position(self) -> Position:
        """Where the log ends."""
        if self._position is None:
            raise RuntimeError("the log was not read")
        return self._position

    def follow(self) -> None:
        """Take in what was published since the last time, by any process.

        Raises:
            CorruptStore: the log can't be read at all. Damage that leaves something to read is noted in `damage`.
        """
        for _ in range(_ATTEMPTS):
            published = self.durable.read()
            try:
                if self._extends(published):
                    self._extend(published.position)
                else:
                    self._switch(published)
            except FileNotFoundError as error:
                missing = error  # another process replaced the file between two looks
                if not self.durable.moved():
                    break
            except BaseException:
                self.forget()  # what is in memory may be behind the position, or before it
                raise
            else:
                self.exact = published.exact and published.position is not None
                return
        self.forget()
        raise CorruptStore(missing.filename, 0, "the file is missing") from missing

    def forget(self) -> None:
        """Read the active segment anew next time: something was interrupted between the files and what is in memory."""
        self._position = None
        self.exact = False

    def close(self) -> None:
        """Close every file; what was mapped stays readable for those who hold it."""
        for source in self._sources.values():
            source.close()
        self._sources.clear()
        self.durable.close()

    def _extends(self, published: Published) -> bool:
        position, known = published.position, self._position
        if position is None or known is None or not published.exact:
            return False
        return position.segment == known.segment and position.end >= known.end

    def _extend(self, position: Position | None) -> None:
        """Read on in the active segment."""
        known = self.position
        if position is None or position.end == known.end:
            self._position = position or known
            return
        end, _, chain = self._take_in(self.active, known.end, known.chain, known.sequence, position.end)
        if (end, chain) != (position.end, position.chain):
            self._note_damage(self.active, end, position.end, "a published frame is damaged")
        self._position = position

    def _switch(self, published: Published) -> None:
        """Read the log anew from the newest checkpoint; what is known of closed segments is not read again."""
        position = published.position
        numbers = [n for name in self.disk.list(self.layout.log) if (n := segment_number(name)) is not None]
        if not numbers:
            raise CorruptStore(self.layout.log, 0, "there is no segment")
        number = position.segment if position is not None and published.exact else max(numbers)
        if position is not None and number < position.segment:
            raise CorruptStore(self.layout.segment(position.segment), 0, "the active segment is missing")
        source = self._open(number)
        checkpoint = read_checkpoint(source)
        ledger = _ledger(source, checkpoint)
        for closed in ledger.segments:
            self._read_closed(closed)
        self._active, self.ledger = source, ledger
        self.operation_frames = [frame for frame in self.operation_frames if frame.source is not source]
        header = checkpoint.header
        if position is not None and published.exact:
            limit = bound = position.end
        else:
            limit, bound = source.size(), position.end if position is not None and position.segment == number else 0
        end, sequence, chain = self._take_in(source, checkpoint.end, header.chain, header.sequence, limit)
        if position is None or not published.exact:
            bound = max([bound, *(frame.header.synced_to for frame in later_frames(source, source.header, end))])
            position = Position(number, end, end, sequence, chain)
        elif end == position.end and chain != position.chain:
            end = checkpoint.offset
        if end < bound:
            self._note_damage(source, end, limit, "a frame that was synced is damaged")
        self._position = position

    def _open(self, number: int) -> SegmentSource:
        """The source of a segment, opened once."""
        for source in self._sources.values():
            if source.header.number == number:
                return source
        source = SegmentSource.open(self.disk, self.layout.segment(number), self._mode)
        if source.header.number != number:
            source.close()
            raise CorruptStore(source.path, 16, f"this is segment {source.header.number}")
        self._sources[source.salt] = source
        return source

    def _read_closed(self, closed: ClosedSegment) -> None:
        """Take in a segment that is no longer written to, or the part of it that is not known yet."""
        try:
            source = self._open(closed.number)
        except CorruptStore as error:
            self.damage.append(error)
            return
        if source.salt in self._closed:
            return
        known = self._position
        if self._active is source and known is not None and known.end <= closed.end:
            end, _, chain = self._take_in(source, known.end, known.chain, known.sequence, closed.end)
        else:
            try:
                checkpoint = read_checkpoint(source)
            except CorruptStore as error:
                self._note_damage(source, SEGMENT_HEADER_BYTES, closed.end, error.reason)
                return
            self.ledger = _ledger(source, checkpoint)
            header = checkpoint.header
            end, _, chain = self._take_in(source, checkpoint.end, header.chain, header.sequence, closed.end)
        self._closed.add(source.salt)
        if (end, chain) != (closed.end, closed.chain):
            self._note_damage(source, end, closed.end, "a frame of a closed segment is damaged")

    def _take_in(
        self, source: SegmentSource, offset: int, chain: bytes, sequence: int, limit: int
    ) -> tuple[int, int, bytes]:
        """Apply the valid frames below `limit`; where they end, the last one's sequence number and chain hash."""
        for frame in scan(source, source.header, offset, chain, end=limit):
            self._apply(source, frame)
            offset, chain, sequence = frame.end, frame.header.chain, frame.header.sequence
        return offset, sequence, chain

    def _apply(self, source: SegmentSource, frame: ScannedFrame) -> None:
        ledger = self.ledger
        try:
            head = decode_head(frame.body, frame.header.body_length)
            self.catalog.add_frame(source, frame.offset, head.rows)
            if frame.header.type is FrameType.TRANSACTION:
                self.operation_frames.append(OperationFrame(ledger.next_operation, source, frame.offset))
                ledger.apply_operations(head.meta, kept_commits(head.rows))
            elif frame.header.type is FrameType.SOURCES:
                ledger.apply_sources(head.meta)
        except InvalidFormat as error:
            raise CorruptStore(source.path, frame.offset, error.reason) from error

    def _note_damage(self, source: SegmentSource, offset: int, limit: int, reason: str) -> None:
        """Remember damage, and take in what is whole between it and `limit`."""
        if any((known.path, known.offset) == (source.path, offset) for known in self.damage):
            return
        self.damage.append(CorruptStore(source.path, offset, reason))
        for frame in later_frames(source, source.header, offset):
            if frame.end <= limit:
                self._apply(source, frame)


def read_checkpoint(source: SegmentSource) -> ScannedFrame:
    """The frame that a segment begins with; `CorruptStore` if it is not whole."""
    checkpoint = next(scan(source, source.header, SEGMENT_HEADER_BYTES), None)
    if checkpoint is None or checkpoint.header.type is not FrameType.CHECKPOINT:
        raise CorruptStore(source.path, SEGMENT_HEADER_BYTES, "the checkpoint is damaged")
    return checkpoint


def kept_commits(rows: Iterable[TableRow]) -> set[bytes]:
    """The commits that a frame's own table flags as kept."""
    return {row.address for row in rows if row.kind == Kind.COMMIT and row.flags & EntryFlags.KEPT}


def _ledger(source: SegmentSource, checkpoint: ScannedFrame) -> Ledger:
    try:
        return Ledger.decode(decode_head(checkpoint.body, checkpoint.header.body_length).meta)
    except InvalidFormat as error:
        raise CorruptStore(source.path, checkpoint.offset, error.reason) from error


def read_operations(frame: OperationFrame) -> list[OperationRecord]:
    """The records of a frame, oldest first; `CorruptStore` if it is damaged."""
    source = frame.source
    scanned = next(scan(source, source.header, frame.offset, None), None)
    if scanned is None:
        raise CorruptStore(source.path, frame.offset, "operation records are damaged")
    try:
        return unpack_records(decode_head(scanned.body, scanned.header.body_length).meta, frame.first)
    except InvalidFormat as error:
        raise CorruptStore(source.path, frame.offset, error.reason) from error
