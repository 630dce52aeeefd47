"""What the original archives with rkyv in its directories, as types of the codec; fields have the original's names."""

from __future__ import annotations

from typing import Annotated

from piecrust.vm.rkyv.annotations import Box, Length, Option, bytes32
from piecrust.vm.rkyv.declare import TaggedUnion, archive
from piecrust.vm.rkyv.values import u32, u64, usize


@archive
class ArchivedBase:
    """`BaseInfo`: the contracts that the commit changed, and the state root of the commit that it was made on."""

    contract_hints: list[bytes32]
    maybe_base: Option[bytes32]


@archive
class ArchivedMetadata:
    """`ContractMetadata`."""

    contract_id: bytes32
    owner: bytes


# rustc leaves the last field of a generic struct behind if its type may have no size: two fields lie as in `repr(C)`.
@archive(repr="C")
class ArchivedNode:
    """A node of `dusk_merkle::Tree`: a leaf is `height` levels below the root."""

    item: Option[bytes32]
    children: Annotated[tuple[Option[Box[ArchivedNode]], ...], Length(4)]


@archive
class ArchivedTree:
    """`dusk_merkle::Tree`, with the positions of its leaves."""

    root: ArchivedNode
    positions: set[u64]


class ArchivedPageTree(TaggedUnion):
    """`PageTree`."""


class Wasm32(ArchivedPageTree):
    """The tree of a 32-bit memory, of height 8."""

    tree: ArchivedTree


class Wasm64(ArchivedPageTree):
    """The tree of a 64-bit memory, of height 13."""

    tree: ArchivedTree


@archive
class ArchivedElement:
    """`ContractIndexElement`: a contract in one commit."""

    tree: ArchivedPageTree
    len: usize
    page_indices: set[usize]
    hash: Option[bytes32]
    int_pos: Option[u64]


@archive
class ArchivedPositions:
    """`TreePos`, of older versions: by the position of a contract in the state tree its leaf and its id's key."""

    tree_pos: dict[u32, tuple[bytes32, u64]]
