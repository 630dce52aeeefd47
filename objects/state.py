"""States: the memories of all contracts under two roots, and how one state comes from another.

The state root is the original's: a binary tree of height 32 over the roots of the contracts' page trees, each at its
contract's position. The map root covers what the state root doesn't: ids, bytecode, owners, lengths of memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from piecrust.objects import tree
from piecrust.objects.access import ObjectWriter
from piecrust.objects.errors import ContractPositionCollision
from piecrust.objects.ids import ZERO, BytecodeHash, ContractId, NodeHash, StateRoot
from piecrust.objects.kinds import RECORD_HASH, Kind
from piecrust.objects.page import page_hash
from piecrust.objects.record import ContractRecord, MemoryKind
from piecrust.objects.tree import CONTRACTS


class State(NamedTuple):
    """What a commit holds: both roots, and the highest position that was given to a contract."""

    state_root: StateRoot
    map_root: NodeHash
    positions: int


EMPTY_STATE: Final = State(StateRoot(ZERO), NodeHash(ZERO), 0)


class PageWrite(NamedTuple):
    """The new bytes of a page; `ranges` is a mask of the 4 KiB ranges that may differ from the base's page."""

    data: bytes
    ranges: int | None = None


@dataclass(frozen=True, slots=True)
class ContractChange:
    """What a session leaves of one contract: the whole record, and the pages written since the base.

    `pages_root` is the tree that the pages are written to: the base's, `ZERO` for a new contract.
    """

    id: ContractId
    bytecode: BytecodeHash
    owner: bytes
    memory_kind: MemoryKind
    memory_length: int
    pages_root: bytes
    pages: Mapping[int, PageWrite]


def write_state(writer: ObjectWriter, base: State, changes: Iterable[ContractChange]) -> State:
    """The state after some contracts changed; puts all objects that are new in it but bytecode.

    Contracts that the base doesn't have get the next positions, in the order of their ids. About 100 us for one page of
    one contract, whatever the number of contracts.

    Raises:
        ContractPositionCollision: a new contract's id folds to the same key as another one's.
    """
    state_leaves: dict[int, bytes | None] = {}
    map_leaves: dict[int, bytes | None] = {}
    new_ids: dict[int, ContractId] = {}
    positions = base.positions
    for change in sorted(changes, key=_id):
        key = change.id.position_key
        old_address = tree.lookup(writer, CONTRACTS, base.map_root, key)
        pages_root = write_pages(writer, change)
        if old_address is not None:
            old: ContractRecord = writer.load(Kind.RECORD, old_address)
            if old.id != change.id:
                raise ContractPositionCollision(old.id, change.id)
            position = old.position
        elif key in new_ids:
            raise ContractPositionCollision(new_ids[key], change.id)
        else:
            new_ids[key] = change.id
            position = positions = positions + 1
        record = ContractRecord(
            change.id,
            change.bytecode,
            change.owner,
            change.memory_kind,
            change.memory_length,
            NodeHash(pages_root),
            position,
        )
        address = RECORD_HASH(record.encode())
        if address != old_address:
            writer.put(Kind.RECORD, address, record, base=old_address)
            map_leaves[key] = address
            state_leaves[position] = pages_root
    return State(
        StateRoot(tree.update(writer, CONTRACTS, base.state_root, state_leaves)),
        NodeHash(tree.update(writer, CONTRACTS, base.map_root, map_leaves)),
        positions,
    )


def write_pages(writer: ObjectWriter, change: ContractChange) -> bytes:
    """The root of a contract's page tree after its writes."""
    shape, root = change.memory_kind.shape, change.pages_root
    leaves: dict[int, bytes | None] = {}
    for index, page in change.pages.items():
        address = page_hash(page.data)
        old = tree.lookup(writer, shape, root, index)
        if address != old:
            writer.put(Kind.PAGE, address, page.data, base=old, hint=page.ranges)
            leaves[index] = address
    return tree.update(writer, shape, root, leaves)


def _id(change: ContractChange) -> ContractId:
    return change.id
