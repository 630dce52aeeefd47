"""The functions that contracts import, and what a thread that runs contracts knows.

A host function is called as `function(session, *arguments)`; its type is in `interface.HOST_FUNCTIONS`. Arguments are
unsigned integers; what it returns is cut to its result's type. Whatever it raises ends the contract's call and comes
out of `Instance.call` unchanged: an exception is kept by the thread that it happened in, never in a global of the
process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from piecrust.vm.interface import HOST_FUNCTIONS

HostFunction = Callable[..., int | None]

GAS_VISIBLE_MAX: Final = (1 << 63) - 1
"""Contracts count gas in an i64. Of a larger limit the rest is kept by the host; nothing lives to spend it."""


class Active(threading.local):
    """What this thread runs.

    `session` is the first argument of host functions. `pending` is what a host function raised, until the call that it
    ends has returned. `making` are the memories that the instance being made wants, the first one last.
    """

    session: Any = None
    pending: BaseException | None = None

    def __init__(self) -> None:
        self.making: list[Any] = []


active = Active()

_functions: dict[str, HostFunction] = {}
_version = 0


def install(functions: Mapping[str, HostFunction]) -> None:
    """Sets what the imports do, for every contract of the process.

    Raises:
        ValueError: an import is missing, or is none.
    """
    global _version
    if set(functions) != set(HOST_FUNCTIONS[False]):
        raise ValueError(f"imports differ: {sorted(set(functions) ^ set(HOST_FUNCTIONS[False]))}")
    _functions.update(functions)
    _version += 1


def installed() -> tuple[int, Mapping[str, HostFunction]]:
    """The table and a number that changes with it."""
    if not _functions:
        raise RuntimeError("no host functions are installed")
    return _version, _functions


@contextmanager
def running(session: object) -> Iterator[None]:
    """Host functions that this thread's contracts call get `session`, inside the block."""
    outer, active.session = active.session, session
    try:
        yield
    finally:
        active.session = outer
