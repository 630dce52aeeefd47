"""Bundles: the same bytes from any store, whole on arrival, and refused where anything in them lies."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from blake3 import blake3
from piecrust.objects import bundle_state, contract_map, transcript
from piecrust.objects.access import MemoryObjects
from piecrust.objects.bundle import BLOCK_BYTES, ItemType, ItemWriter, PageForm, read_items, sparse, unsparse
from piecrust.objects.bundle_reader import Imported, read_bundle
from piecrust.objects.bundle_writer import write_contracts, write_history, write_state_alone
from piecrust.objects.commit import Commit, commit_id
from piecrust.objects.errors import (
    Conflict,
    CorruptObject,
    InvalidFormat,
    InvalidProof,
    NotProvable,
    ObjectNotFound,
    UnknownRevision,
)
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.reach import history, reachable
from piecrust.objects.state import EMPTY_STATE, State, write_state
from piecrust.objects.store import Store
from piecrust.objects.transaction import Transaction
from piecrust.objects.transcript import Import, Restore
from support.sample_objects import change, contract, noise, put_commit, sample
from support.stores import make_commit

SAMPLE = sample()
OpenStore = Callable[[str], Store]


def bundle_of(reader, tip, **options) -> bytes:
    stream = io.BytesIO()
    assert write_history(reader, tip, stream, **options) == len(stream.getvalue())
    return stream.getvalue()


def state_bundle_of(reader, tip) -> bytes:
    stream = io.BytesIO()
    write_state_alone(reader, tip, stream)
    return stream.getvalue()


def contracts_bundle_of(reader, tip, *contracts) -> bytes:
    stream = io.BytesIO()
    write_contracts(reader, tip, contracts, stream)
    return stream.getvalue()


def imported(store: Store, data: bytes) -> Imported:
    return read_bundle(store, io.BytesIO(data))


def whole(store: Store, commit: CommitId) -> None:
    for kind, address in reachable(store, commit, set()):
        store.load(kind, address)


WHOLE = bundle_of(SAMPLE.objects, SAMPLE.merge)


def test_a_history_arrives_whole(open_store):
    store = open_store("store")
    brought = imported(store, WHOLE)
    assert brought.tip == brought.source == SAMPLE.merge
    assert set(brought.commits) == set(store.commits()) == {SAMPLE.first, SAMPLE.ours, SAMPLE.theirs, SAMPLE.merge}
    for commit in store.commits():
        whole(store, commit)
        assert store.load(Kind.COMMIT, commit) == SAMPLE.objects.load(Kind.COMMIT, commit)


def test_the_same_commit_gives_the_same_bytes_from_any_store(open_store):
    """A store that got it in another order, with other objects and deltas."""
    store = open_store("store")
    make_commit(store, b"noise")
    imported(store, bundle_of(SAMPLE.objects, SAMPLE.theirs))
    imported(store, WHOLE)
    assert bundle_of(store, SAMPLE.merge) == WHOLE
    assert state_bundle_of(store, SAMPLE.merge) == state_bundle_of(SAMPLE.objects, SAMPLE.merge)
    assert contracts_bundle_of(store, SAMPLE.ours, contract(1), contract(3)) == contracts_bundle_of(
        SAMPLE.objects, SAMPLE.ours, contract(3), contract(1)
    )


def test_the_bytes_are_those_of_the_format():
    """Change the version of the format when this has to change."""
    assert blake3(WHOLE).hexdigest()[:16] == "4cd974cced0b530f"


def test_a_bundle_since_a_commit_builds_on_it(open_store):
    store = open_store("store")
    rest = bundle_of(SAMPLE.objects, SAMPLE.merge, since=[SAMPLE.ours])
    assert len(rest) < len(WHOLE)
    with pytest.raises(UnknownRevision) as caught:
        imported(store, rest)
    assert caught.value.revision == min(SAMPLE.first, SAMPLE.ours).hex()
    imported(store, bundle_of(SAMPLE.objects, SAMPLE.ours))
    assert set(imported(store, rest).commits) == {SAMPLE.theirs, SAMPLE.merge}
    whole(store, SAMPLE.merge)


def test_without_history_the_ancestors_are_names_only(open_store):
    store = open_store("store")
    brought = imported(store, state_bundle_of(SAMPLE.objects, SAMPLE.merge))
    assert brought.commits == (SAMPLE.merge,)
    assert store.commits() == [SAMPLE.merge]
    whole(store, SAMPLE.merge)
    assert {commit for commit, _ in history(store, SAMPLE.merge, set())} > {SAMPLE.first, SAMPLE.ours}
    assert all(store.is_deleted(commit) for commit in (SAMPLE.first, SAMPLE.ours, SAMPLE.theirs))
    assert store.graph(SAMPLE.merge).parents == (SAMPLE.ours, SAMPLE.theirs)
    imported(store, WHOLE)
    assert not store.is_deleted(SAMPLE.first)
    whole(store, SAMPLE.first)


def test_without_history_live_ancestors_stay(open_store):
    store = open_store("store")
    imported(store, bundle_of(SAMPLE.objects, SAMPLE.ours))
    imported(store, state_bundle_of(SAMPLE.objects, SAMPLE.merge))
    assert not store.is_deleted(SAMPLE.ours)
    assert store.is_deleted(SAMPLE.theirs)


def test_single_contracts_become_a_commit_of_their_own(open_store):
    """It does not pretend to be the commit that they are from, and says which one that is."""
    store = open_store("store")
    brought = imported(store, contracts_bundle_of(SAMPLE.objects, SAMPLE.merge, contract(1), contract(4)))
    assert brought.source == SAMPLE.merge
    assert brought.commits == (brought.tip,)
    assert not store.contains(Kind.COMMIT, SAMPLE.merge)
    value: Commit = store.load(Kind.COMMIT, brought.tip)
    assert {record.id for record in contract_map.items(store, value.map_root)} == {contract(1), contract(4)}
    assert transcript.load(store, value.transcript) == Import("bundle", SAMPLE.merge, {contract(1), contract(4)})
    whole(store, brought.tip)
    origin: Commit = SAMPLE.objects.load(Kind.COMMIT, SAMPLE.merge)
    for name in (contract(1), contract(4)):
        there = contract_map.lookup(SAMPLE.objects, origin.map_root, name)
        assert contract_map.lookup(store, value.map_root, name).pages_root == there.pages_root


def test_contracts_that_are_not_there_can_not_be_exported():
    with pytest.raises(NotProvable):
        contracts_bundle_of(SAMPLE.objects, SAMPLE.first, contract(4))


def test_importing_twice_changes_nothing(open_store):
    store = open_store("store")
    imported(store, WHOLE)
    before = len(list(store.operations()))
    assert imported(store, WHOLE).commits == ()
    assert len(list(store.operations())) == before


def test_contracts_that_go_move_and_come_back(open_store):
    """As restores make them: positions are those of the records, whatever the parent has."""
    objects = MemoryObjects()
    objects.put(Kind.BYTECODE, blake3(b"\0asm\x01\0\0\0").digest(), b"\0asm\x01\0\0\0")
    one = write_state(objects, EMPTY_STATE, [change(1, {0: noise("a")}), change(2, {}), change(3, {})])
    other = write_state(objects, EMPTY_STATE, [change(3, {5: noise("b")})])
    first = put_commit(objects, one, [], None)
    side = put_commit(objects, other, [], None)
    restored = transcript.store(objects, Restore(side))
    second = put_commit(objects, State(other.state_root, other.map_root, one.positions), [first], restored)
    third = put_commit(objects, one, [second], None)
    store = open_store("store")
    data = bundle_of(objects, third)
    assert set(imported(store, data).commits) == {first, side, second, third}
    for commit in store.commits():
        whole(store, commit)
    assert bundle_of(store, third) == data


def test_an_import_that_is_cut_off_leaves_no_commit_and_goes_on(open_store, monkeypatch):
    monkeypatch.setattr(bundle_state, "PIECE_BYTES", PAGE_BYTES)
    store = open_store("store")
    with pytest.raises(InvalidFormat) as caught:
        imported(store, WHOLE[:-40])
    assert caught.value.offset is not None
    assert store.commits() == []
    assert not store.contains(Kind.COMMIT, SAMPLE.first)
    pieces = sum(1 for _ in store.operations())
    assert pieces > 1
    assert len(imported(store, WHOLE).commits) == 4
    whole(store, SAMPLE.merge)
    assert sum(1 for _ in store.operations()) < 2 * pieces


class CollectingStream(io.BytesIO):
    """Has garbage collected through another handle when so much of it was read."""

    def __init__(self, data: bytes, store: Store, offset: int) -> None:
        super().__init__(data)
        self._store, self._offset = store, offset

    def read(self, size: int | None = -1) -> bytes:
        if self._offset is not None and self.tell() >= self._offset:
            self._offset = None
            self._store.gc(retention_seconds=0)
        return super().read(size)


@pytest.mark.parametrize("left", [len(WHOLE) // 2, 37])
def test_garbage_that_is_collected_meanwhile_does_not_leave_half_a_commit(open_store, monkeypatch, left):
    monkeypatch.setattr(bundle_state, "PIECE_BYTES", PAGE_BYTES)
    store, other = open_store("store"), open_store("store")
    with pytest.raises(Conflict):
        read_bundle(store, CollectingStream(WHOLE, other, len(WHOLE) - left))
    assert store.commits() == []
    assert len(imported(store, WHOLE).commits) == 4
    for commit in (SAMPLE.first, SAMPLE.ours, SAMPLE.theirs, SAMPLE.merge):
        whole(store, commit)


def test_garbage_that_is_collected_right_before_the_commits_come_is_noticed(open_store, monkeypatch):
    """After all was checked, and before anything keeps it."""
    monkeypatch.setattr(bundle_state, "PIECE_BYTES", PAGE_BYTES)
    store, other = open_store("store"), open_store("store")
    publish = store.publish

    def late(transaction: Transaction, operation: Operation) -> None:
        if transaction.kept:
            other.gc(retention_seconds=0)
        publish(transaction, operation)

    monkeypatch.setattr(store, "publish", late)
    with pytest.raises(Conflict):
        imported(store, WHOLE)
    assert store.commits() == []
    monkeypatch.setattr(store, "publish", publish)
    assert len(imported(store, WHOLE).commits) == 4
    whole(store, SAMPLE.merge)


def test_every_flipped_byte_is_noticed(open_store):
    store = open_store("store")
    data = contracts_bundle_of(SAMPLE.objects, SAMPLE.ours, contract(2))
    small = bundle_of(MADE, MADE_TIP)
    rng = random.Random(5)
    for clean in (data, small, state_bundle_of(MADE, MADE_TIP)):
        for at in sorted(rng.sample(range(len(clean)), 150)):
            damaged = bytearray(clean)
            damaged[at] ^= 1 << rng.randrange(8)
            with pytest.raises((InvalidFormat, CorruptObject, InvalidProof, UnknownRevision)):
                imported(store, bytes(damaged))
    assert store.commits() == []


def test_every_flipped_byte_is_noticed_though_the_hash_at_the_end_fits(open_store):
    store = open_store("store")
    rng = random.Random(9)
    for clean in (
        bundle_of(MADE, MADE_TIP),
        state_bundle_of(MADE, MADE_TIP),
        contracts_bundle_of(MADE, MADE_TIP, contract(1)),
    ):
        items, end = clean[:-37], clean[-37:-32]
        assert items + end + blake3(items).digest() == clean
        for at in range(len(items)):
            damaged = items[:at] + bytes([items[at] ^ 1 << rng.randrange(8)]) + items[at + 1 :]
            with pytest.raises((InvalidFormat, CorruptObject, InvalidProof, UnknownRevision)):
                imported(store, damaged + end + blake3(damaged).digest())
    assert store.commits() == []


def test_what_a_bundle_says_of_a_page_is_checked_though_the_store_has_it(open_store):
    store = open_store("store")
    clean = bundle_of(MADE, MADE_TIP)
    imported(store, clean)
    body = next(item.body for item in read_items(io.BytesIO(clean)) if item.type is ItemType.PAGE)
    index, address, form, content = body[:4], body[4:36], body[36], body[37:]
    assert form == PageForm.SPARSE
    for false in (content[:-1], content[:-1] + b"x", b""):
        lie = index + address + bytes([form]) + false
        with pytest.raises((InvalidFormat, CorruptObject)):
            imported(store, lied(clean, swapped(body, lie)))
    with pytest.raises(InvalidFormat):
        imported(store, lied(clean, swapped(body, index + address + bytes([PageForm.KNOWN]) + content)))


def swapped(body: bytes, other: bytes) -> Callable[[list[tuple[ItemType, bytes]]], object]:
    def lie(items: list[tuple[ItemType, bytes]]) -> None:
        at = next(at for at, item in enumerate(items) if item[1] == body)
        items[at] = items[at][0], other

    return lie


def test_every_cut_is_noticed(open_store):
    store = open_store("store")
    clean = bundle_of(MADE, MADE_TIP)
    for length in range(0, len(clean), 7):
        with pytest.raises(InvalidFormat):
            imported(store, clean[:length])
    with pytest.raises(InvalidFormat):
        imported(store, clean + b"\0")
    assert store.commits() == []


def made() -> tuple[MemoryObjects, CommitId]:
    objects = MemoryObjects()
    objects.put(Kind.BYTECODE, blake3(b"\0asm\x01\0\0\0").digest(), b"\0asm\x01\0\0\0")
    page = b"abc".ljust(PAGE_BYTES, b"\0")
    state = write_state(objects, EMPTY_STATE, [change(1, {0: page}), change(2, {3: page})])
    first = put_commit(objects, state, [], None)
    record = contract_map.lookup(objects, state.map_root, contract(1))
    state = write_state(objects, state, [change(1, {0: b"x" + page[1:]}, root=record.pages_root)])
    return objects, put_commit(objects, state, [first], None, message="second")


MADE, MADE_TIP = made()


def lied(data: bytes, lie: Callable[[list[tuple[ItemType, bytes]]], object]) -> bytes:
    """The bundle with its items changed, and a hash at the end that fits."""
    items = [(item.type, item.body) for item in read_items(io.BytesIO(data))]
    lie(items)
    stream = io.BytesIO()
    writer = ItemWriter(stream)
    for kind, body in items:
        writer.write(kind, body)
    writer.end()
    return stream.getvalue()


def test_a_bundle_that_leaves_out_any_item_is_refused(open_store):
    store = open_store("store")
    for clean in (
        WHOLE,
        state_bundle_of(SAMPLE.objects, SAMPLE.merge),
        contracts_bundle_of(MADE, MADE_TIP, contract(1)),
    ):
        count = len(list(read_items(io.BytesIO(clean))))
        for index in range(count):
            with pytest.raises((InvalidFormat, CorruptObject)):
                imported(store, lied(clean, lambda items, index=index: items.pop(index)))
    assert store.commits() == []


def test_a_bundle_with_an_item_twice_is_refused(open_store):
    store = open_store("store")
    for clean in (bundle_of(MADE, MADE_TIP), contracts_bundle_of(MADE, MADE_TIP, contract(1))):
        kinds = [item.type for item in read_items(io.BytesIO(clean))]
        for index, kind in enumerate(kinds):
            if kind is ItemType.BYTECODE:
                continue  # says the same again
            with pytest.raises(InvalidFormat):
                imported(store, lied(clean, lambda items, index=index: items.insert(index, items[index])))


def test_a_commit_with_a_false_place_in_history_is_refused(open_store):
    """Its id is right: it was made so."""
    store = open_store("store")
    value: Commit = MADE.load(Kind.COMMIT, MADE_TIP)
    for lie in ({"generation": 2}, {"depth": 2, "generation": 2}, {"jump": CommitId(bytes(32))}, {"positions": 1}):
        objects = MemoryObjects()
        for kind, address, staged in MADE.staged():
            objects.put(kind, address, staged.value)
        false = replace(value, **lie)
        objects.put(Kind.COMMIT, commit_id(false), false)
        with pytest.raises(InvalidFormat, match=r"history|positions"):
            imported(store, bundle_of(objects, commit_id(false)))


def test_pages_without_zeros_and_pages_of_zeros():
    for page in (
        bytes(PAGE_BYTES),
        noise("dense"),
        bytes(BLOCK_BYTES) + b"\x01" * BLOCK_BYTES + bytes(PAGE_BYTES - 512),
    ):
        assert unsparse(sparse(page), 0) == page
    with pytest.raises(InvalidFormat):
        unsparse(b"\x01" + bytes(31), 0)


def test_what_is_missing_from_an_export_is_told():
    with pytest.raises(ObjectNotFound):
        bundle_of(MemoryObjects(), SAMPLE.first)
