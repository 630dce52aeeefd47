"""Bundles: a commit in one file, with or without its history; `docs/bundle.md` draws every byte.

A bundle is a magic and a sequence of items, each a type, a length and a body. The same commit gives the same bytes on
every machine: states are told by what differs from the first parent's, leaf by leaf, in the order of the trees, so
neither how a store cuts its trees into nodes nor how it encodes pages is seen. Nothing is compressed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import BinaryIO, Final, NamedTuple, Protocol

from blake3 import blake3
from piecrust.objects import encoding
from piecrust.objects.encoding import Fields
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import BODY_BYTES_MAX, Kind
from piecrust.objects.page import PAGE_BYTES, ZERO_PAGE

MAGIC: Final = b"piecrust bundle\n"
VERSION: Final = 1
WHAT: Final = "bundle"
HEADER_BYTES_MAX: Final = 1 << 24
PROOF_BYTES_MAX: Final = 1 << 26
PATCH_BYTES_MAX: Final = PAGE_BYTES // 8
BLOCK_BYTES: Final = 256

_ITEM = struct.Struct("<BI")
_PAGE = struct.Struct("<I32sB")
_BLOCKS: Final = PAGE_BYTES // BLOCK_BYTES
_MASK_BYTES: Final = _BLOCKS // 8
_ZERO_BLOCK: Final = bytes(BLOCK_BYTES)


class Content(IntEnum):
    """What a bundle holds."""

    HISTORY = 0  # every commit up to its tip, or since others
    STATE = 1  # the state of one commit; of its ancestors the commits alone
    CONTRACTS = 2  # some contracts of one commit, proven to be its


class ItemType(IntEnum):
    """What an item is."""

    HEADER = 1
    COMMIT = 2
    ANCESTOR = 3
    PROOF = 4
    CONTRACT = 5
    GONE = 6
    PAGE = 7
    GONE_PAGE = 8
    BYTECODE = 9
    TRANSCRIPT = 10
    BLOB = 11
    END = 12


class PageForm(IntEnum):
    """How a page stands in its item."""

    KNOWN = 0  # not at all: it came before, or is the zero page
    SPARSE = 1  # the blocks that are not zero
    PATCH = 2  # what differs from the page that the first parent has in its place


OBJECT_ITEMS: Final = {
    ItemType.COMMIT: Kind.COMMIT,
    ItemType.ANCESTOR: Kind.COMMIT,
    ItemType.BYTECODE: Kind.BYTECODE,
    ItemType.TRANSCRIPT: Kind.TRANSCRIPT,
    ItemType.BLOB: Kind.BLOB,
}
"""Items whose body is an address and the object's body."""

_BYTES_MAX: Final = {
    ItemType.HEADER: HEADER_BYTES_MAX,
    ItemType.PROOF: PROOF_BYTES_MAX,
    ItemType.CONTRACT: BODY_BYTES_MAX[Kind.RECORD],
    ItemType.GONE: 32,
    ItemType.PAGE: _PAGE.size + _MASK_BYTES + PAGE_BYTES,
    ItemType.GONE_PAGE: 4,
    ItemType.END: 32,
    **{item: 32 + BODY_BYTES_MAX[kind] for item, kind in OBJECT_ITEMS.items()},
}


@dataclass(frozen=True, slots=True)
class Header:
    """What a bundle says of itself first.

    `prerequisites` are the commits that a history builds on and does not hold; `contracts` those that were chosen.
    """

    content: Content
    tip: CommitId
    prerequisites: tuple[CommitId, ...] = ()
    contracts: tuple[ContractId, ...] = ()

    def encode(self) -> bytes:
        """The body of its item."""
        ids = ([bytes(i) for i in ids] for ids in (self.prerequisites, self.contracts))
        return encoding.encode((VERSION, int(self.content), bytes(self.tip), *ids))

    @classmethod
    def decode(cls, body: bytes) -> Header:
        """The header in a body; `InvalidFormat` if it is none."""
        fields = Fields(WHAT, encoding.decode(WHAT, body))
        fields.version(VERSION)
        content, tip = Content(fields.uint(max(Content))), CommitId(fields.hash())
        prerequisites, contracts = fields.hashes(HEADER_BYTES_MAX), fields.hashes(HEADER_BYTES_MAX)
        fields.end()
        for ids, belongs in ((prerequisites, Content.HISTORY), (contracts, Content.CONTRACTS)):
            if list(ids) != sorted(set(ids)) or (ids and content is not belongs):
                raise InvalidFormat(WHAT, "ids in the header are out of order, or of another content")
        if content is Content.CONTRACTS and not contracts:
            raise InvalidFormat(WHAT, "contracts without any")
        return cls(content, tip, tuple(map(CommitId, prerequisites)), tuple(map(ContractId, contracts)))


class Item(NamedTuple):
    """One item; `offset` is where it begins in the file."""

    offset: int
    type: ItemType
    body: bytes


class Output(Protocol):
    """What a bundle is written to."""

    def write(self, data: bytes, /) -> int:
        """Write all of it."""


class ItemWriter:
    """Writes items to a stream, and at the end the hash of all that was written."""

    def __init__(self, stream: Output) -> None:
        self._stream = stream
        self._hasher = blake3()
        self.bytes_written = 0
        self._put(MAGIC)

    def write(self, item: ItemType, *parts: bytes) -> None:
        """One item, its body in parts."""
        body = b"".join(parts)
        self._put(_ITEM.pack(item, len(body)))
        self._put(body)

    def end(self) -> None:
        """The last item."""
        self.write(ItemType.END, self._hasher.digest())

    def _put(self, data: bytes) -> None:
        self._hasher.update(data)
        self._stream.write(data)
        self.bytes_written += len(data)


def read_items(stream: BinaryIO) -> Iterator[Item]:
    """The items of a bundle up to its end, which is checked.

    Raises:
        InvalidFormat: it is cut short, goes on after its end, has an item that can't be, or its hash differs.
    """
    hasher, offset = blake3(), len(MAGIC)
    magic = _read(stream, len(MAGIC), 0)
    if magic != MAGIC:
        raise InvalidFormat(WHAT, "it does not begin like one", 0)
    hasher.update(magic)
    while True:
        head = _read(stream, _ITEM.size, offset)
        number, length = _ITEM.unpack(head)
        if number not in ItemType.__members__.values():
            raise InvalidFormat(WHAT, f"an item of the unknown type {number}", offset)
        item = ItemType(number)
        if length > _BYTES_MAX[item]:
            raise InvalidFormat(WHAT, f"{length} bytes of {item.name.lower()}", offset)
        body = _read(stream, length, offset)
        if item is ItemType.END:
            if body != hasher.digest():
                raise InvalidFormat(WHAT, "the hash at its end differs", offset)
            if stream.read(1):
                raise InvalidFormat(WHAT, "it goes on after its end", offset + _ITEM.size + length)
            return
        hasher.update(head)
        hasher.update(body)
        yield Item(offset, item, body)
        offset += _ITEM.size + length


def page_item(index: int, address: bytes, form: PageForm, content: bytes = b"") -> bytes:
    """The body of a page's item."""
    return _PAGE.pack(index, address, form) + content


def read_page_item(item: Item) -> tuple[int, bytes, PageForm, bytes]:
    """Index, address, form and content of a page's item; `InvalidFormat` if it is none."""
    if len(item.body) < _PAGE.size:
        raise InvalidFormat(WHAT, "a page that is cut short", item.offset)
    index, address, form = _PAGE.unpack_from(item.body)
    if form not in PageForm.__members__.values():
        raise InvalidFormat(WHAT, f"a page of the unknown form {form}", item.offset)
    return index, address, PageForm(form), item.body[_PAGE.size :]


def sparse(page: bytes) -> bytes:
    """A page as a mask of 256-byte blocks (bit n of the little-endian number: block n) and those that are not zero."""
    mask, blocks = 0, []
    for n in range(_BLOCKS):
        block = page[n * BLOCK_BYTES : (n + 1) * BLOCK_BYTES]
        if block != _ZERO_BLOCK:
            mask |= 1 << n
            blocks.append(block)
    return mask.to_bytes(_MASK_BYTES, "little") + b"".join(blocks)


def unsparse(content: bytes, offset: int) -> bytes:
    """The page that `sparse` was given; `offset` is for the error."""
    mask, rest = int.from_bytes(content[:_MASK_BYTES], "little"), content[_MASK_BYTES:]
    if len(content) < _MASK_BYTES or len(rest) != mask.bit_count() * BLOCK_BYTES:
        raise InvalidFormat(WHAT, "a page with too many or too few blocks", offset)
    if len(rest) == PAGE_BYTES:
        return rest
    page, at = bytearray(ZERO_PAGE), 0
    for n in _bits(mask):
        page[n * BLOCK_BYTES : (n + 1) * BLOCK_BYTES] = rest[at : at + BLOCK_BYTES]
        at += BLOCK_BYTES
    return bytes(page)


def _bits(mask: int) -> Iterable[int]:
    return (n for n in range(mask.bit_length()) if mask >> n & 1)


def _read(stream: BinaryIO, length: int, offset: int) -> bytes:
    """So many bytes; streams may give fewer at once."""
    parts, left = [], length
    while left:
        part = stream.read(left)
        if not part:
            raise InvalidFormat(WHAT, "it is cut short", offset)
        parts.append(part)
        left -= len(part)
    return parts[0] if len(parts) == 1 else b"".join(parts)
