"""The bytes of an archive while it is decoded, and the guard over what a pointer may point to.

As in rkyv's `ArchiveValidator`, the parts of an archive must lie in the order in which they are visited, and apart:
a part that is pointed to must be inside the open *range*, which shrinks to what lies before the part while its own
parts are visited, and continues behind it afterwards. So no byte is decoded twice, and pointers make no cycles.
"""

from __future__ import annotations

from dataclasses import dataclass

from piecrust.vm.rkyv.mismatch import Mismatch


@dataclass(frozen=True, slots=True)
class Limits:
    """What the decoder accepts at most, besides what rkyv's own validation asks.

    The defaults are far above what fits the argument buffer of a contract (65,536 bytes).
    """

    bytes_max: int = 1 << 20
    values_max: int = 1 << 20
    """Python values to be made; items without a size (`Vec<()>`) cost no bytes, so these are counted."""
    nesting_max: int = 256
    """Levels of values inside values."""


class Reader:
    """An archive with its open range `start` to `end`, and what is left of the limits.

    `lowest` is where the first of the parts begins that were entered since somebody set it.
    """

    __slots__ = ("_nesting_left", "_values_left", "data", "end", "lowest", "start")

    def __init__(self, data: bytes, limits: Limits) -> None:
        self.data = data
        self.start = 0
        self.end = self.lowest = len(data)
        self._values_left = limits.values_max
        self._nesting_left = limits.nesting_max

    def enter(self, position: int, size: int, align: int, owner: int) -> int:
        """Opens the range before a part, after checking that the part may lie there; `owner` points to it.

        Returns the end of the range so far, for `leave`.
        """
        if position < self.start or position + size > self.end:
            raise Mismatch(f"{size} bytes between {self.start} and {self.end}", f"a pointer to {position}", owner)
        if position & (align - 1):
            raise Mismatch(f"a position aligned to {align}", f"a pointer to {position}", owner)
        end = self.end
        self.end = position
        if position < self.lowest:
            self.lowest = position
        return end

    def leave(self, position: int, end: int) -> None:
        """Continues behind a part that ends at `position`, up to what `enter` returned."""
        self.start = position
        self.end = end

    def spend(self, values: int, nesting: int, position: int) -> None:
        """Counts the values that a part decodes to and the levels that it adds; `refund` gives the levels back."""
        self._values_left -= values
        self._nesting_left -= nesting
        if self._values_left < 0:
            raise Mismatch("fewer values", "more than the limit", position)
        if self._nesting_left < 0:
            raise Mismatch("less nesting", "more levels than the limit", position)

    def refund(self, nesting: int) -> None:
        """Gives back the levels of a part that was left."""
        self._nesting_left += nesting
