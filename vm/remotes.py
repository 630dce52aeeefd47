"""Working with remotes: fetch, push, pull and clone, by the names that a store has for them."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from piecrust.objects.errors import InvalidRemote, NotAStore, RemoteUnavailable, StoreError, UnknownRef
from piecrust.objects.format import STORE_DIRECTORY
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.oplog import Operation
from piecrust.objects.progress import Progress, silent
from piecrust.objects.refs import (
    BRANCHES,
    DEFAULT_BRANCH,
    DEFAULT_REMOTE,
    HEAD,
    REMOTES,
    TAGS,
    Symbolic,
    check_ref_name,
)
from piecrust.objects.remote.fetch import Extent, FetchReport
from piecrust.objects.remote.fetch import fetch as fetch_from
from piecrust.objects.remote.push import Force, PushReport, Update
from piecrust.objects.remote.push import push as push_to
from piecrust.objects.remote.remotes import RemoteEntry, Remotes
from piecrust.objects.remote.taken import TAKEN_SUFFIX, TakenPacks
from piecrust.objects.revision import resolve
from piecrust.objects.store import Store
from piecrust.vm.errors import NothingCommitted
from piecrust.vm.merge import MergeResult, ScratchOf, merge, no_scratch
from piecrust.vm.workspace import Workspace

_CACHE_BYTES: Final = 16 << 20  # what a clone reads again is near


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a pull did: what was fetched, and how it was joined."""

    fetched: FetchReport
    merged: MergeResult


def fetch(
    store: Store, remote: str = DEFAULT_REMOTE, *, depth: int | None = None, progress: Progress = silent
) -> FetchReport:
    """Bring what a remote has; branches become `remotes/<remote>/<branch>`, tags that are new tags.

    A remote that was cloned lazily goes on being lazy. `depth` as of `clone`.

    Raises:
        UnknownRemote: the store knows no remote of this name.
        RemoteUnavailable, CorruptRemote: nothing moved.
    """
    remotes = Remotes(store)
    extent = Extent.LAZY if remotes[remote].lazy and depth is None else Extent.WHOLE
    return fetch_from(store, remote, remotes.open(remote), extent=extent, depth=depth, progress=progress)


def push(
    store: Store,
    remote: str = DEFAULT_REMOTE,
    refs: Sequence[str] = (),
    *,
    delete: bool = False,
    force: bool = False,
    progress: Progress = silent,
) -> PushReport:
    """Send branches and tags to a remote; without `refs`, the branch that HEAD is on.

    A ref is `main`, `v1`, `heads/main`, or `SOURCE:NAME` to push a revision as a branch or tag of that name. With
    `force` a branch may lose commits, as long as it is where this store last saw it.

    Raises:
        NonFastForward: the remote has commits that this would lose: pull first.
        UnknownRemote, UnknownRef: there is no remote, branch or tag of this name.
        RemoteUnavailable: nobody knows whether the last ref moved; push again.
        CorruptRemote: the remote is damaged.
    """
    store.refresh()
    storage = Remotes(store).open(remote)
    updates = []
    for text in refs or [_current(store)]:
        ref, commit = _target(store, text, delete=delete)
        expected = store.refs().get(_tracking(remote, ref))
        at = expected if isinstance(expected, CommitId) else None
        updates.append(Update(ref, commit, Force.LEASE if force else Force.NO, at))
    report = push_to(store, storage, updates, progress)
    TakenPacks(store, remote).add(report.packs, settled=True)
    transaction = store.transaction()
    for done in report.refs:
        name = _tracking(remote, done.ref)
        if name.startswith(REMOTES) and store.refs().get(name) != done.after:
            transaction.set_ref(name, done.after)
    if transaction.ref_updates:
        transaction.publish(Operation("push", (remote, *(done.ref for done in report.refs))))
    return report


def pull(
    store: Store,
    remote: str = DEFAULT_REMOTE,
    branch: str | None = None,
    *,
    scratch_of: ScratchOf = no_scratch,
    message: str | None = None,
    progress: Progress = silent,
) -> Pulled:
    """Fetch, then join a branch of the remote into HEAD's: by moving on where that is enough, else by a merge.

    `branch` is by default the one of the same name. `undo` takes the joining back.

    Raises:
        UncommittedChanges: there is a working state, and something to join.
        MergeConflict: both sides changed a contract; what was fetched stays.
        UnknownRef: the remote has no such branch.
        UnknownRemote, RemoteUnavailable, CorruptRemote, Conflict: as `fetch` and `merge`.
    """
    fetched = fetch(store, remote, progress=progress)
    workspace = Workspace(store)
    head = workspace.head()
    name = branch or head.branch
    if name is None:
        raise UnknownRef(f"{REMOTES}{remote}/")
    theirs = store.ref_commit(f"{REMOTES}{remote}/{name}")
    if head.commit is None:
        transaction = store.transaction()
        workspace.advance(transaction, theirs)
        transaction.publish(Operation("pull", (remote, name)))
        return Pulled(fetched, MergeResult(theirs, None, fast_forward=True))
    return Pulled(fetched, merge(store, theirs, scratch_of=scratch_of, message=message))


def clone(
    url: str,
    directory: Path,
    *,
    branch: str | None = None,
    depth: int | None = None,
    lazy: bool = False,
    contracts: Collection[ContractId] = (),
    progress: Progress = silent,
) -> FetchReport:
    """Make a store of a remote in an empty or missing directory; HEAD is on `branch`, or `main`, or the only one.

    Args:
        url: where the remote is.
        directory: where the store goes. If nothing comes of it, it is empty again, or missing; but if the remote was
            cut off, what came stays there, and the same clone goes on with it.
        branch: that HEAD is on.
        depth: bring the states of so many commits before each ref; older ones are there as deleted ones are.
        lazy: bring the newest commits alone, and everything else when it is touched.
        contracts: bring these contracts of the newest commits at once; everything else is lazy.
        progress: told now and then how far it is.

    Raises:
        NotAStore: the directory is not empty.
        InvalidRemote: there is nothing at this address, or it can be none.
        UnknownRef: the remote has no such branch.
        RemoteUnavailable, CorruptRemote: as `fetch`.
    """
    lazy = lazy or bool(contracts)
    there = directory.exists()
    begun = there and _is_begun(directory, url, lazy=lazy)
    if there and not begun and any(directory.iterdir()):
        raise NotAStore(directory, "it holds other things")
    try:
        with Store.open(directory, create=True, cache_bytes=_CACHE_BYTES) as store:
            remotes = Remotes(store)
            if not begun:
                remotes.add(DEFAULT_REMOTE, url, lazy=lazy)
            extent = Extent.LAZY if lazy and depth is None else Extent.WHOLE
            report = fetch_from(
                store,
                DEFAULT_REMOTE,
                remotes.open(DEFAULT_REMOTE),
                extent=extent,
                depth=depth,
                contracts=contracts,
                progress=progress,
            )
            _start(store, url, report, branch)
            return report
    except BaseException as error:
        if isinstance(error, RemoteUnavailable) and (begun or _has_packs(directory)):
            raise  # to be gone on with
        shutil.rmtree(directory / STORE_DIRECTORY, ignore_errors=True)
        if not there:
            shutil.rmtree(directory, ignore_errors=True)
        raise


def _is_begun(directory: Path, url: str, *, lazy: bool) -> bool:
    """Whether a clone of this remote was cut off here."""
    if [path.name for path in directory.iterdir()] != [STORE_DIRECTORY]:
        return False
    try:
        with Store.open(directory, read_only=True) as store:
            entries = list(Remotes(store))
            address = url if "://" in url else str(Path(url).absolute())
            return not store.refs() and entries == [RemoteEntry(DEFAULT_REMOTE, address, lazy)]
    except StoreError:
        return False


def _has_packs(directory: Path) -> bool:
    """Whether anything came."""
    return any((directory / STORE_DIRECTORY / "index").glob(f"*{TAKEN_SUFFIX}"))


def _start(store: Store, url: str, report: FetchReport, branch: str | None) -> None:
    """Put HEAD on a branch of the remote."""
    if not report.refs:
        raise InvalidRemote(url, "nothing was pushed there yet")
    branches = sorted(ref.removeprefix(BRANCHES) for ref in report.refs if ref.startswith(BRANCHES))
    if branch is None and branches:
        branch = DEFAULT_BRANCH if DEFAULT_BRANCH in branches else branches[0]
    if branch is None:
        return
    commit = report.refs.get(BRANCHES + branch)
    if commit is None:
        raise UnknownRef(BRANCHES + branch)
    transaction = store.transaction()
    transaction.set_ref(BRANCHES + branch, commit, expected=None)
    transaction.set_ref(HEAD, Symbolic(BRANCHES + branch))
    transaction.publish(Operation("clone", (branch,)))


def _current(store: Store) -> str:
    head = Workspace(store).head()
    if head.branch is None or head.commit is None:
        raise NothingCommitted
    return BRANCHES + head.branch


def _target(store: Store, text: str, *, delete: bool) -> tuple[str, CommitId | None]:
    """The ref of the remote that a text means, and the commit that it is to be at."""
    source, colon, name = text.rpartition(":")
    refs = store.refs()
    if not colon:
        source = next((full for full in (text, BRANCHES + text, TAGS + text) if full in refs), text)
        name = source
    if not name.startswith((BRANCHES, TAGS)):
        name = (TAGS if source.startswith(TAGS) else BRANCHES) + name
    check_ref_name(name)
    if delete:
        return name, None
    if not colon and source not in refs:
        raise UnknownRef(text)
    return name, resolve(store, source)


def _tracking(remote: str, ref: str) -> str:
    """Where this store remembers a branch of a remote; a tag stands for itself."""
    return f"{REMOTES}{remote}/{ref.removeprefix(BRANCHES)}" if ref.startswith(BRANCHES) else ref
