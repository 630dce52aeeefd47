"""LEB128 integers, as WebAssembly writes them.

The readers are strict: a number has at most the bytes that its width needs, and no bits beyond that width (a longer
form with padding inside those bytes is legal, and accepted). They never look at the end of what they read: the caller
pads its data with `PADDING` zero bytes, which end any number, and compares offsets afterwards.
"""

from __future__ import annotations

from piecrust.vm.errors import InvalidModule

PADDING = 32  # no operator without a vector of its own is longer: v128.const has 18 bytes


def encode_unsigned(value: int) -> bytes:
    """The shortest form of a non-negative integer."""
    if value < 0x80:
        return bytes((value,))
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def encode_signed(value: int) -> bytes:
    """The shortest form of a signed integer."""
    encoded = bytearray()
    while not -0x40 <= value < 0x40:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value & 0x7F)
    return bytes(encoded)


def read_u32(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned 32-bit integer at `at`, and the offset after it."""
    value = data[at]
    if value < 0x80:
        return value, at + 1
    return _read_unsigned(data, at, 32)


def read_u64(data: bytes, at: int) -> tuple[int, int]:
    """The unsigned 64-bit integer at `at`, and the offset after it."""
    return _read_unsigned(data, at, 64)


def read_signed(data: bytes, at: int, bits: int) -> tuple[int, int]:
    """The signed integer of `bits` bits (32, 33 or 64) at `at`, and the offset after it."""
    start, value, shift = at, 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift >= bits:
            raise InvalidModule("integer representation too long", start)
    if byte & 0x40:
        value -= 1 << shift
    if not -(1 << bits - 1) <= value < 1 << bits - 1:
        raise InvalidModule("integer too large", start)
    return value, at


def _read_unsigned(data: bytes, at: int, bits: int) -> tuple[int, int]:
    start, value, shift = at, 0, 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            break
        if shift >= bits:
            raise InvalidModule("integer representation too long", start)
    if value >> bits:
        raise InvalidModule("integer too large", start)
    return value, at
