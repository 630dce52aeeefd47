"""Contract records: what a state knows about one contract, beside its memory."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from piecrust.objects import encoding
from piecrust.objects.errors import CorruptObject, InvalidFormat
from piecrust.objects.ids import BytecodeHash, ContractId, NodeHash
from piecrust.objects.kinds import RECORD_HASH, Kind
from piecrust.objects.tree import PAGES_32, PAGES_64, Shape

RECORD_VERSION: Final = 1
RECORD_BYTES: Final = 114  # of a body, about, without the owner
OWNER_BYTES_MAX: Final = 65536
POSITION_MAX: Final = (1 << 32) - 1
MEMORY_BYTES_MAX: Final = 1 << 42  # of a 64-bit memory, as the original bounds it


class MemoryKind(IntEnum):
    """The width of addresses in a contract's memory."""

    WASM32 = 32
    WASM64 = 64

    @property
    def shape(self) -> Shape:
        """The shape of the page tree."""
        return PAGES_32 if self is MemoryKind.WASM32 else PAGES_64


@dataclass(frozen=True, slots=True)
class ContractRecord:
    """One contract in one state.

    `memory_length` is in bytes; `pages_root` covers the pages that were ever written; `position` is the contract's
    leaf in the state tree.
    """

    id: ContractId
    bytecode: BytecodeHash
    owner: bytes
    memory_kind: MemoryKind
    memory_length: int
    pages_root: NodeHash
    position: int

    def fields(self) -> tuple[object, ...]:
        """`(version, id, bytecode, owner, memory kind, memory length, pages root, position)`."""
        return (
            RECORD_VERSION,
            bytes(self.id),
            bytes(self.bytecode),
            self.owner,
            int(self.memory_kind),
            self.memory_length,
            bytes(self.pages_root),
            self.position,
        )

    def encode(self) -> bytes:
        """The body: an array of the fields."""
        return encoding.encode(self.fields())

    @classmethod
    def decode(cls, address: bytes, body: bytes) -> ContractRecord:
        """The record with this address.

        Raises:
            CorruptObject: the body is malformed, or another one's.
        """
        if RECORD_HASH(body) != address:
            raise CorruptObject(Kind.RECORD, address, "its hash differs")
        try:
            return cls._of(body)
        except InvalidFormat as error:
            raise CorruptObject(Kind.RECORD, address, error.reason) from error

    @classmethod
    def _of(cls, body: bytes) -> ContractRecord:
        fields = encoding.Fields("record", encoding.decode("record", body))
        fields.version(RECORD_VERSION)
        contract, bytecode, owner = fields.hash(), fields.hash(), fields.data(OWNER_BYTES_MAX)
        kind, length, pages_root, position = (
            fields.uint(64),
            fields.uint(MEMORY_BYTES_MAX),
            fields.hash(),
            fields.uint(POSITION_MAX),
        )
        fields.end()
        if kind not in (32, 64) or position == 0:
            raise InvalidFormat("record", f"memory kind {kind}, position {position}")
        return cls(
            ContractId(contract),
            BytecodeHash(bytecode),
            owner,
            MemoryKind(kind),
            length,
            NodeHash(pages_root),
            position,
        )
