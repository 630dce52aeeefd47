"""One function body while it is rewritten; the rules of gas are in `metering`."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite import immediates, operators
from piecrust.vm.rewrite.code_section import CodeSection
from piecrust.vm.rewrite.leb128 import encode_signed, encode_unsigned, read_signed, read_u32
from piecrust.vm.rewrite.module import FunctionType, ValueType
from piecrust.vm.rewrite.operators import Bulk, Form, VectorForm
from piecrust.vm.rewrite.tracking import Temporaries

LOCALS_MAX = 50_000 - 16
"""Parameters and locals of a function: the engine's limit, less those that are added."""

# What a frame of the control stack says: the opcode that opened it (an `if` becomes an `else`), and these flags. A
# frame is an int, so that a body of nothing but nested blocks takes little memory.
BLOCK, LOOP, IF, ELSE = 2, 3, 4, 5
OPCODE = 7
ENTERED_LIVE = 8
BRANCHED_TO = 16
THEN_ENDS_LIVE = 32

UNREACHABLE_END = b"\x00\x0b"

SKIP = {
    0x1C: immediates.skip_select_type,
    0x3F: immediates.skip_memory,
    0x40: immediates.skip_memory,
    0x43: immediates.skip_f32,
    0x44: immediates.skip_f64,
    0xD0: immediates.skip_heap_type,
    0xD2: immediates.skip_index,
}
"""What follows the opcodes of the form OTHER."""


@lru_cache(maxsize=4096)
def _plus(cost: int) -> bytes:
    """Code that adds a cost to the i64 on the stack."""
    return b"\x42" + encode_signed(cost) + b"\x7c"


def rewrite_body(code: CodeSection, start: int, end: int, function_type: FunctionType) -> bytes:
    """The metered body of the function that lies in the module from `start` to `end`, local declarations first."""
    return _Function(code, start, end, function_type).rewrite()


class _Function:
    """One function while it is rewritten: `pieces` are ready up to offset `copied`, `pending` is not flushed yet."""

    __slots__ = (
        "code", "copied", "data", "end", "frames", "get", "live", "locals", "pending", "pieces", "put", "start",
        "temporaries", "trap_if_spent", "type",
    )  # fmt: skip

    def __init__(self, code: CodeSection, start: int, end: int, function_type: FunctionType) -> None:
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
        groups, first_group = immediates.vector_count(self.data, self.start, self.end, "local groups")
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
            if self.data[at] not in immediates.VALUE_TYPES:
                raise InvalidModule("invalid value type", at)
            at += 1
        return at

    def _scan(self, at: int) -> None:
        """Goes through the operators once. Those that run straight on are dealt with here, for speed."""
        data, end, forms, marks, is64 = self.data, self.end, operators.FORMS, self.code.marks, self.code.is64
        short_locals = min(self.locals, 0x80)
        local, plain, constant, load, store, free = range(6)  # as the first members of Form
        alignment_max, pending = immediates.ALIGNMENT_MAX, 0
        while at < end:
            opcode = data[at]
            form = forms[opcode]
            if form == local:
                at = (
                    at + 2
                    if data[at + 1] < short_locals
                    else immediates.checked_index(data, at + 1, self.locals, "local")
                )
                pending += 1
            elif form == plain:
                at += 1
                pending += 1
            elif form == constant:
                at = at + 2 if data[at + 1] < 0x80 else read_signed(data, at + 1, 32 if opcode == 0x41 else 64)[1]
                pending += 1
            elif form == load or (form == store and marks is None):
                is_short = data[at + 1] <= alignment_max and data[at + 2] < 0x80
                at = at + 3 if is_short else immediates.memory_argument(data, at + 1, is64=is64)[1]
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
        return immediates.skip_block_type(self.data, at + 1, self.code.types)

    def on_loop(self, at: int) -> int:
        body = immediates.skip_block_type(self.data, at + 1, self.code.types)
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
        return immediates.skip_block_type(self.data, at + 1, self.code.types)

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
        count, label_at = immediates.vector_count(self.data, at + 1, self.end, "labels")
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
        return self._around_call(at, immediates.skip_index(self.data, at + 1))

    def on_call_indirect(self, at: int) -> int:
        table = immediates.checked_index(self.data, at + 1, self.code.types, "type")
        return self._around_call(at, immediates.skip_index(self.data, table))

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
        self.pending += 1
        return immediates.checked_index(self.data, at + 1, self.code.globals, "global")

    def on_other(self, at: int) -> int:
        self.pending += 1
        return SKIP[self.data[at]](self.data, at + 1)

    def on_table(self, at: int) -> int:
        if self.data[at] == operators.TABLE_SET:
            self.code.changes_instance = True
        self.pending += 1
        return immediates.skip_index(self.data, at + 1)

    def on_marked_store(self, at: int) -> int:
        """A store of a module that marks what it writes; others are dealt with in `_scan`."""
        offset, after = immediates.memory_argument(self.data, at + 1, is64=self.code.is64)
        self._mark_store(operators.STORES[self.data[at]], offset, at)
        return after

    def _mark_store(self, store: operators.Store, offset: int, at: int) -> None:
        self.pending += store.cost
        if self.code.marks is not None and self.live:
            self.pieces += self.data[self.copied : at], self.code.marks.before_store(self.temporaries, store, offset)
            self.copied = at

    def on_prefix_fc(self, at: int) -> int:
        data = self.data
        number, after = read_u32(data, at + 1)
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
                return self._bulk(operator, at, immediates.skip_memory(data, immediates.skip_index(data, after)))
            case Bulk.MEMORY_COPY:
                return self._bulk(operator, at, immediates.skip_memory(data, immediates.skip_memory(data, after)))
            case Bulk.MEMORY_FILL:
                return self._bulk(operator, at, immediates.skip_memory(data, after))
            case Bulk.TABLE_INIT | Bulk.TABLE_COPY:
                return immediates.skip_index(data, immediates.skip_index(data, after))
            case _:
                return immediates.skip_index(data, after)

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
            offset, after = immediates.memory_argument(self.data, after, is64=self.code.is64)
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
        Form.TABLE: _Function.on_table,
        Form.OTHER: _Function.on_other,
        Form.PREFIX_FC: _Function.on_prefix_fc,
        Form.PREFIX_FD: _Function.on_prefix_fd,
    }
    return [handlers.get(form, _Function.on_unknown) for form in Form]


HANDLERS = _handlers()
