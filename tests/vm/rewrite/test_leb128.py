from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import leb128

END = bytes(leb128.PADDING)


@given(st.integers(0, (1 << 64) - 1))
def test_an_unsigned_number_is_read_as_it_was_written(value: int) -> None:
    encoded = leb128.encode_unsigned(value)
    assert leb128.read_u64(encoded + END, 0) == (value, len(encoded))
    assert len(encoded) == max(1, -(-value.bit_length() // 7))


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_a_signed_number_is_read_as_it_was_written(value: int) -> None:
    encoded = leb128.encode_signed(value)
    assert leb128.read_signed(encoded + END, 0, 64) == (value, len(encoded))


@pytest.mark.parametrize(
    ("encoded", "value"),
    [
        (b"\x80\x80\x80\x80\x00", 0),
        (b"\xe5\x8e\x26", 624485),
        (b"\xff\xff\xff\xff\x0f", (1 << 32) - 1),
        (b"\x81\x00", 1),
    ],
)
def test_padding_within_the_width_is_accepted(encoded: bytes, value: int) -> None:
    assert leb128.read_u32(encoded + END, 0) == (value, len(encoded))


@pytest.mark.parametrize("encoded", [b"\xff\xff\xff\xff\x10", b"\x80\x80\x80\x80\x80\x00", b"\xff" * 20, b"\x80" * 5])
def test_more_than_32_bits_are_refused(encoded: bytes) -> None:
    with pytest.raises(InvalidModule):
        leb128.read_u32(encoded + END, 0)


@pytest.mark.parametrize(
    ("encoded", "bits", "value"),
    [
        (b"\x7f", 32, -1),
        (b"\xff\xff\xff\xff\x7f", 32, -1),
        (b"\x80\x80\x80\x80\x78", 32, -(1 << 31)),
        (b"\x40", 33, -64),
    ],
)
def test_signed_numbers_extend_their_sign(encoded: bytes, bits: int, value: int) -> None:
    assert leb128.read_signed(encoded + END, 0, bits) == (value, len(encoded))


@pytest.mark.parametrize("encoded", [b"\xff\xff\xff\xff\x08", b"\xff\xff\xff\xff\x4f", b"\x80" * 6])
def test_bits_beyond_the_sign_are_refused(encoded: bytes) -> None:
    with pytest.raises(InvalidModule):
        leb128.read_signed(encoded + END, 0, 32)
