"""What differs between two states, contract by contract and page by page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from piecrust.objects import contract_map, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.ids import ZERO, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES, ZERO_PAGE
from piecrust.objects.state import State

if TYPE_CHECKING:
    from piecrust.objects.record import ContractRecord

GAP_BYTES_MAX = 8  # runs of differing bytes that are closer than this are shown as one


@dataclass(frozen=True, slots=True)
class PageChange:
    """A page whose hash differs; None on the side that has no such page."""

    index: int
    old: bytes | None
    new: bytes | None


@dataclass(frozen=True, slots=True)
class ByteRun:
    """A run of bytes that differ, by its offset in memory."""

    offset: int
    old: bytes
    new: bytes


@dataclass(frozen=True, slots=True)
class ChangedContract:
    """A contract that is not the same in two states."""

    id: ContractId
    old: ContractRecord | None
    new: ContractRecord | None
    pages: tuple[PageChange, ...]

    @property
    def status(self) -> str:
        """new, gone or changed."""
        return "new" if self.old is None else "gone" if self.new is None else "changed"

    @property
    def details(self) -> list[str]:
        """What differs beside the pages."""
        if self.old is None or self.new is None:
            return []
        found = []
        if self.old.bytecode != self.new.bytecode:
            found.append("code")
        if self.old.owner != self.new.owner:
            found.append("owner")
        if self.old.memory_length != self.new.memory_length:
            found.append(f"memory {self.old.memory_length:,} -> {self.new.memory_length:,} bytes")
        if self.old.position != self.new.position:
            found.append(f"position {self.old.position} -> {self.new.position}")
        return found


def changed_contracts(reader: ObjectReader, old: State, new: State) -> list[ChangedContract]:
    """The contracts that differ, in the order of their ids; reads only where the states do."""
    found = [
        ChangedContract(contract, before, after, tuple(changed_pages(reader, before, after)))
        for contract, before, after in contract_map.diff(reader, old.map_root, new.map_root)
    ]
    return sorted(found, key=lambda change: change.id)


def changed_pages(reader: ObjectReader, old: ContractRecord | None, new: ContractRecord | None) -> Iterator[PageChange]:
    """The pages of a contract that differ."""
    record = new or old
    if record is None:
        return
    if old is not None and new is not None and old.memory_kind != new.memory_kind:
        for index, page in tree.leaves(reader, old.memory_kind.shape, old.pages_root):
            yield PageChange(index, page, None)
        old = None
    before = ZERO if old is None else old.pages_root
    after = ZERO if new is None else new.pages_root
    for index, was, now in tree.diff(reader, record.memory_kind.shape, before, after):
        yield PageChange(index, was, now)


def byte_runs(reader: ObjectReader, page: PageChange) -> list[ByteRun]:
    """The bytes of a page that differ, in runs; a page that a side does not have reads as zeros."""
    old, new = load_page(reader, page.old), load_page(reader, page.new)
    runs: list[ByteRun] = []
    for start, end in _differing(old, new):
        runs.append(ByteRun(page.index * PAGE_BYTES + start, old[start:end], new[start:end]))
    return runs


def load_page(reader: ObjectReader, address: bytes | None) -> bytes:
    """A page's bytes; zeros for None."""
    return ZERO_PAGE if address is None else bytes(reader.load(Kind.PAGE, address))


def read_memory(reader: ObjectReader, record: ContractRecord, offset: int, length: int) -> bytes:
    """Bytes of a contract's memory; what was never written is zero."""
    parts = []
    for index in range(offset // PAGE_BYTES, -(-(offset + length) // PAGE_BYTES)):
        address = tree.lookup(reader, record.memory_kind.shape, record.pages_root, index)
        start = index * PAGE_BYTES
        parts.append(load_page(reader, address)[max(offset - start, 0) : offset + length - start])
    return b"".join(parts)


def _differing(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Where two pages differ, as (start, end); looks into 64-byte blocks only if they differ."""
    start = end = -1
    for block in range(0, len(old), 64):
        if old[block : block + 64] == new[block : block + 64]:
            continue
        for index in range(block, min(block + 64, len(old))):
            if old[index] == new[index]:
                continue
            if start >= 0 and index - end <= GAP_BYTES_MAX:
                end = index + 1
                continue
            if start >= 0:
                yield start, end
            start, end = index, index + 1
    if start >= 0:
        yield start, end
