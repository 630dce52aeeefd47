"""Writing the log: one frame, one write, one sync for each publish; a new segment when the active one is full.

Everything here happens under the store's lock.

- Nothing is ever written over and no file is shortened. What an interrupted write left behind stays where it is: the
  segment is closed before it, and the next one begins with a checkpoint that says so.
- An error before the sync leaves the log as it was. After a failed sync nobody knows what is on the disk: the handle
  is dead, and who opens the store next closes the segment at what was synced.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from piecrust.objects.catalog import covered
from piecrust.objects.checkpoint import ClosedSegment, Ledger, SourcesChange
from piecrust.objects.disk import Disk, Mode, store_error, write_all
from piecrust.objects.durable import Durable, Position
from piecrust.objects.format import Layout
from piecrust.objects.frame import HEADER_BYTES, NO_CHAIN, FrameType, encode_body, padded, seal_frame
from piecrust.objects.log_reader import LogReader
from piecrust.objects.replay import read_checkpoint
from piecrust.objects.segment import ALLOCATION_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, tail_is_clear


class LogWriter(LogReader):
    """A log that can be appended to."""

    def __init__(self, disk: Disk, layout: Layout, durable: Durable, *, segment_bytes_max: int, sync: bool) -> None:
        super().__init__(disk, layout, durable, writable=True)
        self.sync_failed = False
        self.segment_bytes_max, self._sync = segment_bytes_max, sync
        self._settled: bytes | None = None  # salt of the segment whose tail was looked at
        self._allocated = 0
        self._first_end = 0  # where the active segment's checkpoint ends: a segment holds at least one frame more

    @property
    def in_use(self) -> bool:
        """Whether the active segment holds more than its checkpoint."""
        return self.position.end > self._first_end

    @property
    def holds_transactions(self) -> bool:
        """Whether the active segment may hold objects or operations, not only what was said of files."""
        active, catalog = self.active, self.catalog
        objects = any(at.source is active for kind in catalog.fresh for at in kind.values())
        operations = any(frame.source is active for frame in catalog.fresh_operations)
        return objects or operations or covered(catalog.tables).get(active.salt, 0) > self._first_end

    def prepare(self) -> bool:
        """Take in what others published and make the log ready to be appended to; whether anything changed.

        Raises:
            CorruptStore: the log is damaged where it had been synced.
        """
        changed = self.durable.moved() or not self.exact
        if changed:
            self.follow()
        if self.damage:
            raise self.damage[0]
        if self.position.successor:
            self._finish_rotation()
        if self._settled != self.active.salt or not self.exact:
            self._settle()
        return changed

    def append(self, kind: FrameType, body: bytes, *, publish: bool = True) -> int:
        """Write a frame with this body, make it durable and publish it; its offset in `active`.

        Without `publish` it is only written; the next frame that is published takes it along.

        Raises:
            StoreFull, StoreIOError: nothing was published. If it was the sync that failed, `sync_failed` is set.
        """
        length = padded(HEADER_BYTES + len(body))
        if self.position.end + length > self.segment_bytes_max and self.position.end > self._first_end:
            self.rotate()
        elif self.active.read(self.position.end, HEADER_BYTES).strip(b"\0"):
            self.rotate()  # another process was stopped, or ran out of room, in the middle of a write
        position, active = self.position, self.active
        header = active.header
        frame, chain = seal_frame(
            header.salt, header.mark, kind, position.sequence + 1, position.synced, position.chain, body
        )
        end = position.end + length
        try:
            self._make_room(end)
            write_all(active.file, position.end, frame)
        except OSError as error:
            raise store_error(active.path, "write", error) from error
        grown = Position(position.segment, end, position.synced, position.sequence + 1, chain)
        if not publish:
            self._position = grown
            return position.end
        if self._sync:
            self._sync_file(active.path)
            grown = grown._replace(synced=end)
        self._publish(grown)
        self.last_frame = position.end
        return position.end

    def publish_sources(self, change: SourcesChange) -> None:
        """Make a change of the files that hold objects durable and visible."""
        self.append(FrameType.SOURCES, encode_body([], change.encode()).data)
        self.ledger.apply_sources(change.encode())
        self.settle_sources()

    def rotate(self, *, forget: bool = False) -> None:
        """Close the active segment where the log ends, and go on in a new one; or `forget` it, if nothing is lost.

        The new one is complete and synced before it gets its name, so a segment in `log/` has a valid checkpoint.
        """
        position = self.position
        number = position.segment + 1
        if position.synced < position.end:
            self._sync_file(self.active.path)
        ledger = self.ledger
        closed = ClosedSegment(position.segment, position.end, position.chain, self.active.salt)
        segments = ledger.segments if forget else [*ledger.segments, closed]
        try:
            end, sequence, chain = write_segment(
                self.disk, self.layout, number, replace(ledger, segments=segments), position.sequence + 1
            )
            # Another process that takes the lock after we were killed must not go on in the old segment.
            self._publish(position._replace(synced=position.end, successor=number))
            self.disk.rename(self.layout.tmp / "segment", self.layout.segment(number))
            self.disk.sync_directory(self.layout.log)
        except OSError as error:
            raise store_error(self.layout.segment(number), "create", error) from error
        self._announce(Position(number, end, end, sequence, chain))
        self.follow()
        self._settled, self._allocated, self._first_end = self.active.salt, end, end

    def _finish_rotation(self) -> None:
        """Finish what a process that was killed had begun: go on in the new segment if it has its name."""
        position = self.position
        if self.layout.segment(position.successor).name not in self.disk.list(self.layout.log):
            self._publish(position._replace(successor=0))
            return
        self.disk.sync_directory(self.layout.log)
        first = read_checkpoint(self._sources.segment(position.successor))
        header = first.header
        self._announce(Position(position.successor, first.end, first.end, header.sequence, header.chain))
        self.follow()

    def _settle(self) -> None:
        """Before the first append: what was read is on the disk, and nothing but zeros follows it."""
        active = self.active
        if not self.exact:
            self._sync_file(active.path)
            try:
                self.disk.sync_directory(self.layout.log)
            except OSError as error:
                raise store_error(self.layout.log, "sync", error) from error
            self._publish(self.position._replace(synced=self.position.end))
            self.exact = True
        self._allocated = active.size()
        self._first_end = read_checkpoint(active).end
        if not tail_is_clear(active, self.position.end):
            self.rotate()
        self._settled = self.active.salt

    def _make_room(self, end: int) -> None:
        if end <= self._allocated:
            return
        file = self.active.file
        size = file.size()
        if size < end:
            target = -(-end // ALLOCATION_BYTES) * ALLOCATION_BYTES
            file.allocate(size, max(end, min(target, self.segment_bytes_max)) - size)
            size = file.size()
        self._allocated = size

    def _sync_file(self, path: Path) -> None:
        try:
            self.active.file.sync()
        except OSError as error:
            self.sync_failed = True
            raise store_error(path, "sync", error) from error

    def _publish(self, position: Position) -> None:
        """Announce a position in the active segment, and go on from there."""
        self._announce(position)
        self._position = position
        self._known[self.active.salt] = position.end

    def _announce(self, position: Position) -> None:
        """Tell every process of this boot where the log ends."""
        try:
            self.durable.write(position)
        except OSError as error:
            self.sync_failed = True
            raise store_error(self.layout.durable, "write", error) from error


def write_segment(disk: Disk, layout: Layout, number: int, ledger: Ledger, sequence: int) -> tuple[int, int, bytes]:
    """Write and sync a segment with its checkpoint as tmp/segment; the checkpoint's end, sequence and chain."""
    header = SegmentHeader.new(number)
    body = encode_body([], ledger.encode()).data
    frame, chain = seal_frame(header.salt, header.mark, FrameType.CHECKPOINT, sequence, 0, NO_CHAIN, body)
    end = SEGMENT_HEADER_BYTES + len(frame)
    draft = layout.tmp / "segment"
    if draft.name in disk.list(layout.tmp):
        disk.unlink(draft)
    file = disk.open(draft, Mode.CREATE)
    try:
        write_all(file, 0, header.encode() + frame)
        file.allocate(end, -end % ALLOCATION_BYTES)
        file.sync()
    finally:
        file.close()
    return end, sequence, chain
