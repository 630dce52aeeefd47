"""Frames: what segments and packs are made of.

A frame is a header of 64 bytes, a body and zeros up to a multiple of 8::

    0   8  marker         of the segment, made from its salt
    8   1  type           FrameType
    9   3  zeros
    12  4  body length    bytes
    16  8  sequence       counts the frames of a store
    24  8  synced_to      everything of this segment below this offset was synced when the frame was written
    32 16  previous       the chain hash of the frame before; of the first frame: zeros
    48 16  chain          blake3 keyed by the salt, over header[0:48] and body

A body is a head, compressed as one, and the payloads that are too long for it::

    0   4  head length    as stored
    4   4  head length    decompressed; equal to the stored one: the head is not compressed
    8   …  head           table of objects, meta, short payloads
    …   …  long payloads, in the order of the table

    head:  u32 count, u32 meta length, count entries of 40 bytes, meta, short payloads in the order of the table
    entry: u8 kind, u8 encoding, u8 flags, u8 zero, u32 payload length, 32 bytes address

All numbers are little-endian. Compressing the head as one takes out what repeats: the address of an object stands in
the table and again in the body of the object above it, and a small commit shrinks to less than half.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from blake3 import blake3
from piecrust.objects.compression import compress, decompress
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.kinds import BODY_BYTES_MAX, Kind

SALT_BYTES: Final = 32
CHAIN_BYTES: Final = 16
HEADER_BYTES: Final = 64
ALIGNMENT: Final = 8
INLINE_BYTES_MAX: Final = 1024  # longer payloads stand outside the head, so that reading one object reads little else
HEAD_BYTES_MAX: Final = 1 << 28
NO_CHAIN: Final = bytes(CHAIN_BYTES)

_HEADER = struct.Struct("<8sB3sIQQ16s")
_LENGTHS = struct.Struct("<II")
_ENTRY = struct.Struct("<BBBBI32s")
_FLAGS_AND_LENGTH = struct.Struct("<2xBxI32x")  # of an entry
_HASHED_BYTES: Final = 48


class FrameType(IntEnum):
    """What a frame says; the form of its meta follows from it."""

    CHECKPOINT = 1  # the whole ledger: the first frame of a segment
    TRANSACTION = 2  # objects, and the operations that they came with
    SOURCES = 3  # packs and segments that came or went
    OBJECTS = 4  # objects alone: parts of a large transaction, and what collecting garbage keeps
    HISTORY = 5  # operations alone, kept when their segment was collected


class Encoding(IntEnum):
    """How a payload gives an object's body."""

    RAW = 0
    ZSTD = 1
    DELTA = 2  # 32 bytes address of a base that is not a delta itself, then the patch


class EntryFlags(IntEnum):
    """Bits of a table entry."""

    INLINE = 1  # the payload is in the head
    KEPT = 2  # a commit that stays until it is deleted
    DELETED = 4  # a commit that was deleted and is there for its descendants' sake


_INLINE: Final = int(EntryFlags.INLINE)


class FrameHeader(NamedTuple):
    """The first 64 bytes of a frame."""

    type: FrameType
    body_length: int
    sequence: int
    synced_to: int
    previous: bytes
    chain: bytes

    @property
    def length(self) -> int:
        """Of the whole frame, with the zeros after it."""
        return padded(HEADER_BYTES + self.body_length)


class Entry(NamedTuple):
    """An object as a frame holds it."""

    kind: Kind
    address: bytes
    encoding: Encoding
    payload: bytes
    flags: int = 0  # without INLINE, which follows from the length


class TableRow(NamedTuple):
    """An object's place in a frame; `offset` counts from the start of the head, or of the frame if it is not inline."""

    kind: int
    encoding: int
    flags: int
    length: int
    address: bytes
    offset: int


class Head(NamedTuple):
    """What a frame's body begins with, decompressed."""

    rows: list[TableRow]
    meta: bytes
    data: bytes


def padded(length: int) -> int:
    """`length` rounded up to the alignment of frames."""
    return (length + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT


def marker(salt: bytes) -> bytes:
    """The 8 bytes that begin each frame of the segment with this salt; who doesn't know the salt can't forge them."""
    return blake3(b"frame marker", key=salt).digest(8)


class Body(NamedTuple):
    """The bytes of a frame's body, and where its objects are."""

    data: bytes
    rows: list[TableRow]


def encode_body(entries: Sequence[Entry], meta: bytes) -> Body:
    """The body of a frame with these objects; `InvalidFormat` if it would be too long to be read again."""
    table: list[bytes] = []
    inline: list[bytes] = []
    external: list[bytes] = []
    rows: list[TableRow] = []
    at = 0
    for kind, address, encoding, payload, flags in entries:
        length = len(payload)
        if length <= INLINE_BYTES_MAX:
            flags |= _INLINE
            inline.append(payload)
            rows.append(TableRow(kind, encoding, flags, length, address, 0))
        else:
            external.append(payload)
            rows.append(TableRow(kind, encoding, flags, length, address, at))
            at += length
        table.append(_ENTRY.pack(kind, encoding, flags, 0, length, address))
    head = b"".join([_LENGTHS.pack(len(table), len(meta)), *table, meta, *inline])
    if len(head) > HEAD_BYTES_MAX:
        raise InvalidFormat("frame", f"a head of {len(head)} bytes; at most {HEAD_BYTES_MAX} can be published at once")
    stored = compress(head)
    if len(stored) >= len(head):
        stored = head
    if external:
        first = HEADER_BYTES + _LENGTHS.size + len(stored)
        rows = [row if row.flags & _INLINE else row._replace(offset=first + row.offset) for row in rows]
    return Body(b"".join([_LENGTHS.pack(len(stored), len(head)), stored, *external]), rows)


def seal_frame(
    salt: bytes, mark: bytes, kind: FrameType, sequence: int, synced_to: int, previous: bytes, body: bytes
) -> tuple[bytes, bytes]:
    """The bytes of a frame, and its chain hash."""
    start = _HEADER.pack(mark, kind, b"\0\0\0", len(body), sequence, synced_to, previous)
    hasher = blake3(start, key=salt)
    hasher.update(body)
    chain = hasher.digest(CHAIN_BYTES)
    length = HEADER_BYTES + len(body)
    return b"".join([start, chain, body, bytes(padded(length) - length)]), chain


def read_header(mark: bytes, data: bytes | memoryview, offset: int = 0) -> FrameHeader | None:
    """The header at `offset`, its chain hash not yet checked; None if no frame begins there."""
    if len(data) - offset < HEADER_BYTES:
        return None
    found, kind, zeros, length, sequence, synced_to, previous = _HEADER.unpack_from(data, offset)
    if found != mark or zeros != b"\0\0\0" or not 1 <= kind <= len(FrameType):
        return None
    chain = bytes(data[offset + _HASHED_BYTES : offset + HEADER_BYTES])
    return FrameHeader(FrameType(kind), length, sequence, synced_to, previous, chain)


def frame_is_valid(salt: bytes, header: FrameHeader, data: bytes | memoryview, offset: int = 0) -> bool:
    """Whether the whole frame at `offset` is there and is what its chain hash says."""
    end = offset + HEADER_BYTES + header.body_length
    stop = offset + header.length
    if stop > len(data):
        return False
    hasher = blake3(data[offset : offset + _HASHED_BYTES], key=salt)
    hasher.update(data[offset + HEADER_BYTES : end])
    return hasher.digest(CHAIN_BYTES) == header.chain and not any(data[end:stop])


def head_length(body: bytes | memoryview) -> int:
    """How many bytes of a body the head takes, with its two lengths, by the body's first 8 bytes."""
    stored, _ = _LENGTHS.unpack_from(body)
    return int(stored) + _LENGTHS.size


def head_data(body: bytes | memoryview) -> bytes:
    """The head of a body, decompressed, of which at least the head is given; `InvalidFormat` if it isn't one."""
    if len(body) < _LENGTHS.size:
        raise InvalidFormat("frame", "shorter than its lengths")
    stored, length = _LENGTHS.unpack_from(body)
    if stored > length or length > HEAD_BYTES_MAX or _LENGTHS.size + stored > len(body):
        raise InvalidFormat("frame", "the head is longer than the frame")
    data = bytes(body[_LENGTHS.size : _LENGTHS.size + stored])
    if stored != length:
        data = decompress(data, length)
        if len(data) != length:
            raise InvalidFormat("frame", "the head has another length")
    if length < _LENGTHS.size:
        raise InvalidFormat("frame", "the head is too short")
    count, meta_length = _LENGTHS.unpack_from(data)
    if _LENGTHS.size + count * _ENTRY.size + meta_length > length:
        raise InvalidFormat("frame", "the table is longer than the head")
    return data


def short_payload(head: bytes, kind: int, address: bytes) -> bytes | None:
    """A short payload out of what `head_data` gave, not verified; None if there is none.

    The rest of the head is not taken apart: that of a batch may have thousands of objects.
    """
    count, meta_length = _LENGTHS.unpack_from(head)
    meta_at = _LENGTHS.size + count * _ENTRY.size
    first = _LENGTHS.size + _ENTRY.size - len(address)  # where the address of the first entry is
    found = head.find(address, first, meta_at)
    while found >= 0:
        number, rest = divmod(found - first, _ENTRY.size)
        of_kind, _, flags, _, length, _ = _ENTRY.unpack_from(head, _LENGTHS.size + number * _ENTRY.size)
        if rest == 0 and of_kind == kind and flags & _INLINE:
            before = memoryview(head)[_LENGTHS.size : _LENGTHS.size + number * _ENTRY.size]
            start = meta_at + meta_length
            start += sum([size for flags, size in _FLAGS_AND_LENGTH.iter_unpack(before) if flags & _INLINE])
            return head[start : start + length]
        found = head.find(address, found + 1, meta_at)
    return None


def decode_head(body: bytes | memoryview, body_length: int | None = None) -> Head:
    """The table, the meta and the short payloads of a body of which at least the head is given.

    With `body_length`, that of the whole body, the long payloads are checked to fill it.

    Raises:
        InvalidFormat: lengths, kinds or encodings do not fit; whatever the bytes are, memory stays within limits.
    """
    data = head_data(body)
    external = HEADER_BYTES + head_length(body)
    count, meta_length = _LENGTHS.unpack_from(data)
    meta_at = _LENGTHS.size + count * _ENTRY.size
    inline = meta_at + meta_length
    rows = []
    for kind, encoding, flags, zero, size, address in _ENTRY.iter_unpack(memoryview(data)[_LENGTHS.size : meta_at]):
        if kind not in BODY_BYTES_MAX or encoding > Encoding.DELTA or flags > 7 or zero:
            raise InvalidFormat("frame", f"unknown kind {kind}, encoding {encoding} or flags {flags}")
        if flags & EntryFlags.INLINE:
            rows.append(TableRow(kind, encoding, flags, size, address, inline))
            inline += size
        else:
            rows.append(TableRow(kind, encoding, flags, size, address, external))
            external += size
    if inline != len(data) or (body_length is not None and external != HEADER_BYTES + body_length):
        raise InvalidFormat("frame", "the payloads do not fill the frame")
    return Head(rows, data[meta_at : meta_at + meta_length], data)
