"""Pages: contract memory is cut into 64 KiB pieces, each addressed by the blake3 hash of its bytes."""

from __future__ import annotations

from typing import Final

from blake3 import blake3

PAGE_BYTES: Final = 65536
RANGE_BYTES: Final = 4096  # changes within a page are noted in ranges of this size: one bit of a 16-bit mask each
RANGES: Final = PAGE_BYTES // RANGE_BYTES

ZERO_PAGE: Final = bytes(PAGE_BYTES)
ZERO_PAGE_HASH: Final = blake3(ZERO_PAGE).digest()


def page_hash(data: bytes) -> bytes:
    """The address of a page, and its leaf in the page tree. About 10 us."""
    return blake3(data).digest()
