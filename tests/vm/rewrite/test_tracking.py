"""The compiled write tracker, against a plain model of what is written."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.vm.rewrite import rewrite, tracking
from piecrust.vm.rewrite.decode import decode
from support.metered import RANGE_BYTES, Run, State, compiled

GIB = 1 << 30
STORES = {
    "i32.store": (4, "i32"), "i32.store8": (1, "i32"), "i32.store16": (2, "i32"), "f32.store": (4, "f32"),
    "i64.store": (8, "i64"), "i64.store8": (1, "i64"), "i64.store16": (2, "i64"), "i64.store32": (4, "i64"),
    "f64.store": (8, "f64"), "v128.store": (16, "v128"), "v128.store8_lane": (1, "v128"),
    "v128.store16_lane": (2, "v128"), "v128.store32_lane": (4, "v128"), "v128.store64_lane": (8, "v128"),
}  # fmt: skip
VALUES = {
    "i32": "(i32.const -1)", "i64": "(i64.const -1)", "f32": "(f32.const -1)", "f64": "(f64.const -1)",
    "v128": "(v128.const i64x2 -1 -1)",
}  # fmt: skip
OFFSETS = (0, 1, 4095, 0xF000, 0x7FFF_FFF9, 0xFFFF_FFFF)


def contract(*, is64: bool, pages: int) -> bytes:
    """Functions that store at an address with a static offset, and the three bulk operators."""
    address = "i64" if is64 else "i32"
    functions = []
    for (operator, (_, value)), offset in itertools.product(STORES.items(), OFFSETS):
        lane = "0" if "lane" in operator else ""
        functions.append(
            f'(func (export "{operator} {offset}") (param {address}) '
            f"({operator} offset={offset} {lane} (local.get 0) {VALUES[value]}))"
        )
    init_length = "(i32.wrap_i64 (local.get 1))" if is64 else "(local.get 1)"
    bulk = f"(param {address} {address}) "
    functions += [
        f'(func (export "memory.fill") {bulk} (memory.fill (local.get 0) (i32.const 1) (local.get 1)))',
        f'(func (export "memory.copy") {bulk} (memory.copy (local.get 0) ({address}.const 0) (local.get 1)))',
        f'(func (export "memory.init") {bulk} (memory.init $d (local.get 0) (i32.const 0) {init_length}))',
    ]
    data = f'(data $d "{"x" * 9000}")'
    memory = f'(memory (export "memory") {"i64" if is64 else ""} {pages})'
    return bytes(wasmtime.wat2wasm(f"(module {memory} {data} {' '.join(functions)})"))


Instances = Callable[..., contextlib.AbstractContextManager[Run]]


@pytest.fixture(scope="module")
def instance() -> Iterator[Instances]:
    """Makes instances of the contract; machine code is made once for each kind of memory."""
    modules = {}
    for is64, pages in ((False, 65536), (False, 2), (True, 2), (True, 65536 + 16)):
        rewritten = rewrite(contract(is64=is64, pages=pages), track_writes=True)
        modules[is64, pages] = rewritten, compiled(rewritten)

    @contextlib.contextmanager
    def make(*, is64: bool, pages: int) -> Iterator[Run]:
        with contextlib.closing(Run(*modules[is64, pages], State(pages), 1 << 62)) as run:
            yield run

    yield make
    modules.clear()


def ranges(start: int, length: int) -> set[int]:
    """The ranges of 4 KiB that some bytes lie in."""
    return set(range(start // RANGE_BYTES, (start + length - 1) // RANGE_BYTES + 1)) if length else set()


def addresses(end: int) -> st.SearchStrategy[int]:
    """Anywhere below `end`, mostly close to where two ranges meet, or to the end."""
    near = st.builds(
        lambda index, distance: index * RANGE_BYTES + distance, st.integers(1, end // RANGE_BYTES), st.integers(-17, 17)
    )
    return st.one_of(near, st.integers(0, end - 1), st.integers(end - 20, end - 1)).map(lambda address: address % end)


stores = st.tuples(st.sampled_from(sorted(STORES)), st.sampled_from(OFFSETS), addresses(4 * GIB))
bulks = st.tuples(
    st.sampled_from(["memory.fill", "memory.copy", "memory.init"]),
    st.one_of(st.integers(0, 9000), st.sampled_from([0, 1, 4095, 4096, 4097, 8192])),
    addresses(4 * GIB),
)


@settings(max_examples=80, deadline=None)
@given(
    kind=st.sampled_from([(False, 65536), (False, 2), (True, 2)]),
    writes=st.lists(st.one_of(stores, stores, bulks), min_size=5, max_size=30),
)
def test_exactly_what_was_written_is_marked(
    instance: Instances, kind: tuple[bool, int], writes: list[tuple[str, int, int]]
) -> None:
    is64, pages = kind
    end = pages * 65536
    with instance(is64=is64, pages=pages) as run:
        expected: set[int] = set()
        for operator, number, address in writes:
            if pages == 2:
                address %= 0x24000
            if operator in STORES:
                start, length, arguments = address + number, STORES[operator][0], (address,)
                function = f"{operator} {number}"
            else:
                start, length, arguments = address, number, (address, number)
                function = operator
            if start + length <= end:
                run.exports[function](run.store, *(signed(argument, is64=is64) for argument in arguments))
                expected |= ranges(start, length)
            else:
                before = set(run.dirty_ranges())
                with pytest.raises(wasmtime.Trap, match="out of bounds memory access"):
                    run.exports[function](run.store, *(signed(argument, is64=is64) for argument in arguments))
                forget(run, set(run.dirty_ranges()) - before)  # the host rolls the call back
            assert set(run.dirty_ranges()) == expected


def signed(number: int, *, is64: bool) -> int:
    bits = 64 if is64 else 32
    return number - (1 << bits) if number >> bits - 1 else number


def forget(run: Run, indices: set[int]) -> None:
    dirty_map = run.exports[run.facts.dirty_map_export]
    for index in indices:
        dirty_map.write(run.store, b"\0", index)


@pytest.mark.parametrize("is64", [False, True])
def test_a_store_marks_the_next_range_only_if_it_reaches_it(instance: Instances, *, is64: bool) -> None:
    with instance(is64=is64, pages=2) as run:
        for operator, (width, _) in STORES.items():
            for offset, address, expected in (
                (0, 8192 - width, {1}),
                (0, 8192 - width + 1, {1, 2} if width > 1 else {2}),
                (4095, 4097 - width, {1}),
                (4095, 4098 - width, {1, 2} if width > 1 else {2}),
                (0xF000, 4096, {16}),
            ):
                run.clear_marks()
                run.exports[f"{operator} {offset}"](run.store, address)
                assert set(run.dirty_ranges()) == expected, (operator, offset, address)


@pytest.mark.parametrize("operator", ["memory.fill", "memory.copy", "memory.init"])
@pytest.mark.parametrize(
    ("address", "length"), [(8192, 0), (131072, 0), (8192, 1), (4095, 2), (4096, 4096), (4095, 4098)]
)
@pytest.mark.parametrize("is64", [False, True])
def test_a_bulk_operator_marks_its_range(
    instance: Instances, operator: str, address: int, length: int, *, is64: bool
) -> None:
    with instance(is64=is64, pages=2) as run:
        run.exports[operator](run.store, address, length)
        assert set(run.dirty_ranges()) == ranges(address, length)


@pytest.mark.parametrize("operator", ["memory.fill", "memory.copy"])
@pytest.mark.parametrize(
    ("address", "length"), [(131072, 1), (131073, 0), (8192, 0xFFFF_FFFF), (0xFFFF_FFFF, 0xFFFF_FFFF)]
)
@pytest.mark.parametrize("is64", [False, True])
def test_a_bulk_operator_that_traps_marks_nothing(
    instance: Instances, operator: str, address: int, length: int, *, is64: bool
) -> None:
    with instance(is64=is64, pages=2) as run:
        with pytest.raises(wasmtime.Trap, match="out of bounds memory access"):
            run.exports[operator](run.store, signed(address, is64=is64), signed(length, is64=is64))
        assert run.dirty_ranges() == []


def test_a_large_memory_is_marked_beyond_four_gibibytes(instance: Instances) -> None:
    with instance(is64=True, pages=65536 + 16) as run:
        start = 4 * GIB - 5000
        run.exports["memory.fill"](run.store, start, 10_000)
        run.exports["memory.init"](run.store, 4 * GIB + 70_000, 5)
        run.exports["memory.copy"](run.store, 4 * GIB + 100_000, 5)
        expected = ranges(start, 10_000) | ranges(4 * GIB + 70_000, 5) | ranges(4 * GIB + 100_000, 5)
        assert set(run.dirty_ranges()) == expected


@pytest.mark.parametrize("address", [1 << 42, (1 << 42) + 4096, 1 << 63, (1 << 64) - 1, (1 << 64) - 8])
@pytest.mark.parametrize("operator", ["i32.store8", "i64.store", "v128.store"])
def test_no_address_leads_out_of_the_map(instance: Instances, operator: str, address: int) -> None:
    """A mark is set, and only then does the store trap: the engine's bounds of the map are not what kept it inside."""
    with instance(is64=True, pages=2) as run:
        dirty_map = run.exports[run.facts.dirty_map_export]
        assert dirty_map.size(run.store) == tracking.MAP_PAGES_64
        with pytest.raises(wasmtime.Trap, match="out of bounds memory access"):
            run.exports[f"{operator} 0"](run.store, signed(address, is64=True))
        index = (address >> tracking.RANGE_BITS) % (tracking.MAP_PAGES_32 << 16)
        assert bytes(dirty_map.read(run.store, index, index + 1)) == b"\1"


@pytest.mark.parametrize("is64", [False, True])
def test_the_map_covers_all_addresses(*, is64: bool) -> None:
    dirty_map = decode(rewrite(contract(is64=is64, pages=1), track_writes=True).wasm).memories[1]
    assert dirty_map.minimum == dirty_map.maximum
    assert dirty_map.minimum << 16 << tracking.RANGE_BITS == (1 << 42 if is64 else 1 << 32)


def test_without_tracking_there_is_no_map() -> None:
    rewritten = rewrite(contract(is64=False, pages=1), track_writes=False)
    assert rewritten.dirty_map_export is None
    assert len(decode(rewritten.wasm).memories) == 1
