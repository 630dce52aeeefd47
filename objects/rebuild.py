"""States that are built from records which came from elsewhere, rather than from what a session did."""

from __future__ import annotations

from collections.abc import Mapping

from piecrust.objects import contract_map, tree
from piecrust.objects.access import ObjectWriter
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import ZERO, ContractId, NodeHash, StateRoot
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import ContractChange, State
from piecrust.objects.tree import CONTRACTS


def state_with(writer: ObjectWriter, base: State, records: Mapping[ContractId, ContractRecord | None]) -> State:
    """The state that has these records instead of those of `base`, None taking a contract away.

    Unlike `write_state` it takes positions as the records have them. Costs what changes, unless a contract goes, comes
    back or moves: then what all contracts cost.

    Raises:
        InvalidFormat: two contracts have one position.
        ContractPositionCollision: two ids share a position key.
    """
    old = {contract: contract_map.lookup(writer, base.map_root, contract) for contract in records}
    map_root = contract_map.update(writer, base.map_root, {c: None for c, record in records.items() if record is None})
    present = {contract: record for contract, record in records.items() if record is not None}
    map_root = contract_map.update(writer, map_root, present)
    positions = max([base.positions, *(record.position for record in present.values())])
    if all(_stays(was, records[contract], base.positions) for contract, was in old.items()):
        leaves, count = {record.position: bytes(record.pages_root) for record in present.values()}, len(present)
        state_root = base.state_root
    else:
        everything = list(contract_map.items(writer, map_root))
        leaves, count = {record.position: bytes(record.pages_root) for record in everything}, len(everything)
        state_root = StateRoot(ZERO)
    if len(leaves) != count:
        raise InvalidFormat("state", "two contracts at one position")
    return State(StateRoot(tree.update(writer, CONTRACTS, state_root, leaves)), NodeHash(map_root), positions)


def as_it_is(record: ContractRecord) -> ContractChange:
    """The change that gives a state this contract, with all that it has in another one."""
    return ContractChange(
        id=record.id,
        bytecode=record.bytecode,
        owner=record.owner,
        memory_kind=record.memory_kind,
        memory_length=record.memory_length,
        pages_root=record.pages_root,
        pages={},
    )


def _stays(old: ContractRecord | None, new: ContractRecord | None, positions: int) -> bool:
    """Whether a contract keeps its position, or is new at one that nobody had."""
    if new is None:
        return False
    return new.position > positions if old is None else new.position == old.position
