"""Objects on their way from a remote into a store: verified as they come, and published in pieces.

Commits are held back until `piecrust.objects.remote.examination` has followed them to all that they need. So what is
cut off leaves nothing but objects that nobody asks for, and commits that nobody can stand on; the next attempt finds
them there.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from piecrust.objects.bundle_state import Pieces
from piecrust.objects.codec import CODECS
from piecrust.objects.commit import Commit
from piecrust.objects.compression import decompress
from piecrust.objects.errors import (
    CorruptObject,
    CorruptRemote,
    InvalidFormat,
    ObjectNotFound,
)
from piecrust.objects.frame import Encoding
from piecrust.objects.frame_check import StoredObject
from piecrust.objects.ids import ID_BYTES, CommitId
from piecrust.objects.kinds import BODY_BYTES_MAX, Kind
from piecrust.objects.remote.added import Item
from piecrust.objects.remote.remote_objects import RemoteObjects
from piecrust.objects.remote.remote_pack import RemotePack, read_pack
from piecrust.objects.remote.storage import Storage
from piecrust.objects.store import Store

OPERATION: Final = "fetch"


_PIECE_BYTES: Final = 8 << 20
_NODE_BYTES: Final = 16 << 10  # that a decoded node takes in memory, about
_SMALL_BYTES: Final = 1 << 10  # and a record


class Arrival:
    """What came so far. An `ObjectReader` of the store and the remote."""

    def __init__(self, store: Store, storage: Storage, cache: Path | None) -> None:
        self.commits: dict[CommitId, Commit] = {}  # that came, and are not in the store
        self.remote = RemoteObjects(storage, cache)
        self.pieces = Pieces(store, OPERATION, _PIECE_BYTES)
        self._store, self._storage = store, storage

    def load(self, kind: Kind, address: bytes, /) -> Any:
        """An object, of the store or else of the remote; then it is on its way into the store.

        Raises:
            ObjectNotFound: neither has it.
            CorruptRemote, RemoteUnavailable: as `RemoteObjects.load`.
        """
        if kind is Kind.COMMIT and address in self.commits:
            return self.commits[CommitId(address)]
        objects = self.pieces.objects
        if objects.contains(kind, address):
            return objects.load(kind, address)
        value = self.remote.load(kind, address)
        self.take(kind, address, value)
        return value

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether the object is here or came."""
        return address in self.commits if kind is Kind.COMMIT else self.pieces.objects.contains(kind, address)

    def take(self, kind: Kind, address: bytes, value: Any, base: bytes | None = None) -> None:
        """Take in a verified object."""
        if kind is Kind.COMMIT:
            if not self._store.contains(kind, address):
                self.commits[CommitId(address)] = value
            return
        length = len(value) if isinstance(value, bytes) else _NODE_BYTES if kind is Kind.NODE else _SMALL_BYTES
        self.pieces.put(kind, address, value, length, base)
        self.pieces.publish_if_full()

    def take_pack(self, pack: RemotePack) -> None:
        """Take in every object of a pack.

        Raises:
            CorruptRemote: something of it is damaged; what is whole was taken in.
            RemoteUnavailable: the remote was cut off; what came was taken in.
        """
        for stored in read_pack(self._storage, pack):
            kind, address, encoding, _, payload = stored
            if self.contains(kind, address):
                continue
            try:
                value = CODECS[kind].decode(address, self._body(stored))
            except (CorruptObject, InvalidFormat, ObjectNotFound) as error:
                raise CorruptRemote(self._storage.name, pack.key, str(error)) from error
            self.take(kind, address, value, bytes(payload[:ID_BYTES]) if encoding == Encoding.DELTA else None)

    def need(self, items: Iterable[Item]) -> None:
        """Take in what is not here of some objects, those that lie together on the remote together."""
        missing = [item for item in dict.fromkeys(items) if not self.contains(*item)]
        for kind, address, value in self.remote.load_many(missing):
            self.take(kind, address, value)

    def rest(self) -> None:
        """Give the memory back that reading the store's packs took."""
        self._store.rest()

    def set_aside(self) -> None:
        """Have what came in the store, commits as such without states, for the next attempt to find."""
        for commit, value in self.commits.items():
            self.pieces.objects.put_bare(commit, value)
        if any(True for _ in self.pieces.objects.staged()):
            self.pieces.publish()

    def _body(self, stored: StoredObject) -> bytes:
        kind, _, encoding, _, payload = stored
        match encoding:
            case Encoding.RAW:
                return bytes(payload)
            case Encoding.ZSTD:
                return decompress(bytes(payload), BODY_BYTES_MAX[kind])
            case _:
                base = self.pieces.objects.load(kind, bytes(payload[:ID_BYTES]))
                return CODECS[kind].patched(CODECS[kind].encode(base), bytes(payload[ID_BYTES:]))
