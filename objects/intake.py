"""Taking frames in: their objects into the catalog, what they say into the ledger."""

from __future__ import annotations

from piecrust.objects.catalog import Catalog, OpenTable, OperationFrame
from piecrust.objects.checkpoint import Ledger
from piecrust.objects.errors import CorruptStore, InvalidFormat
from piecrust.objects.frame import NO_CHAIN, FrameType, decode_head
from piecrust.objects.oplog import unpack_history
from piecrust.objects.replay import checkpoint_ledger, kept_commits, read_checkpoint, read_operations
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, ScannedFrame, later_frames, scan
from piecrust.objects.source import Source


class Intake:
    """What is known of a store's frames. One thread at a time, apart from look-ups in the catalog."""

    def __init__(self) -> None:
        self.catalog = Catalog(self.rescan)
        self.ledger = Ledger()
        self.damage: list[CorruptStore] = []
        self.last_frame = 0  # offset of the last frame of the log that was taken in
        self._known: dict[bytes, int] = {}  # by salt: how far the frames of a source are in the catalog
        self._carried: list[OpenTable] = []  # tables whose sources are not all open yet

    def rescan(self) -> None:
        """Give all tables up and read everything again."""
        raise NotImplementedError

    def known(self) -> dict[bytes, int]:
        """How far the frames of each source are in the catalog, by salt."""
        return dict(self._known)

    def _scan_source(self, source: Source, limit: int) -> tuple[int, bytes]:
        """Take in the frames of a closed source that are not known yet; where they end, and the last chain hash."""
        begin = self._known.get(source.salt, SEGMENT_HEADER_BYTES)
        ledger = Ledger(next_operation=self._next_operation(source))
        end, _, chain = self._take_in(source, begin, None, 0, limit, ledger)
        return end, chain or NO_CHAIN

    def _next_operation(self, source: Source) -> int:
        """The sequence number after the last operation of a source that is known."""
        frames = [frame for frame in self.catalog.fresh_operations if frame.source.salt == source.salt]
        for table in [opened.table for opened in self._carried]:
            for first, number, offset in map(table.operation, range(table.operations)):
                if table.coverage[number].salt == source.salt:
                    frames.append(OperationFrame(first, source, offset))
        if frames:
            newest = max(frames, key=lambda frame: frame.first)
            return newest.first + len(read_operations(newest))
        try:
            return checkpoint_ledger(source, read_checkpoint(source)).next_operation
        except CorruptStore:
            return 0  # a pack that begins without one says itself how its operations are counted

    def _take_in(
        self,
        source: Source,
        offset: int,
        chain: bytes | None,
        sequence: int,
        limit: int,
        ledger: Ledger | None = None,
    ) -> tuple[int, int, bytes | None]:
        """Apply the valid frames below `limit`; where they end, the last one's sequence number and chain hash."""
        for frame in scan(source, source.header, offset, chain, end=limit):
            self._apply(source, frame, self.ledger if ledger is None else ledger)
            if ledger is None:
                self.last_frame = frame.offset
            offset, chain, sequence = frame.end, frame.header.chain, frame.header.sequence
        self._known[source.salt] = offset
        return offset, sequence, chain

    def _apply(self, source: Source, frame: ScannedFrame, ledger: Ledger) -> None:
        operations = self.catalog.fresh_operations
        try:
            head = decode_head(frame.body, frame.header.body_length)
            self.catalog.add_frame(source, frame.offset, head.rows)
            match frame.header.type:
                case FrameType.TRANSACTION:
                    operations.append(OperationFrame(ledger.next_operation, source, frame.offset))
                    ledger.apply_operations(head.meta, kept_commits(head.rows))
                case FrameType.HISTORY:
                    first, _ = unpack_history(head.meta)
                    operations.append(OperationFrame(first, source, frame.offset))
                case FrameType.SOURCES if ledger is self.ledger:
                    ledger.apply_sources(head.meta)
                case FrameType.CHECKPOINT if ledger is not self.ledger:
                    ledger.next_operation = Ledger.decode(head.meta).next_operation
                case _:
                    pass
        except InvalidFormat as error:
            raise CorruptStore(source.path, frame.offset, error.reason) from error

    def _note(self, damage: CorruptStore) -> bool:
        """Remember damage; whether it is news."""
        if any((known.path, known.offset) == (damage.path, damage.offset) for known in self.damage):
            return False
        self.damage.append(damage)
        return True

    def _note_damage(self, source: Source, offset: int, limit: int, reason: str) -> None:
        """Remember damage, and take in what is whole between it and `limit`."""
        if self._note(CorruptStore(source.path, offset, reason)):
            for frame in later_frames(source, source.header, offset):
                if frame.end <= limit:
                    self._apply(source, frame, self.ledger)
