"""One state as it comes out of a bundle: contracts, their pages, bytecode and transcripts, each checked on arrival."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from blake3 import blake3
from piecrust.objects import contract_map, tree
from piecrust.objects.bundle import OBJECT_ITEMS, WHAT, Item, ItemType, PageForm, read_page_item, unsparse
from piecrust.objects.bundle_writer import pages_before
from piecrust.objects.codec import CODECS
from piecrust.objects.errors import ContractPositionCollision, CorruptObject, InvalidFormat, ObjectNotFound
from piecrust.objects.ids import ID_BYTES, ContractId
from piecrust.objects.kinds import RECORD_HASH, Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.patch import apply_patch
from piecrust.objects.rebuild import state_with
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import State
from piecrust.objects.store import Store
from piecrust.objects.transaction import Transaction

PIECE_BYTES: Final = 32 << 20
OPERATION: Final = "import"


class Pieces:
    """Objects on their way into a store, published piece by piece; `objects` are those of the piece to come."""

    def __init__(self, store: Store, operation: str = OPERATION, bytes_max: int | None = None) -> None:
        """`operation` is what the operation log calls it; `bytes_max` are of a piece, about."""
        self._store, self._operation, self._bytes_max = store, operation, bytes_max or PIECE_BYTES
        self._bytes = 0
        self.objects: Transaction = store.transaction()

    def put(self, kind: Kind, address: bytes, value: Any, length: int, base: bytes | None = None) -> None:
        """Stage an object of so many bytes."""
        self.objects.put(kind, address, value, base=base)
        self._bytes += length

    def publish_if_full(self) -> None:
        """Publish what was staged, if it is much."""
        if self._bytes > self._bytes_max:
            self.publish()

    def publish(self) -> None:
        """Publish what was staged."""
        self.objects.publish(Operation(self._operation, ("objects",)))
        self.objects, self._bytes = self._store.transaction(), 0


@dataclass
class _Memory:
    """A contract whose pages are coming."""

    record: ContractRecord
    root: bytes  # of the page tree that they change
    offset: int
    leaves: dict[int, bytes | None] = field(default_factory=dict)


class IncomingState:
    """What came of one state so far; `given` are bytecodes, transcripts and blobs that no contract asked for."""

    def __init__(self, pieces: Pieces, base: State, offset: int) -> None:
        """A state that is told by what differs from `base`; `offset` is where it begins in the bundle."""
        self.offset = offset
        self.records: dict[ContractId, ContractRecord | None] = {}
        self.given: set[tuple[Kind, bytes]] = set()
        self._pieces, self._base = pieces, base
        self._memory: _Memory | None = None

    def take(self, item: Item) -> None:
        """One item of it.

        Raises:
            InvalidFormat, CorruptObject: it is damaged, or does not belong here.
            ObjectNotFound: it builds on something that did not come.
        """
        match item.type:
            case ItemType.CONTRACT:
                self._take_contract(item)
            case ItemType.GONE:
                self._take_gone(item)
            case ItemType.PAGE:
                self._take_page(item)
            case ItemType.GONE_PAGE:
                if len(item.body) != 4:
                    _fail("no index of a page", item)
                self._leaf(item, int.from_bytes(item.body, "little"), None)
            case _ if item.type in OBJECT_ITEMS:
                self._take_object(item)
            case _:
                _fail(f"{item.type.name.lower()} where a state was expected", item)

    def end(self) -> State:
        """The state, all of it having come.

        Raises:
            InvalidFormat: it can't be one.
            ObjectNotFound: something is missing.
        """
        self._end_memory()
        try:
            return state_with(self._pieces.objects, self._base, self.records)
        except (ContractPositionCollision, InvalidFormat) as error:
            raise InvalidFormat(WHAT, str(error), self.offset) from error

    def _take_contract(self, item: Item) -> None:
        self._end_memory()
        record: ContractRecord = CODECS[Kind.RECORD].decode(RECORD_HASH(item.body), item.body)
        if self.records.get(record.id) is not None:
            _fail(f"contract {record.id.hex()} twice", item)
        old = contract_map.lookup(self._pieces.objects, self._base.map_root, record.id)
        self.records[record.id] = record
        self._memory = _Memory(record, pages_before(old, record), item.offset)

    def _take_gone(self, item: Item) -> None:
        self._end_memory()
        gone = ContractId(item.body)
        if gone in self.records or contract_map.lookup(self._pieces.objects, self._base.map_root, gone) is None:
            _fail("a contract goes that was not there", item)
        self.records[gone] = None

    def _take_page(self, item: Item) -> None:
        index, address, form, content = read_page_item(item)
        memory = self._leaf(item, index, address)
        objects = self._pieces.objects
        if form is PageForm.KNOWN:
            if content:
                _fail("a page with content that should be known", item)
            if not objects.contains(Kind.PAGE, address):
                raise ObjectNotFound(Kind.PAGE, address)
            return
        was = tree.lookup(objects, memory.record.memory_kind.shape, memory.root, index)
        if form is PageForm.SPARSE:
            page = unsparse(content, item.offset)
        elif was is None:
            _fail("a patch of no page", item)
        else:
            page = apply_patch(objects.load(Kind.PAGE, was), content)
        if blake3(page).digest() != address:
            raise CorruptObject(Kind.PAGE, address, f"its hash differs, at offset {item.offset} of the bundle")
        if not objects.contains(Kind.PAGE, address):
            self._pieces.put(Kind.PAGE, address, page, PAGE_BYTES, was)

    def _leaf(self, item: Item, index: int, address: bytes | None) -> _Memory:
        memory = self._memory
        if memory is None:
            _fail("a page of no contract", item)
        if index >= memory.record.memory_kind.shape.positions or index in memory.leaves:
            _fail(f"page {index} twice, or beyond the memory", item)
        memory.leaves[index] = address
        return memory

    def _take_object(self, item: Item) -> None:
        """Bytecode, a transcript or a part of one."""
        kind, address = OBJECT_ITEMS[item.type], item.body[:ID_BYTES]
        self._pieces.put(kind, address, decoded(kind, item), len(item.body))
        if self._memory is None or kind is not Kind.BYTECODE or address != self._memory.record.bytecode:
            self.given.add((kind, address))

    def _end_memory(self) -> None:
        memory, self._memory = self._memory, None
        if memory is None:
            return
        record, objects = memory.record, self._pieces.objects
        if not objects.contains(Kind.BYTECODE, record.bytecode):
            raise InvalidFormat(WHAT, f"no bytecode for contract {record.id.hex()}", memory.offset)
        root = tree.update(objects, record.memory_kind.shape, memory.root, memory.leaves)
        if root != record.pages_root:
            raise InvalidFormat(WHAT, f"contract {record.id.hex()} has other pages than it says", memory.offset)


def decoded(kind: Kind, item: Item) -> Any:
    """The value of an item with an address and a body; `CorruptObject` if they don't belong together."""
    address = item.body[:ID_BYTES]
    try:
        return CODECS[kind].decode(address, item.body[ID_BYTES:])
    except CorruptObject as error:
        reason = f"{error.reason}, at offset {item.offset} of the bundle"
        raise CorruptObject(kind, address, reason) from error


def _fail(reason: str, item: Item) -> NoReturn:
    raise InvalidFormat(WHAT, reason, item.offset)
