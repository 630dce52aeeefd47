"""Revisions as they are typed: the commits that they name, or why they name none."""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING

from piecrust.cli.command_errors import Missing
from piecrust.objects import errors
from piecrust.objects.ids import CommitId
from piecrust.objects.refs import BRANCHES, HEAD, TAGS
from piecrust.objects.revision import PREFIX_DIGITS_MIN, range_ends, resolve
from piecrust.vm.workspace import Workspace

if TYPE_CHECKING:
    from piecrust.objects.store import Store

_STEPS = re.compile(r"@\{|[~^]")


class UnknownRevision(Missing):
    """No commit is meant by a revision."""


def find_commit(store: Store, text: str) -> CommitId:
    """The commit that a revision names.

    Raises:
        UnknownRevision: it names none.
        AmbiguousRevision: it names several.
        InvalidRevision: it is no revision.
    """
    try:
        return resolve(store, text)
    except errors.UnknownRevision:
        raise _explained(store, text) from None


def find_range(store: Store, text: str) -> tuple[CommitId, CommitId]:
    """Both ends of `a..b`; raises as `find_commit` does."""
    start, end = range_ends(text)
    return find_commit(store, start), find_commit(store, end)


def _explained(store: Store, text: str) -> UnknownRevision:
    """The error for a revision that names nothing, with what may have been meant."""
    head = Workspace(store).head()
    base = _STEPS.split(text, maxsplit=1)[0]
    name = HEAD if base in ("", "@") else base
    message, listing = f"unknown revision {text!r}", ["piecrust log --all", "piecrust branch   (branches by name)"]
    if head.commit is None and name in (HEAD, head.branch):
        hints = ["piecrust deploy FILE.wasm --alias NAME", "piecrust commit -m MESSAGE"]
        return UnknownRevision(message, details=[f"{head.branch or HEAD} has no commits yet"], hints=hints)
    if base != text and _names_something(store, name):
        return UnknownRevision(
            message, details=[f"{name} does not go back so far"], hints=["piecrust log", *listing[1:]]
        )
    if len(name) < PREFIX_DIGITS_MIN and re.fullmatch("[0-9a-fA-F]+", name):
        listing = [f"at least {PREFIX_DIGITS_MIN} digits of an id are needed", *listing]
    names = [ref.removeprefix(prefix) for ref in store.refs() for prefix in (BRANCHES, TAGS) if ref.startswith(prefix)]
    near = get_close_matches(name, [HEAD, *names])
    return UnknownRevision(message, hints=[*(f"did you mean {word}?" for word in near), *listing])


def _names_something(store: Store, name: str) -> bool:
    try:
        resolve(store, name)
    except errors.PiecrustError:
        return False
    return True
