"""Snapshots: the ledger at some place in the log, and the tables that cover everything before it.

`index/STATE` makes opening a store independent of how long its log is. It and the tables beside it are caches: whatever
is missing, stale or damaged is left aside, and the log is read from its newest checkpoint instead. STATE is canonical
CBOR and its blake3::

    [version, segment, salt, offset of the last frame, end, sequence, chain, checkpoint, [name of a table, …]], 32 bytes

and a table `<first 16 bytes of its blake3 in hexadecimal digits>.tbl` has the form of `piecrust.objects.table`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from blake3 import blake3
from piecrust.objects import encoding
from piecrust.objects.checkpoint import Ledger
from piecrust.objects.disk import Bytes, Disk, Mode, write_all
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.format import Layout
from piecrust.objects.frame import HEADER_BYTES, frame_is_valid, read_header
from piecrust.objects.source import SegmentSource
from piecrust.objects.table import Table, TableDamaged

STATE: Final = "STATE"
TABLE_SUFFIX: Final = ".tbl"

_VERSION: Final = 1
_CHECK_BYTES: Final = 32


class Snapshot(NamedTuple):
    """What STATE says."""

    segment: int
    salt: bytes
    last_frame: int  # offset of the last frame before `end`
    end: int
    sequence: int
    chain: bytes
    checkpoint: bytes  # what the checkpoint of a segment that began here would say
    tables: Sequence[str]

    @property
    def ledger(self) -> Ledger:
        """The ledger at `end`."""
        return Ledger.decode(self.checkpoint)

    def encode(self) -> bytes:
        """The bytes of STATE."""
        data = encoding.encode((_VERSION, *self[:7], self.tables))
        return data + blake3(data).digest()

    @classmethod
    def decode(cls, data: bytes) -> Snapshot:
        """The reverse of `encode`; `InvalidFormat` if it is something else."""
        body, check = data[:-_CHECK_BYTES], data[-_CHECK_BYTES:]
        if blake3(body).digest() != check:
            raise InvalidFormat("snapshot", "the checksum does not match")
        match encoding.decode("snapshot", body):
            case (
                int(version),
                int(segment),
                bytes(salt),
                int(last),
                int(end),
                int(sequence),
                bytes(chain),
                bytes(checkpoint),
                tuple(tables),
            ) if version == _VERSION and all(isinstance(name, str) for name in tables):
                Ledger.decode(checkpoint)
                return cls(segment, salt, last, end, sequence, chain, checkpoint, tables)
            case _:
                raise InvalidFormat("snapshot", "not an array of its fields")

    def fits(self, source: SegmentSource, limit: int) -> bool:
        """Whether it is of this segment, and the frame that it ends with is really there, below `limit`."""
        if source.salt != self.salt or self.end > limit or not 0 < self.last_frame < self.end:
            return False
        data = source.read(self.last_frame, self.end - self.last_frame)
        header = read_header(source.header.mark, data)
        if header is None or header.chain != self.chain or header.length != len(data) or len(data) < HEADER_BYTES:
            return False
        return frame_is_valid(source.salt, header, data)


def read_snapshot(disk: Disk, layout: Layout) -> Snapshot | None:
    """What STATE says; None if it isn't there or can't be used."""
    try:
        return Snapshot.decode(_read(disk, layout, STATE))
    except (OSError, InvalidFormat):
        return None


def open_table(disk: Disk, layout: Layout, name: str) -> Table | None:
    """A table by the name of its file; None if it isn't there or can't be used."""
    try:
        file = disk.open(layout.index / name, Mode.READ)
        try:
            return Table(file.map())
        finally:
            file.close()
    except (OSError, InvalidFormat, TableDamaged):
        return None


def write_table(disk: Disk, layout: Layout, pieces: Sequence[Bytes]) -> str:
    """Write a table; the name of its file. It is not synced: a table that a crash has damaged is noticed."""
    hasher = blake3()
    for piece in pieces:
        hasher.update(piece)
    name = hasher.digest(16).hex() + TABLE_SUFFIX
    _write(disk, layout, name, pieces)
    return name


def write_snapshot(disk: Disk, layout: Layout, snapshot: Snapshot) -> None:
    """Put a snapshot in the place of the last one, and remove the tables that it has no use for."""
    _write(disk, layout, STATE, [snapshot.encode()])
    for name in disk.list(layout.index):
        if name.endswith(TABLE_SUFFIX) and name not in snapshot.tables:
            disk.unlink(layout.index / name)


def _read(disk: Disk, layout: Layout, name: str) -> bytes:
    file = disk.open(layout.index / name, Mode.READ)
    try:
        return file.read(0, file.size())
    finally:
        file.close()


def _write(disk: Disk, layout: Layout, name: str, pieces: Sequence[Bytes]) -> None:
    draft = layout.tmp / name
    if name in disk.list(layout.tmp):
        disk.unlink(draft)
    file = disk.open(draft, Mode.CREATE)
    try:
        at = 0
        for piece in pieces:
            write_all(file, at, piece)
            at += len(piece)
    finally:
        file.close()
    disk.rename(draft, layout.index / name)
