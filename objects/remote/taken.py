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

TAKEN_SUFFIX: Final = ".taken"

_SETTLED: Final = "settled"
_COMMIT: Final = "commit "


class TakenPacks:
    """The list of one remote."""

    def __init__(self, store: Store, remote: str) -> None:
        self._path = store.layout.index / f"{remote}{TAKEN_SUFFIX}"
        self._store = store
        self.commits: set[bytes] = set()  # that a fetch which was cut off has set aside
        self._names: set[bytes] = set()
        self._read()

    def __contains__(self, name: bytes) -> bool:
        return name in self._names

    def add(self, names: Iterable[bytes], *, settled: bool, commits: Iterable[bytes] = ()) -> None:
        """Remember packs; `settled` if nothing of them waits for a fetch that was cut off; else commits set aside."""
        self._names.update(names)
        self.commits = set() if settled else self.commits | set(commits)
        lines = [_SETTLED if settled else str(self._store.generation), *sorted(name.hex() for name in self._names)]
        lines += sorted(f"{_COMMIT}{commit.hex()}" for commit in self.commits)
        draft = self._path.with_suffix(f".{os.getpid()}")
        with contextlib.suppress(OSError):  # it is a cache
            draft.write_text("\n".join(lines) + "\n")
            draft.replace(self._path)

    def forget(self) -> None:
        """Remove the list."""
        self._names = set()
        with contextlib.suppress(OSError):
            self._path.unlink()

    def _read(self) -> None:
        try:
            first, *rest = self._path.read_text("ascii").splitlines()
        except (OSError, ValueError):
            return
        words = {line for line in rest if line.startswith(_COMMIT)}
        self.commits = _addresses(word.removeprefix(_COMMIT) for word in words)
        if first in (_SETTLED, str(self._store.generation)):
            self._names = _addresses(line for line in rest if line not in words)


def _addresses(words: Iterable[str]) -> set[bytes]:
    return {name for word in words if (name := pack_name(word + PACK_SUFFIX)) is not None}
