"""The contract map behaves as a dictionary of records."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from piecrust.objects import contract_map
from piecrust.objects.access import MemoryObjects
from piecrust.objects.errors import ContractPositionCollision, CorruptObject
from piecrust.objects.ids import ZERO, BytecodeHash, ContractId, NodeHash
from piecrust.objects.kinds import RECORD_HASH, Kind
from piecrust.objects.record import ContractRecord, MemoryKind
from piecrust.objects.tree import CONTRACTS, update


def of_key(key: int, salt: int = 0) -> ContractId:
    """An id that folds to this key."""
    return ContractId(((key - salt) & 0xFFFFFFFF).to_bytes(4, "little") + salt.to_bytes(4, "little") + bytes(24))


# Far apart, side by side, in one block, and colliding pairs.
IDS = [of_key(k) for k in (0, 1, 2, 255, 256, 0x01000000, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)]
IDS += [of_key(1, 7), of_key(0xFFFFFFFF, 9)]
IDS += [ContractId(hashlib.sha256(b"%d" % n).digest()) for n in range(20)]


def record(contract: ContractId, n: int) -> ContractRecord:
    return ContractRecord(contract, BytecodeHash(bytes(32)), b"owner", MemoryKind.WASM32, n << 16, NodeHash(ZERO), 1)


class MapMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.objects, self.root = MemoryObjects(), ZERO
        self.model: dict[ContractId, ContractRecord] = {}
        self.past: list[tuple[bytes, dict[ContractId, ContractRecord]]] = [(ZERO, {})]

    @rule(changes=st.dictionaries(st.sampled_from(IDS), st.none() | st.integers(0, 5), min_size=1, max_size=4))
    def write(self, changes: dict[ContractId, int | None]) -> None:
        records = {c: None if n is None else record(c, n) for c, n in changes.items()}
        keys = [c.position_key for c in changes]
        others = {c.position_key: c for c in self.model}
        collide = len(set(keys)) < len(keys) or any(
            n is not None and others.get(c.position_key, c) != c for c, n in changes.items()
        )
        if collide:
            with pytest.raises(ContractPositionCollision):
                contract_map.update(self.objects, self.root, records)
            return
        self.root = contract_map.update(self.objects, self.root, records)
        for contract, value in records.items():
            if value is None:
                self.model.pop(contract, None)
            else:
                self.model[contract] = value
        self.past.append((self.root, dict(self.model)))

    @rule(data=st.data())
    def compare_with_an_earlier_one(self, data: st.DataObject) -> None:
        root, model = data.draw(st.sampled_from(self.past))
        changed = {
            c: (model.get(c), self.model.get(c)) for c in model | self.model if model.get(c) != self.model.get(c)
        }
        found = list(contract_map.diff(self.objects, root, self.root))
        assert {c: (old, new) for c, old, new in found} == changed
        assert len(found) == len(changed)

    @invariant()
    def reads_as_the_model(self) -> None:
        for contract in IDS:
            assert contract_map.lookup(self.objects, self.root, contract) == self.model.get(contract)

    @invariant()
    def lists_the_model_in_order_of_keys(self) -> None:
        keys = [r.id.position_key for r in contract_map.items(self.objects, self.root)]
        assert keys == sorted(keys)
        assert {r.id: r for r in contract_map.items(self.objects, self.root)} == self.model

    @invariant()
    def the_root_does_not_depend_on_history(self) -> None:
        assert contract_map.update(MemoryObjects(), ZERO, self.model) == self.root


MapMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=20, deadline=None)
TestMap = MapMachine.TestCase


def test_a_record_in_another_place_is_corrupt():
    objects = MemoryObjects()
    value = record(IDS[0], 1)
    address = RECORD_HASH(value.encode())
    objects.put(Kind.RECORD, address, value)
    root = update(objects, CONTRACTS, ZERO, {77: address})
    with pytest.raises(CorruptObject, match="position of its id"):
        list(contract_map.items(objects, root))
