"""Where each object is: which source (segment or pack) holds it, and where in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple, Protocol

from piecrust.objects.frame import EntryFlags, TableRow
from piecrust.objects.kinds import Kind

_INLINE = int(EntryFlags.INLINE)


class Source(Protocol):
    """A segment or a pack, open for reading."""

    salt: bytes

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end."""


class Location(NamedTuple):
    """Where an object's payload is."""

    source: Source
    offset: int  # of the payload; of the frame, if the payload is in its head
    length: int
    encoding: int
    flags: int


class Catalog:
    """An index in memory over the frames that were scanned."""

    def __init__(self) -> None:
        self._entries: tuple[dict[bytes, Location], ...] = tuple({} for _ in range(max(Kind) + 1))

    def add_frame(self, source: Source, offset: int, rows: Iterable[TableRow]) -> None:
        """Note every object of a frame."""
        for kind, encoding, flags, length, address, at in rows:
            place = offset if flags & _INLINE else offset + at
            self._entries[kind][address] = Location(source, place, length, encoding, flags)

    def locate(self, kind: Kind, address: bytes) -> Location | None:
        """Where an object is; None if there is none."""
        return self._entries[kind].get(address)

    def addresses(self, kind: Kind) -> Iterator[tuple[bytes, int]]:
        """Every object of a kind, with its flags; a snapshot."""
        return iter([(address, location.flags) for address, location in list(self._entries[kind].items())])

    def find(self, kind: Kind, prefix: str) -> list[bytes]:
        """The addresses that begin with these hexadecimal digits, in order."""
        digits = len(prefix)
        start = bytes.fromhex(prefix + "0" * (digits % 2))
        whole = digits // 2
        return sorted(
            address
            for address in list(self._entries[kind])
            if address.startswith(start[:whole]) and address.hex()[:digits] == prefix
        )
