"""Maps of several nodes and levels, and what the decoder refuses in them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from typing import Any

import pytest
from piecrust.vm.errors import DecodeError, EncodeError, InvalidType
from piecrust.vm.rkyv.codec import codec, decode, encode
from piecrust.vm.rkyv.declare import archive
from piecrust.vm.rkyv.values import u8, u16, u32, u64

# The digests (the first 8 bytes of SHA-256) are those of what rkyv 0.7.46 wrote for the same maps.
BIG: list[tuple[str, Any, str]] = [
    (
        "BTreeMap<u64, u64>",
        {n: n * n for n in range(3000)},
        "308364234fc0ba9f",
    ),
    (
        "BTreeMap<String, [u8; 8]>",
        {f"key number {n:05}": n.to_bytes(8, "little") for n in range(2500)},
        "4adc4eec597e0b0f",
    ),
    (
        "BTreeSet<String>",
        {f"{n:01500}" for n in range(40)},
        "1594297c2e01c639",
    ),
    (
        "BTreeMap<[u8; 600], Vec<u8>>",
        {n.to_bytes(600, "big"): bytes(n) for n in range(100)},
        "c83820f10f931c01",
    ),
]


@pytest.mark.parametrize(("notation", "value", "digest"), BIG, ids=[case[0] for case in BIG])
def test_nodes_are_filled_as_by_rkyv(notation: str, value: Any, digest: str) -> None:
    data = encode(value, notation)
    assert hashlib.sha256(data).hexdigest()[:16] == digest
    assert decode(data, notation) == value


def test_decoded_maps_ascend() -> None:
    data = encode({3: 1, 1: 2, 2: 3}, dict[u8, u8])
    assert list(decode(data, dict[u8, u8])) == [1, 2, 3]


@archive
class Key:
    first: list[u8 | None]
    second: dict[str, set[u16]]


def test_keys_that_python_can_not_hash_are_made_of_tuples() -> None:
    assert decode(encode({(1, None): 5}, "BTreeMap<Vec<Option<u8>>, u8>"), "BTreeMap<Vec<Option<u8>>, u8>") == {
        (1, None): 5
    }
    with pytest.raises(InvalidType, match="key of a map"):
        codec(dict[Key, u8])


def test_text_is_ordered_by_its_bytes() -> None:
    keys = ["", "a", "ab", "b", "z", "é", "€", "\uffff", "🥧"]
    assert list(decode(encode(dict.fromkeys(reversed(keys), 1), dict[str, u8]), dict[str, u8])) == keys


def test_a_key_given_twice_is_refused() -> None:
    with pytest.raises(EncodeError, match="the key 1 twice"):
        encode([(1, 2), (1, 3)], dict[u8, u8])


def test_keys_without_a_common_order_are_refused() -> None:
    with pytest.raises(EncodeError, match="no common order"):
        encode({1: 2, "a": 3}, dict[u8, u8])


def test_errors_name_the_key() -> None:
    with pytest.raises(EncodeError) as refused:
        encode({"alice": 5, "bob": -1}, dict[str, u64])
    assert refused.value.path == "'bob'"


def leaf_pair(change: Callable[[bytearray], None]) -> bytes:
    """The archive of {1: 10, 2: 20} as BTreeMap<u32, u32>: a leaf of 12 + 2 * 8 bytes, then the map."""
    data = bytearray(encode({1: 10, 2: 20}, dict[u32, u32]))
    assert len(data) == 36
    change(data)
    return bytes(data)


def patch(offset: int, form: str, value: int) -> Callable[[bytearray], None]:
    return lambda data: struct.pack_into(form, data, offset, value)


DAMAGES: list[tuple[str, Callable[[bytearray], None], str]] = [
    ("more entries than the map says", patch(28, "<I", 1), "1 entries, got 2"),
    ("fewer entries than the map says", patch(28, "<I", 3), "3 entries, got 2"),
    ("keys that descend", patch(12, "<I", 3), "keys that do not ascend"),
    ("an empty leaf", patch(8, "<H", 0), "a node with entries"),
    ("more entries than fit", patch(8, "<H", 3), "ends before"),
    ("a leaf that says it is inner", patch(8, "<H", 0x8002), "bytes between"),
    ("a leaf that links to itself", patch(4, "<i", -4), "leaves linked"),
    ("contents before the archive", patch(0, "<I", 1), "at most 0 bytes"),
    ("a root behind the end", patch(32, "<i", 8), "between 0 and 28"),
    ("a root that overlaps the map", patch(32, "<i", -12), "between 0 and 28"),
    ("a root that is not aligned", patch(32, "<i", -33), "between 0 and 28|aligned"),
]


@pytest.mark.parametrize(("change", "reason"), [case[1:] for case in DAMAGES], ids=[case[0] for case in DAMAGES])
def test_damaged_leaves_are_refused(change: Callable[[bytearray], None], reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        decode(leaf_pair(change), dict[u32, u32])


def test_an_empty_map_is_not_looked_into() -> None:
    assert decode(struct.pack("<Ii", 0, 12345), dict[u32, u32]) == {}


def test_an_inner_node_must_name_the_first_keys_of_its_children() -> None:
    value = {n: n for n in range(1000)}
    data = bytearray(encode(value, dict[u32, u32]))
    (root,) = struct.unpack_from("<i", data, len(data) - 4)
    entry = len(data) - 4 + root + 12
    key = struct.unpack_from("<I", data, entry + 4)[0]
    assert key in value
    struct.pack_into("<I", data, entry + 4, key + 1)
    with pytest.raises(DecodeError, match="first key of the child"):
        decode(bytes(data), dict[u32, u32])


def test_two_children_can_not_be_one() -> None:
    data = bytearray(encode({n: n for n in range(2000)}, dict[u32, u32]))
    (root,) = struct.unpack_from("<i", data, len(data) - 4)
    node = len(data) - 4 + root
    (first,) = struct.unpack_from("<i", data, node + 12)
    struct.pack_into("<i", data, node + 20, first - 8)
    with pytest.raises(DecodeError, match="between"):
        decode(bytes(data), dict[u32, u32])
