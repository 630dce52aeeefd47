"""What follows an opcode: read in function bodies, and checked where rewriting could give it another meaning.

Offsets lead into padded data (see `leb128`). Whether an operator went past the end of its body is found by who goes
through the body. Each function returns the offset after what it read.
"""

from __future__ import annotations

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite.leb128 import read_signed, read_u32, read_u64
from piecrust.vm.rewrite.module import ValueType

ALIGNMENT_MAX = 4
EMPTY_BLOCK_TYPE = 0x40
VALUE_TYPES = frozenset(ValueType)


def skip_index(data: bytes, at: int) -> int:
    """An index into a space to which nothing is added: the engine checks it."""
    return read_u32(data, at)[1]


def checked_index(data: bytes, at: int, size: int, what: str) -> int:
    """An index into a space of that size, to which something is added."""
    index, after = read_u32(data, at)
    if index >= size:
        raise InvalidModule(f"unknown {what}", at)
    return after


def memory_argument(data: bytes, at: int, *, is64: bool) -> tuple[int, int]:
    """Alignment and offset, of which the offset is returned, and what comes after."""
    alignment, at = read_u32(data, at)
    if alignment > ALIGNMENT_MAX:  # also where a bit says that the index of a memory follows
        raise InvalidModule("invalid alignment", at)
    offset, after = read_u64(data, at)  # engines that know 64-bit memories read it so for any memory
    if offset >> 32 and not is64:
        raise InvalidModule("offset out of range", at)
    return offset, after


def skip_f32(_data: bytes, at: int) -> int:
    """A float."""
    return at + 4


def skip_f64(_data: bytes, at: int) -> int:
    """A double."""
    return at + 8


def skip_memory(data: bytes, at: int) -> int:
    """The index of the only memory."""
    if data[at] != 0:
        raise InvalidModule("unknown memory", at)
    return at + 1


def skip_block_type(data: bytes, at: int, types: int) -> int:
    """The type of a block: none, one result, or one of the module's `types` function types."""
    if data[at] == EMPTY_BLOCK_TYPE or data[at] in VALUE_TYPES:
        return at + 1
    index, after = read_signed(data, at, 33)
    if not 0 <= index < types:
        raise InvalidModule("unknown type", at)
    return after


def skip_select_type(data: bytes, at: int) -> int:
    """The type of a select: a vector of one."""
    count, at = read_u32(data, at)
    if count != 1 or data[at] not in VALUE_TYPES:
        raise InvalidModule("invalid type of a select", at)
    return at + 1


def skip_heap_type(data: bytes, at: int) -> int:
    """The type of a null reference."""
    if data[at] not in (ValueType.FUNCREF, ValueType.EXTERNREF):
        raise InvalidModule("invalid reference type", at)
    return at + 1


def vector_count(data: bytes, at: int, end: int, what: str) -> tuple[int, int]:
    """The length of a vector of things that have at least one byte each, and what comes after."""
    count, at = read_u32(data, at)
    if count > end - at:
        raise InvalidModule(f"too many {what}", at)
    return count, at
