"""The tree of errors, as it is drawn; who handles an error relies on it."""

from __future__ import annotations

import inspect
import pickle
import re

import pytest
from piecrust.objects import errors as object_errors
from piecrust.objects.errors import PiecrustError
from piecrust.vm import errors

LINE = re.compile(r"^    (?P<branch>[│├└─ ]*)(?P<name>[A-Z]\w+)(?P<also>[^\n]*)$")


def classes() -> dict[str, type[PiecrustError]]:
    return {
        name: value
        for name, value in vars(errors).items()
        if inspect.isclass(value) and issubclass(value, PiecrustError) and value is not PiecrustError
    }


def drawn() -> list[tuple[str, str, str | None]]:
    """Parent, name and kind of every line of the tree."""
    entries = []
    above = {0: "PiecrustError"}
    for line in (errors.__doc__ or "").splitlines():
        found = LINE.match(line)
        if found is None or found["name"] == "PiecrustError":
            continue
        depth = len(found["branch"]) // 4
        above[depth] = found["name"]
        words = re.sub(r"^ \(also \w+\)", "", found["also"])
        kind = re.match(r" +([A-Z]\w+)(?: {2,}.*)?$", words)
        entries.append((above[depth - 1], found["name"], kind[1] if kind else None))
    return entries


def test_the_drawing_is_the_tree() -> None:
    known = classes()
    assert {name for _, name, _ in drawn()} == set(known)
    for parent, name, _ in drawn():
        assert parent in {base.__name__ for base in known[name].__bases__}, name


def test_kinds_are_the_original_s_names() -> None:
    for _, name, kind in drawn():
        if classes()[name].__module__.startswith("piecrust.vm"):
            assert classes()[name].kind == kind, name


def test_both_trees_have_one_root() -> None:
    for module in (errors, object_errors):
        for value in vars(module).values():
            if inspect.isclass(value) and issubclass(value, Exception) and value.__module__ == module.__name__:
                assert issubclass(value, PiecrustError)


@pytest.mark.parametrize(
    "error",
    [errors.Panic("why"), errors.InvalidFunction("f"), errors.SessionBusy(), errors.GasLimitInvalid(-1)],
    ids=lambda error: type(error).__name__,
)
def test_errors_cross_processes_with_their_fields(error: PiecrustError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), vars(again)) == (str(error), vars(error))
