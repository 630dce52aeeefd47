"""The objects of a remote, found through the indexes of its packs and verified one by one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, NoReturn

from piecrust.objects.catalog import Catalog, Location
from piecrust.objects.errors import CorruptObject, CorruptRemote, InvalidFormat, ObjectNotFound
from piecrust.objects.frame import EntryFlags
from piecrust.objects.kinds import Kind
from piecrust.objects.reader import Reader
from piecrust.objects.remote.remote_pack import RemotePack, RemoteSource, list_packs
from piecrust.objects.remote.remote_table import RemoteTable, open_remote_table
from piecrust.objects.remote.storage import Storage
from piecrust.objects.table import TableDamaged

_THREADS: Final = 8  # that ask indexes
_CACHE_BYTES: Final = 8 << 20
_SPAN_BYTES_MAX: Final = 8 << 20  # that are read at once
_GAP_BYTES_MAX: Final = 64 << 10  # that are read along, rather than ask twice
_HEAD_GUESS_BYTES: Final = 16 << 10


class RemoteObjects:
    """Objects of the packs that a remote had when this was first asked. An `ObjectReader`, not for several threads."""

    def __init__(self, storage: Storage, cache: Path | None) -> None:
        """`cache` is a directory that remembers indexes; nothing is asked of the remote before it is needed."""
        self._storage = storage
        self._catalog = _RemoteCatalog(storage, cache)
        self._reader = Reader(self._catalog, _CACHE_BYTES)

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """An object, verified.

        Raises:
            ObjectNotFound: the remote doesn't have it.
            CorruptRemote: what it has is damaged.
            RemoteUnavailable: it can't be reached.
        """
        try:
            return self._reader.load(kind, address)
        except (CorruptObject, InvalidFormat, TableDamaged) as error:
            self._refuse(kind, address, error)

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether the remote's indexes have the object."""
        return self._locate(kind, address) is not None

    def is_empty(self) -> bool:
        """Whether nothing is there, not a single pack."""
        return not self._catalog.packs()

    def is_without_state(self, commit: bytes) -> bool:
        """Whether the remote has a commit for its descendants' sake alone."""
        location = self._locate(Kind.COMMIT, commit)
        return location is not None and bool(location.flags & EntryFlags.DELETED)

    def load_many(self, items: Iterable[tuple[Kind, bytes]]) -> Iterator[tuple[Kind, bytes, Any]]:
        """Objects in any order, those that lie together read together; a few megabytes at a time.

        Raises:
            ObjectNotFound, CorruptRemote, RemoteUnavailable: as `load`.
        """
        places: list[tuple[RemoteSource, int, int, Kind, bytes]] = []
        for kind, address in items:
            location = self._locate(kind, address)
            if location is None or not isinstance(location.source, RemoteSource):
                raise ObjectNotFound(kind, address)
            length = _HEAD_GUESS_BYTES if location.flags & EntryFlags.INLINE else location.length
            places.append((location.source, location.offset, length, kind, address))
        places.sort(key=lambda place: (place[0].salt, place[1]))
        for span in _spans(places):
            source, start = span[0][0], span[0][1]
            source.warm(start, max(offset + length for _, offset, length, _, _ in span) - start)
            try:
                for _, _, _, kind, address in span:
                    yield kind, address, self.load(kind, address)
            finally:
                source.cool()

    def _locate(self, kind: Kind, address: bytes) -> Location | None:
        try:
            return self._catalog.locate(kind, address)
        except TableDamaged as error:
            self._refuse(kind, address, error)

    def _refuse(self, kind: Kind, address: bytes, error: Exception) -> NoReturn:
        raise CorruptRemote(self._storage.name, f"{kind.name.lower()} {address.hex()}", str(error)) from error


class _RemoteCatalog(Catalog):
    """Where objects are on a remote."""

    def __init__(self, storage: Storage, cache: Path | None) -> None:
        super().__init__(_never)
        self._storage, self._cache = storage, cache
        self._packs: list[tuple[RemoteTable, RemoteSource]] | None = None
        self._pool = ThreadPoolExecutor(_THREADS, "piecrust remote")

    def locate(self, kind: Kind, address: bytes) -> Location | None:
        """Where an object is; what is whole goes before what is a delta."""
        packs = self.packs()
        tables = [table for table, _ in packs]
        answers = self._pool.map(lambda table: list(table.find(kind, address)), tables)
        found = [
            Location(source, match.offset, match.length, match.encoding, match.flags)
            for (_, source), matches in zip(packs, answers, strict=True)
            for match in matches
        ]
        return min(found, key=lambda location: location.encoding, default=None)

    def packs(self) -> list[tuple[RemoteTable, RemoteSource]]:
        """The indexes of all packs, and the packs as sources; listed and opened once."""
        if self._packs is None:
            self._packs = list(self._pool.map(self._opened, list_packs(self._storage)))
        return self._packs

    def _opened(self, pack: RemotePack) -> tuple[RemoteTable, RemoteSource]:
        table = open_remote_table(self._storage, pack, self._cache)
        return table, RemoteSource(self._storage, pack, table.coverage[0].end if table.coverage else 0)


def _never() -> None:
    raise AssertionError("the tables of a remote are not made anew here")


def _spans(
    places: list[tuple[RemoteSource, int, int, Kind, bytes]],
) -> Iterator[list[tuple[RemoteSource, int, int, Kind, bytes]]]:
    """Neighbours that are read at once."""
    span: list[tuple[RemoteSource, int, int, Kind, bytes]] = []
    end = 0
    for place in places:
        source, offset, length, _, _ = place
        if span and (
            source is not span[0][0] or offset > end + _GAP_BYTES_MAX or offset + length - span[0][1] > _SPAN_BYTES_MAX
        ):
            yield span
            span, end = [], 0
        span.append(place)
        end = max(end, offset + length)
    if span:
        yield span
