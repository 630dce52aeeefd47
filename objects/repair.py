"""Repairing a store: what is damaged goes to quarantine, what is whole in it stays, what is lost is named.

1. The store is checked as a whole, under its locks.
2. Whatever can be read in damaged files is written to new packs, object by object; what another store has is taken
   from there. Every object is verified on the way.
3. A new segment begins, whose checkpoint names the files that are sound and the new packs. The damaged ones are no
   longer part of the store; a segment that was being written to is closed where it ended. Nothing is written over.
4. Damaged files are moved to `quarantine/`, damaged caches are removed: they are made anew when they are needed.
5. The store is checked again.

A repair that is interrupted before the third step has done nothing but leave a draft behind; afterwards, what is left
to move is of no importance.
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

from piecrust.objects.access import ObjectReader
from piecrust.objects.checkpoint import ClosedSegment, Ledger, PackName
from piecrust.objects.commit_check import CommitCheck
from piecrust.objects.damaged_store import CheckedSource, DamagedStore
from piecrust.objects.disk import Disk, Mode, RealDisk, store_error
from piecrust.objects.durable import Durable, Position
from piecrust.objects.findings import Repair, Report
from piecrust.objects.format import STORE_DIRECTORY, Format, Layout, segment_number, write_format
from piecrust.objects.fsck import examine, roots_of
from piecrust.objects.lock import LOCK_SECONDS, StoreLock
from piecrust.objects.log_writer import write_segment
from piecrust.objects.opening import check_exists
from piecrust.objects.progress import Progress, silent
from piecrust.objects.salvage import Salvage
from piecrust.objects.segment import later_frames


def repair(
    directory: Path,
    *,
    heal_from: ObjectReader | None = None,
    threads: int | None = None,
    disk: Disk | None = None,
    lock_seconds: float = LOCK_SECONDS,
    progress: Progress = silent,
) -> Repair:
    """Repair the store in a directory, the one that holds `.piecrust`. Nobody else can write meanwhile.

    Handles that were open before go on reading; to write, they have to be opened again.

    Args:
        directory: it holds `.piecrust`.
        heal_from: another store (or anything that has objects) to take from what is lost here.
        threads: as for `fsck`.
        disk: where the files are; the operating system's by default.
        lock_seconds: how long to wait for other processes.
        progress: told now and then how far it is.

    Raises:
        NotAStore, CorruptStore, UnsupportedFormat, StoreIOError: as `fsck`.
        StoreLocked: another process is writing.
        StoreFull: there is no room for what has to be written anew; the store is as it was.
    """
    disk = disk or RealDisk()
    layout = Layout(Path(directory) / STORE_DIRECTORY)
    try:
        check_exists(disk, layout)
        with contextlib.ExitStack() as locks:
            for path in (layout.upkeep, layout.lock):
                lock = StoreLock(disk.open(path, Mode.ENSURE), path, lock_seconds)
                locks.callback(lock.close)
                locks.enter_context(lock)
            return _repair(disk, layout, heal_from, threads, progress)
    except OSError as error:
        raise store_error(layout.root, "repair", error) from error


def _repair(
    disk: Disk, layout: Layout, heal_from: ObjectReader | None, threads: int | None, progress: Progress
) -> Repair:
    store = DamagedStore(disk, layout)
    try:
        before = examine(store, threads=threads, progress=progress)
        if before.clean:
            return Repair(before, before)
        done = _Repair(store, before, heal_from).run(progress)
    finally:
        store.close()
    again = DamagedStore(disk, layout)
    try:
        return replace(done, after=examine(again, threads=threads, progress=progress))
    finally:
        again.close()


class _Repair:
    """A repair that is under way."""

    def __init__(self, store: DamagedStore, before: Report, heal_from: ObjectReader | None) -> None:
        self._store, self._before, self._heal_from = store, before, heal_from
        self._disk, self._layout = store.disk, store.layout
        self._bad = {file.path for file in before.files if not file.disposable} | {o.path for o in before.objects}

    def run(self, progress: Progress) -> Repair:
        """All of it but the second check."""
        rebuilt = []
        if self._layout.format in self._bad:
            self._disk.make_directory(self._layout.tmp)
            write_format(self._disk, self._layout, Format())
            rebuilt.append(self._layout.format)
        sources = list(self._store.sources())
        damaged = [checked for checked in sources if checked.source.path in self._bad]
        salvage = Salvage(self._store, {checked.source.salt for checked in damaged}, self._heal_from)
        try:
            salvage.heal((found.kind, found.address) for found in self._before.objects)
            for count, checked in enumerate(damaged):
                progress("salvage", count, len(damaged))
                salvage.copy(checked)
            self._walk(salvage)
            packs = salvage.finish()
        except BaseException:
            salvage.abandon()
            raise
        there = {checked.source.salt for checked in sources} - {checked.source.salt for checked in damaged}
        ledger = self._store.log.ledger
        lost = {pack.salt for pack in ledger.packs} | {closed.salt for closed in ledger.segments}
        lost -= there
        unsure = any(file.path == self._layout.durable for file in self._before.files)
        quarantined: list[Path] = []
        if damaged or lost or packs or unsure:
            self._begin_anew(self._mended(there, packs), damaged)
            quarantined = [self._put_away(path) for path in sorted(self._files_of(damaged))]
            for directory in {self._layout.quarantine, self._layout.log, self._layout.packs}:
                self._disk.sync_directory(directory)
            rebuilt += [self._layout.durable] if unsure else []
        rebuilt += self._drop_caches(everything=bool(quarantined or lost))
        return Repair(
            self._before,
            self._before,
            tuple(quarantined),
            tuple(rebuilt),
            salvage.salvaged,
            tuple(salvage.healed),
        )

    def _walk(self, salvage: Salvage) -> None:
        """Ask for everything that commits need, so that what can be had is taken."""
        check = CommitCheck(salvage, partial=self._store.reader.partial)
        alive = roots_of(self._store)
        history, _ = check.lineage(alive)
        for commit, value in history:
            if commit in alive or commit in salvage.kept:
                check.content(commit, value)

    def _mended(self, there: set[bytes], packs: list[PackName]) -> Ledger:
        """The ledger with the files that are sound, and the new ones."""
        log = self._store.log
        ledger, position, active = log.ledger, log.position, log.active
        segments = [closed for closed in ledger.segments if closed.salt in there]
        if active.salt in there:
            segments.append(ClosedSegment(position.segment, position.end, position.chain, active.salt))
        return replace(
            ledger,
            segments=segments,
            packs=[pack for pack in ledger.packs if pack.salt in there] + packs,
            generation=ledger.generation + 1,  # who has left out what was here must look again
        )

    def _begin_anew(self, ledger: Ledger, damaged: list[CheckedSource]) -> None:
        """Go on in a new segment that begins with this ledger, as a rotation does."""
        disk, layout, log = self._disk, self._layout, self._store.log
        position, active = log.position, log.active
        sequence = position.sequence
        if any(checked.named is None for checked in damaged):
            later = later_frames(active, active.header, position.end)
            sequence = max([sequence, *(frame.header.sequence for frame in later)])
        numbers = [number for name in disk.list(layout.log) if (number := segment_number(name)) is not None]
        number = max([position.segment, *numbers]) + 1
        with contextlib.suppress(FileNotFoundError):
            file = disk.open(active.path, Mode.WRITE)
            try:
                file.sync()
            finally:
                file.close()
        disk.make_directory(layout.tmp)
        end, sequence, chain = write_segment(disk, layout, number, ledger, sequence + 1)
        durable = Durable(disk, layout.durable, writable=True)
        try:
            durable.read()
            # Who takes the lock after we were killed finds the new segment, or none.
            durable.write(position._replace(synced=position.end, successor=number))
            disk.rename(layout.tmp / "segment", layout.segment(number))
            disk.sync_directory(layout.log)
            durable.write(Position(number, end, end, sequence, chain))
        finally:
            durable.close()

    def _files_of(self, damaged: list[CheckedSource]) -> set[Path]:
        """The damaged files that are there, also those that could not even be opened."""
        named = self._bad | {checked.source.path for checked in damaged}
        found = set()
        for directory in (self._layout.log, self._layout.packs):
            names = set(self._disk.list(directory))
            found |= {path for path in named if path.parent == directory and path.name in names}
        return found

    def _put_away(self, path: Path) -> Path:
        """Move a file to quarantine; where it is."""
        self._disk.make_directory(self._layout.quarantine)
        taken, name, count = set(self._disk.list(self._layout.quarantine)), path.name, 0
        while name in taken:
            count += 1
            name = f"{path.name}.{count}"
        self._disk.rename(path, self._layout.quarantine / name)
        return self._layout.quarantine / name

    def _drop_caches(self, *, everything: bool) -> list[Path]:
        """Remove the damaged files of index/, or all of them."""
        index = self._layout.index
        bad = {file.path for file in self._before.files if file.disposable}
        # What tables say of files that are gone does no harm, but tables of other places may be missing beside them.
        dropped = [index / name for name in sorted(self._disk.list(index)) if everything or index / name in bad]
        for path in dropped:
            self._disk.unlink(path)
        return dropped
