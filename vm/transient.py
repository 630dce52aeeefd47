"""Transient storage: data that lives for one top-level call.

Two host queries, offered by VMs made with `transient_storage=True`:

* `transient_set`: the argument is a key of 32 bytes and a value; answers nothing. Costs 4 gas per byte.
* `transient_get`: the argument is a key of 32 bytes and what to answer when nothing is set; answers the value. Free.

Every contract has its own keys; all frames of a contract in a top-level call see the same data. What a failed frame
wrote is undone with it; after the top-level call everything is gone. It is never part of a state root.
"""

from __future__ import annotations

from enum import Enum

from piecrust.vm.errors import Panic
from piecrust.vm.limits import TRANSIENT_BYTE_GAS, TRANSIENT_BYTES_MAX, TRANSIENT_KEY_BYTES


class TransientQuery(Enum):
    """The two queries; the values are the names that contracts use."""

    SET = "transient_set"
    GET = "transient_get"


Slot = tuple[bytes, bytes]  # contract id, key


def set_price(argument: bytes) -> int:
    """Gas of a `transient_set` with this argument."""
    return TRANSIENT_BYTE_GAS * len(argument)


class TransientStorage:
    """The transient data of one top-level call, with what is needed to undo a frame's writes."""

    __slots__ = ("_bytes", "_log", "_values")

    def __init__(self) -> None:
        self._values: dict[Slot, bytes] = {}
        self._log: list[tuple[Slot, bytes | None]] = []
        self._bytes = 0

    def get(self, contract: bytes, argument: bytes) -> bytes:
        """The value of the key that the argument begins with, else the rest of the argument.

        Raises:
            Panic: The argument is shorter than a key.
        """
        key, default = _split(argument)
        return self._values.get((contract, key), default)

    def set(self, contract: bytes, argument: bytes) -> None:
        """Sets the key that the argument begins with to its rest.

        Raises:
            Panic: The argument is shorter than a key, or the call's transient data would exceed its limit.
        """
        key, value = _split(argument)
        slot = (contract, key)
        old = self._values.get(slot)
        grown = len(value) - len(old) if old is not None else len(key) + len(value)
        if self._bytes + grown > TRANSIENT_BYTES_MAX:
            raise Panic("transient storage is full")
        self._log.append((slot, old))
        self._values[slot] = value
        self._bytes += grown

    def mark(self) -> int:
        """Where a frame begins; give it to `rollback` if it fails."""
        return len(self._log)

    def rollback(self, mark: int) -> None:
        """Undoes every write since `mark`."""
        while len(self._log) > mark:
            slot, old = self._log.pop()
            value = self._values.pop(slot)
            self._bytes -= len(value)
            if old is None:
                self._bytes -= TRANSIENT_KEY_BYTES
            else:
                self._values[slot] = old
                self._bytes += len(old)

    def clear(self) -> None:
        """Forgets everything, at the end of a top-level call."""
        if self._log:
            self._values.clear()
            self._log.clear()
            self._bytes = 0


def _split(argument: bytes) -> tuple[bytes, bytes]:
    if len(argument) < TRANSIENT_KEY_BYTES:
        raise Panic(f"transient storage: a key has {TRANSIENT_KEY_BYTES} bytes")
    return argument[:TRANSIENT_KEY_BYTES], argument[TRANSIENT_KEY_BYTES:]
