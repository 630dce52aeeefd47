"""What the functions of one module share while they are rewritten."""

from __future__ import annotations

from piecrust.vm.rewrite.immediates import EMPTY_BLOCK_TYPE
from piecrust.vm.rewrite.leb128 import encode_signed, encode_unsigned
from piecrust.vm.rewrite.module import Module, ValueType
from piecrust.vm.rewrite.tracking import WriteMarks


class CodeSection:
    """Facts of the module that bodies refer to, and what their rewriting asks of it: see `metering.MeteredCode`."""

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
