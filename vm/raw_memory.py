"""Memory images: what a contract's memory holds, byte for byte, out of a store and into one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from blake3 import blake3
from piecrust.objects import contract_map, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.bundle_state import Pieces
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import ZERO, BytecodeHash, CommitId, ContractId, Hash
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES, ZERO_PAGE, page_hash
from piecrust.objects.record import MEMORY_BYTES_MAX, MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, State, write_state
from piecrust.objects.store import Store
from piecrust.objects.transcript import Import
from piecrust.vm.derivation import put_commit, state_of
from piecrust.vm.engine import validate
from piecrust.vm.errors import ContractDoesNotExist, MissingOwner
from piecrust.vm.interface import accept
from piecrust.vm.workspace import Workspace

OPERATION = "import-raw"
RAW_FORMAT = "raw"
WASM32_BYTES_MAX = 1 << 32
_WHAT = "memory image"


def export_raw(reader: ObjectReader, state: State, contract: ContractId, file: BinaryIO) -> int:
    """Write a contract's memory to a file that can seek; its length. Where nothing was ever written the file has holes.

    Raises:
        ContractDoesNotExist: The state has no such contract.
    """
    record = contract_map.lookup(reader, state.map_root, contract)
    if record is None:
        raise ContractDoesNotExist(contract)
    for index, address in tree.leaves(reader, record.memory_kind.shape, record.pages_root):
        room = record.memory_length - index * PAGE_BYTES
        if room > 0:
            file.seek(index * PAGE_BYTES)
            file.write(reader.load(Kind.PAGE, address)[:room])
    file.truncate(record.memory_length)
    return record.memory_length


def import_raw(
    store: Store,
    image: BinaryIO,
    contract: ContractId,
    *,
    bytecode: bytes | None = None,
    owner: bytes | None = None,
    message: str | None = None,
    author: str | None = None,
) -> CommitId:
    """Commit, onto HEAD's branch, that a contract's memory is this image; pages of zeros count as never written.

    A contract that HEAD has keeps its code and owner unless others are given; a new one needs both.

    Raises:
        InvalidFormat: The image is no whole number of pages, or too long for the contract.
        ContractDoesNotExist: HEAD has no such contract, and no bytecode was given.
        ContractRefused: The bytecode is no contract's.
        MissingOwner: A new contract needs one.
        UncommittedChanges: There is a working state.
        Conflict: Somebody else moved the branch meanwhile, or collected garbage.
    """
    store.refresh()
    workspace, pieces, generation = Workspace(store), Pieces(store, OPERATION), store.generation
    head = workspace.head().commit
    base = EMPTY_STATE if head is None else state_of(pieces.objects, head)
    old = contract_map.lookup(store, base.map_root, contract)
    if bytecode is None:
        if old is None:
            raise ContractDoesNotExist(contract)
        bytecode = store.load(Kind.BYTECODE, old.bytecode)
    if owner is None:
        if old is None:
            raise MissingOwner
        owner = old.owner
    _, interface = accept(bytecode, validate)
    kind = MemoryKind.WASM64 if interface.is64 else MemoryKind.WASM32
    length_max = MEMORY_BYTES_MAX if interface.is64 else WASM32_BYTES_MAX
    hasher, length, leaves = blake3(), 0, dict[int, bytes | None]()
    for index, page in enumerate(_pages(image)):
        hasher.update(page)
        length += PAGE_BYTES
        if length > length_max:
            raise InvalidFormat(_WHAT, f"more than {length_max} bytes", length_max)
        if page != ZERO_PAGE:
            leaves[index] = address = page_hash(page)
            pieces.put(Kind.PAGE, address, page, PAGE_BYTES)
            pieces.publish_if_full()
    if length < interface.initial_length:
        raise InvalidFormat(_WHAT, f"{length} bytes, the contract begins with {interface.initial_length}")
    transaction = pieces.objects
    address = BytecodeHash(blake3(bytecode).digest())
    transaction.put(Kind.BYTECODE, address, bytecode)
    root = tree.update(transaction, kind.shape, ZERO, leaves)
    state = write_state(transaction, base, [ContractChange(contract, address, owner, kind, length, root, {})])
    derivation = Import(RAW_FORMAT, Hash(hasher.digest()), frozenset([contract]))
    parents = () if head is None else (head,)
    commit = put_commit(transaction, state, parents, derivation, message, author)
    workspace.advance(transaction, commit)
    transaction.ahead_since = generation
    transaction.publish(Operation(OPERATION, (contract.hex(),)))
    return commit


def _pages(image: BinaryIO) -> Iterator[bytes]:
    offset = 0
    while page := image.read(PAGE_BYTES):
        while len(page) < PAGE_BYTES and (more := image.read(PAGE_BYTES - len(page))):
            page += more
        if len(page) < PAGE_BYTES:
            raise InvalidFormat(_WHAT, "no whole number of pages", offset + len(page))
        yield page
        offset += PAGE_BYTES
