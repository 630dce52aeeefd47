"""The ids of things: 32 bytes each, a type for each kind of thing.

An id is its bytes: it hashes, compares and concatenates as they do. Hexadecimal text is for the edges, where ids meet
people: `CommitId.from_hex(text)`, `id.hex()`, `id.short()`.
"""

from __future__ import annotations

import struct
from typing import ClassVar, Self

from piecrust.objects.errors import InvalidFormat

ID_BYTES = 32
ZERO = bytes(ID_BYTES)

_EIGHT_U32 = struct.Struct("<8I")


class Hash(bytes):
    """Exactly 32 bytes, by default the address of any object."""

    __slots__ = ()

    what: ClassVar[str] = "hash"

    def __new__(cls, value: bytes) -> Self:
        """The id made of these bytes; `InvalidFormat` unless they are 32."""
        if len(value) != ID_BYTES:
            raise InvalidFormat(cls.what, f"{len(value)} bytes instead of {ID_BYTES}")
        return super().__new__(cls, value)

    @classmethod
    def from_hex(cls, text: str) -> Self:
        """The id with these 64 hexadecimal digits."""
        try:
            value = bytes.fromhex(text)
        except ValueError:
            value = b""
        if len(text) != 2 * ID_BYTES or len(value) != ID_BYTES:
            raise InvalidFormat(cls.what, f"{text!r} is not {2 * ID_BYTES} hexadecimal digits")
        return cls(value)

    def short(self) -> str:
        """The first 12 hexadecimal digits, for people."""
        return self.hex()[:12]

    def __str__(self) -> str:
        return self.hex()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.hex()})"


class CommitId(Hash):
    """Names a commit: a state, its history and what led to it."""

    __slots__ = ()
    what = "commit id"


class StateRoot(Hash):
    """The Merkle root over the memories of all contracts; equal to the original's."""

    __slots__ = ()
    what = "state root"


class ContractId(Hash):
    """Names a contract; by default the blake3 hash of its bytecode."""

    __slots__ = ()
    what = "contract id"

    @property
    def position_key(self) -> int:
        """The u32 that this id folds to: the wrapping sum of its eight little-endian u32.

        No two contracts of a state share it. The leaf's place in the state tree is something else (a count).
        """
        words: tuple[int, ...] = _EIGHT_U32.unpack(self)
        return sum(words) & 0xFFFFFFFF


class PageHash(Hash):
    """The blake3 hash of a page's 64 KiB."""

    __slots__ = ()
    what = "page hash"


class BytecodeHash(Hash):
    """The blake3 hash of a contract's WebAssembly."""

    __slots__ = ()
    what = "bytecode hash"


class NodeHash(Hash):
    """The Merkle hash at the top of a tree or a part of one; `ZERO` for the empty tree."""

    __slots__ = ()
    what = "node hash"


class Address(Hash):
    """The address of any object, together with its kind."""

    __slots__ = ()
    what = "address"
