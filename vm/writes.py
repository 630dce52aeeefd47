"""Which granules of a watched mapping were written, found with as few page faults as can be.

Protecting a granule makes the next write to it a page fault, and the scan after that a longer one: 2.4 us for each
granule and boundary, most of what a small call costs. But a granule that was written since the base counts for ever
(or until that is undone), so it need not be noticed again; only its content may have changed. Those that contracts
write over and over, like their stack, are *hot*: they stay unprotected, and each scan compares them with the shadow,
which takes 0.2 us.

- Whatever is not protected is hot, or will be found by the next scan.
- A granule that the shadow has lost is not hot any more, or is reported by every scan until the shadow has it again.
"""

from __future__ import annotations

from typing import Final

from piecrust.vm.contents import GRANULE_BITS, GRANULE_BYTES, Contents, runs
from piecrust.vm.mapping import Window
from piecrust.vm.userfault import Descriptor, Scan, ranges, ranges_in

HOT_MAX: Final = 32
"""Comparing more of them would cost more than it saves: then all are protected again."""

_RANGES_FEW = 64  # more of them are protected by a scan, not one by one
_GAP_BYTES = 64 << 20  # going on through empty address space costs as much as beginning anew behind it
_FEW = 8  # granules in a range that may become hot; longer ones are bulk

Ranges = list[tuple[int, int]]


class Writes:
    """The written granules of one mapping, whose bytes are `data`. Nothing is looked at before it is covered."""

    __slots__ = (
        "_address",
        "_contents",
        "_data",
        "_descriptor",
        "_expected",
        "_hot",
        "_looking",
        "_protecting",
        "_spans",
    )

    def __init__(self, descriptor: Descriptor, address: int, data: Window, contents: Contents) -> None:
        self._descriptor = descriptor
        self._address = address
        self._data = data
        self._contents = contents
        self._spans: list[tuple[int, int]] = []  # of addresses, disjoint, in order
        self._protecting = Scan(descriptor, self._spans, protect=True)
        self._looking = Scan(descriptor, self._spans, protect=False)
        self._hot: set[int] = set()
        self._expected = b""  # the last look that found nothing but hot granules

    def cover(self, at: int, size: int) -> None:
        """Looks at a part of the mapping, too, from here on. It may be large: what is between spans costs more."""
        start, end = self._address + at, self._address + at + size
        apart = []
        for first, last in self._spans:
            if first <= start and end <= last:
                return
            if last + _GAP_BYTES < start or end + _GAP_BYTES < first:
                apart.append((first, last))
            else:
                start, end = min(start, first), max(end, last)
        self._spans[:] = sorted([*apart, (start, end)])

    def uncover(self) -> None:
        """Looks at nothing any more: nothing of it is in place."""
        self._spans.clear()
        self._cool(self._hot)

    def scan(self) -> Ranges:
        """The granules written since the last scan, as ranges (first, end), in no order.

        Of hot ones, those whose content is not what the shadow has.
        """
        hot, shadow = self._hot, self._contents.shadow
        if not hot:
            found = self._ranges(self._protecting.run())
            if shadow:
                self._heat(found)
            return found
        changed = self._changed()
        seen = self._looking.run()
        if seen != self._expected:
            changed += self._others(seen)
        return changed

    def look(self) -> Ranges:
        """What a scan would report; but it will be reported again, unless it is restored."""
        if not self._hot:
            return self._ranges(self._looking.run())
        changed = self._changed()
        seen = self._looking.run()
        if seen != self._expected:
            changed += self._cold(seen)
        return changed

    def restored(self, granules: list[int]) -> None:
        """Takes note that all that was written is set back to the contents: it does not count as written any more."""
        hot, shadow = self._hot, self._contents.shadow
        self._cool({granule for granule in granules if granule in hot and granule not in shadow})
        if hot:
            self._protect(list(runs([granule for granule in granules if granule not in hot])))
        else:
            self._protecting.run()

    def forget(self) -> None:
        """Takes note that nothing counts as written any more."""
        self._cool(self._hot)
        self._protecting.run()

    def _changed(self) -> Ranges:
        """Hot granules whose content is not what the shadow has."""
        data, shadow, changed = self._data, self._contents.shadow, []
        for granule in self._hot:
            at = granule << GRANULE_BITS
            if data[at : at + GRANULE_BYTES] != shadow.get(granule):
                changed.append((granule, granule + 1))
        return changed

    def _others(self, seen: bytes) -> Ranges:
        """What a look found besides hot granules; some of it becomes hot, the rest is protected."""
        hot = self._hot
        if ranges_in(seen) > _RANGES_FEW:
            self._cool(hot)
            return self._ranges(self._protecting.run())
        found = self._cold(seen)
        if not found:
            self._expected = seen
            return found
        self._heat(found)
        if hot:
            self._protect(self._cold(seen))
        return found

    def _heat(self, found: Ranges) -> None:
        """Keeps granules as hot that were written before. If they are too many, the next scan protects all of them."""
        hot, shadow = self._hot, self._contents.shadow
        for first, end in found:
            if end - first <= _FEW:
                hot.update(granule for granule in range(first, end) if granule in shadow)
        if len(hot) > HOT_MAX:
            self._cool(hot)

    def _cool(self, granules: set[int]) -> None:
        """Keeps these as hot no longer: they are protected, or will be found by the next scan."""
        if granules:
            self._hot.difference_update(granules)
            self._expected = b""  # it may be what a look reports when they are written again

    def _cold(self, seen: bytes) -> Ranges:
        """The ranges of a look, without hot granules."""
        cold: Ranges = []
        for first, end in self._ranges(seen):
            start = first
            for granule in sorted(granule for granule in self._hot if first <= granule < end):
                if granule > start:
                    cold.append((start, granule))
                start = granule + 1
            if end > start:
                cold.append((start, end))
        return cold

    def _ranges(self, seen: bytes) -> Ranges:
        """What a scan reports, in granules."""
        base = self._address
        return [(first - base >> GRANULE_BITS, end - base >> GRANULE_BITS) for first, end in ranges(seen)]

    def _protect(self, found: Ranges) -> None:
        """Protects ranges that are not hot. Where they are several it is cheaper to protect hot ones with them."""
        if len(found) == 1:
            first, end = found[0]
            self._descriptor.protect(self._address + (first << GRANULE_BITS), end - first << GRANULE_BITS)
        elif found:
            self._protecting.run()
