"""Differences of states are those of the memories."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import contract_map
from piecrust.objects.access import MemoryObjects
from piecrust.objects.diff import ByteDifference, PageDifference, diff_bytes, diff_states
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES, page_hash
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, write_state
from support.sample_objects import change, contract, noise

NOISE = noise("a")


def test_contracts_that_came_changed_and_stayed():
    objects = MemoryObjects()
    old = write_state(objects, EMPTY_STATE, [change(1, {0: NOISE, 5: NOISE}), change(2, {0: NOISE})])
    root = contract_map.lookup(objects, old.map_root, contract(1)).pages_root
    new = write_state(objects, old, [change(1, {5: noise("b"), 700: noise("c")}, root=root), change(3, {1: NOISE})])
    found = {d.id: list(d.pages(objects)) for d in diff_states(objects, old, new)}
    a, b, c = page_hash(NOISE), page_hash(noise("b")), page_hash(noise("c"))
    assert found == {
        contract(1): [PageDifference(5, a, b), PageDifference(700, None, c)],
        contract(3): [PageDifference(1, None, a)],
    }
    back = {d.id: (d.old is None, d.new is None) for d in diff_states(objects, new, old)}
    assert back == {contract(1): (False, False), contract(3): (False, True)}
    assert list(diff_states(objects, new, new)) == []


def test_another_memory_kind_is_compared_page_by_page():
    objects = MemoryObjects()
    old = write_state(objects, EMPTY_STATE, [change(1, {0: NOISE, 5: NOISE})])
    new = write_state(objects, EMPTY_STATE, [change(1, {0: NOISE, 6: NOISE}, kind=MemoryKind.WASM64)])
    (difference,) = diff_states(objects, old, new)
    a = page_hash(NOISE)
    assert list(difference.pages(objects)) == [PageDifference(5, a, None), PageDifference(6, None, a)]


def test_only_the_length_differs():
    objects = MemoryObjects()
    old = write_state(objects, EMPTY_STATE, [change(1, {0: NOISE})])
    root = contract_map.lookup(objects, old.map_root, contract(1)).pages_root
    new = write_state(objects, old, [change(1, {}, root=root, length=5 * PAGE_BYTES)])
    (difference,) = diff_states(objects, old, new)
    assert list(difference.pages(objects)) == []
    assert (difference.old.memory_length, difference.new.memory_length) == (2 * PAGE_BYTES, 5 * PAGE_BYTES)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, PAGE_BYTES - 300), st.binary(min_size=1, max_size=300)), max_size=6))
def test_differing_bytes_turn_one_page_into_the_other(edits):
    new = bytearray(NOISE)
    for at, data in edits:
        new[at : at + len(data)] = data
    objects = MemoryObjects()
    for page in (NOISE, bytes(new)):
        objects.put(Kind.PAGE, page_hash(page), page)
    found = list(diff_bytes(objects, PageDifference(2, page_hash(NOISE), page_hash(bytes(new)))))
    made = bytearray(NOISE)
    for run in found:
        at = run.offset - 2 * PAGE_BYTES
        assert made[at : at + len(run.old)] == run.old
        assert run.old[0] != run.new[0]
        assert run.old[-1] != run.new[-1]
        made[at : at + len(run.new)] = run.new
    assert made == new


def test_a_run_across_ranges_is_one():
    objects = MemoryObjects()
    new = bytes(4094) + b"abcd" + bytes(PAGE_BYTES - 4098)
    objects.put(Kind.PAGE, page_hash(new), new)
    found = list(diff_bytes(objects, PageDifference(0, None, page_hash(new))))
    assert found == [ByteDifference(4094, bytes(4), b"abcd")]
