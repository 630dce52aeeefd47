"""The store: content-addressed objects, refs and their history in one directory, for any number of processes.

- What `Transaction.publish` returned from survives a loss of power; what it didn't is there whole or not at all.
- Whatever is read was verified against its address.
- Many processes may read and write at once. Writers wait for one another only while a frame is appended.
- A handle serves any number of threads; after `os.fork` the child's is dead.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from piecrust.objects.access import Overlay, Staged
from piecrust.objects.batch import Batch
from piecrust.objects.creation import create_store
from piecrust.objects.disk import Disk, RealDisk, store_error
from piecrust.objects.errors import StoreError, StoreReadOnly
from piecrust.objects.format import SEGMENT_BYTES_MAX, STORE_DIRECTORY, Format, Layout
from piecrust.objects.frame import Entry
from piecrust.objects.graph import CommitGraph
from piecrust.objects.housekeeping import restore_quarantine
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.lazy import is_lazy
from piecrust.objects.lock import LOCK_SECONDS
from piecrust.objects.opening import Parts, WritingParts, check_exists, open_for_reading, open_for_writing
from piecrust.objects.oplog import Operation
from piecrust.objects.progress import Progress, silent
from piecrust.objects.publisher import Change
from piecrust.objects.sealing import seal
from piecrust.objects.store_view import StoreView
from piecrust.objects.transaction import Transaction

if TYPE_CHECKING:
    from piecrust.objects.garbage import GarbageReport

CACHE_BYTES: Final = 64 << 20
RETENTION_SECONDS: Final = 14 * 86400.0


class Store(StoreView):
    """A handle on a store. Make one with `Store.open` or `Store.create`."""

    def __init__(self, root_dir: Path, parts: Parts) -> None:
        """For `open` alone."""
        super().__init__(parts.log, parts.reader)
        self.root_dir = root_dir
        if is_lazy(parts.log.layout):
            from piecrust.objects.remote.promise import promise_of

            self._promise = promise_of(self)
            parts.reader.partial = True
        self._writing = parts if isinstance(parts, WritingParts) else None
        self._pid = os.getpid()
        _open_stores.add(self)

    @classmethod
    def create(cls, directory: Path, *, disk: Disk | None = None, segment_bytes_max: int = SEGMENT_BYTES_MAX) -> None:
        """Make a store in a directory, whatever else is in it; nothing happens if there is one already."""
        disk = disk or RealDisk()
        layout = Layout(Path(directory) / STORE_DIRECTORY)
        try:
            create_store(disk, layout, Format(segment_bytes_max))
        except OSError as error:
            raise store_error(layout.root, "create", error) from error

    @classmethod
    def open(
        cls,
        directory: Path,
        *,
        create: bool = False,
        read_only: bool = False,
        disk: Disk | None = None,
        sync: bool = True,
        cache_bytes: int = CACHE_BYTES,
        lock_seconds: float = LOCK_SECONDS,
        background: bool = True,
        clock: Callable[[], int] = time.time_ns,
    ) -> Store:
        """Open the store in a directory, the one that holds `.piecrust`.

        Args:
            directory: it keeps its form in `root_dir`.
            create: make a store if the directory is empty or missing.
            read_only: write nothing at all, not even locks and leases.
            disk: where the files are; the operating system's by default.
            sync: False gives up durability (not consistency within this boot) for speed.
            cache_bytes: how much memory decoded objects may take, about.
            background: have a thread do what keeps the store in order: tables for opening it fast, sealing segments.
            lock_seconds: how long to wait for other processes before `StoreLocked`.
            clock: nanoseconds since 1970, for the operation log.

        Raises:
            NotAStore: there is no store, and it may not be made here.
            UnsupportedFormat: it was written by a newer version.
            CorruptStore: it is too damaged to be read. If only a part is, reading works and publishing raises this.
            StoreIOError: the operating system refused.
        """
        directory = Path(directory)
        disk = disk or RealDisk()
        layout = Layout(directory / STORE_DIRECTORY)
        try:
            if read_only or not create:
                check_exists(disk, layout)
            if read_only:
                return cls(directory, open_for_reading(disk, layout, cache_bytes))
            parts = open_for_writing(
                disk,
                layout,
                cache_bytes,
                create=create,
                sync=sync,
                lock_seconds=lock_seconds,
                background=background,
                clock=clock,
            )
            return cls(directory, parts)
        except OSError as error:
            raise store_error(layout.root, "open", error) from error

    @property
    def read_only(self) -> bool:
        """Whether this handle can't publish."""
        return self._writing is None

    @property
    def layout(self) -> Layout:
        """Where the store's files are."""
        return self._log.layout

    def close(self) -> None:
        """End the handle. Twice is fine."""
        if self._promise is not None and self._dead is None:
            self._promise.close()
        self._end("closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def transaction(self) -> Transaction:
        """A new transaction; nothing comes of it unless it is published."""
        self._to_write()
        return Transaction(self)

    def publish(self, transaction: Transaction, operation: Operation) -> None:
        """What `Transaction.publish` does."""
        change = Change(
            operation, transaction.ref_updates, transaction.kept, transaction.deleted, transaction.ahead_since
        )
        batch = self._own_batch()
        if batch is not None:
            batch.add(transaction, change)
        else:
            self._publish(transaction, transaction.assumed, transaction.generation, [change])

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Publish everything that this thread publishes within the block at its end, with one sync.

        Within the block this thread sees what it published; nobody else does. If the block raises, or a ref was moved
        by somebody else meanwhile (`Conflict`), nothing of it is published.
        """
        parts = self._to_write()
        if self._own_batch() is not None:
            yield  # it goes with the outer one
            return
        batch = Batch(self._reader, parts.publisher.encoder, self._log.ledger.refs, self.generation)
        self._batches[batch.thread] = batch
        try:
            yield
            if batch.changes:
                self._publish(batch, batch.assumed, batch.generation, batch.changes, batch.entries)
        finally:
            del self._batches[batch.thread]

    def seal(self) -> None:
        """Make packs of all that is in the log; happens by itself when a segment is full.

        Raises:
            StoreLocked: another process does upkeep, or publishes, for too long.
            StoreFull, StoreIOError, CorruptStore: what was sealed so far stays sealed.
        """
        parts = self._to_write()
        log, lock = parts.log, parts.lock
        try:
            with log.mutex, lock:
                log.prepare()
                if log.in_use:
                    log.rotate()
            parts.upkeep.run(lambda: seal(log, lock, self._graph))
        except OSError as error:
            raise store_error(log.layout.root, "seal", error) from error

    def gc(
        self,
        *,
        dry_run: bool = False,
        retention_seconds: float = RETENTION_SECONDS,
        keep_quarantine: bool = False,
        progress: Progress = silent,
    ) -> GarbageReport:
        """Give the room back that deleted commits and abandoned states take. Others read and commit meanwhile.

        Args:
            dry_run: only tell what would be done; a handle that reads may ask for it, too.
            retention_seconds: how long what an operation left can be brought back; deleted commits don't wait.
            keep_quarantine: leave the packs that are replaced in quarantine/, until the next run without this.
            progress: is told what is being done, how much of it was done, and how much there is.

        Raises:
            CorruptObject, ObjectNotFound, CorruptStore: something that is needed is damaged: see `fsck`.
            StoreLocked: another process does upkeep.
            StoreFull, StoreIOError: what was done so far stays done; the next run goes on with it.
        """
        from piecrust.objects.collector import Collector, find_garbage

        self._check()
        log, oldest = self._log, time.time_ns() - int(retention_seconds * 1e9)
        graph = CommitGraph(self._reader.catalog, self._reader.load)  # not what a lazy clone would ask for
        try:
            if dry_run:
                self.refresh()
                return find_garbage(log, self._reader, graph, progress, oldest_time=oldest)
            parts = self._to_write()
            with parts.upkeep.alone:
                return Collector(
                    parts.log,
                    self._reader,
                    parts.lock,
                    graph,
                    progress,
                    oldest_time=oldest,
                    keep_quarantine=keep_quarantine,
                ).run()
        except OSError as error:
            raise store_error(log.layout.root, "gc", error) from error

    def restore_collected(self) -> int:
        """Bring back what the last `gc` with `keep_quarantine` took away; how many packs there were.

        Raises:
            CorruptStore: a pack in quarantine is damaged; none was brought back.
            StoreLocked: another process does upkeep.
        """
        parts = self._to_write()
        try:
            with parts.upkeep.alone:
                return restore_quarantine(parts.log, parts.lock)
        except OSError as error:
            raise store_error(parts.log.layout.root, "restore", error) from error

    @contextmanager
    def keep_everything(self) -> Iterator[None]:
        """Within the block nothing is collected: for publishing objects ahead of the commit that they belong to.

        Raises:
            StoreLocked: another process does upkeep for too long.
        """
        with self._to_write().upkeep.alone:
            yield

    def lease(self, commit: CommitId) -> AbstractContextManager[None]:
        """`with store.lease(commit):` keeps what the commit needs from being collected. Free for a reading handle."""
        self._check()
        return nullcontext() if self._writing is None else self._writing.leases.hold(commit)

    def _publish(
        self,
        objects: Overlay,
        assumed: dict[tuple[Kind, bytes], Staged],
        generation: int,
        changes: list[Change],
        entries: list[Entry] | None = None,
    ) -> None:
        parts = self._to_write()
        if self._pid != os.getpid():  # forked by something that runs no handlers
            self._end("fork")
            self._check()
        try:
            there = [(kind, address, staged) for (kind, address), staged in assumed.items()]
            parts.publisher.publish(objects, there, generation, changes, self._graph, entries)
        except StoreError:
            if parts.log.sync_failed:
                self._end("sync failed")
            raise
        except OSError as error:
            raise store_error(parts.log.layout.root, "publish", error) from error
        parts.upkeep.notice()

    def _to_write(self) -> WritingParts:
        """What writes; `StoreReadOnly` or `StoreClosed` if nothing does."""
        self._check()
        if self._writing is None:
            raise StoreReadOnly(self.root_dir)
        return self._writing

    def _end(self, reason: str) -> None:
        if self._dead is not None:
            return
        self._dead = reason
        parts = self._writing
        if parts is not None:
            if reason != "fork":  # the thread and the leases are the parent's
                parts.leases.close()
                parts.upkeep.close()
            parts.lock.close()
        self._log.close()
        self._reader.cache.clear()


_open_stores: weakref.WeakSet[Store] = weakref.WeakSet()


def _end_after_fork() -> None:
    """In a child: its handles share file offsets, locks and mappings with the parent's, so none of them may go on."""
    for store in list(_open_stores):
        store._end("fork")  # noqa: SLF001  (the class's own handler)


os.register_at_fork(after_in_child=_end_after_fork)
