"""Packs on their way to a remote: objects of the store in the form of docs/remotes.md, made in memory.

- A pack has all it takes to read it: a delta's base is in the same pack, before it.
- Objects stand by kind, commits last, so that who wants some of them reads little else.
- The same objects give the same pack, as long as the store has them in the same encodings.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from blake3 import blake3
from piecrust.objects.codec import CODECS
from piecrust.objects.compression import compress
from piecrust.objects.frame import (
    INLINE_BYTES_MAX,
    NO_CHAIN,
    Encoding,
    Entry,
    EntryFlags,
    FrameType,
    encode_body,
    seal_frame,
)
from piecrust.objects.graph import node_of
from piecrust.objects.ids import ID_BYTES
from piecrust.objects.kinds import Kind
from piecrust.objects.pack import pack_end
from piecrust.objects.segment import SEGMENT_HEADER_BYTES, SegmentHeader
from piecrust.objects.store import Store
from piecrust.objects.table import Coverage, pack_place
from piecrust.objects.table_writer import Records, build_table, exhaust

PACK_BYTES: Final = 32 << 20  # a pack is ended when it has so many

_FRAME_OBJECTS: Final = 64  # that share a head
_FRAME_BYTES: Final = 1 << 20
_ROW_BYTES: Final = 70  # of a frame's table and the pack's, about
_ORDER: Final = (Kind.PAGE, Kind.BYTECODE, Kind.BLOB, Kind.TRANSCRIPT, Kind.NODE, Kind.RECORD, Kind.COMMIT)


class OutgoingPack(NamedTuple):
    """A finished pack."""

    name: bytes
    data: bytes


class PackBuilder:
    """Collects objects for one pack after the other."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._entries: dict[tuple[Kind, bytes], Entry] = {}
        self._bytes = 0

    @property
    def is_full(self) -> bool:
        """Whether the pack should be taken."""
        return self._bytes > PACK_BYTES

    def add(self, kind: Kind, address: bytes, flags: int = 0) -> None:
        """Take in an object of the store, verified.

        Raises:
            ObjectNotFound, CorruptObject: the store can't give it.
        """
        if (kind, address) in self._entries:
            return
        stored = self._store.stored(kind, address)
        entry = self._encoded(kind, address, flags) if stored is None else stored._replace(flags=flags)
        self._entries[kind, bytes(address)] = entry
        self._bytes += len(entry.payload) + _ROW_BYTES

    def take(self) -> OutgoingPack | None:
        """The pack of all that was taken in; None if that is nothing."""
        if not self._entries:
            return None
        entries = list(self._with_bases())
        entries.sort(key=lambda entry: _ORDER.index(entry.kind))
        self._entries, self._bytes = {}, 0
        return _pack(self._store, entries)

    def _with_bases(self) -> Iterator[Entry]:
        """The entries; deltas with their bases before them where that saves something, else whole."""
        deltas = [entry for entry in self._entries.values() if entry.encoding is Encoding.DELTA]
        users = Counter((entry.kind, entry.payload[:ID_BYTES]) for entry in deltas)
        given: set[tuple[Kind, bytes]] = set()
        for (kind, address), entry in self._entries.items():
            if (kind, address) in given:
                continue
            base = (kind, entry.payload[:ID_BYTES]) if entry.encoding is Encoding.DELTA else None
            if base is not None and (users[base] > 1 or base in self._entries) and self._is_whole(base):
                if base not in given:
                    given.add(base)
                    yield self._entries.get(base) or self._encoded(*base, 0)
                yield entry
            elif base is not None:
                yield self._encoded(kind, address, entry.flags)
            else:
                yield entry
            given.add((kind, address))

    def _is_whole(self, item: tuple[Kind, bytes]) -> bool:
        there = self._entries.get(item)
        return there is None or there.encoding is not Encoding.DELTA

    def _encoded(self, kind: Kind, address: bytes, flags: int) -> Entry:
        return _whole(kind, address, CODECS[kind].encode(self._store.load(kind, address)), flags)


def _whole(kind: Kind, address: bytes, body: bytes, flags: int) -> Entry:
    if len(body) > INLINE_BYTES_MAX:
        payload = compress(body)
        if len(payload) < len(body):
            return Entry(kind, bytes(address), Encoding.ZSTD, payload, flags)
    return Entry(kind, bytes(address), Encoding.RAW, body, flags)


def _pack(store: Store, entries: list[Entry]) -> OutgoingPack:
    hasher = blake3(derive_key_context="piecrust 2026 remote pack")
    for entry in entries:
        hasher.update(bytes((entry.kind,)) + entry.address)
    header = SegmentHeader.of(0, hasher.digest())
    parts, length, records, chain = [header.encode()], SEGMENT_HEADER_BYTES, Records(), NO_CHAIN
    for sequence, group in enumerate(_frames(entries), 1):
        body = encode_body(group, b"")
        frame, chain = seal_frame(header.salt, header.mark, FrameType.OBJECTS, sequence, 0, chain, body.data)
        for row in body.rows:
            at = length if row.flags & EntryFlags.INLINE else length + row.offset
            records.add_object(row.address, pack_place(0, at, row.kind, row.encoding, row.flags), row.length)
            if row.kind == Kind.COMMIT:
                commit = store.load(Kind.COMMIT, row.address)
                records.add_commit(row.address, commit.state_root, node_of(commit), flags=row.flags, source=0)
        parts.append(frame)
        length += len(frame)
    table = exhaust(build_table([Coverage(header.salt, SEGMENT_HEADER_BYTES, length)], records))
    data = b"".join([*parts, *table, pack_end(length, sum(map(len, table)))])
    return OutgoingPack(blake3(data).digest(), data)


def _frames(entries: list[Entry]) -> Iterator[list[Entry]]:
    """Cut so that a frame is of commits or of others, and reading one short object reads little else."""
    group: list[Entry] = []
    size = 0
    for entry in entries:
        is_commit = entry.kind is Kind.COMMIT
        if group and (
            len(group) >= _FRAME_OBJECTS or size >= _FRAME_BYTES or (is_commit and group[-1].kind is not Kind.COMMIT)
        ):
            yield group
            group, size = [], 0
        group.append(entry)
        size += len(entry.payload)
    if group:
        yield group
