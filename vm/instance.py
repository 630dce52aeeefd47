"""One contract, instantiated over its memory: what a session calls.

An instance lives for one top-level call, as the original's; where the rewriter proves that a fresh one could not
differ, `reset` makes it ready for the next one instead. Each has a store of its own, so no store comes near the number
of instances that it can hold.
"""

from __future__ import annotations

from piecrust.vm.code import Code
from piecrust.vm.deadline import Deadline
from piecrust.vm.errors import ContractTrap, InvalidFunction, TimeLimitExceeded
from piecrust.vm.memory import Memory
from piecrust.vm.traps import Interrupted


class Instance:
    """A contract that can be called. `set_gas(remaining)` and `remaining()` reach the gas that it may still spend.

    With a `deadline` the code must be interruptible.

    Raises:
        ContractTrap: its start function or one of its segments trapped.
    """

    __slots__ = ("_deadline", "_functions", "_native", "_reusable", "code", "memory", "remaining", "set_gas")

    def __init__(self, code: Code, memory: Memory, *, deadline: Deadline | None = None) -> None:
        self.code = code
        self.memory = memory
        self._deadline = deadline
        self._functions = code.functions
        self._reusable = code.reusable and deadline is None
        epochs = None if deadline is None else deadline.epochs()
        rewritten = code.facts
        memory.resized = False
        self._native = made = code.prepared().instantiate(
            memory.engine_memories, rewritten.gas_export, rewritten.resets, epochs
        )
        self.set_gas = made.set_gas
        self.remaining = made.remaining

    def call(self, function: str, argument_length: int) -> int:
        """Calls an exported function; returns the length of its result as it gave it (unsigned, not checked).

        Raises:
            InvalidFunction: the contract exports no function of that name.
            ContractTrap: it trapped. What else is known of the reason: `remaining` is 0 when it ran out of gas.
            TimeLimitExceeded: the deadline passed.
            BaseException: what a host function, or the source of a page, raised.
        """
        if function not in self._functions:
            raise InvalidFunction(function)
        memory = self.memory
        try:
            result = self._native.call(function, argument_length)
        except Interrupted:
            seconds = self._deadline.seconds if self._deadline is not None else 0.0
            raise TimeLimitExceeded(seconds) from None
        except ContractTrap:
            if memory.failure is not None:
                raise memory.failure from None
            raise
        if memory.failure is not None:
            raise memory.failure
        return result

    def reset(self) -> bool:
        """Makes it as good as a fresh instance; False if that cannot be, and it must be closed.

        Between top-level calls, whether the last one succeeded or not.
        """
        return self._reusable and not self.memory.resized and self._native.reset()

    def close(self) -> None:
        """Deletes the instance; the memory stays."""
        self._native.close()


def apply_segments(code: Code, memory: Memory) -> None:
    """Writes a contract's data segments, as its deployment does once. They count as written.

    Raises:
        ContractTrap: one lies outside of the memory.
    """
    for offset, data in code.facts.segments:
        if offset + len(data) > memory.length:
            raise ContractTrap("out of bounds memory access")
        memory.write(offset, data)
