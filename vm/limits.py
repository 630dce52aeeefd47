"""Every limit and price of the contract VM, with units; the numbers that contracts can see are the original's."""

from __future__ import annotations

from typing import Final

GAS_LIMIT_MAX: Final = 2**64 - 1
DEFAULT_GAS_LIMIT: Final = 1_000_000_000
"""Gas of a call or deployment that names no limit."""

CALL_DEPTH_MAX: Final = 48
"""Frames of the deepest chain of calls, the top-level call included."""

ARGUMENT_BYTES_MAX: Final = 65_536
"""Length of the argument buffer: arguments, results, host query answers and metadata values fit in it."""

CONTRACT_ID_BYTES: Final = 32

NAME_BYTES_MAX: Final = 1 << 17
"""No function, host query or metadata value has a longer name (WebAssembly's own limit is 100,000 bytes)."""

CALLEE_GAS_PERCENT: Final = 93
"""What a callee gets of its caller's remaining gas when it is given no limit of its own."""

EVENT_BYTE_GAS: Final = 4
"""Price of each byte of an event's topic and data."""

OWNER_OVERHEAD_BYTES: Final = 40
"""What a contract's serialized metadata takes beside its owner: the id, and a relative pointer with a length."""

TRANSIENT_KEY_BYTES: Final = 32
TRANSIENT_BYTE_GAS: Final = 4
"""Price of each byte of key and value that `transient_set` writes."""
TRANSIENT_BYTES_MAX: Final = 1 << 20
"""Keys and values that one top-level call may hold in transient storage, all contracts together."""


def callee_gas_limit(asked: int, remaining: int) -> int:
    """The gas limit of a callee: what its caller asks for, if it has more than that, else 93 % of what it has."""
    if 0 < asked < remaining:
        return asked
    return remaining // 100 * CALLEE_GAS_PERCENT + remaining % 100 * CALLEE_GAS_PERCENT // 100
