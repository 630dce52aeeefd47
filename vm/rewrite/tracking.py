"""Code that marks what a contract writes, for systems where the kernel cannot tell.

A second memory holds one byte for each 4 KiB of the contract's memory, 1 where something was written. Marks are only
ever set here; the host reads and clears them.

- A store is marked *before* it happens, because some processors write the first half of a store that crosses a page
  and then fault. What a trapping store marks is too much, and harmless: a trap rolls the call back.
- A bulk operator is marked *after* it happened: by then its range is known to lie in memory. Length 0 marks nothing.
- The map covers every address that can be written: 4 GiB; for 64-bit memories 4 TiB, because bulk operators (unlike
  stores) reach beyond 4 GiB there. Marks never leave the map, whatever the address: those of stores stay in its first
  MiB, those of bulk operators below the length of memory.
- Marks cost no gas, and touch nothing of the contract's but added locals.
"""

from __future__ import annotations

from functools import lru_cache

from piecrust.vm.rewrite.leb128 import encode_signed, encode_unsigned
from piecrust.vm.rewrite.module import ValueType
from piecrust.vm.rewrite.operators import Bulk, Store

RANGE_BITS = 12
"""A mark stands for 2 ** RANGE_BITS bytes: 4 KiB."""

MAP_PAGES_32 = 1 << 32 - RANGE_BITS - 16
MAP_PAGES_64 = 1 << 42 - RANGE_BITS - 16
"""Pages of 64 KiB that the map has for a 32-bit memory (1 MiB) and for a 64-bit one (1 GiB, all but 1 MiB untouched
unless the memory grows beyond 4 GiB)."""

LOCAL_GET, LOCAL_SET, LOCAL_TEE = b"\x20", b"\x21", b"\x22"
MAP = b"\x01"  # index of the map among the memories
MARK_ONE = b"\x41\x01\x3a\x40" + MAP + b"\x00"  # i32.const 1, i32.store8 into the map
MARK_MANY = b"\xfc\x0b" + MAP
IF, END = b"\x04\x40", b"\x0b"


class Temporaries:
    """Locals that the rewriter adds to one function, from index `first` on."""

    __slots__ = ("_indices", "first", "types")

    def __init__(self, first: int) -> None:
        self.first = first
        self.types: list[ValueType] = []
        self._indices: dict[tuple[ValueType, int], bytes] = {}

    def index(self, value_type: ValueType, slot: int = 0) -> bytes:
        """The encoded index of a local of that type; another one for each slot."""
        index = self._indices.get((value_type, slot))
        if index is None:
            index = encode_unsigned(self.first + len(self.types))
            self._indices[value_type, slot] = index
            self.types.append(value_type)
        return index


class WriteMarks:
    """Makes the marking code for the operators of one module."""

    def __init__(self, *, is64: bool) -> None:
        self.pages = MAP_PAGES_64 if is64 else MAP_PAGES_32
        self.address = ValueType.I64 if is64 else ValueType.I32
        self._const = b"\x42" if is64 else b"\x41"
        self._add = b"\x7c" if is64 else b"\x6a"
        self._is64 = is64
        # From an address on the stack to the index of its mark.
        shift = self._const + encode_signed(RANGE_BITS) + (b"\x88\xa7" if is64 else b"\x76")
        self._to_bulk_mark = shift
        # A store that is going to trap can have any 64-bit address; it must not be marked outside of the map.
        index_max = (1 << 32 - RANGE_BITS) - 1
        self._to_store_mark = shift + b"\x41" + encode_signed(index_max) + b"\x71" if is64 else shift
        self._plus = lru_cache(maxsize=1024)(self._encode_plus)

    def before_store(self, temporaries: Temporaries, store: Store, offset: int) -> bytes:
        """Code in front of a store with that static offset. Stack: address and value, before and after."""
        value = temporaries.index(store.value, 1)
        address = temporaries.index(self.address)
        code = LOCAL_SET + value + LOCAL_TEE + address + self._plus(offset) + self._to_store_mark + MARK_ONE
        if store.width > 1:  # it may reach into the next range
            code += LOCAL_GET + address + self._plus(offset + store.width - 1) + self._to_store_mark + MARK_ONE
        return code + LOCAL_GET + address + LOCAL_GET + value

    def around_bulk(self, temporaries: Temporaries, operator: Bulk) -> tuple[bytes, bytes]:
        """Code in front of and after memory.fill, memory.copy or memory.init."""
        source_type = self.address if operator is Bulk.MEMORY_COPY else ValueType.I32
        length_type = ValueType.I32 if operator is Bulk.MEMORY_INIT else self.address
        target = temporaries.index(self.address)
        source = temporaries.index(source_type, 1)
        length = temporaries.index(length_type, 2)
        before = LOCAL_SET + length + LOCAL_SET + source + LOCAL_TEE + target
        before += LOCAL_GET + source + LOCAL_GET + length
        first = LOCAL_GET + target + self._to_bulk_mark
        wide_length = LOCAL_GET + length
        is_empty = b"\x45"
        if length_type is ValueType.I64:
            is_empty = b"\x50"
        elif self._is64:
            wide_length += b"\xad"  # i64.extend_i32_u
        last = LOCAL_GET + target + wide_length + self._add + self._plus(-1) + self._to_bulk_mark
        count = last + first + b"\x6b\x41\x01\x6a"  # last - first + 1
        after = LOCAL_GET + length + is_empty + b"\x45" + IF + first + b"\x41\x01" + count + MARK_MANY + END
        return before, after

    def _encode_plus(self, number: int) -> bytes:
        """Code that adds a number to the address on the stack, modulo the width of addresses."""
        if number == 0:
            return b""
        bits = 64 if self._is64 else 32
        wrapped = (number + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        return self._const + encode_signed(wrapped) + self._add
