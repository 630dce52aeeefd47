"""Reading objects: from a place in a segment or pack to a verified value, through a cache of decoded ones."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, Final

from piecrust.objects.cache import GenerationCache
from piecrust.objects.catalog import Catalog, Location
from piecrust.objects.codec import CODECS, address_of
from piecrust.objects.compression import decompress
from piecrust.objects.errors import CorruptObject, InvalidFormat, ObjectNotFound
from piecrust.objects.frame import (
    HEADER_BYTES,
    Encoding,
    EntryFlags,
    decode_head,
    head_data,
    head_length,
    short_payload,
)
from piecrust.objects.ids import ID_BYTES
from piecrust.objects.kinds import BODY_BYTES_MAX, Kind
from piecrust.objects.page import ZERO_PAGE, ZERO_PAGE_HASH
from piecrust.objects.table import KEY_BYTES

_HEADS_MAX: Final = 512
_HEAD_GUESS_BYTES: Final = 4096  # most heads are shorter: one read gets them
BASES_MAX: Final = 4  # a delta's base is whole; after a repair it may be a delta again, but never for long


class Reader:
    """Loads objects that a catalog knows. For any number of threads."""

    def __init__(self, catalog: Catalog, cache_bytes: int) -> None:
        self.catalog = catalog
        self.partial = False  # whether a remote has what is missing here
        self.cache = GenerationCache(cache_bytes)
        self._heads: dict[tuple[bytes, int], bytes] = {}

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded object, verified against its address.

        Raises:
            ObjectNotFound: the store doesn't have it.
            CorruptObject: what the store has under this address is something else.
        """
        value = self.cache.get(kind, address)
        if value is None:
            if kind is Kind.PAGE and address == ZERO_PAGE_HASH:
                return ZERO_PAGE
            value = CODECS[kind].decode(address, self.body(kind, address))
            self.cache.put(kind, address, value)
        return value

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether the store has the object; it may still turn out corrupt."""
        return self.catalog.locate(kind, address) is not None or (kind is Kind.PAGE and address == ZERO_PAGE_HASH)

    def body(self, kind: Kind, address: bytes, *, bases: int = BASES_MAX) -> bytes:
        """The plain bytes of an object, decompressed and patched, but not verified.

        Raises:
            ObjectNotFound, CorruptObject: as `load`.
        """
        location = self.catalog.locate(kind, address) or self.catalog.locate_retired(kind, address)
        if location is None:
            if kind is Kind.PAGE and address == ZERO_PAGE_HASH:
                return ZERO_PAGE
            raise ObjectNotFound(kind, address)
        payload = self.payload(kind, address, location)
        try:
            return self._body(kind, location, payload, bases=bases)
        except InvalidFormat as error:
            raise CorruptObject(kind, address, error.reason) from error
        except ObjectNotFound as error:
            raise CorruptObject(kind, address, "the base of its delta is missing") from error

    def find(self, kind: Kind, prefix: str) -> list[bytes]:
        """The addresses that begin with these hexadecimal digits, in order."""
        low, high = (int(prefix.ljust(2 * KEY_BYTES, digit)[: 2 * KEY_BYTES], 16) for digit in "0f")
        found = {*self.catalog.fresh[kind].copy()}
        for location in self.catalog.with_prefix(kind, low, high):
            with contextlib.suppress(InvalidFormat, ObjectNotFound, CorruptObject):  # damaged ones can't be named
                found.update(self._addresses(kind, location))
        return sorted(address for address in found if address.hex().startswith(prefix))

    def _body(self, kind: Kind, location: Location, payload: bytes, *, bases: int = BASES_MAX) -> bytes:
        match location.encoding:
            case Encoding.RAW:
                return payload
            case Encoding.ZSTD:
                return decompress(payload, BODY_BYTES_MAX[kind])
            case _ if bases > 0 and len(payload) >= ID_BYTES:
                base = self.body(kind, payload[:ID_BYTES], bases=bases - 1)
                return CODECS[kind].patched(base, payload[ID_BYTES:])
            case _:
                raise InvalidFormat("delta", "no base within reach")

    def payload(self, kind: Kind, address: bytes, location: Location) -> bytes:
        """The stored bytes of an object."""
        source, offset, length, _, flags = location
        if flags & EntryFlags.INLINE:
            try:
                short = short_payload(self._head(location), kind, address)
            except InvalidFormat as error:
                raise CorruptObject(kind, address, f"its frame is damaged: {error}") from error
            if short is None:
                raise CorruptObject(kind, address, "its frame is damaged: it is not there")
            return short
        payload = source.read(offset, length)
        if len(payload) != length:
            raise CorruptObject(kind, address, "the file ends within it")
        return payload

    def _addresses(self, kind: Kind, location: Location) -> Iterator[bytes]:
        """The full address of an object that a table knows the beginning of; those of its neighbours, too."""
        if location.flags & EntryFlags.INLINE:
            yield from (row.address for row in decode_head(self._head_body(location)).rows if row.kind == kind)
        else:
            yield address_of(kind, self._body(kind, location, location.source.read(location.offset, location.length)))

    def _head(self, location: Location) -> bytes:
        """The head of a frame, decompressed: what is read together was mostly written together."""
        key = location.source.salt, location.offset
        found = self._heads.get(key)
        if found is None:
            found = head_data(self._head_body(location))
            if len(self._heads) >= _HEADS_MAX:
                self._heads.clear()
            self._heads[key] = found
        return found

    def _head_body(self, location: Location) -> bytes:
        """The body of a frame as it is stored, or at least its head."""
        at = location.offset + HEADER_BYTES
        body = location.source.read(at, _HEAD_GUESS_BYTES)
        if len(body) >= 8 and (length := head_length(body)) > len(body):
            body = location.source.read(at, length)
        return body
