"""Hashing every stored object, in as many threads as asked for.

blake3 and zstd let other threads run while they work, so pages scale with the threads; what is small and decoded in
Python doesn't. Frames are handed to the threads in batches, and never more of them than are being worked on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from piecrust.objects.codec import CODECS
from piecrust.objects.compression import decompress
from piecrust.objects.errors import CorruptObject, InvalidFormat, ObjectNotFound
from piecrust.objects.findings import DamagedObject
from piecrust.objects.frame import Encoding
from piecrust.objects.frame_check import CheckedFrame, StoredObject, objects_of
from piecrust.objects.ids import ID_BYTES, Address
from piecrust.objects.kinds import BODY_BYTES_MAX, Kind
from piecrust.objects.reader import Reader
from piecrust.objects.source import Source

_BATCH_BYTES: Final = 256 << 10
_BATCHES_PER_THREAD: Final = 4


@dataclass(slots=True)
class Tested:
    """What came of some frames."""

    frames: int = 0
    objects: int = 0
    object_bytes: int = 0
    stored_bytes: int = 0
    damaged: list[DamagedObject] = field(default_factory=list)


def body_of(reader: Reader, stored: StoredObject) -> bytes:
    """The plain bytes of a stored object, verified; deltas read their base from the store.

    Raises:
        CorruptObject: they are not what its address says, or can't be had.
    """
    kind, address, encoding, _, payload = stored
    try:
        match encoding:
            case Encoding.RAW:
                body = bytes(payload)
            case Encoding.ZSTD:
                body = decompress(payload, BODY_BYTES_MAX[kind])
            case _:
                payload = bytes(payload)
                body = CODECS[kind].patched(_base(reader, kind, payload[:ID_BYTES]), payload[ID_BYTES:])
    except (InvalidFormat, ObjectNotFound) as error:
        raise CorruptObject(kind, address, str(error)) from error
    CODECS[kind].decode(address, body)
    return body


def verify_objects(reader: Reader, source: Source, frames: Iterable[CheckedFrame], threads: int) -> Iterator[Tested]:
    """Verify every object of some frames; the results, batch by batch."""
    if threads <= 1:
        for batch in _batches(frames):
            yield _verify(reader, source, batch)
        return
    with ThreadPoolExecutor(threads, "piecrust fsck") as pool:
        running: deque[Future[Tested]] = deque()
        for batch in _batches(frames):
            running.append(pool.submit(_verify, reader, source, batch))
            if len(running) >= _BATCHES_PER_THREAD * threads:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()


def _base(reader: Reader, kind: Kind, address: bytes) -> bytes:
    # Many deltas share a base: pages are kept in the cache as they are.
    if kind is Kind.PAGE:
        page: bytes = reader.load(kind, address)
        return page
    return reader.body(kind, address)


def _verify(reader: Reader, source: Source, frames: list[CheckedFrame]) -> Tested:
    tested = Tested()
    for frame in frames:
        tested.frames += 1
        tested.stored_bytes += len(frame.data)
        for stored in objects_of(frame):
            tested.objects += 1
            try:
                tested.object_bytes += len(body_of(reader, stored))
            except CorruptObject as error:
                address = Address(stored.address)
                tested.damaged.append(DamagedObject(stored.kind, address, source.path, frame.offset, error.reason))
    return tested


def _batches(frames: Iterable[CheckedFrame]) -> Iterator[list[CheckedFrame]]:
    batch: list[CheckedFrame] = []
    size = 0
    for frame in frames:
        batch.append(frame)
        size += len(frame.data)
        if size >= _BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
