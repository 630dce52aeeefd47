"""Checkpoints and rollbacks, against a model that copies everything."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from unittest.mock import patch

import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from piecrust.vm import memory, tracking, writes
from piecrust.vm.contents import GRANULE_BYTES, GRANULES, PAGE_BYTES
from piecrust.vm.errors import ContractTrap, EngineFailure
from support.scratch import ARGUMENT, Pages, Scratch, host_functions, page

HIGHEST = 1 << 32


class Model:
    """A memory as a dict of granules, and the granules written since the base."""

    def __init__(self, base: dict[int, bytes], length: int) -> None:
        self.granules: dict[int, bytes] = {}
        self.written: set[int] = set()
        self.length = length
        self.rebase(base)

    def rebase(self, base: dict[int, bytes]) -> None:
        for index, content in base.items():
            for n in range(GRANULES):
                self.granules[index * GRANULES + n] = content[n * GRANULE_BYTES : (n + 1) * GRANULE_BYTES]
        self.written = set()

    def read(self, at: int, length: int) -> bytes:
        first = at // GRANULE_BYTES
        data = b"".join(self.granule(g) for g in range(first, (at + length - 1) // GRANULE_BYTES + 1))
        return data[at - first * GRANULE_BYTES :][:length]

    def write(self, at: int, data: bytes) -> None:
        if not data:
            return
        for g in range(at // GRANULE_BYTES, (at + len(data) - 1) // GRANULE_BYTES + 1):
            start = g * GRANULE_BYTES
            here = bytearray(self.granule(g))
            low, high = max(at - start, 0), min(at + len(data) - start, GRANULE_BYTES)
            here[low:high] = data[start + low - at : start + high - at]
            self.granules[g] = bytes(here)
            self.written.add(g)

    def granule(self, index: int) -> bytes:
        return self.granules.get(index, bytes(GRANULE_BYTES))

    def page(self, index: int) -> bytes:
        return b"".join(self.granule(index * GRANULES + n) for n in range(GRANULES))

    def masks(self) -> dict[int, int]:
        masks: dict[int, int] = {}
        for g in self.written:
            masks[g // GRANULES] = masks.get(g // GRANULES, 0) | 1 << g % GRANULES
        return masks


class Pair:
    """The scratch contract and its model, told the same."""

    def __init__(self, base: dict[int, bytes]) -> None:
        self.scratch = Scratch(Pages(base))
        self.model = Model(base, self.scratch.memory.length)
        self.marks: list[int] = []
        self.saved: list[Model] = []
        self.hot = {self.scratch.memory}
        self.scratch.log.settle(self.hot)
        self.settled = copy.deepcopy(self.model)

    def store(self, at: int, value: int) -> None:
        self.model.write(ARGUMENT, at.to_bytes(8, "little") + value.to_bytes(8, "little"))
        self.model.write(at, value.to_bytes(8, "little"))
        self.scratch.store(at, value)

    def host_write(self, at: int, length: int, byte: int) -> None:
        data = bytes([byte]) * length
        self.model.write(at, data)
        self.scratch.memory.write(at, data)

    def load(self, at: int) -> None:
        self.model.write(ARGUMENT, at.to_bytes(8, "little"))
        self.model.write(ARGUMENT, self.model.read(at, 8))
        assert self.scratch.load(at) == int.from_bytes(self.model.read(ARGUMENT, 8), "little")

    def fill(self, at: int, length: int, byte: int) -> None:
        arguments = (at, length, byte)
        self.model.write(ARGUMENT, b"".join(n.to_bytes(8, "little") for n in arguments))
        # An instance from before an undone growth keeps the length that it knew, as in the original.
        if at + length <= self.model.length:
            self.model.write(at, bytes([byte]) * length)
            self.scratch.call("fill", *arguments)
        elif not self.scratch.memory.resized:
            with pytest.raises(ContractTrap):
                self.scratch.call("fill", *arguments)
        else:
            self.scratch.memory.write(ARGUMENT, b"".join(n.to_bytes(8, "little") for n in arguments))

    def grow(self, pages: int) -> None:
        if self.scratch.memory.resized:
            self.scratch.renew()
        self.model.write(ARGUMENT, pages.to_bytes(8, "little"))
        assert self.scratch.call("grow", pages) == self.model.length // PAGE_BYTES
        self.model.length += pages * PAGE_BYTES

    def checkpoint(self) -> None:
        self.marks.append(self.scratch.log.checkpoint(self.hot))
        self.saved.append(copy.deepcopy(self.model))

    def fail(self, levels: int) -> None:
        """The innermost `levels` frames fail."""
        levels = min(levels, len(self.marks))
        if levels:
            del self.marks[len(self.marks) - levels + 1 :], self.saved[len(self.saved) - levels + 1 :]
            self.scratch.log.rollback(self.marks.pop(), self.hot)
            self.model = self.saved.pop()

    def fail_all(self) -> None:
        self.scratch.log.rollback(0, self.hot)
        self.model = copy.deepcopy(self.settled)
        self.marks, self.saved = [], []

    def succeed(self, levels: int) -> None:
        """The innermost `levels` frames succeed: what they did can be undone only with their callers'."""
        levels = min(levels, len(self.marks))
        del self.marks[len(self.marks) - levels :], self.saved[len(self.saved) - levels :]

    def merge(self) -> None:
        """What was noted since the innermost frame that still runs began."""
        self.scratch.log.merge(self.marks[-1] if self.marks else 0)

    def settle(self) -> None:
        self.scratch.log.settle(self.hot)
        self.settled = copy.deepcopy(self.model)
        self.marks, self.saved = [], []

    def commit(self) -> None:
        base = {index: self.model.page(index) for index in {g // GRANULES for g in self.model.granules}}
        self.scratch.memory.rebase(Pages(base))
        self.model.rebase(base)
        self.settle()

    def renew(self) -> None:
        self.scratch.renew()

    def look(self) -> None:
        assert self.scratch.memory.written() == self.model.masks()

    def compare(self) -> None:
        made = self.scratch.memory
        assert made.written() == self.model.masks()
        assert made.length == self.model.length
        for index in {g // GRANULES for g in self.model.granules} | {0, 5, 9}:
            assert made.page(index) == self.model.page(index), f"page {index}"

    def close(self) -> None:
        self.scratch.close()


addresses = st.one_of(
    st.integers(0, 8 * PAGE_BYTES),
    st.sampled_from(
        [0, 8, 4090, PAGE_BYTES - 4, 3 * PAGE_BYTES, 20 * PAGE_BYTES, 300 * PAGE_BYTES, 1 << 31, HIGHEST - 8]
    ),
)
steps = st.one_of(
    st.tuples(st.just("store"), addresses, st.integers(0, 3)),
    st.tuples(st.just("store"), addresses, st.integers(0, 3)),
    st.tuples(st.just("load"), addresses),
    st.tuples(st.just("host_write"), addresses, st.integers(0, 8), st.integers(0, 255)),
    st.tuples(st.just("host_write"), st.integers(0, 4 * PAGE_BYTES), st.sampled_from([5000, 70_000]), st.just(120)),
    st.tuples(
        st.just("fill"), st.integers(0, 6 * PAGE_BYTES), st.sampled_from([0, 1, 9000, 70_000]), st.integers(0, 2)
    ),
    st.tuples(st.just("grow"), st.integers(0, 3)),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("fail"), st.integers(1, 3)),
    st.tuples(st.just("succeed"), st.integers(1, 3)),
    st.tuples(st.just("merge")),
    st.tuples(st.just("fail_all")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("commit")),
    st.tuples(st.just("renew")),
    st.tuples(st.just("look")),
)
bases = st.sampled_from([(), (0, 2), (0, 1, 2, 3, 20, 65_535), tuple(range(24)), (*range(20), 300)])


few_addresses = st.sampled_from([0, 2 * PAGE_BYTES])
few_steps = st.one_of(
    st.tuples(st.just("store"), few_addresses, st.integers(0, 2)),
    st.tuples(st.just("store"), few_addresses, st.integers(0, 2)),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("checkpoint")),
    st.tuples(st.just("fail"), st.integers(1, 3)),
    st.tuples(st.just("fail"), st.integers(1, 3)),
    st.tuples(st.just("succeed"), st.integers(1, 3)),
    st.tuples(st.just("merge")),
    st.tuples(st.just("settle")),
    st.tuples(st.just("commit")),
    st.tuples(st.just("look")),
)


def run(base: tuple[int, ...], program: list[tuple[object, ...]]) -> None:
    with host_functions():
        pair = Pair({index: page(index) for index in base})
        try:
            for name, *arguments in program:
                note(f"{name}{tuple(arguments)}")
                getattr(pair, str(name))(*arguments)
            pair.compare()
        finally:
            pair.close()


@pytest.mark.parametrize(
    ("bulk", "hot"), [(memory.BULK_GRANULES, writes.HOT_MAX), (memory.BULK_GRANULES, 2), (3, 3), (0, 1)]
)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=bases, program=st.lists(steps, min_size=1, max_size=25))
def test_memory_is_what_the_model_says(
    tracker: str, bulk: int, hot: int, base: tuple[int, ...], program: list[tuple[object, ...]]
) -> None:
    """`bulk` granules are much already, so that little is archived as much is; and few are kept as hot."""
    with (
        patch.object(memory, "BULK_GRANULES", bulk),
        patch.object(memory, "RESIDENT_GRANULES", bulk * 4),
        patch.object(memory, "PATIENCE_CALLS", 1 + bulk % 4),
        patch.object(writes, "HOT_MAX", hot),
    ):
        run(base, program)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(base=bases, program=st.lists(few_steps, min_size=10, max_size=60))
def test_memory_is_what_the_model_says_where_few_granules_are_written_over_and_over(
    tracker: str, base: tuple[int, ...], program: list[tuple[object, ...]]
) -> None:
    run(base, program)


@pytest.fixture
def two(tracker: str) -> Iterator[tuple[Scratch, Scratch]]:
    """Two contracts of one session."""
    with host_functions():
        first, second = Scratch(), Scratch()
        second.memory.log = second.log = first.log
        yield first, second
        first.close()
        second.close()


def test_what_was_in_use_for_a_while_is_given_up_after_some_calls(two: tuple[Scratch, Scratch], tracker: str) -> None:
    scratch, _ = two
    log, region = scratch.log, scratch.memory._region
    with patch.object(memory, "RESIDENT_GRANULES", 1):
        scratch.memory._patience = 5
        for count in range(8):
            scratch.store(count << 12, count)
            log.settle([scratch.memory])
            in_use = region.resident_granules(len(scratch.memory._contents.shadow))
            if tracker == "userfaultfd":
                assert (in_use == 0) == (count == 4)
    assert [scratch.load(count << 12) for count in range(8)] == list(range(8))


def test_a_rollback_reaches_every_memory_that_ran(two: tuple[Scratch, Scratch]) -> None:
    caller, callee = two
    log = caller.log
    log.settle([caller.memory, callee.memory])
    caller.store(0, 1)
    mark = log.checkpoint([caller.memory])
    callee.store(0, 2)
    inner = log.checkpoint([callee.memory])
    caller.store(0, 3)
    caller.store(8, 4)
    assert inner > mark
    log.rollback(mark, [caller.memory])
    assert (caller.load(0), caller.load(8), callee.load(0)) == (1, 0, 0)
    log.rollback(0, [caller.memory, callee.memory])
    assert (caller.load(0), callee.load(0)) == (0, 0)


def test_what_succeeded_inside_a_failed_frame_is_undone(two: tuple[Scratch, Scratch]) -> None:
    caller, callee = two
    log = caller.log
    log.settle([caller.memory, callee.memory])
    mark = log.checkpoint([caller.memory])
    callee.store(0, 1)
    log.checkpoint([callee.memory])
    callee.store(0, 2)
    log.checkpoint([callee.memory])
    callee.call("grow", 1)
    log.rollback(mark, [callee.memory])
    assert callee.memory.written() == {}
    assert callee.memory.length == 4 * PAGE_BYTES


def test_growth_that_was_undone_retires_the_instance(scratch: Scratch) -> None:
    scratch.log.settle([scratch.memory])
    scratch.call("grow", 2)
    scratch.log.rollback(0, [scratch.memory])
    assert scratch.memory.length == 4 * PAGE_BYTES
    assert not scratch.instance.reset()
    scratch.renew()
    assert scratch.call("size") == 4
    assert scratch.instance.reset()


def test_pages_of_a_failed_call_are_gone_even_if_unchanged(scratch: Scratch) -> None:
    scratch.log.settle([scratch.memory])
    scratch.store(3 * PAGE_BYTES, 0)
    scratch.log.rollback(0, [scratch.memory])
    assert scratch.memory.written() == {}


def test_looking_at_what_was_written_loses_nothing(scratch: Scratch) -> None:
    scratch.log.settle([scratch.memory])
    scratch.store(0, 5)
    assert 0 in scratch.memory.written()
    scratch.log.rollback(0, [scratch.memory])
    assert scratch.load(0) == 0


def test_a_large_write_is_undone(scratch: Scratch) -> None:
    scratch.call("grow", 60)
    scratch.log.settle([scratch.memory])
    scratch.store(2 * PAGE_BYTES, 7)
    mark = scratch.log.checkpoint([scratch.memory])
    scratch.call("fill", 2 * PAGE_BYTES, 60 * PAGE_BYTES, 9)
    scratch.log.rollback(mark, [scratch.memory])
    assert scratch.load(2 * PAGE_BYTES) == 7
    assert scratch.memory.read(2 * PAGE_BYTES + 8, 60 * PAGE_BYTES - 8) == bytes(60 * PAGE_BYTES - 8)
    assert set(scratch.memory.written()) == {1, 2}


def test_both_trackers_are_tried() -> None:
    assert tracking.NAMES == ("userfaultfd", "compiled")


class TestInterrupts:
    """Ctrl-C may come between finding what was written and remembering it, or in the middle of undoing it."""

    @pytest.fixture
    def interrupted(self, scratch: Scratch, monkeypatch: pytest.MonkeyPatch) -> Scratch:
        scratch.log.settle([scratch.memory])
        scratch.store(0, 1)
        region = type(scratch.memory._region)
        for name in ("scan", "look"):
            monkeypatch.setattr(region, name, self.interrupt_after(getattr(region, name), monkeypatch))
        return scratch

    def interrupt_after(self, step: Callable[[object], object], monkeypatch: pytest.MonkeyPatch) -> object:
        def interrupt(region: object) -> object:
            step(region)
            monkeypatch.undo()
            raise KeyboardInterrupt

        return interrupt

    @pytest.mark.parametrize("step", ["settle", "checkpoint", "rollback", "written"])
    def test_shut_the_memory(self, interrupted: Scratch, step: str) -> None:
        log, made = interrupted.log, interrupted.memory
        steps = {
            "settle": lambda: log.settle([made]),
            "checkpoint": lambda: log.checkpoint([made]),
            "rollback": lambda: log.rollback(0, [made]),
            "written": made.written,
        }
        with pytest.raises(KeyboardInterrupt):
            steps[step]()
        for access in (made.written, lambda: made.page(0), lambda: interrupted.instance.call("size", 0)):
            with pytest.raises(EngineFailure, match="interrupted") as caught:
                access()
            assert isinstance(caught.value.__cause__, KeyboardInterrupt)
