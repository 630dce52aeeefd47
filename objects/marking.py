"""Finding out what lives: from the ledger, the operation log and the leases to every object."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from piecrust.objects.errors import InvalidFormat, ObjectNotFound
from piecrust.objects.frame import Encoding, decode_head
from piecrust.objects.graph import CommitGraph, CommitNode
from piecrust.objects.ids import ID_BYTES, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.log_reader import LogReader
from piecrust.objects.marks import Marks
from piecrust.objects.oplog import OperationRecord
from piecrust.objects.progress import Progress
from piecrust.objects.reach import reachable
from piecrust.objects.reader import Reader
from piecrust.objects.replay import read_operations
from piecrust.objects.rewriting import entries_of
from piecrust.objects.roots import Lineage, firm_roots, soft_roots
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, scan
from piecrust.objects.source import Source

OPERATIONS_KEPT_MIN: Final = 100  # the newest records stay, however old they are


class Marking:
    """The living commits and objects of a store, as far as its log was read."""

    def __init__(self, log: LogReader, reader: Reader, graph: CommitGraph, progress: Progress) -> None:
        self.lineage = Lineage()
        self.marks = Marks(log.catalog)
        self.first_operation = log.ledger.first_operation  # the oldest record that is still held
        self._log, self._reader, self._graph, self._progress = log, reader, graph, progress
        self._next_operation = log.ledger.next_operation
        self._scanned: dict[bytes, int] = {}  # by salt: how far deltas were looked at
        self._commits = 0

    def mark_all(self, leases: Iterable[CommitId], oldest_time: int) -> None:
        """Mark what lives; operations before `oldest_time` (ns since 1970) can't be undone any more.

        Raises:
            CorruptObject, ObjectNotFound: something that lives is damaged. Nothing may be collected then.
        """
        ledger = self._log.ledger
        kept = [CommitId(c) for c, flags in self._log.catalog.commits().items() if ledger.kept(CommitId(c), flags)]
        records = []
        for count, record in enumerate(self._operations(ledger.first_operation)):
            if record.time >= oldest_time:
                records.append(record)
            elif count >= OPERATIONS_KEPT_MIN:
                self.first_operation = record.sequence + 1
                break
        self._take_in(leases, [*kept, *soft_roots(records)])

    def catch_up(self, leases: Iterable[CommitId]) -> None:
        """Mark what was published since; the log was read to its end."""
        records = list(self._operations(self._next_operation))
        self._next_operation = self._log.ledger.next_operation
        self._take_in(leases, soft_roots(records))

    def condemned(self) -> set[CommitId]:
        """The commits that do not live, those that stay for their descendants' sake among them."""
        return {CommitId(commit) for commit in self._log.catalog.commits()} - self.lineage.living

    def need_bases(self, sources: Iterable[Source], rewritten: set[bytes]) -> None:
        """Keep the bases of all deltas that stay: in a source that is written anew, those of what is kept."""
        for source in sources:
            start = self._scanned.get(source.salt, SEGMENT_HEADER_BYTES)
            for frame in scan(source, source.header, start, None, end=self._end(source)):
                head = decode_head(frame.body, frame.header.body_length)
                for entry in entries_of(head, frame):
                    item = (entry.kind, entry.address)
                    if entry.encoding is Encoding.DELTA and (source.salt not in rewritten or self.marks.keeps(item)):
                        if len(entry.payload) < ID_BYTES:
                            raise InvalidFormat("delta", "shorter than the address of its base")
                        self.marks.need((entry.kind, entry.payload[:ID_BYTES]))
                start = frame.end
            self._scanned[source.salt] = start

    def _end(self, source: Source) -> int:
        log = self._log
        return log.position.end if source.salt == log.active.salt else log.known()[source.salt]

    def _take_in(self, leases: Iterable[CommitId], soft: Iterable[CommitId]) -> None:
        firm = firm_roots(self._log.ledger, leases)
        fresh = self.lineage.grow(firm, soft, self._is_deleted, self._node)
        for commit in fresh:
            for _ in reachable(self._reader, commit, self.marks, partial=self._reader.partial):
                pass
            self._commits += 1
            self._progress("mark", self._commits, len(self.lineage.living))
        for commit in self.lineage.tombstones:
            if (Kind.COMMIT, commit) not in self.marks:
                self.marks.add((Kind.COMMIT, commit))

    def _node(self, commit: CommitId) -> CommitNode:
        """A commit in the graph, which also remembers those that were collected."""
        if self._reader.catalog.locate(Kind.COMMIT, commit) is None:
            raise ObjectNotFound(Kind.COMMIT, commit)
        return self._graph.node(commit)

    def _is_deleted(self, commit: CommitId) -> bool:
        ledger, location = self._log.ledger, self._reader.catalog.locate(Kind.COMMIT, commit)
        if ledger.exceptions.get(commit) is False:
            return True
        return location is not None and ledger.collected(commit, location.flags)

    def _operations(self, first: int) -> Iterable[OperationRecord]:
        """The records from the newest down to number `first`."""
        for frame in self._log.catalog.operations():
            for record in reversed(read_operations(frame)):
                if record.sequence < first:
                    return
                yield record
