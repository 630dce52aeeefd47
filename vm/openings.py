"""Openings: what proves that a page of a contract's memory is part of a state."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from blake3 import blake3
from piecrust.objects import contract_map, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.ids import ContractId, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.page import page_hash
from piecrust.objects.place import Opening, opening
from piecrust.objects.state import State
from piecrust.objects.tree import CONTRACTS


@dataclass(frozen=True, slots=True)
class PageOpening:
    """The way from one page up to the state root: through the contract's page tree, then through the state tree."""

    page: Opening
    contract: Opening

    @property
    def root(self) -> StateRoot:
        """The state root that the opening leads to."""
        assert self.contract.leaf is not None, "openings are made for contracts that exist"
        return StateRoot(_climb(self.contract, self.contract.leaf))

    def verify(self, page: bytes) -> bool:
        """Whether this is the page. That the page is in a state needs `root` to be the state's, too."""
        return _climb(self.page, page_hash(page)) == self.contract.leaf


def open_pages(reader: ObjectReader, state: State, contract: ContractId) -> Iterator[tuple[int, bytes, PageOpening]]:
    """Index, content and opening of every page that the contract has in the state, in the order of the pages."""
    record = contract_map.lookup(reader, state.map_root, contract)
    if record is None:
        return
    shape = record.memory_kind.shape
    place = opening(reader, CONTRACTS, state.state_root, record.position)
    for index, address in tree.leaves(reader, shape, record.pages_root):
        page: bytes = reader.load(Kind.PAGE, address)
        yield index, page, PageOpening(opening(reader, shape, record.pages_root, index), place)


def _climb(opening: Opening, leaf: bytes) -> bytes:
    """The root above a leaf."""
    position, here = opening.position, leaf
    for siblings in opening.siblings:
        arity = len(siblings) + 1
        index = position % arity
        here = blake3(b"".join((*siblings[:index], here, *siblings[index:]))).digest()
        position //= arity
    return here
