from __future__ import annotations

import gc
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from piecrust.vm import memory
from piecrust.vm.contents import PAGE_BYTES
from piecrust.vm.errors import AddressSpaceExhausted, ContractTrap
from piecrust.vm.memory import LIMITS, Memory
from support.scratch import Pages, Scratch, host_functions, page

LAST_WORD = (1 << 32) - 8


def mappings() -> int:
    return len(Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.usefixtures("tracker")
class TestMemory:
    def test_is_zeros_where_nothing_was_written(self) -> None:
        memory = Memory(32, 2 * PAGE_BYTES)
        assert memory.read(0, 100) == bytes(100)
        assert memory.read(LIMITS[32] - 10, 10) == bytes(10)
        assert memory.page(1) == bytes(PAGE_BYTES)
        assert memory.written() == {}
        assert memory.clean
        memory.close()

    def test_gives_back_what_the_host_wrote(self) -> None:
        memory = Memory(32, 2 * PAGE_BYTES)
        memory.write(PAGE_BYTES - 2, b"abcd")
        assert memory.read(PAGE_BYTES - 3, 6) == b"\0abcd\0"
        assert memory.written() == {0: 1 << 15, 1: 1}
        memory.close()

    def test_an_empty_write_counts_as_none(self) -> None:
        memory = Memory(32, PAGE_BYTES)
        memory.write(5, b"")
        memory.write(LIMITS[32], b"")
        assert memory.read(LIMITS[32], 0) == b""
        assert memory.written() == {}
        memory.close()

    def test_zeros_written_over_zeros_count(self) -> None:
        memory = Memory(32, PAGE_BYTES)
        memory.write(4096, bytes(8))
        assert memory.written() == {0: 2}
        memory.close()

    def test_the_host_may_write_anywhere_below_the_limit(self) -> None:
        memory = Memory(32, PAGE_BYTES)
        memory.write(LIMITS[32] - 1, b"x")
        memory.write(PAGE_BYTES * 9, b"y")
        assert memory.read(LIMITS[32] - 3, 3) == b"\0\0x"
        assert memory.written() == {9: 1, 65535: 1 << 15}
        memory.close()

    def test_a_64_bit_memory_reaches_4_tib(self) -> None:
        memory = Memory(64, PAGE_BYTES)
        memory.write(LIMITS[64] - 1, b"x")
        assert memory.read(LIMITS[64] - 3, 3) == b"\0\0x"
        assert memory.written() == {(1 << 26) - 1: 1 << 15}
        memory.write((1 << 32) - 1, b"xx")
        assert memory.written() == {(1 << 26) - 1: 1 << 15, (1 << 16) - 1: 1 << 15, 1 << 16: 1}
        memory.close()

    def test_written_may_be_asked_again(self) -> None:
        memory = Memory(32, PAGE_BYTES)
        memory.write(0, b"x")
        assert memory.written() == memory.written() == {0: 1}
        memory.write(4096 * 3, b"x")
        assert memory.written() == {0: 0b1001}
        memory.close()

    def test_after_a_rebase_nothing_is_written(self) -> None:
        memory = Memory(32, PAGE_BYTES)
        memory.write(0, b"x")
        memory.rebase(Pages({0: b"x" + bytes(PAGE_BYTES - 1)}))
        assert memory.clean
        assert memory.read(0, 2) == b"x\0"
        memory.close()

    def test_a_closed_memory_is_not_read_or_written(self) -> None:
        memory = Memory(32, PAGE_BYTES)
        memory.write(0, b"x")
        memory.close()
        for access in (
            lambda: memory.read(0, 1),
            lambda: memory.write(0, b"y"),
            lambda: memory.page(0),
            memory.written,
            memory.settle,
            memory.remember,
        ):
            with pytest.raises(RuntimeError, match="closed"):
                access()

    def test_closing_twice_is_closing_once(self) -> None:
        memory = Memory(32, PAGE_BYTES)
        memory.close()
        memory.close()

    def test_gives_its_address_space_back(self) -> None:
        def use() -> None:
            memory = Memory(32, 3 * PAGE_BYTES, Pages({1: page(1)}))
            memory.write(LIMITS[32] - 1, b"x")
            memory.grow(5 * PAGE_BYTES)
            memory.write(4 * PAGE_BYTES, b"x")

        use()
        before = mappings()
        for _ in range(200):
            use()
        gc.collect()
        assert mappings() <= before + 2

    @pytest.mark.parametrize("count", [3, 40])
    def test_reads_the_pages_of_the_base(self, count: int) -> None:
        base = Pages({index: page(index) for index in range(count)} | {100: page(100)})
        memory = Memory(32, 50 * PAGE_BYTES, base)
        assert memory.page(2) == page(2)
        assert memory.page(60) == bytes(PAGE_BYTES)
        assert memory.page(100) == page(100), "a page beyond the length"
        assert memory.clean
        memory.write(PAGE_BYTES, b"!")
        assert memory.page(1) == b"!" + page(1)[1:]
        assert memory.written() == {1: 1}
        memory.close()


@pytest.mark.usefixtures("tracker")
@pytest.mark.parametrize("is64", [False, True])
class TestContractMemory:
    @pytest.fixture(autouse=True)
    def made(self, tracker: str, is64: bool) -> object:
        with host_functions():
            self.scratch = Scratch(is64=is64)
            yield
            self.scratch.close()

    def marks(self) -> dict[int, int]:
        """The pages written, but for the one with the arguments."""
        return {index: mask for index, mask in self.scratch.memory.written().items() if index != 1}

    def test_stores_are_seen_by_the_host(self) -> None:
        self.scratch.store(3 * PAGE_BYTES + 4096, 0x0102)
        assert self.scratch.memory.read(3 * PAGE_BYTES + 4096, 2) == b"\2\1"
        assert self.marks() == {3: 2}

    def test_a_store_across_granules_counts_for_both(self) -> None:
        self.scratch.store(3 * PAGE_BYTES - 4, 7)
        assert self.marks() == {2: 1 << 15, 3: 1}

    def test_a_store_of_the_value_that_was_there_counts(self) -> None:
        self.scratch.store(0, 0)
        assert self.marks() == {0: 1}

    def test_loads_do_not_count(self) -> None:
        self.scratch.load(8)
        self.scratch.load(3 * PAGE_BYTES)
        self.scratch.load(1 << 30)
        assert self.marks() == {}

    def test_stores_beyond_the_length_succeed(self) -> None:
        self.scratch.store(LAST_WORD, 5)
        self.scratch.store(77 * PAGE_BYTES, 6)
        assert self.scratch.load(LAST_WORD) == 5
        assert self.scratch.memory.read(77 * PAGE_BYTES, 1) == b"\6"
        assert self.marks() == {77: 1, 65535: 1 << 15}

    def test_growth_shows_what_was_there(self) -> None:
        self.scratch.store(6 * PAGE_BYTES, 9)
        assert self.scratch.call("grow", 4) == 4
        assert self.scratch.memory.length == 8 * PAGE_BYTES
        assert self.scratch.load(6 * PAGE_BYTES) == 9
        assert self.scratch.load(5 * PAGE_BYTES) == 0
        self.scratch.store(7 * PAGE_BYTES, 1)
        assert self.marks() == {6: 1, 7: 1}

    def test_growth_ends_at_the_limit(self) -> None:
        most = LIMITS[self.scratch.memory.kind] // PAGE_BYTES
        assert self.scratch.call("grow", most) == 0xFFFFFFFF
        assert self.scratch.call("grow", most - 4) == 4
        assert self.scratch.memory.length == LIMITS[self.scratch.memory.kind]
        assert self.scratch.call("grow", 1) == 0xFFFFFFFF
        assert self.scratch.call("size") == most & 0xFFFFFFFF

    def test_bulk_operators_end_at_the_length(self) -> None:
        with pytest.raises(ContractTrap, match="out of bounds"):
            self.scratch.call("fill", 4 * PAGE_BYTES - 1, 2, 1)
        self.scratch.call("fill", 4 * PAGE_BYTES, 0, 1)
        assert self.marks() == {}
        self.scratch.call("fill", 4 * PAGE_BYTES - 4097, 4097, 1)
        assert self.marks() == {3: 3 << 14}

    def test_a_copy_counts_where_it_goes(self) -> None:
        self.scratch.memory.write(0, page(1))
        self.scratch.memory.rebase(Pages({0: page(1)}))
        self.scratch.call("copy", 2 * PAGE_BYTES + 4096, 0, 4096)
        assert self.marks() == {2: 2}
        assert self.scratch.memory.read(2 * PAGE_BYTES + 4096, 4096) == page(1)[:4096]

    def test_a_fresh_instance_finds_memory_as_it_was(self) -> None:
        self.scratch.store(8, 9)
        self.scratch.call("grow", 2)
        self.scratch.renew()
        assert self.scratch.load(8) == 9
        assert self.scratch.call("size") == 6


@pytest.mark.usefixtures("tracker")
class TestBeyond4GiB:
    @pytest.fixture(autouse=True)
    def made(self, tracker: str) -> object:
        with host_functions():
            self.scratch = Scratch(is64=True)
            yield
            self.scratch.close()

    def test_loads_and_stores_trap(self) -> None:
        self.scratch.call("grow", 70_000)
        for function in ("store", "load"):
            with pytest.raises(ContractTrap, match="out of bounds memory access"):
                self.scratch.call(function, 1 << 32, 1)

    def test_bulk_operators_reach_the_length(self) -> None:
        self.scratch.call("grow", 70_000)
        self.scratch.call("fill", 69_000 * PAGE_BYTES, 5000, 7)
        assert self.scratch.memory.read(69_000 * PAGE_BYTES, 5001) == b"\7" * 5000 + b"\0"
        self.scratch.call("copy", 0, 69_000 * PAGE_BYTES, 8)
        assert self.scratch.load(0) == 0x0707070707070707
        assert self.scratch.memory.written() == {0: 1, 1: 1, 69_000: 3}


class TestManyWideMemories:
    @pytest.fixture(autouse=True)
    def none_left(self, tracker: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        """All the address space for 64-bit memories is taken."""
        left = threading.BoundedSemaphore(1)
        left.acquire()
        monkeypatch.setattr(memory, "_wide_left", left)
        with host_functions():
            yield

    def test_further_ones_work_up_to_4_gib(self) -> None:
        scratch = Scratch(is64=True)
        scratch.store((1 << 32) - 8, 5)
        assert scratch.load((1 << 32) - 8) == 5
        assert scratch.call("grow", 65_532) == 4
        scratch.call("fill", (1 << 32) - 100, 100, 1)
        scratch.close()

    def test_growing_further_is_a_typed_error(self) -> None:
        scratch = Scratch(is64=True)
        with pytest.raises(AddressSpaceExhausted):
            scratch.call("grow", 65_533)
        for access in (lambda: scratch.memory.read(1 << 32, 1), lambda: scratch.memory.write(1 << 32, b"x")):
            with pytest.raises(AddressSpaceExhausted):
                access()
        assert scratch.memory.length == 4 * PAGE_BYTES
        assert scratch.load(8) == 0
        scratch.close()


def test_the_width_of_a_closed_memory_is_free_again(tracker: str) -> None:
    for _ in range(3 * memory.WIDE_MEMORIES_MAX):
        made = Memory(64, PAGE_BYTES)
        made.write(1 << 40, b"x")
        made.close()
        made.close()


def test_hundreds_of_64_bit_memories_are_open_at_once(tracker: str) -> None:
    made = [Memory(64, PAGE_BYTES) for _ in range(300)]
    for number, each in enumerate(made):
        each.write(number, b"x")
    for number, each in enumerate(made):
        assert each.read(number, 2) == b"x\0"
        each.close()


def test_a_32_bit_store_at_the_end_of_the_range_traps(tracker: str) -> None:
    with host_functions():
        scratch = Scratch()
        with pytest.raises(ContractTrap, match="out of bounds memory access"):
            scratch.store(LAST_WORD + 1, 1)
        scratch.close()


@pytest.mark.usefixtures("tracker")
class TestUndoThatFails:
    """A base whose pages cannot be had again when they are needed to undo something."""

    @pytest.fixture
    def damaged(self) -> Iterator[Scratch]:
        base = Pages({2: page(2)})
        with host_functions():
            scratch = Scratch(base)
            scratch.log.settle([scratch.memory])
            scratch.store(2 * PAGE_BYTES, 1)
            base.page = lambda index: [][index]  # type: ignore[method-assign]
            with pytest.raises(IndexError):
                scratch.log.rollback(0, [scratch.memory])
            yield scratch
            scratch.close()

    def test_shuts_the_memory(self, damaged: Scratch) -> None:
        with pytest.raises(IndexError):
            damaged.memory.written()
        with pytest.raises(IndexError):
            damaged.memory.page(0)
        with pytest.raises(IndexError):
            damaged.instance.call("size", 0)

    def test_is_met_by_revert_too(self) -> None:
        base = Pages({2: page(2)})
        with host_functions():
            scratch = Scratch(base)
            scratch.store(2 * PAGE_BYTES, 1)
            base.page = lambda index: [][index]  # type: ignore[method-assign]
            with pytest.raises(IndexError):
                scratch.memory.revert()
            assert isinstance(scratch.memory.failure, IndexError)
            scratch.close()


@pytest.mark.usefixtures("tracker")
class TestRevert:
    def test_makes_a_memory_what_its_base_has(self) -> None:
        with host_functions():
            scratch = Scratch(Pages({2: page(2)}))
            for value in range(3):
                scratch.log.settle([scratch.memory])
                scratch.store(2 * PAGE_BYTES, value)
                scratch.store(3 * PAGE_BYTES, value)
                scratch.store(1 << 31, value)
            assert scratch.memory.revert()
            assert scratch.memory.clean
            assert scratch.memory.page(2) == page(2)
            assert scratch.memory.page(3) == scratch.memory.page(1 << 15) == bytes(PAGE_BYTES)
            scratch.store(3 * PAGE_BYTES, 0)
            assert set(scratch.memory.written()) == {1, 3}
            scratch.close()

    def test_is_not_done_where_a_fresh_memory_is_cheaper(self) -> None:
        with host_functions():
            scratch = Scratch(pages=9)
            assert scratch.memory.revert()
            scratch.call("fill", 3 * PAGE_BYTES, 5 * PAGE_BYTES, 1)
            assert not scratch.memory.revert()
            assert set(scratch.memory.written()) == {1, 3, 4, 5, 6, 7}
            scratch.close()

    def test_is_not_done_where_the_memory_grew(self) -> None:
        with host_functions():
            scratch = Scratch()
            scratch.call("grow", 1)
            assert not scratch.memory.revert()
            assert scratch.memory.length == 5 * PAGE_BYTES
            scratch.close()
