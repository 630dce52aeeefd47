"""Whole pages of a memory as they were at the last top-level checkpoint, kept outside of it.

Copying much costs more than anything else a call does: the copy needs fresh memory, which the system zeroes first, and
which a virtual machine's host may have to find. So a memory that holds much is not copied into the shadow
granule by granule. Its pages are moved here, which only changes page tables, and come back, copied, when they are
touched (see `watched`). Where pages cannot be moved they are copied in bulk, into a place that is used again and again.
"""

from __future__ import annotations

from collections.abc import Iterable

from piecrust.vm.contents import GRANULE_BITS, GRANULE_BYTES, PAGE_BYTES
from piecrust.vm.mapping import discard, release, reserve, window, writable


class Archive:
    """The pages in `pages`, each at its own offset; of them, `written` masks the granules written since the base."""

    __slots__ = ("_bytes", "_view", "address", "pages", "size", "written")

    def __init__(self, size: int) -> None:
        self.size = size
        self.address = reserve(size)
        self.pages: set[int] = set()
        self.written: dict[int, int] = {}
        self._bytes = window(self.address, size)
        self._view = writable(self.address, size)

    def granule(self, index: int) -> bytes:
        """The 4 KiB of a granule in a page that is here."""
        at = index << GRANULE_BITS
        return self._bytes[at : at + GRANULE_BYTES]

    def page(self, index: int) -> bytes:
        """The 64 KiB of a page that is here."""
        at = index * PAGE_BYTES
        return self._bytes[at : at + PAGE_BYTES]

    def store(self, first: int, data: memoryview) -> None:
        """Keeps whole pages, from index `first` on, in place of what was here."""
        at = first * PAGE_BYTES
        self._view[at : at + len(data)] = data
        self.pages.update(range(first, first + len(data) // PAGE_BYTES))

    def forget(self, indices: Iterable[int]) -> None:
        """Gives pages up."""
        for index in indices:
            if index in self.pages:
                self.pages.remove(index)
                discard(self.address + index * PAGE_BYTES, PAGE_BYTES)

    def close(self) -> None:
        """Gives the memory back."""
        if self.address:
            self._view.release()
            release(self.address, self.size)
            self.address = 0
