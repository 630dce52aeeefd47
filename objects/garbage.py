"""How much garbage each pack holds, which ones are worth being written anew, and what a run has done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from piecrust.objects.checkpoint import PackName
from piecrust.objects.ids import CommitId
from piecrust.objects.marks import Marks
from piecrust.objects.roots import Lineage

_DIRTY_SHARE: Final = 50  # a pack is written anew if more than this part of it is garbage
_SMALL_SHARE: Final = 4  # or if it takes less than this part of what a pack may, and there is another one beside it
_ENTRY_BYTES: Final = 40  # what an object takes beside its payload


@dataclass(slots=True)
class Tally:
    """The objects of a pack."""

    live_objects: int = 0
    live_bytes: int = 0
    dead_objects: int = 0
    dead_bytes: int = 0

    def count(self, length: int, *, live: bool) -> None:
        """Take in an object with a payload of this length."""
        if live:
            self.live_objects += 1
            self.live_bytes += length + _ENTRY_BYTES
        else:
            self.dead_objects += 1
            self.dead_bytes += length + _ENTRY_BYTES


@dataclass(frozen=True, slots=True)
class GarbageReport:
    """What a run of the garbage collection found, and did unless it was a dry run."""

    dry_run: bool
    commits_living: int
    commits_collected: int  # they are gone as a whole
    tombstones: int  # deleted commits that stay, without their states, because others descend from them
    objects_live: int
    objects_dead: int  # as they were found; objects that deltas are made against may stay for these
    bytes_dead: int
    bytes_before: int  # all files of the store
    bytes_after: int
    packs_before: int
    packs_after: int

    def as_dict(self) -> dict[str, Any]:
        """The fields by their names, for JSON."""
        return {name: getattr(self, name) for name in self.__slots__}


def make_report(
    lineage: Lineage,
    dead: set[CommitId],
    tallies: dict[bytes, Tally],
    *,
    dry_run: bool,
    bytes_before: int,
    bytes_after: int,
    packs_before: int,
    packs_after: int,
) -> GarbageReport:
    """The report of a run; `dead` are the commits that do not live, tombstones among them."""
    return GarbageReport(
        dry_run=dry_run,
        commits_living=len(lineage.living),
        commits_collected=len(dead - lineage.tombstones),
        tombstones=len(lineage.tombstones),
        objects_live=sum(counts.live_objects for counts in tallies.values()),
        objects_dead=sum(counts.dead_objects for counts in tallies.values()),
        bytes_dead=sum(counts.dead_bytes for counts in tallies.values()),
        bytes_before=bytes_before,
        bytes_after=bytes_after,
        packs_before=packs_before,
        packs_after=packs_after,
    )


def tally(marks: Marks, salts: Sequence[bytes]) -> dict[bytes, Tally]:
    """The objects that tables know of each source, by salt."""
    found = {salt: Tally() for salt in salts}
    for salt, live, length in marks.census():
        counts = found.get(salt)
        if counts is not None:
            counts.count(length, live=live)
    return found


def make_plan(packs: Sequence[PackName], tallies: dict[bytes, Tally], pack_bytes_max: int) -> list[list[PackName]]:
    """The packs to write anew, each group as one: those with much garbage, and small ones that are neighbours."""
    groups: list[list[PackName]] = []
    group: list[PackName] = []
    size = 0

    def close() -> None:
        if len(group) > 1 or any(_is_dirty(tallies[pack.salt]) for pack in group):
            groups.append(list(group))
        group.clear()

    for pack in packs:
        counts = tallies[pack.salt]
        if not _is_dirty(counts) and pack.length >= pack_bytes_max // _SMALL_SHARE:
            close()
            size = 0
            continue
        if size + counts.live_bytes > pack_bytes_max:
            close()
            size = 0
        group.append(pack)
        size += counts.live_bytes
    close()
    return groups


def _is_dirty(counts: Tally) -> bool:
    return counts.dead_bytes * _DIRTY_SHARE > counts.live_bytes + counts.dead_bytes
