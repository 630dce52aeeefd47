"""The tree of errors is the one that the module's docstring draws."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest
from piecrust.objects import errors
from piecrust.objects.errors import PiecrustError


def _classes() -> dict[str, type[PiecrustError]]:
    found = inspect.getmembers(errors, inspect.isclass)
    return {name: cls for name, cls in found if issubclass(cls, PiecrustError)}


def test_the_drawing_is_the_tree():
    drawn, path = {}, []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"    ([│├└─ ]*)([A-Z]\w+)", line)
        if not match:
            continue
        depth = len(match[1]) // 4
        path[depth:] = [match[2]]
        drawn[match[2]] = path[depth - 1] if depth else None
    real = {n: c.__mro__[1].__name__ if c is not PiecrustError else None for n, c in _classes().items()}
    assert drawn == real


def test_kinds_are_the_original_names():
    kinds = {n: c.kind for n, c in _classes().items() if c.kind is not None}
    assert kinds == {
        "UnknownRevision": "PersistenceError",
        "ContractPositionCollision": "ContractPositionCollision",
    }


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (errors.NotAStore("x", "no FORMAT file"), "x is not a store: no FORMAT file"),
        (errors.CorruptObject("PAGE", b"\xab", "hash differs"), "page ab is corrupt: hash differs"),
        (errors.InvalidFormat("commit", "trailing bytes", 7), "invalid commit at offset 7: trailing bytes"),
        (errors.AmbiguousRevision("ab", [b"\xab\x01", b"\xab\x02"]), "revision 'ab' is ambiguous: ab01, ab02"),
        (errors.Conflict("heads/main", b"\x01", None), "heads/main is at nothing, not at 01"),
    ],
)
def test_fields_make_the_text(error, text):
    assert str(error) == text


def test_every_error_survives_pickling():
    error = errors.Conflict("heads/main", b"\x01", b"\x02")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.ref, copy.expected, copy.actual) == ("heads/main", b"\x01", b"\x02")
