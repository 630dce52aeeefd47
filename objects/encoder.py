"""How objects are written: whole, compressed, or as a delta against an older version.

A delta's base is always whole (depth 1), so reading any object reads at most one other. When the previous version is
a delta itself, the new one is made against the same base, as long as that saves enough.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

from piecrust.objects.access import Staged
from piecrust.objects.codec import CODECS
from piecrust.objects.compression import compress_all
from piecrust.objects.frame import INLINE_BYTES_MAX, Encoding, Entry, EntryFlags
from piecrust.objects.ids import ID_BYTES
from piecrust.objects.kinds import Kind
from piecrust.objects.reader import Reader
from piecrust.objects.record import RECORD_BYTES

_DELTA_SHARE: Final = 8  # a delta takes at most this part of the whole body
_DELTA_BYTES_SMALL: Final = 80  # or this, if that is less than half: one child of a small node
_COMPRESSED: Final = frozenset({Kind.PAGE, Kind.BYTECODE, Kind.TRANSCRIPT, Kind.BLOB})  # the others are mostly hashes
_BASES_MAX: Final = 1 << 17

StagedObject = tuple[Kind, bytes, Staged]
Fresh = dict[tuple[Kind, bytes], tuple[Any, bool]]  # what was encoded: (its value, False), or (None, True) for a delta


class Encoder:
    """Encodes objects for a store; remembers which base each delta has."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._bases: dict[bytes, bytes] = {}

    def encode(
        self, objects: Iterable[StagedObject], kept: Collection[bytes], fresh: Fresh | None = None
    ) -> list[Entry]:
        """The objects as entries of a frame, in the same order; commits in `kept` get the flag.

        `fresh` has the results of earlier calls for the same frame, and gets those of this one.
        """
        entries: list[Entry] = []
        long: list[int] = []  # the entries whose payloads may become shorter
        fresh = {} if fresh is None else fresh
        for kind, address, staged in objects:
            value = staged.value
            flags = EntryFlags.KEPT if kind is Kind.COMMIT and address in kept else 0
            if staged.bare:
                flags = EntryFlags.DELETED
            payload = None
            if staged.base is not None:
                payload = self._delta(kind, address, value, staged.base, fresh)
            if payload is not None:
                fresh[kind, address] = None, True
                entries.append(Entry(kind, bytes(address), Encoding.DELTA, payload, flags))
                continue
            fresh[kind, address] = value, False
            body = CODECS[kind].encode(value)
            if kind in _COMPRESSED and len(body) > INLINE_BYTES_MAX:
                long.append(len(entries))
            entries.append(Entry(kind, bytes(address), Encoding.RAW, body, flags))
        for at, payload in zip(long, compress_all([entries[at].payload for at in long]), strict=True):
            if len(payload) < len(entries[at].payload):
                entries[at] = entries[at]._replace(encoding=Encoding.ZSTD, payload=payload)
        return entries

    def _delta(self, kind: Kind, address: bytes, value: Any, base: bytes, fresh: Fresh) -> bytes | None:
        """A payload against the last whole version; None if there is none, or little would be saved."""
        made = fresh.get((kind, base))
        location = self._reader.catalog.locate(kind, base) if made is None else None
        if made is None and location is None:
            return None
        if made[1] if made is not None else location is not None and location.encoding == Encoding.DELTA:
            whole = self._bases.get(base)
            if whole is None:
                if location is None:
                    return None
                whole = self._reader.payload(kind, base, location)[:ID_BYTES]
            base, made = whole, fresh.get((kind, whole))
            if made is None:
                location = self._reader.catalog.locate(kind, base)
                if location is None or location.encoding == Encoding.DELTA:
                    return None  # it was collected, or written anew
        known = made

        def load() -> Any:
            return known[0] if known is not None else self._reader.load(kind, base)

        # What may differ is looked for everywhere: it costs little, and a hint that left something out would make a
        # delta that can't be read back.
        patch = CODECS[kind].delta(value, None, load)
        if patch is None:
            return None
        length = _length(kind, value)
        if ID_BYTES + len(patch) > max(length // _DELTA_SHARE, min(length // 2, _DELTA_BYTES_SMALL)):
            return None
        if len(self._bases) >= _BASES_MAX:
            self._bases.clear()
        self._bases[bytes(address)] = bytes(base)
        return bytes(base) + patch


def _length(kind: Kind, value: Any) -> int:
    """The length of a body, or nearly so."""
    if kind is Kind.NODE:
        return 33 * len(value.children)
    return RECORD_BYTES + len(value.owner) if kind is Kind.RECORD else len(value)
