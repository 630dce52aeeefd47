"""The encoding of proofs: the part of CBOR that they use, read without recursion, and checks of what was read.

Nothing here trusts its input: a length is compared with what is left before anything is made of it, and the number of
items and their nesting have bounds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final, Generic, NoReturn, TypeVar

from piecrust.objects.errors import InvalidProof

PROOF_BYTES_MAX: Final = 1 << 27
ITEMS_MAX: Final = 1 << 20
NESTING_MAX: Final = 12
U64_MAX: Final = (1 << 64) - 1

T = TypeVar("T")

_SIMPLE = {20: False, 21: True, 22: None}
_HEADS = {24: 1, 25: 2, 26: 4, 27: 8}


def decode(proof: bytes | bytearray | memoryview) -> object:
    """The value of a canonical encoding: integers, bytes, texts, None, booleans, tuples, and dicts with text keys."""
    if memoryview(proof).nbytes > PROOF_BYTES_MAX:
        fail("too long")
    data = bytes(proof)
    value = _decode(data)
    if encode(value) != data:
        fail("not the canonical encoding of its content")
    return value


def _decode(proof: bytes) -> object:
    at, size, items = 0, len(proof), 0
    open_arrays: list[tuple[list[object], int, bool]] = []  # what was read of each, its length, whether it is a map
    while True:
        items += 1
        if at >= size or items > ITEMS_MAX:
            fail("it ends too early, or has too many items")
        major, number = proof[at] >> 5, proof[at] & 31
        at += 1
        if number in _HEADS and major != 7:
            end = at + _HEADS[number]
            number, at = int.from_bytes(proof[at:end], "big"), end
        elif number > 23 or (major == 7 and number not in _SIMPLE):
            fail("an item of no known kind")
        if major in (2, 3, 4, 5) and number > size - at:
            fail("it ends too early")
        value: object
        if major == 0:
            value = number
        elif major in (2, 3):
            value, at = proof[at : at + number], at + number
            if major == 3:
                value = _text(proof[at - number : at])
        elif major in (4, 5):
            if number:
                if len(open_arrays) >= NESTING_MAX:
                    fail("nested too deeply")
                open_arrays.append(([], number * (major - 3), major == 5))
                continue
            value = {} if major == 5 else ()
        elif major == 7:
            value = _SIMPLE[number]
        else:
            fail("an item of no known kind")
        while open_arrays:
            inside, length, is_map = open_arrays[-1]
            inside.append(value)
            if len(inside) < length:
                break
            open_arrays.pop()
            value = _map(inside) if is_map else tuple(inside)
        else:
            if at != size:
                fail("something follows its end")
            return value


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        fail("a text is not UTF-8")


def _map(inside: list[object]) -> dict[str, object]:
    made = {key: value for key, value in zip(inside[::2], inside[1::2], strict=True) if isinstance(key, str)}
    if 2 * len(made) != len(inside):
        fail("a key twice, or one that is no text")
    return made


def encode(value: object) -> bytes:
    """The canonical encoding; of nothing deeper than `decode` gives."""
    if value is None or isinstance(value, bool):
        return b"\xf6" if value is None else b"\xf5" if value else b"\xf4"
    if isinstance(value, int):
        return _head(0, value)
    if isinstance(value, bytes):
        return _head(2, len(value)) + value
    if isinstance(value, str):
        data = value.encode()
        return _head(3, len(data)) + data
    if isinstance(value, tuple | list):
        return _head(4, len(value)) + b"".join([encode(item) for item in value])
    assert isinstance(value, dict)
    pairs = sorted([(encode(key), encode(item)) for key, item in value.items()], key=lambda p: (len(p[0]), p[0]))
    return _head(5, len(value)) + b"".join([part for pair in pairs for part in pair])


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    for code, length in _HEADS.items():
        if number < 1 << 8 * length:
            return bytes([major << 5 | code]) + number.to_bytes(length, "big")
    raise ValueError(f"{number} is over 64 bits")


def fail(reason: str) -> NoReturn:
    """`InvalidProof`, as an expression."""
    raise InvalidProof(reason)


def an_array(value: object, length: int | None = None) -> tuple[object, ...]:
    """The value, if it is an array (of that length)."""
    if not isinstance(value, tuple) or length not in (None, len(value)):
        fail(f"no array{'' if length is None else f' of {length}'}")
    return value


def some_bytes(value: object, length: int | None = None, length_max: int = PROOF_BYTES_MAX) -> bytes:
    """The value, if it is a byte string (of that length)."""
    if not isinstance(value, bytes) or length not in (None, len(value)) or len(value) > length_max:
        fail(f"no byte string{'' if length is None else f' of {length}'}")
    return value


def an_integer(value: object, maximum: int) -> int:
    """The value, if it is an unsigned integer up to that."""
    if type(value) is not int or value > maximum:
        fail(f"no integer up to {maximum}")
    return value


class Entries(Generic[T]):
    """Things that belong to the opened leaves of a tree, one each, in order."""

    def __init__(self, entries: Sequence[T], what: str) -> None:
        self._entries, self._what, self._taken = entries, what, 0

    def take(self) -> T:
        """The next one; fails if there is none."""
        if self._taken == len(self._entries):
            fail(f"a {self._what} is missing")
        self._taken += 1
        return self._entries[self._taken - 1]

    def end(self) -> None:
        """Fails unless all were taken."""
        if self._taken != len(self._entries):
            fail(f"a {self._what} without a place")


def is_number(value: object, *numbers: int) -> bool:
    """Whether it is one of these integers; True and False are none."""
    return type(value) is int and value in numbers


def rising(values: Sequence[Any]) -> None:
    """Fails unless each value is greater than the one before it."""
    if any(a >= b for a, b in pairwise(values)):
        fail("a list out of order")
