"""Opening a store however damaged it is: whatever can still be read, with a note of what can't.

An ordinary handle refuses a store whose files are missing, and does not read what tables cover. This one scans what it
has to, takes missing and headless files as damage, and knows of each object whether it is sound. If it is the newest
segment that can't be begun with, the log is put together from what is left (`piecrust.objects.remnant`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from piecrust.objects.checkpoint import ClosedSegment, PackName
from piecrust.objects.disk import Disk, Mode
from piecrust.objects.durable import Durable
from piecrust.objects.errors import CorruptObject, CorruptStore, ObjectNotFound
from piecrust.objects.findings import Item
from piecrust.objects.format import Layout
from piecrust.objects.frame_check import CheckedFrame, LooseSource
from piecrust.objects.graph import CommitGraph
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.lazy import is_lazy
from piecrust.objects.log_reader import LogReader
from piecrust.objects.pack import pack_path
from piecrust.objects.reader import Reader
from piecrust.objects.remnant import MISSING, SourcesLeft, piece_together
from piecrust.objects.segment import later_frames
from piecrust.objects.source import Source

_CACHE_BYTES: Final = 64 << 20
_ATTEMPTS: Final = 8


class CheckedSource(NamedTuple):
    """A file that the log names, and where its frames end. `chain` is the last one's hash, if that is known."""

    source: Source
    end: int
    chain: bytes | None
    named: ClosedSegment | PackName | None  # None: the active segment


class DamagedStore:
    """What can be read of a store; writes nothing."""

    def __init__(self, disk: Disk, layout: Layout) -> None:
        """Open it.

        Raises:
            CorruptStore: nothing can be read: neither a segment nor a pack is left.
            UnsupportedFormat: a newer version wrote it.
        """
        self.disk, self.layout = disk, layout
        self.log = _follow(disk, layout)
        self.reader = Reader(self.log.catalog, _CACHE_BYTES)
        self.reader.partial = is_lazy(layout)
        self.graph = CommitGraph(self.log.catalog, self.load)
        self.damaged_salts: set[bytes] = set()
        self.unsound: set[Item] = set()

    def close(self) -> None:
        """Close every file."""
        self.log.close()

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded object, verified; `ObjectNotFound` or `CorruptObject` if it can't be had."""
        return self.reader.load(kind, address)

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether something is there under this address."""
        return self.reader.contains(kind, address)

    def is_sound(self, kind: Kind, address: bytes, /) -> bool:
        """Whether `load` would give the object. Only true of what was tested before, but for damaged files."""
        if (kind, address) in self.unsound:
            return False
        location = self.reader.catalog.locate(kind, address)
        if location is None or location.source.salt in self.damaged_salts:
            try:
                self.load(kind, address)
            except (CorruptObject, ObjectNotFound):
                return False
        return True

    def kept(self) -> list[CommitId]:
        """The commits that are kept: those of `Store.commits`."""
        ledger = self.log.ledger
        known = {CommitId(address): flags for address, flags in self.log.catalog.commits().items()}
        kept = {commit: ledger.kept(commit, flags) for commit, flags in known.items()}
        return sorted(commit for commit, keep in (kept | ledger.exceptions).items() if keep)

    def sources(self) -> Iterator[CheckedSource]:
        """Every file that the log names and that is there, oldest first, the active segment last."""
        ledger, sealed = self.log.ledger, {pack.salt for pack in self.log.ledger.packs}
        for pack in ledger.packs:
            source = self._open(pack.salt, pack)
            if source is not None:
                yield CheckedSource(source, source.size(), None, pack)
        for closed in ledger.segments:
            if closed.salt not in sealed:
                source = self._open(closed.salt, closed)
                if source is not None:
                    yield CheckedSource(source, closed.end, closed.chain, closed)
        active, position = self.log.active, self.log.position
        end = position.end
        if any(damage.path == active.path for damage in self.log.damage):
            end = max([end, *(frame.end for frame in later_frames(active, active.header, end))])
        yield CheckedSource(active, end, position.chain if end == position.end else None, None)

    def take_in(self, source: Source, frame: CheckedFrame) -> int:
        """Make what a frame holds known where no index knows it; how many objects that was."""
        head = frame.head()
        if head is None:
            return 0
        rows = [row for row in head.rows if self.log.catalog.locate(Kind(row.kind), row.address) is None]
        self.log.catalog.add_frame(source, frame.offset, rows)
        return len(rows)

    def _open(self, salt: bytes, named: ClosedSegment | PackName) -> Source | None:
        try:
            source = self.log.source(salt)
        except KeyError:
            pass
        else:
            return source
        path = pack_path(self.layout, named.name) if isinstance(named, PackName) else self.layout.segment(named.number)
        return LooseSource.of(self.disk, path, salt)


def _follow(disk: Disk, layout: Layout) -> LogReader:
    """The log as it is; read again if a file went because another process is sealing or collecting."""
    for attempt in range(_ATTEMPTS):
        durable = Durable(disk, layout.durable, writable=False)
        log = LogReader(disk, layout, durable, writable=False, sources=SourcesLeft(disk, layout, Mode.READ))
        try:
            log.follow()
        except CorruptStore as error:
            again = attempt < _ATTEMPTS - 1 and durable.moved()
            log.close()
            if again:
                continue
            return piece_together(disk, layout, error)
        if attempt == _ATTEMPTS - 1 or not durable.moved() or all(d.reason != MISSING for d in log.damage):
            break
        log.close()
    return log
