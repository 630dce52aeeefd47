from __future__ import annotations

import random
from collections.abc import Generator
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.graph import CommitNode
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.table import Coverage, Table, TableDamaged, pack_place
from piecrust.objects.table_writer import Records, build_table

T = TypeVar("T")


def result(steps: Generator[None, None, T]) -> T:
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            return stop.value


def table(coverage: list[Coverage], records: Records, tables: tuple[Table, ...] = ()) -> Table:
    return Table(memoryview(b"".join(result(build_table(coverage, records, tables)))))


def coverage(seed: int) -> Coverage:
    return Coverage(bytes([seed]) * 32, 64, 1000 + seed)


def records(rng: random.Random, count: int, source: int = 0) -> tuple[Records, dict[bytes, tuple[int, int]]]:
    """Random objects, some of them commits; where each one is, and its kind."""
    made = Records()
    places = {}
    for number in range(count):
        address, kind = rng.randbytes(32), rng.choice(list(Kind))
        made.add_object(address, pack_place(source, 8 * number, kind, 1, 2), number)
        places[address] = (8 * number, kind)
        if kind is Kind.COMMIT:
            node = CommitNode((CommitId(rng.randbytes(32)),) * 1, number, number, CommitId(rng.randbytes(32)))
            made.add_commit(address, b"root" * 8, node, flags=2, source=source)
            made.add_operation(number, pack_place(source, 8 * number))
    return made, places


@pytest.mark.parametrize("count", [0, 1, 2, 63, 64, 1000, 5000])
def test_every_object_is_found_and_nothing_else(count: int) -> None:
    rng = random.Random(count)
    made, places = records(rng, count)
    found = table([coverage(1)], made)
    assert found.objects == count
    for address, (offset, kind) in places.items():
        (match,) = found.find(kind, address)
        assert (match.source, match.offset, match.kind, match.encoding, match.flags) == (0, offset, kind, 1, 2)
        assert match.length == offset // 8
        assert not list(found.find(kind % 7 + 1, address))
        other = bytearray(address)
        other[rng.randrange(16)] ^= 1
        assert not list(found.find(kind, bytes(other)))
    commits = sorted(address for address, (_, kind) in places.items() if kind is Kind.COMMIT)
    assert [found.commit(number).id for number in range(found.commits)] == commits
    assert sorted(found.commits_by_root(b"root" * 8)) == list(range(len(commits)))
    assert found.commits_by_root(b"none" * 8) == []
    assert [found.operation(n)[0] for n in range(found.operations)] == sorted(places[c][0] // 8 for c in commits)


def test_addresses_that_begin_alike_are_told_apart() -> None:
    made = Records()
    addresses = [b"\xff" * 8 + number.to_bytes(8, "big") + bytes(16) for number in range(300)]
    for number, address in enumerate(addresses):
        made.add_object(address, pack_place(0, number, Kind.PAGE), 0)
    found = table([coverage(1)], made)
    assert [next(found.find(Kind.PAGE, address)).offset for address in addresses] == list(range(300))


@given(st.lists(st.integers(0, 400), min_size=1, max_size=4), st.integers(0, 2**32))
@settings(max_examples=20, deadline=None)
def test_tables_are_merged(counts: list[int], seed: int) -> None:
    rng = random.Random(seed)
    parts = [(coverage(i), *records(rng, count)) for i, count in enumerate(counts)]
    tables = tuple(table([covering], made) for covering, made, _ in parts[:-1])
    last, made, _ = parts[-1]
    covering = [last, *(c for c, _, _ in reversed(parts[:-1]))]
    merged = table(covering, made, tables)
    assert merged.objects == sum(counts)
    for one, _, places in parts:
        for address, (offset, kind) in places.items():
            (match,) = merged.find(kind, address)
            assert merged.coverage[match.source] == one
            assert match.offset == offset
            if kind is Kind.COMMIT:
                key = int.from_bytes(address[:8], "big")
                (row,) = [merged.commit(number) for number in merged.commits_by_key(key)]
                assert (row.id, merged.coverage[row.source]) == (address, one)


def test_what_sources_are_gone_is_left_out() -> None:
    rng = random.Random(1)
    one, places = records(rng, 300)
    two, other = records(rng, 300)
    merged = table([coverage(2)], Records(), (table([coverage(1)], one), table([coverage(2)], two)))
    assert merged.objects == 300
    assert not any(list(merged.find(kind, address)) for address, (_, kind) in places.items())
    assert all(list(merged.find(kind, address)) for address, (_, kind) in other.items())
    assert merged.commits == merged.operations == sum(kind is Kind.COMMIT for _, kind in other.values())


def test_every_flipped_bit_is_noticed_when_it_is_used() -> None:
    rng = random.Random(2)
    made, places = records(rng, 400)
    data = b"".join(result(build_table([coverage(1)], made)))
    noticed = 0
    for at in range(0, len(data), 3):
        flipped = bytearray(data)
        flipped[at] ^= 1 << at % 8
        try:
            found = Table(memoryview(flipped))
            for address, (offset, kind) in places.items():
                (match,) = found.find(kind, address)
                assert match.offset == offset
            for number in range(found.commits):
                assert found.commit(number).id in places
            for number in range(found.operations):
                found.operation(number)
            assert found.commits_by_root(b"root" * 8)
        except (TableDamaged, InvalidFormat):
            noticed += 1
        else:
            assert not data[at]  # zeros between columns that nobody reads
    assert noticed > len(data) // 3 - 40


@given(st.binary(max_size=400))
@settings(max_examples=100, deadline=None)
def test_what_is_no_table_is_refused(data: bytes) -> None:
    with pytest.raises((InvalidFormat, TableDamaged)):
        Table(memoryview(data))


def test_truncated_tables_are_refused() -> None:
    made, _ = records(random.Random(3), 100)
    data = b"".join(result(build_table([coverage(1)], made)))
    for length in range(0, len(data) - 1, 17):
        with pytest.raises((InvalidFormat, TableDamaged)):
            Table(memoryview(data)[:length])
