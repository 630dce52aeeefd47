"""Serves accesses to pages that are not in place, for all watched memories of the process.

A thread waits for the kernel's messages. It needs the GIL to answer, so whoever waits for a page must have given the
GIL up: WebAssembly runs without it, and the host touches what it needs first (see `watched`).
"""

from __future__ import annotations

import os
import threading
from bisect import bisect_right, insort
from typing import Protocol

from piecrust.vm.userfault import Descriptor


class Paged(Protocol):
    """A region whose missing pages the pager brings."""

    address: int

    def serve(self, address: int) -> None:
        """Puts the page of that address in place, and never fails."""


_lock = threading.Lock()
_descriptor: Descriptor | None = None
_addresses: list[int] = []  # of the regions, sorted
_regions: dict[int, Paged] = {}
faults = 0


def descriptor() -> Descriptor:
    """The process's userfaultfd, with the pager waiting on it.

    Raises:
        OSError: the system has none, or refuses it.
    """
    global _descriptor
    found = _descriptor
    if found is None:
        with _lock:
            found = _descriptor
            if found is None:
                found = Descriptor()
                threading.Thread(target=_serve, args=(found,), name="piecrust-pager", daemon=True).start()
                _descriptor = found
    return found


def add(region: Paged) -> None:
    """Serves the faults of a region from here on."""
    with _lock:
        insort(_addresses, region.address)
        _regions[region.address] = region


def remove(region: Paged) -> None:
    """Forgets a region that is about to be unmapped."""
    with _lock:
        if _regions.pop(region.address, None) is not None:
            del _addresses[bisect_right(_addresses, region.address) - 1]


def _serve(source: Descriptor) -> None:
    global faults
    while True:
        address = source.wait()
        with _lock:
            region = _regions[_addresses[bisect_right(_addresses, address) - 1]]
        faults += 1
        region.serve(address)


def _after_fork() -> None:
    """The child's memories are not watched by its parent's descriptor, and nobody waits on it."""
    global _descriptor, _lock
    if _descriptor is not None:
        _descriptor.close()
    _descriptor, _lock = None, threading.Lock()
    _addresses.clear()
    _regions.clear()


os.register_at_fork(after_in_child=_after_fork)
