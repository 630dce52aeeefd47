"""Granules that are written over and over: found without page faults, and as exactly as others."""

from __future__ import annotations

import resource
from collections.abc import Iterator

import pytest
from piecrust.vm import tracking, writes
from piecrust.vm.contents import PAGE_BYTES
from piecrust.vm.watched import WatchedRegion
from support.scratch import Pages, Scratch, host_functions, page

AT = 2 * PAGE_BYTES


@pytest.fixture
def hot() -> Iterator[Scratch]:
    """A contract that has written one granule in each of several calls."""
    before = tracking.active()
    try:
        tracking.select("userfaultfd")
    except OSError as error:
        pytest.skip(str(error))
    with host_functions():
        made = Scratch(Pages({2: page(2)}))
        for value in range(4):
            made.log.settle([made.memory])
            made.store(AT, value)
        assert AT // 4096 in hot_granules(made)
        yield made
        made.close()
    tracking.select(before)


def hot_granules(scratch: Scratch) -> set[int]:
    region = scratch.memory._region
    assert isinstance(region, WatchedRegion)
    return region._writes._hot


def page_faults() -> int:
    return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt


def test_cost_no_page_faults(hot: Scratch) -> None:
    hot.log.settle([hot.memory])
    before = page_faults()
    for value in range(100):
        hot.log.settle([hot.memory])
        hot.store(AT, value)
    assert page_faults() - before < 50


def test_are_undone(hot: Scratch) -> None:
    hot.log.settle([hot.memory])
    hot.store(AT, 77)
    hot.log.rollback(0, [hot.memory])
    assert hot.load(AT) == 3
    assert set(hot.memory.written()) == {1, 2}


def test_are_undone_to_each_mark(hot: Scratch) -> None:
    hot.log.settle([hot.memory])
    marks = []
    for value in range(10, 14):
        hot.store(AT, value)
        marks.append(hot.log.checkpoint([hot.memory]))
    hot.store(AT, 99)
    for value in (13, 12, 11, 10):
        hot.log.rollback(marks.pop(), [hot.memory])
        assert hot.load(AT) == value


def test_that_become_so_in_a_failed_frame_count_no_more(hot: Scratch) -> None:
    hot.log.settle([hot.memory])
    mark = hot.log.checkpoint([hot.memory])
    for value in range(5):
        hot.store(3 * PAGE_BYTES, value)
        hot.log.checkpoint([hot.memory])
    assert 48 in hot_granules(hot)
    hot.log.rollback(mark, [hot.memory])
    assert 48 not in hot_granules(hot)
    assert set(hot.memory.written()) == {1, 2}
    hot.store(3 * PAGE_BYTES, 0)
    assert set(hot.memory.written()) == {1, 2, 3}


def test_that_are_so_no_more_are_found_when_written_again(hot: Scratch) -> None:
    """Though a look reports exactly what it did when they were hot."""
    for again in range(3):
        hot.log.settle([hot.memory])
        mark = hot.log.checkpoint([hot.memory])
        for value in range(6):
            hot.store(3 * PAGE_BYTES, value)
            hot.store(AT, value)
            hot.log.checkpoint([hot.memory])
        hot.log.rollback(mark, [hot.memory])
        hot.store(AT, again)
        hot.store(3 * PAGE_BYTES, 0)
        assert set(hot.memory.written()) == {1, 2, 3}
        hot.log.rollback(mark, [hot.memory])


def test_after_a_rebase_others_are_found_though_a_look_reports_the_same(hot: Scratch) -> None:
    for value in range(4):
        hot.log.settle([hot.memory])
        hot.store(AT, value)
    hot.memory.rebase(Pages({1: hot.memory.page(1), 2: hot.memory.page(2)}))
    for _ in range(2):  # then it is hot, and was not written since
        hot.memory.write(3 * PAGE_BYTES, b"x")
        hot.log.settle([hot.memory])
    hot.store(AT, 9)
    assert set(hot.memory.written()) == {1, 2, 3}


def test_do_not_count_after_a_rebase(hot: Scratch) -> None:
    hot.memory.rebase(Pages({1: hot.memory.page(1), 2: hot.memory.page(2)}))
    assert hot.memory.written() == {}
    hot.log.settle([hot.memory])
    assert hot.load(AT) == 3
    assert set(hot.memory.written()) == {1}
    hot.store(AT, 3)
    assert set(hot.memory.written()) == {1, 2}


def test_beside_others_both_are_found(hot: Scratch) -> None:
    hot.log.settle([hot.memory])
    hot.memory.write(AT - 8192, b"x" * 16_384)
    assert hot.memory.written()[2] == 0b11
    assert hot.memory.written()[1] == 0b1100000000000001
    hot.log.rollback(0, [hot.memory])
    assert hot.memory.page(2)[8:] == page(2)[8:]
    assert hot.memory.written() == {1: 1, 2: 1}


def test_are_not_too_many(hot: Scratch) -> None:
    for _ in range(4):
        hot.log.settle([hot.memory])
        for granule in range(0, 4 * 16, 2):
            hot.store(granule * 4096, granule)
        hot.log.settle([hot.memory])
        for granule in range(1, 4 * 16, 2):
            hot.store(granule * 4096, granule)
    assert len(hot_granules(hot)) <= writes.HOT_MAX
    hot.log.settle([hot.memory])
    hot.store(AT, 5)
    hot.log.rollback(0, [hot.memory])
    assert hot.load(AT) == 32
    assert len(hot.memory.written()) == 4


def test_more_ranges_than_a_scan_reports_are_all_found(hot: Scratch) -> None:
    hot.call("grow", 400)
    hot.log.settle([hot.memory])
    for granule in range(64, 400 * 16, 3):
        hot.memory.write(granule * 4096, b"x")
    written = hot.memory.written()
    assert sum(mask.bit_count() for mask in written.values()) == 2 + len(range(64, 400 * 16, 3))
    hot.log.rollback(0, [hot.memory])
    assert set(hot.memory.written()) == {1, 2}
