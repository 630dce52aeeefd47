"""Objects in memory: layers, and what is put twice."""

from __future__ import annotations

import pytest
from piecrust.objects.access import MemoryObjects, Overlay
from piecrust.objects.errors import ObjectNotFound
from piecrust.objects.kinds import Kind
from piecrust.objects.page import ZERO_PAGE, ZERO_PAGE_HASH

A, B = b"\x01" * 32, b"\x02" * 32


def test_an_overlay_reads_through_and_keeps_what_is_put():
    below = MemoryObjects()
    below.put(Kind.BLOB, A, b"below")
    above = Overlay(below)
    above.put(Kind.BLOB, B, b"above", base=A, hint=3)
    assert above.load(Kind.BLOB, A) == b"below"
    assert above.load(Kind.BLOB, B) == b"above"
    assert not below.contains(Kind.BLOB, B)
    assert [(kind, address, *staged) for kind, address, staged in above.staged()] == [
        (Kind.BLOB, B, b"above", A, 3, False)
    ]


def test_what_is_there_is_not_put_again():
    below = MemoryObjects()
    below.put(Kind.BLOB, A, b"first")
    below.put(Kind.BLOB, A, b"second")
    above = Overlay(below)
    above.put(Kind.BLOB, A, b"third")
    above.put(Kind.PAGE, ZERO_PAGE_HASH, ZERO_PAGE)
    assert above.load(Kind.BLOB, A) == b"first"
    assert list(above.staged()) == []


def test_one_address_may_name_two_kinds():
    objects = MemoryObjects()
    objects.put(Kind.BLOB, A, b"blob")
    assert not objects.contains(Kind.PAGE, A)
    with pytest.raises(ObjectNotFound, match="page"):
        objects.load(Kind.PAGE, A)
