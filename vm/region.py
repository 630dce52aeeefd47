"""What `Memory` needs of the bytes below it; `watched` and `marked` are the two ways to have it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from piecrust.vm.archive import Archive
    from piecrust.vm.marked import DirtyMap


class Region(Protocol):
    """The bytes of one memory, and which of them were written.

    `failure` is why the bytes are not to be trusted, or had, any more.
    Ranges are of granules: (first, end).
    """

    address: int
    size: int
    failure: BaseException | None

    @property
    def map(self) -> DirtyMap | None:
        """The memory that contracts mark their writes in, if they do."""

    def read(self, at: int, length: int) -> bytes:
        """Copies bytes that lie within the size."""

    def write(self, at: int, data: bytes) -> None:
        """Writes bytes within the size. They count as written; no bytes at all do not."""

    def page(self, index: int) -> bytes:
        """The 65,536 bytes of a page, zeros where there is none."""

    def restore(self, granules: list[int]) -> None:
        """Sets granules (sorted) back to the contents: all that were written. None counts as written any more."""

    def rebased(self) -> None:
        """Takes note that the contents have a new base, which holds all that is here."""

    def scan(self) -> list[tuple[int, int]]:
        """The granules written since the last scan, in no order, but for some that the shadow has just as they are."""

    def look(self) -> list[tuple[int, int]]:
        """What a scan would report, for those who restore all of it."""

    def extend(self, length: int) -> None:
        """Makes ready for a memory of that length, if it is longer than before."""

    def resident_granules(self, written: int) -> int:
        """About how many granules scans have to look at, of which so many were written."""

    @property
    def resident_bytes(self) -> int:
        """About what it takes of the machine's memory."""

    def move_to(self, archive: Archive) -> bool:
        """Moves all pages below the length there, and brings them back when they are touched; False if it cannot."""

    def copy_to(self, archive: Archive, first: int, end: int) -> None:
        """Copies the pages from index `first` to `end` there."""

    def drop(self) -> None:
        """Gives back what it can bring again, when all that was written is in the contents."""

    def shut(self, reason: BaseException) -> None:
        """Makes every further access of the host raise this."""

    def close(self) -> None:
        """Unmaps the bytes."""
