"""Batches: several transactions that become durable and visible together, with one sync.

What is published in a batch is encoded at once: a page that is a patch of another one takes no more memory than that.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

from piecrust.objects.access import ObjectReader, Overlay, Staged
from piecrust.objects.codec import CODECS
from piecrust.objects.encoder import Encoder, Fresh, StagedObject
from piecrust.objects.errors import Conflict
from piecrust.objects.frame import Encoding, Entry
from piecrust.objects.ids import ID_BYTES, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.publisher import Change
from piecrust.objects.refs import RefValue
from piecrust.objects.transaction import Anything, Transaction


class _Patched(NamedTuple):
    """A page that is kept as a patch of a whole one."""

    payload: bytes


class Batch(Overlay):
    """What was published within a batch: seen by the thread that opened it, and by nobody else before its end."""

    def __init__(self, reader: ObjectReader, encoder: Encoder, refs: Mapping[str, RefValue], generation: int) -> None:
        super().__init__(reader)
        self.thread = threading.get_ident()
        self.refs = dict(refs)
        self.generation = generation
        self.changes: list[Change] = []
        self.assumed: dict[tuple[Kind, bytes], Staged] = {}
        self.kept: dict[CommitId, bool] = {}  # or deleted (False)
        self.entries: list[Entry] = []  # all that was staged, in that order
        self._encoder = encoder
        self._fresh: Fresh = {}

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
        new = [staged for staged in transaction.staged() if staged[1] not in self._staged[staged[0]]]
        for (kind, address, staged), entry in zip(new, self._encode(new, change), strict=True):
            if kind is Kind.PAGE and entry.encoding is Encoding.DELTA:
                staged = staged._replace(value=_Patched(entry.payload))
            self._staged[kind][address] = staged
        for key, staged in transaction.assumed.items():
            self.assumed.setdefault(key, staged)
        self.kept |= dict.fromkeys(change.kept, True) | dict.fromkeys(change.deleted, False)
        self.changes.append(change)

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """The value published here, else the store's."""
        value = super().load(kind, address)
        if isinstance(value, _Patched):
            base, patch = value.payload[:ID_BYTES], value.payload[ID_BYTES:]
            value = CODECS[kind].decode(address, CODECS[kind].patched(self.load(kind, base), patch))
        return value

    def _encode(self, objects: list[StagedObject], change: Change) -> list[Entry]:
        entries = self._encoder.encode(objects, frozenset(change.kept), self._fresh)
        self.entries += entries
        return entries


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
