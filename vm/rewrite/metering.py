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

from dataclasses import dataclass

from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite.code_section import CodeSection
from piecrust.vm.rewrite.function import rewrite_body
from piecrust.vm.rewrite.leb128 import encode_unsigned
from piecrust.vm.rewrite.module import FunctionType, Module
from piecrust.vm.rewrite.tracking import WriteMarks

BODY_BYTES_MAX = 7_654_321
"""The engine's limit on a body, as rewritten."""

GROWTH_MAX = 40
"""More times than that no body becomes longer (the worst, about 31, is nothing but marked memory.fill)."""


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
    code = CodeSection(module, gas_global, marks)
    pieces = [encode_unsigned(len(module.bodies))]
    defined = module.functions[module.imported_functions :]
    for (start, end), type_index in zip(module.bodies, defined, strict=True):
        body = rewrite_body(code, start, end, module.types[type_index])
        if end - start > BODY_BYTES_MAX // GROWTH_MAX:
            _check_marked_size(module, gas_global, start, end, module.types[type_index])
        pieces += encode_unsigned(len(body)), body
    return MeteredCode(b"".join(pieces), tuple(code.added_types), code.changes_instance)


def _check_marked_size(module: Module, gas_global: int, start: int, end: int, function_type: FunctionType) -> None:
    """Refuses a function that would be too large with marks, whether or not it gets them.

    Whoever tracks writes in another way must not accept other contracts.
    """
    marks = WriteMarks(is64=bool(module.memories) and module.memories[0].is64)
    body = rewrite_body(CodeSection(module, gas_global, marks), start, end, function_type)
    if len(body) > BODY_BYTES_MAX:
        raise InvalidModule("function too large", start)
