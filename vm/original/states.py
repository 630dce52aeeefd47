"""States as the elements of a directory tell them, pages unseen: what a list of its commits needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from piecrust.objects import tree
from piecrust.objects.access import MemoryObjects
from piecrust.objects.errors import InvalidFormat
from piecrust.objects.ids import ZERO, StateRoot
from piecrust.objects.tree import CONTRACTS
from piecrust.vm.original.directory import OriginalDirectory, Owners


@dataclass(frozen=True, slots=True)
class CommitSummary:
    """A commit of a directory.

    `contracts` are those that it changed, `pages` all that these have. `problem` says why it can not be imported.
    """

    root: StateRoot
    base: StateRoot | None
    contracts: int
    pages: int
    is_finalized: bool = False
    problem: str | None = None


def finalized_root(directory: OriginalDirectory) -> StateRoot | None:
    """The state root of what was finalized last; None if there is nothing, or nothing that was made on it.

    Nothing else in a directory says that it is a commit's root.
    """
    bases = {directory.base(commit) for commit in directory.commits if _is_placed(directory, commit)}
    owners = directory.owners(None)
    if not owners or bases <= directory.commits | {None}:
        return None
    try:
        root, _ = _root(directory, MemoryObjects(), ZERO, None, owners)
    except InvalidFormat:
        return None
    return root if root in bases - directory.commits else None


def importable(directory: OriginalDirectory) -> frozenset[StateRoot]:
    """The roots of all commits that may be asked for: those of the directory, and what was finalized last."""
    finalized = finalized_root(directory)
    return directory.commits if finalized is None else directory.commits | {finalized}


def summaries(directory: OriginalDirectory) -> Iterator[CommitSummary]:
    """All commits of a directory, each after what it was made on; then those of which that is not known.

    Whether a commit's elements give its root is checked; its pages are not read.
    """
    objects, whole = MemoryObjects(), set[StateRoot]()
    finalized = finalized_root(directory)
    if finalized is not None:
        owners = directory.owners(None)
        root, pages = _root(directory, objects, ZERO, None, owners)
        whole.add(root)
        yield CommitSummary(root, None, len(owners), pages, is_finalized=True)
    lost = []
    for commit in sorted(directory.commits):
        try:
            directory.depth(commit)
        except InvalidFormat as error:
            lost.append(CommitSummary(commit, None, 0, 0, problem=str(error)))
    for commit in directory.in_order(directory.commits - {summary.root for summary in lost}):
        summary = _summary(directory, objects, commit, whole)
        if summary.problem is None:
            whole.add(commit)
        yield summary
    yield from lost


def _summary(
    directory: OriginalDirectory, objects: MemoryObjects, commit: StateRoot, whole: set[StateRoot]
) -> CommitSummary:
    base, changed = directory.base(commit), directory.changed(commit)
    try:
        if base is not None and base in whole:
            root, pages = _root(directory, objects, base, commit, changed)
        else:
            root, pages = _root(directory, objects, ZERO, commit, directory.owners(commit))
    except InvalidFormat as error:
        return CommitSummary(commit, base, len(changed), 0, problem=str(error))
    problem = None if root == commit else other_state(root)
    return CommitSummary(commit, base, len(changed), pages, problem=problem)


def other_state(root: StateRoot) -> str:
    """What a commit's problem is if its contracts have another state root than its own."""
    return (
        f"its contracts have the state root {root.hex()}: they were changed, or a commit that it was made on was "
        "deleted, or another line than its own was finalized"
    )


def _root(
    directory: OriginalDirectory, objects: MemoryObjects, start: bytes, commit: StateRoot | None, owners: Owners
) -> tuple[StateRoot, int]:
    """The root of a state tree after the elements of these contracts, and how many pages they have."""
    leaves: dict[int, bytes | None] = {}
    pages = 0
    for contract, owner in owners.items():
        element = directory.element(contract, owner, commit)
        leaves[element.position] = element.pages_root
        pages += len(element.leaves)
    return StateRoot(tree.update(objects, CONTRACTS, start, leaves)), pages


def _is_placed(directory: OriginalDirectory, commit: StateRoot) -> bool:
    try:
        directory.depth(commit)
    except InvalidFormat:
        return False
    return True
