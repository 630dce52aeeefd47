"""Collecting garbage: mark what lives, then write each pack anew that holds much that doesn't.

1. Everything is rotated and sealed, so that all that may be garbage is in packs.
2. Marking follows every commit that lives (`piecrust.objects.roots`) to its objects. Commits that do not live are
   *condemned* in the log before anything is taken away: nothing can be built on them from then on.
3. Pack by pack, what stays is copied to a new pack. Under the lock, what was published meanwhile is marked, too; if it
   brought an object back to life that was about to go, that is copied as well. Then the log says that the new pack
   stands for the old one, which moves to quarantine.
4. The new pack is read back. Only then is the old one removed; otherwise it comes back.
5. The index is made anew without what is gone, and so is the segment, if nobody published anything meanwhile.

So there is never more than one pack too many on the disk, and a run that is interrupted at any point leaves a store
that the next run goes on with. The base of a delta stays as long as the delta does, whether it lives or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from piecrust.objects.checkpoint import PackName, SourcesChange
from piecrust.objects.compaction import compact
from piecrust.objects.errors import CorruptStore
from piecrust.objects.frame import Encoding, Entry, EntryFlags
from piecrust.objects.garbage import GarbageReport, make_plan, make_report, tally
from piecrust.objects.graph import CommitGraph
from piecrust.objects.housekeeping import (
    empty_quarantine,
    quarantine_packs,
    quarantined,
    release_packs,
    remove_leftovers,
    store_bytes,
)
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.lease import leased_commits
from piecrust.objects.lock import StoreLock
from piecrust.objects.log_reader import LogReader
from piecrust.objects.log_writer import LogWriter
from piecrust.objects.marking import Marking
from piecrust.objects.marks import Item
from piecrust.objects.pack import PackSource, pack_path, verify_pack
from piecrust.objects.progress import Progress
from piecrust.objects.reader import Reader
from piecrust.objects.rewriting import Rewriter, copy_source
from piecrust.objects.sealing import seal
from piecrust.objects.source import Source
from piecrust.objects.table_writer import exhaust

_ATTEMPTS: Final = 100  # to publish a rewritten pack while others bring objects back to life


class Collector:
    """One run of the garbage collection, by the one process that does upkeep."""

    def __init__(
        self,
        log: LogWriter,
        reader: Reader,
        lock: StoreLock,
        graph: CommitGraph,
        progress: Progress,
        *,
        oldest_time: int,
        keep_quarantine: bool,
    ) -> None:
        """`oldest_time`, in ns since 1970: what happened before it can't be undone any more."""
        self._log, self._reader, self._lock, self._graph, self._progress = log, reader, lock, graph, progress
        self._oldest_time, self._keep_quarantine = oldest_time, keep_quarantine
        self._pack_bytes_max = log.segment_bytes_max
        self._marking = Marking(log, reader, graph, progress)
        self._folded: dict[CommitId, int] = {}  # the flags that commits were written anew with
        self._dead: set[CommitId] = set()

    def run(self) -> GarbageReport:
        """Collect garbage.

        Raises:
            CorruptObject, ObjectNotFound, CorruptStore: something that lives is damaged; nothing was taken away since.
            StoreFull: what was rewritten so far stays so.
        """
        log = self._log
        before = store_bytes(log.disk, log.layout)
        with self._locked():
            if log.holds_transactions:
                log.rotate()
        exhaust(seal(log, self._lock, self._graph))
        with log.mutex:
            remove_leftovers(log)
            if not self._keep_quarantine:
                empty_quarantine(log)
            packs = list(log.ledger.packs)
            self._marking = Marking(log, self._reader, self._graph, self._progress)
        self._marking.mark_all(leased_commits(log.disk, log.layout), self._oldest_time)
        self._condemn()
        tallies = tally(self._marking.marks, [pack.salt for pack in packs])
        plan = make_plan(packs, tallies, self._pack_bytes_max)
        rewritten = {pack.salt for group in plan for pack in group}
        with log.mutex:
            sources = log.sources()
        self._marking.need_bases(sources, rewritten)
        for done, group in enumerate(plan):
            self._progress("rewrite", done, len(plan))
            self._rewrite(group, rewritten)
            rewritten -= {pack.salt for pack in group}
        self._settle()
        self._clear_segment()
        if plan:
            exhaust(compact(log, self._graph))
        return make_report(
            self._marking.lineage,
            self._dead,
            tallies,
            dry_run=False,
            bytes_before=before,
            bytes_after=store_bytes(log.disk, log.layout),
            packs_before=len(packs),
            packs_after=len(log.ledger.packs),
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with self._log.mutex, self._lock:
            self._log.prepare()
            yield

    def _condemn(self) -> None:
        """Forbid building on what does not live, after a last look at what was published and leased meanwhile."""
        log = self._log
        with self._locked():
            self._marking.catch_up(leased_commits(log.disk, log.layout))
            condemned = self._dead = self._marking.condemned()
            if condemned != log.ledger.condemned or self._marking.first_operation != log.ledger.first_operation:
                self._publish([], [], set(), condemned)

    def _rewrite(self, group: list[PackName], rewritten: set[bytes]) -> None:
        """Put what stays of some packs into new ones, and these into their place."""
        log, marking = self._log, self._marking
        sources = [log.source(pack.salt) for pack in group]
        rewriter = Rewriter(log, self._graph, self._pack_bytes_max)
        marking.marks.recent = []
        try:
            for source in sources:
                stays = self._staying(rewriter)
                for _ in copy_source(source, rewriter, stays, self._flags, marking.first_operation):
                    pass
            packs = rewriter.finish()
            for _ in range(_ATTEMPTS):
                with self._locked():
                    marking.catch_up(())
                    marking.need_bases(log.sources(), rewritten)
                    missing = self._missing(sources, rewriter)
                    if not missing:
                        self._publish(group, packs, self._settled(sources), None)
                        break
                self._rescue(missing, rewriter)
                packs = rewriter.finish()
        except BaseException:
            rewriter.abandon()
            raise
        self._retire(group, packs)

    def _staying(self, rewriter: Rewriter) -> Callable[[Item], bool]:
        marks = self._marking.marks
        return lambda item: marks.keeps(item) and item not in rewriter.copied

    def _flags(self, address: bytes, flags: int) -> int:
        """The flags of a commit that is written anew: what was said since is among them."""
        commit = CommitId(address)
        kept = self._log.ledger.kept(commit, flags)
        dead = commit in self._marking.lineage.tombstones
        self._folded[commit] = EntryFlags.KEPT if kept else EntryFlags.DELETED if dead else 0
        return self._folded[commit]

    def _missing(self, sources: list[Source], rewriter: Rewriter) -> list[Item]:
        """What came back to life after its place in these sources was passed."""
        salts = {source.salt for source in sources}
        found = []
        for item in self._marking.marks.recent:
            at = self._log.catalog.locate(*item)
            if at is not None and at.source.salt in salts and item not in rewriter.copied:
                found.append(item)
        return found

    def _rescue(self, items: list[Item], rewriter: Rewriter) -> None:
        for kind, address in items:
            at = self._log.catalog.locate(kind, address)
            if at is not None:
                payload = self._reader.payload(kind, address, at)
                flags = self._flags(address, at.flags & ~EntryFlags.INLINE) if kind is Kind.COMMIT else 0
                rewriter.add(Entry(kind, address, Encoding(at.encoding), payload, flags))

    def _settled(self, sources: list[Source]) -> set[CommitId]:
        """The exceptions that the flags of the new packs make needless."""
        salts = {source.salt for source in sources}
        settled = set()
        for commit, kept in self._log.ledger.exceptions.items():
            at = self._log.catalog.locate(Kind.COMMIT, commit)
            if at is not None and at.source.salt in salts:
                folded = self._folded.get(commit)
                wanted = EntryFlags.KEPT if kept else EntryFlags.DELETED
                if folded == wanted or (folded is None and not kept):
                    settled.add(commit)
        return settled

    def _publish(
        self, gone: list[PackName], packs: list[PackName], settled: set[CommitId], condemned: set[CommitId] | None
    ) -> None:
        ledger = self._log.ledger
        names = [pack.name for pack in gone]
        first = max(ledger.first_operation, self._marking.first_operation)
        listed = None if condemned is None else sorted(condemned)
        self._log.publish_sources(
            SourcesChange([], names, packs, ledger.generation + 1, first, sorted(settled), listed)
        )

    def _retire(self, gone: list[PackName], packs: list[PackName]) -> None:
        """Take packs away that others stand for, once these were read back."""
        log = self._log
        names = [pack.name for pack in gone]
        quarantine_packs(log, names)
        try:
            for pack in packs:
                verify_pack(PackSource.open(log.disk, pack_path(log.layout, pack.name)), pack.name)
        except CorruptStore:
            with self._locked():
                release_packs(log, names)
                self._publish(packs, gone, set(), None)
            raise
        if not self._keep_quarantine:
            for name in names:
                log.disk.unlink(quarantined(log.layout, name))

    def _settle(self) -> None:
        """Forget what was said of commits that are gone."""
        log = self._log
        with self._locked():
            flags = {c: at.flags for c in log.ledger.condemned if (at := log.catalog.locate(Kind.COMMIT, c))}
            condemned = {commit for commit, known in flags.items() if not known & EntryFlags.DELETED}
            there = log.catalog.commits()
            settled = {commit for commit in log.ledger.exceptions if commit not in there}
            if settled or condemned != log.ledger.condemned:
                self._publish([], [], settled, condemned)

    def _clear_segment(self) -> None:
        """Go on in a new segment if the active one holds nothing but what this run said of files."""
        log = self._log
        with self._locked():
            if not log.in_use or log.holds_transactions:
                return
            number = log.position.segment
            log.rotate(forget=True)
        log.disk.unlink(log.layout.segment(number))


def find_garbage(
    log: LogReader, reader: Reader, graph: CommitGraph, progress: Progress, *, oldest_time: int
) -> GarbageReport:
    """What a run would find now; nothing is written.

    Raises:
        CorruptObject, ObjectNotFound, CorruptStore: something that lives is damaged.
    """
    with log.mutex:
        marking = Marking(log, reader, graph, progress)
        sources = log.sources()
        fresh = [(kind, address, at) for kind in Kind for address, at in log.catalog.fresh[kind].items()]
    marking.mark_all(leased_commits(log.disk, log.layout), oldest_time)
    tallies = tally(marking.marks, [source.salt for source in sources])
    for kind, address, at in fresh:
        tallies[at.source.salt].count(at.length, live=(kind, address) in marking.marks)
    size = store_bytes(log.disk, log.layout)
    return make_report(
        marking.lineage,
        marking.condemned(),
        tallies,
        dry_run=True,
        bytes_before=size,
        bytes_after=size,
        packs_before=len(log.ledger.packs),
        packs_after=len(log.ledger.packs),
    )
