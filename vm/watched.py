"""Memory that the kernel watches: writes are found by a scan, and pages come when they are touched.

The mapping has up to three parts:
- [0, paged) may miss pages: the pager, or the host before its own accesses, brings them from the contents. Empty for
  small memories, whose pages are all put in place at the beginning.
- [paged, opened) is there. What nobody touched are zeros.
- [opened, size), beyond the memory's length, misses pages, too: so contracts can use it, as they may, while scans need
  not look at it until something is there.
"""

from __future__ import annotations

from collections.abc import Sequence

from piecrust.vm import pager
from piecrust.vm.contents import GRANULE_BITS, GRANULE_BYTES, PAGE_BYTES, Contents
from piecrust.vm.mapping import GUARD_BYTES, discard, release, reserve, window, writable
from piecrust.vm.userfault import MISSING_AND_WRITE_PROTECT, WRITE_PROTECT, Scan

PAGES_IN_PLACE_MAX = 16
"""A memory of at most so many pages is loaded at once; the pages of a larger one come when they are touched."""

_ZEROS = bytes(GRANULE_BYTES)


class WatchedRegion:
    """The bytes of one memory, and which of them were written."""

    __slots__ = (
        "_bytes", "_contents", "_descriptor", "_opened", "_paged", "_present", "_scan", "_scan_end", "_view",
        "address", "failure", "size",
    )  # fmt: skip

    def __init__(self, size: int, length: int, contents: Contents) -> None:
        self.size = size
        self.failure: BaseException | None = None
        self._contents = contents
        self._descriptor = pager.descriptor()
        self.address = reserve(size + GUARD_BYTES)
        try:
            self._bytes = window(self.address, size)
            self._view = writable(self.address, size)
            self._scan = Scan(self._descriptor, self.address)
            self._present: set[int] = set()  # pages in place, of those parts that may miss some
            self._paged = self._opened = self._scan_end = 0
            self._begin(length, contents.base.indices(PAGES_IN_PLACE_MAX))
            pager.add(self)
        except BaseException:
            release(self.address, size + GUARD_BYTES)
            raise

    def _begin(self, length: int, indices: Sequence[int] | None) -> None:
        if indices is None:
            self._descriptor.register(self.address, self.size, MISSING_AND_WRITE_PROTECT)
            self._paged = self._opened = length
            self._extend_scan(length)
            return
        if length < self.size:
            self._descriptor.register(self.address + length, self.size - length, MISSING_AND_WRITE_PROTECT)
        if length:
            self._descriptor.register(self.address, length, WRITE_PROTECT)
        self._opened = length
        self._extend_scan(length)
        for index in indices:
            if (index + 1) * PAGE_BYTES <= length:
                self._put(index)

    def read(self, at: int, length: int) -> bytes:
        """Bytes that must lie within the size."""
        if (at < self._paged or at + length > self._opened) and length:
            self.touch(at, length)
        return self._bytes[at : at + length]

    def write(self, at: int, data: bytes) -> None:
        """Writes bytes within the size; none, and nothing counts as written."""
        if (at < self._paged or at + len(data) > self._opened) and data:
            self.touch(at, len(data))
        self._view[at : at + len(data)] = data

    def restore(self, granules: Sequence[int]) -> None:
        """Sets granules back to the contents. They do not count as written any more."""
        for granule in granules:
            at = granule << GRANULE_BITS
            content = self._contents.granule(granule)
            if content is not None:
                self._view[at : at + GRANULE_BYTES] = content
            elif self._paged <= at < self._opened:
                discard(self.address + at, GRANULE_BYTES)
            else:
                self._view[at : at + GRANULE_BYTES] = _ZEROS
        self._scan()

    def scan(self) -> list[tuple[int, int]]:
        """The granules that were written since the last scan, as ranges (first, end)."""
        return self._scan()

    def extend(self, length: int) -> None:
        """Makes room for a memory that grew."""
        if length <= self._opened:
            return
        opened = self._opened
        if self._scan_end > opened or self._contents.base.last() >= opened // PAGE_BYTES:
            # Something lies there already, in place or in the base: the part goes on to be paged.
            self._paged = length
        else:
            self._descriptor.unregister(self.address + opened, length - opened)
            self._descriptor.register(self.address + opened, length - opened, WRITE_PROTECT)
        self._opened = length
        self._extend_scan(length)

    def touch(self, at: int, length: int) -> None:
        """Brings what is missing of a range, before the host uses it.

        A fault that the host took while it holds the GIL would wait for the pager, and the pager for the GIL, for ever.
        """
        if self.failure is not None:
            raise self.failure
        for index in range(at // PAGE_BYTES, (at + length - 1) // PAGE_BYTES + 1):
            if index not in self._present and not self._paged <= index * PAGE_BYTES < self._opened:
                self._put(index)

    def serve(self, address: int) -> None:
        """Answers a fault: puts the page there, or zeros if it cannot be had.

        Then `failure` says why, and every access of the host raises it; what the contract goes on to compute is undone.
        """
        index = (address - self.address) // PAGE_BYTES
        try:
            self._put(index)
        except BaseException as error:
            self.failure, self._paged = error, self.size
            self._descriptor.zero(self.address + index * PAGE_BYTES, PAGE_BYTES)

    @property
    def resident_bytes(self) -> int:
        """See `Region`. What lies in place without having been brought is taken for all in use."""
        return self._opened - self._paged + len(self._present) * PAGE_BYTES

    def close(self) -> None:
        """Unmaps the memory."""
        if self.address:
            pager.remove(self)
            self._view.release()
            release(self.address, self.size + GUARD_BYTES)
            self.address = 0

    def _put(self, index: int) -> None:
        at = index * PAGE_BYTES
        page = self._contents.page(index)
        if page is None:
            self._descriptor.zero(self.address + at, PAGE_BYTES)
        else:
            self._descriptor.copy(self.address + at, page)
        self._present.add(index)
        self._extend_scan(at + PAGE_BYTES)

    def _extend_scan(self, end: int) -> None:
        if end > self._scan_end:
            self._scan_end = end
            self._scan.extend(end)
