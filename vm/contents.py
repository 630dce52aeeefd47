"""What a memory holds where nothing is in place: the pages of the base state, under what the session has written."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:
    from piecrust.vm.archive import Archive

PAGE_BYTES: Final = 65536
GRANULE_BITS: Final = 12
GRANULE_BYTES: Final = 1 << GRANULE_BITS
"""A granule, 4 KiB, is the unit of tracking and undo; 16 of them are a page."""

GRANULES: Final = PAGE_BYTES // GRANULE_BYTES
WHOLE: Final = (1 << GRANULES) - 1
"""The mask of all granules of a page."""

_ZERO_PAGE = bytes(PAGE_BYTES)


class PageSource(Protocol):
    """The pages of a contract in the state that a session began with, already verified."""

    def page(self, index: int) -> bytes | None:
        """A page's 65,536 bytes; None if the state has no such page (it reads as zeros)."""

    def indices(self, at_most: int) -> Sequence[int] | None:
        """The indices of all pages; None if there are more than `at_most`."""

    def last(self) -> int:
        """The highest index of a page, -1 if there is none."""


class NoPages:
    """The page source of a contract that is new."""

    def page(self, index: int) -> bytes | None:
        """See `PageSource`."""
        del index
        return None

    def indices(self, at_most: int) -> Sequence[int] | None:
        """See `PageSource`."""
        del at_most
        return ()

    def last(self) -> int:
        """See `PageSource`."""
        return -1


class Contents:
    """The base, and what was written since, as it was at the last checkpoint.

    `shadow` maps granule indices to 4 KiB each. What it lacks is in `archive`, if its page is there, else in the base.
    The keys of the shadow and `archive.written` are all that a rollback, or a commit, has to look at.
    """

    __slots__ = ("archive", "base", "shadow")

    def __init__(self, base: PageSource) -> None:
        self.base = base
        self.archive: Archive | None = None
        self.shadow: dict[int, bytes] = {}

    def granules(self, indices: Iterable[int]) -> Iterator[tuple[int, bytes | None]]:
        """Granules as of the last checkpoint, None for zeros that nobody wrote.

        In the order of the indices. They should be sorted, because each page of the base is asked for anew.
        """
        shadow, archive = self.shadow, self.archive
        page_index, page = -1, None
        for index in indices:
            content = shadow.get(index)
            if content is None and archive is not None and index // GRANULES in archive.pages:
                content = archive.granule(index)
            if content is None:
                if page_index != index // GRANULES:
                    page_index = index // GRANULES
                    page = self.base.page(page_index)
                if page is not None:
                    start = index % GRANULES * GRANULE_BYTES
                    content = page[start : start + GRANULE_BYTES]
            yield index, content

    def page(self, index: int) -> bytes | None:
        """A page as of the last checkpoint, None for zeros that nobody wrote."""
        archive = self.archive
        page = archive.page(index) if archive is not None and index in archive.pages else self.base.page(index)
        over = self._shadowed(index)
        if over:
            merged = bytearray(page if page is not None else _ZERO_PAGE)
            for granule in over:
                start = granule % GRANULES * GRANULE_BYTES
                merged[start : start + GRANULE_BYTES] = self.shadow[granule]
            page = bytes(merged)
        return page

    def archived_run(self, index: int, end: int) -> int:
        """How many pages from `index` on, up to `end`, are in the archive just as they are."""
        archive, count = self.archive, 0
        if archive is not None:
            while index + count < end and index + count in archive.pages and not self._shadowed(index + count):
                count += 1
        return count

    def archived(self, fresh: Container[int], written: Mapping[int, int]) -> None:
        """Takes note that these pages are in the archive as they are, with what was written of them."""
        archive = self.archive
        assert archive is not None, "nothing is archived without an archive"
        masks = archive.written
        for index, mask in written.items():
            if index in fresh:
                masks[index] = masks.get(index, 0) | mask
        for granule in [granule for granule in self.shadow if granule // GRANULES in fresh]:
            index = granule // GRANULES
            masks[index] = masks.get(index, 0) | 1 << granule % GRANULES
            del self.shadow[granule]

    def written(self) -> dict[int, int]:
        """The pages written since the base: index -> mask of the granules."""
        pages = {} if self.archive is None else dict(self.archive.written)
        for granule in self.shadow:
            index = granule // GRANULES
            pages[index] = pages.get(index, 0) | 1 << granule % GRANULES
        return pages

    def rebase(self, base: PageSource, written: Iterable[int]) -> None:
        """Takes another base, which holds the pages that were written."""
        archive = self.archive
        if archive is not None:
            archive.forget(written)
            archive.written.clear()
        self.base = base
        self.shadow.clear()

    def _shadowed(self, index: int) -> list[int]:
        """The granules of a page that the shadow has."""
        shadow = self.shadow
        if not shadow:
            return []
        first = index * GRANULES
        return [granule for granule in range(first, first + GRANULES) if granule in shadow]


def add_ranges(pages: dict[int, int], ranges: Iterable[tuple[int, int]]) -> None:
    """Adds ranges of granules (first, end) to masks by page."""
    for first, end in ranges:
        inner = range(first // GRANULES + 1, (end - 1) // GRANULES)
        for index in {first // GRANULES, (end - 1) // GRANULES}:
            low, high = max(first - index * GRANULES, 0), min(end - index * GRANULES, GRANULES)
            pages[index] = pages.get(index, 0) | (1 << high) - (1 << low)
        if inner:
            pages.update(dict.fromkeys(inner, WHOLE))


def runs(indices: Iterable[int]) -> Iterator[tuple[int, int]]:
    """The runs of consecutive numbers, as (first, end), in sorted ones."""
    first = end = -1
    for index in indices:
        if index != end:
            if end > first:
                yield first, end
            first = index
        end = index + 1
    if end > first:
        yield first, end
