"""Contracts that differ between two states, as commands show them."""

from __future__ import annotations

from dataclasses import dataclass

from piecrust.objects import tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.diff import PageDifference, diff_states
from piecrust.objects.ids import ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES, ZERO_PAGE
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import State


@dataclass(frozen=True, slots=True)
class ChangedContract:
    """A contract that is not the same in two states; None on the side that lacks it."""

    id: ContractId
    old: ContractRecord | None
    new: ContractRecord | None
    pages: tuple[PageDifference, ...]

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
        ChangedContract(difference.id, difference.old, difference.new, tuple(difference.pages(reader)))
        for difference in diff_states(reader, old, new)
    ]
    return sorted(found, key=lambda change: change.id)


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
