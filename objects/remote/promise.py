"""Lazy clones: what the store lacks comes from the remote when it is touched, is verified, and stays.

What came is in the cache at once and is published a little later, by a thread of its own: who touches an object may be
in the middle of anything. What was not published yet when a process dies is only asked for again.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from piecrust.objects.errors import CorruptRemote, ObjectNotFound, RemoteUnavailable, StoreError
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.remote.remote_objects import RemoteObjects
from piecrust.objects.remote.storage import Storage

if TYPE_CHECKING:
    from piecrust.objects.store import Store

_WAITING_BYTES_MAX: Final = 2 << 20
_DECODED_BYTES: Final = 16 << 10  # that an object which is not plain bytes takes in memory, about

Item = tuple[Kind, bytes]


class RemotePromise:
    """What a remote has, for a store that lacks it. For any number of threads."""

    def __init__(self, store: Store, open_storage: Callable[[], Storage]) -> None:
        """Nothing is opened or asked for before the first object is missing."""
        self._store, self._open_storage = store, open_storage
        self._mutex = threading.Lock()
        self._remote: RemoteObjects | None = None
        self._waiting: dict[Item, Any] = {}  # to be published
        self._leaving: dict[Item, Any] = {}  # being published
        self._bytes = 0
        self._pool: ThreadPoolExecutor | None = None
        self._published: Future[None] | None = None

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """An object, verified.

        Raises:
            ObjectNotFound: the remote doesn't have it either.
            RemoteUnavailable: the remote, which the error names, can't be reached.
            CorruptRemote: what it has is damaged.
        """
        with self._mutex:
            known = self._waiting.get((kind, address), self._leaving.get((kind, address)))
            if known is not None:
                return known
            value = self._ask(kind, address)
            self._waiting[kind, bytes(address)] = value
            self._bytes += len(value) if isinstance(value, bytes) else _DECODED_BYTES
            self._publish_if_much()
            return value

    def close(self) -> None:
        """Have everything that came in the store."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None
        with self._mutex:
            self._leaving, self._waiting = self._waiting, {}
        self._publish()

    def _ask(self, kind: Kind, address: bytes) -> Any:
        try:
            if self._remote is not None:
                with contextlib.suppress(ObjectNotFound):
                    return self._remote.load(kind, address)
            # Packs may have come since the remote was listed.
            storage = self._open_storage()
            self._remote = RemoteObjects(storage, self._store.layout.index)
            if self._remote.is_empty():
                raise RemoteUnavailable(storage.name, "list", "there is nothing at its address")
            return self._remote.load(kind, address)
        except (CorruptRemote, ObjectNotFound):
            self._remote = None  # what it remembers may be what is damaged
            raise

    def _publish_if_much(self) -> None:
        if self._bytes < _WAITING_BYTES_MAX or self._store.read_only:
            if self._bytes >= 8 * _WAITING_BYTES_MAX:
                self._waiting, self._bytes = {}, 0  # a handle that only reads remembers what fits
            return
        if self._published is not None:
            if not self._published.done():
                return
            self._published = None
        self._pool = self._pool or ThreadPoolExecutor(1, "piecrust lazy clone")
        self._leaving, self._waiting, self._bytes = self._waiting, {}, 0
        self._published = self._pool.submit(self._publish)

    def _publish(self) -> None:
        if not self._leaving or self._store.read_only:
            return
        # What can't be written is asked for again some day; the reader has what it wanted.
        with contextlib.suppress(StoreError):
            transaction = self._store.transaction()
            for (kind, address), value in self._leaving.items():
                transaction.put(kind, address, value)
            transaction.publish(Operation("fetch", ("objects",)))
        self._leaving = {}


def promise_of(store: Store) -> RemotePromise:
    """The promise of a store that was cloned lazily."""
    from piecrust.objects.remote.remotes import Remotes

    def storage() -> Storage:
        remotes = Remotes(store)
        return remotes.open(next(entry.name for entry in remotes if entry.lazy))

    return RemotePromise(store, storage)
