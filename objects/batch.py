"""Batches: several transactions that become durable and visible together, with one frame and one sync."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any

from piecrust.objects.access import ObjectReader, Overlay, Staged
from piecrust.objects.errors import Conflict
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.publisher import Change
from piecrust.objects.refs import RefValue
from piecrust.objects.transaction import Anything, Transaction


class Batch(Overlay):
    """What was published within a batch: seen by the thread that opened it, and by nobody else before its end."""

    def __init__(self, reader: ObjectReader, refs: Mapping[str, RefValue], generation: int) -> None:
        super().__init__(reader)
        self.thread = threading.get_ident()
        self.refs = dict(refs)
        self.generation = generation
        self.changes: list[Change] = []
        self.assumed: dict[tuple[Kind, bytes], Staged] = {}
        self.kept: dict[CommitId, bool] = {}  # or deleted (False)

    def add(self, transaction: Transaction, change: Change) -> None:
        """Take in a transaction; `Conflict` if a ref isn't where it expects it."""
        for name, (_, expected) in change.ref_updates.items():
            actual = self.refs.get(name)
            if not isinstance(expected, Anything) and actual != expected:
                raise Conflict(name, expected, actual)
        for name, (value, _) in change.ref_updates.items():
            if value is None:
                self.refs.pop(name, None)
            else:
                self.refs[name] = value
        for kind, address, staged in transaction.staged():
            self._staged[kind].setdefault(address, staged)
        for key, staged in transaction.assumed.items():
            self.assumed.setdefault(key, staged)
        self.kept |= dict.fromkeys(change.kept, True) | dict.fromkeys(change.deleted, False)
        self.changes.append(change)


class BatchView:
    """What the thread of a batch sees, for other threads to read; the store alone once the batch has ended."""

    def __init__(self, store: ObjectReader, batch: Batch) -> None:
        self._store = store
        self._batch = weakref.ref(batch)

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The decoded object, verified against its address."""
        return self._reader().load(kind, address)

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether `load` would find it."""
        return self._reader().contains(kind, address)

    def _reader(self) -> ObjectReader:
        batch = self._batch()
        return self._store if batch is None else batch
