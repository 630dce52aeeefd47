"""Revisions: the texts that name commits.

| revision | the commit |
|---|---|
| `main`, `v1`, `heads/main`, `tags/v1`, `origin/main` | that a branch or tag, also of a remote, is at |
| `HEAD`, `@` | that the working state stands on |
| 64 hexadecimal digits | with that id; else the one commit whose state has that root |
| at least 4 digits | the one commit whose id begins with them |
| `root:<64 digits>` | the one commit whose state has that root |
| `<name>@{2}`, `@{2}` | where a ref, or the branch of HEAD, was two moves ago |
| `<revision>~3` | three first parents back; `~` is `~1` |
| `<revision>^2` | the second parent; `^` is `^1`, `^0` the commit itself |

Steps may be chained: `main~2^2`. A name goes before digits. A range is `<revision>..<revision>`, where a missing side
stands for HEAD.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, Protocol

from piecrust.objects.commit import Placed, ancestor
from piecrust.objects.errors import AmbiguousRevision, InvalidRevision, ObjectNotFound, UnknownRevision
from piecrust.objects.ids import ID_BYTES, Address, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import OperationRecord
from piecrust.objects.refs import BRANCHES, DEFAULT_HEAD, HEAD, REMOTES, TAGS, RefValue, Symbolic

PREFIX_DIGITS_MIN: Final = 4
REVISION_LENGTH_MAX: Final = 1024

_ROOT: Final = "root:"
_SYMBOLIC_HOPS: Final = 8
_REVISION = re.compile(
    r"(?P<base>root:[^~^@{}\s]*|[^~^@{}:\s]+|@)?(?:@\{(?P<moves>[0-9]{1,9})\})?(?P<steps>(?:[~^][0-9]{0,9})*)"
)
_STEP = re.compile(r"([~^])([0-9]*)")
_DIGITS = re.compile(r"[0-9a-f]+")


class Revisions(Protocol):
    """What revisions are looked up in; the store."""

    def contains(self, kind: Kind, address: bytes, /) -> bool:
        """Whether there is such an object."""

    def find(self, kind: Kind, prefix: str) -> Sequence[Address]:
        """The addresses that begin with these digits."""

    def refs(self) -> Mapping[str, RefValue]:
        """All refs."""

    def graph(self, commit: CommitId) -> Placed:
        """Where a commit stands in history."""

    def commits(self) -> Sequence[CommitId]:
        """The commits that are kept."""

    def commits_with_root(self, root: bytes) -> Sequence[CommitId]:
        """The commits whose state has this root."""

    def operations(self) -> Iterator[OperationRecord]:
        """What was done, the latest first."""


def resolve(store: Revisions, text: str) -> CommitId:
    """The commit that a revision names.

    Raises:
        InvalidRevision: it is not in the grammar above.
        UnknownRevision: it names nothing.
        AmbiguousRevision: it names several commits.
    """
    match = _REVISION.fullmatch(text) if len(text) <= REVISION_LENGTH_MAX else None
    if match is None or not (match["base"] or match["moves"]):
        raise InvalidRevision(text[:REVISION_LENGTH_MAX], "see `piecrust.objects.revision` for what revisions are")
    if match["moves"]:
        commit = _earlier(store, text, match["base"], int(match["moves"]))
    else:
        commit = _base(store, text, match["base"])
    for sign, digits in _STEP.findall(match["steps"]):
        found = _step(store, commit, sign, int(digits or 1))
        if found is None:
            raise UnknownRevision(text)
        commit = found
    return commit


def resolve_range(store: Revisions, text: str) -> tuple[CommitId, CommitId]:
    """Both ends of `a..b`."""
    start, end = range_ends(text)
    return resolve(store, start), resolve(store, end)


def range_ends(text: str) -> tuple[str, str]:
    """The revisions of `a..b`; HEAD for one that is left out.

    Raises:
        InvalidRevision: it is no range.
    """
    start, dots, end = text.partition("..")
    if not dots or end.startswith(".") or ".." in end:
        raise InvalidRevision(text[:REVISION_LENGTH_MAX], "a range is <revision>..<revision>")
    return start or HEAD, end or HEAD


def _base(store: Revisions, text: str, base: str) -> CommitId:
    """The commit of a revision without moves and steps."""
    refs = {HEAD: DEFAULT_HEAD, **store.refs()}
    if base.startswith(_ROOT):
        digits = base.removeprefix(_ROOT).lower()
        if len(digits) != 2 * ID_BYTES or not _DIGITS.fullmatch(digits):
            raise InvalidRevision(text, f"{_ROOT} takes {2 * ID_BYTES} hexadecimal digits")
        return _one(store, text, store.commits_with_root(bytes.fromhex(digits)))
    names = _names(refs, base)
    if names:
        commits = {commit for name in names if (commit := _follow(refs, name)) is not None}
        return _one(store, text, sorted(commits))
    digits = base.lower()
    if not _DIGITS.fullmatch(digits) or len(digits) > 2 * ID_BYTES:
        raise UnknownRevision(text)
    if len(digits) == 2 * ID_BYTES:
        address = bytes.fromhex(digits)
        if store.contains(Kind.COMMIT, address):
            return CommitId(address)
        return _one(store, text, store.commits_with_root(address))
    if len(digits) < PREFIX_DIGITS_MIN:
        raise UnknownRevision(text)
    return _one(store, text, [CommitId(address) for address in store.find(Kind.COMMIT, digits)])


def _names(refs: Mapping[str, RefValue], base: str) -> list[str]:
    """The full names of the refs that a text may mean."""
    if base == "@":
        base = HEAD
    return [name for name in (base, BRANCHES + base, TAGS + base, REMOTES + base) if name in refs]


def _follow(refs: Mapping[str, RefValue], name: str) -> CommitId | None:
    """The commit that a ref leads to, if it does."""
    for _ in range(_SYMBOLIC_HOPS):
        value = refs.get(name)
        if not isinstance(value, Symbolic):
            return value
        name = value.name
    return None


def _one(store: Revisions, text: str, candidates: Iterable[CommitId]) -> CommitId:
    """The only candidate, or the only one that is kept: deleted commits and old drafts don't stand in the way."""
    found = sorted(set(candidates))
    if len(found) > 1:
        kept = set(store.commits())
        found = [commit for commit in found if commit in kept] or found
    if not found:
        raise UnknownRevision(text)
    if len(found) > 1:
        raise AmbiguousRevision(text, found)
    return found[0]


def _step(store: Revisions, commit: CommitId, sign: str, count: int) -> CommitId | None:
    """One `~n` or `^n`."""
    try:
        if sign == "~":
            return ancestor(store.graph, commit, count)
        parents = store.graph(commit).parents
    except ObjectNotFound:
        return None  # the commit, or one before it, is no longer there
    if count == 0:
        return commit
    return parents[count - 1] if count <= len(parents) else None


def _earlier(store: Revisions, text: str, base: str | None, moves: int) -> CommitId:
    """Where a ref was so many moves ago, told from the operation log."""
    refs = {HEAD: DEFAULT_HEAD, **store.refs()}
    head = refs[HEAD]
    branch = head.name if isinstance(head, Symbolic) else HEAD
    names = [branch] if base is None else _names(refs, base)
    if not names:
        raise UnknownRevision(text)
    if len(names) > 1:
        raise AmbiguousRevision(text, sorted({c for name in names if (c := _follow(refs, name)) is not None}))
    here = _follow(refs, names[0])
    operations = store.operations()
    while moves > 0 or here is None:
        record = next(operations, None)
        if record is None:
            raise UnknownRevision(text)
        for name, change in record.ref_changes.items():
            if change.before is None:
                refs.pop(name, None)
            else:
                refs[name] = change.before
        before = _follow(refs, names[0])
        if before != here:
            here, moves = before, moves - 1
    return here
