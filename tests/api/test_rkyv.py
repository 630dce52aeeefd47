"""The public names of piecrust.rkyv."""

from __future__ import annotations

import piecrust.rkyv
from piecrust.rkyv import __all__ as names


def test_every_name_is_there_once_and_in_order() -> None:
    assert len(set(names)) == len(names)
    assert all(hasattr(piecrust.rkyv, name) for name in names)


def test_the_scalars_are_both_types_and_constructors() -> None:
    for name in names:
        if name[0] in "uif" and name[1:].isdecimal():
            make = getattr(piecrust.rkyv, name)
            assert piecrust.rkyv.decode(piecrust.rkyv.encode(make(1)), make) == 1
