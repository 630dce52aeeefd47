"""Patches: what to write where to make one byte string of another of the same length.

A patch is a sequence of runs, in rising order and apart from each other::

    run:  u16 offset (little-endian) · u8 length - 1 · 1 to 256 bytes

It serves pages and contract records; both are at most 64 KiB where a patch is made.
"""

from __future__ import annotations

import re
from typing import Final

from piecrust.objects.errors import InvalidFormat
from piecrust.objects.page import RANGE_BYTES

PATCHED_BYTES_MAX: Final = 65536

_BLOCK = 256  # compared at once, so that equal ones cost little
_HEAD_BYTES = 3
# Differences with up to three equal bytes between them: a run of their own would cost as much.
_RUNS = re.compile(rb"[^\0]+(?:\0{1,3}[^\0]+)*")


def make_patch(base: bytes, data: bytes, ranges: int | None = None, size_max: int = PATCHED_BYTES_MAX) -> bytes | None:
    """The patch that makes `data` of `base`; None if it would be over `size_max` bytes or the lengths differ.

    Only the 4 KiB ranges in the mask `ranges` are looked at (None: all): elsewhere both must be equal. About 3 us for
    each range.
    """
    if len(base) != len(data) or len(data) > PATCHED_BYTES_MAX:
        return None
    parts: list[bytes] = []
    size = 0
    view, same_as = memoryview(base), data.startswith  # `same_as(view[a:b], a)` compares without copying
    for start in _starts(len(data), ranges):
        if same_as(view[start : start + RANGE_BYTES], start):
            continue
        for at in range(start, min(start + RANGE_BYTES, len(data)), _BLOCK):
            if same_as(view[at : at + _BLOCK], at):
                continue
            new = data[at : at + _BLOCK]
            number = int.from_bytes(view[at : at + _BLOCK], "little") ^ int.from_bytes(new, "little")
            differing = number.to_bytes(len(new), "little")
            lead = len(new) - len(differing.lstrip(b"\0"))  # an expression goes through zeros ten times slower
            for run in _RUNS.finditer(differing, lead, len(differing.rstrip(b"\0"))):
                first, end = run.span()
                parts += (at + first).to_bytes(2, "little"), (end - first - 1).to_bytes(1, "little"), new[first:end]
                size += _HEAD_BYTES + end - first
            if size > size_max:
                return None
    return b"".join(parts)


def apply_patch(base: bytes, patch: bytes) -> bytes:
    """What a patch makes of `base`.

    Raises:
        InvalidFormat: the patch is malformed or reaches beyond the base.
    """
    data = bytearray(base)
    at, free, size = 0, 0, len(patch)
    while at < size:
        if at + _HEAD_BYTES > size:
            raise InvalidFormat("patch", "cut short", at)
        offset, length = patch[at] | patch[at + 1] << 8, patch[at + 2] + 1
        end = offset + length
        if offset < free or end > len(data) or at + _HEAD_BYTES + length > size:
            raise InvalidFormat("patch", f"a run of {length} bytes to offset {offset}", at)
        data[offset:end] = patch[at + _HEAD_BYTES : at + _HEAD_BYTES + length]
        at += _HEAD_BYTES + length
        free = end
    return bytes(data)


def _starts(length: int, ranges: int | None) -> list[int]:
    """The offsets of the ranges in a mask."""
    if ranges is None:
        return list(range(0, length, RANGE_BYTES))
    return [at for at in range(0, length, RANGE_BYTES) if ranges >> (at // RANGE_BYTES) & 1]
