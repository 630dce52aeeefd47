"""Bodies of every kind: exact to the byte, verified when read, and changed into each other by patches."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from piecrust.objects import tree
from piecrust.objects.access import MemoryObjects
from piecrust.objects.codec import CODECS
from piecrust.objects.errors import CorruptObject, InvalidFormat
from piecrust.objects.ids import ZERO
from piecrust.objects.kinds import BODY_BYTES_MAX, RECORD_HASH, Kind
from piecrust.objects.node import Node
from piecrust.objects.page import PAGE_BYTES, ZERO_PAGE, ZERO_PAGE_HASH, page_hash
from piecrust.objects.tree import CONTRACTS, PAGES_32
from support.fixtures import FIXTURES
from support.sample_objects import sample

GOLDEN = FIXTURES / "golden" / "objects.jsonl"

SAMPLE = sample()
STAGED = list(SAMPLE.objects.staged())


def golden_lines() -> list[str]:
    """The sample's objects, a line each; pages are told by their hash alone."""
    lines = []
    for kind, address, staged in STAGED:
        body = CODECS[kind].encode(staged.value)
        shown = "" if kind is Kind.PAGE else body.hex()
        lines.append(json.dumps({"kind": kind.name, "number": int(kind), "address": address.hex(), "body": shown}))
    return lines


def test_objects_are_those_that_were_written_before():
    assert golden_lines() == GOLDEN.read_text().splitlines()


def test_old_objects_are_read():
    for entry in map(json.loads, GOLDEN.read_text().splitlines()):
        kind, address, body = Kind(entry["number"]), bytes.fromhex(entry["address"]), bytes.fromhex(entry["body"])
        if kind is not Kind.PAGE:
            assert CODECS[kind].encode(CODECS[kind].decode(address, body)) == body


@pytest.mark.parametrize("kind", Kind)
def test_what_is_encoded_is_decoded(kind):
    found = [(address, s.value) for k, address, s in STAGED if k is kind]
    assert found
    for address, value in found:
        body = CODECS[kind].encode(value)
        assert len(body) <= BODY_BYTES_MAX[kind]
        again = CODECS[kind].decode(address, body)
        assert CODECS[kind].encode(again) == body
        if kind is Kind.NODE:
            assert (again.children, again.inner) == (value.children, value.inner)
        else:
            assert again == value


@pytest.mark.parametrize("kind", [k for k in Kind if k is not Kind.PAGE])
def test_every_flipped_bit_of_a_body_is_detected(kind):
    for k, address, staged in STAGED:
        if k is not kind:
            continue
        body = CODECS[kind].encode(staged.value)
        for at in range(len(body)):
            for bit in (0, 3, 7):
                flipped = bytearray(body)
                flipped[at] ^= 1 << bit
                with pytest.raises(CorruptObject):
                    CODECS[kind].decode(address, bytes(flipped))


@pytest.mark.parametrize("kind", Kind)
def test_a_cut_or_lengthened_body_is_detected(kind):
    address, value = next((address, s.value) for k, address, s in STAGED if k is kind)
    body = CODECS[kind].encode(value)
    for wrong in (b"", body[:-1], body[1:], body + b"\0", body + body[-33:]):
        with pytest.raises(CorruptObject):
            CODECS[kind].decode(address, wrong)


def test_one_body_is_not_two_kinds():
    record = next(CODECS[Kind.RECORD].encode(s.value) for k, _, s in STAGED if k is Kind.RECORD)
    for kind in (Kind.TRANSCRIPT, Kind.BLOB, Kind.BYTECODE, Kind.COMMIT, Kind.NODE):
        with pytest.raises(CorruptObject):
            CODECS[kind].decode(RECORD_HASH(record), record)


def leaf(n: int) -> bytes:
    return bytes([n]) * 32


@pytest.mark.parametrize("hinted", [True, False])
def test_a_node_is_patched_by_its_changed_children(hinted):
    objects = MemoryObjects()
    base = tree.update(objects, PAGES_32, ZERO, {n: leaf(n + 1) for n in range(40)})
    new = tree.update(objects, PAGES_32, base, {3: leaf(99), 200: leaf(98)})
    staged = {address: s for _, address, s in objects.staged()}
    codec = CODECS[Kind.NODE]
    patch = codec.delta(staged[new].value, staged[new].hint if hinted else None, lambda: staged[base].value)
    assert len(patch) == 66
    body = codec.patched(codec.encode(staged[base].value), patch)
    assert codec.decode(new, body).children == staged[new].value.children


def test_a_node_that_lost_a_child_or_grew_a_level_is_kept_whole():
    objects = MemoryObjects()
    base = tree.update(objects, CONTRACTS, ZERO, {1: leaf(1), 2: leaf(2)})
    for change in ({2: None}, {300: leaf(3)}):
        new = tree.update(objects, CONTRACTS, base, change)
        staged = {address: s for _, address, s in objects.staged()}
        assert staged[new].hint is None
        assert CODECS[Kind.NODE].delta(staged[new].value, None, lambda s=staged: s[base].value) is None


def test_a_record_is_patched_by_its_changed_bytes():
    records = {s.base: (address, s.value) for k, address, s in STAGED if k is Kind.RECORD}
    base = next(b for b in records if b is not None)
    address, value = records[base]
    old = SAMPLE.objects.load(Kind.RECORD, base)
    codec = CODECS[Kind.RECORD]
    patch = codec.delta(value, None, lambda: old)
    assert len(patch) < 40
    assert codec.decode(address, codec.patched(codec.encode(old), patch)) == value


def test_a_page_is_patched_by_its_changed_bytes():
    old = bytes(PAGE_BYTES)
    new = bytes(5000) + b"changed" + bytes(PAGE_BYTES - 5007)
    codec = CODECS[Kind.PAGE]
    patch = codec.delta(new, 1 << 1, lambda: old)
    assert len(patch) == 10
    assert codec.decode(page_hash(new), codec.patched(old, patch)) == new


def node_body(*entries: tuple[int, bytes], header: bytes = bytes([1, 4, 4, 0, 0, 0, 0])) -> bytes:
    return header + b"".join(bytes([index]) + value for index, value in entries)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "shorter"),
        (node_body((1, leaf(1)), header=bytes([2, 4, 4, 0, 0, 0, 0])), "version 2"),
        (node_body((1, leaf(1)), header=bytes([1, 3, 4, 0, 0, 0, 0])), "arity 3"),
        (node_body((1, leaf(1)), header=bytes([1, 2, 0, 0, 0, 0, 0])), "0 levels"),
        (node_body((1, leaf(1)), header=bytes([1, 4, 17, 0, 0, 0, 0])), "17 levels"),
        (node_body((1, leaf(1)), header=bytes([1, 2, 255, 0, 0, 0, 0])), "255 levels"),
        (node_body((1, leaf(1)), header=bytes([1, 4, 4, 0, 0, 0, 1])), "outside"),
        (node_body((4, leaf(1)), header=bytes([1, 4, 1, 0, 0, 0, 0])), "outside"),
        (node_body(), "no whole number"),
        (node_body((1, leaf(1)))[:-1], "no whole number"),
        (node_body((2, leaf(1)), (1, leaf(2))), "out of order"),
        (node_body((1, leaf(1)), (1, leaf(1))), "out of order"),
        (node_body((1, leaf(1))), "its hash is"),
    ],
)
def test_malformed_nodes_are_refused(body, reason):
    with pytest.raises(CorruptObject, match=reason):
        CODECS[Kind.NODE].decode(bytes(32), body)


@pytest.mark.parametrize("patch", [b"", bytes(32), bytes(34), b"\x02" + leaf(1) + b"\x01" + leaf(1)])
def test_malformed_patches_of_nodes_are_refused(patch):
    base = Node.of(4, 4, 0, {1: leaf(1)}).encode()
    with pytest.raises(InvalidFormat):
        CODECS[Kind.NODE].patched(base, patch)


def test_the_zero_page_is_everywhere():
    assert MemoryObjects().load(Kind.PAGE, ZERO_PAGE_HASH) == ZERO_PAGE
    assert MemoryObjects().contains(Kind.PAGE, ZERO_PAGE_HASH)


if __name__ == "__main__":  # writes the golden file anew
    Path(sys.argv[1] if len(sys.argv) > 1 else GOLDEN).write_text("\n".join(golden_lines()) + "\n")
