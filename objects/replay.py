"""What frames say about the ledger and the operation log."""

from __future__ import annotations

from collections.abc import Iterable

from piecrust.objects.catalog import OperationFrame
from piecrust.objects.checkpoint import Ledger
from piecrust.objects.errors import CorruptStore, InvalidFormat
from piecrust.objects.frame import EntryFlags, FrameType, TableRow, decode_head
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import OperationRecord, unpack_history, unpack_records
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, ScannedFrame, read_frame
from piecrust.objects.source import Source


def read_checkpoint(source: Source) -> ScannedFrame:
    """The frame that a segment begins with; `CorruptStore` if it is not whole."""
    checkpoint = read_frame(source, source.header, SEGMENT_HEADER_BYTES)
    if checkpoint is None or checkpoint.header.type is not FrameType.CHECKPOINT:
        raise CorruptStore(source.path, SEGMENT_HEADER_BYTES, "the checkpoint is damaged")
    return checkpoint


def kept_commits(rows: Iterable[TableRow]) -> set[bytes]:
    """The commits that a frame's own table flags as kept."""
    return {row.address for row in rows if row.kind == Kind.COMMIT and row.flags & EntryFlags.KEPT}


def checkpoint_ledger(source: Source, checkpoint: ScannedFrame) -> Ledger:
    """The ledger that a checkpoint holds; `CorruptStore` if it is none."""
    try:
        return Ledger.decode(decode_head(checkpoint.body, checkpoint.header.body_length).meta)
    except InvalidFormat as error:
        raise CorruptStore(source.path, checkpoint.offset, error.reason) from error


def read_operations(frame: OperationFrame) -> list[OperationRecord]:
    """The records of a frame, oldest first; `CorruptStore` if it is damaged."""
    source = frame.source
    scanned = read_frame(source, source.header, frame.offset)
    if scanned is None:
        raise CorruptStore(source.path, frame.offset, "operation records are damaged")
    try:
        meta = decode_head(scanned.body, scanned.header.body_length).meta
        if scanned.header.type is FrameType.HISTORY:
            return unpack_history(meta)[1]
        return unpack_records(meta, frame.first)
    except InvalidFormat as error:
        raise CorruptStore(source.path, frame.offset, error.reason) from error
