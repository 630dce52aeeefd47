"""A cache of decoded objects that needs no lock and no work for a hit."""

from __future__ import annotations

from typing import Any, Final

from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES

# What a decoded object takes in memory, roughly; bytes count as what they are.
_WEIGHTS: Final[dict[Kind, int]] = {Kind.PAGE: PAGE_BYTES, Kind.NODE: 16384, Kind.RECORD: 1024, Kind.COMMIT: 1024}

_Generation = tuple[dict[bytes, Any], ...]


class GenerationCache:
    """Two generations: what was used since the younger one began survives the end of the older one.

    That is close to keeping the most recently used, and a hit in the young generation is one look-up. Several threads
    may use it at once: the worst that a race does is to lose an entry or to count one twice.
    """

    def __init__(self, bytes_max: int) -> None:
        self._half = bytes_max // 2
        self._young, self._old = _generation(), _generation()
        self._weight = 0

    def get(self, kind: Kind, address: bytes) -> Any | None:
        """The object, if it is here."""
        value = self._young[kind].get(address)
        if value is None:
            value = self._old[kind].get(address)
            if value is not None:
                self.put(kind, address, value)
        return value

    def put(self, kind: Kind, address: bytes, value: Any) -> None:
        """Keep an object for some time."""
        self._weight += _WEIGHTS.get(kind) or len(value) + 64
        if self._weight > self._half:
            self._old, self._young, self._weight = self._young, _generation(), 0
        self._young[kind][bytes(address)] = value

    def clear(self) -> None:
        """Forget everything."""
        self._young, self._old, self._weight = _generation(), _generation(), 0


def _generation() -> _Generation:
    return tuple({} for _ in range(max(Kind) + 1))
