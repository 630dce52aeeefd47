"""Memory whose writes the contract itself marks, by code that the rewriter compiled into it.

Works wherever memory can be mapped. A map holds one byte for each granule, 1 where something was written; the host
marks its own writes, too. All pages of the base are put in place at the beginning, for nobody would bring them later.
"""

from __future__ import annotations

import os

from piecrust.vm.archive import Archive
from piecrust.vm.contents import GRANULE_BITS, GRANULE_BYTES, PAGE_BYTES, Contents
from piecrust.vm.errors import AddressSpaceExhausted
from piecrust.vm.mapping import GUARD_BYTES, release, reserve, window, writable

_SYSTEM_PAGE = os.sysconf("SC_PAGESIZE")
_NEAR_BYTES = 1 << 12  # of the map, looked at in every scan: 16 MiB of memory
_ZEROS = bytes(GRANULE_BYTES)
_FAR_END = 1 << 32 - GRANULE_BITS  # of the map: loads and stores end at 4 GiB, bulk operators at the memory's length
_IN_USE = 0xC0  # in the highest byte of a page map entry: present, or swapped out


class DirtyMap:
    """The map, as the engine sees it: a memory of fixed length."""

    __slots__ = ("__weakref__", "address", "length", "limit")

    def __init__(self, size: int) -> None:
        self.address = reserve(size + GUARD_BYTES)
        self.length = self.limit = size

    def grow(self, length: int) -> None:
        """Never happens: the map is declared with its maximum."""
        raise AssertionError(length)

    def close(self) -> None:
        """Unmaps the map."""
        if self.address:
            address, self.address = self.address, 0  # first, so that an interrupt never makes it be unmapped twice
            release(address, self.length + GUARD_BYTES)


class MarkedRegion:
    """The bytes of one memory, and which of them were written. See `Region`. The map has `marks` bytes."""

    __slots__ = (
        "_beyond",
        "_bytes",
        "_contents",
        "_length",
        "_map_bytes",
        "_map_view",
        "_mapped",
        "_view",
        "address",
        "failure",
        "map",
        "size",
    )

    def __init__(self, size: int, length: int, contents: Contents, *, marks: int) -> None:
        self.size = size
        self.failure: BaseException | None = None
        self._contents = contents
        self._length = length
        self._beyond: list[tuple[int, int]] = []  # marked by the host, where contracts cannot store
        self._mapped = size + GUARD_BYTES
        self.address = reserve(self._mapped)
        try:
            self.map = DirtyMap(marks)
        except BaseException:
            release(self.address, self._mapped)
            raise
        self._bytes = window(self.address, size)
        self._view = writable(self.address, size)
        self._map_bytes = window(self.map.address, self.map.length)
        self._map_view = writable(self.map.address, self.map.length)
        try:
            base = contents.base
            for index in base.indices(size // PAGE_BYTES) or ():
                page = base.page(index)
                if page is not None:
                    self._view[index * PAGE_BYTES : (index + 1) * PAGE_BYTES] = page
        except BaseException:
            self.close()
            raise

    def read(self, at: int, length: int) -> bytes:
        """See `Region`."""
        if at + length > self.size:
            raise self.failure or AddressSpaceExhausted(at + length, 0)
        return self._bytes[at : at + length]

    def write(self, at: int, data: bytes) -> None:
        """See `Region`."""
        if not data:
            return
        end = at + len(data)
        if end > self.size:
            raise self.failure or AddressSpaceExhausted(end, 0)
        self._view[at:end] = data
        first = at >> GRANULE_BITS
        count = (end - 1 >> GRANULE_BITS) - first + 1
        self._map_view[first : first + count] = b"\1" * count
        if first + count > _FAR_END:
            self._beyond.append((first, first + count))

    def page(self, index: int) -> bytes:
        """See `Region`."""
        return self.read(index * PAGE_BYTES, PAGE_BYTES)

    def restore(self, granules: list[int]) -> None:
        """See `Region`."""
        for granule, content in self._contents.granules(granules):
            at = granule << GRANULE_BITS
            self._view[at : at + GRANULE_BYTES] = content or _ZEROS

    def rebased(self) -> None:
        """See `Region`. The last scan cleared all marks."""

    def scan(self) -> list[tuple[int, int]]:
        """See `Region`."""
        found: list[tuple[int, int]] = []
        near = max(self._length >> GRANULE_BITS, _NEAR_BYTES)
        self._take(0, near, found)
        if near < _FAR_END:
            for start, end in self._far(near):
                self._take(start, end, found)
        while self._beyond:
            self._take(*self._beyond.pop(), found)
        return found

    def look(self) -> list[tuple[int, int]]:
        """See `Region`."""
        return self.scan()

    def extend(self, length: int) -> None:
        """See `Region`. What was once looked at stays so when growth is undone."""
        if length > self.size:
            raise AddressSpaceExhausted(length, 0)
        self._length = max(self._length, length)

    @property
    def resident_bytes(self) -> int:
        """See `Region`. Memory up to its length is taken for all in use."""
        return self._length

    def shut(self, reason: BaseException) -> None:
        """See `Region`."""
        self.failure, self.size = reason, -1

    def close(self) -> None:
        """See `Region`."""
        if self.address:
            self.shut(RuntimeError("the memory is closed"))
            self._view.release()
            self._map_view.release()
            address, self.address = self.address, 0
            self.map.close()
            release(address, self._mapped)

    def resident_granules(self, written: int) -> int:
        """See `Region`. Scans do not depend on it."""
        del written
        return 0

    def move_to(self, archive: Archive) -> bool:
        """See `Region`. There is nobody to bring a page back when it is touched."""
        del archive
        return False

    def copy_to(self, archive: Archive, first: int, end: int) -> None:
        """See `Region`."""
        archive.store(first, self._view[first * PAGE_BYTES : end * PAGE_BYTES])

    def drop(self) -> None:
        """See `Region`. Everything stays."""

    def _take(self, start: int, end: int, found: list[tuple[int, int]]) -> None:
        """Adds what is marked in a part of the map, and clears it."""
        marks = self._map_bytes[start:end]
        first = marks.find(1)
        while first >= 0:
            last = marks.find(0, first)
            if last < 0:
                last = end - start
            found.append((start + first, start + last))
            self._map_view[start + first : start + last] = bytes(last - first)
            first = marks.find(1, last)

    def _far(self, near: int) -> list[tuple[int, int]]:
        """Parts of the map, beyond the memory's length, that may hold marks.

        A map page that was never written holds none. Where the system cannot say which ones were, it is all of them:
        a megabyte.
        """
        start = near & -_SYSTEM_PAGE
        used = _used_pages(self.map.address + start, _FAR_END - start)
        if used is None:
            return [(near, _FAR_END)]
        if used.count(0) == len(used):
            return []
        parts = [start + n * _SYSTEM_PAGE for n, byte in enumerate(used) if byte & _IN_USE]
        return [(max(part, near), part + _SYSTEM_PAGE) for part in parts]


def _used_pages(address: int, size: int) -> bytes | None:
    """For each system page of a range a byte, with bits `_IN_USE` if it is; None where the system does not say."""
    global _page_map
    if _page_map is None:
        try:
            _page_map = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            _page_map = _NO_PAGE_MAP
    if _page_map == _NO_PAGE_MAP:
        return None
    return os.pread(_page_map, size // _SYSTEM_PAGE * 8, address // _SYSTEM_PAGE * 8)[7::8]


_NO_PAGE_MAP = -1
_page_map: int | None = None  # opened when first needed


def _after_fork() -> None:
    """An open page map shows the process that opened it."""
    global _page_map
    if _page_map is not None and _page_map != _NO_PAGE_MAP:
        os.close(_page_map)
    _page_map = None


os.register_at_fork(after_in_child=_after_fork)
