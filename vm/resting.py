"""Contracts of ended sessions, at rest for the next session on the same state.

Nothing is mapped, read or instantiated again for it: that is more than half of what a first call costs.
"""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import Final, NamedTuple

from piecrust.vm.instance import Instance
from piecrust.vm.memory import Memory

COUNT_MAX: Final = 64
BYTES_MAX: Final = 256 << 20
"""What resting memories may take of the machine's memory, about."""


class RestingContract(NamedTuple):
    """A memory that holds exactly what a stored state has, and an instance over it that is as good as a fresh one."""

    memory: Memory
    instance: Instance | None

    def close(self) -> None:
        """Gives both back to the system."""
        if self.instance is not None:
            self.instance.close()
        self.memory.close()


class RestingContracts:
    """At most one resting contract for each state of it; the ones given first go first. For any number of threads."""

    def __init__(self, count_max: int = COUNT_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._count_max = count_max
        self._bytes_max = bytes_max
        self._bytes = 0
        self._contracts: dict[Hashable, tuple[RestingContract, int]] = {}
        self._lock = threading.Lock()
        self._closed = False

    def give(self, key: Hashable, contract: RestingContract) -> None:
        """Keeps a contract that nothing else uses any more; `key` says which state its memory holds."""
        contract.memory.log = None
        size = contract.memory.resident_bytes
        dropped = [contract]
        with self._lock:
            if size <= self._bytes_max and key not in self._contracts and not self._closed:
                self._contracts[key] = contract, size
                self._bytes += size
                dropped = []
                while len(self._contracts) > self._count_max or self._bytes > self._bytes_max:
                    dropped.append(self._remove(next(iter(self._contracts))))
        for other in dropped:
            other.close()

    def take(self, key: Hashable) -> RestingContract | None:
        """The contract with that state, the caller's from here on; None if none rests."""
        with self._lock:
            return self._remove(key) if key in self._contracts else None

    def close(self) -> None:
        """Gives all of them back to the system, and those that come later, too."""
        with self._lock:
            self._closed = True
            dropped = [self._remove(key) for key in list(self._contracts)]
        for contract in dropped:
            contract.close()

    def _remove(self, key: Hashable) -> RestingContract:
        contract, size = self._contracts.pop(key)
        self._bytes -= size
        return contract
