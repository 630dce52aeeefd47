"""Sparse trees give the roots of the plain model, whatever the order and grouping of updates."""

from __future__ import annotations

import random

import pytest
from blake3 import blake3
from hypothesis import example, given, settings
from hypothesis import strategies as st
from piecrust.objects import tree
from piecrust.objects.access import MemoryObjects
from piecrust.objects.errors import CorruptObject
from piecrust.objects.ids import ZERO
from piecrust.objects.kinds import Kind
from piecrust.objects.node import Node
from piecrust.objects.place import Opening, opening
from piecrust.objects.tree import CONTRACTS, PAGES_32, PAGES_64, Shape
from support.plain_roots import plain_root

SHAPES = (PAGES_32, PAGES_64, CONTRACTS)


def leaf(n: int) -> bytes:
    return blake3(n.to_bytes(8, "big")).digest()


def edges(shape: Shape) -> list[int]:
    """Positions beside which nodes are cut, and some far away ones."""
    top = shape.positions - 1
    near = {0, 1, 2, 255, 256, 257, 65535, 65536, top >> 1, (top >> 1) + 1, top - 256, top - 1, top}
    return sorted(p for p in near if p <= top)


def positions(shape: Shape) -> st.SearchStrategy[int]:
    return st.one_of(st.integers(0, 20), st.sampled_from(edges(shape)), st.integers(0, shape.positions - 1))


@st.composite
def histories(draw: st.DrawFn) -> tuple[Shape, list[dict[int, bytes | None]]]:
    shape = draw(st.sampled_from(SHAPES))
    value = st.one_of(st.integers(0, 50).map(leaf), st.integers(0, 50).map(leaf), st.none())
    steps = draw(st.lists(st.dictionaries(positions(shape), value, min_size=1, max_size=12), min_size=1, max_size=6))
    return shape, steps


def model_of(steps: list[dict[int, bytes | None]]) -> list[dict[int, bytes]]:
    """The leaves after each step."""
    states: list[dict[int, bytes]] = []
    current: dict[int, bytes] = {}
    for step in steps:
        current = {p: v for p, v in (current | step).items() if v is not None}
        states.append(current)
    return states


@settings(max_examples=150, deadline=None)
@given(histories())
@example((CONTRACTS, [{1: leaf(1)}, {2**32 - 1: leaf(2)}, {1: None}]))
def test_every_reading_agrees_with_a_dictionary(history):
    shape, steps = history
    objects, root, roots = MemoryObjects(), ZERO, []
    for step, state in zip(steps, model_of(steps), strict=True):
        root = tree.update(objects, shape, root, step)
        roots.append((root, state))
        assert root == plain_root(state, shape.arity, shape.height)
        assert dict(tree.leaves(objects, shape, root)) == state
        assert [p for p, _ in tree.leaves(objects, shape, root)] == sorted(state)
        for position in {*step, 0, shape.positions - 1}:
            assert tree.lookup(objects, shape, root, position) == state.get(position)
    for (a, before), (b, after) in zip(roots, roots[1:] + roots[:1], strict=True):
        expected = [(p, before.get(p), after.get(p)) for p in sorted(before | after) if before.get(p) != after.get(p)]
        assert list(tree.diff(objects, shape, a, b)) == expected


def root_of(shape: Shape, opening: Opening) -> bytes:
    """Hash an opening up to its root."""
    at, value = opening.position, opening.leaf
    for siblings in opening.siblings:
        if value is not None or any(s != ZERO for s in siblings):
            digit = at % shape.arity
            value = blake3(b"".join((*siblings[:digit], value or ZERO, *siblings[digit:]))).digest()
        at //= shape.arity
    return value or ZERO


@settings(max_examples=150, deadline=None)
@given(histories(), st.data())
def test_openings_hash_to_the_root_for_present_and_absent_leaves(history, data):
    shape, steps = history
    objects, root = MemoryObjects(), ZERO
    for step in steps:
        root = tree.update(objects, shape, root, step)
    state = model_of(steps)[-1]
    for position in data.draw(st.lists(positions(shape), min_size=1, max_size=5)) + sorted(state)[:3]:
        opened = opening(objects, shape, root, position)
        assert opened.leaf == state.get(position)
        assert len(opened.siblings) == shape.height
        assert root_of(shape, opened) == root


@settings(max_examples=60, deadline=None)
@given(st.lists(st.dictionaries(st.integers(0, 20), st.integers(0, 2), min_size=1), min_size=1, max_size=5))
def test_zero_leaves_count_in_the_root(steps):
    objects, root, state = MemoryObjects(), ZERO, {}
    for step in steps:
        written = {p: leaf(n) if n else ZERO for p, n in step.items()}
        state |= written
        root = tree.update(objects, CONTRACTS, root, written)
        assert root == plain_root(state, 2, 32)


def test_one_update_and_many_give_the_same_root():
    pages = {n: leaf(n + 1) for n in random.Random(1).sample(range(65536), 3000)}
    at_once = tree.update(MemoryObjects(), PAGES_32, ZERO, pages)
    objects, root = MemoryObjects(), ZERO
    for n, value in pages.items():
        root = tree.update(objects, PAGES_32, root, {n: value})
    assert root == at_once == plain_root(pages, 4, 8)


def test_a_small_tree_is_one_node():
    for shape in SHAPES:
        objects = MemoryObjects()
        tree.update(objects, shape, ZERO, {n: leaf(n) for n in range(1, 256)})
        assert len(list(objects.staged())) == 1


def test_an_unchanged_leaf_puts_nothing():
    objects = MemoryObjects()
    root = tree.update(objects, CONTRACTS, ZERO, {5: leaf(5)})
    before = len(list(objects.staged()))
    assert tree.update(objects, CONTRACTS, root, {5: leaf(5)}) == root
    assert tree.update(objects, CONTRACTS, root, {6: None, 2**31: None}) == root
    assert len(list(objects.staged())) == before


def test_an_update_tells_its_base_and_the_children_that_changed():
    objects = MemoryObjects()
    root = tree.update(objects, PAGES_32, ZERO, {n: leaf(n) for n in (1, 2, 9)})
    changed = tree.update(objects, PAGES_32, root, {2: leaf(7), 200: leaf(8)})
    staged = {address: s for _, address, s in objects.staged()}
    assert staged[changed].base == root
    assert staged[changed].hint == 1 << 2 | 1 << 200


@pytest.mark.parametrize("shape", [PAGES_32, PAGES_64])
def test_a_node_of_another_shape_is_refused(shape):
    objects = MemoryObjects()
    root = tree.update(objects, CONTRACTS, ZERO, {5: leaf(5)})
    with pytest.raises(CorruptObject, match="does not fit"):
        tree.lookup(objects, shape, root, 5)


def test_a_subtree_node_in_the_place_of_a_root_is_refused():
    objects = MemoryObjects()
    small = Node.of(2, 12, 3, {1: leaf(1)})  # 12 levels: its children would lie between two blocks
    objects.put(Kind.NODE, small.top, small)
    with pytest.raises(CorruptObject, match="does not fit"):
        list(tree.leaves(objects, CONTRACTS, small.top))
