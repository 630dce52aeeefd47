from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import encoding
from piecrust.objects.checkpoint import ClosedSegment, Ledger, PackName, SourcesChange
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import CommitId
from piecrust.objects.oplog import Operation, OperationRecord, RefChange, unpack_records
from piecrust.objects.refs import Symbolic

COMMITS = st.binary(min_size=32, max_size=32).map(CommitId)
SALTS = st.binary(min_size=32, max_size=32)
CHAINS = st.binary(min_size=16, max_size=16)
VALUES = st.one_of(COMMITS, st.text(max_size=8).map(Symbolic))
RECORDS = st.builds(
    OperationRecord,
    st.just(0),
    st.integers(0, 2**63),
    st.builds(Operation, st.text(max_size=8), st.lists(st.text(max_size=8), max_size=3).map(tuple)),
    st.dictionaries(st.text(max_size=8), st.builds(RefChange, st.none() | VALUES, st.none() | VALUES), max_size=3),
    st.lists(COMMITS, max_size=3).map(tuple),
    st.lists(COMMITS, max_size=3).map(tuple),
)
LEDGERS = st.builds(
    Ledger,
    st.dictionaries(st.text(max_size=8), VALUES, max_size=4),
    st.dictionaries(COMMITS, st.booleans(), max_size=4),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.integers(0, 2**40),
    st.lists(st.builds(ClosedSegment, st.integers(1, 9), st.integers(0, 99), CHAINS, SALTS)),
    st.lists(st.builds(PackName, SALTS, st.integers(0, 99), SALTS)),
    st.sets(COMMITS, max_size=3),
)


@given(st.lists(RECORDS, max_size=3))
@settings(max_examples=40, deadline=None)
def test_records_come_back(records: list[OperationRecord]) -> None:
    found = unpack_records(encoding.encode([record.pack() for record in records]), 5)
    assert [record.sequence for record in found] == [5 + i for i in range(len(records))]
    assert [record.pack() for record in found] == [record.pack() for record in records]


@given(LEDGERS)
@settings(max_examples=40, deadline=None)
def test_a_ledger_comes_back(ledger: Ledger) -> None:
    assert Ledger.decode(ledger.encode()) == ledger


def test_a_ledger_follows_operations() -> None:
    one, two = CommitId(b"1" * 32), CommitId(b"2" * 32)
    ledger = Ledger(refs={"heads/a": one, "heads/b": one}, exceptions={two: False}, next_operation=7)
    changes = {"heads/a": RefChange(one, two), "heads/b": RefChange(one, None)}
    record = OperationRecord(7, 1, Operation("x"), changes, kept=(one, two), deleted=())
    ledger.apply_operations(encoding.encode([record.pack()]), {two})
    assert ledger.refs == {"heads/a": two}
    assert ledger.exceptions == {one: True}  # the table of the frame keeps `two`
    assert ledger.next_operation == 8
    ledger.apply(OperationRecord(8, 1, Operation("y"), {}, deleted=(one,)), set())
    assert ledger.exceptions == {one: False}


def test_a_ledger_follows_changes_of_sources() -> None:
    packs = [PackName(bytes([i]) * 32, i, bytes(32)) for i in range(3)]
    segments = [ClosedSegment(i, i, bytes(16), bytes(32)) for i in range(3)]
    commit, other = CommitId(bytes(32)), CommitId(b"o" * 32)
    ledger = Ledger(segments=segments, packs=packs[:2], exceptions={commit: False})
    change = SourcesChange([0, 1], [packs[0].name], [packs[2]], 4, 2, [commit], [other])
    ledger.apply_sources(change.encode())
    assert ledger == Ledger(segments=segments[2:], packs=packs[1:], generation=4, first_operation=2, condemned={other})
    ledger.apply_sources(SourcesChange([2], [], [], 5, 3, [], None).encode())
    assert ledger == Ledger(packs=packs[1:], generation=5, first_operation=3, condemned={other})


@pytest.mark.parametrize(
    "value",
    [
        b"",
        encoding.encode(5),
        encoding.encode([5]),
        encoding.encode([[0, "x", [], [], []]]),
        encoding.encode([["0", "x", [], [], [], []]]),
        encoding.encode([[0, "x", [5], [], [], []]]),
        encoding.encode([[0, "x", [], [["a", None]], [], []]]),
        encoding.encode([[0, "x", [], [["a", 5, None]], [], []]]),
        encoding.encode([[0, "x", [], [], [b"short"], []]]),
        encoding.encode([[0, "x", [], [], [], [5]]]),
    ],
)
def test_records_that_are_none_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidFormat):
        unpack_records(value, 0)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        encoding.encode([]),
        encoding.encode([[["a", None]], [], 0, 0, 0, [], [], []]),
        encoding.encode([[[b"a", bytes(32)]], [], 0, 0, 0, [], [], []]),
        encoding.encode([[], [[bytes(32), 1]], 0, 0, 0, [], [], []]),
        encoding.encode([[], [], 0, 0, 0, [[1, 2, b"short"]], [], []]),
        encoding.encode([[], [], 0, 0, 0, [], [[b"short", 1]], []]),
    ],
)
def test_ledgers_that_are_none_are_refused(value: bytes) -> None:
    with pytest.raises(InvalidFormat):
        Ledger.decode(value)
