"""Fetching: what a remote's refs lead to comes into the store, and the refs that remember where they were move.

- All of it is verified before a commit is there or a ref moves: `piecrust.objects.remote.examination`.
- What comes is the whole history; or the states of the newest commits, and of the others what they say; or, lazily, the
  newest commits alone, and everything else when it is touched.
- Memory is bounded: packs are read in windows, objects published in pieces; what is kept are the new commits and the
  addresses of their pages.
- A fetch that was cut off is repeated: packs that came whole are not read again.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from enum import Enum

from piecrust.objects.bundle_writer import in_order
from piecrust.objects.commit import Commit
from piecrust.objects.errors import ObjectNotFound, StoreError
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.progress import Progress, silent
from piecrust.objects.refs import BRANCHES, REMOTES, TAGS
from piecrust.objects.remote.arrival import OPERATION, Arrival
from piecrust.objects.remote.examination import Examination
from piecrust.objects.remote.gather import gather_contracts, gather_states
from piecrust.objects.remote.remote_pack import list_packs
from piecrust.objects.remote.remote_refs import RemoteRefs
from piecrust.objects.remote.storage import Storage
from piecrust.objects.remote.taken import TakenPacks
from piecrust.objects.store import Store


class Extent(Enum):
    """How much of a remote's commits comes at once."""

    WHOLE = "whole"
    LAZY = "lazy"  # the rest comes when it is touched


@dataclass(frozen=True, slots=True)
class FetchReport:
    """What a fetch brought: the remote's branches and tags, what moved, and the commits that are new."""

    refs: dict[str, CommitId]
    moved: dict[str, tuple[CommitId | None, CommitId | None]]
    commits: tuple[CommitId, ...]
    packs: int


def fetch(
    store: Store,
    name: str,
    storage: Storage,
    *,
    extent: Extent = Extent.WHOLE,
    depth: int | None = None,
    contracts: Collection[ContractId] = (),
    progress: Progress = silent,
) -> FetchReport:
    """Bring what the refs of a remote lead to.

    Args:
        store: where it goes.
        name: what the store calls the remote: its branches become `remotes/<name>/<branch>`.
        storage: the remote.
        extent: whether everything comes now.
        depth: with the states of so many commits before each ref; of those before them only the commits come.
        contracts: these come whole at once, of the commits that refs are at, though all else comes lazily.
        progress: told now and then how far it is.

    Raises:
        CorruptRemote: something of the remote is damaged, or lies; no commit of it is there.
        RemoteUnavailable: it can't be reached; what came stays for the next attempt.
        ObjectNotFound: none of the commits that refs are at has one of the contracts.
    """
    refs = RemoteRefs(storage).everything()
    store.refresh()
    arrival = Arrival(store, storage, store.layout.index)
    taken, packs = TakenPacks(store, name), 0
    examination = Examination(store, arrival, storage.name, taken.commits)
    tips = [tip for tip in dict.fromkeys(refs.values()) if not examination.is_here(tip)]
    try:
        if depth is not None:
            # What is missing of these is not wanted: no later fetch reads them as a whole.
            taken.add([pack.name for pack in list_packs(storage)], settled=True)
        elif tips and extent is Extent.WHOLE:
            packs = _take_packs(arrival, storage, taken, progress)
        with store.keep_everything():
            if depth is not None:
                commits = _cut(examination, examination.new_commits(tips), refs.values(), depth)
                gather_states(arrival, [commit for _, commit in commits])
                examination.examine(commits, set(tips), progress)
            elif extent is Extent.LAZY:
                _glance(examination, tips)
            else:
                examination.examine(examination.new_commits(tips), set(tips), progress)
            if contracts:
                _gather_contracts(examination, arrival, refs.values(), contracts)
            moved = _publish(store, name, arrival, examination, refs)
    except BaseException:
        with contextlib.suppress(StoreError):
            arrival.set_aside()
            taken.add((), settled=False, commits=arrival.commits)
        raise
    taken.add((), settled=True)
    return FetchReport(refs, moved, tuple(sorted(examination.whole)), packs)


def _take_packs(arrival: Arrival, storage: Storage, taken: TakenPacks, progress: Progress) -> int:
    """Take in every pack that was not, as a whole; how many there were."""
    packs = [pack for pack in list_packs(storage) if pack.name not in taken]
    total, done = sum(pack.size for pack in packs), 0
    for pack in packs:
        progress("fetch", done, total)
        arrival.take_pack(pack)
        arrival.pieces.publish()
        arrival.rest()
        taken.add([pack.name], settled=False)
        done += pack.size
    progress("fetch", total, total)
    return len(packs)


def _glance(examination: Examination, tips: Iterable[CommitId]) -> None:
    """Believe of commits what their ids and their parents tell; the rest is verified when it comes."""
    for tip in tips:
        examination.check_place(tip, examination.commit(tip))
        examination.whole.add(tip)


def _cut(
    examination: Examination, new: list[tuple[CommitId, Commit]], tips: Iterable[CommitId], depth: int
) -> list[tuple[CommitId, Commit]]:
    """The commits less than `depth` steps from a ref whose states are not here; others that are new are bare."""
    near: dict[CommitId, Commit] = {}
    level = set(tips)
    for _ in range(depth):
        found = {commit: examination.commit(commit) for commit in level if commit not in near}
        near |= found
        level = {parent for commit in found.values() for parent in commit.parents}
        if not level:
            break
    examination.bare |= {identity for identity, _ in new if identity not in near}
    return in_order({identity: commit for identity, commit in near.items() if not examination.is_here(identity)})


def _gather_contracts(
    examination: Examination, arrival: Arrival, tips: Iterable[CommitId], contracts: Collection[ContractId]
) -> None:
    missing = set(contracts)
    for tip in dict.fromkeys(tips):
        missing &= gather_contracts(arrival, examination.commit(tip), contracts)
    if missing:
        raise ObjectNotFound("contract", min(missing))


def _publish(
    store: Store, name: str, arrival: Arrival, examination: Examination, refs: dict[str, CommitId]
) -> dict[str, tuple[CommitId | None, CommitId | None]]:
    """Have the commits in the store, and the refs moved; in one step. The refs that moved, as the store calls them."""
    objects, here = arrival.pieces.objects, store.refs()
    bare = [commit for commit in examination.bare if not store.contains(Kind.COMMIT, commit)]
    for commit in bare:
        objects.put_bare(commit, examination.commit(commit))
    for commit in sorted(examination.whole):
        objects.put(Kind.COMMIT, commit, examination.commit(commit))
        objects.keep(commit)
    prefix = f"{REMOTES}{name}/"
    wanted: dict[str, CommitId | None] = {ref: None for ref in here if ref.startswith(prefix)}
    wanted |= {prefix + ref.removeprefix(BRANCHES): at for ref, at in refs.items() if ref.startswith(BRANCHES)}
    wanted |= {ref: at for ref, at in refs.items() if ref.startswith(TAGS) and ref not in here}
    moved: dict[str, tuple[CommitId | None, CommitId | None]] = {}
    for ref, commit_at in wanted.items():
        old = here.get(ref)
        before = old if isinstance(old, CommitId) else None
        if before != commit_at:
            objects.set_ref(ref, commit_at, expected=old)
            moved[ref] = before, commit_at
    if moved or examination.whole or bare or any(True for _ in objects.staged()):
        objects.publish(Operation(OPERATION, (name,)))
    return moved
