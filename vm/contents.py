"""What a memory holds where nothing is in place: the pages of the base state, under what the session has written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

PAGE_BYTES: Final = 65536
GRANULE_BITS: Final = 12
GRANULE_BYTES: Final = 1 << GRANULE_BITS
"""A granule, 4 KiB, is the unit of tracking and undo; 16 of them are a page."""

GRANULES: Final = PAGE_BYTES // GRANULE_BYTES
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
    """The base, and the granules written since, as they were at the last checkpoint.

    `shadow` maps granule indices to 4 KiB each. Its keys are all that a rollback, or a commit, has to look at.
    """

    __slots__ = ("base", "shadow")

    def __init__(self, base: PageSource) -> None:
        self.base = base
        self.shadow: dict[int, bytes] = {}

    def granule(self, index: int) -> bytes | None:
        """A granule as of the last checkpoint, None for zeros that nobody wrote."""
        content = self.shadow.get(index)
        if content is None:
            page = self.base.page(index // GRANULES)
            if page is not None:
                start = index % GRANULES * GRANULE_BYTES
                content = page[start : start + GRANULE_BYTES]
        return content

    def page(self, index: int) -> bytes | None:
        """A page as of the last checkpoint, None for zeros that nobody wrote."""
        page = self.base.page(index)
        first = index * GRANULES
        shadow = self.shadow
        if shadow:
            over = [granule for granule in range(first, first + GRANULES) if granule in shadow]
            if over:
                merged = bytearray(page if page is not None else _ZERO_PAGE)
                for granule in over:
                    start = granule % GRANULES * GRANULE_BYTES
                    merged[start : start + GRANULE_BYTES] = shadow[granule]
                page = bytes(merged)
        return page
