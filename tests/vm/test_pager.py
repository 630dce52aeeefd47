"""Pages that come when they are touched."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator

import pytest
from piecrust.vm import pager, tracking
from piecrust.vm.contents import PAGE_BYTES
from piecrust.vm.instance import Instance
from piecrust.vm.memory import Memory
from support.scratch import Pages, Scratch, host_functions, page

PAGES = 100


@pytest.fixture(autouse=True)
def watched() -> Iterator[None]:
    before = tracking.active()
    try:
        tracking.select("userfaultfd")
    except OSError as error:
        pytest.skip(str(error))
    with host_functions():
        yield
    tracking.select(before)


class Large(Scratch):
    """The scratch contract over a memory with many pages in the base."""

    def __init__(self, base: Pages) -> None:
        super().__init__()
        self.instance.close()
        self.memory.close()
        self.memory = Memory(32, PAGES * PAGE_BYTES, base)
        self.memory.log = self.log
        self.instance = Instance(self.code, self.memory)


@pytest.fixture
def base() -> Pages:
    return Pages({index: page(index) for index in range(PAGES)})


@pytest.fixture
def large(base: Pages) -> Iterator[Large]:
    made = Large(base)
    yield made
    made.close()


def test_only_touched_pages_are_read(large: Large, base: Pages) -> None:
    assert large.load(50 * PAGE_BYTES + 8) == int.from_bytes(page(50)[8:16], "little")
    assert set(base.read) == {1, 50}
    large.memory.read(70 * PAGE_BYTES - 1, 2)
    assert set(base.read) == {1, 50, 69, 70}
    assert set(large.memory.written()) == {1}


def test_a_page_is_read_once(large: Large, base: Pages) -> None:
    for _ in range(3):
        large.load(50 * PAGE_BYTES)
        large.store(51 * PAGE_BYTES, 1)
        large.memory.page(50)
    assert sorted(base.read) == [1, 50, 51]


def test_pages_without_content_are_zeros_and_do_not_count(large: Large, base: Pages) -> None:
    del base.pages[50]
    assert large.load(50 * PAGE_BYTES) == 0
    assert set(large.memory.written()) == {1}
    large.store(50 * PAGE_BYTES, 0)
    assert set(large.memory.written()) == {1, 50}


def test_growth_does_not_ask_the_pager(large: Large) -> None:
    large.call("grow", 10)
    before = pager.faults
    for index in range(10):
        large.store((PAGES + index) * PAGE_BYTES, 7)
    assert pager.faults == before
    assert large.load((PAGES + 5) * PAGE_BYTES) == 7


def test_bulk_operators_bring_pages(large: Large) -> None:
    large.call("copy", 10 * PAGE_BYTES, 20 * PAGE_BYTES + 100, 3 * PAGE_BYTES)
    expected = (page(20) + page(21) + page(22) + page(23))[100 : 100 + 3 * PAGE_BYTES]
    assert large.memory.read(10 * PAGE_BYTES, 3 * PAGE_BYTES) == expected


def test_a_page_comes_with_what_was_undone_taken_back(large: Large) -> None:
    large.log.settle([large.memory])
    large.store(30 * PAGE_BYTES, 5)
    large.log.rollback(0, [large.memory])
    assert large.memory.page(30) == page(30)
    assert large.memory.written() == {}


def test_threads_are_served_while_one_holds_the_interpreter(base: Pages) -> None:
    """The pager needs the GIL while others compute; contracts that wait for a page do not hold it."""
    stop = threading.Event()
    busy = threading.Thread(target=lambda: [None for _ in iter(stop.is_set, True)])
    busy.start()
    results: list[bool] = []

    def work() -> None:
        made = Large(Pages(base.pages))
        for index in range(2, 60):
            made.store(index * PAGE_BYTES, index)
        results.append(all(made.load(index * PAGE_BYTES) == index for index in range(2, 60)))
        made.close()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(0.0005)
    try:
        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        busy.join()
    assert results == [True] * 3


class Unreadable(Pages):
    """A base whose page 40 cannot be had."""

    def page(self, index: int) -> bytes | None:
        if index == 40:
            raise OSError(5, "Input/output error")
        return super().page(index)


class TestFailure:
    @pytest.fixture
    def damaged(self, base: Pages) -> Iterator[Large]:
        made = Large(Unreadable(base.pages))
        yield made
        made.close()

    @pytest.mark.parametrize("function", ["load", "store"])
    def test_of_a_page_ends_the_call_with_its_reason(self, damaged: Large, function: str) -> None:
        with pytest.raises(OSError, match="Input/output error"):
            damaged.call(function, 40 * PAGE_BYTES, 0)

    def test_in_a_bulk_operator_ends_the_call_with_its_reason(self, damaged: Large) -> None:
        with pytest.raises(OSError, match="Input/output error"):
            damaged.call("copy", 0, 39 * PAGE_BYTES, 2 * PAGE_BYTES)

    def test_is_met_by_the_host_too(self, damaged: Large) -> None:
        with pytest.raises(OSError, match="Input/output error"):
            damaged.memory.read(40 * PAGE_BYTES, 1)
        assert damaged.memory.failure is None, "nothing was computed from it"
        assert damaged.load(41 * PAGE_BYTES) == int.from_bytes(page(41)[:8], "little")

    def test_shuts_the_memory(self, damaged: Large) -> None:
        """Nothing that was computed from zeros in the place of a page must get into a commit."""
        with pytest.raises(OSError, match="Input/output error"):
            damaged.load(40 * PAGE_BYTES)
        damaged.log.rollback(0, [damaged.memory])
        for access in (lambda: damaged.memory.read(0, 1), lambda: damaged.memory.page(0), damaged.memory.written):
            with pytest.raises(OSError, match="Input/output error"):
                access()

    def test_keeps_host_functions_from_acting_on_what_was_computed(self, damaged: Large) -> None:
        """A contract that read zeros for the page goes on; its next host call finds out."""
        seen: list[bytes] = []
        with host_functions(hq=lambda *_: seen.append(damaged.memory.read(8, 4))):
            damaged.renew()
            damaged.memory.write(65_536, (40 * PAGE_BYTES).to_bytes(8, "little"))
            damaged.instance.set_gas(1 << 40)
            with pytest.raises(OSError, match="Input/output error"):
                damaged.instance.call("load_and_ask", 8)
        assert seen == []


def test_the_pager_does_not_keep_the_process() -> None:
    assert all(thread.daemon for thread in threading.enumerate() if thread.name == "piecrust-pager")
