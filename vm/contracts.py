"""The contracts of a session: read from its state when first used, and compared with the base at the end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from piecrust.objects import contract_map
from piecrust.objects.access import ObjectReader
from piecrust.objects.errors import ContractPositionCollision, PiecrustError
from piecrust.objects.ids import ZERO, BytecodeHash, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.rebuild import as_it_is
from piecrust.objects.record import ContractRecord, MemoryKind
from piecrust.objects.state import ContractChange, PageWrite, State
from piecrust.vm.errors import ContractDoesNotExist
from piecrust.vm.memory import Memory
from piecrust.vm.modules import Code, Modules
from piecrust.vm.pages import StoredPages
from piecrust.vm.resting import RestingContract, RestingContracts

if TYPE_CHECKING:
    from piecrust.vm.instance import Instance


@dataclass(frozen=True, slots=True)
class ContractMetadata:
    """What a state knows of a contract beside its code and its memory."""

    id: ContractId
    owner: bytes


class DeployedContract:
    """A contract in a session. Where `opened` is true, it has code and a memory."""

    __slots__ = (
        "base_pages_root",
        "bytecode",
        "bytecode_hash",
        "code",
        "id",
        "instance",
        "memory",
        "opened",
        "owner",
        "record",
        "used",
    )

    code: Code
    memory: Memory

    def __init__(self, contract_id: ContractId, owner: bytes, bytecode_hash: BytecodeHash) -> None:
        self.id = contract_id
        self.owner = owner
        self.bytecode_hash = bytecode_hash
        self.bytecode: bytes | None = None  # of a contract that this session deployed
        self.record: ContractRecord | None = None  # None if this session deployed it
        self.base_pages_root: bytes = ZERO  # the page tree that what is written goes on top of
        self.opened = False
        self.instance: Instance | None = None
        self.used = False  # in the running top-level call

    @property
    def memory_length(self) -> int:
        """Bytes, as `memory.size` tells them."""
        if self.opened:
            return self.memory.length
        assert self.record is not None, "a contract without a record has a memory"
        return self.record.memory_length

    def change(self) -> ContractChange | None:
        """What a state has to take over; None if nothing differs from the record."""
        record = self.record
        if not self.opened:
            return None
        memory = self.memory
        written = memory.written()
        if record is not None and not written and memory.length == record.memory_length:
            return None
        return ContractChange(
            id=self.id,
            bytecode=self.bytecode_hash,
            owner=self.owner,
            memory_kind=MemoryKind(self.code.kind),
            memory_length=memory.length,
            pages_root=self.base_pages_root,
            pages={index: PageWrite(memory.page(index), ranges) for index, ranges in written.items()},
        )

    def close_instance(self) -> None:
        """Gives up the instance; the next call makes a fresh one."""
        if self.instance is not None:
            self.instance.close()
            self.instance = None


class ContractTable:
    """Every contract that a session has used.

    `base` is the state that a commit starts from, `working` the one that contracts are read from; they differ for a
    session that goes on with a draft.
    """

    def __init__(
        self,
        reader: ObjectReader,
        modules: Modules,
        resting: RestingContracts,
        base: State,
        working: State,
    ) -> None:
        self.base = base
        self._reader = reader
        self._modules = modules
        self._resting = resting
        self._working = working
        self._loaded: dict[bytes, DeployedContract] = {}

    def __contains__(self, contract_id: ContractId) -> bool:
        return contract_id in self._loaded or self._record(self._working, contract_id) is not None

    def find(self, contract_id: ContractId) -> DeployedContract | None:
        """The contract with this id, None if the state has none."""
        contract = self._loaded.get(contract_id)
        if contract is None:
            record = self._record(self._working, contract_id)
            if record is None:
                return None
            contract = DeployedContract(record.id, record.owner, record.bytecode)
            contract.record = record
            contract.base_pages_root = record.pages_root
            self._loaded[contract_id] = contract
        return contract

    def open(self, contract_id: ContractId) -> DeployedContract:
        """The contract with this id, ready to run.

        Raises:
            ContractDoesNotExist: The state has none.
        """
        contract = self._loaded.get(contract_id) or self.find(contract_id)
        if contract is None:
            raise ContractDoesNotExist(contract_id)
        if not contract.opened:
            self._open(contract)
        return contract

    def interruptible(self, contract: DeployedContract) -> Code:
        """The contract's code with checks for deadlines compiled in; made when first asked for."""
        return self._code(contract, interruptible=True)

    def bytecode(self, contract: DeployedContract) -> bytes:
        """The contract's WebAssembly, as it was deployed."""
        bytecode: bytes = contract.bytecode or self._reader.load(Kind.BYTECODE, contract.bytecode_hash)
        return bytecode

    def loaded(self, contract_id: ContractId) -> DeployedContract | None:
        """The contract with this id if the session has used it."""
        return self._loaded.get(contract_id)

    def all_loaded(self) -> Iterable[DeployedContract]:
        """The contracts that the session has used."""
        return self._loaded.values()

    def add(self, contract: DeployedContract) -> None:
        """Takes a contract that is being deployed, with its code and memory.

        Raises:
            ContractPositionCollision: Another contract's id folds to the same position.
        """
        key = contract.id.position_key
        there = contract_map.at_key(self._reader, self._working.map_root, key)
        others = [other for other in self._loaded.values() if other.id.position_key == key]
        if there is not None or others:
            raise ContractPositionCollision(others[0].id if there is None else there.id, contract.id)
        contract.opened = True
        self._loaded[contract.id] = contract

    def remove(self, contract: DeployedContract) -> None:
        """Forgets a contract whose deployment failed."""
        if self._loaded.get(contract.id) is contract:
            del self._loaded[contract.id]
        contract.close_instance()
        contract.memory.close()

    def replace(self, old_id: ContractId, new_id: ContractId) -> None:
        """Gives the deployed contract `new_id` the id `old_id`; what had that id is gone."""
        contract = self._loaded.pop(new_id)
        old = self._loaded.pop(old_id, None)
        if old is not None and old.opened:
            old.close_instance()
            old.memory.close()
        contract.id = old_id
        self._loaded[old_id] = contract

    def ids(self) -> Iterator[ContractId]:
        """Every contract of the session's state, used or not, in no order."""
        for record in contract_map.items(self._reader, self._working.map_root):
            if record.id not in self._loaded:
                yield record.id
        yield from (contract.id for contract in self._loaded.values())

    def changes(self) -> list[ContractChange]:
        """What differs from the base."""
        changes = [change for contract in self._loaded.values() if (change := contract.change()) is not None]
        if self._working != self.base:
            changed = {change.id for change in changes}
            for contract_id, _, record in contract_map.diff(self._reader, self.base.map_root, self._working.map_root):
                if contract_id not in changed and record is not None:
                    changes.append(as_it_is(record))
        return changes

    def reset(self) -> None:
        """Goes back to the base."""
        self.close()
        self._working = self.base

    def discard(self) -> None:
        """Forgets every contract, and keeps none for others; for a session that was torn."""
        for contract in self._loaded.values():
            contract.close_instance()
            if contract.opened:
                contract.memory.close()
        self._loaded = {}

    def close(self, transaction: ObjectReader | None = None, committed: State | None = None) -> None:
        """Forgets every contract; those that hold what a stored state has rest for other sessions.

        If all changes were committed, `committed` is the state that has them and `transaction` what it was written to.
        """
        for contract in self._loaded.values():
            if not contract.opened:
                continue
            memory, record = contract.memory, contract.record
            if transaction is not None and committed is not None:
                record = contract_map.lookup(transaction, committed.map_root, contract.id)
                assert record is not None, "a committed contract is in the state"
                memory.rebase(self._pages(record))
            elif record is not None and not _reverted(memory):
                record = None
            if record is not None:
                self._resting.give(_state_key(record), RestingContract(memory, contract.instance))
            else:
                contract.close_instance()
                memory.close()
        self._loaded = {}

    def _record(self, state: State, contract_id: ContractId) -> ContractRecord | None:
        return contract_map.lookup(self._reader, state.map_root, contract_id)

    def _open(self, contract: DeployedContract) -> None:
        record = contract.record
        assert record is not None, "a contract without a record is open"
        contract.code = self._code(contract)
        resting = self._resting.take(_state_key(record))
        if resting is None:
            contract.memory = Memory(contract.code.kind, record.memory_length, self._pages(record))
        else:
            contract.memory, contract.instance = resting
        contract.opened = True

    def _code(self, contract: DeployedContract, *, interruptible: bool = False) -> Code:
        return self._modules.load(contract.bytecode_hash, lambda: self.bytecode(contract), interruptible=interruptible)

    def _pages(self, record: ContractRecord) -> StoredPages:
        return StoredPages(self._reader, record.memory_kind.shape, record.pages_root)


def _state_key(record: ContractRecord) -> tuple[bytes, ...]:
    return record.id, record.bytecode, record.pages_root, record.memory_length.to_bytes(8, "little")


def _reverted(memory: Memory) -> bool:
    """Makes a memory what its base has again, if it can."""
    try:
        return memory.revert()
    except PiecrustError:  # the store is closed already, or a page of it damaged: whoever needs it will see
        return False
