"""Host queries: what contracts may ask the host.

A query is a callable that takes the argument's bytes and gives the answer's, free of charge, or an object with two
methods: `price(argument) -> gas`, asked and charged first, and `execute(argument) -> answer`. Answers are recorded with
every commit, so that it can be replayed without the query.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from piecrust.vm.errors import InvalidHostQuery
from piecrust.vm.limits import ARGUMENT_BYTES_MAX, GAS_LIMIT_MAX

Execute = Callable[[bytes], bytes]
Price = Callable[[bytes], int]


@runtime_checkable
class HostQuery(Protocol):
    """A query with a price of its own."""

    def price(self, argument: bytes, /) -> int:
        """Gas that answering `argument` costs; charged before `execute`."""
        ...

    def execute(self, argument: bytes, /) -> bytes:
        """The answer, at most 64 KiB."""
        ...


@dataclass(frozen=True, slots=True)
class RegisteredQuery:
    """A host query as sessions use it; `price` is None where it costs nothing."""

    price: Price | None
    execute: Execute


class HostQueryFailure(Exception):
    """A query raised, or gave something that is no answer; the reason is `__cause__`."""


def register(name: str, query: HostQuery | Execute) -> RegisteredQuery:
    """What to keep of a query that a user registers.

    Raises:
        InvalidHostQuery: It is neither a callable nor has `price` and `execute`, or its name begins with a NUL.
    """
    if name.startswith("\0"):
        raise InvalidHostQuery(name, "transcripts use such names for other things")
    if isinstance(query, HostQuery):
        return RegisteredQuery(query.price, query.execute)
    if callable(query):
        return RegisteredQuery(None, query)
    raise InvalidHostQuery(name, "neither a callable nor an object with price and execute")


def price(price: Price, argument: bytes) -> int:
    """What a query asks for `argument`.

    Raises:
        HostQueryFailure: The query raised, or its price is not an amount of gas.
    """
    try:
        asked = price(argument)
    except Exception as error:
        raise HostQueryFailure from error
    if not isinstance(asked, int) or not 0 <= asked <= GAS_LIMIT_MAX:
        raise HostQueryFailure from TypeError(f"a price is a whole number from 0 to 2**64 - 1, not {asked!r}")
    return asked


def execute(query: RegisteredQuery, argument: bytes) -> bytes:
    """The query's answer.

    Raises:
        HostQueryFailure: The query raised, or its answer is not bytes that fit in the argument buffer.
    """
    try:
        answer = query.execute(argument)
        if type(answer) is not bytes:
            answer = bytes(memoryview(answer))
    except Exception as error:
        raise HostQueryFailure from error
    if len(answer) > ARGUMENT_BYTES_MAX:
        raise HostQueryFailure from ValueError(f"an answer of {len(answer)} bytes, {ARGUMENT_BYTES_MAX} fit")
    return answer
