"""The operators that contracts may use: how each is read, and what it costs.

Costs are the original's. Every operator costs 1, but for those of `FREE`, and for stores: four for each byte of the
*widest* kind of its type, whatever the width that is stored (i32.store8 costs as much as i32.store).
"""

from __future__ import annotations

import enum

from piecrust.vm.rewrite.module import ValueType


class Form(enum.IntEnum):
    """How an operator is read; those read often come first, because they are looked for in this order."""

    LOCAL = 0  # a local's index
    PLAIN = 1  # nothing
    CONSTANT = 2  # i32.const, i64.const
    LOAD = 3
    STORE = 4
    FREE = 5  # nothing, and costs nothing
    GLOBAL = 6  # a global's index
    BLOCK = 7
    LOOP = 8
    IF = 9
    ELSE = 10
    END = 11
    BR = 12
    BR_IF = 13
    BR_TABLE = 14
    CALL = 15
    CALL_INDIRECT = 16
    RETURN = 17
    UNREACHABLE = 18
    TABLE = 19  # table.get, table.set
    OTHER = 20  # costs 1, runs straight on, is rare
    PREFIX_FC = 21
    PREFIX_FD = 22
    UNKNOWN = 23


def _forms() -> list[int]:
    forms = [Form.UNKNOWN.value] * 256
    for form, opcodes in (
        (Form.UNREACHABLE, [0x00]),
        (Form.FREE, [0x01, 0x1A]),  # nop, drop
        (Form.BLOCK, [0x02]),
        (Form.LOOP, [0x03]),
        (Form.IF, [0x04]),
        (Form.ELSE, [0x05]),
        (Form.END, [0x0B]),
        (Form.BR, [0x0C]),
        (Form.BR_IF, [0x0D]),
        (Form.BR_TABLE, [0x0E]),
        (Form.RETURN, [0x0F]),
        (Form.CALL, [0x10]),
        (Form.CALL_INDIRECT, [0x11]),
        (Form.PLAIN, [0x1B, *range(0x45, 0xC5), 0xD1]),  # select, numeric operators, ref.is_null
        (Form.LOCAL, range(0x20, 0x23)),
        (Form.GLOBAL, range(0x23, 0x25)),
        (Form.TABLE, range(0x25, 0x27)),
        (Form.LOAD, range(0x28, 0x36)),
        (Form.STORE, range(0x36, 0x3F)),
        (Form.CONSTANT, range(0x41, 0x43)),
        # typed select, memory.size, memory.grow, f32.const, f64.const, ref.null, ref.func
        (Form.OTHER, [0x1C, 0x3F, 0x40, 0x43, 0x44, 0xD0, 0xD2]),
        (Form.PREFIX_FC, [0xFC]),
        (Form.PREFIX_FD, [0xFD]),
    ):
        for opcode in opcodes:
            forms[opcode] = form.value
    return forms


FORMS = _forms()
"""The form of each opcode of one byte, as plain integers: comparing enumeration members is slow."""

STORE_COST_I32, STORE_COST_I64, STORE_COST_V128 = 16, 32, 64

TABLE_SET = 0x26


class Store:
    """What a store writes: a value of `value` type from the stack, `width` bytes of it."""

    __slots__ = ("cost", "value", "width")

    def __init__(self, value: ValueType, width: int) -> None:
        self.value = value
        self.width = width
        self.cost = {
            ValueType.I32: STORE_COST_I32,
            ValueType.F32: STORE_COST_I32,
            ValueType.I64: STORE_COST_I64,
            ValueType.F64: STORE_COST_I64,
            ValueType.V128: STORE_COST_V128,
        }[value]


STORES = {
    0x36: Store(ValueType.I32, 4),
    0x37: Store(ValueType.I64, 8),
    0x38: Store(ValueType.F32, 4),
    0x39: Store(ValueType.F64, 8),
    0x3A: Store(ValueType.I32, 1),
    0x3B: Store(ValueType.I32, 2),
    0x3C: Store(ValueType.I64, 1),
    0x3D: Store(ValueType.I64, 2),
    0x3E: Store(ValueType.I64, 4),
}

STORE_COSTS = [STORES[opcode].cost if opcode in STORES else 0 for opcode in range(256)]


class Bulk(enum.IntEnum):
    """The operators behind the prefix 0xFC, from 8 on; those below convert numbers."""

    MEMORY_INIT = 8
    DATA_DROP = 9
    MEMORY_COPY = 10
    MEMORY_FILL = 11
    TABLE_INIT = 12
    ELEM_DROP = 13
    TABLE_COPY = 14
    TABLE_GROW = 15
    TABLE_SIZE = 16
    TABLE_FILL = 17


BULK = {operator.value: operator for operator in Bulk}

INSTANCE_CHANGES = frozenset(
    (Bulk.DATA_DROP, Bulk.TABLE_INIT, Bulk.ELEM_DROP, Bulk.TABLE_COPY, Bulk.TABLE_GROW, Bulk.TABLE_FILL)
)
"""What (with table.set) changes an instance beyond its globals and its memory."""


class VectorForm(enum.IntEnum):
    """How an operator behind the prefix 0xFD is read."""

    PLAIN = 0
    MEMORY = 1  # alignment and offset
    MEMORY_LANE = 2  # alignment, offset and lane
    BYTES = 3  # 16 bytes: v128.const, i8x16.shuffle
    LANE = 4


_VECTOR_GAPS = frozenset(bytes.fromhex("9a a2 a5 a6 af b0 b2 b3 b4 bb c2 c5 c6 cf d0 d2 d3 d4 e2 ee"))


def _vector_forms() -> dict[int, VectorForm]:
    forms = {operator: VectorForm.PLAIN for operator in range(0x100) if operator not in _VECTOR_GAPS}
    for form, operators in (
        (VectorForm.MEMORY, [*range(0x0C), 0x5C, 0x5D]),
        (VectorForm.MEMORY_LANE, range(0x54, 0x5C)),
        (VectorForm.BYTES, [0x0C, 0x0D]),
        (VectorForm.LANE, range(0x15, 0x23)),
    ):
        for operator in operators:
            forms[operator] = form
    return forms


VECTOR_FORMS = _vector_forms()

VECTOR_STORES = {
    0x0B: Store(ValueType.V128, 16),
    0x58: Store(ValueType.V128, 1),
    0x59: Store(ValueType.V128, 2),
    0x5A: Store(ValueType.V128, 4),
    0x5B: Store(ValueType.V128, 8),
}
