"""The store: content-addressed objects, refs and their history in one directory, for any number of processes.

- What `Transaction.publish` returned from survives a loss of power; what it didn't is there whole or not at all.
- Whatever is read was verified against its address.
- Many processes may read and write at once. Writers wait for one another only while a frame is appended.
- A handle serves any number of threads; after `os.fork` the child's is dead.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from piecrust.objects.access import ObjectReader, Overlay, Staged
from piecrust.objects.batch import Batch, BatchView
from piecrust.objects.creation import create_store
from piecrust.objects.disk import Disk, RealDisk, store_error
from piecrust.objects.errors import CorruptStore, StoreClosed, StoreError, StoreReadOnly, UnknownRef
from piecrust.objects.format import SEGMENT_BYTES_MAX, STORE_DIRECTORY, Format, Layout
from piecrust.objects.frame import EntryFlags
from piecrust.objects.graph import CommitGraph, CommitNode
from piecrust.objects.ids import Address, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.lock import LOCK_SECONDS
from piecrust.objects.opening import Parts, WritingParts, check_exists, open_for_reading, open_for_writing
from piecrust.objects.oplog import Operation, OperationRecord
from piecrust.objects.publisher import Change
from piecrust.objects.refs import RefValue, Symbolic
from piecrust.objects.replay import read_operations
from piecrust.objects.sealing import seal
from piecrust.objects.transaction import Transaction

CACHE_BYTES: Final = 64 << 20

_COMMIT_REF_HOPS: Final = 8


class Store:
    """A handle on a store. Make one with `Store.open` or `Store.create`."""

    def __init__(self, root_dir: Path, parts: Parts) -> None:
        """For `open` alone."""
        self.root_dir = root_dir
        self._log, self._reader = parts.log, parts.reader
        self._writing = parts if isinstance(parts, WritingParts) else None
        self._graph = CommitGraph(parts.reader.catalog, self.load)
        self._batches: dict[int, Batch] = {}  # by thread
        self._dead: str | None = None
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
    def damage(self) -> tuple[CorruptStore, ...]:
        """What was found to be damaged; if there is any, reading goes on and publishing is refused."""
        return tuple(self._log.damage)

    @property
    def generation(self) -> int:
        """How many times garbage was collected, as far as this handle knows."""
        return self._log.ledger.generation

    def close(self) -> None:
        """End the handle. Twice is fine."""
        self._end("closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded object, verified against its address.

        Raises:
            ObjectNotFound: the store doesn't have it.
            CorruptObject: what the store has under this address is something else.
        """
        batch = self._own_batch()
        return self._reader.load(kind, address) if batch is None else batch.load(kind, address)

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether the store has the object; it may still turn out corrupt."""
        batch = self._own_batch()
        return self._reader.contains(kind, address) if batch is None else batch.contains(kind, address)

    def stored_bytes(self, kind: Kind, address: bytes) -> int:
        """How many bytes an object takes as it is encoded, without its share of a frame's head; 0 if it isn't there."""
        location = self._reader.catalog.locate(kind, address)
        return 0 if location is None else location.length

    def reader(self) -> ObjectReader:
        """What this thread sees, for any thread to read: the store, and the batch that this thread is in."""
        batch = self._own_batch()
        return self if batch is None else BatchView(self, batch)

    def find(self, kind: Kind, prefix: str) -> list[Address]:
        """The addresses of a kind that begin with these hexadecimal digits, in order."""
        batch = self._own_batch()
        found = set(self._reader.find(kind, prefix))
        if batch is not None:
            found |= {address for k, address, _ in batch.staged() if k is kind and address.hex().startswith(prefix)}
        return [Address(address) for address in sorted(found)]

    def refs(self) -> Mapping[str, RefValue]:
        """Every ref, as this handle knows them now; a copy."""
        batch = self._own_batch()
        return dict(self._log.ledger.refs if batch is None else batch.refs)

    def ref(self, name: str) -> RefValue:
        """Where a ref is; `UnknownRef` if there is none of this name."""
        batch = self._own_batch()
        value = (self._log.ledger.refs if batch is None else batch.refs).get(name)
        if value is None:
            raise UnknownRef(name)
        return value

    def ref_commit(self, name: str) -> CommitId:
        """The commit that a ref stands for, symbolic ones followed; `UnknownRef` if it leads nowhere."""
        for _ in range(_COMMIT_REF_HOPS):
            value = self.ref(name)
            if not isinstance(value, Symbolic):
                return value
            name = value.name
        raise UnknownRef(name)

    def commits(self) -> list[CommitId]:
        """The commits that are kept: made or imported with `keep`, and not deleted since. In no order."""
        batch = self._own_batch()
        exceptions: dict[CommitId, bool] = dict(self._log.ledger.exceptions)
        if batch is not None:
            exceptions |= batch.kept
        flagged = [CommitId(a) for a, flags in self._reader.catalog.commits().items() if flags & EntryFlags.KEPT]
        kept = [commit for commit in flagged if exceptions.pop(commit, True)]
        return kept + [commit for commit, keep in exceptions.items() if keep]

    def is_deleted(self, commit: CommitId) -> bool:
        """Whether the commit was deleted, and not made again since; others may still descend from it."""
        batch = self._own_batch()
        kept = None if batch is None else batch.kept.get(commit)
        return (self._log.ledger.exceptions.get(commit) if kept is None else kept) is False

    def graph(self, commit: CommitId) -> CommitNode:
        """How a commit descends from others; `ObjectNotFound` if there is no such commit."""
        self._check()
        return self._graph.node(commit)

    def is_ancestor(self, ancestor: CommitId, commit: CommitId) -> bool:
        """Whether `commit` descends from `ancestor`, or is it."""
        self._check()
        return self._graph.is_ancestor(ancestor, commit)

    def commits_with_root(self, root: bytes) -> list[CommitId]:
        """The commits whose state has this root."""
        self._check()
        return self._graph.with_root(root)

    def refresh(self) -> bool:
        """Take in what other processes published; whether there was anything. Costs half a microsecond if not."""
        self._check()
        log = self._log
        if not log.durable.moved() and not log.forgotten:
            return False
        with log.mutex:
            before = log.ledger.next_operation, log.ledger.generation
            try:
                log.follow()
            except OSError as error:
                raise store_error(log.layout.root, "read", error) from error
            return (log.ledger.next_operation, log.ledger.generation) != before

    def transaction(self) -> Transaction:
        """A new transaction; nothing comes of it unless it is published."""
        self._to_write()
        return Transaction(self)

    def publish(self, transaction: Transaction, operation: Operation) -> None:
        """What `Transaction.publish` does."""
        change = Change(operation, transaction.ref_updates, transaction.kept, transaction.deleted)
        batch = self._own_batch()
        if batch is not None:
            batch.add(transaction, change)
        else:
            self._publish(transaction, transaction.assumed, transaction.generation, [change])

    @contextmanager
    def batch(self) -> Iterator[None]:
        """Publish everything that this thread publishes within the block at its end: one frame, one sync.

        Within the block this thread sees what it published; nobody else does. If the block raises, or a ref was moved
        by somebody else meanwhile (`Conflict`), nothing of it is published.
        """
        self._to_write()
        if self._own_batch() is not None:
            yield  # it goes with the outer one
            return
        batch = Batch(self._reader, self._log.ledger.refs, self.generation)
        self._batches[batch.thread] = batch
        try:
            yield
            if batch.changes:
                self._publish(batch, batch.assumed, batch.generation, batch.changes)
        finally:
            del self._batches[batch.thread]

    def operations(self) -> Iterator[OperationRecord]:
        """The operation log, newest first, as far back as it is held.

        Raises:
            CorruptStore: a record is damaged.
        """
        self._check()
        first = self._log.ledger.first_operation
        for frame in self._reader.catalog.operations():
            yield from (record for record in reversed(read_operations(frame)) if record.sequence >= first)

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

    def lease(self, commit: CommitId) -> AbstractContextManager[None]:
        """`with store.lease(commit):` keeps what the commit needs from being collected. Free for a reading handle."""
        self._check()
        return nullcontext() if self._writing is None else self._writing.leases.hold(commit)

    def _publish(
        self, objects: Overlay, assumed: dict[tuple[Kind, bytes], Staged], generation: int, changes: list[Change]
    ) -> None:
        parts = self._to_write()
        if self._pid != os.getpid():  # forked by something that runs no handlers
            self._end("fork")
            self._check()
        try:
            parts.publisher.publish(list(objects.staged()), assumed, generation, changes, self._graph)
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

    def _own_batch(self) -> Batch | None:
        """The batch of this thread; `StoreClosed` if the handle is dead."""
        if self._dead is not None:
            raise StoreClosed(self._dead)
        return self._batches.get(threading.get_ident()) if self._batches else None

    def _check(self) -> None:
        if self._dead is not None:
            raise StoreClosed(self._dead)

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
