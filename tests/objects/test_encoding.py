"""Only canonical encodings are read, and no input costs more than its length."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import encoding
from piecrust.objects.encoding import Fields
from piecrust.objects.errors import InvalidFormat

scalars = st.one_of(st.none(), st.booleans(), st.integers(0, 2**64 - 1), st.binary(max_size=40), st.text(max_size=20))
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=5).map(tuple), max_leaves=12)


@settings(max_examples=150, deadline=None)
@given(values)
def test_values_come_back(value):
    assert encoding.decode("thing", encoding.encode(value)) == value


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60))
def test_noise_is_refused_or_canonical(body):
    try:
        value = encoding.decode("thing", body)
    except InvalidFormat:
        return
    assert encoding.encode(value) == body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\x00\x00",  # trailing byte
        b"\x18\x01",  # 1 in two bytes
        b"\x19\x00\xff",
        b"\x58\x01a",  # a short string with a long head
        b"\x9f\x00\xff",  # indefinite lengths
        b"\x5f\x41a\xff",
        b"\xc2\x41\x01",  # tags: bignum, date, shared reference, regular expression, unknown, self-described
        b"\xc0\x60",
        b"\xd8\x1c\x81\xd8\x1d\x00",
        b"\xd8\x23\x61(",
        b"\xd9\xff\xfe\x00",
        b"\xd9\xd9\xf7\x00",
        b"\xa2\x61b\x00\x61a\x00",  # keys out of order
        b"\xa2\x61a\x00\x61a\x01",  # a key twice
        b"\x61\xff",  # not UTF-8
        b"\xfb\x3f\xf0\x00\x00\x00\x00\x00\x00",  # 1.0 in 8 bytes
        b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",  # lengths without contents
        b"\x5b\x7f\xff\xff\xff\xff\xff\xff\xff",
        b"\xbb\x00\x00\x00\x01\x00\x00\x00\x00",
        b"\x81" * 100_000,  # nesting
        b"\x81" * 100 + b"\x00",
        b"\xff",
    ],
    ids=lambda body: f"{len(body)}-{body[:9].hex()}",
)
def test_other_encodings_are_refused(body):
    with pytest.raises(InvalidFormat, match="thing"):
        encoding.decode("thing", body)


@pytest.mark.parametrize(
    ("value", "take"),
    [
        ((-1,), lambda f: f.uint()),
        ((2,), lambda f: f.uint(1)),
        ((True,), lambda f: f.uint()),
        ((1,), lambda f: f.flag()),
        ((bytes(31),), lambda f: f.hash()),
        (("a" * 32,), lambda f: f.hash()),
        ((0,), lambda f: f.hash_or_none()),
        ((bytes(5),), lambda f: f.data(4)),
        (("é",), lambda f: f.text(1)),
        ((b"e",), lambda f: f.text(1)),
        (((1, 2),), lambda f: f.array(1)),
        (((bytes(32), 1),), lambda f: f.hashes(2)),
        ((1, 2), lambda f: f.version(2)),
        ((), lambda f: f.take()),
        ((1,), lambda f: f.end()),
    ],
)
def test_fields_are_checked(value, take):
    with pytest.raises(InvalidFormat):
        take(Fields("thing", value))


def test_fields_are_taken_in_order():
    fields = Fields("thing", (1, 7, b"ab", "é", None, True, (bytes(32),)))
    fields.version(1)
    assert (fields.uint(), fields.data(2), fields.text(2), fields.hash_or_none(), fields.flag()) == (
        7,
        b"ab",
        "é",
        None,
        True,
    )
    assert fields.hashes(1) == (bytes(32),)
    fields.end()
