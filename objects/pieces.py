"""Long byte strings and long lists, cut into blobs, so that no object is large and equal parts are kept once.

- A byte string of up to 256 bytes stands where it is used. A longer one is an array: its length, then the addresses of
  its pieces of 256 KiB.
- A list stands where it is used while its encoding is short. Whenever the encodings of its items reach 16 KiB, these
  items become one blob (an array of them), and the list begins with that blob's address: addresses first, then the
  items that are left. A list that grows keeps the blobs that it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from blake3 import blake3
from piecrust.objects import encoding
from piecrust.objects.access import ObjectReader, ObjectWriter
from piecrust.objects.encoding import Fields
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import ID_BYTES
from piecrust.objects.kinds import Kind

INLINE_BYTES_MAX: Final = 256
PIECE_BYTES: Final = 1 << 18
CHUNK_BYTES: Final = 1 << 14
LONG_BYTES_MAX: Final = 1 << 32


def put_bytes(writer: ObjectWriter, data: bytes) -> object:
    """The field for a byte string; stages its pieces if it is long.

    Raises:
        InvalidFormat: it is longer than 4 GiB.
    """
    if len(data) <= INLINE_BYTES_MAX:
        return data
    if len(data) > LONG_BYTES_MAX:
        raise InvalidFormat("byte string", f"{len(data)} bytes")
    pieces = [_put_blob(writer, data[at : at + PIECE_BYTES]) for at in range(0, len(data), PIECE_BYTES)]
    return (len(data), *pieces)


def get_bytes(reader: ObjectReader, what: str, field: object) -> bytes:
    """The byte string of a field."""
    if isinstance(field, bytes):
        if len(field) > INLINE_BYTES_MAX:
            raise InvalidFormat(what, f"a byte string of {len(field)} stands inline")
        return field
    fields = Fields(what, field)
    length = fields.uint(LONG_BYTES_MAX)
    if length <= INLINE_BYTES_MAX:
        raise InvalidFormat(what, f"a byte string of {length} is cut")
    sizes = [min(PIECE_BYTES, length - at) for at in range(0, length, PIECE_BYTES)]
    pieces: list[bytes] = []
    for size in sizes:
        piece: bytes = reader.load(Kind.BLOB, fields.hash())
        if len(piece) != size:
            raise InvalidFormat(what, f"a piece of {len(piece)} bytes instead of {size}")
        pieces.append(piece)
    fields.end()
    return b"".join(pieces)


def put_list(writer: ObjectWriter, items: Iterable[object]) -> tuple[object, ...]:
    """The field for a list of arrays; stages blobs if it is long."""
    chunks: list[bytes] = []
    rest: list[object] = []
    size = 0
    for item in items:
        rest.append(item)
        size += len(encoding.encode(item))
        if size >= CHUNK_BYTES:
            chunks.append(_put_blob(writer, encoding.encode(rest)))
            rest, size = [], 0
    return (*chunks, *rest)


def get_list(reader: ObjectReader, what: str, field: object) -> Iterator[tuple[object, ...]]:
    """The items of a list, blob by blob."""
    if not isinstance(field, tuple):
        raise InvalidFormat(what, "no array")
    inline = False
    for item in field:
        if isinstance(item, tuple):
            inline = True
            yield item
        elif isinstance(item, bytes) and len(item) == ID_BYTES and not inline:
            yield from _chunk(reader, what, item)
        else:
            raise InvalidFormat(what, "a list of neither arrays nor addresses before them")


def _chunk(reader: ObjectReader, what: str, address: bytes) -> Iterator[tuple[object, ...]]:
    items = encoding.decode(what, reader.load(Kind.BLOB, address))
    if not isinstance(items, tuple):
        raise InvalidFormat(what, "a part of a list is no array")
    for item in items:
        if not isinstance(item, tuple):
            raise InvalidFormat(what, "a part of a list holds no arrays")
        yield item


def _put_blob(writer: ObjectWriter, body: bytes) -> bytes:
    address = blake3(body).digest()
    writer.put(Kind.BLOB, address, body)
    return address
