"""The kinds of objects that a store keeps, and how an address comes from a body.

| kind | address | body |
|---|---|---|
| page, bytecode, blob | `blake3(body)` | the bytes themselves |
| node | the Merkle hash at its top | `piecrust.objects.tree` |
| record, transcript | keyed blake3 of the body | canonical CBOR |
| commit | keyed blake3 of its link | canonical CBOR, `piecrust.objects.commit` |

An object is known by (kind, address): the same 32 bytes may name objects of different kinds. Keyed hashes use blake3's
key derivation with one context for each use, so that no body can pass for one of another kind.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

from blake3 import blake3
from piecrust.objects.page import PAGE_BYTES


class Kind(IntEnum):
    """What an object is. The numbers are part of the store's format."""

    PAGE = 1
    NODE = 2
    BYTECODE = 3
    RECORD = 4
    TRANSCRIPT = 5
    COMMIT = 6
    BLOB = 7


# The largest body of each kind, in bytes. A reader allocates no more, whatever a length field says.
BODY_BYTES_MAX: Final[dict[Kind, int]] = {
    Kind.PAGE: PAGE_BYTES,
    Kind.NODE: 1 << 14,
    Kind.BYTECODE: 1 << 25,
    Kind.RECORD: 1 << 17,
    Kind.TRANSCRIPT: 1 << 22,
    Kind.COMMIT: 1 << 18,
    Kind.BLOB: 1 << 20,
}


class KeyedHash:
    """blake3 keyed by a context: `RECORD_HASH(body)` can equal no other hasher's result."""

    __slots__ = ("_hasher", "context")

    def __init__(self, context: str) -> None:
        self.context = context
        self._hasher = blake3(derive_key_context=context)

    def __call__(self, data: bytes) -> bytes:
        """The 32 bytes for `data`."""
        hasher = self._hasher.copy()
        hasher.update(data)
        return hasher.digest()


RECORD_HASH = KeyedHash("piecrust 2026 record")
TRANSCRIPT_HASH = KeyedHash("piecrust 2026 transcript")
COMMIT_HASH = KeyedHash("piecrust 2026 commit")
CONTENT_HASH = KeyedHash("piecrust 2026 commit content")
