"""Reading what is left of a source: every frame that is whole, and of those that are not what can still be told.

A damaged frame may hold objects that are fine: each of them proves itself by its hash. So what a damaged frame claims
to hold is worth a look, and nothing of it is believed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from piecrust.objects.disk import Disk, File, Mode
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.frame import (
    HEADER_BYTES,
    Encoding,
    EntryFlags,
    FrameType,
    Head,
    TableRow,
    decode_head,
    marker,
    read_header,
)
from piecrust.objects.kinds import Kind
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, SegmentHeader, later_frames, scan
from piecrust.objects.source import SegmentSource, Source


@dataclass(slots=True)
class CheckedFrame:
    """A frame, or the place where one should be; `fault` is None if it is whole and follows the one before it."""

    offset: int
    type: FrameType | None
    data: memoryview
    body_length: int
    fault: str | None
    chain: bytes = b""
    _head: Head | None = None

    @property
    def whole(self) -> bool:
        """Whether its hash is right, whatever it follows."""
        return bool(self.chain)

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + len(self.data)

    def head(self) -> Head | None:
        """Its table, meta and short payloads; None if they can't be read."""
        if self._head is None:
            body = self.data[HEADER_BYTES : HEADER_BYTES + self.body_length]
            with contextlib.suppress(InvalidFormat):
                self._head = decode_head(body, self.body_length)
        return self._head

    def payload(self, head: Head, row: TableRow) -> bytes | memoryview:
        """The stored bytes of an object of it; those of a page that is no delta where they are."""
        if row.flags & EntryFlags.INLINE:
            return head.data[row.offset : row.offset + row.length]
        stored = self.data[row.offset : row.offset + row.length]
        return stored if row.kind == Kind.PAGE and row.encoding != Encoding.DELTA else bytes(stored)


class StoredObject(NamedTuple):
    """An object as it stands in a frame."""

    kind: Kind
    address: bytes
    encoding: int
    flags: int
    payload: bytes | memoryview


def every_frame(source: Source, end: int, *, hashed: bool = False) -> Iterator[CheckedFrame]:
    """The frames below `end`, in their order; in the place of those that are damaged, what is left of them.

    `hashed`: the whole file is known to be what it was when its frames were checked.
    """
    at, previous = SEGMENT_HEADER_BYTES, None
    fault = None
    while at < end:
        for frame in scan(source, source.header, at, previous, end=end, hashed=hashed):
            header = frame.header
            yield CheckedFrame(at, header.type, frame.data, header.body_length, fault, header.chain)
            at, previous, fault = frame.end, header.chain, None
        if at >= end:
            return
        following = next((f for f in later_frames(source, source.header, at) if f.end <= end), None)
        if following is not None and following.offset == at:
            fault = "it does not follow the frame before it"
        else:
            yield _remains(source, at, end if following is None else following.offset)
            if following is None:
                return
            at = following.offset
        previous = None


def objects_of(frame: CheckedFrame) -> list[StoredObject]:
    """The objects that a frame holds, or claims to."""
    head = frame.head()
    if head is None:
        return []
    return [
        StoredObject(
            Kind(row.kind), row.address, row.encoding, row.flags & ~EntryFlags.INLINE, frame.payload(head, row)
        )
        for row in head.rows
    ]


class LooseSource(SegmentSource):
    """A file of frames whose own beginning or end can't be relied on; its salt is known from elsewhere."""

    def __init__(self, file: File, path: Path, salt: bytes) -> None:
        Source.__init__(self, path, SegmentHeader(0, salt, marker(salt)))
        self.file = file
        self.read = file.read  # type: ignore[method-assign]

    @classmethod
    def of(cls, disk: Disk, path: Path, salt: bytes) -> LooseSource | None:
        """Open a file; None if it isn't there."""
        try:
            return cls(disk.open(path, Mode.READ), path, salt)
        except FileNotFoundError:
            return None


def _remains(source: Source, at: int, end: int) -> CheckedFrame:
    """What stands between two whole frames."""
    data = memoryview(source.read(at, end - at))
    header = read_header(source.header.mark, data)
    if header is None or header.length > len(data):
        return CheckedFrame(at, None, data, 0, "the frame is damaged")
    return CheckedFrame(at, header.type, data[: header.length], header.body_length, "the frame is damaged")
