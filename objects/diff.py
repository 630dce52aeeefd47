"""What differs between two states: contracts, their pages, and the bytes of these.

Trees are compared from their roots down, and only where they differ; a page is read only for its bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Final

from piecrust.objects import contract_map, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.ids import ZERO, ContractId, PageHash
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES, RANGE_BYTES, ZERO_PAGE
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import State

GAP_BYTES: Final = 7  # equal bytes between two runs that are shown as one

_DIFFERING = re.compile(rb"[^\0]+(?:\0{1,%d}[^\0]+)*" % GAP_BYTES)


@dataclass(frozen=True, slots=True)
class PageDifference:
    """A page that differs; None where it was never written."""

    index: int
    old: PageHash | None
    new: PageHash | None


@dataclass(frozen=True, slots=True)
class ContractDifference:
    """A contract that differs in anything; None where there is no such contract."""

    id: ContractId
    old: ContractRecord | None
    new: ContractRecord | None

    def pages(self, reader: ObjectReader) -> Iterator[PageDifference]:
        """The pages that differ, in order."""
        before, after = self.old, self.new
        if before is not None and after is not None and before.memory_kind != after.memory_kind:
            changes = _between_shapes(reader, before, after)
        else:
            record = before or after
            assert record is not None
            old_root = ZERO if before is None else before.pages_root
            new_root = ZERO if after is None else after.pages_root
            changes = tree.diff(reader, record.memory_kind.shape, old_root, new_root)
        for index, old, new in changes:
            yield PageDifference(index, None if old is None else PageHash(old), None if new is None else PageHash(new))


@dataclass(frozen=True, slots=True)
class ByteDifference:
    """Bytes of memory that differ, at an offset from its beginning."""

    offset: int
    old: bytes
    new: bytes


def diff_states(reader: ObjectReader, old: State, new: State) -> Iterator[ContractDifference]:
    """The contracts that differ, in the order of their position keys."""
    for contract, before, after in contract_map.diff(reader, old.map_root, new.map_root):
        yield ContractDifference(contract, before, after)


def diff_bytes(reader: ObjectReader, page: PageDifference) -> Iterator[ByteDifference]:
    """The runs of bytes in which a page differs, in order; a page that isn't there counts as zeros.

    Up to `GAP_BYTES` equal bytes between two differences are part of a run.
    """
    old: bytes = ZERO_PAGE if page.old is None else reader.load(Kind.PAGE, page.old)
    new: bytes = ZERO_PAGE if page.new is None else reader.load(Kind.PAGE, page.new)
    start = page.index * PAGE_BYTES
    for first, end in _runs(old, new):
        yield ByteDifference(start + first, old[first:end], new[first:end])


def _runs(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Where two pages differ. Stretches of ranges that differ are looked at as one, so that no run is cut in two."""
    starts = range(0, PAGE_BYTES, RANGE_BYTES)
    for differs, group in groupby(starts, lambda at: old[at : at + RANGE_BYTES] != new[at : at + RANGE_BYTES]):
        if differs:
            stretch = list(group)
            first, end = stretch[0], stretch[-1] + RANGE_BYTES
            mask = int.from_bytes(old[first:end], "little") ^ int.from_bytes(new[first:end], "little")
            for run in _DIFFERING.finditer(mask.to_bytes(end - first, "little")):
                yield first + run.start(), first + run.end()


def _between_shapes(
    reader: ObjectReader, before: ContractRecord, after: ContractRecord
) -> Iterator[tuple[int, bytes | None, bytes | None]]:
    """The leaves that differ between a 32-bit and a 64-bit memory, which have no hashes in common."""
    old = dict(tree.leaves(reader, before.memory_kind.shape, before.pages_root))
    new = dict(tree.leaves(reader, after.memory_kind.shape, after.pages_root))
    for index in sorted(old | new):
        if old.get(index) != new.get(index):
            yield index, old.get(index), new.get(index)
