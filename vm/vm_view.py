"""What can be asked of a VM's store: its commits and their history, differences, proofs, and whether it is sound.

What few programs ask for is imported when they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from piecrust.objects.diff import ContractDifference, diff_states
from piecrust.objects.errors import UnknownRevision
from piecrust.objects.history import CommitInfo, Names, commit_info, first_parents
from piecrust.objects.ids import CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.progress import Progress, silent
from piecrust.objects.refs import BRANCHES, TAGS
from piecrust.objects.revision import resolve
from piecrust.objects.store import Store
from piecrust.vm.bases import commit_state

if TYPE_CHECKING:
    from piecrust.objects.findings import Report
    from piecrust.objects.wanted import Wanted

Revision = CommitId | bytes | str


class VMView:
    """The parts of a VM that change nothing."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.branches = Names(store, BRANCHES, self.resolve)
        self.tags = Names(store, TAGS, self.resolve)

    @property
    def root_dir(self) -> Path:
        """The directory that the VM was opened with."""
        return self.store.root_dir

    @property
    def read_only(self) -> bool:
        """Whether nothing can be committed."""
        return self.store.read_only

    def resolve(self, revision: Revision) -> CommitId:
        """The commit that a revision names: a hash, a unique prefix, a branch, a tag, `HEAD~2`, `root:<hex>`, ...

        Raises:
            UnknownRevision: None.
            AmbiguousRevision: Several, which the error has.
        """
        self.store.refresh()
        if isinstance(revision, str):
            return resolve(self.store, revision)
        commit = CommitId(revision)
        if not self.store.contains(Kind.COMMIT, commit):
            raise UnknownRevision(commit.hex())
        return commit

    def commit_info(self, revision: Revision) -> CommitInfo:
        """What a commit says: roots, parents, message."""
        return commit_info(self.store, self.resolve(revision))

    def log(self, revision: Revision = "HEAD") -> Iterator[CommitInfo]:
        """A commit and its first parents, newest first."""
        return first_parents(self.store, self.resolve(revision))

    def diff(self, old: Revision, new: Revision) -> Iterator[ContractDifference]:
        """The contracts that differ between two commits; each tells its pages, when asked.

        Raises:
            UnknownRevision: There is no such commit, or it was deleted.
        """
        before, after = (commit_state(self.store, self.resolve(revision)) for revision in (old, new))
        return diff_states(self.store, before, after)

    def prove(self, revision: Revision, wanted: Iterable[Wanted], *, under_root: bool = False) -> bytes:
        """A proof of what a commit's state holds, for `piecrust.proofs.verify`.

        It is bound to the commit's id, or with `under_root` to its state root alone, which binds no ids of contracts.

        Raises:
            NotProvable: something of it isn't so.
        """
        from piecrust.objects.proof import prove_state, prove_under_root

        commit = self.resolve(revision)
        if under_root:
            return prove_under_root(self.store, commit_state(self.store, commit), wanted)
        return prove_state(self.store, commit, wanted)

    def prove_ancestry(self, ancestor: Revision, descendant: Revision) -> bytes:
        """A proof that one commit comes before another in history.

        Raises:
            NotProvable: it doesn't.
        """
        from piecrust.objects.proof_history import prove_ancestry

        return prove_ancestry(self.store, self.resolve(ancestor), self.resolve(descendant))

    def prove_difference(self, old: Revision, new: Revision) -> bytes:
        """A proof in exactly which contracts and pages two commits differ."""
        from piecrust.objects.proof_history import prove_difference

        return prove_difference(self.store, self.resolve(old), self.resolve(new))

    def commits(self) -> list[CommitId]:
        """Every commit made through the library, until it is deleted."""
        self.store.refresh()
        return self.store.commits()

    def fsck(self, *, full: bool = True, progress: Progress = silent) -> Report:
        """Whether the store is as it should be; nothing is written, and others may go on committing.

        Not `full`, only files and refs are looked at, otherwise every object, too.

        Raises:
            CorruptStore: It is so damaged that nothing can be read.
            StoreIOError: The operating system refused.
        """
        from piecrust.objects.fsck import fsck

        return fsck(self.root_dir, full=full, progress=progress)
