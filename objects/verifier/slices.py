"""Slices of pages: blake3 as a tree, so that a kilobyte of a page can be checked against the page's hash.

blake3 cuts its input into chunks of 1,024 bytes, makes a *chaining value* of each, and joins these in pairs. A page is
64 chunks, a full tree of six levels. The blake3 package gives the hash at the top only, so the compression function
stands here. It works on many inputs at once: each word of its state is one integer that holds 64 bits for each of the
inputs (the *lanes*), 32 of them in use. One chunk takes about 0.8 ms, all of a page 8 ms.
"""

from __future__ import annotations

import struct
from typing import Final

from piecrust.objects.errors import InvalidProof

CHUNK_BYTES: Final = 1024
LEVELS: Final = 6  # of pairs above the chunks of a page
CHUNKS: Final = 1 << LEVELS
VALUE_BYTES: Final = 32

_IV = (0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_ROUNDS = 7
_QUARTERS = (  # the columns of the state, then its diagonals
    (0, 4, 8, 12), (1, 5, 9, 13), (2, 6, 10, 14), (3, 7, 11, 15),
    (0, 5, 10, 15), (1, 6, 11, 12), (2, 7, 8, 13), (3, 4, 9, 14),
)  # fmt: skip
_BLOCK_BYTES = 64
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8


def chunk_values(chunks: dict[int, bytes]) -> list[bytes]:
    """The chaining values of whole chunks, given by their number within the page."""
    last = CHUNK_BYTES // _BLOCK_BYTES - 1
    flags = [(_CHUNK_START if n == 0 else 0) | (_CHUNK_END if n == last else 0) for n in range(last + 1)]
    return _chain(list(chunks.values()), list(chunks), flags)


def parent_values(pairs: list[bytes], *, root: bool) -> list[bytes]:
    """The chaining values of pairs of chaining values; at the root, the hash."""
    return _chain(pairs, [0] * len(pairs), [_PARENT | (_ROOT if root else 0)])


def sliced_hash(chunks: dict[int, bytes], siblings: bytes) -> bytes:
    """The hash of a page of which some chunks are known, by their numbers in rising order.

    Of the rest `siblings` has the chaining values beside what is known, level by level from the chunks
    up, on each from left to right.

    Raises:
        InvalidProof: it has too few or too many of them.
    """
    level = dict(zip(chunks, chunk_values(chunks), strict=True))
    at = 0
    for height in range(LEVELS):
        pairs: dict[int, bytes] = {}
        for index, value in level.items():
            if index ^ 1 in level:
                pairs[index >> 1] = pairs.get(index >> 1, b"") + value
            else:
                sibling, at = siblings[at : at + VALUE_BYTES], at + VALUE_BYTES
                pairs[index >> 1] = sibling + value if index & 1 else value + sibling
        if at > len(siblings):
            raise InvalidProof("too few chaining values")
        level = dict(zip(pairs, parent_values(list(pairs.values()), root=height == LEVELS - 1), strict=True))
    if at != len(siblings):
        raise InvalidProof("too many chaining values")
    return level[0]


def _chain(inputs: list[bytes], counters: list[int], flags: list[int]) -> list[bytes]:
    """Chaining values of inputs of equal length, one block for each entry of `flags`."""
    lanes = struct.Struct(f"<{len(inputs)}Q")
    ones = sum(1 << 64 * n for n in range(len(inputs)))
    words = struct.unpack(f"<{16 * len(flags) * len(inputs)}I", b"".join(inputs))
    counter = _packed(lanes, counters)
    value = [word * ones for word in _IV]
    for block, flag in enumerate(flags):
        message = [_packed(lanes, words[16 * block + n :: 16 * len(flags)]) for n in range(16)]
        value = _compress(value, message, counter, flag * ones, ones)
    columns = [lanes.unpack(word.to_bytes(lanes.size, "little")) for word in value]
    return [struct.pack("<8I", *[column[n] for column in columns]) for n in range(len(inputs))]


def _packed(lanes: struct.Struct, words: tuple[int, ...] | list[int]) -> int:
    return int.from_bytes(lanes.pack(*words), "little")


def _compress(value: list[int], message: list[int], counter: int, flags: int, ones: int) -> list[int]:
    """blake3's compression function, on all lanes; `ones` has a 1 in each. Blocks are whole."""
    mask = 0xFFFFFFFF * ones
    v = [*value, *[word * ones for word in _IV[:4]], counter, 0, _BLOCK_BYTES * ones, flags]
    for _ in range(_ROUNDS):
        for n, (i, j, k, m) in enumerate(_QUARTERS):
            a, b, c, d = v[i], v[j], v[k], v[m]
            a = (a + b + message[2 * n]) & mask
            d ^= a
            d = (d >> 16 | d << 16) & mask
            c = (c + d) & mask
            b ^= c
            b = (b >> 12 | b << 20) & mask
            a = (a + b + message[2 * n + 1]) & mask
            d ^= a
            d = (d >> 8 | d << 24) & mask
            c = (c + d) & mask
            b ^= c
            v[i], v[j], v[k], v[m] = a, (b >> 7 | b << 25) & mask, c, d
        message = [message[n] for n in _PERMUTATION]
    return [v[n] ^ v[n + 8] for n in range(8)]
