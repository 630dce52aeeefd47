"""What a handle sees: objects, refs, commits and the operation log, as they are now.

A thread that is in a batch sees what it has published in it, too.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from piecrust.objects.access import ObjectReader, Promise
from piecrust.objects.batch import Batch, BatchView
from piecrust.objects.disk import store_error
from piecrust.objects.errors import CorruptStore, ObjectNotFound, StoreClosed, UnknownRef
from piecrust.objects.frame import Encoding, Entry, EntryFlags
from piecrust.objects.frame_check import StoredObject
from piecrust.objects.graph import CommitGraph, CommitNode
from piecrust.objects.ids import Address, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.log_reader import LogReader
from piecrust.objects.object_check import body_of
from piecrust.objects.oplog import OperationRecord
from piecrust.objects.reader import Reader
from piecrust.objects.refs import RefValue, Symbolic
from piecrust.objects.replay import read_operations

_COMMIT_REF_HOPS: Final = 8


class StoreView:
    """The reading half of a store's handle."""

    def __init__(self, log: LogReader, reader: Reader) -> None:
        self._log, self._reader = log, reader
        self._graph = CommitGraph(reader.catalog, self.load)
        self._batches: dict[int, Batch] = {}  # by thread
        self._dead: str | None = None
        self._promise: Promise | None = None  # what has the objects that are missing here

    @property
    def damage(self) -> tuple[CorruptStore, ...]:
        """What was found to be damaged; if there is any, reading goes on and publishing is refused."""
        return tuple(self._log.damage)

    @property
    def generation(self) -> int:
        """How many times garbage was collected, as far as this handle knows."""
        return self._log.ledger.generation

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded object, verified against its address.

        Raises:
            ObjectNotFound: the store doesn't have it.
            CorruptObject: what the store has under this address is something else.
            RemoteUnavailable, CorruptRemote: it is a lazy clone, and the remote doesn't give what is missing here.
        """
        batch = self._own_batch()
        try:
            return self._reader.load(kind, address) if batch is None else batch.load(kind, address)
        except ObjectNotFound:
            if self._promise is None:
                raise
            return self._promise.load(kind, address)

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether the store has the object; it may still turn out corrupt. What a lazy clone lacks doesn't count."""
        batch = self._own_batch()
        return self._reader.contains(kind, address) if batch is None else batch.contains(kind, address)

    def rest(self) -> None:
        """Give back the memory that files take which were read; for who reads much of the store, and not again."""
        for source in self._log.sources():
            source.rest()

    def stored_bytes(self, kind: Kind, address: bytes) -> int:
        """How many bytes an object takes as it is encoded, without its share of a frame's head; 0 if it isn't there."""
        location = self._reader.catalog.locate(kind, address)
        return 0 if location is None else location.length

    def stored(self, kind: Kind, address: bytes) -> Entry | None:
        """An object as it is encoded, its bytes on the disk verified; None if no file of the store has it.

        Raises:
            CorruptObject: what the store has under this address is something else.
        """
        location = self._reader.catalog.locate(kind, address)
        if location is None:
            return None
        payload = self._reader.payload(kind, address, location)
        encoding, flags = Encoding(location.encoding), location.flags & ~EntryFlags.INLINE
        body_of(self._reader, StoredObject(kind, bytes(address), encoding, flags, memoryview(payload)))
        return Entry(kind, bytes(address), encoding, payload, flags)

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
        ledger = self._log.ledger
        known = {CommitId(address): flags for address, flags in self._reader.catalog.commits().items()}
        kept = {commit: ledger.kept(commit, flags) for commit, flags in known.items()}
        return [commit for commit, keep in (kept | (batch.kept if batch else {})).items() if keep]

    def is_deleted(self, commit: CommitId) -> bool:
        """Whether the commit was deleted or collected, and not made again since; others may still descend from it."""
        batch = self._own_batch()
        kept = None if batch is None else batch.kept.get(commit)
        if kept is not None:
            return not kept
        ledger, location = self._log.ledger, self._reader.catalog.locate(Kind.COMMIT, commit)
        return ledger.exceptions.get(commit) is False or (
            location is not None and ledger.collected(commit, location.flags)
        )

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

    def operations(self) -> Iterator[OperationRecord]:
        """The operation log, newest first, as far back as it is held.

        Raises:
            CorruptStore: a record is damaged.
        """
        self._check()
        first = self._log.ledger.first_operation
        for frame in self._reader.catalog.operations():
            yield from (record for record in reversed(read_operations(frame)) if record.sequence >= first)

    def _own_batch(self) -> Batch | None:
        """The batch of this thread; `StoreClosed` if the handle is dead."""
        if self._dead is not None:
            raise StoreClosed(self._dead)
        return self._batches.get(threading.get_ident()) if self._batches else None

    def _check(self) -> None:
        if self._dead is not None:
            raise StoreClosed(self._dead)
