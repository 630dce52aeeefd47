"""Why WebAssembly trapped, in words that are the same on every machine and with every engine.

They become part of transcripts, so the engine's own messages, which end in a backtrace, would not do.
"""

from __future__ import annotations

from piecrust.vm.errors import ContractTrap

INTERRUPT = 10
OUT_OF_FUEL = 11

_REASONS = {
    0: "call stack exhausted",
    1: "out of bounds memory access",
    2: "unaligned atomic",
    3: "undefined element: out of bounds table access",
    4: "uninitialized element",
    5: "indirect call type mismatch",
    6: "integer overflow",
    7: "integer divide by zero",
    8: "invalid conversion to integer",
    9: "wasm `unreachable` instruction executed",
    12: "atomic wait on non-shared memory",
    13: "null reference",
    15: "allocation size too large",
}


class Interrupted(Exception):
    """The deadline of the store has passed."""


def failure_of(code: int | None, text: str) -> Exception:
    """The error for the engine's trap code; `text` is its message, for traps without a code."""
    if code == INTERRUPT:
        return Interrupted()
    if code is None:
        return ContractTrap(text)
    return ContractTrap(_REASONS.get(code, f"trap {code}"))
