"""The contract map: which contracts a state has, with their records, under one hash.

It is a sparse Merkle tree like the state tree, of the same shape, but a contract's place in it is the u32 that its id
folds to (`ContractId.position_key`), and the leaf is the address of its record. So absence of a contract is provable,
and two ids with one fold meet: a state can't hold both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from piecrust.objects import tree
from piecrust.objects.access import ObjectReader, ObjectWriter
from piecrust.objects.errors import ContractPositionCollision, CorruptObject
from piecrust.objects.ids import ContractId
from piecrust.objects.kinds import RECORD_HASH, Kind
from piecrust.objects.record import ContractRecord
from piecrust.objects.tree import CONTRACTS


def lookup(reader: ObjectReader, root: bytes, contract: ContractId) -> ContractRecord | None:
    """The record of a contract, None if the state doesn't have it."""
    record = at_key(reader, root, contract.position_key)
    return record if record is not None and record.id == contract else None


def at_key(reader: ObjectReader, root: bytes, key: int) -> ContractRecord | None:
    """The record of whatever contract has this position key."""
    address = tree.lookup(reader, CONTRACTS, root, key)
    return None if address is None else _record(reader, key, address)


def update(writer: ObjectWriter, root: bytes, records: Mapping[ContractId, ContractRecord | None]) -> bytes:
    """The root after setting records, or taking contracts away where the record is None.

    Raises:
        ContractPositionCollision: two ids, of these and those that are there, share a position key.
    """
    leaves: dict[int, bytes | None] = {}
    given: dict[int, ContractId] = {}
    for contract, record in records.items():
        key = contract.position_key
        if key in given:
            raise ContractPositionCollision(*sorted((given[key], contract)))
        given[key] = contract
        old_address = tree.lookup(writer, CONTRACTS, root, key)
        if old_address is not None:
            old = _record(writer, key, old_address)
            if old.id != contract:
                if record is None:
                    continue
                raise ContractPositionCollision(old.id, contract)
        if record is None:
            leaves[key] = None
        else:
            leaves[key] = put_record(writer, record, old_address)
    return tree.update(writer, CONTRACTS, root, leaves)


def put_record(writer: ObjectWriter, record: ContractRecord, base: bytes | None) -> bytes:
    """Stage a record; its address. `base` is the address of the one before it."""
    address = RECORD_HASH(record.encode())
    writer.put(Kind.RECORD, address, record, base=base)
    return address


def items(reader: ObjectReader, root: bytes) -> Iterator[ContractRecord]:
    """All records, in the order of their position keys."""
    for key, address in tree.leaves(reader, CONTRACTS, root):
        yield _record(reader, key, address)


def diff(
    reader: ObjectReader, old: bytes, new: bytes
) -> Iterator[tuple[ContractId, ContractRecord | None, ContractRecord | None]]:
    """The contracts whose records differ, as (id, old, new), in the order of their position keys.

    Where two ids share a key, the one that went comes before the one that came.
    """
    for key, before, after in tree.diff(reader, CONTRACTS, old, new):
        was = None if before is None else _record(reader, key, before)
        now = None if after is None else _record(reader, key, after)
        if was is not None and now is not None and was.id != now.id:
            yield was.id, was, None
            yield now.id, None, now
        elif was is not None:
            yield was.id, was, now
        elif now is not None:
            yield now.id, None, now


def _record(reader: ObjectReader, key: int, address: bytes) -> ContractRecord:
    record: ContractRecord = reader.load(Kind.RECORD, address)
    if record.id.position_key != key:
        raise CorruptObject(Kind.RECORD, address, "not at the position of its id")
    return record
