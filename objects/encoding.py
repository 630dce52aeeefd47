"""Canonical CBOR: one byte string for each value, and nothing else is read.

Objects are arrays of unsigned integers, byte strings, texts, nulls, booleans and arrays, with the version of their
format first; maps have text keys. Reading is strict: no tags, no indefinite lengths, no trailing bytes, bounded
nesting, and the bytes must be those that the value encodes to.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NoReturn

import cbor2
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import ID_BYTES

DEPTH_MAX: Final = 64
U64_MAX: Final = (1 << 64) - 1

# The tags that cbor2 would make objects of (dates, regular expressions, shared references, ...).
_KNOWN_TAGS = (0, 1, 2, 3, 4, 5, 25, 28, 29, 30, 35, 36, 37, 43, 54, 52, 100, 256, 258, 260, 261, 1004, 43000, 55799)


def encode(value: object) -> bytes:
    """The canonical encoding of a value made of the types above."""
    return cbor2.dumps(value, canonical=True)


def decode(what: str, body: bytes) -> Any:
    """The value of a canonical encoding, with tuples for arrays.

    Raises:
        InvalidFormat: `body` is no canonical encoding; `what` names it in the error.
    """
    try:
        value = cbor2.loads(
            body,
            max_depth=DEPTH_MAX,
            allow_indefinite=False,
            allow_duplicate_keys=False,
            strict_hashable_types=True,
            immutable=True,
            tag_hook=_refuse,
            semantic_decoders=_REFUSED,
        )
        canonical = encode(value) == body
    except (cbor2.CBORError, ValueError, TypeError, RecursionError, OverflowError) as error:
        raise InvalidFormat(what, f"no valid CBOR ({error})") from error
    if not canonical:
        raise InvalidFormat(what, "not the canonical encoding of its value")
    return value


def _refuse(*_: object) -> NoReturn:
    raise ValueError("a tag")


_REFUSED: Final = dict.fromkeys(_KNOWN_TAGS, _refuse)


class Fields:
    """Takes the fields of a decoded array in order, each checked for its type and bounds.

    Every method raises `InvalidFormat` when the next field is missing or isn't what it asks for.
    """

    __slots__ = ("_at", "_items", "_what")

    def __init__(self, what: str, value: object) -> None:
        self._what = what
        if not isinstance(value, tuple):
            self._fail("no array")
        self._items: Sequence[object] = value
        self._at = 0

    def version(self, known: int) -> None:
        """The first field: the version of the format, which must be the known one."""
        found = self.take()
        if found != known or type(found) is not int:
            self._fail(f"version {found!r}")

    def take(self) -> object:
        """The next field, whatever it is."""
        if self._at >= len(self._items):
            self._fail("too few fields")
        self._at += 1
        return self._items[self._at - 1]

    def uint(self, maximum: int = U64_MAX) -> int:
        """An unsigned integer."""
        value = self.take()
        if type(value) is not int or not 0 <= value <= maximum:
            self._fail(f"field {self._at} is no integer up to {maximum}")
        return value

    def flag(self) -> bool:
        """True or false."""
        value = self.take()
        if not isinstance(value, bool):
            self._fail(f"field {self._at} is no boolean")
        return value

    def data(self, length_max: int) -> bytes:
        """A byte string."""
        value = self.take()
        if not isinstance(value, bytes) or len(value) > length_max:
            self._fail(f"field {self._at} is no byte string of up to {length_max}")
        return value

    def text(self, length_max: int) -> str:
        """A text of so many UTF-8 bytes at most."""
        value = self.take()
        if not isinstance(value, str) or len(value.encode()) > length_max:
            self._fail(f"field {self._at} is no text of up to {length_max} bytes")
        return value

    def hash(self) -> bytes:
        """32 bytes."""
        value = self.take()
        if not isinstance(value, bytes) or len(value) != ID_BYTES:
            self._fail(f"field {self._at} is no hash")
        return value

    def hash_or_none(self) -> bytes | None:
        """32 bytes, or null."""
        value = self.take()
        if value is None:
            return None
        self._at -= 1
        return self.hash()

    def array(self, length_max: int) -> tuple[object, ...]:
        """An array of anything."""
        value = self.take()
        if not isinstance(value, tuple) or len(value) > length_max:
            self._fail(f"field {self._at} is no array of up to {length_max}")
        return value

    def hashes(self, count_max: int) -> tuple[bytes, ...]:
        """An array of hashes."""
        hashes = self.array(count_max)
        nested = Fields(self._what, hashes)
        return tuple([nested.hash() for _ in hashes])

    def end(self) -> None:
        """No field is left."""
        if self._at != len(self._items):
            self._fail("too many fields")

    def _fail(self, reason: str) -> NoReturn:
        raise InvalidFormat(self._what, reason)
