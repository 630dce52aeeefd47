"""Contract records: what is read is what was written, within bounds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import encoding
from piecrust.objects.errors import CorruptObject
from piecrust.objects.ids import BytecodeHash, ContractId, NodeHash
from piecrust.objects.kinds import RECORD_HASH
from piecrust.objects.record import ContractRecord, MemoryKind
from piecrust.objects.tree import PAGES_32, PAGES_64

hashes = st.binary(min_size=32, max_size=32)
records = st.builds(
    ContractRecord,
    hashes.map(ContractId),
    hashes.map(BytecodeHash),
    st.binary(max_size=300),
    st.sampled_from(MemoryKind),
    st.integers(0, 1 << 42),
    hashes.map(NodeHash),
    st.integers(1, 2**32 - 1),
)


@settings(max_examples=100, deadline=None)
@given(records)
def test_records_come_back(record):
    body = record.encode()
    assert ContractRecord.decode(RECORD_HASH(body), body) == record


def test_the_shape_of_the_page_tree_follows_the_memory():
    assert MemoryKind.WASM32.shape == PAGES_32
    assert MemoryKind.WASM64.shape == PAGES_64


good = [1, bytes(32), bytes(32), b"owner", 32, 65536, bytes(32), 1]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (0, 2),
        (1, bytes(31)),
        (2, None),
        (3, bytes(65537)),
        (4, 33),
        (5, -1),
        (5, (1 << 42) + 1),
        (6, 0),
        (7, 0),
        (7, 1 << 32),
    ],
)
def test_fields_out_of_bounds_are_refused(field, value):
    body = encoding.encode(tuple(good))
    ContractRecord.decode(RECORD_HASH(body), body)
    body = encoding.encode(tuple(value if i == field else v for i, v in enumerate(good)))
    with pytest.raises(CorruptObject):
        ContractRecord.decode(RECORD_HASH(body), body)


def test_another_ones_body_is_refused():
    body = encoding.encode(tuple(good))
    with pytest.raises(CorruptObject, match="hash differs"):
        ContractRecord.decode(bytes(32), body)
