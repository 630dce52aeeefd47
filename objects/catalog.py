"""Where each object is: which source (segment or pack) holds it, and where in it.

What tables cover is looked up in them; what was scanned or written since is in memory, until a table is made of it.
A table that turns out to be damaged is given up, and everything is scanned again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple, TypeVar

from piecrust.objects.frame import EntryFlags, TableRow
from piecrust.objects.kinds import Kind
from piecrust.objects.segment import SEGMENT_HEADER_BYTES
from piecrust.objects.source import Source
from piecrust.objects.table import KEY_BYTES, OFFSET_MAX, CommitRow, Table, TableDamaged

_INLINE = int(EntryFlags.INLINE)
_T = TypeVar("_T")


class Location(NamedTuple):
    """Where an object's payload is."""

    source: Source
    offset: int  # of the payload; of the frame, if the payload is in its head
    length: int
    encoding: int
    flags: int


class OperationFrame(NamedTuple):
    """A frame with operations: the sequence number of its first one, and where it is."""

    first: int
    source: Source
    offset: int


class OpenTable(NamedTuple):
    """A table, and the source that each of its numbers stands for; None: it is no longer one of the store's."""

    table: Table
    sources: tuple[Source | None, ...]
    name: str  # of its file in index/; empty for the table of a pack

    @property
    def is_stale(self) -> bool:
        """Whether some of its sources are gone."""
        return not all(self.sources)

    def resolved(self, sources: Mapping[bytes, Source]) -> OpenTable:
        """With the sources that there are now, by their salts."""
        return self._replace(sources=tuple(sources.get(covered.salt) for covered in self.table.coverage))


class Catalog:
    """An index over the sources of a store. Any number of threads may look up while one of them changes it."""

    def __init__(self, rebuild: Callable[[], None]) -> None:
        """With what is to be done when a table is damaged: take all tables away and scan."""
        self.tables: tuple[OpenTable, ...] = ()
        # What is no longer the store's, but still mapped or open here.
        self.retired: tuple[OpenTable, ...] = ()
        self.retired_fresh: dict[tuple[Kind, bytes], Location] = {}
        self.fresh: tuple[dict[bytes, Location], ...] = _empty()
        self.fresh_operations: list[OperationFrame] = []
        self._rebuild = rebuild

    def add_frame(self, source: Source, offset: int, rows: Iterable[TableRow]) -> None:
        """Note every object of a frame."""
        fresh = self.fresh
        for kind, encoding, flags, length, address, at in rows:
            place = offset if flags & _INLINE else offset + at
            fresh[kind][address] = Location(source, place, length, encoding, flags)

    def fresh_count(self) -> int:
        """How many objects are in memory."""
        return sum(map(len, self.fresh))

    def replace(self, tables: Iterable[OpenTable], keep: Callable[[Source, int], bool]) -> None:
        """Use other tables from now on, and keep in memory only what `keep` says of a source and an offset."""
        fresh = tuple({a: at for a, at in kind.items() if keep(at.source, at.offset)} for kind in self.fresh)
        # A look-up that runs meanwhile must find everything in one of the two: first more tables, then less memory.
        self.tables = tuple(tables)
        self.fresh = fresh
        self.fresh_operations = [frame for frame in self.fresh_operations if keep(frame.source, frame.offset)]

    def retire(self, sources: Mapping[bytes, Source], retired: Mapping[bytes, Source]) -> None:
        """Keep what is known of other sources than `sources`, for loading alone; `retired` are packs among them."""
        for kind in Kind:
            gone_here = {a: at for a, at in self.fresh[kind].items() if at.source.salt not in sources}
            self.retired_fresh.update(((kind, address), at) for address, at in gone_here.items())
        for opened in self.tables:
            gone = opened.resolved(retired)
            if any(gone.sources) and all(opened.table is not other.table for other in self.retired):
                self.retired += (gone,)

    def forget_operations(self, source: Source) -> None:
        """Take the operations of a source out of memory: it will be scanned again."""
        self.fresh_operations = [frame for frame in self.fresh_operations if frame.source.salt != source.salt]

    def locate(self, kind: Kind, address: bytes) -> Location | None:
        """Where an object is; None if there is none."""
        location = self.fresh[kind].get(address)
        if location is not None or not self.tables:
            return location
        try:
            return self._locate(self.tables, kind, address)
        except TableDamaged:
            self._rebuild()
            return self.locate(kind, address)

    def locate_retired(self, kind: Kind, address: bytes) -> Location | None:
        """Where an object was that was collected since, as long as it can be read here."""
        location = self.retired_fresh.get((kind, address)) if self.retired_fresh else None
        return self._locate(self.retired, kind, address) if location is None and self.retired else location

    def with_prefix(self, kind: Kind, first: int, last: int) -> list[Location]:
        """The objects of a kind, apart from those in memory, whose addresses begin with 8 bytes in this range."""

        def found() -> list[Location]:
            locations = []
            for opened in self.tables:
                opened.table.check_all()
                for number in opened.table.rows_between(first, last):
                    _, match = opened.table.row(number)
                    source = opened.sources[match.source]
                    if match.kind == kind and source is not None:
                        locations.append(Location(source, match.offset, match.length, match.encoding, match.flags))
            return locations

        return self._soundly(found)

    def commits(self) -> dict[bytes, int]:
        """Every commit object, with its flags."""

        def found() -> dict[bytes, int]:
            commits = {}
            for opened in self.tables:
                for number in range(opened.table.commits):
                    row = opened.table.commit(number)
                    if opened.sources[row.source] is not None:
                        commits[row.id] = row.flags
            return commits

        commits = self._soundly(found)
        return commits | {address: at.flags for address, at in list(self.fresh[Kind.COMMIT].items())}

    def commit_row(self, commit: bytes) -> CommitRow | None:
        """What tables know of a commit; None if they don't know it."""
        rows = self._commit_rows(lambda table: table.commits_by_key(key_of(commit)))
        return next((row for row in rows if row.id == commit), None)

    def commits_by_key(self, key: int) -> list[bytes]:
        """The commits, apart from those in memory, whose ids begin with these 8 bytes."""
        return [row.id for row in self._commit_rows(lambda table: table.commits_by_key(key))]

    def commits_by_root(self, root: bytes) -> list[bytes]:
        """The commits, apart from those in memory, whose state roots begin with the 8 bytes that this one does."""
        return [row.id for row in self._commit_rows(lambda table: table.commits_by_root(root))]

    def operations(self) -> Iterator[OperationFrame]:
        """The frames with operations, newest first."""

        def found() -> list[OperationFrame]:
            frames = []
            for opened in self.tables:
                for number in range(opened.table.operations):
                    first, source_number, offset = opened.table.operation(number)
                    source = opened.sources[source_number]
                    if source is not None:
                        frames.append(OperationFrame(first, source, offset))
            return frames

        frames = {frame.first: frame for frame in [*self._soundly(found), *self.fresh_operations]}
        yield from sorted(frames.values(), key=_first, reverse=True)

    def _locate(self, tables: Iterable[OpenTable], kind: Kind, address: bytes) -> Location | None:
        for table, sources, _ in tables:
            for number in table.rows_of(address):
                _, place, length = table.place(number)  # taken apart here: there are several look-ups in each commit
                if place >> 5 & 7 == kind and (source := sources[place >> 48]) is not None:
                    return Location(source, place >> 8 & OFFSET_MAX, length, place >> 3 & 3, place & 7)
        return None

    def _commit_rows(self, numbers: Callable[[Table], list[int]]) -> list[CommitRow]:
        def found() -> list[CommitRow]:
            rows = [(opened, opened.table.commit(n)) for opened in self.tables for n in numbers(opened.table)]
            return [row for opened, row in rows if opened.sources[row.source] is not None]

        return self._soundly(found)

    def _soundly(self, look: Callable[[], _T]) -> _T:
        try:
            return look()
        except TableDamaged:
            self._rebuild()
            return look()


def covered(tables: Iterable[OpenTable]) -> dict[bytes, int]:
    """How far the frames of each source are covered from the first one on, by salt."""
    known: dict[bytes, int] = {}
    for coverage in sorted([c for opened in tables for c in opened.table.coverage], key=lambda c: c.start):
        if coverage.start <= known.get(coverage.salt, SEGMENT_HEADER_BYTES):
            known[coverage.salt] = max(coverage.end, known.get(coverage.salt, 0))
    return known


def key_of(address: bytes) -> int:
    """The first 8 bytes of an address, as tables sort them."""
    return int.from_bytes(address[:KEY_BYTES], "big")


def _first(frame: OperationFrame) -> int:
    return frame.first


def _empty() -> tuple[dict[bytes, Location], ...]:
    return tuple({} for _ in range(max(Kind) + 1))
