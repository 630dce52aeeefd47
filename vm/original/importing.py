"""Commits of the original, out of its directory and into a store.

- What is imported has the state root that names it in the directory, or it is refused: pages are checked against the
  leaves of their contract's tree, that against the contract's element, all of them against the root. Code and owners
  are under no root; they are taken as the directory has them.
- Objects go into the store in pieces, and commits at the end, all at once. While this goes on nothing is collected. An
  import that was cut off leaves objects that nobody asks for, and the next one finds them.
- Memory: one piece, a commit's elements one by one, and what the commits say.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Final

from blake3 import blake3
from piecrust.objects import contract_map, transcript, tree
from piecrust.objects.access import Overlay
from piecrust.objects.bundle_state import Pieces
from piecrust.objects.commit import Commit, commit_id, new_commit
from piecrust.objects.errors import InvalidFormat, UnknownRevision
from piecrust.objects.ids import ZERO, BytecodeHash, CommitId, ContractId, Hash, NodeHash, StateRoot
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.rebuild import state_with
from piecrust.objects.record import MEMORY_BYTES_MAX, ContractRecord, MemoryKind
from piecrust.objects.state import EMPTY_STATE, State
from piecrust.objects.store import Store
from piecrust.objects.transcript import Import
from piecrust.vm.engine import validate
from piecrust.vm.errors import ContractRefused
from piecrust.vm.interface import ADDRESSES_32, ContractInterface, accept
from piecrust.vm.original import ORIGINAL_FORMAT
from piecrust.vm.original.directory import OriginalDirectory, Owners
from piecrust.vm.original.files import Element
from piecrust.vm.original.states import CommitSummary, importable, other_state, summaries

OPERATION: Final = "import-original"
LENGTHS: Final = 1 << 32  # lengths of memory are kept modulo this

Report = Callable[[int, int], None]
"""Told how many of how many commits are done."""


@dataclass(frozen=True, slots=True)
class ImportedCommit:
    """A commit of the original, named by its state root there, and here; `is_new` if the store did not have it."""

    root: StateRoot
    commit: CommitId
    is_new: bool


@dataclass(frozen=True, slots=True)
class ImportedDirectory:
    """What an import brought, each commit after what it was made on.

    `lost` are commits that the original itself has lost or damaged, if all were asked for. `refused` are contracts
    whose code can not run here, with the reasons: they can be read, and not called.
    """

    commits: tuple[ImportedCommit, ...]
    lost: tuple[CommitSummary, ...]
    refused: dict[ContractId, str]


@dataclass(frozen=True, slots=True)
class _Code:
    """A contract's code; without an interface it is refused."""

    bytecode: BytecodeHash
    owner: bytes
    interface: ContractInterface | None


def import_original(
    store: Store, source: OriginalDirectory, roots: Collection[StateRoot] = (), *, report: Report | None = None
) -> ImportedDirectory:
    """Take commits out of a directory of the original; they are kept until they are deleted.

    These, or all that their contracts make whole.

    A commit's parent is the one that it was made on, if that is among them or was imported before. What was finalized
    last can be imported, too, as long as it is known by what was made on it, or asked for. A commit that was imported
    before is not imported again.

    Raises:
        InvalidFormat: The directory is none of the original's, is damaged, or a commit is not what its name says.
        ContractPositionCollision: Two contracts of a commit have one position; the original lets one of them vanish.
        UnknownRevision: The directory has no such commit.
        StoreIOError: A file can not be read.
        StoreLocked: Another process does upkeep.
    """
    store.refresh()
    with store.keep_everything():
        return _Importer(store, source).run(roots, report)


class _Importer:
    """What is known after some commits."""

    def __init__(self, store: Store, source: OriginalDirectory) -> None:
        self._store, self._source = store, source
        self._pieces = Pieces(store, OPERATION)
        self._history = Overlay(store)  # commits are held back here
        self._done: dict[StateRoot, ImportedCommit] = {}
        self._codes: dict[ContractId, _Code] = {}
        self._lost: tuple[CommitSummary, ...] = ()
        self._refused: dict[ContractId, str] = {}

    def run(self, roots: Collection[StateRoot], report: Report | None) -> ImportedDirectory:
        """Import all that was chosen."""
        chosen = self._chosen(roots)
        for done, root in enumerate(chosen, 1):
            self._import(root)
            if report is not None:
                report(done, len(chosen))
        new = [imported.commit for imported in self._done.values() if imported.is_new]
        if new:
            objects = self._pieces.objects
            for kind, address, staged in self._history.staged():
                objects.put(kind, address, staged.value)
            for commit in new:
                objects.keep(commit)
            objects.publish(Operation(OPERATION, (new[-1].hex(),)))
        return ImportedDirectory(tuple(self._done.values()), self._lost, self._refused)

    def _chosen(self, roots: Collection[StateRoot]) -> list[StateRoot]:
        source = self._source
        if not roots:
            told = list(summaries(source))
            self._lost = tuple([summary for summary in told if summary.problem is not None])
            return [summary.root for summary in told if summary.problem is None]
        there = importable(source)
        for root in roots:
            if root not in there:
                error = UnknownRevision(root.hex())
                error.add_note(f"{source.path} has no such commit")
                raise error
        return sorted(set(roots) - source.commits) + source.in_order(set(roots) & source.commits)

    def _import(self, root: StateRoot) -> None:
        source = self._source
        commit = root if root in source.commits else None  # what was finalized is looked for where it went
        parent = None if commit is None else self._parent(commit)
        if parent is None:
            base, owners = EMPTY_STATE, source.owners(commit)
        else:
            base, owners = self._history.load(Kind.COMMIT, parent).state, source.changed(root)
        state = self._state(commit, base, owners)
        if state.state_root != root:
            raise InvalidFormat(str(source.commit_path(commit)), other_state(state.state_root))
        before = self._imported_before(root, state)
        if before is not None:
            self._done[root] = ImportedCommit(root, before, is_new=False)
            return
        address = transcript.store(self._pieces.objects, Import(ORIGINAL_FORMAT, Hash(root)))
        made = new_commit(self._history, state, () if parent is None else (parent,), address)
        identity = commit_id(made)
        self._history.put(Kind.COMMIT, identity, made)
        self._done[root] = ImportedCommit(root, identity, is_new=True)

    def _parent(self, commit: StateRoot) -> CommitId | None:
        """What a commit was made on, if it was imported; a root alone does not tell whose memories it is over."""
        base = self._source.base(commit)
        if base is None:
            return None
        if base in self._done:
            return self._done[base].commit
        found = self._imported_before(base)
        if found is None:
            return None
        expected = self._source.owners(commit).keys()
        records = contract_map.items(self._store, self._store.load(Kind.COMMIT, found).map_root)
        there = {record.id for record in records} | self._source.changed(commit).keys()
        is_same = there == expected if base in self._source.commits else there >= expected
        return found if is_same else None

    def _imported_before(self, root: StateRoot, state: State | None = None) -> CommitId | None:
        """The commit with the longest history that earlier imports made of a root, or of this state with it."""
        found: list[tuple[int, CommitId]] = []
        for identity in self._store.commits_with_root(root):
            commit: Commit = self._store.load(Kind.COMMIT, identity)
            if commit.transcript is None or self._store.is_deleted(identity) or state not in (None, commit.state):
                continue
            if transcript.load(self._store, commit.transcript) == Import(ORIGINAL_FORMAT, Hash(root)):
                found.append((-commit.generation, identity))
        return min(found)[1] if found else None

    def _state(self, commit: StateRoot | None, base: State, owners: Owners) -> State:
        """The state that has these contracts beside those of `base`."""
        records: dict[ContractId, ContractRecord | None] = {}
        for contract in sorted(owners):
            element = self._source.element(contract, owners[contract], commit)
            records[contract] = self._record(contract, element, base, commit)
        try:
            return state_with(self._pieces.objects, base, records)
        except InvalidFormat as error:
            raise InvalidFormat(str(self._source.commit_path(commit)), error.reason) from error

    def _record(self, contract: ContractId, element: Element, base: State, commit: StateRoot | None) -> ContractRecord:
        """A contract with its pages, which are put into the store."""
        old = contract_map.lookup(self._pieces.objects, base.map_root, contract)
        code = self._code(contract)
        if code.interface is not None and code.interface.is64 != (element.kind is MemoryKind.WASM64):
            raise InvalidFormat(str(self._source.code_path(contract)), f"the contract's memory has {element.kind} bits")
        shape = element.kind.shape
        old_root = old.pages_root if old is not None and old.memory_kind is element.kind else ZERO
        before = dict(tree.leaves(self._pieces.objects, shape, old_root))
        changes: dict[int, bytes | None] = dict.fromkeys(before.keys() - element.leaves.keys())
        changes |= {index: leaf for index, leaf in element.leaves.items() if before.get(index) != leaf}
        for index in sorted(changes):
            self._take_page(contract, index, changes[index], before.get(index), commit)
        pages_root = tree.update(self._pieces.objects, shape, old_root, changes)
        if pages_root != element.pages_root:
            raise InvalidFormat(
                str(self._source.commit_path(commit)), f"contract {contract.hex()} has other pages than it says"
            )
        return ContractRecord(
            contract,
            code.bytecode,
            code.owner,
            element.kind,
            _memory_length(element, code.interface),
            NodeHash(pages_root),
            element.position,
        )

    def _take_page(
        self, contract: ContractId, index: int, address: bytes | None, was: bytes | None, commit: StateRoot | None
    ) -> None:
        if address is None or self._pieces.objects.contains(Kind.PAGE, address):
            return
        path, page = self._source.page(contract, index, commit)
        if blake3(page).digest() != address:
            raise InvalidFormat(str(path), f"not the page that {_told(commit)} has")
        self._pieces.put(Kind.PAGE, address, page, PAGE_BYTES, was)
        self._pieces.publish_if_full()

    def _code(self, contract: ContractId) -> _Code:
        if contract not in self._codes:
            bytecode, owner = self._source.code(contract)
            interface = None
            try:
                _, interface = accept(bytecode, validate)
            except ContractRefused as error:
                self._refused[contract] = str(error)
            address = BytecodeHash(blake3(bytecode).digest())
            self._pieces.put(Kind.BYTECODE, address, bytecode, len(bytecode))
            self._codes[contract] = _Code(address, owner, interface)
        return self._codes[contract]


def _memory_length(element: Element, interface: ContractInterface | None) -> int:
    """The least length of memory that the contract can have; no memory is shorter than it was at first."""
    least = 0 if interface is None else interface.initial_length
    length = element.length + max(0, -(-(least - element.length) // LENGTHS)) * LENGTHS
    length_max = MEMORY_BYTES_MAX if element.kind is MemoryKind.WASM64 else ADDRESSES_32
    return min(length, length_max)


def _told(commit: StateRoot | None) -> str:
    return "what was finalized" if commit is None else f"commit {commit.hex()}"
