"""The packs of a remote: read from one end to the other, or at single places.

Whatever they say is hostile until an object has been verified against its address. `docs/remotes.md` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple, Self

from blake3 import blake3
from piecrust.objects.errors import CorruptRemote, CorruptStore, InvalidFormat, UnsupportedFormat
from piecrust.objects.frame import EntryFlags, decode_head
from piecrust.objects.frame_check import StoredObject
from piecrust.objects.kinds import Kind
from piecrust.objects.pack import PACK_SUFFIX, TRAILER_BYTES, pack_name, read_end
from piecrust.objects.remote.storage import Storage
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, SegmentHeader, scan
from piecrust.objects.source import Source

PACKS: Final = "packs/"
PACK_BYTES_MAX: Final = 256 << 20

_WINDOW_BYTES: Final = 4 << 20
_FRAME_BYTES_MAX: Final = 64 << 20  # more than the longest object takes


class RemotePack(NamedTuple):
    """A pack as the remote lists it."""

    name: bytes
    size: int

    @property
    def key(self) -> str:
        """Where it is."""
        return f"{PACKS}{self.name.hex()}{PACK_SUFFIX}"


def pack_key(name: bytes) -> str:
    """Where a pack is on a remote."""
    return RemotePack(name, 0).key


def list_packs(storage: Storage) -> list[RemotePack]:
    """The packs of a remote, by name.

    Raises:
        CorruptRemote: one of them is larger than any may be.
    """
    packs = []
    for key, size in storage.list(PACKS):
        name = pack_name(key.removeprefix(PACKS))
        if name is not None:
            if not SEGMENT_HEADER_BYTES + TRAILER_BYTES < size <= PACK_BYTES_MAX:
                raise CorruptRemote(storage.name, key, f"no pack has {size} bytes")
            packs.append(RemotePack(name, size))
    return sorted(packs)


def read_pack(storage: Storage, pack: RemotePack) -> Iterator[StoredObject]:
    """Every object of a pack as it stands there; the whole pack is read, a few megabytes at a time.

    Raises:
        CorruptRemote: it is no pack, or not the one of this name; what was given before may be used all the same.
    """
    with _Download(storage, pack) as download:
        try:
            header = SegmentHeader.decode(bytes(download.view(0, SEGMENT_HEADER_BYTES)), Path(pack.key))
            end = SEGMENT_HEADER_BYTES
            for frame in scan(download, header, end):
                head = decode_head(frame.body, frame.header.body_length)
                for kind, encoding, flags, length, address, offset in head.rows:
                    data = head.data if flags & EntryFlags.INLINE else frame.data
                    yield StoredObject(Kind(kind), address, encoding, flags, bytes(data[offset : offset + length]))
                end = frame.end
        except (CorruptStore, UnsupportedFormat, InvalidFormat) as error:
            raise CorruptRemote(storage.name, pack.key, str(error)) from error
        if end != download.size() or not download.is_what_its_name_says():
            raise CorruptRemote(storage.name, pack.key, "its content does not match its name")


class _Download:
    """A pack, read in windows from its start on; the next one is on its way while one is looked at."""

    def __init__(self, storage: Storage, pack: RemotePack) -> None:
        self._storage, self._pack = storage, pack
        self._hasher = blake3()
        self._start, self._data = 0, b""  # what is here of the pack
        self._pool = ThreadPoolExecutor(1, "piecrust remote")
        self._next: Future[bytes] | None = None
        self._asked = 0  # up to where the pack was asked for
        self._ask()
        whole = pack.size <= _WINDOW_BYTES
        trailer = b"" if whole else storage.get_range(pack.key, pack.size - TRAILER_BYTES, TRAILER_BYTES)
        if whole:
            self._take()
            trailer = self._data[-TRAILER_BYTES:]
        try:
            self._frames_end, _ = read_end(trailer, pack.size, Path(pack.key))
        except (CorruptStore, UnsupportedFormat) as error:
            self.__exit__()
            raise CorruptRemote(storage.name, pack.key, str(error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(cancel_futures=True)

    def size(self) -> int:
        """Where the frames end."""
        return self._frames_end

    def read(self, offset: int, length: int) -> bytes:
        """Bytes that were not passed yet."""
        return bytes(self.view(offset, length))

    def view(self, offset: int, length: int) -> memoryview:
        """Bytes from `offset` on; what is before it is given up."""
        end = min(offset + length, self._pack.size)
        if end - offset > _FRAME_BYTES_MAX:
            raise InvalidFormat("pack", f"a frame of {end - offset} bytes", offset)
        while self._start + len(self._data) < end:
            self._data, self._start = self._data[max(0, offset - self._start) :], max(self._start, offset)
            self._take()
        return memoryview(self._data)[offset - self._start : end - self._start]

    def is_what_its_name_says(self) -> bool:
        """Read the rest; whether all of it has the hash that it is named by."""
        while self._next is not None:
            self._data = b""
            self._take()
        return self._hasher.digest() == self._pack.name

    def _take(self) -> None:
        assert self._next is not None, "nothing is asked for beyond the end"
        data, self._next = self._next.result(), None
        self._hasher.update(data)
        self._data += data
        self._ask()

    def _ask(self) -> None:
        length = min(_WINDOW_BYTES, self._pack.size - self._asked)
        if length:
            self._next = self._pool.submit(self._storage.get_range, self._pack.key, self._asked, length)
            self._asked += length


class RemoteSource(Source):
    """A pack of a remote as a source of frames, read at single places."""

    def __init__(self, storage: Storage, pack: RemotePack, frames_end: int) -> None:
        super().__init__(Path(pack.key), SegmentHeader.of(0, pack.name))  # a salt of its own is all it takes here
        self._storage, self._pack, self._frames_end = storage, pack, frames_end
        self._warm: list[tuple[int, bytes]] = []

    def read(self, offset: int, length: int) -> bytes:
        """Up to `length` bytes; fewer only at the end."""
        end = min(offset + length, self._frames_end)
        for start, data in self._warm:
            if start <= offset and end <= start + len(data):
                return data[offset - start : end - start]
        return self._storage.get_range(self._pack.key, offset, max(0, end - offset))

    def size(self) -> int:
        """Where the frames end."""
        return self._frames_end

    def warm(self, offset: int, length: int) -> None:
        """Read some bytes that will be asked for piece by piece."""
        self._warm.append((offset, self.read(offset, length)))

    def cool(self) -> None:
        """Give up what was read ahead."""
        self._warm = []

    def close(self) -> None:
        """Nothing is open."""
