"""The VM: a store of commits, and what sessions on them share."""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO, Self

from piecrust.objects.ids import BytecodeHash, CommitId, ContractId, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.progress import Progress, silent
from piecrust.objects.refs import PINS
from piecrust.objects.state import State
from piecrust.objects.store import RETENTION_SECONDS, Store
from piecrust.objects.transcript import Transcript
from piecrust.vm import host_queries, imports
from piecrust.vm.bases import commit_state, find_base, find_draft
from piecrust.vm.calls import Calls
from piecrust.vm.code_files import default_directory
from piecrust.vm.contracts import ContractTable
from piecrust.vm.errors import ContractDoesNotExist, InvalidHostQuery, InvalidName
from piecrust.vm.frames import Execution
from piecrust.vm.host_queries import Execute, HostQuery, RegisteredQuery
from piecrust.vm.modules import Modules
from piecrust.vm.publication import Base, Publication
from piecrust.vm.recorder import Recorder, metadata_after, pending_events
from piecrust.vm.resting import RestingContracts
from piecrust.vm.session import Session
from piecrust.vm.transient import TransientQuery, TransientStorage
from piecrust.vm.values import Interfaces, encodable, encode_metadata
from piecrust.vm.vm_remotes import VMRemotes
from piecrust.vm.vm_view import Revision

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from piecrust.objects.bundle_reader import Imported
    from piecrust.objects.garbage import GarbageReport
    from piecrust.vm.original.importing import ImportedDirectory
    from piecrust.vm.verdict import Verdict

assert imports.HOST_FUNCTIONS, "importing them is what makes them known to the engine"


class VM(VMRemotes):
    """A store of commits, and the sessions that work on them. A context manager: leaving the block closes it.

    Any number of VMs, in any number of processes, may work on one directory; each sees what the others committed. Its
    methods may be used from any thread. After `os.fork` the child has to make its own.
    """

    def __init__(
        self,
        directory: str | os.PathLike[str],
        *,
        create: bool = True,
        read_only: bool = False,
        transient_storage: bool = False,
        cache_directory: str | os.PathLike[str] | None = None,
        sync: bool = True,
    ) -> None:
        """Opens the store in a directory, the one that holds `.piecrust`.

        `create` makes a store in an empty or missing directory. `transient_storage` offers contracts the host queries
        `transient_set` and `transient_get`. `cache_directory` is where compiled contracts are kept, by default the
        user's own cache; it must belong to the user, for what is in it is executed. Without `sync`, commits may be lost
        (but not torn) when the power fails.

        Raises:
            NotAStore: The directory holds something else, or nothing and may not be made a store.
            UnsupportedFormat: The store was written by a newer version.
            StoreIOError: The operating system refused.
        """
        super().__init__(Store.open(Path(directory), create=create, read_only=read_only, sync=sync))
        self._code_directory = default_directory() if cache_directory is None else Path(cache_directory)
        self._modules = Modules(self._code_directory)
        self._resting = RestingContracts()
        self._interfaces = Interfaces()
        self._transient_storage = transient_storage
        self._host_queries: dict[str, RegisteredQuery] = {}
        self._resources = ExitStack()
        self._resources.callback(self.store.close)
        self._resources.callback(self._resting.close)

    @classmethod
    def ephemeral(
        cls, *, transient_storage: bool = False, cache_directory: str | os.PathLike[str] | None = None
    ) -> Self:
        """A VM on a temporary directory, which is removed when the VM is closed or dropped."""
        directory = tempfile.mkdtemp(prefix="piecrust-")
        try:
            vm = cls(directory, transient_storage=transient_storage, cache_directory=cache_directory, sync=False)
        except BaseException:
            shutil.rmtree(directory, ignore_errors=True)
            raise
        remove = weakref.finalize(vm, shutil.rmtree, directory, ignore_errors=True)
        vm._resources = ExitStack()
        vm._resources.callback(remove)
        vm._resources.callback(vm.store.close)
        vm._resources.callback(vm._resting.close)
        return vm

    @property
    def host_queries(self) -> tuple[str, ...]:
        """The names of the registered host queries, sorted."""
        return tuple(sorted(self._host_queries))

    def close(self) -> None:
        """Closes the store; sessions that are still open can not commit any more. Does nothing the second time."""
        self._resources.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def register_host_query(self, name: str, query: HostQuery | Execute) -> None:
        """Offers contracts a query, in sessions that are opened from here on; see `host_queries`.

        Raises:
            InvalidHostQuery: It is no query, or the name is one of transient storage's.
        """
        if self._transient_storage and name in {transient.value for transient in TransientQuery}:
            raise InvalidHostQuery(name, "transient storage has this name")
        self._host_queries[name] = host_queries.register(name, query)

    def session(
        self,
        base: Revision | None = None,
        *,
        branch: str | None = None,
        meta: Mapping[str, object] | None = None,
        exclude_host_queries: Iterable[str] = (),
        contain_host_query_failures: bool = True,
        draft: bool = False,
    ) -> Session:
        """A session on a commit, or on the empty state.

        Where `base` is the name of a branch (or `HEAD`), a commit moves it, unless somebody else did meanwhile.
        `branch` names the branch to move, or to create, whatever the base is; without a base, the session is on what
        that branch has. Otherwise a commit lives until it is deleted. `meta` are values that contracts read: bytes, or
        values that know their type. Failures of host queries are panics of the contract that asked; where they are not
        contained, the query's own exception comes out of the call. With `draft` the session goes on with the store's
        draft, or begins one on HEAD.

        Raises:
            UnknownRevision: No commit is meant by `base`.
            AmbiguousRevision: Several commits are.
            Conflict: HEAD moved since the draft was saved.
        """
        self.store.refresh()
        metadata = {name: encode_metadata(name, value) for name, value in (meta or {}).items()}
        excluded = frozenset(exclude_host_queries)
        for name in excluded:
            if not encodable(name):
                raise InvalidName(name)
        options = Transcript(
            metadata=metadata,
            excluded_queries=excluded,
            transient_storage=self._transient_storage,
            contain_host_query_failures=contain_host_query_failures,
        )
        if not draft:
            found = find_base(self.store, base, branch)
            return self._session(found, found.state, options)
        found, working, done = find_draft(self.store)
        session = self._session(found, working, done or options)
        if done is not None:
            for name, value in metadata.items():
                session.set_meta(name, value)
        return session

    def export(
        self,
        revision: Revision,
        file: str | os.PathLike[str] | BinaryIO,
        *,
        since: Revision | None = None,
        contracts: Collection[ContractId] = (),
        history: bool = True,
    ) -> int:
        """Writes a commit to a file, which is the same on every machine; its length. See `bundles.export_bundle`.

        By default with its history, or what of it `since` has not; without `history` its state alone; with `contracts`
        these alone, with the proof that they are the commit's.
        """
        from piecrust.vm.bundles import export_bundle

        base = None if since is None else self.resolve(since)
        return export_bundle(self.store, self.resolve(revision), file, since=base, contracts=contracts, history=history)

    def import_bundle(self, file: str | os.PathLike[str] | BinaryIO, *, branch: str | None = None) -> Imported:
        """Takes in what `export` wrote, all of it checked first; see `bundles.import_bundle`."""
        from piecrust.vm.bundles import import_bundle

        return import_bundle(self.store, file, branch=branch)

    def import_original(
        self, directory: str | os.PathLike[str], roots: Collection[StateRoot | bytes] = ()
    ) -> ImportedDirectory:
        """Takes commits out of a directory that the original wrote: these, or all; see `importing.import_original`."""
        from piecrust.vm.original.directory import OriginalDirectory
        from piecrust.vm.original.importing import import_original

        return import_original(self.store, OriginalDirectory(Path(directory)), [StateRoot(root) for root in roots])

    @classmethod
    def clone(
        cls,
        url: str,
        directory: str | os.PathLike[str],
        *,
        branch: str | None = None,
        depth: int | None = None,
        lazy: bool = False,
        contracts: Collection[ContractId] = (),
        progress: Progress = silent,
    ) -> Self:
        """A VM on a new store that is made of a remote; see `remotes.clone`."""
        from piecrust.vm.remotes import clone

        target = Path(directory)
        clone(url, target, branch=branch, depth=depth, lazy=lazy, contracts=contracts, progress=progress)
        return cls(target, create=False)

    def replay(
        self,
        revision: Revision,
        *,
        since: Revision | None = None,
        remote: str | None = None,
        executor: Executor | None = None,
        workers: int | None = None,
    ) -> Iterator[Verdict]:
        """Whether a commit and what it came from are what their transcripts lead to, parents first; see `replay`.

        With a `remote` the workers fetch from there what they need, instead of opening the store.
        """
        from piecrust.vm.replay import commits_to_replay, remote_with, replay

        base = None if since is None else self.resolve(since)
        commits = commits_to_replay(self.store, base, self.resolve(revision))
        source = None if remote is None else remote_with(self.store, commits, remote)
        cache = self._code_directory
        return replay(source or self.root_dir, commits, executor=executor, workers=workers, cache_directory=cache)

    def delete_commit(self, revision: Revision) -> None:
        """Gives a commit up; no other commit changes. Nothing happens if there is none, or it is gone already.

        Raises:
            CommitInUse: A branch or a tag stands on it.
            CommitPinned: It, or a descendant of it, is finalized.
        """
        commit = self.resolve(revision) if isinstance(revision, str) else CommitId(revision)
        self.store.refresh()
        if self.store.is_deleted(commit) or not self.store.contains(Kind.COMMIT, commit):
            return
        transaction = self.store.transaction()
        transaction.delete(commit)
        transaction.publish(Operation("delete", (commit.hex(),)))

    def finalize_commit(self, revision: Revision) -> None:
        """Pins a commit: it and its ancestors can not be deleted or collected any more.

        Nothing happens if there is no such commit, or it is pinned already.
        """
        commit = self.resolve(revision) if isinstance(revision, str) else CommitId(revision)
        if not self.store.contains(Kind.COMMIT, commit):
            return
        transaction = self.store.transaction()
        transaction.set_ref(PINS + commit.hex(), commit)
        transaction.publish(Operation("finalize", (commit.hex(),)))

    def gc(
        self,
        *,
        dry_run: bool = False,
        retention_seconds: float = RETENTION_SECONDS,
        progress: Progress = silent,
    ) -> GarbageReport:
        """Gives the room back that deleted commits and abandoned drafts take. Others may read and commit meanwhile.

        `dry_run` only tells what would be done. What was abandoned can be brought back for `retention_seconds`; deleted
        commits go at once.

        Raises:
            CorruptObject, ObjectNotFound, CorruptStore: Something that is needed is damaged: see `fsck`.
            StoreLocked: Another process collects.
        """
        return self.store.gc(dry_run=dry_run, retention_seconds=retention_seconds, progress=progress)

    def batch(self) -> AbstractContextManager[None]:
        """Makes what this thread commits within the block durable and visible together, at its end, with one sync."""
        return self.store.batch()

    def remove_module(self, contract: ContractId | bytes, revision: Revision = "HEAD") -> None:
        """Forgets the compiled code of a contract in a commit; it is compiled anew when it is used.

        Raises:
            ContractDoesNotExist: The commit has no such contract.
        """
        self._modules.remove(self._bytecode_of(contract, revision))

    def recompile_module(self, contract: ContractId | bytes, revision: Revision = "HEAD") -> None:
        """Compiles a contract of a commit anew, in place of what the cache has.

        Raises:
            ContractDoesNotExist: The commit has no such contract.
        """
        address = self._bytecode_of(contract, revision)
        self._modules.recompile(self.store.load(Kind.BYTECODE, address), address)

    def _bytecode_of(self, contract: ContractId | bytes, revision: Revision) -> BytecodeHash:
        state = commit_state(self.store, self.resolve(revision))
        found = self._table(state, state).find(ContractId(contract))
        if found is None:
            raise ContractDoesNotExist(ContractId(contract))
        return found.bytecode_hash

    def _table(self, base: State, working: State) -> ContractTable:
        return ContractTable(self.store.reader(), self._modules, self._resting, base, working)

    def _session(self, base: Base, working: State, done: Transcript) -> Session:
        """A session in which `done` was done already."""
        queries: dict[str, RegisteredQuery | TransientQuery] = dict(self._host_queries)
        if done.transient_storage:
            queries |= {query.value: query for query in TransientQuery}
        for name in done.excluded_queries:
            queries.pop(name, None)
        execution = Execution(
            self._table(base.state, working),
            queries,
            metadata_after(done.metadata, done.steps),
            contain_failures=done.contain_host_query_failures,
            transient=TransientStorage() if done.transient_storage else None,
        )
        execution.events = pending_events(done.steps)
        recorder = Recorder(done)
        publication = Publication(self.store, base, execution, recorder, self._hold(base))
        return Session(execution, Calls(execution, self._modules, recorder), self._interfaces, recorder, publication)

    def _hold(self, base: Base) -> Callable[[], None]:
        """Keeps what a session stands on from being collected, until the result is called."""
        with ExitStack() as leases:
            for commit in (base.commit, base.draft):
                if commit is not None:
                    leases.enter_context(self.store.lease(commit))
            self.store.refresh()
            if base.commit is not None:
                commit_state(self.store, base.commit)  # somebody may have deleted it before there was a lease
            return leases.pop_all().close
