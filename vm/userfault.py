"""userfaultfd and PAGEMAP_SCAN: which granules of a mapping were written, and faults that the process serves itself.

One descriptor serves all memories of the process (Linux 6.7 or later).

- It asks for user-mode faults only, which needs no privilege.
- Write protection is asynchronous: the kernel lifts it at the first write by itself. A scan lists what was written
  since the last one and protects it again.
- A granule counts as written only when it is present (or swapped out) and not the shared zero page. So memory that was
  never touched needs no page tables, reads do not count, and a store of the value that was there does.
- A range registered as `MISSING` reports the first access to each page that is not there, and waits for an answer.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterator
from ctypes import c_char_p, c_int, c_long, c_uint64, c_ulong, c_void_p

from piecrust.vm.mapping import libc, quick_libc, window

WRITE_PROTECT, MISSING_AND_WRITE_PROTECT = 2, 3  # what a range is registered for

_SYSTEM_CALL = {"x86_64": 323, "aarch64": 282, "riscv64": 282}  # userfaultfd
_USER_MODE_ONLY = 1
_API = 0xAA
_FEATURES = 1 << 0 | 1 << 15  # PAGEFAULT_FLAG_WP, WP_ASYNC


def _request(direction: int, family: int, number: int, size: int) -> int:
    return direction << 30 | size << 16 | family << 8 | number


_UFFDIO_API = _request(3, _API, 0x3F, 24)
_UFFDIO_REGISTER = _request(3, _API, 0x00, 32)
_UFFDIO_UNREGISTER = _request(2, _API, 0x01, 16)
_UFFDIO_WAKE = _request(2, _API, 0x02, 16)
_UFFDIO_COPY = _request(3, _API, 0x03, 40)
_UFFDIO_ZEROPAGE = _request(3, _API, 0x04, 32)
_UFFDIO_WRITEPROTECT = _request(3, _API, 0x06, 24)
_PAGEMAP_SCAN = _request(3, ord("f"), 16, 96)
_COPY_PROTECTED = 2
_EAGAIN, _EEXIST = 11, 17
_GRANULE_BYTES = 4096
_MESSAGE = struct.Struct("<B7xQQ8x")  # uffd_msg of a page fault: event, flags, address
MESSAGE_BYTES = _MESSAGE.size
_PAGE_FAULT = 0x12

_IS_WRITTEN, _IS_PRESENT, _IS_SWAPPED, _IS_ZERO_PAGE = 1 << 1, 1 << 3, 1 << 4, 1 << 5
_PROTECT_MATCHING, _REFUSE_OTHER_MODES = 1, 2
_RANGE = struct.Struct("<QQQ")
_RANGE_BYTES = _RANGE.size
_RANGES_FEW, _RANGES_MANY = 64, 4096

for _library in (libc, quick_libc):
    _library.ioctl.argtypes = [c_int, c_ulong, c_void_p]
libc.syscall.restype = c_long
_ioctl = quick_libc.ioctl


class Descriptor:
    """The process's userfaultfd, and its page map.

    Raises:
        OSError: the system has no userfaultfd with asynchronous write protection, or refuses it.
    """

    __slots__ = ("fault", "pagemap", "process")

    def __init__(self) -> None:
        number = _SYSTEM_CALL.get(platform.machine())
        if sys.platform != "linux" or number is None:
            raise OSError(38, "userfaultfd does not exist here")
        fault = libc.syscall(c_long(number), c_long(os.O_CLOEXEC | _USER_MODE_ONLY))
        if fault < 0:
            raise OSError(ctypes.get_errno(), "userfaultfd")
        self.fault = fault
        self.process = os.getpid()
        api = (c_uint64 * 3)(_API, _FEATURES, 0)
        try:
            self._control(_UFFDIO_API, api, "UFFDIO_API")
            self.pagemap = os.open("/proc/self/pagemap", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            os.close(fault)
            raise

    def close(self) -> None:
        """Closes the descriptors; ranges that were registered are ordinary memory from then on."""
        os.close(self.fault)
        os.close(self.pagemap)

    def register(self, address: int, size: int, mode: int) -> None:
        """Watches a range from here on, as `mode` says."""
        self._control(_UFFDIO_REGISTER, (c_uint64 * 4)(address, size, mode, 0), "UFFDIO_REGISTER")

    def unregister(self, address: int, size: int) -> None:
        """Stops watching a range. Its granules lose their protection: they count as written when watched again."""
        self._control(_UFFDIO_UNREGISTER, (c_uint64 * 2)(address, size), "UFFDIO_UNREGISTER")

    def copy(self, address: int, data: bytes) -> None:
        """Puts data where granules are missing; it does not count as written. Wakes who waits."""
        self.copy_from(address, ctypes.cast(c_char_p(data), c_void_p).value or 0, len(data))

    def copy_from(self, address: int, source: int, size: int) -> None:
        """The same, with data that lies elsewhere in the process."""
        end = address + size
        while address < end:
            request = (c_uint64 * 5)(address, source, end - address, _COPY_PROTECTED, 0)
            if not _ioctl(self.fault, _UFFDIO_COPY, ctypes.addressof(request)):
                break
            done = self._done(address, request[4])
            address, source = address + done, source + done

    def zero(self, address: int, size: int) -> None:
        """Makes missing granules zeros, which do not count as written. Wakes who waits."""
        end = address + size
        while address < end:
            request = (c_uint64 * 4)(address, end - address, 0, 0)
            if not _ioctl(self.fault, _UFFDIO_ZEROPAGE, ctypes.addressof(request)):
                break
            address += self._done(address, request[3])

    def protect(self, address: int, size: int) -> None:
        """Makes a range count as written only when it is written from here on."""
        request = (c_uint64 * 3)(address, size, 1)
        if _ioctl(self.fault, _UFFDIO_WRITEPROTECT, ctypes.addressof(request)):
            raise OSError(ctypes.get_errno(), "UFFDIO_WRITEPROTECT")

    def wake(self, address: int, size: int) -> None:
        """Lets whoever waits for a page of the range try again."""
        self._control(_UFFDIO_WAKE, (c_uint64 * 2)(address, size), "UFFDIO_WAKE")

    def wait(self) -> int:
        """Waits for the next access to a missing page, and returns its address. Gives up the GIL."""
        while True:
            event, _, address = _MESSAGE.unpack(os.read(self.fault, MESSAGE_BYTES))
            if event == _PAGE_FAULT:
                return int(address)

    def _done(self, address: int, done: int) -> int:
        """How far a request came that did not reach its end. What is there already is passed over."""
        error = ctypes.get_errno()
        if error == _EAGAIN:
            return done if done < 1 << 63 else 0
        if error != _EEXIST:
            raise OSError(error, "userfaultfd page")
        self.wake(address, _GRANULE_BYTES)
        return _GRANULE_BYTES

    def _control(self, request: int, argument: ctypes.Array[c_uint64], what: str) -> None:
        if libc.ioctl(self.fault, request, ctypes.addressof(argument)):
            raise OSError(ctypes.get_errno(), what)


class Scan:
    """Finds what was written in some spans of memory, and with `protect` protects it again.

    Spans are pairs of addresses (first, end); whoever made the list may change it. Ranges are reported as the kernel
    does: 24 bytes each (first address, end, categories), in order. They are kept as bytes, because comparing those with
    what another scan gave is cheaper than reading them.
    """

    __slots__ = ("_pagemap", "_ranges", "_request", "_request_address", "_spans", "_window")

    def __init__(self, descriptor: Descriptor, spans: list[tuple[int, int]], *, protect: bool) -> None:
        self._spans = spans
        self._pagemap = descriptor.pagemap
        flags = _REFUSE_OTHER_MODES | (_PROTECT_MATCHING if protect else 0)
        self._request = (c_uint64 * 12)(
            96, flags, 0, 0, 0, 0, 0, 0,
            _IS_ZERO_PAGE, _IS_WRITTEN | _IS_ZERO_PAGE, _IS_PRESENT | _IS_SWAPPED, _IS_WRITTEN,
        )  # fmt: skip
        self._request_address = ctypes.addressof(self._request)
        self._allow(_RANGES_FEW)

    def run(self) -> bytes:
        """Scans all spans (about 1 us each)."""
        seen, request = b"", self._request
        for start, end in self._spans:
            request[2], request[3] = start, end
            count = _ioctl(self._pagemap, _PAGEMAP_SCAN, self._request_address)
            if count < 0:
                raise OSError(ctypes.get_errno(), "PAGEMAP_SCAN")
            if count:
                seen += self._window[: count * _RANGE_BYTES]
                if count == request[6]:
                    seen += self._rest()
        return seen

    def _rest(self) -> bytes:
        """Goes on where the room for ranges was full, with more of it."""
        seen, request = b"", self._request
        self._allow(_RANGES_MANY)
        count = int(request[6])
        while count == request[6]:
            request[2] = request[4]
            count = _ioctl(self._pagemap, _PAGEMAP_SCAN, self._request_address)
            if count < 0:
                raise OSError(ctypes.get_errno(), "PAGEMAP_SCAN")
            seen += self._window[: count * _RANGE_BYTES]
        return seen

    def _allow(self, count: int) -> None:
        """Makes room for so many ranges."""
        if count > self._request[6]:
            self._ranges = (c_uint64 * (count * _RANGE_BYTES // 8))()
            self._window = window(ctypes.addressof(self._ranges), count * _RANGE_BYTES)
            self._request[5], self._request[6] = ctypes.addressof(self._ranges), count


def ranges(seen: bytes) -> Iterator[tuple[int, int]]:
    """The addresses (first, end) of the ranges that a scan reported."""
    return ((first, end) for first, end, _ in _RANGE.iter_unpack(seen))


def ranges_in(seen: bytes) -> int:
    """How many ranges a scan reported."""
    return len(seen) // _RANGE_BYTES
