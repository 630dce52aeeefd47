"""Random valid contracts, for comparing what rewriting must preserve.

`generate(seed)` covers every operator that contracts may use, in live and in dead code: numeric, vector, reference,
table and bulk operators, all widths of loads and stores, blocks with parameters and several results, br_table, calls
through tables, both kinds of memory, and integers that are encoded longer than need be. Modules end by themselves or by
running out of gas: no function calls itself. They never do what kills the original (calls through null elements,
addresses beyond 4 GiB).

A contract exports functions `f0`, `f1`, ... which return 64 to 192 bytes: what its globals were at the end. Each also
stores the gas that its callees had spent at various points.
"""

from __future__ import annotations

import random
import struct
from dataclasses import dataclass

from support.wasm_encoding import (
    F32,
    F64,
    FUNCREF,
    I32,
    I64,
    LANE_WIDTHS,
    LOADS,
    NUMBERS,
    NUMERIC,
    REFERENCES,
    STORES,
    TRAPPING,
    V128,
    VECTOR,
    VECTOR_LOADS,
    name,
    section,
    signed,
    unsigned,
    vector,
)

ARGUMENT_OFFSET = 0x8000
CALL_TABLE_SIZE, OTHER_TABLE_SIZE = 8, 4


@dataclass(frozen=True)
class Generated:
    """A contract: its bytecode, the functions that it exports, and how much memory its stores may reach."""

    wasm: bytes
    functions: tuple[str, ...]
    is64: bool


class _Plan:
    """What all functions of one module can refer to."""

    def __init__(self, rnd: random.Random) -> None:
        self.rnd = rnd
        self.is64 = rnd.random() < 0.2
        self.wide = not self.is64 and rnd.random() < 0.2  # all 4 GiB are there
        self.address = I64 if self.is64 else I32
        self.pages = 65536 if self.wide else rnd.choice((2, 3))
        self.types: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
        self.functions: list[int] = []
        self.globals = [(rnd.choice(NUMBERS), rnd.random() < 0.8) for _ in range(rnd.randint(1, 5))]
        if rnd.random() < 0.2:
            self.globals.append((rnd.choice(REFERENCES), True))
        self.leaves = 0
        self.other_table = rnd.choice(REFERENCES)
        self.passive = [bytes(rnd.randrange(256) for _ in range(rnd.randint(0, 40))) for _ in range(2)]
        self.active = rnd.randint(0, 2)

    def type(self, params: tuple[int, ...], results: tuple[int, ...]) -> int:
        """The index of a function type."""
        if (params, results) not in self.types:
            self.types.append((params, results))
        return self.types.index((params, results))

    def value_type(self) -> int:
        """Any value type; references are rare."""
        return self.rnd.choice(REFERENCES) if self.rnd.random() < 0.07 else self.rnd.choice(NUMBERS)

    def some_types(self, most: int) -> tuple[int, ...]:
        """Up to `most` value types."""
        return tuple(self.value_type() for _ in range(self.rnd.randint(0, most)))

    def index(self, value: int) -> bytes:
        """An index, now and then longer than need be."""
        return unsigned(value, self.rnd.choice((1, 2, 3)) if self.rnd.random() < 0.05 else 0)


class _Body:
    """Writes one function. `stack` holds the types above the current block's bottom; in dead code anything fits."""

    def __init__(self, plan: _Plan, index: int, budget: int) -> None:
        self.plan, self.rnd, self.function = plan, plan.rnd, index
        self.params, self.results = plan.types[plan.functions[index]]
        self.locals = [*self.params, *(plan.value_type() for _ in range(self.rnd.randint(0, 6)))]
        self.code = bytearray()
        self.labels: list[tuple[int, ...]] = [self.results]
        self.stack: list[int] = []
        self.dead = False
        self.budget = budget

    def encode(self) -> bytes:
        self.sequence(depth=4)
        self.settle(self.results)
        self.code.append(0x0B)
        groups = [b"\x01" + bytes((kind,)) for kind in self.locals[len(self.params) :]]
        body = vector(groups) + bytes(self.code)
        return unsigned(len(body)) + body

    # Operands.

    def constant(self, kind: int) -> None:
        rnd = self.rnd
        if kind == I32:
            self.code += b"\x41" + signed(
                rnd.choice((0, 1, -1, rnd.randrange(-200, 200), rnd.randrange(-(1 << 31), 1 << 31)))
            )
        elif kind == I64:
            self.code += b"\x42" + signed(
                rnd.choice((0, 1, -1, rnd.randrange(-200, 200), rnd.randrange(-(1 << 63), 1 << 63)))
            )
        elif kind == F32:
            self.code += b"\x43" + rnd.choice((struct.pack("<f", rnd.choice((0.0, -1.5, 3e9))), rnd.randbytes(4)))
        elif kind == F64:
            self.code += b"\x44" + rnd.choice((struct.pack("<d", rnd.choice((0.0, -1.5, 3e19))), rnd.randbytes(8)))
        elif kind == V128:
            self.code += b"\xfd\x0c" + rnd.randbytes(16)
        elif kind == FUNCREF and self.plan.leaves and rnd.random() < 0.7:
            self.code += b"\xd2" + self.plan.index(2 + rnd.randrange(self.plan.leaves))
        else:
            self.code += b"\xd0" + bytes((kind,))

    def push(self, kind: int) -> None:
        """One more value, from wherever."""
        rnd = self.rnd
        choices = [index for index, other in enumerate(self.locals) if other == kind]
        global_choices = [index for index, (other, _) in enumerate(self.plan.globals) if other == kind]
        chance = rnd.random()
        if choices and chance < 0.5:
            self.code += b"\x20" + self.plan.index(rnd.choice(choices))
        elif global_choices and chance < 0.6:
            self.code += b"\x23" + self.plan.index(rnd.choice(global_choices))
        elif chance < 0.75 and kind in (I32, I64, F32, F64):
            opcode = rnd.choice([opcode for opcode, (result, _) in LOADS.items() if result == kind])
            self.push_address()
            self.code += bytes((opcode,)) + self.memory_argument(LOADS[opcode][1])
        else:
            self.constant(kind)

    def need(self, kinds: tuple[int, ...]) -> None:
        """Makes the top of the stack `kinds`, and takes it off."""
        if self.dead and not self.stack and self.rnd.random() < 0.6:
            return
        fits = len(self.stack) >= len(kinds) and tuple(self.stack[len(self.stack) - len(kinds) :]) == kinds
        if fits and self.rnd.random() < 0.7:
            del self.stack[len(self.stack) - len(kinds) :]
            return
        for kind in kinds:
            self.push(kind)

    def apply(self, code: bytes, params: tuple[int, ...], results: tuple[int, ...]) -> None:
        self.need(params)
        self.code += code
        self.stack += results

    def settle(self, kinds: tuple[int, ...]) -> None:
        """Leaves exactly `kinds` on the stack of the current block."""
        if tuple(self.stack) == kinds:
            return
        for _ in self.stack:
            self.code.append(0x1A)
        self.stack = []
        if not self.dead or self.rnd.random() < 0.5:
            for kind in kinds:
                self.push(kind)

    def push_address(self) -> None:
        """An address within memory, often next to a border of 4 KiB."""
        plan, rnd = self.plan, self.rnd
        mask = 0x7FFF_FFFF if plan.wide else 0xFFFF
        if rnd.random() < 0.6:
            near = rnd.randrange(1, mask // 4096) * 4096 - rnd.randrange(0, 17)
            self.code += (b"\x42" if plan.is64 else b"\x41") + signed(near)
        else:
            self.push(plan.address)
            self.code += b"\x42" + signed(mask) + b"\x83" if plan.is64 else b"\x41" + signed(mask) + b"\x71"

    def memory_argument(self, width: int) -> bytes:
        offset = self.rnd.choice((0, 0, 1, 4096 - width, self.rnd.randrange(5000), 60000))
        return unsigned(self.rnd.randrange(width.bit_length())) + self.plan.index(offset)

    # Statements.

    def sequence(self, depth: int) -> None:
        simple = (
            self.numeric, self.numeric, self.numeric, self.vector, self.vector, self.set_local, self.set_local,
            self.set_global, self.store, self.store, self.store, self.vector_memory, self.bulk, self.tables,
            self.select, self.drop, self.observe, self.call, self.branch, self.branch, self.leave,
        )  # fmt: skip
        nested = (self.block, self.block, self.loop, self.if_, self.if_)
        for _ in range(self.rnd.randint(2, 9)):
            if self.budget <= 0:
                return
            self.budget -= 1
            if depth and self.rnd.random() < 0.3:
                self.rnd.choice(nested)(depth)
            else:
                self.rnd.choice(simple)()
            while len(self.stack) > 12:
                self.drop()

    def numeric(self) -> None:
        table = TRAPPING if self.rnd.random() < 0.03 else NUMERIC
        code, params, result = self.rnd.choice(table)
        self.apply(code, params, (result,))

    def vector(self) -> None:
        if self.rnd.random() < 0.1:
            shuffle = bytes(self.rnd.randrange(32) for _ in range(16))
            self.apply(b"\xfd\x0d" + shuffle, (V128, V128), (V128,))
            return
        operator, params, result, lanes = self.rnd.choice(VECTOR)
        lane = bytes((self.rnd.randrange(lanes),)) if lanes else b""
        self.apply(b"\xfd" + unsigned(operator) + lane, params, (result,))

    def set_local(self) -> None:
        if self.locals:
            index = self.rnd.randrange(len(self.locals))
            tee = self.rnd.random() < 0.3
            kind = (self.locals[index],)
            self.apply((b"\x22" if tee else b"\x21") + self.plan.index(index), kind, kind if tee else ())

    def set_global(self) -> None:
        mutable = [index for index, (_, is_mutable) in enumerate(self.plan.globals) if is_mutable]
        if mutable:
            index = self.rnd.choice(mutable)
            self.apply(b"\x24" + self.plan.index(index), (self.plan.globals[index][0],), ())

    def store(self) -> None:
        opcode, (kind, width) = self.rnd.choice(list(STORES.items()))
        self.push_address()
        self.push(kind)
        self.code += bytes((opcode,)) + self.memory_argument(width)

    def vector_memory(self) -> None:
        chance = self.rnd.random()
        self.push_address()
        if chance < 0.3:
            operator, width = self.rnd.choice(list(VECTOR_LOADS.items()))
            self.code += b"\xfd" + unsigned(operator) + self.memory_argument(width)
            self.stack.append(V128)
            return
        self.push(V128)
        if chance < 0.6:
            self.code += b"\xfd\x0b" + self.memory_argument(16)
            return
        k = self.rnd.randrange(4)
        lane = bytes((self.rnd.randrange(16 // LANE_WIDTHS[k]),))
        stores = chance < 0.8
        self.code += b"\xfd" + bytes((0x58 + k if stores else 0x54 + k,)) + self.memory_argument(LANE_WIDTHS[k]) + lane
        if not stores:
            self.stack.append(V128)

    def bulk(self) -> None:
        plan, rnd = self.plan, self.rnd
        segments = len(plan.passive) + plan.active
        match rnd.randrange(6):
            case 0:
                self.push_address()
                self.push(I32)
                self.push_length(plan.is64)
                self.code += b"\xfc\x0b\x00"
            case 1:
                self.push_address()
                self.push_address()
                self.push_length(plan.is64)
                self.code += b"\xfc\x0a\x00\x00"
            case 2:
                self.push_address()
                self.code += b"\x41" + signed(rnd.choice((0, 0, 3))) + b"\x41" + signed(rnd.choice((0, 0, 2, 8)))
                self.code += b"\xfc\x08" + plan.index(rnd.randrange(segments)) + b"\x00"
            case 3 if rnd.random() < 0.3:
                self.code += b"\xfc\x09" + plan.index(rnd.randrange(segments))
            case 4 if rnd.random() < 0.5:
                self.code += (b"\x42" if plan.is64 else b"\x41") + signed(rnd.choice((0, 0, 1))) + b"\x40\x00"
                self.stack.append(plan.address)
            case _:
                self.code += b"\x3f\x00"
                self.stack.append(plan.address)

    def push_length(self, is64: bool) -> None:
        length = self.rnd.choice((0, 0, 1, 2, 100, 4096, self.rnd.randrange(10000)))
        self.code += (b"\x42" if is64 else b"\x41") + signed(length)

    def tables(self) -> None:
        """Table 0 is only read, or given functions, because the original does not survive calls of null."""
        rnd, other = self.rnd, self.plan.other_table
        at = b"\x41" + signed(rnd.randrange(OTHER_TABLE_SIZE))
        match rnd.randrange(12):
            case 0:
                self.code += at + b"\x25\x01"
                self.stack.append(other)
            case 1:
                self.code += at
                self.push(other)
                self.code += b"\x26\x01"
            case 2:
                self.code += b"\xfc\x10" + bytes((rnd.randrange(2),))
                self.stack.append(I32)
            case 3:
                self.push(other)
                self.code += b"\x41\x01\xfc\x0f\x01"
                self.stack.append(I32)
            case 4:
                self.code += b"\x41\x01"
                self.push(other)
                self.code += b"\x41" + signed(rnd.choice((0, 1, 3))) + b"\xfc\x11\x01"
            case 5:
                self.code += b"\x41\x00\x41\x01\x41" + signed(rnd.randrange(4)) + b"\xfc\x0e\x01\x01"
            case 6:
                self.code += b"\x41\x01\x41\x00\x41" + signed(rnd.choice((0, 1, 2))) + b"\xfc\x0c\x00\x01"
            case 7 if rnd.random() < 0.3:
                self.code += b"\xfc\x0d\x00"
            case 8:
                self.code += b"\x41" + signed(rnd.randrange(CALL_TABLE_SIZE)) + b"\x25\x00"
                self.stack.append(FUNCREF)
            case 9 | 10:
                kind = rnd.choice(REFERENCES)
                self.need((kind,))
                self.code += b"\xd1"
                self.stack.append(I32)
            case _:
                self.constant(rnd.choice(REFERENCES))
                self.code += b"\x1a"

    def select(self) -> None:
        if self.rnd.random() < 0.5:
            kind = self.plan.value_type()
            self.apply(b"\x1c\x01" + bytes((kind,)), (kind, kind, I32), (kind,))
        else:
            kind = self.rnd.choice(NUMBERS)
            self.apply(b"\x1b", (kind, kind, I32), (kind,))

    def drop(self) -> None:
        if self.stack:
            self.stack.pop()
            self.code.append(0x1A)
        else:
            self.code += b"\x01" * self.rnd.randint(1, 2)  # nop

    def observe(self) -> None:
        """Stores what has been spent (or the limit), which shows whether gas was saved here."""
        offset = unsigned(ARGUMENT_OFFSET + 0x4000 + 8 * self.rnd.randrange(8))
        self.code += (b"\x42" if self.plan.is64 else b"\x41") + b"\x00"
        self.code += b"\x10" + self.plan.index(self.rnd.randrange(2)) + b"\x37\x00" + offset

    def call(self) -> None:
        plan, rnd = self.plan, self.rnd
        if plan.leaves and rnd.random() < 0.5:
            params, results = plan.types[plan.functions[2 + rnd.randrange(plan.leaves)]]
            for kind in params:
                self.push(kind)
            self.push(I32)
            self.code += b"\x41" + signed(CALL_TABLE_SIZE - 1) + b"\x71\x11"
            self.code += plan.index(plan.type(params, results)) + plan.index(0)
            self.stack += results
        elif self.function > 2:
            callee = 2 + rnd.randrange(min(self.function - 2, 4))
            params, results = plan.types[plan.functions[callee]]
            self.apply(b"\x10" + plan.index(callee), params, results)

    def branch(self) -> None:
        rnd = self.rnd
        label = rnd.randrange(len(self.labels))
        kinds = self.labels[-1 - label]
        chance = rnd.random()
        if chance < 0.7:
            self.apply(b"\x0d" + self.plan.index(label), (*kinds, I32), kinds)
        elif chance < 0.85:
            self.need(kinds)
            self.code += b"\x0c" + self.plan.index(label)
            self.die()
        else:
            alike = [index for index, other in enumerate(reversed(self.labels)) if other == kinds]
            targets = [rnd.choice(alike) for _ in range(rnd.randint(0, 5))]
            self.need((*kinds, I32))
            self.code += b"\x0e" + vector([self.plan.index(target) for target in targets])
            self.code += self.plan.index(label)
            self.die()

    def leave(self) -> None:
        if self.rnd.random() < 0.3:
            if self.rnd.random() < 0.8:
                self.need(self.results)
                self.code.append(0x0F)
            else:
                self.code.append(0x00)
            self.die()

    def die(self) -> None:
        self.stack = []
        self.dead = True

    # Blocks.

    def block_type(self) -> tuple[bytes, tuple[int, ...], tuple[int, ...]]:
        chance = self.rnd.random()
        if chance < 0.4:
            return b"\x40", (), ()
        if chance < 0.7:
            kind = self.plan.value_type()
            return bytes((kind,)), (), (kind,)
        params, results = self.plan.some_types(2), self.plan.some_types(3)
        return signed(self.plan.type(params, results)), params, results

    def block(self, depth: int) -> None:
        encoded, params, results = self.block_type()
        self.enter(b"\x02" + encoded, params)
        self.inside(depth, params, results, label=results)
        self.code.append(0x0B)

    def loop(self, depth: int) -> None:
        encoded, params, results = self.block_type()
        self.enter(b"\x03" + encoded, params)
        self.inside(depth, params, results, label=params)
        self.code.append(0x0B)

    def if_(self, depth: int) -> None:
        encoded, params, results = self.block_type()
        self.enter(b"\x04" + encoded, (*params, I32))
        if params == results and self.rnd.random() < 0.5:
            self.inside(depth, params, results, label=results)
        else:
            below = self.stack.copy(), self.dead
            self.inside(depth, params, results, label=results)
            self.code.append(0x05)
            self.stack, self.dead = below
            self.inside(depth, params, results, label=results)
        self.code.append(0x0B)

    def enter(self, code: bytes, params: tuple[int, ...]) -> None:
        self.need(params)
        self.code += code

    def inside(self, depth: int, params: tuple[int, ...], results: tuple[int, ...], *, label: tuple[int, ...]) -> None:
        below, was_dead = self.stack, self.dead
        self.stack, self.dead = list(params), False
        self.labels.append(label)
        self.sequence(depth - 1)
        self.settle(results)
        self.labels.pop()
        self.stack, self.dead = [*below, *results], was_dead


def generate(seed: int) -> Generated:
    """The contract of that seed."""
    rnd = random.Random(seed)
    plan = _Plan(rnd)
    observed = plan.type((), (I64,))
    exported_type = plan.type((I32,), (I32,))
    plan.functions = [observed, observed]  # the imports `spent` and `limit`
    bodies = []

    def add(params: tuple[int, ...], results: tuple[int, ...], budget: int) -> None:
        plan.functions.append(plan.type(params, results))
        bodies.append(_Body(plan, len(plan.functions) - 1, budget).encode())

    leaves = rnd.randint(1, 3)
    for _ in range(leaves):
        add(plan.some_types(3), plan.some_types(3), 12)
    plan.leaves = leaves
    exports = []
    for number in range(rnd.randint(1, 3)):
        results = plan.some_types(2)
        add((I32,), results, 30)
        body = b"\x00\x20\x00\x10" + unsigned(len(plan.functions) - 1) + b"\x1a" * len(results)
        body += _epilogue(plan)
        plan.functions.append(exported_type)
        bodies.append(unsigned(len(body)) + body)
        exports.append((f"f{number}", len(plan.functions) - 1))
    return Generated(_assemble(plan, bodies, exports), tuple(export for export, _ in exports), plan.is64)


def _epilogue(plan: _Plan) -> bytes:
    """Stores all numeric globals in the argument buffer, and returns the length of that."""
    code, at = b"", 0
    for index, (kind, _) in enumerate(plan.globals):
        if kind in NUMBERS:
            store = {I32: b"\x36", I64: b"\x37", F32: b"\x38", F64: b"\x39", V128: b"\xfd\x0b"}[kind]
            code += (b"\x42" if plan.is64 else b"\x41") + b"\x00\x23" + unsigned(index)
            code += store + b"\x00" + unsigned(ARGUMENT_OFFSET + at)
            at += 16
    return code + b"\x41" + signed(at) + b"\x0b"


def _initial(kind: int, rnd: random.Random) -> bytes:
    if kind in REFERENCES:
        return b"\xd0" + bytes((kind,)) + b"\x0b"
    size = {I32: 4, I64: 8, F32: 4, F64: 8, V128: 16}[kind]
    bits = rnd.randbytes(size)
    if kind in (I32, I64):
        return (b"\x41" if kind == I32 else b"\x42") + signed(int.from_bytes(bits, "little", signed=True)) + b"\x0b"
    return {F32: b"\x43", F64: b"\x44", V128: b"\xfd\x0c"}[kind] + bits + b"\x0b"


def _assemble(plan: _Plan, bodies: list[bytes], exports: list[tuple[str, int]]) -> bytes:
    rnd = plan.rnd
    types = [b"\x60" + vector([bytes((t,)) for t in p]) + vector([bytes((t,)) for t in r]) for p, r in plan.types]
    imports = [name("env") + name(text) + b"\x00" + unsigned(plan.functions[0]) for text in ("spent", "limit")]
    limits = bytes((4 * plan.is64 + (maximum := rnd.randrange(2)),)) + unsigned(plan.pages)
    limits += unsigned(65536) if maximum else b""
    address = b"\x42" if plan.is64 else b"\x41"
    globals_ = [bytes((kind, mutable)) + _initial(kind, rnd) for kind, mutable in plan.globals]
    globals_.append(bytes((plan.address, 0)) + address + signed(ARGUMENT_OFFSET) + b"\x0b")
    entries = [name(text) + b"\x00" + unsigned(index) for text, index in exports]
    entries += [name("memory") + b"\x02\x00", name("A") + b"\x03" + unsigned(len(plan.globals))]
    leaves = [unsigned(2 + rnd.randrange(plan.leaves)) for _ in range(CALL_TABLE_SIZE)]
    declared = [unsigned(2 + leaf) for leaf in range(plan.leaves)]
    other = [b"\xd0" + bytes((plan.other_table,)) + b"\x0b"] * 3
    elements = [
        b"\x05" + bytes((plan.other_table,)) + vector(other),  # passive, for table 1
        b"\x00\x41\x00\x0b" + vector(leaves),  # table 0
        b"\x03\x00" + vector(declared),
    ]
    data = [b"\x01" + unsigned(len(content)) + content for content in plan.passive]
    for _ in range(plan.active):
        content = rnd.randbytes(rnd.choice((0, 5, 5000)))
        data.append(b"\x00" + address + signed(rnd.randrange(0x18000)) + b"\x0b" + unsigned(len(content)) + content)
    return b"".join(
        (
            b"\0asm\x01\0\0\0",
            section(0, name("producers") + b"junk"),
            section(1, vector(types)),
            section(2, vector(imports)),
            section(3, vector([unsigned(index) for index in plan.functions[2:]])),
            section(
                4,
                vector(
                    [
                        b"\x70\x00" + unsigned(CALL_TABLE_SIZE),
                        bytes((plan.other_table,)) + b"\x00" + unsigned(OTHER_TABLE_SIZE),
                    ]
                ),
            ),
            section(5, b"\x01" + limits),
            section(6, vector(globals_)),
            section(7, vector(entries)),
            section(9, vector(elements)),
            section(12, unsigned(len(data))),
            section(10, vector(bodies)),
            section(11, vector(data)),
        )
    )
