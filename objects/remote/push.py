"""Pushing: what a remote lacks goes there in packs, then its refs move.

- A ref moves only after every pack that its commit needs is there for good. What a push that failed leaves behind are
  packs that nobody asks for; the same push, made again, makes the same packs.
- What the remote has is told by the refs that were just read from it, never by what was remembered.
- A ref is moved from where it was read to be, or not at all.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from enum import Enum

from piecrust.objects.ancestry import walk_between
from piecrust.objects.bundle_writer import origins
from piecrust.objects.commit import Commit
from piecrust.objects.errors import NonFastForward, ObjectNotFound, UnknownRef
from piecrust.objects.frame import EntryFlags
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import ZERO_PAGE_HASH
from piecrust.objects.progress import Progress, silent
from piecrust.objects.refs import BRANCHES
from piecrust.objects.remote.added import Item, added_objects
from piecrust.objects.remote.outgoing import OutgoingPack, PackBuilder
from piecrust.objects.remote.remote_pack import pack_key
from piecrust.objects.remote.remote_refs import RemoteRef, RemoteRefs
from piecrust.objects.remote.storage import Storage
from piecrust.objects.store import Store


class Force(Enum):
    """Whether a ref may go where its history is lost."""

    NO = "no"
    LEASE = "lease"  # if it is where it was expected


@dataclass(frozen=True, slots=True)
class Update:
    """That a ref of the remote is to be at a commit; None: it is to be deleted.

    With `force` it may lose commits, as long as it is at `expected`.
    """

    ref: str
    commit: CommitId | None
    force: Force = Force.NO
    expected: CommitId | None = None


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a push did to a ref: where it was and where it is."""

    ref: str
    before: CommitId | None
    after: CommitId | None


@dataclass(frozen=True, slots=True)
class PushReport:
    """What a push did, and what it sent."""

    refs: tuple[Pushed, ...]
    commits: int
    packs: tuple[bytes, ...]
    bytes_sent: int


def push(store: Store, storage: Storage, updates: Sequence[Update], progress: Progress = silent) -> PushReport:
    """Send what the remote lacks of some commits, and move its refs to them.

    Raises:
        NonFastForward: a ref has commits that the pushed one does not descend from, or somebody else was first; refs
            before it in `updates` were moved.
        UnknownRef: a ref that is to be deleted isn't there.
        RemoteUnavailable: the remote can't be reached; the refs that were not moved are where they were.
        CorruptRemote: a ref of the remote is damaged.
        ObjectNotFound, CorruptObject: the store lacks something of what is to be sent.
    """
    with ExitStack() as leases:
        for update in updates:
            if update.commit is not None:
                leases.enter_context(store.lease(update.commit))
        store.refresh()
        return _push(store, storage, updates, progress)


def _push(store: Store, storage: Storage, updates: Sequence[Update], progress: Progress) -> PushReport:
    refs = RemoteRefs(storage)
    for update in updates:
        if update.commit is not None and store.is_deleted(update.commit):
            raise ObjectNotFound("state of commit", update.commit)
    there = {update.ref: refs.read(update.ref) for update in updates}
    for update in updates:
        _check(store, update, there[update.ref])
    moving = [update for update in updates if _at(there[update.ref]) != update.commit]
    wanted = [update.commit for update in moving if update.commit is not None]
    sent, packs, sent_bytes = 0, list[bytes](), 0
    if wanted:
        known = {commit for ref in there.values() if (commit := _at(ref)) is not None}
        if any(_at(there[update.ref]) is None for update in moving):
            known |= set(refs.everything().values())
        commits = missing_commits(store, wanted, known)
        sent = len(commits)
        for pack in _packs(store, commits, known, progress):
            storage.put(pack_key(pack.name), pack.data)
            store.rest()
            packs.append(pack.name)
            sent_bytes += len(pack.data)
    for update in moving:
        refs.move(update.ref, there[update.ref], update.commit)
    done = tuple(Pushed(update.ref, _at(there[update.ref]), update.commit) for update in updates)
    return PushReport(done, sent, tuple(packs), sent_bytes)


def missing_commits(store: Store, tips: Iterable[CommitId], known: Collection[CommitId]) -> list[CommitId]:
    """What `tips` come from and none of `known` does, parents first; commits that others were restored from, too."""
    excluded = [commit for commit in known if store.contains(Kind.COMMIT, commit)]
    found: dict[CommitId, None] = {}
    todo = list(dict.fromkeys(tips))
    while todo:
        fresh = [c for c in walk_between(store.graph, todo, excluded) if c not in found]
        found.update(dict.fromkeys(fresh))
        todo = [
            origin
            for commit in fresh
            for origin in origins(store, store.load(Kind.COMMIT, commit))
            if origin not in found
            and store.contains(Kind.COMMIT, origin)
            and not any(store.is_ancestor(origin, other) for other in excluded)
        ]
    return sorted(found, key=lambda commit: (store.graph(commit).generation, commit))


def _check(store: Store, update: Update, now: RemoteRef | None) -> None:
    """Raise unless the ref may go where it is to go."""
    at = _at(now)
    if update.commit is None and at is None:
        raise UnknownRef(update.ref)
    if (at is None and update.force is Force.NO) or at == update.commit:
        return
    if update.force is Force.LEASE:
        if at != update.expected:
            raise NonFastForward(update.ref, update.expected, at)
        return
    moves_on = (
        update.commit is not None
        and at is not None
        and update.ref.startswith(BRANCHES)
        and store.contains(Kind.COMMIT, at)
        and store.is_ancestor(at, update.commit)
    )
    if update.commit is not None and not moves_on:
        raise NonFastForward(update.ref, update.commit, at)


def _at(ref: RemoteRef | None) -> CommitId | None:
    return None if ref is None else ref.commit


def _packs(
    store: Store, commits: list[CommitId], known: Collection[CommitId], progress: Progress
) -> Iterator[OutgoingPack]:
    builder, whole = PackBuilder(store), set[CommitId]()
    sent: set[Item] = {(Kind.PAGE, ZERO_PAGE_HASH)}
    for done, commit in enumerate(commits):
        progress("push", done, len(commits))
        value: Commit = store.load(Kind.COMMIT, commit)
        gone = store.is_deleted(commit)
        if not gone:
            base = _base(store, value, whole, known)
            for kind, address in added_objects(store, value, base):
                if (kind, bytes(address)) not in sent:
                    sent.add((kind, bytes(address)))
                    builder.add(kind, address)
                    if builder.is_full:
                        yield _taken(builder)
            whole.add(commit)
        builder.add(Kind.COMMIT, commit, EntryFlags.DELETED if gone else 0)
    progress("push", len(commits), len(commits))
    last = builder.take()
    if last is not None:
        yield last


def _base(store: Store, commit: Commit, sent: Collection[CommitId], known: Collection[CommitId]) -> Commit | None:
    """A commit near this one whose whole state the remote has, or was sent: that of an ancestor may not be there."""
    for parent in commit.parents:
        if parent in known or parent in sent:
            return _loaded(store, parent)
    for tip in known:
        if store.contains(Kind.COMMIT, tip) and any(store.is_ancestor(parent, tip) for parent in commit.parents):
            return _loaded(store, tip)
    return None


def _loaded(store: Store, commit: CommitId) -> Commit:
    found: Commit = store.load(Kind.COMMIT, commit)
    return found


def _taken(builder: PackBuilder) -> OutgoingPack:
    pack = builder.take()
    assert pack is not None, "a full one holds something"
    return pack
