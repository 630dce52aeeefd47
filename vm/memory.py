"""A contract's memory: its bytes, its length, what was written since the base state, and how that is undone.

Every access of the host to the bytes of a contract goes through `read` and `write`; nothing else may know where they
lie. (A page may be missing until it is touched, see `watched`.)
"""

from __future__ import annotations

import threading
from collections.abc import Hashable, Sequence
from typing import Final, Protocol

from piecrust.vm import tracking
from piecrust.vm.contents import GRANULE_BITS, GRANULE_BYTES, GRANULES, PAGE_BYTES, Contents, NoPages, PageSource
from piecrust.vm.undo import UndoLog

__all__ = ["PAGE_BYTES", "HostMemory", "Memory", "MemoryPool", "NoPages", "PageSource"]

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
        AddressSpaceExhausted: the system has no room for it.
    """

    __slots__ = (
        "__weakref__", "_base_length", "_contents", "_region", "_unsettled", "address", "kind", "length", "limit",
        "log", "read", "resized", "write",
    )  # fmt: skip

    def __init__(self, kind: int, length: int, base: PageSource | None = None) -> None:
        self.kind = kind
        self.limit = LIMITS[kind]
        self.length = self._base_length = length
        self.log: UndoLog | None = None
        self.resized = False  # growth was undone: instances made before know a wrong length
        self._contents = Contents(base or NoPages())
        self._unsettled: list[tuple[int, int]] = []  # ranges of granules found written, not yet in the shadow
        self._region = region = tracking.region(self.limit, length, self._contents)
        self.address = region.address
        self.read = region.read
        self.write = region.write

    def page(self, index: int) -> bytes:
        """The 65,536 bytes of a page, zeros where there is none."""
        return self.read(index * PAGE_BYTES, PAGE_BYTES)

    def written(self) -> dict[int, int]:
        """The pages written since the base: index -> mask of the granules (bit n: the n-th 4 KiB).

        A page counts however it was written, also with the bytes that it had. What a rollback undid does not count.
        """
        self._unsettled += self._region.scan()
        pages: dict[int, int] = {}
        for granule in self._contents.shadow:
            index = granule // GRANULES
            pages[index] = pages.get(index, 0) | 1 << granule % GRANULES
        for first, end in self._unsettled:
            for index in range(first // GRANULES, (end - 1) // GRANULES + 1):
                low, high = max(first - index * GRANULES, 0), min(end - index * GRANULES, GRANULES)
                pages[index] = pages.get(index, 0) | (1 << high) - (1 << low)
        return pages

    @property
    def clean(self) -> bool:
        """Whether it is as in the base: nothing written, and as long."""
        return self.length == self._base_length and not self.written()

    def rebase(self, base: PageSource) -> None:
        """Takes what is here for the base: `base` must hold the same pages."""
        self._region.scan()
        self._unsettled.clear()
        self._contents.base = base
        self._contents.shadow.clear()
        self._base_length = self.length

    @property
    def resident_bytes(self) -> int:
        """About what it takes of the machine's memory."""
        return self._region.resident_bytes + len(self._contents.shadow) * GRANULE_BYTES

    def close(self) -> None:
        """Gives the address space back. No instance may run over it afterwards."""
        self._region.close()

    def __del__(self) -> None:
        region = getattr(self, "_region", None)
        if region is not None:
            region.close()

    @property
    def failure(self) -> BaseException | None:
        """Why a page could not be had while a contract ran; None if all went well."""
        return self._region.failure

    @property
    def engine_memories(self) -> list[HostMemory]:
        """The memories of an instance, the first one last."""
        marks: HostMemory | None = getattr(self._region, "map", None)
        return [self] if marks is None else [marks, self]

    # For the engine.

    def grow(self, length: int) -> None:
        """Makes it longer; undone by a rollback."""
        if self.log is not None:
            self.log.grew(self, self.length)
        self._region.extend(length)
        self.length = length

    # For the undo log.

    def remember(self) -> Sequence[tuple[Memory, int, bytes | None]]:
        """Copies what was written since the last time into the shadow; returns what that replaced there."""
        ranges = self._region.scan()
        if self._unsettled:
            ranges = self._unsettled + ranges
            self._unsettled = []
        if not ranges:
            return ()
        shadow = self._contents.shadow
        replaced: list[tuple[Memory, int, bytes | None]] = []
        for first, end in ranges:
            content = self.read(first << GRANULE_BITS, end - first << GRANULE_BITS)
            for granule in range(first, end):
                start = granule - first << GRANULE_BITS
                replaced.append((self, granule, shadow.get(granule)))
                shadow[granule] = content[start : start + GRANULE_BYTES]
        return replaced

    def take_written(self) -> set[int]:
        """The granules written since the last checkpoint. They are about to be restored."""
        ranges = self._unsettled + self._region.scan()
        self._unsettled = []
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


class MemoryPool:
    """Memories of sessions that ended, for the next session on the same state: none of their pages is loaded again.

    At most `count_max` memories of together at most `bytes_max` resident bytes, the least recently given go first. Safe
    for all threads.
    """

    def __init__(self, *, count_max: int = 64, bytes_max: int = 256 << 20) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._memories: dict[Hashable, tuple[Memory, int]] = {}
        self._lock = threading.Lock()

    def give(self, key: Hashable, memory: Memory) -> None:
        """Keeps a memory, which must be clean; `key` says which state it holds. Its owner must not use it any more."""
        memory.log = None
        size = memory.resident_bytes
        dropped = [memory]
        with self._lock:
            if size <= self._bytes_max and key not in self._memories:
                self._memories[key] = memory, size
                self._bytes += size
                dropped = []
                while len(self._memories) > self._count_max or self._bytes > self._bytes_max:
                    dropped.append(self._remove(next(iter(self._memories))))
        for other in dropped:
            other.close()

    def take(self, key: Hashable) -> Memory | None:
        """A memory that holds that state, the caller's from here on; None if there is none."""
        with self._lock:
            return self._remove(key) if key in self._memories else None

    def close(self) -> None:
        """Gives all of them back to the system."""
        with self._lock:
            dropped = [self._remove(key) for key in list(self._memories)]
        for memory in dropped:
            memory.close()

    def _remove(self, key: Hashable) -> Memory:
        memory, size = self._memories.pop(key)
        self._bytes -= size
        return memory
