"""The compression function is blake3's, and a slice is checked by it alone."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.errors import InvalidProof
from piecrust.objects.verifier.slices import CHUNK_BYTES, CHUNKS, chunk_values, parent_values, sliced_hash

PAGE = random.Random(3).randbytes(CHUNKS * CHUNK_BYTES)


def chunk(n: int, page: bytes = PAGE) -> bytes:
    return page[n * CHUNK_BYTES : (n + 1) * CHUNK_BYTES]


def levels(page: bytes) -> list[list[bytes]]:
    """All chaining values of a page, from the chunks up."""
    found = [chunk_values({n: chunk(n, page) for n in range(CHUNKS)})]
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
@given(st.sets(st.integers(0, CHUNKS - 1), min_size=1, max_size=6))
def test_chunks_and_the_values_beside_them_make_the_hash(known):
    known = sorted(known)
    assert sliced_hash({n: chunk(n) for n in known}, siblings(known)) == blake3(PAGE).digest()


def test_one_chunk_needs_six_values():
    assert len(siblings([17])) == 6 * 32


def test_every_flipped_bit_changes_the_hash():
    known, beside = {5: chunk(5)}, siblings([5])
    for at in range(0, CHUNK_BYTES, 61):
        flipped = bytearray(chunk(5))
        flipped[at] ^= 1 << at % 8
        assert sliced_hash({5: bytes(flipped)}, beside) != blake3(PAGE).digest()
    for at in range(0, len(beside), 7):
        flipped = bytearray(beside)
        flipped[at] ^= 1 << at % 8
        assert sliced_hash(known, bytes(flipped)) != blake3(PAGE).digest()
    assert sliced_hash({4: chunk(5)}, beside) != blake3(PAGE).digest()


@pytest.mark.parametrize("wrong", [b"", siblings([5])[:-1], siblings([5])[:-32], siblings([5]) + bytes(32)])
def test_another_number_of_values_is_refused(wrong):
    with pytest.raises(InvalidProof, match="chaining values"):
        sliced_hash({5: chunk(5)}, wrong)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=5, unique=True))
def test_lanes_do_not_touch_each_other(numbers):
    data = {n: blake3(n.to_bytes(4, "little")).digest(length=CHUNK_BYTES) for n in numbers}
    assert chunk_values(data) == [chunk_values({n: d})[0] for n, d in data.items()]
