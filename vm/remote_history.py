"""What replays read from: a store, or a remote of which each object comes, verified, when it is touched."""

from __future__ import annotations

import atexit
import shutil
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final, Protocol

from piecrust.objects.access import ObjectReader
from piecrust.objects.cache import GenerationCache
from piecrust.objects.graph import CommitNode, node_of
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.remote.open_bucket import open_bucket
from piecrust.objects.remote.remote_objects import RemoteObjects
from piecrust.objects.remote.storage import Storage

CACHE_BYTES: Final = 64 << 20


class History(ObjectReader, Protocol):
    """Objects, and how commits descend from one another."""

    def graph(self, commit: CommitId, /) -> CommitNode:
        """A commit's parents, and where it stands.

        Raises:
            ObjectNotFound: there is no such commit.
        """


class RemoteHistory:
    """What a remote had when this was made. Objects are kept in memory for a while, the packs' indexes on disk.

    For any number of threads: pages are read by the one that serves missing pages of memories.
    """

    def __init__(self, name: str, url: str) -> None:
        """`name` is what errors call the remote.

        Raises:
            InvalidRemote: there can be none at this address.
            RemoteSupportMissing: the package obstore is not installed.
        """
        self._objects = RemoteObjects(Storage(name, open_bucket(url)), _index_directory())
        self._cache = GenerationCache(CACHE_BYTES)
        self._lock = threading.Lock()

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """An object, verified.

        Raises:
            ObjectNotFound: the remote doesn't have it.
            CorruptRemote: what it has is damaged.
            RemoteUnavailable: it can't be reached.
        """
        value = self._cache.get(kind, address)
        if value is None:
            with self._lock:
                value = self._objects.load(kind, address)
            self._cache.put(kind, address, value)
        return value

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether the remote's indexes have the object."""
        with self._lock:
            return self._objects.contains(kind, address)

    def graph(self, commit: CommitId, /) -> CommitNode:
        """A commit's parents, and where it stands."""
        return node_of(self.load(Kind.COMMIT, commit))


@cache
def _index_directory() -> Path:
    """A directory of this process's own, which goes with it."""
    folder = Path(tempfile.mkdtemp(prefix="piecrust-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder
