"""Data segments: the host writes active ones once, at deployment, instead of each instantiation writing them.

An active segment keeps its index but loses its bytes, and its offset becomes 0: it counts as dropped, as it would, so
memory.init and data.drop on it behave as before. Passive segments stay as they are.
"""

from __future__ import annotations

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite.leb128 import encode_unsigned
from piecrust.vm.rewrite.module import DataSegment

EMPTY_ACTIVE = {False: b"\x00\x41\x00\x0b\x00", True: b"\x00\x42\x00\x0b\x00"}  # at i32.const 0, i64.const 0


def empty_active(segments: tuple[DataSegment, ...], *, is64: bool) -> bytes:
    """The body of a data section in which the active ones of `segments` are empty."""
    pieces = [encode_unsigned(len(segments))]
    for segment in segments:
        if segment.active:
            pieces.append(EMPTY_ACTIVE[is64])
        else:
            pieces += b"\x01", encode_unsigned(len(segment.data)), segment.data
    return b"".join(pieces)


def active_writes(segments: tuple[DataSegment, ...]) -> tuple[tuple[int, bytes], ...]:
    """What instantiation would have written, in order: (offset, bytes) of each active segment."""
    writes = []
    for segment in segments:
        if segment.active:
            if segment.offset is None:
                raise InvalidModule("the offset of a data segment is no constant")
            writes.append((segment.offset, segment.data))
    return tuple(writes)
