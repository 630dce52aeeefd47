"""Slices of pages: blake3 as a tree, so that 64 bytes of a page can be checked against the page's hash.

blake3 cuts its input into chunks of 1,024 bytes, makes a *chaining value* of each, block by block, and joins these in
pairs. A page is 64 chunks, a full tree of six levels. The blake3 package gives the hash at the top only, so the
compression function stands here.

Python's integers are long: a row of four words of the state is one integer, with 40 bits (a *lane*) for each word, of
which 32 are in use between sums. Several inputs lie side by side: word w of input i of n is in lane w * n + i, so that
turning a row by a word is the same for any number of inputs. One call takes about 25 us, a chunk with its way up less
than 0.6 ms, all of a page 3 ms.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from functools import cache
from itertools import chain, pairwise
from operator import itemgetter
from typing import Final, NamedTuple

from piecrust.objects.errors import InvalidProof

CHUNK_BYTES: Final = 1024
BLOCK_BYTES: Final = 64
BLOCKS: Final = CHUNK_BYTES // BLOCK_BYTES  # of a chunk
LEVELS: Final = 6  # of pairs above the chunks of a page
CHUNKS: Final = 1 << LEVELS
VALUE_BYTES: Final = 32

_IV: Final = struct.pack(
    "<8I", 0x6A09E667, 0xBB67AE85, 0x3C6EF372, 0xA54FF53A, 0x510E527F, 0x9B05688C, 0x1F83D9AB, 0x5BE0CD19
)
_PERMUTATION = (2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8)
_ROUNDS = 7
_LANE_BITS = 40
_CHUNK_START, _CHUNK_END, _PARENT, _ROOT = 1, 2, 4, 8
_BLOCK_FLAGS = (_CHUNK_START, *[0] * (BLOCKS - 2), _CHUNK_END)


class Tail(NamedTuple):
    """A chunk from one of its blocks on: the chaining value after the blocks before (the IV if none), and the rest."""

    state: bytes
    data: bytes

    @property
    def start(self) -> int:
        """The number of the first block."""
        return BLOCKS - len(self.data) // BLOCK_BYTES


def touched_by(ranges: Iterable[tuple[int, int]]) -> dict[int, dict[int, int]]:
    """What ranges (offset, length) of a memory touch: pages, chunks of them, and the first block of each chunk."""
    found: dict[int, dict[int, int]] = {}
    for offset, length in ranges:
        for number in range(offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES + 1):
            start = max(offset - number * CHUNK_BYTES, 0) // BLOCK_BYTES
            page, chunk = found.setdefault(number // CHUNKS, {}), number % CHUNKS
            page[chunk] = min(start, page.get(chunk, start))
    return found


def whole_chunk(data: bytes) -> Tail:
    """A chunk from its beginning."""
    return Tail(_IV, data)


def tail_of(number: int, chunk: bytes, start: int) -> Tail:
    """What is left of a chunk, by its number in the page, from a block on."""
    if start == 0:
        return whole_chunk(chunk)
    at = start * BLOCK_BYTES
    return Tail(_chain([_IV], [chunk[:at]], [number], _BLOCK_FLAGS[:start])[0], chunk[at:])


def chunk_values(chunks: dict[int, Tail]) -> dict[int, bytes]:
    """The chaining values of chunks, given by their number within the page."""
    values: dict[int, bytes] = {}
    for start, end in pairwise(sorted({0, BLOCKS, *[tail.start for tail in chunks.values()]})):
        values |= {number: tail.state for number, tail in chunks.items() if tail.start == start}
        blocks = [chunks[n].data[(start - BLOCKS) * BLOCK_BYTES :][: (end - start) * BLOCK_BYTES] for n in values]
        made = _chain(list(values.values()), blocks, list(values), _BLOCK_FLAGS[start:end])
        values = dict(zip(values, made, strict=True))
    return values


def parent_values(pairs: Sequence[bytes], *, root: bool) -> list[bytes]:
    """The chaining values of pairs of chaining values; at the root, the hash."""
    return _chain([_IV] * len(pairs), pairs, [0] * len(pairs), [_PARENT | (_ROOT if root else 0)])


def sliced_hash(chunks: dict[int, Tail], siblings: bytes) -> bytes:
    """The hash of a page of which some chunks are known, by their numbers in rising order.

    Of the rest `siblings` has the chaining values beside what is known, level by level from the chunks
    up, on each from left to right.

    Raises:
        InvalidProof: it has too few or too many of them.
    """
    values = chunk_values(chunks)
    level, at = {number: values[number] for number in chunks}, 0
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


def _schedule() -> list[int]:
    """The words of the message in the order of use: for each round four rows of four, one for each column."""
    order, found = list(range(16)), list[int]()
    for _ in range(_ROUNDS):
        found += [order[first + 2 * column] for first in (0, 1, 8, 9) for column in range(4)]
        order = [order[n] for n in _PERMUTATION]
    return found


_scheduled = itemgetter(*_schedule())


def _chain(
    states: Sequence[bytes], inputs: Sequence[bytes], counters: Sequence[int], flags: Sequence[int]
) -> list[bytes]:
    """Chaining values of inputs of equal length, one block for each entry of `flags`, after the states before them."""
    count = len(inputs)
    if count == 0:
        return []
    lane, row = _lanes(count), _lanes(4 * count)
    words = struct.unpack(f"<{16 * len(flags) * count}I", b"".join(inputs))
    upper, lower = [_transposed(row, states, half) for half in (0, 4)]
    for block, flag in enumerate(flags):
        message = [lane.pack(*words[16 * block + n :: 16 * len(flags)]) for n in range(16)]
        last = row.pack(*counters, *[0] * count, *[BLOCK_BYTES] * count, *[flag] * count)
        upper, lower = _compress(count, upper, lower, b"".join(_scheduled(message)), int.from_bytes(last, "little"))
    found = [row.unpack(half.to_bytes(row.size, "little")) for half in (upper, lower)]
    return [struct.pack("<8I", *found[0][n::count], *found[1][n::count]) for n in range(count)]


def _transposed(row: struct.Struct, values: Sequence[bytes], first: int) -> int:
    """Four words of each value, from the first of them on, as a row."""
    words = struct.unpack(f"<{8 * len(values)}I", b"".join(values))
    lanes = chain.from_iterable([words[n::8] for n in range(first, first + 4)])
    return int.from_bytes(row.pack(*lanes), "little")


@cache
def _lanes(count: int) -> struct.Struct:
    """So many words, each in a lane."""
    return struct.Struct("<" + "Ix" * count)


@cache
def _constants(count: int) -> tuple[int, tuple[int, ...]]:
    """The third row of the state of so many inputs (64 at most), and masks of the lowest bits of every lane."""
    third = [word for word in struct.unpack_from("<4I", _IV) for _ in range(count)]
    row, ones = _lanes(4 * count), sum(1 << _LANE_BITS * n for n in range(4 * count))
    masks = [((1 << bits) - 1) * ones for bits in (32, 25, 24, 20, 16, 12, 8, 7)]
    return int.from_bytes(row.pack(*third), "little"), tuple(masks)


def _compress(count: int, a: int, b: int, message: bytes, d: int) -> tuple[int, int]:
    """blake3's compression function on `count` inputs; a row is `4 * count` lanes, blocks are whole.

    The names are those of its quarter rounds: they take columns, then, after turning three rows, diagonals.
    """
    one, two, three = [words * count * _LANE_BITS for words in (1, 2, 3)]
    c, (mask, m25, m24, m20, m16, m12, m8, m7) = _constants(count)
    size = len(message) // (4 * _ROUNDS)
    rows = [int.from_bytes(message[at : at + size], "little") for at in range(0, len(message), size)]
    for at in range(0, 4 * _ROUNDS, 4):
        for n, left, right in ((at, one, three), (at + 2, three, one)):
            a = a + b + rows[n] & mask
            d ^= a
            d = d >> 16 & m16 | (d & m16) << 16
            c = c + d & mask
            b ^= c
            b = b >> 12 & m20 | (b & m12) << 20
            a = a + b + rows[n + 1] & mask
            d ^= a
            d = d >> 8 & m24 | (d & m8) << 24
            c = c + d & mask
            b ^= c
            b = b >> 7 & m25 | (b & m7) << 25
            b = (b >> left | b << right) & mask
            c = (c >> two | c << two) & mask
            d = (d >> right | d << left) & mask
    return a ^ c, b ^ d
