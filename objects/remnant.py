"""Putting the log together when its newest segment is missing, or does not begin as it should.

The ledger stands at the beginning of that segment. Without it, it is what the newest segment before it, sealed or not,
comes to at its end; or what the snapshot in `index/` says; or, if collecting garbage left neither, what the operation
records that were kept say of refs. Then come the frames of the segment itself: its salt is in its header, or in the
snapshot, and each frame that is valid with it is what was written.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from piecrust.objects.checkpoint import ClosedSegment, Ledger, PackName
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.durable import Durable, Position
from piecrust.objects.errors import CorruptStore, InvalidFormat
from piecrust.objects.format import Layout, segment_number
from piecrust.objects.frame import NO_CHAIN, SALT_BYTES, FrameType, decode_head, marker
from piecrust.objects.frame_check import LooseSource
from piecrust.objects.log_reader import LogReader
from piecrust.objects.oplog import unpack_history, unpack_records
from piecrust.objects.pack import PackSource, pack_name, pack_path
from piecrust.objects.replay import checkpoint_ledger, kept_commits, read_checkpoint
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, ScannedFrame, SegmentHeader, later_frames, scan
from piecrust.objects.snapshot import Snapshot, read_snapshot
from piecrust.objects.source import SegmentSource, Source
from piecrust.objects.source_set import SourceSet

MISSING: Final = "the file is missing"

_SALT: Final = slice(24, 24 + SALT_BYTES)  # in a segment's header


class AbsentSegment(SegmentSource):
    """A segment of which nothing can be read."""

    def __init__(self, path: Path, salt: bytes) -> None:
        Source.__init__(self, path, SegmentHeader(0, salt, marker(salt)))

    def read(self, _offset: int, _length: int) -> bytes:
        """None of its bytes are there."""
        return b""

    def size(self) -> int:
        """Nothing."""
        return 0

    def close(self) -> None:
        """There is nothing to give back."""


class SourcesLeft(SourceSet):
    """Sources of which some may be missing."""

    stand_in: SegmentSource | None = None  # for the newest segment

    def pack(self, name: PackName) -> PackSource:
        """A pack; `CorruptStore` if it isn't there, too."""
        try:
            return super().pack(name)
        except FileNotFoundError as error:
            raise CorruptStore(error.filename, 0, MISSING) from error

    def segment(self, number: int) -> SegmentSource:
        """A segment; `CorruptStore` if it isn't there, too."""
        try:
            return super().segment(number)
        except FileNotFoundError as error:
            raise CorruptStore(error.filename, 0, MISSING) from error

    def everything(self) -> dict[bytes, Source]:
        """Every source that is open, and what stands for the newest segment, by salt."""
        found = super().everything()
        return found if self.stand_in is None else {self.stand_in.salt: self.stand_in} | found


def piece_together(disk: Disk, layout: Layout, cause: CorruptStore) -> LogReader:
    """The log of a store that can't be opened because of `cause`.

    Raises:
        CorruptStore: nothing is left, neither a segment nor a pack.
    """
    sources = SourcesLeft(disk, layout, Mode.READ)
    log = _Remnant(disk, layout, Durable(disk, layout.durable, writable=False), writable=False, sources=sources)
    try:
        sources.stand_in = log.read_what_is_left(cause)
        log.take_in_frames()
    except BaseException:
        log.close()
        raise
    return log


class _Remnant(LogReader):
    """What the log says without the beginning of its newest segment."""

    _snapshot: Snapshot | None = None
    _first_operation = 0  # the number of the segment's first operation

    def read_what_is_left(self, cause: CorruptStore) -> SegmentSource:
        """Put the ledger together; what stands for the segment."""
        self._snapshot = read_snapshot(self.disk, self.layout)
        number = self._lost_number(cause)
        active = self._active = self._lost_segment(number)
        reason = cause.reason if str(cause.path) == str(active.path) else "the segment can't be read"
        self._note(CorruptStore(active.path, cause.offset if reason == cause.reason else 0, reason))
        frames = list(later_frames(active, active.header, SEGMENT_HEADER_BYTES))
        self.ledger = self._ledger_before(number, active, frames)
        self._reconcile(number)
        newest = max(frames, key=lambda frame: frame.header.sequence, default=None)
        end = max([0, *(frame.end for frame in frames)])
        sequence, chain = (0, NO_CHAIN) if newest is None else (newest.header.sequence, newest.header.chain)
        self._position = Position(number, end, end, sequence, chain)
        return active

    def take_in_frames(self) -> None:
        """Make known what the files hold, once what stands for the segment is among the sources."""
        snapshot = self._snapshot
        self._carried = (self._open_tables(snapshot) if snapshot is not None else None) or []
        self.settle_sources()
        active, ledger = self.active, Ledger(next_operation=self._first_operation)
        for frame in later_frames(active, active.header, SEGMENT_HEADER_BYTES):
            if frame.header.type is not FrameType.CHECKPOINT:
                with contextlib.suppress(CorruptStore):
                    self._apply(active, frame, ledger)

    def _lost_number(self, cause: CorruptStore) -> int:
        """The number of the segment that is lost."""
        numbers = [n for name in self.disk.list(self.layout.log) if (n := segment_number(name)) is not None]
        if not numbers and not list(self._packs_there()):
            raise cause
        position = self.durable.read().position
        if position is not None:
            return position.segment
        return max(numbers) if numbers else max([0, *(s.header.number for s in self._whole_sources(0))]) + 1

    def _lost_segment(self, number: int) -> SegmentSource:
        """What stands for the segment; the snapshot is forgotten if it isn't of this store."""
        path = self.layout.segment(number)
        snapshot = self._snapshot
        try:
            file = self.disk.open(path, Mode.READ)
        except FileNotFoundError:
            packs = {name for entry in self.disk.list(self.layout.packs) if (name := pack_name(entry)) is not None}
            if snapshot is not None and not {pack.name for pack in snapshot.ledger.packs} <= packs:
                self._snapshot = snapshot = None
            ours = snapshot is not None and snapshot.segment == number
            return AbsentSegment(path, snapshot.salt if snapshot is not None and ours else os.urandom(SALT_BYTES))
        data = file.read(0, file.size())
        salt = next((salt for salt in _salts(data) if data[SEGMENT_HEADER_BYTES:].startswith(marker(salt))), None)
        for known in [data[_SALT], *([snapshot.salt] if snapshot is not None else [])]:
            if salt is None and len(known) == SALT_BYTES and marker(known) in data:
                salt = known
        if snapshot is not None and snapshot.segment == number and snapshot.salt != salt:
            self._snapshot = None
        if salt is None:
            file.close()
            return AbsentSegment(path, os.urandom(SALT_BYTES))
        return LooseSource(file, path, salt)

    def _ledger_before(self, number: int, active: SegmentSource, frames: list[ScannedFrame]) -> Ledger:
        """The newest ledger that can be had, with what the frames of the segment say since."""
        snapshot = self._snapshot
        if snapshot is not None and snapshot.salt == active.salt:
            ledger = snapshot.ledger
            before = [frame for frame in frames if frame.end <= snapshot.end]
            self._first_operation = ledger.next_operation - sum(map(_count_of_operations, before))
            _replay(ledger, [frame for frame in frames if frame.offset >= snapshot.end])
            return ledger
        ledger = self._ledger_of_others(number)
        self._first_operation = ledger.next_operation
        _replay(ledger, frames)
        return ledger

    def _ledger_of_others(self, number: int) -> Ledger:
        """The ledger at the end of the newest other segment, or what operation records tell."""
        newest = None
        for source in self._whole_sources(number):
            if newest is None or source.header.number > newest.header.number:
                newest = source
        snapshot = self._snapshot
        if newest is not None and snapshot is not None and snapshot.salt == newest.salt:
            ledger = snapshot.ledger
            _replay(ledger, scan(newest, newest.header, snapshot.end, None))
            return ledger
        if newest is not None:
            checkpoint = read_checkpoint(newest)
            ledger = checkpoint_ledger(newest, checkpoint)
            _replay(ledger, scan(newest, newest.header, checkpoint.end, checkpoint.header.chain))
            return ledger
        if snapshot is not None:
            return snapshot.ledger
        return self._ledger_of_records()

    def _ledger_of_records(self) -> Ledger:
        """Refs as the operation records that were kept leave them; what is kept and deleted is flagged in packs."""
        records = []
        for pack in self._packs_there():
            source = self._sources.pack(pack)
            for frame in scan(source, source.header, SEGMENT_HEADER_BYTES):
                if frame.header.type is FrameType.HISTORY:
                    records += unpack_history(decode_head(frame.body).meta)[1]
        records.sort(key=lambda record: record.sequence)
        ledger = Ledger(first_operation=records[0].sequence if records else 0)
        for record in records:
            ledger.apply(replace(record, kept=(), deleted=()), set())
        return ledger

    def _reconcile(self, number: int) -> None:
        """Name the packs and segments that are there, whatever an older ledger knew of them."""
        ledger = self.ledger
        named = {pack.name for pack in ledger.packs}
        ledger.packs += [pack for pack in self._packs_there() if pack.name not in named]
        sealed = {pack.salt for pack in ledger.packs}
        ledger.segments = [
            closed for closed in ledger.segments if closed.salt not in sealed and closed.number != number
        ]
        known = {closed.number for closed in ledger.segments}
        for source in self._segments_there(number):
            if source.header.number not in known and source.salt not in sealed:
                end, chain = SEGMENT_HEADER_BYTES, NO_CHAIN
                for frame in scan(source, source.header, end):
                    end, chain = frame.end, frame.header.chain
                ledger.segments.append(ClosedSegment(source.header.number, end, chain, source.salt))
        ledger.segments.sort()

    def _whole_sources(self, number: int) -> Iterator[Source]:
        """The other segments, sealed or not, that begin with a checkpoint."""
        packs = [self._sources.pack(pack) for pack in self._packs_there()]
        for source in [*packs, *self._segments_there(number)]:
            with contextlib.suppress(CorruptStore):
                checkpoint_ledger(source, read_checkpoint(source))
                yield source

    def _segments_there(self, number: int) -> Iterator[SegmentSource]:
        for name in sorted(self.disk.list(self.layout.log)):
            other = segment_number(name)
            if other is not None and other != number:
                with contextlib.suppress(CorruptStore):
                    yield self._sources.segment(other)

    def _packs_there(self) -> Iterator[PackName]:
        for entry in sorted(self.disk.list(self.layout.packs)):
            name = pack_name(entry)
            if name is not None:
                with contextlib.suppress(CorruptStore):
                    source = PackSource.open(self.disk, pack_path(self.layout, name))
                    yield PackName(name, len(source.data), source.salt)


def _replay(ledger: Ledger, frames: Iterable[ScannedFrame]) -> None:
    """Do what frames say of refs, commits and files."""
    for frame in frames:
        with contextlib.suppress(InvalidFormat):
            head = decode_head(frame.body, frame.header.body_length)
            match frame.header.type:
                case FrameType.TRANSACTION:
                    ledger.apply_operations(head.meta, kept_commits(head.rows))
                case FrameType.SOURCES:
                    ledger.apply_sources(head.meta)
                case _:
                    pass


def _count_of_operations(frame: ScannedFrame) -> int:
    if frame.header.type is not FrameType.TRANSACTION:
        return 0
    return len(unpack_records(decode_head(frame.body).meta, 0))


def _salts(data: bytes) -> Iterator[bytes]:
    """The salt as a segment's header has it, and every one that differs from it by a bit."""
    salt = data[_SALT]
    if len(salt) == SALT_BYTES:
        yield salt
        number = int.from_bytes(salt, "big")
        yield from ((number ^ 1 << bit).to_bytes(SALT_BYTES, "big") for bit in range(8 * SALT_BYTES))
