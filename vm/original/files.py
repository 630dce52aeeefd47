"""The files in a directory of the original: read within bounds, and checked as far as one file can be."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from piecrust.objects.errors import InvalidFormat, StoreIOError
from piecrust.objects.ids import ID_BYTES, ContractId, NodeHash, StateRoot
from piecrust.objects.kinds import BODY_BYTES_MAX, Kind
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import OWNER_BYTES_MAX, POSITION_MAX, MemoryKind
from piecrust.vm.errors import DecodeError
from piecrust.vm.original.archives import (
    ArchivedBase,
    ArchivedElement,
    ArchivedMetadata,
    ArchivedNode,
    ArchivedPositions,
    Wasm32,
    Wasm64,
)
from piecrust.vm.rkyv.codec import codec
from piecrust.vm.rkyv.reader import Limits

ARCHIVE_BYTES_MAX: Final = 1 << 28  # the element of a contract with 2.9 million pages
METADATA_BYTES_MAX: Final = 2 * OWNER_BYTES_MAX
POSITION_BYTES: Final = 4 + ID_BYTES + 4

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Element:
    """A contract in one commit: `leaves` are the hashes of its pages by index, `pages_root` the tree's root.

    `length` is in bytes, modulo 2^32: the original writes no more of it. `position` is that in the state tree.
    """

    kind: MemoryKind
    length: int
    pages_root: NodeHash
    position: int
    leaves: dict[int, bytes]


@dataclass(frozen=True, slots=True)
class Base:
    """What a commit says of itself: what it was made on."""

    base: StateRoot | None


def read_base(path: Path) -> Base:
    """The file `base` of a commit."""
    found = _decode(path, ARCHIVE_BYTES_MAX, ArchivedBase)
    return Base(None if found.maybe_base is None else StateRoot(found.maybe_base))


def read_element(path: Path, position: int | None = None) -> Element:
    """The file `element` of a contract; `position` is said elsewhere by older versions."""
    found = _decode(path, ARCHIVE_BYTES_MAX, ArchivedElement)
    match found.tree:
        case Wasm32(tree):
            kind = MemoryKind.WASM32
        case Wasm64(tree):
            kind = MemoryKind.WASM64
        case _:
            raise AssertionError("the codec gives one of the variants")
    leaves = _leaves(path, kind, tree.root)
    if not leaves.keys() == tree.positions == found.page_indices:
        raise InvalidFormat(str(path), "the leaves of the tree are not the pages that it names")
    position = found.int_pos if position is None else position
    if found.hash is None or position is None or not 0 < position <= POSITION_MAX:
        raise InvalidFormat(str(path), "the contract has no place in the state")
    if found.len % PAGE_BYTES:
        raise InvalidFormat(str(path), f"a memory of {found.len} bytes, no whole number of pages")
    return Element(kind, found.len, NodeHash(found.hash), position, leaves)


def read_owner(path: Path, contract: ContractId) -> bytes:
    """The owner in the file of a contract's metadata."""
    found = _decode(path, METADATA_BYTES_MAX, ArchivedMetadata)
    if found.contract_id != contract:
        raise InvalidFormat(str(path), f"the metadata of contract {found.contract_id.hex()}")
    if len(found.owner) > OWNER_BYTES_MAX:
        raise InvalidFormat(str(path), f"an owner of {len(found.owner)} bytes")
    return found.owner


def read_bytecode(path: Path) -> bytes:
    """A contract's WebAssembly, whatever it is."""
    return read_file(path, BODY_BYTES_MAX[Kind.BYTECODE])


def read_page(path: Path) -> bytes:
    """A page of a contract's memory."""
    page = read_file(path, PAGE_BYTES)
    if len(page) != PAGE_BYTES:
        raise InvalidFormat(str(path), f"a page of {len(page)} bytes")
    return page


def read_positions(path: Path, *, packed: bool) -> dict[int, int]:
    """The positions of contracts in the state tree, by the keys of their ids: how older versions kept them.

    `packed` files have 40 bytes for each, the others are archives.
    """
    if packed:
        data = read_file(path, ARCHIVE_BYTES_MAX)
        if len(data) % POSITION_BYTES:
            raise InvalidFormat(str(path), f"no whole number of entries of {POSITION_BYTES} bytes")
        entries = [data[at : at + POSITION_BYTES] for at in range(0, len(data), POSITION_BYTES)]
        return {int.from_bytes(entry[-4:], "little"): int.from_bytes(entry[:4], "little") for entry in entries}
    found = _decode(path, ARCHIVE_BYTES_MAX, ArchivedPositions)
    return {key: position for position, (_, key) in found.tree_pos.items()}


def read_file(path: Path, bytes_max: int) -> bytes:
    """The content of a file that is none but a regular one, and no longer than `bytes_max`.

    Raises:
        InvalidFormat: It is something else, longer, or missing.
        StoreIOError: The operating system refused.
    """
    try:
        # A symbolic link could show anything that the reader may see; a pipe could keep it waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            raise InvalidFormat(str(path), "it is missing") from error
        if error.errno in (errno.ELOOP, errno.ENXIO):
            raise InvalidFormat(str(path), "it is no regular file") from error
        raise StoreIOError(path, "open", error.errno) from error
    try:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode):
            raise InvalidFormat(str(path), "it is no regular file")
        if about.st_size > bytes_max:
            raise InvalidFormat(str(path), f"{about.st_size} bytes, more than {bytes_max}")
        return os.read(descriptor, about.st_size)
    except OSError as error:
        raise StoreIOError(path, "read", error.errno) from error
    finally:
        os.close(descriptor)


def _decode(path: Path, bytes_max: int, archived: type[T]) -> T:
    data = read_file(path, bytes_max)
    try:
        # No value that these types decode to takes less than a tenth of a byte.
        return codec(archived).decode(data, Limits(bytes_max=bytes_max, values_max=64 + 10 * len(data)))
    except DecodeError as error:
        raise InvalidFormat(str(path), str(error)) from error


def _leaves(path: Path, kind: MemoryKind, root: ArchivedNode) -> dict[int, bytes]:
    """The leaves of a page tree by position. What its inner nodes say is not asked for."""
    leaves: dict[int, bytes] = {}
    todo: list[tuple[int, int, Any]] = [(kind.shape.height, 0, root)]
    while todo:
        height, position, node = todo.pop()
        children = [(4 * position + digit, child) for digit, child in enumerate(node.children) if child is not None]
        if height > 0:
            todo += [(height - 1, place, child) for place, child in children]
        elif children or node.item is None:
            raise InvalidFormat(str(path), f"page {position} is no leaf of its tree")
        else:
            leaves[position] = node.item
    return leaves
