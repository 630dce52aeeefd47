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
from piecrust.vm.archive import Archive
from piecrust.vm.contents import GRANULE_BITS, GRANULE_BYTES, GRANULES, PAGE_BYTES, Contents, runs
from piecrust.vm.errors import AddressSpaceExhausted
from piecrust.vm.mapping import GUARD_BYTES, discard, move, release, renew, reserve, window, writable
from piecrust.vm.userfault import MISSING_AND_WRITE_PROTECT, WRITE_PROTECT
from piecrust.vm.writes import Writes

PAGES_IN_PLACE_MAX = 16
"""A memory of at most so many pages is loaded at once; the pages of a larger one come when they are touched."""

PAGES_AHEAD_MAX = 16
"""Who touches archived pages one after another gets up to so many at a time."""

_ZEROS = bytes(GRANULE_BYTES)
_ZERO_PAGE = bytes(PAGE_BYTES)


class WatchedRegion:
    """The bytes of one memory, and which of them were written. See `Region`."""

    map = None

    __slots__ = (
        "_ahead", "_bytes", "_contents", "_descriptor", "_next", "_opened", "_paged", "_present", "_view",
        "_writes", "address", "failure", "size",
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
            self._writes = Writes(self._descriptor, self.address, self._bytes, contents)
            self._present: set[int] = set()  # pages in place, of those parts that may miss some
            self._paged = self._opened = 0
            self._next, self._ahead = -1, 1
            self._begin(length, contents.base.indices(PAGES_IN_PLACE_MAX))
            pager.add(self)
        except BaseException:
            release(self.address, size + GUARD_BYTES)
            raise

    def _begin(self, length: int, indices: Sequence[int] | None) -> None:
        self._opened = length
        if indices is None:
            self._descriptor.register(self.address, self.size, MISSING_AND_WRITE_PROTECT)
            self._paged = length
            return
        if length < self.size:
            self._descriptor.register(self.address + length, self.size - length, MISSING_AND_WRITE_PROTECT)
        if length:
            self._descriptor.register(self.address, length, WRITE_PROTECT)
            self._writes.cover(0, length)
        for index in indices:
            if (index + 1) * PAGE_BYTES <= length:
                self._place(index)

    def read(self, at: int, length: int) -> bytes:
        """See `Region`."""
        if (at < self._paged or at + length > self._opened) and length:
            self._touch(at, length)
        return self._bytes[at : at + length]

    def write(self, at: int, data: bytes) -> None:
        """See `Region`."""
        if (at < self._paged or at + len(data) > self._opened) and data:
            self._touch(at, len(data))
        self._view[at : at + len(data)] = data

    def page(self, index: int) -> bytes:
        """See `Region`. What is missing is not brought."""
        if self._missing(index):
            return self._contents.page(index) or _ZERO_PAGE
        at = index * PAGE_BYTES
        return self._bytes[at : at + PAGE_BYTES]

    def restore(self, granules: list[int]) -> None:
        """See `Region`."""
        view, empty = self._view, []
        for granule, content in self._contents.granules(granules):
            if content is None:
                empty.append(granule)
            else:
                at = granule << GRANULE_BITS
                view[at : at + GRANULE_BYTES] = content
        self._clear(empty)
        self._writes.restored(granules)

    def scan(self) -> list[tuple[int, int]]:
        """See `Region`."""
        return self._writes.scan()

    def look(self) -> list[tuple[int, int]]:
        """See `Region`."""
        return self._writes.look()

    def rebased(self) -> None:
        """See `Region`."""
        self._writes.forget()

    def extend(self, length: int) -> None:
        """See `Region`."""
        if length <= self._opened:
            return
        if length > self.size:
            raise AddressSpaceExhausted(length, 0)
        opened = self._opened
        beyond = any(index * PAGE_BYTES >= opened for index in self._present)
        if beyond or self._contents.base.last() >= opened // PAGE_BYTES:
            # Something lies there already, in place or in the base: the part goes on to be paged.
            self._present.update(range(self._paged // PAGE_BYTES, opened // PAGE_BYTES))
            self._paged = length
        else:
            self._descriptor.unregister(self.address + opened, length - opened)
            self._descriptor.register(self.address + opened, length - opened, WRITE_PROTECT)
            self._writes.cover(opened, length - opened)
        self._opened = length

    def resident_granules(self, written: int) -> int:
        """See `Region`. What lies in place counts when it was brought or written."""
        return len(self._present) * GRANULES + written

    @property
    def resident_bytes(self) -> int:
        """See `Region`. What lies in place without having been brought is taken for all in use."""
        return self._opened - self._paged + len(self._present) * PAGE_BYTES

    def move_to(self, archive: Archive) -> bool:
        """See `Region`."""
        paged, opened = self._paged, self._opened
        if opened > archive.size:
            return False
        for start, end in ((0, paged), (paged, opened)):
            if start < end and not move(self.address + start, end - start, archive.address + start):
                self._copy_out(archive, start, end)
        archive.pages.update(index for index in self._present if index * PAGE_BYTES < paged)
        archive.pages.update(range(paged // PAGE_BYTES, opened // PAGE_BYTES))
        self.drop()
        return True

    def copy_to(self, archive: Archive, first: int, end: int) -> None:
        """See `Region`."""
        self._touch(first * PAGE_BYTES, (end - first) * PAGE_BYTES)
        archive.store(first, self._view[first * PAGE_BYTES : end * PAGE_BYTES])

    def drop(self) -> None:
        """See `Region`. The pager brings it again."""
        opened = self._opened
        if opened:
            renew(self.address, opened)
            self._descriptor.register(self.address, opened, MISSING_AND_WRITE_PROTECT)
        self._paged = opened
        self._present = {index for index in self._present if index * PAGE_BYTES >= opened}
        self._writes.uncover()
        for index in self._present:
            self._writes.cover(index * PAGE_BYTES, PAGE_BYTES)

    def serve(self, address: int) -> None:
        """Answers a fault: puts the page there, or zeros if it cannot be had.

        Then `failure` says why, and every access of the host raises it; what the contract goes on to compute is undone.
        """
        index = (address - self.address) // PAGE_BYTES
        try:
            if index == self._next:
                self._ahead = min(self._ahead * 2, PAGES_AHEAD_MAX)
            else:
                self._ahead = 1
            self._put(index, self._ahead)
        except BaseException as error:
            self.shut(error)
            self._descriptor.zero(self.address + index * PAGE_BYTES, PAGE_BYTES)

    def shut(self, reason: BaseException) -> None:
        """See `Region`."""
        self.failure, self._paged = reason, self.size

    def close(self) -> None:
        """See `Region`."""
        if self.address:
            self.shut(RuntimeError("the memory is closed"))
            pager.remove(self)
            self._view.release()
            address, self.address = self.address, 0  # first, so that an interrupt never makes it be unmapped twice
            release(address, self.size + GUARD_BYTES)

    def _touch(self, at: int, length: int) -> None:
        """Brings what is missing of a range, before the host uses it.

        A fault that the host took while it holds the GIL would wait for the pager, and the pager for the GIL, for ever.
        """
        if self.failure is not None:
            raise self.failure
        if at + length > self.size:
            raise AddressSpaceExhausted(at + length, 0)
        for index in range(at // PAGE_BYTES, (at + length - 1) // PAGE_BYTES + 1):
            if self._missing(index):
                self._put(index, 1)

    def _missing(self, index: int) -> bool:
        return index not in self._present and not self._paged <= index * PAGE_BYTES < self._opened

    def _put(self, index: int, most: int) -> None:
        """Puts a page in place that is missing; of archived ones up to `most`, if they are missing, too."""
        contents, descriptor = self._contents, self._descriptor
        address = self.address + index * PAGE_BYTES
        count = contents.archived_run(index, index + most)
        if count > 1:
            count = next((n for n in range(1, count) if not self._missing(index + n)), count)
        if count and contents.archive is not None:
            descriptor.copy_from(address, contents.archive.address + index * PAGE_BYTES, count * PAGE_BYTES)
        else:
            count = 1
            page = contents.page(index)
            if page is None:
                descriptor.zero(address, PAGE_BYTES)
            else:
                descriptor.copy(address, page)
        self._present.update(range(index, index + count))
        self._next = index + count
        self._writes.cover(index * PAGE_BYTES, count * PAGE_BYTES)

    def _place(self, index: int) -> None:
        """Puts a page of the base where none is missing: granules of zeros need not be there."""
        page = self._contents.page(index)
        if page is None:
            return
        at, start = self.address + index * PAGE_BYTES, 0
        while start < PAGE_BYTES:
            end = start
            while end < PAGE_BYTES and page[end : end + GRANULE_BYTES] != _ZEROS:
                end += GRANULE_BYTES
            if end > start:
                self._descriptor.copy(at + start, page[start:end])
            start = end + GRANULE_BYTES

    def _clear(self, granules: list[int]) -> None:
        """Makes granules (sorted) zeros; many in a row are given back, where none of them is to be brought."""
        for first, end in runs(granules):
            start, size = first << GRANULE_BITS, end - first << GRANULE_BITS
            if size >= PAGE_BYTES and self._paged <= start and start + size <= self._opened:
                discard(self.address + start, size)
            else:
                self._view[start : start + size] = bytes(size)

    def _copy_out(self, archive: Archive, start: int, end: int) -> None:
        """Copies the pages of a part that cannot be moved."""
        for index in range(start // PAGE_BYTES, end // PAGE_BYTES):
            if not self._missing(index):
                archive.store(index, self._view[index * PAGE_BYTES : (index + 1) * PAGE_BYTES])
