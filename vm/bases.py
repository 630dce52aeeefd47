"""What a new session stands on: the empty state, a commit, a branch, or the store's draft."""

from __future__ import annotations

from collections.abc import Mapping

from piecrust.objects import transcript
from piecrust.objects.commit import Commit
from piecrust.objects.errors import Conflict, InvalidFormat, UnknownRevision
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.refs import BRANCHES, DEFAULT_HEAD, DRAFT, HEAD, RefValue, Symbolic, check_ref_name
from piecrust.objects.revision import resolve
from piecrust.objects.state import EMPTY_STATE, State
from piecrust.objects.store import Store
from piecrust.objects.transcript import Transcript
from piecrust.vm.publication import Base

HEAD_NAMES = frozenset({HEAD, "@"})


def commit_state(store: Store, commit: CommitId) -> State:
    """The state of a commit.

    Raises:
        UnknownRevision: There is no such commit, or it was deleted.
    """
    if store.is_deleted(commit) or not store.contains(Kind.COMMIT, commit):
        raise UnknownRevision(commit.hex())
    found: Commit = store.load(Kind.COMMIT, commit)
    return found.state


def find_base(store: Store, base: CommitId | bytes | str | None, branch: str | None) -> Base:
    """What `base` names, else where `branch` is; a commit will move `branch`, or the branch that `base` is the name of.

    Raises:
        UnknownRevision: No commit is meant.
        AmbiguousRevision: Several could be.
    """
    moved = None if branch is None else check_ref_name(BRANCHES + branch)
    there = None if moved is None else _commit_at(store.refs(), moved)
    origin = there if base is None else base
    if isinstance(origin, str):
        found = _named_base(store, origin)
    elif origin is None:
        found = Base(None, EMPTY_STATE)
    else:
        commit = CommitId(origin)
        found = Base(commit, commit_state(store, commit))
    return found if moved is None else Base(found.commit, found.state, moved, there)


def find_draft(store: Store) -> tuple[Base, State, Transcript | None]:
    """The store's draft, else what HEAD names: the base, the state so far, and what was done for it, if anything.

    Raises:
        Conflict: HEAD moved since the draft was saved.
        InvalidFormat: What the store has as its draft was not made by a session.
    """
    base = _head_base(store, store.refs())
    draft = _commit_at(store.refs(), DRAFT)
    if draft is None:
        return _as_draft(base, None), base.state, None
    saved: Commit = store.load(Kind.COMMIT, draft)
    parent = saved.parents[0] if saved.parents else None
    if parent != base.commit:
        raise Conflict(HEAD, parent, base.commit)
    done = None if saved.transcript is None else transcript.load(store, saved.transcript)
    if not isinstance(done, Transcript | None):
        raise InvalidFormat("draft", "it was not made by calls")
    return _as_draft(base, draft), saved.state, done


def _as_draft(base: Base, draft: CommitId | None) -> Base:
    return Base(base.commit, base.state, base.ref, base.ref_value, keeps_draft=True, draft=draft)


def _named_base(store: Store, name: str) -> Base:
    refs = store.refs()
    if name in HEAD_NAMES:
        return _head_base(store, refs)
    commit = _commit_at(refs, BRANCHES + name)
    if commit is not None:
        return Base(commit, commit_state(store, commit), BRANCHES + name, commit)
    commit = resolve(store, name)
    return Base(commit, commit_state(store, commit))


def _head_base(store: Store, refs: Mapping[str, RefValue]) -> Base:
    """HEAD's branch, which may not exist yet, or the commit that HEAD is."""
    head = refs.get(HEAD, DEFAULT_HEAD)
    name = head.name if isinstance(head, Symbolic) else HEAD
    commit = _commit_at(refs, name)
    state = EMPTY_STATE if commit is None else commit_state(store, commit)
    return Base(commit, state, name, commit)


def _commit_at(refs: Mapping[str, RefValue], name: str) -> CommitId | None:
    value = refs.get(name)
    return None if value is None or isinstance(value, Symbolic) else value
