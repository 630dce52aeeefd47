"""Packs: sealed files of frames that carry their own index. They are named by their content and never change.

A pack is the bytes of a segment up to where it was closed, or frames that collecting garbage has written in the same
form; then a table over them (`piecrust.objects.table`), and a trailer of 64 bytes at the very end::

    0   8  magic         "PIECRPAK"
    8   4  version       1
   12   4  zeros
   16   8  frames end    where the last frame ends; the table begins there
   24   8  table length
   32  32  check         blake3 of the 32 bytes before

The name is the blake3 of the whole file in hexadecimal digits, with the suffix `.pk`.
"""

from __future__ import annotations

import contextlib
import struct
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from blake3 import blake3
from piecrust.objects.checkpoint import PackName
from piecrust.objects.disk import Bytes, Disk, Mode, forget, write_all
from piecrust.objects.errors import CorruptStore, InvalidFormat, UnsupportedFormat
from piecrust.objects.format import VERSION, Layout
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, SegmentHeader
from piecrust.objects.source import Source
from piecrust.objects.table import Table, TableDamaged

TRAILER_BYTES: Final = 64
PACK_SUFFIX: Final = ".pk"

_MAGIC: Final = b"PIECRPAK"
_TRAILER = struct.Struct("<8sIIQQ")
_PIECE_BYTES: Final = 1 << 20


class PackSource(Source):
    """A pack in mapped memory; who has it open can read it even after it was collected."""

    def __init__(self, data: memoryview, path: Path) -> None:
        """Over the bytes of a pack; `CorruptStore` if its ends are damaged, `UnsupportedFormat` if it is newer."""
        if len(data) < SEGMENT_HEADER_BYTES + TRAILER_BYTES:
            raise CorruptStore(path, len(data), "shorter than a pack")
        frames_end, _ = read_end(bytes(data[-TRAILER_BYTES:]), len(data), path)
        super().__init__(path, SegmentHeader.decode(bytes(data[:SEGMENT_HEADER_BYTES]), path))
        self.data, self.frames_end = data, frames_end

    @classmethod
    def open(cls, disk: Disk, path: Path) -> PackSource:
        """Open and map a pack; its descriptor isn't needed any more then."""
        file = disk.open(path, Mode.READ)
        try:
            return cls(file.map(), path)
        finally:
            file.close()

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes of the frames."""
        return bytes(self.view(offset, length))

    def view(self, offset: int, length: int) -> memoryview:
        """The same bytes where they are mapped."""
        return self.data[offset : min(offset + length, self.frames_end)]

    def size(self) -> int:
        """Where the frames end."""
        return self.frames_end

    def table(self) -> Table:
        """The index that the pack carries; `CorruptStore` if it is damaged."""
        try:
            return Table(self.data[self.frames_end : len(self.data) - TRAILER_BYTES])
        except (InvalidFormat, TableDamaged) as error:
            raise CorruptStore(self.path, self.frames_end, f"the pack's table is damaged: {error}") from error

    def rest(self) -> None:
        """Let the system have the mapped memory; nothing changes for who reads from it."""
        forget(self.data)

    def close(self) -> None:
        """Give the mapping up; it goes when nobody reads from it any more."""
        self.data = memoryview(b"")
        self.frames_end = 0


def pack_end(frames_end: int, table_length: int) -> bytes:
    """The trailer of a pack."""
    start = _TRAILER.pack(_MAGIC, VERSION, 0, frames_end, table_length)
    return start + blake3(start).digest()


def read_end(trailer: bytes, length: int, path: Path) -> tuple[int, int]:
    """Where the frames of a pack of this length end, and the length of its table.

    Raises:
        CorruptStore: the trailer is damaged.
        UnsupportedFormat: a newer version wrote it.
    """
    magic, version, zeros, frames_end, table_length = _TRAILER.unpack_from(trailer)
    end = length - TRAILER_BYTES
    if magic != _MAGIC or trailer[_TRAILER.size :] != blake3(trailer[: _TRAILER.size]).digest():
        raise CorruptStore(path, end, "the pack's trailer does not match its checksum")
    if version != VERSION:
        raise UnsupportedFormat(path, version, VERSION)
    if zeros or frames_end + table_length != end or frames_end < SEGMENT_HEADER_BYTES:
        raise CorruptStore(path, end, "the pack's parts do not fill it")
    return int(frames_end), int(table_length)


def pack_path(layout: Layout, name: bytes) -> Path:
    """The file of a pack."""
    return layout.packs / f"{name.hex()}{PACK_SUFFIX}"


def pack_name(file_name: str) -> bytes | None:
    """The name of a pack by that of its file; None if it is no such file."""
    stem, dot, suffix = file_name.rpartition(".")
    if dot + suffix != PACK_SUFFIX or len(stem) != 64 or stem != stem.lower():
        return None
    try:
        return bytes.fromhex(stem)
    except ValueError:
        return None


class PackWriter:
    """Writes a pack as a draft, then gives it its name.

    `add` frames, `finish`; every step is small. A draft that is left behind is removed by whoever does upkeep next.
    """

    def __init__(self, disk: Disk, layout: Layout, draft: str) -> None:
        self._disk, self._layout, self._path = disk, layout, layout.tmp / draft
        if draft in disk.list(layout.tmp):
            disk.unlink(self._path)
        self._file = disk.open(self._path, Mode.CREATE)
        self._hasher = blake3()
        self.length = 0

    def add(self, data: Bytes) -> None:
        """Append bytes."""
        write_all(self._file, self.length, data)
        self._hasher.update(data)
        self.length += len(data)

    def sync(self) -> None:
        """Have what was written so far on the disk, so that `finish`, and who syncs meanwhile, waits for little."""
        self._file.sync()

    def finish(self, salt: bytes, table: Sequence[Bytes]) -> PackName:
        """Add the table and the trailer, sync, and give the pack its name durably."""
        for piece in [*table, pack_end(self.length, sum(map(len, table)))]:
            self.add(piece)
        self._file.sync()
        self._file.close()
        name = PackName(self._hasher.digest(), self.length, salt)
        self._disk.rename(self._path, pack_path(self._layout, name.name))
        self._disk.sync_directory(self._layout.packs)
        return name

    def abandon(self) -> None:
        """Remove the draft, if it has not got its name yet."""
        self._file.close()
        with contextlib.suppress(FileNotFoundError):
            self._disk.unlink(self._path)


def verify_pack(source: PackSource, name: bytes) -> None:
    """Read a whole pack; `CorruptStore` if it isn't the one of this name."""
    hasher = blake3()
    for piece in _pieces(source.data):
        hasher.update(piece)
    if hasher.digest() != name:
        raise CorruptStore(source.path, 0, "the pack's content does not match its name")


def _pieces(data: memoryview) -> Iterable[memoryview]:
    return (data[at : at + _PIECE_BYTES] for at in range(0, len(data), _PIECE_BYTES))
