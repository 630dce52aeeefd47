from __future__ import annotations

import os
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.compression import compress, decompress
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.frame import (
    HEADER_BYTES,
    INLINE_BYTES_MAX,
    NO_CHAIN,
    Encoding,
    Entry,
    EntryFlags,
    FrameType,
    decode_head,
    encode_body,
    frame_is_valid,
    head_data,
    head_length,
    marker,
    read_header,
    seal_frame,
    short_payload,
)
from piecrust.objects.kinds import Kind

SALT = bytes(range(32))
MARK = marker(SALT)

ENTRIES = st.lists(
    st.builds(
        Entry,
        st.sampled_from(Kind),
        st.binary(min_size=32, max_size=32),
        st.sampled_from(Encoding),
        st.one_of(st.binary(max_size=40), st.integers(INLINE_BYTES_MAX - 2, INLINE_BYTES_MAX + 3).map(os.urandom)),
        st.sampled_from([0, EntryFlags.KEPT, EntryFlags.DELETED]),
    ),
    max_size=12,
)


@given(ENTRIES, st.binary(max_size=200))
@settings(max_examples=60, deadline=None)
def test_what_a_body_holds_is_found_where_the_rows_say(entries: list[Entry], meta: bytes) -> None:
    body = encode_body(entries, meta)
    frame, _ = seal_frame(SALT, MARK, FrameType.OBJECTS, 7, 0, NO_CHAIN, body.data)
    header = read_header(MARK, frame)
    assert header is not None
    assert header.length == len(frame)
    assert len(frame) % 8 == 0
    head = decode_head(frame[HEADER_BYTES : HEADER_BYTES + header.body_length], header.body_length)
    assert head.meta == meta
    assert len(head.rows) == len(body.rows) == len(entries)
    for entry, row, made in zip(entries, head.rows, body.rows, strict=True):
        inline = len(entry.payload) <= INLINE_BYTES_MAX
        data = head.data if inline else frame
        assert data[row.offset : row.offset + row.length] == entry.payload
        assert (row.kind, row.address, row.encoding) == (entry.kind, entry.address, entry.encoding)
        assert row.flags == entry.flags | (EntryFlags.INLINE if inline else 0)
        assert made == (row._replace(offset=0) if inline else row)


def test_the_head_alone_is_enough_for_what_is_in_it() -> None:
    entries = [
        Entry(Kind.PAGE, bytes(32), Encoding.RAW, os.urandom(5000)),
        Entry(Kind.BLOB, b"b" * 32, Encoding.RAW, b"x"),
    ]
    body = encode_body(entries, b"").data
    head = decode_head(body[: head_length(body)])
    assert [row.length for row in head.rows] == [5000, 1]


def test_addresses_that_repeat_take_room_once() -> None:
    addresses = [os.urandom(32) for _ in range(10)]
    entries = [Entry(Kind.NODE, a, Encoding.RAW, b"".join(addresses[i:])) for i, a in enumerate(addresses)]
    assert len(encode_body(entries, b"").data) < 10 * 32 + 250


def test_every_flipped_bit_of_a_frame_breaks_it() -> None:
    body = encode_body([Entry(Kind.BLOB, os.urandom(32), Encoding.RAW, os.urandom(30))], b"meta").data
    frame, _ = seal_frame(SALT, MARK, FrameType.OBJECTS, 1, 5, NO_CHAIN, body)
    for at in range(len(frame)):
        for bit in range(8):
            broken = bytearray(frame)
            broken[at] ^= 1 << bit
            header = read_header(MARK, bytes(broken))
            assert header is None or not frame_is_valid(SALT, header, bytes(broken)), (at, bit)


def test_a_frame_is_bound_to_its_place() -> None:
    body = encode_body([], b"").data
    first, chain = seal_frame(SALT, MARK, FrameType.OBJECTS, 1, 0, NO_CHAIN, body)
    second, other = seal_frame(SALT, MARK, FrameType.OBJECTS, 1, 0, chain, body)
    third, third_chain = seal_frame(bytes(32), MARK, FrameType.OBJECTS, 1, 0, NO_CHAIN, body)
    assert len({chain, other, third_chain}) == 3
    header = read_header(MARK, third)
    assert header is not None
    assert not frame_is_valid(SALT, header, third)
    assert first[:8] == second[:8] == MARK


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_hostile_bodies_are_refused(data: bytes) -> None:
    try:
        decode_head(data, len(data))
    except InvalidFormat:
        return
    raise AssertionError("random bytes were taken for a body")


@pytest.mark.parametrize(
    "head",
    [
        struct.pack("<II", 2**31, 0),
        struct.pack("<II", 0, 2**31),
        struct.pack("<II", 1, 0) + struct.pack("<BBBBI32s", 99, 0, 1, 0, 0, bytes(32)),
        struct.pack("<II", 1, 0) + struct.pack("<BBBBI32s", 1, 9, 1, 0, 0, bytes(32)),
        struct.pack("<II", 1, 0) + struct.pack("<BBBBI32s", 1, 0, 9, 0, 0, bytes(32)),
        struct.pack("<II", 1, 0) + struct.pack("<BBBBI32s", 1, 0, 1, 9, 0, bytes(32)),
        struct.pack("<II", 1, 0) + struct.pack("<BBBBI32s", 1, 0, 1, 0, 2**32 - 1, bytes(32)),
        struct.pack("<II", 1, 0) + struct.pack("<BBBBI32s", 1, 0, 0, 0, 2**32 - 1, bytes(32)),
        struct.pack("<II", 0, 0) + b"left over",
        b"",
    ],
)
def test_heads_that_do_not_add_up_are_refused(head: bytes) -> None:
    body = struct.pack("<II", len(head), len(head)) + head
    with pytest.raises(InvalidFormat):
        decode_head(body, len(body))


def test_decompression_is_bounded() -> None:
    bomb = compress(bytes(1 << 20))
    assert len(bomb) < 200
    assert decompress(bomb, 1 << 20) == bytes(1 << 20)
    with pytest.raises(InvalidFormat):
        decompress(bomb, (1 << 20) - 1)
    import zstandard

    sized = zstandard.ZstdCompressor().compress(bytes(1 << 20))
    with pytest.raises(InvalidFormat):
        decompress(sized, 1 << 19)
    with pytest.raises(InvalidFormat):
        decompress(b"no zstd", 100)
    stored = struct.pack("<II", len(bomb), 2**26 + 1) + bomb
    with pytest.raises(InvalidFormat):
        decode_head(stored, len(stored))


def test_what_could_not_be_read_again_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("piecrust.objects.frame.HEAD_BYTES_MAX", 100)
    assert encode_body([], bytes(92)).data
    with pytest.raises(InvalidFormat, match="101 bytes"):
        encode_body([], bytes(93))


def test_a_short_payload_is_found_by_kind_and_address() -> None:
    one, two = os.urandom(32), os.urandom(32)
    entries = [
        Entry(Kind.BLOB, one, Encoding.RAW, b"blob"),
        Entry(Kind.BLOB, two, Encoding.RAW, bytes(INLINE_BYTES_MAX + 1)),
        Entry(Kind.NODE, one, Encoding.RAW, b"node"),
        Entry(Kind.NODE, two, Encoding.RAW, one + b"a payload that names another object"),
    ]
    head = head_data(encode_body(entries, one + b"meta").data)
    assert short_payload(head, Kind.BLOB, one) == b"blob"
    assert short_payload(head, Kind.NODE, one) == b"node"
    assert short_payload(head, Kind.NODE, two) == entries[3].payload
    assert short_payload(head, Kind.BLOB, two) is None
    assert short_payload(head, Kind.PAGE, one) is None
