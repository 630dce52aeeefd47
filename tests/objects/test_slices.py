"""The compression function is blake3's, and a slice is checked by it alone."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.errors import InvalidProof
from piecrust.objects.verifier.slices import (
    BLOCK_BYTES,
    BLOCKS,
    CHUNK_BYTES,
    CHUNKS,
    Tail,
    chunk_values,
    parent_values,
    sliced_hash,
    tail_of,
    touched_by,
    whole_chunk,
)

PAGE = random.Random(3).randbytes(CHUNKS * CHUNK_BYTES)


def chunk(n: int, page: bytes = PAGE) -> bytes:
    return page[n * CHUNK_BYTES : (n + 1) * CHUNK_BYTES]


def whole(n: int, page: bytes = PAGE) -> Tail:
    return whole_chunk(chunk(n, page))


def levels(page: bytes) -> list[list[bytes]]:
    """All chaining values of a page, from the chunks up."""
    found = [list(chunk_values({n: whole(n, page) for n in range(CHUNKS)}).values())]
    while len(found[-1]) > 1:
        below = found[-1]
        pairs = [below[n] + below[n + 1] for n in range(0, len(below), 2)]
        found.append(parent_values(pairs, root=len(pairs) == 1))
    return found


LEVELS = levels(PAGE)


def siblings(known: list[int]) -> bytes:
    """The chaining values beside known chunks, in the order of proofs."""
    needed = []
    here = set(known)
    for level in LEVELS[:-1]:
        needed += [level[n ^ 1] for n in sorted(here) if n ^ 1 not in here]
        here = {n >> 1 for n in here}
    return b"".join(needed)


@pytest.mark.parametrize("page", [PAGE, bytes(65536), b"\xff" * 65536])
def test_the_tree_of_a_page_has_its_hash_at_the_top(page):
    assert levels(page)[-1] == [blake3(page).digest()]


@settings(max_examples=30, deadline=None)
@given(st.dictionaries(st.integers(0, CHUNKS - 1), st.integers(0, BLOCKS - 1), min_size=1, max_size=6))
def test_chunks_from_any_block_on_and_the_values_beside_them_make_the_hash(starts):
    known = {n: tail_of(n, chunk(n), starts[n]) for n in sorted(starts)}
    assert sliced_hash(known, siblings(sorted(starts))) == blake3(PAGE).digest()


def test_a_tail_is_bound_to_its_chunk_its_block_and_the_state_before_it():
    beside = siblings([5])
    tail = tail_of(5, chunk(5), 9)
    assert len(tail.data) == (BLOCKS - 9) * BLOCK_BYTES
    assert sliced_hash({5: tail}, beside) == blake3(PAGE).digest()
    before = tail_of(5, chunk(5), 8)
    for wrong in (
        {4: tail},
        {5: Tail(bytes(32), tail.data)},
        {5: Tail(tail.state, tail.data[BLOCK_BYTES:])},
        {5: Tail(tail.state, before.data)},
        {5: Tail(before.state, tail.data)},
        {5: whole_chunk(bytes(9 * BLOCK_BYTES) + tail.data)},
    ):
        assert sliced_hash(wrong, beside) != blake3(PAGE).digest()


@pytest.mark.parametrize(
    ("ranges", "touched"),
    [
        ([(0, 1)], {0: {0: 0}}),
        ([(1023, 1)], {0: {0: 15}}),
        ([(1023, 2)], {0: {0: 15, 1: 0}}),
        ([(65535, 2)], {0: {63: 15}, 1: {0: 0}}),
        ([(100, 1000)], {0: {0: 1, 1: 0}}),
        ([(0, 3000)], {0: {0: 0, 1: 0, 2: 0}}),
        ([(70, 1), (200, 1)], {0: {0: 1}}),
        ([(200, 2), (3 * 65536 + 640, 1)], {0: {0: 3}, 3: {0: 10}}),
    ],
    ids=str,
)
def test_ranges_touch_chunks_from_a_block_on(ranges, touched):
    assert touched_by(ranges) == touched


def test_one_chunk_needs_six_values():
    assert len(siblings([17])) == 6 * 32


def test_every_flipped_bit_changes_the_hash():
    known, beside = {5: whole(5)}, siblings([5])
    for at in range(0, CHUNK_BYTES, 61):
        flipped = bytearray(chunk(5))
        flipped[at] ^= 1 << at % 8
        assert sliced_hash({5: whole_chunk(bytes(flipped))}, beside) != blake3(PAGE).digest()
    for at in range(0, len(beside), 7):
        flipped = bytearray(beside)
        flipped[at] ^= 1 << at % 8
        assert sliced_hash(known, bytes(flipped)) != blake3(PAGE).digest()
    assert sliced_hash({4: whole(5)}, beside) != blake3(PAGE).digest()


@pytest.mark.parametrize("wrong", [b"", siblings([5])[:-1], siblings([5])[:-32], siblings([5]) + bytes(32)])
def test_another_number_of_values_is_refused(wrong):
    with pytest.raises(InvalidProof, match="chaining values"):
        sliced_hash({5: whole(5)}, wrong)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5, unique=True))
def test_lanes_do_not_touch_each_other(numbers):
    data = {n: whole_chunk(blake3(n.to_bytes(4, "little")).digest(length=CHUNK_BYTES)) for n in numbers}
    assert chunk_values(data) == {n: chunk_values({n: d})[n] for n, d in data.items()}
