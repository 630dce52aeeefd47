"""Takes back what calls wrote: one log for all memories of a session.

The old content is gone when a write is noticed, so it is remembered before: at each boundary between frames, for the
memories that ran since the last one. A memory changes between two boundaries only if its contract ran, and the host's
writes hit the same ranges.

- A checkpoint copies what was written since the last one into the memory's shadow; the log gets what that replaces.
- A failure rolls back to a mark: what was written since is put back from the shadow, or else from the base.
- Between top-level calls nothing can be rolled back to but the last state, so there is no log; and the copy is made
  when the next call begins, if one does.
- What frames that have ended noted of one granule is merged now and then: nobody goes back to between them any more. So
  the log's length is bounded by the memory that was written and the depth of the calls, not by their number.
- An interrupt or a failure in the middle of this leaves memories that nobody knows the state of: they are shut, so that
  nothing of it gets into a commit.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from piecrust.vm.memory import Memory


MERGED_MIN: Final = 1024
"""Fewer entries of one frame and those that it called are not worth being merged."""


class UndoLog:
    """The log of one session. A mark is its length at some moment; 0 is the state that `settle` saw."""

    __slots__ = ("_entries",)

    def __init__(self) -> None:
        # (memory, granule, what the shadow held) or (memory, None, length before it grew)
        self._entries: list[tuple[Memory, int, bytes | None] | tuple[Memory, None, int]] = []

    def settle(self, ran: Collection[Memory]) -> None:
        """Takes what the memories hold for the state that a failure goes back to, before a top-level call."""
        try:
            for memory in ran:
                memory.settle()
            self._entries.clear()
        except BaseException as error:
            self._shut(ran, error)
            raise

    def checkpoint(self, ran: Collection[Memory]) -> int:
        """Takes what the memories hold for the state that a failure of the next frame goes back to: its mark."""
        entries = self._entries
        try:
            for memory in ran:
                entries += memory.remember()
        except BaseException as error:
            self._shut(ran, error)
            raise
        return len(entries)

    def merge(self, mark: int) -> int:
        """Keeps of all entries since a mark the oldest one of each granule; how many they are.

        For the mark of a frame whose callees have all ended: it is the only one that may still be gone back to.
        """
        oldest: dict[tuple[Memory, int | None], tuple[Memory, int, bytes | None] | tuple[Memory, None, int]] = {}
        for entry in self._entries[mark:]:
            oldest.setdefault((entry[0], entry[1]), entry)
        self._entries[mark:] = oldest.values()
        return len(oldest)

    def grew(self, memory: Memory, length: int) -> None:
        """Notes the length (in bytes) that a memory had before it grew."""
        self._entries.append((memory, None, length))

    def rollback(self, mark: int, ran: Collection[Memory]) -> None:
        """Brings all memories back to a mark. `ran`: those that ran since the last checkpoint."""
        changed: dict[Memory, set[int]] = {}
        try:
            for memory in ran:
                changed[memory] = memory.take_written()
            self._unwind(mark, changed)
            for memory, granules in changed.items():
                if granules:
                    memory.restore(granules)
        except BaseException as error:
            self._shut([*ran, *changed], error)
            raise

    def _unwind(self, mark: int, changed: dict[Memory, set[int]]) -> None:
        """Takes the log back to a mark, and adds the granules that it touched."""
        entries = self._entries
        while len(entries) > mark:
            entry = entries.pop()
            memory = entry[0]
            if entry[1] is None:
                memory.shrink(entry[2])
            else:
                changed.setdefault(memory, set()).add(entry[1])
                memory.forget(entry[1], entry[2])

    def _shut(self, memories: Collection[Memory], error: BaseException) -> None:
        for memory in {*memories, *(entry[0] for entry in self._entries)}:
            memory.shut(error)
