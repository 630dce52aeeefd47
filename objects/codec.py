"""How values of each kind become bodies and come back, verified.

A *body* is the plain form of an object, never compressed; a *patch* makes a body of another one's. Bodies and patches
are hostile until `decode` has returned.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from blake3 import blake3
from piecrust.objects.commit import Commit, commit_id
from piecrust.objects.errors import CorruptObject
from piecrust.objects.kinds import BODY_BYTES_MAX, RECORD_HASH, TRANSCRIPT_HASH, Kind
from piecrust.objects.node import Node, patched_body
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.patch import apply_patch, make_patch
from piecrust.objects.record import ContractRecord

Load = Callable[[], Any]


class Codec(NamedTuple):
    """The operations of one kind.

    - `encode(value)` gives the body.
    - `decode(address, body)` gives the value, or raises `CorruptObject` if this isn't the body of that address.
    - `delta(value, hint, base)` gives a patch against the value that `base()` returns, None if the body has to be kept
      whole. Hints are the masks of `ObjectWriter.put`; over several versions they are joined with `|`, None standing
      for everything. `base` is only called if its value is needed.
    - `patched(base body, patch)` gives the body, still to be decoded, or raises `InvalidFormat`.
    """

    encode: Callable[[Any], bytes]
    decode: Callable[[bytes, bytes], Any]
    delta: Callable[[Any, int | None, Load], bytes | None]
    patched: Callable[[bytes, bytes], bytes]


def _itself(value: bytes) -> bytes:
    return value


def _blake3(body: bytes) -> bytes:
    return blake3(body).digest()


def _verified(kind: Kind, address_of: Callable[[bytes], bytes]) -> Callable[[bytes, bytes], bytes]:
    """A decoder of kinds whose value is the body."""

    def decode(address: bytes, body: bytes) -> bytes:
        if len(body) > BODY_BYTES_MAX[kind] or (kind is Kind.PAGE and len(body) != PAGE_BYTES):
            raise CorruptObject(kind, address, f"{len(body)} bytes")
        if address_of(body) != address:
            raise CorruptObject(kind, address, "its hash differs")
        return body

    return decode


def _whole(_value: Any, _hint: int | None, _base: Load) -> None:
    """The delta of kinds that have none."""


def _page_delta(value: bytes, hint: int | None, base: Load) -> bytes | None:
    return make_patch(base(), value, hint, PAGE_BYTES // 8)


def _record_delta(value: ContractRecord, _hint: int | None, base: Load) -> bytes | None:
    return make_patch(base().encode(), value.encode())


def _node_delta(value: Node, hint: int | None, base: Load) -> bytes | None:
    if hint is not None:
        return value.delta([i for i in range(hint.bit_length()) if hint >> i & 1])
    old: Node = base()
    if not value.fits(old):
        return None
    return value.delta([i for i, child in value.children.items() if old.children.get(i) != child])


CODECS: Final[dict[Kind, Codec]] = {
    Kind.PAGE: Codec(_itself, _verified(Kind.PAGE, _blake3), _page_delta, apply_patch),
    Kind.NODE: Codec(Node.encode, Node.decode, _node_delta, patched_body),
    Kind.BYTECODE: Codec(_itself, _verified(Kind.BYTECODE, _blake3), _whole, apply_patch),
    Kind.RECORD: Codec(ContractRecord.encode, ContractRecord.decode, _record_delta, apply_patch),
    Kind.TRANSCRIPT: Codec(_itself, _verified(Kind.TRANSCRIPT, TRANSCRIPT_HASH), _whole, apply_patch),
    Kind.COMMIT: Codec(Commit.encode, Commit.decode, _whole, apply_patch),
    Kind.BLOB: Codec(_itself, _verified(Kind.BLOB, _blake3), _whole, apply_patch),
}


def address_of(kind: Kind, body: bytes) -> bytes:
    """The address that an object with this body has; `InvalidFormat` if no object of the kind has such a body."""
    match kind:
        case Kind.NODE:
            return Node.parse(body).top
        case Kind.RECORD:
            return RECORD_HASH(body)
        case Kind.TRANSCRIPT:
            return TRANSCRIPT_HASH(body)
        case Kind.COMMIT:
            return commit_id(Commit.parse(body))
        case _:
            return blake3(body).digest()
