"""Segments: append-only files of frames.

A segment begins with a header of 64 bytes::

    0   8  magic    "PIECRSEG"
    8   4  version  of the format, 1
   12   4  zeros
   16   8  number   segments count up; 0 in a pack made by collecting garbage
   24  32  salt     random: it keys every hash below, and tells this segment from all others
   56   8  check    blake3 of the 56 bytes before

and goes on with frames, the first of them a checkpoint. Zeros may follow the last frame: room that was allocated.
A sealed pack begins with the bytes of its segment, so that every offset stays what it was.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from blake3 import blake3
from piecrust.objects.errors import CorruptStore, UnsupportedFormat
from piecrust.objects.format import VERSION
from piecrust.objects.frame import (
    HEADER_BYTES,
    NO_CHAIN,
    SALT_BYTES,
    FrameHeader,
    frame_is_valid,
    marker,
    read_header,
)

SEGMENT_HEADER_BYTES: Final = 64
ALLOCATION_BYTES: Final = 256 << 10  # room is allocated in steps of this size

_MAGIC: Final = b"PIECRSEG"
_HEADER = struct.Struct("<8sIIQ32s")
_WINDOW_BYTES: Final = 1 << 20
_FRAME_GUESS_BYTES: Final = 4096  # most frames are shorter: one read gets them


class Readable(Protocol):
    """A file, or the part of one that is mapped."""

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end."""

    def view(self, offset: int, length: int) -> memoryview:
        """The same, without a copy if the file is mapped."""

    def size(self) -> int:
        """How many bytes there are."""


@dataclass(frozen=True, slots=True)
class SegmentHeader:
    """What a segment begins with."""

    number: int
    salt: bytes
    mark: bytes = field(repr=False)

    @classmethod
    def new(cls, number: int) -> SegmentHeader:
        """The header of a segment yet to be written."""
        return cls.of(number, os.urandom(SALT_BYTES))

    @classmethod
    def of(cls, number: int, salt: bytes) -> SegmentHeader:
        """The header with this salt."""
        return cls(number, salt, marker(salt))

    def encode(self) -> bytes:
        """The first 64 bytes of the segment."""
        start = _HEADER.pack(_MAGIC, VERSION, 0, self.number, self.salt)
        return start + blake3(start).digest(8)

    @classmethod
    def decode(cls, data: bytes, path: Path) -> SegmentHeader:
        """Read a header.

        Raises:
            CorruptStore: it is damaged.
            UnsupportedFormat: a newer version wrote it.
        """
        if len(data) < SEGMENT_HEADER_BYTES:
            raise CorruptStore(path, len(data), "the file ends within its header")
        start = data[: _HEADER.size]
        magic, version, zeros, number, salt = _HEADER.unpack(start)
        if magic != _MAGIC or data[_HEADER.size : SEGMENT_HEADER_BYTES] != blake3(start).digest(8):
            raise CorruptStore(path, 0, "the segment's header does not match its checksum")
        if version != VERSION:
            raise UnsupportedFormat(path, version, VERSION)
        if zeros:
            raise CorruptStore(path, 12, "reserved bytes are in use")
        return cls(number, salt, marker(salt))


class ScannedFrame(NamedTuple):
    """A valid frame, and where it is."""

    offset: int
    header: FrameHeader
    data: memoryview

    @property
    def body(self) -> memoryview:
        """What is between the header and the zeros at the end."""
        return self.data[HEADER_BYTES : HEADER_BYTES + self.header.body_length]

    @property
    def end(self) -> int:
        """Where the next frame begins."""
        return self.offset + self.header.length


def scan(
    file: Readable,
    segment: SegmentHeader,
    offset: int,
    previous: bytes | None = NO_CHAIN,
    *,
    end: int | None = None,
    hashed: bool = False,
) -> Iterator[ScannedFrame]:
    """The frames from `offset` on, as long as they are valid, follow one another, and lie below `end`.

    `previous` is the chain hash before the first of them, None if that doesn't matter. Reads in windows, so a segment
    never stands in memory as a whole. `hashed`: the file was found to be what it was when its frames were checked,
    and they are not hashed again.
    """
    end = file.size() if end is None else end
    window, start = memoryview(b""), offset
    while offset + HEADER_BYTES <= end:
        header = read_header(segment.mark, window, offset - start) if offset - start <= len(window) else None
        length = header.length if header else HEADER_BYTES
        if offset + length > end:
            return
        if header is None or offset - start + length > len(window):
            if header is None and start == offset and len(window) >= HEADER_BYTES:
                return
            start = offset
            window = file.view(offset, min(max(length, _WINDOW_BYTES), end - offset))
            if len(window) < length:
                return
            continue
        at = offset - start
        if previous is not None and header.previous != previous:
            return
        if not hashed and not frame_is_valid(segment.salt, header, window, at):
            return
        yield ScannedFrame(offset, header, window[at : at + header.length])
        previous, offset = header.chain, offset + header.length


def read_frame(file: Readable, segment: SegmentHeader, offset: int) -> ScannedFrame | None:
    """The frame at `offset`, None if there is no valid one."""
    data = memoryview(file.read(offset, _FRAME_GUESS_BYTES))
    header = read_header(segment.mark, data)
    if header is None:
        return None
    if header.length > len(data):
        data = memoryview(file.read(offset, header.length))
    if not frame_is_valid(segment.salt, header, data):
        return None
    return ScannedFrame(offset, header, data[: header.length])


def later_frames(file: Readable, segment: SegmentHeader, offset: int) -> Iterator[ScannedFrame]:
    """Every frame after `offset` that is valid by itself, wherever it begins."""
    data = file.read(offset, file.size() - offset)
    view = memoryview(data)
    at = data.find(segment.mark)
    while at >= 0:
        header = read_header(segment.mark, view, at)
        if header is not None and frame_is_valid(segment.salt, header, view, at):
            yield ScannedFrame(offset + at, header, view[at : at + header.length])
            at += header.length - 1
        at = data.find(segment.mark, at + 1)


def tail_is_clear(file: Readable, end: int) -> bool:
    """Whether nothing but zeros follows `end`."""
    size = file.size()
    while end < size:
        data = file.read(end, min(_WINDOW_BYTES, size - end))
        if not data or data.count(0) != len(data):
            return not data
        end += len(data)
    return True
