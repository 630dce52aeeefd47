"""Callbacks whose first instruction nobody interrupts.

Python runs signal handlers between instructions: the first chance after WebAssembly is the entry of the next callback,
before it can have a `try`. What the handler raises there leaves the callback, ctypes prints it and goes on, and the
engine takes whatever lies there for the callback's result. So the entry of a callback must not look for signals; the
next look is inside of its `try`.

The interpreter looks for signals at the entry of a function and when a generator is resumed, but not when a generator
goes on after a `yield from`. Which of these it is, is told by the argument of one instruction, the same since 3.11.
"""

from __future__ import annotations

import dis
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, TypeVar

_RESUME: Final = "RESUME"
_AT_ENTRY: Final = 0
_AFTER_YIELD_FROM: Final = 2

Function = TypeVar("Function", bound=Callable[..., Any])


def shielded(function: Function) -> Function:
    """The same function, which does not look for signals as it is entered.

    For functions with a `try` around all that they do.
    """
    assert isinstance(function, FunctionType), "only functions written in Python are entered by an instruction"
    code = function.__code__
    entry = next(instruction for instruction in dis.get_instructions(code) if instruction.opname == _RESUME)
    assert entry.arg == _AT_ENTRY, "the first of these instructions is the entry"
    instructions = bytearray(code.co_code)
    instructions[entry.offset + 1] = _AFTER_YIELD_FROM
    copy: Any = FunctionType(
        code.replace(co_code=bytes(instructions)),
        function.__globals__,
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    return copy  # type: ignore[no-any-return]  # with the same signature
