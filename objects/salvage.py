"""Getting what is whole out of damaged files, and what is lost out of another store, into new packs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from piecrust.objects.access import ObjectReader, Staged
from piecrust.objects.checkpoint import Ledger, PackName
from piecrust.objects.damaged_store import CheckedSource, DamagedStore
from piecrust.objects.encoder import Encoder
from piecrust.objects.errors import CorruptObject, InvalidFormat, ObjectNotFound
from piecrust.objects.findings import Item, LostObject
from piecrust.objects.format import SEGMENT_BYTES_MAX
from piecrust.objects.frame import Encoding, Entry, EntryFlags, FrameType
from piecrust.objects.frame_check import CheckedFrame, every_frame, objects_of
from piecrust.objects.graph import CommitGraph
from piecrust.objects.ids import ID_BYTES, Address, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.object_check import body_of
from piecrust.objects.oplog import OperationRecord, unpack_history, unpack_records
from piecrust.objects.rewriting import Rewriter

_UNREADABLE = (CorruptObject, ObjectNotFound)


class Salvage:
    """Reads as the repaired store will; what it is asked for, and has to be moved or fetched, it writes to a pack."""

    def __init__(self, store: DamagedStore, given_up: set[bytes], other: ObjectReader | None) -> None:
        """With the salts of the files that are given up, and another store to take from."""
        self.salvaged = 0
        self.healed: list[LostObject] = []
        self.kept: set[CommitId] = set()  # of the commits that were not there as objects of a whole frame
        self._store, self._given_up, self._other = store, given_up, other
        self._graph = CommitGraph(store.log.catalog, self.load)
        self._rewriter = Rewriter(store.log, self._graph, SEGMENT_BYTES_MAX)
        self._encoder = Encoder(store.reader)
        self._foreign: set[Item] = set()

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded object; `ObjectNotFound` or `CorruptObject` if neither store has it."""
        item = kind, bytes(address)
        if item in self._foreign and self._other is not None:
            return self._other.load(kind, address)
        try:
            value = self._store.load(kind, address)
        except _UNREADABLE:
            if self._other is None:
                raise
            value = self._other.load(kind, address)
            self._foreign.add(item)
            self.healed.append(LostObject(kind, Address(address)))
            self._write(kind, address, value)
            return value
        location = self._store.reader.catalog.locate(kind, address)
        if location is not None and location.source.salt in self._given_up and item not in self._rewriter.copied:
            self.salvaged += 1
            self._write(kind, address, value)
        return value

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether `load` would give it."""
        return self.is_sound(kind, address)

    def is_sound(self, kind: Kind, address: bytes, /) -> bool:
        """Whether `load` would give it."""
        location = self._store.reader.catalog.locate(kind, address)
        given_up = location is None or location.source.salt in self._given_up
        if not given_up and self._store.is_sound(kind, address):
            return True
        if (kind, bytes(address)) in self._rewriter.copied:
            return True
        try:
            self.load(kind, address)
        except _UNREADABLE:
            return False
        return True

    def heal(self, items: Iterable[Item]) -> None:
        """Take these objects from the other store, if it has them."""
        if self._other is not None:
            for kind, address in items:
                self.is_sound(kind, address)

    def copy(self, checked: CheckedSource) -> None:
        """Take all that is whole out of a file: its objects, and the operation records that it holds."""
        source = checked.source
        known = {f.offset: f.first for f in self._store.log.catalog.operations() if f.source.salt == source.salt}
        following: int | None = None  # the sequence number of the next operation, where that can be told
        for frame in every_frame(source, checked.end):
            for stored in objects_of(frame):
                item = stored.kind, stored.address
                if item in self._rewriter.copied:
                    continue
                try:
                    body_of(self._store.reader, stored)
                except CorruptObject:
                    continue
                payload = bytes(stored.payload)
                if stored.encoding == Encoding.DELTA:
                    self.is_sound(stored.kind, payload[:ID_BYTES])  # the base comes along, wherever it is
                self.salvaged += 1
                self._rewriter.add(Entry(stored.kind, stored.address, Encoding(stored.encoding), payload, stored.flags))
            following = self._copy_operations(frame, known.get(frame.offset, following))

    def finish(self) -> list[PackName]:
        """Complete the packs; none if there was nothing to write."""
        return self._rewriter.finish()

    def abandon(self) -> None:
        """Remove what is not complete."""
        self._rewriter.abandon()

    def _copy_operations(self, frame: CheckedFrame, first: int | None) -> int | None:
        """Take in a frame's operation records; the sequence number after them, if it can be told."""
        head = frame.head() if frame.whole else None
        if head is None:
            return None
        records: list[OperationRecord] = []
        try:
            match frame.type:
                case FrameType.CHECKPOINT:
                    return Ledger.decode(head.meta).next_operation
                case FrameType.HISTORY:
                    _, records = unpack_history(head.meta)
                case FrameType.TRANSACTION if first is not None:
                    records = unpack_records(head.meta, first)
                case FrameType.TRANSACTION:
                    return None
                case _:
                    return first
        except InvalidFormat:
            return None
        oldest = self._store.log.ledger.first_operation
        self._rewriter.add_records(record for record in records if record.sequence >= oldest)
        return records[-1].sequence + 1 if records else first

    def _write(self, kind: Kind, address: bytes, value: Any) -> None:
        kept: set[bytes] = set()
        if kind is Kind.COMMIT and self._is_kept(CommitId(address)):
            kept.add(bytes(address))
            self.kept.add(CommitId(address))
        for entry in self._encoder.encode([(kind, address, Staged(value, None, None))], kept):
            self._rewriter.add(entry)

    def _is_kept(self, commit: CommitId) -> bool:
        """Whether a commit whose flags may be lost is to be kept: unless the log says that it was deleted."""
        location = self._store.reader.catalog.locate(Kind.COMMIT, commit)
        flagged = location is None or bool(location.flags & EntryFlags.KEPT)
        return self._store.log.ledger.exceptions.get(commit, flagged)
