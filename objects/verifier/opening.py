"""Openings as the original has them: the ways up two trees, each with all hashes of each level.

An opening is the bytes that `dusk_merkle`'s `Opening::to_var_bytes` gives: the root, then for each level from the top
down the hashes of all children, then for each level the number of the child to follow (u32, little-endian).
"""

from __future__ import annotations

import struct

from blake3 import blake3
from piecrust.objects.verifier.claims import ContractClaim, PageClaim, StateClaim
from piecrust.objects.verifier.encoding import fail
from piecrust.objects.verifier.tree import CONTRACTS, PAGES, ZERO, Shape

_HASH_BYTES = 32
_PAGE_BYTES = 65536


def opening_bytes(shape: Shape) -> int:
    """The length of an opening in a tree of this arity and height."""
    arity, height = shape
    return _HASH_BYTES * (1 + arity * height) + 4 * height


def verify_opening(
    page: bytes, page_opening: bytes, contract_opening: bytes, *, state_root: bytes | None = None
) -> StateClaim:
    """The claim of a page with its openings: in its contract's page tree, and of that tree in the state.

    A state root binds no ids: the contract is known by its position alone.

    Raises:
        InvalidProof: they don't lead from the page to one root, or it is another than `state_root`.
    """
    for part in (page, page_opening, contract_opening):
        if not isinstance(part, bytes):
            fail(f"pages and openings are bytes, and this is {type(part).__name__}")
    if len(page) != _PAGE_BYTES:
        fail(f"a page of {len(page)} bytes")
    bits = next((bits for bits, shape in PAGES.items() if opening_bytes(shape) == len(page_opening)), None)
    if bits is None or len(contract_opening) != opening_bytes(CONTRACTS):
        fail("an opening of another length")
    index, pages_root = _climb(blake3(page).digest(), page_opening, PAGES[bits])
    position, root = _climb(pages_root, contract_opening, CONTRACTS)
    if state_root is not None and root != state_root:
        fail(f"it is about state root {root.hex()}")
    contract = ContractClaim(position, pages_root, bits)
    return StateClaim(None, root, (contract, PageClaim(contract, index, page)))


def _climb(leaf: bytes, opening: bytes, shape: Shape) -> tuple[int, bytes]:
    """Where a leaf stands, and the root above it."""
    arity, height = shape
    level_bytes = arity * _HASH_BYTES
    digits = struct.unpack_from(f"<{height}I", opening, _HASH_BYTES + height * level_bytes)
    position, value = 0, leaf
    for level in reversed(range(height)):
        start = _HASH_BYTES + level * level_bytes
        children, digit = opening[start : start + level_bytes], digits[level]
        if digit >= arity or children[digit * _HASH_BYTES :][:_HASH_BYTES] != value or value == ZERO:
            fail("a level that doesn't hold the hash below it")
        position += digit * arity ** (height - 1 - level)
        value = blake3(children).digest()
    if opening[:_HASH_BYTES] != value:
        fail("an opening with another root")
    return position, value
