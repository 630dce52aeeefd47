"""Checking a store: that every file, object, commit and ref is what it should be. Nothing is written.

A quick check reads the small files, the log, and both ends of every pack. A full one reads everything: each object is
hashed, each commit that is kept is followed to all that it needs, its roots are computed anew from its records, and
the indexes are compared with what they are of.

Other processes may go on committing: what is checked is the store as it was at the beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from piecrust.objects.commit_check import CommitCheck
from piecrust.objects.damaged_store import CheckedSource, DamagedStore
from piecrust.objects.disk import Disk, Mode, RealDisk, store_error
from piecrust.objects.errors import CorruptObject, CorruptStore, InvalidFormat, ObjectNotFound
from piecrust.objects.findings import AffectedCommit, Checked, DamagedFile, DamagedObject, DamagedRef, Report
from piecrust.objects.format import STORE_DIRECTORY, Layout, read_format
from piecrust.objects.frame_check import CheckedFrame, LooseSource, every_frame
from piecrust.objects.graph import node_of
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.object_check import verify_objects
from piecrust.objects.opening import check_exists
from piecrust.objects.pack import PackSource, pack_name, verify_pack
from piecrust.objects.progress import Progress, silent
from piecrust.objects.refs import ALIASES, CONTRACTS, PINS, Symbolic
from piecrust.objects.replay import read_operations
from piecrust.objects.snapshot import STATE, TABLE_SUFFIX, Snapshot
from piecrust.objects.table import Table, TableDamaged

_THREADS_MAX: Final = 8
_COMMITS_PER_STEP: Final = 64


def fsck(
    directory: Path,
    *,
    full: bool = True,
    threads: int | None = None,
    disk: Disk | None = None,
    progress: Progress = silent,
) -> Report:
    """Check the store in a directory, the one that holds `.piecrust`.

    Args:
        directory: it holds `.piecrust`.
        full: look at every object and commit, not at files and refs alone.
        threads: that hash objects at once; by default one for each processor, up to 8.
        disk: where the files are; the operating system's by default.
        progress: told now and then how far the check is.

    Raises:
        NotAStore: there is no store.
        CorruptStore: it is so damaged that nothing can be read.
        UnsupportedFormat: it was written by a newer version.
        StoreIOError: the operating system refused.
    """
    disk = disk or RealDisk()
    layout = Layout(Path(directory) / STORE_DIRECTORY)
    try:
        check_exists(disk, layout)
        store = DamagedStore(disk, layout)
        try:
            return examine(store, full=full, threads=threads, progress=progress)
        finally:
            store.close()
    except OSError as error:
        raise store_error(layout.root, "check", error) from error


def examine(
    store: DamagedStore, *, full: bool = True, threads: int | None = None, progress: Progress = silent
) -> Report:
    """Check a store that is open for it; notes in `store` what isn't sound."""
    threads = threads or min(_THREADS_MAX, os.cpu_count() or 1)
    check = _Check(store, full=full, threads=threads, progress=progress)
    check.small_files()
    check.sources()
    check.indexes()
    check.operations()
    if full:
        check.commits()
    check.refs()
    return check.report()


def roots_of(store: DamagedStore) -> set[CommitId]:
    """The commits that must be whole: those that are kept, and those that a ref stands on."""
    refs = store.log.ledger.refs.values()
    return {*store.kept(), *(value for value in refs if isinstance(value, CommitId))}


class _Check:
    """A check that is under way."""

    def __init__(self, store: DamagedStore, *, full: bool, threads: int, progress: Progress) -> None:
        self._store, self._full, self._threads, self._progress = store, full, threads, progress
        self._files: dict[Path, list[DamagedFile]] = {}
        self._objects: list[DamagedObject] = []
        self._commits: dict[CommitId, AffectedCommit] = {}
        self._refs: list[DamagedRef] = []
        self._checked = Checked()
        self._ancestors: dict[CommitId, tuple[CommitId, ...]] = {}

    def report(self) -> Report:
        """What was found so far."""
        files = [damage for of_file in self._files.values() for damage in of_file]
        commits = self._with_refs(list(self._commits.values()))
        return Report(self._full, tuple(files), tuple(self._objects), tuple(commits), tuple(self._refs), self._checked)

    def small_files(self) -> None:
        """FORMAT and DURABLE."""
        store = self._store
        self._count(files=2)
        try:
            read_format(store.disk, store.layout.format)
        except CorruptStore as error:
            self._note(error)
        if not store.log.durable.read().exact:
            self._note(CorruptStore(store.layout.durable, 0, "a slot does not match its checksum"), disposable=True)
        for damage in store.log.damage:
            self._note(damage)

    def sources(self) -> None:
        """Segments and packs: their frames, and in a full check the objects in them."""
        everything = list(self._store.sources())
        sizes = [
            checked.end if self._full or not isinstance(checked.source, PackSource) else 0 for checked in everything
        ]
        done, total = 0, sum(sizes)
        for checked, size in zip(everything, sizes, strict=True):
            self._count(files=1)
            hashed = isinstance(checked.source, PackSource) and self._pack(checked.source)
            if size:
                frames = self._frames(checked, hashed=hashed)
                if not self._full:
                    for _ in frames:
                        self._count(frames=1)
                else:
                    at = done
                    for tested in verify_objects(self._store.reader, checked.source, frames, self._threads):
                        at += tested.stored_bytes
                        self._count(frames=tested.frames, objects=tested.objects, object_bytes=tested.object_bytes)
                        self._objects += tested.damaged
                        self._progress("objects", min(at, total), total)
            if checked.source.path in self._files:
                self._store.damaged_salts.add(checked.source.salt)
            done += size
        self._store.unsound.update((damage.kind, bytes(damage.address)) for damage in self._objects)

    def indexes(self) -> None:
        """The caches in index/, and that the catalog made of them knows every commit as it is."""
        store = self._store
        for name in sorted(store.disk.list(store.layout.index)):
            self._count(files=1)
            reason = _fault_of_index(store, name)
            if reason is not None:
                self._note(CorruptStore(store.layout.index / name, 0, reason), disposable=True)

    def operations(self) -> None:
        """The operation log."""
        log, previous = self._store.log, None
        for frame in log.catalog.operations():
            try:
                records = read_operations(frame)
            except CorruptStore as error:
                if frame.source.salt not in self._store.damaged_salts:
                    self._note(error)
                continue
            self._count(operations=len(records))
            if previous is not None and records and records[-1].sequence >= previous:
                self._note(CorruptStore(frame.source.path, frame.offset, "operations are out of order"))
            previous = records[0].sequence if records else previous

    def commits(self) -> None:
        """Every commit that is kept or that a ref stands on, and how they and their ancestors descend."""
        store, check = self._store, CommitCheck(self._store, partial=self._store.reader.partial)
        alive = roots_of(store)
        history, unreadable = check.lineage(alive)
        self._commits = {damage.commit: damage for damage in unreadable}
        for done, (commit, value) in enumerate(history):
            if done % _COMMITS_PER_STEP == 0:
                self._progress("commits", done, len(history))
            self._ancestors[commit] = value.parents
            damage = check.link(commit, value)
            if commit in alive:
                damage = check.content(commit, value) or damage
            if damage is not None:
                self._commits[commit] = damage
            if self._disagrees(commit, value):
                where = store.layout.index / STATE
                self._note(CorruptStore(where, 0, f"the index is wrong about {commit.hex()}"), disposable=True)
        self._count(commits=len(history) + len(unreadable))

    def refs(self) -> None:
        """Every ref leads to a commit that is there, or says so."""
        refs = self._store.log.ledger.refs
        for name, value in sorted(refs.items()):
            self._count(refs=1)
            if isinstance(value, Symbolic):
                if name.startswith(ALIASES) != value.name.startswith(CONTRACTS):
                    self._refs.append(DamagedRef(name, f"it stands for {value.name}"))
                continue
            if name.startswith(PINS) and name != f"{PINS}{value.hex()}":
                self._refs.append(DamagedRef(name, f"it is at {value.hex()}"))
            try:
                self._store.load(Kind.COMMIT, value)
            except (CorruptObject, ObjectNotFound) as error:
                self._refs.append(DamagedRef(name, str(error)))

    def _pack(self, source: PackSource) -> bool:
        """The ends of a pack and its table; in a full check its name, the hash of it all. Whether that was right."""
        try:
            source.table().check_all()
            if self._full:
                verify_pack(source, pack_name(source.path.name) or b"")
                return True
        except TableDamaged as error:
            self._note(CorruptStore(source.path, source.frames_end, f"the pack's table is damaged: {error}"))
        except CorruptStore as error:
            self._note(error)
        return False

    def _frames(self, checked: CheckedSource, *, hashed: bool) -> Iterator[CheckedFrame]:
        """The frames of a file; what is damaged is noted, and what no index knows is made known."""
        source, end, chain = checked.source, 0, None
        unknown = 0
        for frame in every_frame(source, checked.end, hashed=hashed):
            beyond = isinstance(source, LooseSource) and frame.type is None  # the pack's table, if nothing says where
            if frame.fault is not None and not beyond:
                self._note(CorruptStore(source.path, frame.offset, frame.fault))
            if self._full or frame.fault is not None:
                unknown += self._store.take_in(source, frame)
            end, chain = frame.end, frame.chain
            yield frame
        if source.path not in self._files:
            if end < checked.end or (checked.chain is not None and chain != checked.chain):
                self._note(CorruptStore(source.path, end, "the last frame is not the one that was published"))
            elif unknown:
                where = self._store.layout.index / STATE
                self._note(CorruptStore(where, 0, f"the index misses {unknown} objects"), disposable=True)

    def _disagrees(self, commit: CommitId, value: object) -> bool:
        """Whether the commit graph tells something else than the commit."""
        try:
            return self._store.graph.node(commit) != node_of(value)
        except (CorruptObject, ObjectNotFound):
            return True

    def _with_refs(self, damaged: list[AffectedCommit]) -> list[AffectedCommit]:
        """The same, with the names of the refs in whose history they are."""
        if not damaged:
            return []
        wanted = {damage.commit for damage in damaged}
        found: dict[CommitId, list[str]] = {}
        for name, value in sorted(self._store.log.ledger.refs.items()):
            if isinstance(value, Symbolic):
                continue
            seen: set[CommitId] = set()
            todo = [value]
            while todo:
                here = todo.pop()
                if here not in seen:
                    seen.add(here)
                    todo.extend(self._ancestors.get(here, ()))
            for commit in seen & wanted:
                found.setdefault(commit, []).append(name)
        return [replace(damage, refs=tuple(found.get(damage.commit, ()))) for damage in damaged]

    def _note(self, damage: CorruptStore, *, disposable: bool = False) -> None:
        """Remember damage of a file, once for each place."""
        of_file = self._files.setdefault(Path(str(damage.path)), [])
        if all(known.offset != damage.offset for known in of_file):
            of_file.append(DamagedFile(Path(str(damage.path)), damage.offset, damage.reason, disposable))

    def _count(self, **more: int) -> None:
        self._checked = replace(
            self._checked, **{name: getattr(self._checked, name) + number for name, number in more.items()}
        )


def _fault_of_index(store: DamagedStore, name: str) -> str | None:
    """What is wrong with a file in index/; None if nothing is, or if it isn't one of ours."""
    try:
        file = store.disk.open(store.layout.index / name, Mode.READ)
    except FileNotFoundError:
        return None  # another process has made a newer one
    try:
        if name == STATE:
            Snapshot.decode(file.read(0, file.size()))
        elif name.endswith(TABLE_SUFFIX):
            Table(file.map()).check_all()
    except InvalidFormat as error:
        return error.reason
    except TableDamaged as error:
        return f"it does not match its checksum: {error}"
    finally:
        file.close()
    return None
