"""The two steps of encoding, which are rkyv's `serialize` and `resolve`.

`prepare` checks a value, appends to the output whatever lies outside the archived value itself (the items of a `Vec`,
long strings, ...), and returns what `place` needs to write the archived value where its owner wants it, over zeros.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from piecrust.vm.rkyv.layout import align_up

Prepare = Callable[[bytearray, Any], Any]
Place = Callable[[bytearray, int, Any], None]


@dataclass(frozen=True, slots=True)
class Encoder:
    """The two steps for a type, with the size and alignment of its archived form."""

    prepare: Prepare
    place: Place
    size: int
    align: int


def reserve(out: bytearray, align: int, size: int) -> int:
    """Appends zeros up to the next aligned position and `size` more; returns that position."""
    start = align_up(len(out), align)
    out.extend(bytes(start + size - len(out)))
    return start
