"""Patches turn one byte string into another, and hostile ones into nothing else than an error."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.patch import apply_patch, make_patch

NOISE = random.Random(7).randbytes(PAGE_BYTES)

edits = st.lists(st.tuples(st.integers(0, PAGE_BYTES - 1), st.binary(min_size=1, max_size=700)), max_size=12)


def edited(edits: list[tuple[int, bytes]]) -> tuple[bytes, int]:
    """The noise with edits, and the mask of the ranges that they touch."""
    page, ranges = bytearray(NOISE), 0
    for at, data in edits:
        data = data[: PAGE_BYTES - at]
        page[at : at + len(data)] = data
        for touched in range(at >> 12, (at + len(data) - 1 >> 12) + 1):
            ranges |= 1 << touched
    return bytes(page), ranges


@settings(max_examples=150, deadline=None)
@given(edits)
def test_a_patch_makes_what_it_was_made_for(changes):
    page, ranges = edited(changes)
    patch = make_patch(NOISE, page, ranges)
    assert apply_patch(NOISE, patch) == page
    assert patch == make_patch(NOISE, page)


def test_few_changes_make_few_bytes():
    page = bytearray(NOISE)
    page[100:108] = bytes(8)
    page[60000:60004] = bytes(4)
    assert len(make_patch(NOISE, bytes(page))) <= 2 * 3 + 12


def test_unlike_pages_have_no_patch_of_bounded_size():
    assert make_patch(bytes(PAGE_BYTES), NOISE, None, PAGE_BYTES // 8) is None


def test_other_lengths_have_no_patch():
    assert make_patch(b"abc", b"abcd") is None
    assert make_patch(bytes(PAGE_BYTES + 1), bytes(PAGE_BYTES + 1)) is None


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=300))
def test_a_hostile_patch_keeps_the_length_or_is_refused(patch, base):
    try:
        made = apply_patch(base, patch)
    except InvalidFormat:
        return
    assert len(made) == len(base)


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (b"\x00", "cut short"),
        (b"\x00\x00\x01a", "run of 2 bytes"),
        (b"\x08\x00\x02abc", "run of 3 bytes to offset 8"),
        (b"\x04\x00\x00a\x04\x00\x00b", "offset 4"),
        (b"\x04\x00\x00a\x03\x00\x00b", "offset 3"),
        (b"\xff\xff\xff" + bytes(256), "offset 65535"),
    ],
)
def test_runs_stay_inside_and_in_order(patch, reason):
    with pytest.raises(InvalidFormat, match=reason):
        apply_patch(b"0123456789", patch)
