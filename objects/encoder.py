"""How objects are written: whole, compressed, or as a delta against an older version.

A delta's base is always whole (depth 1), so reading any object reads at most one other. When the previous version is
a delta itself, the new one is made against the same base, as long as that saves enough.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from piecrust.objects.access import Staged
from piecrust.objects.codec import CODECS
from piecrust.objects.compression import compress
from piecrust.objects.frame import INLINE_BYTES_MAX, Encoding, Entry
from piecrust.objects.ids import ID_BYTES
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.reader import Reader

_DELTA_SHARE: Final = 8  # a delta takes at most this part of the whole body
_DELTA_BYTES_SMALL: Final = 80  # or this, if that is less than half: one child of a small node
_COMPRESSED: Final = frozenset({Kind.PAGE, Kind.BYTECODE, Kind.TRANSCRIPT, Kind.BLOB})  # the others are mostly hashes
_BASES_MAX: Final = 1 << 17

StagedObject = tuple[Kind, bytes, Staged]


class Encoder:
    """Encodes objects for a store; remembers which base each delta has, and what differs from it."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._bases: dict[bytes, tuple[bytes, int | None]] = {}  # of a delta: its base, and a hint of what differs

    def encode(
        self, objects: Iterable[StagedObject], kept: frozenset[bytes] | set[bytes], kept_flag: int
    ) -> list[Entry]:
        """The objects as entries of a frame, in the same order; commits in `kept` get the flag."""
        entries: list[Entry] = []
        fresh: dict[tuple[Kind, bytes], tuple[Any, bool]] = {}  # what this call made: value, whether it is a delta
        for kind, address, (value, base, hint) in objects:
            payload = None
            if base is not None:
                payload = self._delta(kind, address, value, base, hint, fresh)
            fresh[kind, address] = value, payload is not None
            flags = kept_flag if kind is Kind.COMMIT and address in kept else 0
            if payload is not None:
                entries.append(Entry(kind, bytes(address), Encoding.DELTA, payload, flags))
                continue
            body = CODECS[kind].encode(value)
            if kind in _COMPRESSED and len(body) > INLINE_BYTES_MAX:
                payload = compress(body)
                if len(payload) < len(body):
                    entries.append(Entry(kind, bytes(address), Encoding.ZSTD, payload, flags))
                    continue
            entries.append(Entry(kind, bytes(address), Encoding.RAW, body, flags))
        return entries

    def _delta(
        self,
        kind: Kind,
        address: bytes,
        value: Any,
        base: bytes,
        hint: int | None,
        fresh: dict[tuple[Kind, bytes], tuple[Any, bool]],
    ) -> bytes | None:
        """A payload against the last whole version; None if it is missing, or little would be saved."""
        made = fresh.get((kind, base))
        if made is None:
            location = self._reader.catalog.locate(kind, base)
            if location is None:
                return None
            is_delta = location.encoding == Encoding.DELTA
        else:
            location, is_delta = None, made[1]
        if is_delta:
            known = self._bases.get(base)
            if known is None:
                if location is None:
                    return None
                known = self._reader.payload(kind, base, location)[:ID_BYTES], None
            base, since = known
            hint = None if hint is None or since is None else hint | since
            made = fresh.get((kind, base))

        def load() -> Any:
            return made[0] if made is not None else self._reader.load(kind, base)

        patch = CODECS[kind].delta(value, hint, load)
        if patch is None:
            return None
        length = PAGE_BYTES if kind is Kind.PAGE else len(CODECS[kind].encode(value))
        if ID_BYTES + len(patch) > max(length // _DELTA_SHARE, min(length // 2, _DELTA_BYTES_SMALL)):
            return None
        if len(self._bases) >= _BASES_MAX:
            self._bases.clear()
        self._bases[bytes(address)] = base, hint
        return bytes(base) + patch
