"""Which packs of a remote came into the store whole: so that they are not read again.

A file `index/<remote>.taken`, which may be deleted at any time; what is not in the store, though its pack is listed, is
asked for by itself. Its first line tells whether all that they were read for is in the store's history: if not, and
garbage was collected since, the packs count no more.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from typing import Final

from piecrust.objects.pack import PACK_SUFFIX, pack_name
from piecrust.objects.store import Store

_SETTLED: Final = "settled"


class TakenPacks:
    """The list of one remote."""

    def __init__(self, store: Store, remote: str) -> None:
        self._path = store.layout.index / f"{remote}.taken"
        self._store = store
        self._names = self._read()

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def add(self, names: Iterable[bytes], *, settled: bool) -> None:
        """Remember packs; `settled` if nothing of them waits for a fetch that was cut off."""
        self._names.update(names)
        lines = [_SETTLED if settled else str(self._store.generation), *sorted(name.hex() for name in self._names)]
        draft = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):  # it is a cache
            draft.write_text("\n".join(lines) + "\n")
            draft.replace(self._path)

    def forget(self) -> None:
        """Remove the list."""
        self._names = set()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _read(self) -> set[bytes]:
        try:
            first, *rest = self._path.read_text("ascii").splitlines()
        except (OSError, ValueError):
            return set()
        if first not in (_SETTLED, str(self._store.generation)):
            return set()
        return {name for line in rest if (name := pack_name(line + PACK_SUFFIX)) is not None}
