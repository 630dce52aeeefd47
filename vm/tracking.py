"""Which way of tracking writes this process uses, chosen by trying.

`userfaultfd` asks the kernel (see `watched`): the fast one, Linux 6.7 or later, where userfaultfd is allowed.
`compiled` makes contracts mark what they write (see `marked`): it works everywhere. Both give the same sets of written
pages, and so the same state roots.
"""

from __future__ import annotations

import ctypes
from ctypes import c_char_p, c_size_t, c_void_p
from typing import Final, Literal

from piecrust.vm.contents import GRANULE_BITS, GRANULE_BYTES, PAGE_BYTES, Contents, NoPages
from piecrust.vm.mapping import libc
from piecrust.vm.marked import MarkedRegion
from piecrust.vm.region import Region
from piecrust.vm.watched import WatchedRegion

TrackerName = Literal["userfaultfd", "compiled"]
NAMES: Final[tuple[TrackerName, ...]] = ("userfaultfd", "compiled")


_chosen: TrackerName | None = None
_reason: str | None = None


def select(name: TrackerName | None) -> None:
    """Uses a tracker from here on; None: the best one that works.

    For tests and for the start of a process: memories that exist keep theirs, and so does compiled code, which must not
    be run over memories of the other tracker.

    Raises:
        OSError: this one does not work here.
        ValueError: there is no tracker of that name.
    """
    global _chosen, _reason
    if name is not None and name not in NAMES:
        raise ValueError(f"no write tracker {name!r}")
    if name == "userfaultfd":
        check()
    _chosen = name
    _reason = None


def active() -> TrackerName:
    """The tracker in use."""
    global _chosen, _reason
    if _chosen is None:
        try:
            check()
        except OSError as error:
            _chosen, _reason = "compiled", str(error)
        else:
            _chosen = "userfaultfd"
    return _chosen


def reason() -> str | None:
    """Why the fast tracker does not work here; None if it does, or was not tried."""
    return _reason


def region(size: int, length: int, contents: Contents, *, limit: int) -> Region:
    """A new region of the tracker in use: `size` bytes of a memory that may have up to `limit`.

    Raises:
        AddressSpaceExhausted: there is no room for it.
    """
    if active() == "userfaultfd":
        return WatchedRegion(size, length, contents)
    return MarkedRegion(size, length, contents, marks=limit >> GRANULE_BITS)


def check() -> None:
    """Tries what the fast tracker needs of the kernel.

    Raises:
        OSError: something is missing, refused, or does not behave.
    """
    copy = libc.memmove  # without the GIL, as contracts write
    copy.restype, copy.argtypes = c_void_p, [c_void_p, c_char_p, c_size_t]
    tried = WatchedRegion(4 * PAGE_BYTES, PAGE_BYTES, Contents(NoPages()))
    try:
        expected: list[list[tuple[int, int]]] = [[], [(2, 3)], [(2, 3)], [(1, 2), (15, 16)], [], [(32, 33)], []]
        found = [tried.scan()]
        tried.write(2 * GRANULE_BYTES, b"\1")
        found.append(tried.scan())
        tried.write(2 * GRANULE_BYTES, b"\1")
        found.append(tried.scan())
        tried.read(5 * GRANULE_BYTES, 1)
        tried.write(GRANULE_BYTES, b"\0")
        tried.write(15 * GRANULE_BYTES, b"\1")
        found.append(tried.scan())
        tried.read(0, 4 * PAGE_BYTES)
        found.append(tried.scan())
        copy(ctypes.c_void_p(tried.address + 2 * PAGE_BYTES), b"\1", 1)
        found.append(tried.scan())
        found.append(tried.scan())
    finally:
        tried.close()
    if found != expected:
        raise OSError(38, f"the kernel reports other writes than were made: {found}")
