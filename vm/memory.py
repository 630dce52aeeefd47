"""A contract's memory: its bytes, its length, what was written since the base state, and how that is undone.

Every access of the host to the bytes of a contract goes through `read` and `write`; nothing else may know where they
lie. (A page may be missing until it is touched, see `watched`.)
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Container, Sequence
from typing import Final, Protocol

from piecrust.vm import tracking
from piecrust.vm.archive import Archive
from piecrust.vm.contents import (
    GRANULE_BITS,
    GRANULE_BYTES,
    GRANULES,
    PAGE_BYTES,
    Contents,
    NoPages,
    PageSource,
    add_ranges,
    runs,
)  # fmt: skip
from piecrust.vm.errors import EngineFailure
from piecrust.vm.undo import UndoLog

__all__ = ["PAGE_BYTES", "HostMemory", "Memory", "NoPages", "PageSource"]

BULK_GRANULES: Final = 1024
"""A top-level call that writes more (4 MiB) is remembered in the archive, not granule by granule."""

RESIDENT_GRANULES: Final = 4096
"""A memory of which more is in use (16 MiB) gives it up to where the pager finds it; then it may keep twice as much."""

PATIENCE_CALLS: Final = 128
"""So many top-level calls may scan more than `RESIDENT_GRANULES`: then all of that is given up, for it may have been in
use for a while only; and twice as many the next time, because it may not."""

WIDE_MEMORIES_MAX: Final = 16
"""So many 64-bit memories can grow beyond 4 GiB at one time, for each takes 4 TiB of 128 TiB of address space. Others
take 4 GiB: too little only for contracts that really grow so far, or point the host there."""

_wide_left = threading.BoundedSemaphore(WIDE_MEMORIES_MAX)

_REVERTED_MAX = 64  # granules

LIMITS: Final = {32: 1 << 32, 64: 1 << 42}
"""What a memory can grow to, in bytes, by its kind. Host functions check pointers against it, not the length."""


class HostMemory(Protocol):
    """A memory as the engine sees it. `length` and `limit` are bytes."""

    address: int
    length: int
    limit: int

    def grow(self, length: int) -> None:
        """Makes it longer."""


class Memory:
    """The memory of one contract in one session.

    `kind` is 32 or 64 (bits of an address), `length` what memory.size says, in bytes, `limit` see `LIMITS`.

    - `read(at, length)` and `write(at, data)` must stay within the limit, which the caller checks; the length does not
      matter to them.
    - Not for two threads at once.

    Raises:
        AddressSpaceExhausted: the system has no room for it. Later, when the process has more than `WIDE_MEMORIES_MAX`
            64-bit memories: this one was to reach beyond 4 GiB.
    """

    __slots__ = (
        "__weakref__",
        "_base_length",
        "_contents",
        "_is_wide",
        "_patience",
        "_patience_max",
        "_region",
        "_resident_max",
        "_unsettled",
        "address",
        "kind",
        "length",
        "limit",
        "log",
        "read",
        "resized",
        "write",
    )  # fmt: skip

    def __init__(self, kind: int, length: int, base: PageSource | None = None) -> None:
        self.kind = kind
        self.limit = LIMITS[kind]
        self.length = self._base_length = length
        self.log: UndoLog | None = None
        self.resized = False  # growth was undone: instances made before know a wrong length
        self._contents = Contents(base or NoPages())
        self._resident_max = RESIDENT_GRANULES
        self._patience = self._patience_max = PATIENCE_CALLS
        self._unsettled: list[tuple[int, int]] = []  # ranges of granules found written, not yet in the shadow
        self._is_wide = kind == 64 and _wide_left.acquire(blocking=False)
        try:
            size = LIMITS[64] if self._is_wide else LIMITS[32]
            self._region = region = tracking.region(size, length, self._contents, limit=self.limit)
        except BaseException:
            self._give_up_width()
            raise
        self.address = region.address
        self.read = region.read
        self.write = region.write

    def page(self, index: int) -> bytes:
        """The 65,536 bytes of a page, zeros where there is none."""
        self._check()
        return self._region.page(index)

    def written(self) -> dict[int, int]:
        """The pages written since the base: index -> mask of the granules (bit n: the n-th 4 KiB).

        A page counts however it was written, also with the bytes that it had. What a rollback undid does not count.
        """
        self._check()
        try:
            self._unsettled += self._region.scan()
            pages = self._contents.written()
            add_ranges(pages, self._unsettled)
        except BaseException as error:
            self.shut(error)
            raise
        return pages

    @property
    def clean(self) -> bool:
        """Whether it is as in the base: nothing written, and as long."""
        return self.length == self._base_length and not self.written()

    def rebase(self, base: PageSource) -> None:
        """Takes what is here for the base: `base` must hold the same pages."""
        written = self.written()
        try:
            self._contents.rebase(base, written)
            self._region.rebased()
            self._unsettled.clear()
            self._base_length = self.length
        except BaseException as error:
            self.shut(error)
            raise

    def revert(self) -> bool:
        """Makes it what the base has again, whatever was written, if that takes no longer than to make it anew.

        If not it is left as it is. No instance may be in the middle of a call.
        """
        written = self.written()
        granules = sum(mask.bit_count() for mask in written.values())
        if self.length != self._base_length or self._contents.archive is not None or granules > _REVERTED_MAX:
            return False
        if granules:
            changed = {
                index * GRANULES + n for index, mask in written.items() for n in range(GRANULES) if mask >> n & 1
            }
            try:
                self._contents.shadow.clear()
                self._unsettled.clear()
                self.restore(changed)
            except BaseException as error:
                self.shut(error)
                raise
        return True

    @property
    def resident_bytes(self) -> int:
        """About what it takes of the machine's memory."""
        archive = self._contents.archive
        archived = 0 if archive is None else len(archive.pages) * PAGE_BYTES
        return self._region.resident_bytes + archived + len(self._contents.shadow) * GRANULE_BYTES

    def close(self) -> None:
        """Gives the address space back. No instance may run over it afterwards."""
        self._region.close()
        if self._contents.archive is not None:
            self._contents.archive.close()
        self._give_up_width()

    def __del__(self) -> None:
        if getattr(self, "_region", None) is not None:
            self.close()

    @property
    def failure(self) -> BaseException | None:
        """Why its bytes are not to be trusted, or had, any more; None if all is well.

        Then nothing can be read, written or committed. A page could not be had while a contract ran; or it was
        interrupted, or failed, to find or undo what was written; or it is closed.
        """
        return self._region.failure

    @property
    def engine_memories(self) -> list[HostMemory]:
        """The memories of an instance, the first one last."""
        marks = self._region.map
        return [self] if marks is None else [marks, self]

    # For the engine.

    def grow(self, length: int) -> None:
        """Makes it longer; undone by a rollback."""
        if self.log is not None:
            self.log.grew(self, self.length)
        self._region.extend(length)
        self.length = length

    # For the undo log.

    def settle(self) -> None:
        """Remembers what was written since the last time, for good: what was before is not needed any more."""
        ranges = self._take(self._region.scan)
        left = BULK_GRANULES
        for first, end in ranges:
            left -= end - first
        if left < 0:
            self._archive(ranges)
        else:
            for first, end in ranges:
                self._shadow(first, end)
        resident = self._region.resident_granules(len(self._contents.shadow))
        if resident > RESIDENT_GRANULES:
            self._patience -= 1
            if resident > self._resident_max:
                self._resident_max *= 2
                self._relieve()
            elif self._patience <= 0:
                self._patience_max *= 2
                self._relieve()

    def remember(self) -> Sequence[tuple[Memory, int, bytes | None]]:
        """Remembers what was written since the last time; returns what that replaces."""
        ranges = self._take(self._region.scan)
        if not ranges:
            return ()
        shadow = self._contents.shadow
        replaced: list[tuple[Memory, int, bytes | None]] = []
        for first, end in ranges:
            replaced += [(self, granule, shadow.get(granule)) for granule in range(first, end)]
            self._shadow(first, end)
        return replaced

    def take_written(self) -> set[int]:
        """The granules written since the last checkpoint. They must be restored."""
        ranges = self._take(self._region.look)
        return {granule for first, end in ranges for granule in range(first, end)}

    def forget(self, granule: int, content: bytes | None) -> None:
        """Puts back what the shadow held."""
        if content is None:
            del self._contents.shadow[granule]
        else:
            self._contents.shadow[granule] = content

    def shrink(self, length: int) -> None:
        """Undoes growth."""
        self.length = length
        self.resized = True

    def restore(self, granules: set[int]) -> None:
        """Makes granules what they were at the last checkpoint that remains."""
        self._region.restore(sorted(granules))

    def shut(self, error: BaseException) -> None:
        """Makes every further access raise this, or an `EngineFailure` if it was an interrupt."""
        reason = error
        if not isinstance(error, Exception):
            reason = EngineFailure("interrupted while what was written was being found or undone")
            reason.__cause__ = error
        self._region.shut(reason)

    def _check(self) -> None:
        if self._region.failure is not None:
            raise self._region.failure

    def _give_up_width(self) -> None:
        if self._is_wide:
            self._is_wide = False
            _wide_left.release()

    def _take(self, find: Callable[[], list[tuple[int, int]]]) -> list[tuple[int, int]]:
        """The ranges of granules written since the last checkpoint."""
        if not self._region.address:
            self._check()  # closed
        ranges = find()
        if self._unsettled:
            ranges = self._unsettled + ranges
            self._unsettled = []
        return ranges

    def _shadow(self, first: int, end: int) -> None:
        """Remembers the granules from `first` to `end` in the shadow."""
        shadow = self._contents.shadow
        content = self.read(first << GRANULE_BITS, end - first << GRANULE_BITS)
        for granule in range(first, end):
            start = granule - first << GRANULE_BITS
            shadow[granule] = content[start : start + GRANULE_BYTES]

    def _archive(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Remembers what was written, and whatever else can be moved, in the archive."""
        contents, region = self._contents, self._region
        written: dict[int, int] = {}
        add_ranges(written, ranges)
        archive = contents.archive
        is_new = archive is None
        if archive is None:
            archive = contents.archive = Archive(min(self.limit, LIMITS[32]))
        fresh: Container[int]
        if is_new and region.move_to(archive):
            fresh = archive.pages
        else:
            copied = {index for index in written if index < archive.size // PAGE_BYTES}
            fresh = copied
            for first, end in runs(sorted(copied)):
                region.copy_to(archive, first, end)
        for index, mask in written.items():
            if index not in fresh:
                for granule in range(index * GRANULES, (index + 1) * GRANULES):
                    if mask >> granule % GRANULES & 1:
                        self._shadow(granule, granule + 1)
        contents.archived(fresh, written)

    def _relieve(self) -> None:
        """Takes pages out of the region, because scans cost what it holds."""
        self._patience = self._patience_max
        if self._contents.archive is None:
            self._archive(())
        else:
            self._region.drop()
