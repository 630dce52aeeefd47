"""Compiles gas into function bodies, so that they are charged exactly as by the original.

One mutable i64 global G holds minus the gas that remains. A function keeps it in a local F and adds the cost of the
operators that it runs:

- entry: F = G + 1. A cost is *flushed* (added to F) where control may part or meet: before loop, if, else, br, br_if,
  br_table, and an `end` where paths meet. It is also *saved* (F is written to G, where the host sees it) before calls,
  return, unreachable, and at the function's end; after a call, F is G again.
- Gas is *checked* at function entry and at each loop header only: if F >= 0 there, F is saved and the contract traps.
- Operators that cannot be reached cost nothing. What can be reached is what the original's compiler thinks it is: code
  after a branch is dead until an `end` to which something branched, or the `else` of an `if` that was reached.
- The body lies in one added block, so that branches to the function's label and falling off its end both save. Labels
  keep their meaning, because the innermost ones are counted first.

Bodies are hostile. They are read once, strictly enough that nothing which is invalid becomes valid by being rewritten:
added locals, globals, labels, types and memories cannot be reached by an index of the contract's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import operators
from piecrust.vm.rewrite.leb128 import encode_signed, encode_unsigned, read_signed, read_u32, read_u64
from piecrust.vm.rewrite.module import FunctionType, Module, ValueType
from piecrust.vm.rewrite.operators import Bulk, Form, VectorForm
from piecrust.vm.rewrite.tracking import Temporaries, WriteMarks

LOCALS_MAX = 50_000 - 16
"""Parameters and locals of a function: the engine's limit, less those that are added."""

BODY_BYTES_MAX = 7_654_321
"""The engine's limit on a body, as rewritten."""

GROWTH_MAX = 40
"""More times than that no body becomes longer (the worst, about 31, is nothing but marked memory.fill)."""

# What a frame of the control stack says: the opcode that opened it (an `if` becomes an `else`), and these flags. A
# frame is an int, so that a body of nothing but nested blocks takes little memory.
BLOCK, LOOP, IF, ELSE = 2, 3, 4, 5
OPCODE = 7
ENTERED_LIVE = 8
BRANCHED_TO = 16
THEN_ENDS_LIVE = 32

VALUE_TYPES = frozenset(ValueType)
EMPTY_BLOCK_TYPE = 0x40
UNREACHABLE_END = b"\x00\x0b"


@dataclass(frozen=True, slots=True)
class MeteredCode:
    """Metered functions: `body` is that of the code section.

    `added_types` are encoded function types that it needs beyond the module's. `changes_instance` says whether any
    operator changes what outlives a call but is neither memory nor a global: tables, dropped segments.
    """

    body: bytes
    added_types: tuple[bytes, ...]
    changes_instance: bool


def meter(module: Module, gas_global: int, marks: WriteMarks | None) -> MeteredCode:
    """Meters all functions of a module, with gas in the global of that index; `marks` also marks what they write.

    Raises `InvalidModule` if a body is malformed.
    """
    code = _Code(module, gas_global, marks)
    pieces = [encode_unsigned(len(module.bodies))]
    defined = module.functions[module.imported_functions :]
    for (start, end), type_index in zip(module.bodies, defined, strict=True):
        body = _Function(code, start, end, module.types[type_index]).rewrite()
        if end - start > BODY_BYTES_MAX // GROWTH_MAX:
            _check_marked_size(module, gas_global, start, end, module.types[type_index])
        pieces += encode_unsigned(len(body)), body
    return MeteredCode(b"".join(pieces), tuple(code.added_types), code.changes_instance)


def _check_marked_size(module: Module, gas_global: int, start: int, end: int, function_type: FunctionType) -> None:
    """Refuses a function that would be too large with marks, whether or not it gets them.

    Whoever tracks writes in another way must not accept other contracts.
    """
    marks = WriteMarks(is64=bool(module.memories) and module.memories[0].is64)
    body = _Function(_Code(module, gas_global, marks), start, end, function_type).rewrite()
    if len(body) > BODY_BYTES_MAX:
        raise InvalidModule("function too large", start)


class _Code:
    """What the functions of one module share."""

    def __init__(self, module: Module, gas_global: int, marks: WriteMarks | None) -> None:
        self.data = module.data
        self.is64 = bool(module.memories) and module.memories[0].is64
        self.types = len(module.types)
        self.globals = len(module.global_types)
        self.marks = marks
        self.load_gas = b"\x23" + encode_unsigned(gas_global)
        self.save_gas = b"\x24" + encode_unsigned(gas_global)
        self.added_types: list[bytes] = []
        self.changes_instance = False
        self._block_types: dict[tuple[ValueType, ...], bytes] = {}

    def block_type(self, results: tuple[ValueType, ...]) -> bytes:
        """The encoded type of a block without parameters that has these results."""
        if not results:
            return bytes((EMPTY_BLOCK_TYPE,))
        if len(results) == 1:
            return bytes(results)
        block_type = self._block_types.get(results)
        if block_type is None:
            block_type = self._block_types[results] = encode_signed(self.types + len(self.added_types))
            self.added_types.append(b"\x60\x00" + encode_unsigned(len(results)) + bytes(results))
        return block_type


@lru_cache(maxsize=4096)
def _plus(cost: int) -> bytes:
    """Code that adds a cost to the i64 on the stack."""
    return b"\x42" + encode_signed(cost) + b"\x7c"


class _Function:
    """One function while it is rewritten: `pieces` are ready up to offset `copied`, `pending` is not flushed yet."""

    __slots__ = (
        "code",
        "copied",
        "data",
        "end",
        "frames",
        "get",
        "live",
        "locals",
        "pending",
        "pieces",
        "put",
        "start",
        "temporaries",
        "trap_if_spent",
        "type",
    )

    def __init__(self, code: _Code, start: int, end: int, function_type: FunctionType) -> None:
        self.code = code
        self.data = code.data
        self.start = start
        self.end = end
        self.type = function_type
        self.pieces: list[bytes] = []
        self.frames = [BLOCK | ENTERED_LIVE]
        self.pending = 0
        self.live = True

    def rewrite(self) -> bytes:
        """The new body."""
        groups, first_group = self._count(self.start, "local groups")
        self.copied = first_operator = self._skip_locals(groups, first_group)
        gas = encode_unsigned(self.locals)
        self.get, self.put = b"\x20" + gas, b"\x21" + gas
        self.temporaries = Temporaries(self.locals + 1)
        save = self.get + self.code.save_gas
        is_spent = b"\x42\x00\x59"  # F, which is on the stack, >= 0
        self.trap_if_spent = is_spent + b"\x04\x40" + save + UNREACHABLE_END

        self._scan(first_operator)
        self.pieces += self.data[self.copied : self.end], save, b"\x0b"

        added = b"".join(b"\x01" + bytes((value_type,)) for value_type in (ValueType.I64, *self.temporaries.types))
        header = (
            encode_unsigned(groups + len(added) // 2)
            + self.data[first_group:first_operator]
            + added
            + (self.code.load_gas + _plus(1) + b"\x22" + gas + self.trap_if_spent)
            + (b"\x02" + self.code.block_type(self.type.results))
        )
        return header + b"".join(self.pieces)

    def _skip_locals(self, groups: int, at: int) -> int:
        self.locals = len(self.type.params)
        for _ in range(groups):
            count, at = read_u32(self.data, at)
            self.locals += count
            if self.locals > LOCALS_MAX:
                raise InvalidModule("too many locals", at)
            if self.data[at] not in VALUE_TYPES:
                raise InvalidModule("invalid value type", at)
            at += 1
        return at

    def _scan(self, at: int) -> None:
        """Goes through the operators once. Those that run straight on are dealt with here, for speed."""
        data, end, forms, marks = self.data, self.end, operators.FORMS, self.code.marks
        short_locals = min(self.locals, 0x80)
        local, plain, constant, load, store, free = range(6)  # as the first members of Form
        pending = 0
        while at < end:
            opcode = data[at]
            form = forms[opcode]
            if form == local:
                at = at + 2 if data[at + 1] < short_locals else self._long_local(at)
                pending += 1
            elif form == plain:
                at += 1
                pending += 1
            elif form == constant:
                at = at + 2 if data[at + 1] < 0x80 else read_signed(data, at + 1, 32 if opcode == 0x41 else 64)[1]
                pending += 1
            elif form == load or (form == store and marks is None):
                at = at + 3 if data[at + 1] <= 4 and data[at + 2] < 0x80 else self._memory_argument(at + 1)[1]
                pending += 1 if form == load else operators.STORE_COSTS[opcode]
            elif form == free:
                at += 1
            else:
                self.pending = pending
                at = HANDLERS[form](self, at)
                pending = self.pending
        if self.frames:  # else the last `end` was the last byte
            raise InvalidModule("function body must end with its last end operator", self.start)

    # Gas.

    def _flush(self, at: int) -> None:
        """Adds the pending cost to F, in front of the operator at `at`."""
        if self.pending:
            self.pieces += self.data[self.copied : at], self.get + _plus(self.pending) + self.put
            self.copied = at
            self.pending = 0

    def _save(self, at: int) -> None:
        """Adds the pending cost and writes the sum to G, in front of the operator at `at`."""
        cost = _plus(self.pending) if self.pending else b""
        self.pieces += self.data[self.copied : at], self.get + cost + self.code.save_gas
        self.copied = at
        self.pending = 0

    # Control. A handler gets the offset of an operator and returns that of the next one.

    def on_block(self, at: int) -> int:
        self._open(BLOCK)
        return self._skip_block_type(at + 1)

    def on_loop(self, at: int) -> int:
        body = self._skip_block_type(at + 1)
        if self.live:
            self._flush(at)
            self.pieces += self.data[self.copied : body], self.get + self.trap_if_spent
            self.copied = body
        self._open(LOOP)
        return body

    def on_if(self, at: int) -> int:
        if self.live:
            self.pending += 1
            self._flush(at)
        self._open(IF)
        return self._skip_block_type(at + 1)

    def _open(self, opcode: int) -> None:
        self.frames.append(opcode | ENTERED_LIVE if self.live else opcode)

    def on_else(self, at: int) -> int:
        frame = self.frames.pop()
        if frame & OPCODE != IF:
            raise InvalidModule("else found outside of an if", at)
        if self.live:
            self._flush(at)
            frame |= THEN_ENDS_LIVE
        self.frames.append(frame & ~OPCODE | ELSE)
        self._revive(live=bool(frame & ENTERED_LIVE))
        return at + 1

    def on_end(self, at: int) -> int:
        frame = self.frames.pop()
        opcode = frame & OPCODE
        if not self.frames and at + 1 != self.end:
            raise InvalidModule("operators after the end of the function", at)
        if self.live:
            paths_meet = opcode in (IF, ELSE) or (opcode == BLOCK and frame & BRANCHED_TO)
            if paths_meet or not self.frames:
                self._flush(at)
        else:
            reached_otherwise = opcode == IF or frame & (BRANCHED_TO | THEN_ENDS_LIVE)
            self._revive(live=bool(opcode != LOOP and frame & ENTERED_LIVE and reached_otherwise))
        return at + 1

    def _revive(self, *, live: bool) -> None:
        """Goes on, live or dead, after code that may have been dead: what was counted there is not charged."""
        self.live = live
        self.pending = 0

    def on_br(self, at: int) -> int:
        after = self._branch(at)
        self.live = False
        return after

    def on_br_if(self, at: int) -> int:
        return self._branch(at)

    def _branch(self, at: int) -> int:
        label, after = read_u32(self.data, at + 1)
        if self.live:
            self.pending += 1
            self._flush(at)
        self._target(label, at)
        return after

    def on_br_table(self, at: int) -> int:
        if self.live:
            self.pending += 1
            self._flush(at)
        count, label_at = self._count(at + 1, "labels")
        for _ in range(count + 1):
            if label_at >= self.end:
                raise InvalidModule("unexpected end", at)
            label, label_at = read_u32(self.data, label_at)
            self._target(label, at)
        self.live = False
        return label_at

    def _target(self, label: int, at: int) -> None:
        if label >= len(self.frames):
            raise InvalidModule("unknown label", at)
        if self.live:
            self.frames[-1 - label] |= BRANCHED_TO

    def on_call(self, at: int) -> int:
        return self._around_call(at, self._index(at + 1))

    def on_call_indirect(self, at: int) -> int:
        type_index, table = read_u32(self.data, at + 1)
        if type_index >= self.code.types:
            raise InvalidModule("unknown type", at)
        return self._around_call(at, self._index(table))

    def _around_call(self, at: int, after: int) -> int:
        if self.live:
            self.pending += 1
            self._save(at)
            self.pieces += self.data[at:after], self.code.load_gas + self.put
            self.copied = after
        return after

    def on_leave(self, at: int) -> int:
        """Return and unreachable."""
        if self.live:
            self._save(at)
            self.live = False
        return at + 1

    # Operators that run straight on, but are rare, or have an index to be checked.

    def on_global(self, at: int) -> int:
        index, after = read_u32(self.data, at + 1)
        if index >= self.code.globals:
            raise InvalidModule("unknown global", at)
        self.pending += 1
        return after

    def on_float_constant(self, at: int) -> int:
        self.pending += 1
        return at + (5 if self.data[at] == 0x43 else 9)

    def on_typed_select(self, at: int) -> int:
        count, type_at = read_u32(self.data, at + 1)
        if count != 1 or self.data[type_at] not in VALUE_TYPES:
            raise InvalidModule("invalid type of a select", at)
        self.pending += 1
        return type_at + 1

    def on_table(self, at: int) -> int:
        if self.data[at] == operators.TABLE_SET:
            self.code.changes_instance = True
        self.pending += 1
        return self._index(at + 1)

    def on_memory_size(self, at: int) -> int:
        self.pending += 1
        return self._skip_memory(at + 1)

    def on_ref_null(self, at: int) -> int:
        if self.data[at + 1] not in (ValueType.FUNCREF, ValueType.EXTERNREF):
            raise InvalidModule("invalid reference type", at)
        self.pending += 1
        return at + 2

    def on_ref_func(self, at: int) -> int:
        self.pending += 1
        return self._index(at + 1)

    def on_marked_store(self, at: int) -> int:
        """A store of a module that marks what it writes; others are dealt with in `_scan`."""
        offset, after = self._memory_argument(at + 1)
        self._mark_store(operators.STORES[self.data[at]], offset, at)
        return after

    def _mark_store(self, store: operators.Store, offset: int, at: int) -> None:
        self.pending += store.cost
        if self.code.marks is not None and self.live:
            self.pieces += self.data[self.copied : at], self.code.marks.before_store(self.temporaries, store, offset)
            self.copied = at

    def on_prefix_fc(self, at: int) -> int:
        number, after = read_u32(self.data, at + 1)
        self.pending += 1
        if number < Bulk.MEMORY_INIT:
            return after
        operator = operators.BULK.get(number)
        if operator in operators.INSTANCE_CHANGES:
            self.code.changes_instance = True
        match operator:
            case None:
                raise InvalidModule("unknown operator", at)
            case Bulk.MEMORY_INIT:
                return self._bulk(operator, at, self._skip_memory(self._index(after)))
            case Bulk.MEMORY_COPY:
                return self._bulk(operator, at, self._skip_memory(self._skip_memory(after)))
            case Bulk.MEMORY_FILL:
                return self._bulk(operator, at, self._skip_memory(after))
            case Bulk.TABLE_INIT | Bulk.TABLE_COPY:
                return self._index(self._index(after))
            case _:
                return self._index(after)

    def _bulk(self, operator: Bulk, at: int, after: int) -> int:
        if self.code.marks is not None and self.live:
            before_it, after_it = self.code.marks.around_bulk(self.temporaries, operator)
            self.pieces += self.data[self.copied : at], before_it, self.data[at:after], after_it
            self.copied = after
        return after

    def on_prefix_fd(self, at: int) -> int:
        number, after = read_u32(self.data, at + 1)
        form = operators.VECTOR_FORMS.get(number)
        if form is None:
            raise InvalidModule("unknown operator", at)
        if form in (VectorForm.MEMORY, VectorForm.MEMORY_LANE):
            offset, after = self._memory_argument(after)
            after += form is VectorForm.MEMORY_LANE
            if number in operators.VECTOR_STORES:
                self._mark_store(operators.VECTOR_STORES[number], offset, at)
                return after
        self.pending += 1
        if form is VectorForm.BYTES:
            return after + 16
        return after + (form is VectorForm.LANE)

    def on_unknown(self, at: int) -> int:
        raise InvalidModule(f"unknown operator 0x{self.data[at]:02x}", at)

    # Immediates.

    def _long_local(self, at: int) -> int:
        index, after = read_u32(self.data, at + 1)
        if index >= self.locals:
            raise InvalidModule("unknown local", at)
        return after

    def _index(self, at: int) -> int:
        """Skips an index into a space to which nothing is added, so that it need not be checked here."""
        return read_u32(self.data, at)[1]

    def _memory_argument(self, at: int) -> tuple[int, int]:
        alignment, at = read_u32(self.data, at)
        if alignment > 4:  # also where a bit says that the index of a memory follows
            raise InvalidModule("invalid alignment", at)
        offset, after = read_u64(self.data, at)  # engines that know 64-bit memories read it so for any memory
        if offset >> 32 and not self.code.is64:
            raise InvalidModule("offset out of range", at)
        return offset, after

    def _skip_memory(self, at: int) -> int:
        if self.data[at] != 0:
            raise InvalidModule("unknown memory", at)
        return at + 1

    def _skip_block_type(self, at: int) -> int:
        if self.data[at] == EMPTY_BLOCK_TYPE or self.data[at] in VALUE_TYPES:
            return at + 1
        index, after = read_signed(self.data, at, 33)
        if not 0 <= index < self.code.types:
            raise InvalidModule("unknown type", at)
        return after

    def _count(self, at: int, what: str) -> tuple[int, int]:
        """The length of a vector of things that have at least one byte each."""
        count, at = read_u32(self.data, at)
        if count > self.end - at:
            raise InvalidModule(f"too many {what}", at)
        return count, at


def _handlers() -> list[Callable[[_Function, int], int]]:
    handlers = {
        Form.STORE: _Function.on_marked_store,
        Form.GLOBAL: _Function.on_global,
        Form.BLOCK: _Function.on_block,
        Form.LOOP: _Function.on_loop,
        Form.IF: _Function.on_if,
        Form.ELSE: _Function.on_else,
        Form.END: _Function.on_end,
        Form.BR: _Function.on_br,
        Form.BR_IF: _Function.on_br_if,
        Form.BR_TABLE: _Function.on_br_table,
        Form.CALL: _Function.on_call,
        Form.CALL_INDIRECT: _Function.on_call_indirect,
        Form.RETURN: _Function.on_leave,
        Form.UNREACHABLE: _Function.on_leave,
        Form.FLOAT_CONSTANT: _Function.on_float_constant,
        Form.TYPED_SELECT: _Function.on_typed_select,
        Form.TABLE: _Function.on_table,
        Form.MEMORY_SIZE: _Function.on_memory_size,
        Form.REF_NULL: _Function.on_ref_null,
        Form.REF_FUNC: _Function.on_ref_func,
        Form.PREFIX_FC: _Function.on_prefix_fc,
        Form.PREFIX_FD: _Function.on_prefix_fd,
    }
    return [handlers.get(form, _Function.on_unknown) for form in Form]


HANDLERS = _handlers()
