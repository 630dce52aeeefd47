"""Reading the log: from the files to the ledger, the catalog, and the place where the next frame goes.

- In the boot that DURABLE speaks of, the log ends where it says, exactly: what follows was never published.
- After a reboot the log ends with its last valid frame: what is there came from the disk.
- Damage below DURABLE, or below what any valid frame says was synced, is corruption: reads go on with what is left,
  writes are refused. Damage above both is a torn tail, whatever follows it.
- Reading the log writes nothing. Who wants to write settles the tail first (`piecrust.objects.log_writer`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from typing import Final

from piecrust.objects.catalog import OpenTable, covered
from piecrust.objects.checkpoint import ClosedSegment, Ledger
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.durable import Durable, Position, Published
from piecrust.objects.errors import CorruptStore
from piecrust.objects.format import Layout, segment_number
from piecrust.objects.frame import NO_CHAIN
from piecrust.objects.intake import Intake
from piecrust.objects.pack import PackSource
from piecrust.objects.replay import checkpoint_ledger, read_checkpoint
from piecrust.objects.segment import later_frames
from piecrust.objects.snapshot import Snapshot, open_table, read_snapshot
from piecrust.objects.source import SegmentSource, Source
from piecrust.objects.source_set import SourceSet
from piecrust.objects.table import TableDamaged

_ATTEMPTS: Final = 16


class LogReader(Intake):
    """What the log says, as far as it was read."""

    def __init__(
        self, disk: Disk, layout: Layout, durable: Durable, *, writable: bool, sources: SourceSet | None = None
    ) -> None:
        """Over the files of a store; `sources` opens them, if not as usual."""
        super().__init__()
        self.disk, self.layout, self.durable = disk, layout, durable
        self.mutex = threading.RLock()  # held by whoever changes what is below
        self.exact = False  # DURABLE says where the log ends; otherwise it was read to its last valid frame
        self._writable = writable
        self._sources = sources or SourceSet(disk, layout, Mode.WRITE if writable else Mode.READ)
        self._active: SegmentSource | None = None
        self._position: Position | None = None
        self._trust_tables = True

    @property
    def active(self) -> SegmentSource:
        """The segment that frames are appended to."""
        if self._active is None:
            raise RuntimeError("the log was not read")
        return self._active

    @property
    def forgotten(self) -> bool:
        """Whether the log has to be read again from its newest checkpoint."""
        return self._position is None

    @property
    def position(self) -> Position:
        """Where the log ends."""
        if self._position is None:
            raise RuntimeError("the log was not read")
        return self._position

    def follow(self) -> None:
        """Take in what was published since the last time, by any process.

        Raises:
            CorruptStore: the log can't be read at all. Damage that leaves something to read is noted in `damage`.
        """
        for _ in range(_ATTEMPTS):
            published = self.durable.read()
            try:
                self._take_in_log(published)
            except FileNotFoundError as error:
                self.forget()
                if not self.durable.moved():  # otherwise another process replaced the file between two looks
                    raise CorruptStore(error.filename, 0, "the file is missing") from error
            except TableDamaged:
                self._give_tables_up()
            except BaseException:
                self.forget()  # what is in memory may be behind the position, or before it
                raise
            else:
                self.exact = published.exact and published.position is not None
                return
        raise CorruptStore(self.layout.log, 0, "its files do not stay where they are")

    def source(self, salt: bytes) -> Source:
        """An open source; `KeyError` if there is none with this salt."""
        return self._sources.everything()[salt]

    def sources(self) -> list[Source]:
        """Every open source."""
        return list(self._sources.everything().values())

    def adopt(self, table: OpenTable, merged: Iterable[OpenTable]) -> None:
        """Use a table of the index cache from now on, instead of `merged` and of what it covers in memory."""
        with self.mutex:
            left = list(self.catalog.tables)
            for opened in merged:
                found = next((other for other in left if other.table is opened.table), None)
                if found is None:
                    return  # the sources have changed meanwhile
                left.remove(found)
            self._use_tables([table, *left])

    def adopt_snapshot(self) -> None:
        """Use the tables that another process has made, as far as the log was read here."""
        with self.mutex:
            snapshot = read_snapshot(self.disk, self.layout)
            names = {opened.name for opened in self.catalog.tables}
            if self.forgotten or snapshot is None or names >= set(snapshot.tables):
                return
            if not snapshot.fits(self.active, self.position.end):
                return
            opened = self._open_tables(snapshot)
            if opened is not None:
                self._use_tables([*opened, *(of for of in self.catalog.tables if not of.name)])

    def _use_tables(self, tables: list[OpenTable]) -> None:
        sources = self._sources.everything()
        resolved = [opened.resolved(sources) for opened in tables]
        ends = covered(resolved)
        self.catalog.replace(resolved, lambda source, offset: offset >= ends.get(source.salt, 0))

    def _open_tables(self, snapshot: Snapshot) -> list[OpenTable] | None:
        opened = []
        for name in snapshot.tables:
            table = open_table(self.disk, self.layout, name)
            if table is None:
                return None
            opened.append(OpenTable(table, (), name))
        return opened

    def forget(self) -> None:
        """Read the active segment anew next time: something was interrupted between the files and what is in memory."""
        self._position = None
        self.exact = False

    def rescan(self) -> None:
        """Give all tables up and read everything again."""
        with self.mutex:
            self._give_tables_up()
            self.follow()

    def _give_tables_up(self) -> None:
        self._trust_tables = False
        self._known.clear()
        self.catalog.replace((), lambda _source, _offset: False)
        self.forget()

    def close(self) -> None:
        """Close every file; what was mapped stays readable for those who hold it."""
        self._sources.close()
        self.durable.close()

    def _take_in_log(self, published: Published) -> None:
        position, known = published.position, self._position
        if position is None or known is None or not published.exact:
            self._switch(published)
        elif (position.segment, position.end) == (known.segment, known.end):
            self._position = position
        elif position.segment == known.segment and position.end > known.end:
            self._extend(position, known)
        else:
            self._switch(published)

    def _extend(self, position: Position, known: Position) -> None:
        """Read on in the active segment."""
        packs = self.ledger.packs
        end, _, chain = self._take_in(self.active, known.end, known.chain, known.sequence, position.end)
        if (end, chain) != (position.end, position.chain):
            self._note_damage(self.active, end, position.end, "a published frame is damaged")
        if self.ledger.packs is not packs:
            self.settle_sources()
        self._position = position

    def _switch(self, published: Published) -> None:
        """Read the log anew from the newest checkpoint, or from the snapshot if it is newer."""
        position = published.position
        self._carried = []
        number = self._active_number(published)
        source = self._sources.segment(number)
        checkpoint = read_checkpoint(source)
        ledger = checkpoint_ledger(source, checkpoint)
        self._finish_active(ledger)
        if position is not None and published.exact:
            limit = bound = position.end
        else:
            limit, bound = source.size(), position.end if position is not None and position.segment == number else 0
        snapshot = self._use_snapshot(source, limit)
        self._active = source
        if snapshot is None:
            header = checkpoint.header
            self.ledger, self.last_frame = ledger, checkpoint.offset
            begin, chain, sequence = checkpoint.end, header.chain, header.sequence
        else:
            self.ledger, self.last_frame = snapshot.ledger, snapshot.last_frame
            begin, chain, sequence = snapshot.end, snapshot.chain, snapshot.sequence
        self.catalog.forget_operations(source)
        end, sequence, last_chain = self._take_in(source, begin, chain, sequence, limit)
        chain = last_chain or NO_CHAIN
        if position is None or not published.exact:
            # Somebody may be writing: what was cut short a moment ago is damaged only if it is so after a second look.
            while (synced := self._synced_behind(source, end)) > end:
                further, sequence, last_chain = self._take_in(source, end, chain, sequence, source.size())
                if further == end:
                    bound = max(bound, synced)
                    break
                end, chain = further, last_chain or chain
            position = Position(number, end, end, sequence, chain)
        elif end == position.end and chain != position.chain:
            end = checkpoint.offset
        if end < bound:
            self._note_damage(source, end, limit, "a frame that was synced is damaged")
        self.settle_sources()
        self._position = position

    def _synced_behind(self, source: Source, end: int) -> int:
        """How far valid frames behind `end` say that everything was synced."""
        return max([0, *(frame.header.synced_to for frame in later_frames(source, source.header, end))])

    def _active_number(self, published: Published) -> int:
        """The number of the segment that frames are appended to."""
        position = published.position
        numbers = [n for name in self.disk.list(self.layout.log) if (n := segment_number(name)) is not None]
        if not numbers:
            raise CorruptStore(self.layout.log, 0, "there is no segment")
        number = position.segment if position is not None and published.exact else max(numbers)
        if position is not None and number < position.segment:
            raise CorruptStore(self.layout.segment(position.segment), 0, "the active segment is missing")
        return number

    def _finish_active(self, ledger: Ledger) -> None:
        """Read the segment that was active before to its end, if that is known by now."""
        source, known = self._active, self._position
        if source is None or known is None:
            return
        for closed in ledger.segments:
            if closed.salt == source.salt and known.end <= closed.end:
                self._take_in(source, known.end, known.chain, known.sequence, closed.end)

    def _use_snapshot(self, active: SegmentSource, limit: int) -> Snapshot | None:
        """Take in the tables of the snapshot; the snapshot itself, if the log can be read on from it."""
        snapshot = read_snapshot(self.disk, self.layout) if self._trust_tables else None
        if snapshot is None:
            return None
        fits = snapshot.fits(active, limit)
        if not fits and (self.catalog.tables or snapshot.salt == active.salt):
            return None  # it is ahead of the log, or says nothing new
        opened = self._open_tables(snapshot)
        known = covered(opened or [])
        if opened is None or (fits and known.get(active.salt) != snapshot.end):
            return None
        self._carried = opened
        self._known = known
        return snapshot if fits else None

    def settle_sources(self) -> None:
        """Open the sources that the ledger names, index those that are not, and let go of all others."""
        ledger = self.ledger
        tables = self._carried = self._carried or [opened for opened in self.catalog.tables if opened.name]
        sealed = {pack.salt for pack in ledger.packs}
        ends = covered(tables)
        for pack in ledger.packs:
            try:
                source = self._sources.pack(pack)
            except CorruptStore as error:
                self._note(error)
                continue
            if ends.get(pack.salt, 0) < source.frames_end:
                tables += self._index_pack(source)
            else:
                self._known[pack.salt] = source.frames_end  # it may have come back from quarantine
        for closed in ledger.segments:
            if closed.salt not in sealed:
                self._read_closed(closed)
        numbers = [self.active.header.number, *(closed.number for closed in ledger.segments)]
        sources = self._sources.keep(numbers, [pack.name for pack in ledger.packs])
        if not self._writable:
            self.catalog.retire(sources, self._sources.retired)
        self._known = {salt: end for salt, end in self._known.items() if salt in sources}
        resolved = [opened.resolved(sources) for opened in tables]
        used = [opened for opened in resolved if any(opened.sources)]
        ends = covered(used)
        self.catalog.replace(used, lambda source, offset: source.salt in sources and offset >= ends.get(source.salt, 0))
        self._carried = []

    def _index_pack(self, source: PackSource) -> list[OpenTable]:
        """The pack's own table; if it is damaged, the pack is scanned instead."""
        if self._trust_tables:
            try:
                table = source.table()
            except CorruptStore:
                pass
            else:
                self._known[source.salt] = source.frames_end
                return [OpenTable(table, (), "")]
        if self._known.get(source.salt, 0) < source.frames_end:
            self._scan_source(source, source.frames_end)
        return []

    def _read_closed(self, closed: ClosedSegment) -> None:
        """Take in a segment that is no longer written to, as far as it is not known yet."""
        try:
            source = self._sources.segment(closed.number)
        except CorruptStore as error:
            self._note(error)
            return
        if self._known.get(closed.salt, 0) >= closed.end:
            return
        end, chain = self._scan_source(source, closed.end)
        if (end, chain) != (closed.end, closed.chain) or source.salt != closed.salt:
            self._note_damage(source, end, closed.end, "a frame of a closed segment is damaged")
