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
