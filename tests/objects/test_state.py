"""State roots are the original's: compared with its recorded answers, and with a plain model."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import contract_map, tree
from piecrust.objects.access import MemoryObjects, Overlay
from piecrust.objects.errors import ContractPositionCollision
from piecrust.objects.ids import ZERO, BytecodeHash, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES, page_hash
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, ContractChange, PageWrite, State, write_state
from piecrust.objects.tree import CONTRACTS
from support.fixtures import VECTORS
from support.plain_roots import PlainState

CODE = BytecodeHash(bytes(32))


def contract(n: int) -> ContractId:
    return ContractId(hashlib.sha256(b"%d" % n).digest())


def page(n: int) -> bytes:
    return n.to_bytes(4, "little") * (PAGE_BYTES // 4)


def change(
    n: int, pages: dict[int, int], *, kind: MemoryKind = MemoryKind.WASM32, root: bytes = ZERO, length: int = 65536
) -> ContractChange:
    writes = {index: PageWrite(page(fill)) for index, fill in pages.items()}
    return ContractChange(contract(n), CODE, b"owner", kind, length, root, writes)


def recorded() -> list[tuple[str, dict[bytes, tuple[bool, dict[int, bytes]]], bytes]]:
    """Every place of the vectors where the pages of all contracts of a new session are known, and the root."""
    found = []
    for path in sorted(VECTORS.glob("*.jsonl")):
        contracts: dict[str, tuple[bytes, bool]] = {}
        pages: dict[str, dict[int, bytes]] = {}
        fresh = False
        for line, entry in enumerate(map(json.loads, path.read_text().splitlines()), 1):
            operation, answer = entry.get("op", {}), entry.get("expect", {})
            op, label = operation.get("op"), operation.get("as") or operation.get("contract")
            if op in ("session", "vm"):
                fresh, contracts, pages = "base" not in operation and "in" not in operation, {}, {}
            elif op == "deploy" and "id" in answer:
                contracts[label] = bytes.fromhex(answer["id"]), "64" in str(operation["wasm"])
                pages.clear()
            elif op == "pages" and answer.get("pages"):
                pages[label] = {index: bytes.fromhex(leaf) for index, leaf in answer["pages"] if leaf}
            elif op == "root" and "root" in answer:
                if fresh and contracts and pages.keys() == contracts.keys():
                    states = {contracts[k][0]: (contracts[k][1], pages[k]) for k in contracts}
                    found.append((f"{path.stem}:{line}", states, bytes.fromhex(answer["root"])))
            elif op not in ("note", "memory_len", "owner", "pages"):
                pages.clear()
    return found


def test_roots_of_recorded_pages_are_the_recorded_roots():
    cases = recorded()
    for where, contracts, root in cases:
        objects = MemoryObjects()
        leaves: dict[int, bytes] = {}
        for position, (_, (is_64, pages)) in enumerate(sorted(contracts.items()), 1):
            shape = (MemoryKind.WASM64 if is_64 else MemoryKind.WASM32).shape
            leaves[position] = tree.update(objects, shape, ZERO, pages)
        assert tree.update(objects, CONTRACTS, ZERO, leaves) == root, where
        assert PlainState().root(contracts) == root, where
    assert len(cases) >= 20


kinds = st.sampled_from(MemoryKind)
edits = st.dictionaries(
    st.integers(0, 8),
    st.dictionaries(st.one_of(st.integers(0, 3), st.sampled_from([255, 256, 65535])), st.integers(0, 3), max_size=3),
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(edits, min_size=1, max_size=4), st.data())
def test_a_line_of_commits_has_the_roots_of_the_plain_model(commits, data):
    objects, state, model = MemoryObjects(), EMPTY_STATE, PlainState()
    memories: dict[bytes, tuple[bool, dict[int, bytes]]] = {}
    kinds_of: dict[int, MemoryKind] = {}
    for commit in commits:
        changes = []
        for n, pages in commit.items():
            kind = kinds_of.setdefault(n, data.draw(kinds))
            record = contract_map.lookup(objects, state.map_root, contract(n))
            changes.append(change(n, pages, kind=kind, root=ZERO if record is None else record.pages_root))
            memory = memories.setdefault(contract(n), (kind is MemoryKind.WASM64, {}))[1]
            memory.update({index: page_hash(page(fill)) for index, fill in pages.items()})
        state = write_state(objects, state, changes)
        assert state.state_root == model.root(memories, commit=True)
        assert {r.id: r.position for r in contract_map.items(objects, state.map_root)} == model.places
        assert state.positions == len(model.places)


def test_new_contracts_get_the_next_positions_in_the_order_of_their_ids():
    objects = MemoryObjects()
    ids = sorted((contract(n), n) for n in range(6))
    first = write_state(objects, EMPTY_STATE, [change(n, {}) for _, n in reversed(ids[3:])])
    both = write_state(objects, first, [change(n, {}) for _, n in ids])
    places = {r.id: r.position for r in contract_map.items(objects, both.map_root)}
    assert [places[c] for c, _ in ids] == [4, 5, 6, 1, 2, 3]
    assert both.positions == 6


def test_contracts_without_pages_count():
    objects = MemoryObjects()
    one = write_state(objects, EMPTY_STATE, [change(1, {})])
    two = write_state(objects, one, [change(2, {})])
    three = write_state(objects, two, [change(3, {0: 1})])
    assert one.state_root != ZERO
    assert three.positions == 3
    model = PlainState()
    empty = (False, {})
    memories = {contract(1): empty}
    assert model.root(memories, commit=True) == one.state_root
    memories[contract(2)] = empty
    assert model.root(memories, commit=True) == two.state_root
    memories[contract(3)] = (False, {0: page_hash(page(1))})
    assert model.root(memories, commit=True) == three.state_root


def test_nothing_changed_is_the_same_state_and_puts_nothing():
    objects = MemoryObjects()
    state = write_state(objects, EMPTY_STATE, [change(1, {0: 1})])
    record = contract_map.lookup(objects, state.map_root, contract(1))
    overlay = Overlay(objects)
    assert write_state(overlay, state, []) == state
    assert write_state(overlay, state, [change(1, {0: 1}, root=record.pages_root)]) == state
    assert list(overlay.staged()) == []


def test_a_longer_memory_changes_the_map_and_not_the_state_root():
    objects = MemoryObjects()
    state = write_state(objects, EMPTY_STATE, [change(1, {0: 1})])
    record = contract_map.lookup(objects, state.map_root, contract(1))
    longer = write_state(objects, state, [change(1, {}, root=record.pages_root, length=131072)])
    assert longer.state_root == state.state_root
    assert longer.map_root != state.map_root


def colliding() -> tuple[ContractId, ContractId]:
    return ContractId(b"\x01" + bytes(31)), ContractId(bytes(4) + b"\x01" + bytes(27))


@pytest.mark.parametrize("together", [True, False])
def test_two_ids_with_one_position_key_collide(together):
    a, b = colliding()
    one, two = (ContractChange(c, CODE, b"", MemoryKind.WASM32, 0, ZERO, {}) for c in (a, b))
    objects, state = MemoryObjects(), EMPTY_STATE
    if not together:
        state = write_state(objects, state, [one])
    with pytest.raises(ContractPositionCollision) as raised:
        write_state(objects, state, [one, two] if together else [two])
    assert {raised.value.existing, raised.value.contract} == {a, b}


def test_a_page_tells_its_base_and_the_ranges_that_may_differ():
    objects = MemoryObjects()
    state = write_state(objects, EMPTY_STATE, [change(1, {3: 1})])
    record = contract_map.lookup(objects, state.map_root, contract(1))
    overlay = Overlay(objects)
    new = b"\x09" + page(1)[1:]
    writes = {3: PageWrite(new, 1), 4: PageWrite(page(5), 2)}
    write_state(
        overlay,
        state,
        [ContractChange(contract(1), CODE, b"owner", MemoryKind.WASM32, 65536, record.pages_root, writes)],
    )
    staged = {address: s for kind, address, s in overlay.staged() if kind is Kind.PAGE}
    assert staged[page_hash(new)][:3] == (new, page_hash(page(1)), 1)
    assert staged[page_hash(page(5))][:3] == (page(5), None, 2)


def test_a_root_on_an_overlay_leaves_the_objects_alone():
    objects = MemoryObjects()
    state = write_state(objects, EMPTY_STATE, [change(1, {0: 1})])
    before = len(list(objects.staged()))
    overlay = Overlay(objects)
    changed = write_state(overlay, state, [change(2, {0: 2})])
    assert len(list(objects.staged())) == before
    assert isinstance(changed, State)
    assert contract_map.lookup(overlay, changed.map_root, contract(2)) is not None
