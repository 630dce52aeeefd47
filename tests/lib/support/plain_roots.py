"""Merkle roots the slow and plain way, from all leaves: the model that the trees are compared with."""

from __future__ import annotations

from collections.abc import Mapping

from blake3 import blake3

ZERO = bytes(32)


def plain_root(leaves: Mapping[int, bytes], arity: int, height: int) -> bytes:
    """A missing child hashes as 32 zero bytes; a subtree without leaves *is* 32 zero bytes."""
    level = dict(leaves)
    for _ in range(height):
        parents = {p // arity for p in level}
        level = {p: blake3(b"".join(level.get(p * arity + i, ZERO) for i in range(arity))).digest() for p in parents}
    return level.get(0, ZERO)


class PlainState:
    """The state root of contracts and their pages, as the original gives it: `{id: (is 64-bit, {page: leaf})}`.

    Positions 1, 2, ... go to contracts not seen in the last commit, in the order of their ids.
    """

    def __init__(self) -> None:
        self.places: dict[bytes, int] = {}

    def root(self, contracts: Mapping[bytes, tuple[bool, Mapping[int, bytes]]], *, commit: bool = False) -> bytes:
        places = dict(self.places)
        leaves: dict[int, bytes] = {}
        for contract in sorted(contracts):
            is_64, pages = contracts[contract]
            place = places.setdefault(contract, len(places) + 1)
            leaves[place] = plain_root(pages, 4, 13 if is_64 else 8)
        if commit:
            self.places = places
        return plain_root(leaves, 2, 32)
