"""Address space for contract memories: reserved, populated by the kernel when touched, given back.

Everything is an integer; nobody outside `memory`, `tracking` and `pager` sees an address.
"""

from __future__ import annotations

import ctypes
import mmap
import sys
from ctypes import c_int, c_long, c_size_t, c_void_p
from pathlib import Path
from typing import Final, Protocol, cast

from piecrust.vm.errors import AddressSpaceExhausted

GUARD_BYTES = 1 << 21
"""Mapped behind a memory: accesses of up to 16 bytes at its last addresses are not checked one by one."""

_MAP_NORESERVE = 0x4000 if sys.platform == "linux" else 0x40
_MAP_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | _MAP_NORESERVE
_MAP_FIXED = 0x10
_MOVE = 1 | 2 | 4  # MREMAP_MAYMOVE, MREMAP_FIXED, MREMAP_DONTUNMAP
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE
_FAILED = c_void_p(-1).value
_DISCARD = 4  # MADV_DONTNEED: on Linux private anonymous pages read as zeros afterwards
_NO_HUGE_PAGES = 15  # MADV_NOHUGEPAGE: a huge page would count 2 MiB as written at the first store

libc = ctypes.CDLL(None, use_errno=True)  # gives up the GIL: calls that may sleep
quick_libc = ctypes.PyDLL(None, use_errno=True)  # keeps it: calls of about a microsecond


class Window(Protocol):
    """A range of the process's bytes: slices are copies, five times faster than ctypes.string_at. Keeps the GIL."""

    def __getitem__(self, index: slice) -> bytes: ...


def window(address: int, size: int) -> Window:
    """Bytes to read, as they are at each moment. The mapping must outlive the use of it."""
    return cast(Window, (ctypes.c_char * size).from_address(address))


def writable(address: int, size: int) -> memoryview:
    """Bytes to write. The mapping must outlive it."""
    return memoryview((ctypes.c_char * size).from_address(address)).cast("B")


SPACE: Final = window(0, 1 << 56)
"""Every byte of the process, by its address.

Only for the engine's own structures: contract memory is reached through `Memory` alone.
"""

WORDS: Final = writable(0, 1 << 56).cast("q")
"""Every aligned signed 64-bit word of the process, by its address / 8."""

for _library in (libc, quick_libc):
    _library.mmap.restype = c_void_p
    _library.mmap.argtypes = [c_void_p, c_size_t, c_int, c_int, c_int, c_long]
    _library.munmap.argtypes = [c_void_p, c_size_t]
    _library.madvise.argtypes = [c_void_p, c_size_t, c_int]
if sys.platform == "linux":
    libc.mremap.restype = c_void_p
    libc.mremap.argtypes = [c_void_p, c_size_t, c_size_t, c_int, c_void_p]


def reserve(size: int) -> int:
    """Maps `size` bytes of zeros, readable and writable, which take memory only where they are touched.

    Raises:
        AddressSpaceExhausted: the system has no room for them (a limit on address space, strict overcommit, or
            thousands of memories open at once).
    """
    address = quick_libc.mmap(None, size, _READ_WRITE, _MAP_FLAGS, -1, 0)
    if address == _FAILED or address is None:
        raise AddressSpaceExhausted(size, ctypes.get_errno())
    if sys.platform == "linux":
        quick_libc.madvise(address, size, _NO_HUGE_PAGES)
    return int(address)


def release(address: int, size: int) -> None:
    """Gives a mapping back. Takes longer the more of it was touched, and lets other threads run meanwhile."""
    libc.munmap(address, size)


def discard(address: int, size: int) -> None:
    """Makes whole granules zeros again and gives their memory back."""
    if sys.platform == "linux":
        libc.madvise(address, size, _DISCARD)
    else:  # other systems may keep the content
        renew(address, size)


def renew(address: int, size: int) -> None:
    """Puts a fresh mapping in place of one. Unlike `discard` it frees the page tables that scans would go through."""
    libc.mmap(address, size, _READ_WRITE, _MAP_FLAGS | _MAP_FIXED, -1, 0)
    if sys.platform == "linux":
        libc.madvise(address, size, _NO_HUGE_PAGES)


def move(address: int, size: int, target: int) -> bool:
    """Moves the pages of a mapping to another one, in place of what was there; zeros, or missing pages, stay behind.

    False, and nothing has happened, where the system cannot do it. Takes 2 ms a gigabyte: no byte is copied.

    Raises:
        AddressSpaceExhausted: it began and failed; the target is not mapped any more.
    """
    if not _is_one_mapping(address, size):  # for these it would fail after it has unmapped the target
        return False
    if libc.mremap(address, size, size, _MOVE, target) != target:
        raise AddressSpaceExhausted(size, ctypes.get_errno())
    return True


def _is_one_mapping(address: int, size: int) -> bool:
    """Whether the kernel holds a range as one mapping, as far as it says."""
    try:
        maps = Path("/proc/self/maps").read_bytes()
    except OSError:
        return False
    for line in maps.splitlines():
        start, end = (int(bound, 16) for bound in line.split(b" ", 1)[0].split(b"-"))
        if start <= address < end:
            return address + size <= end
    return False
