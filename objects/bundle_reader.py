"""Reads bundles into a store, everything checked before a commit is there.

- Objects are checked as they come: against their address, then each contract against its record, each state against
  its commit, each commit against its parents. Trees are built anew from their leaves, so that none can be incomplete.
- Objects go into the store in pieces; commits are held back to the end. An import that was cut off leaves nothing but
  objects that nobody asks for, and the next one of the same bundle finds them there.
- Memory: one piece, the commits (about a kilobyte each), and the leaves of one contract.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, Final, NoReturn

from piecrust.objects import transcript
from piecrust.objects.bundle import WHAT, Content, Header, Item, ItemType, read_items
from piecrust.objects.bundle_state import OPERATION, IncomingState, Pieces, decoded
from piecrust.objects.bundle_writer import in_order, origins
from piecrust.objects.commit import Commit, commit_id, new_commit, next_jump
from piecrust.objects.errors import InvalidFormat, ObjectNotFound, UnknownRevision
from piecrust.objects.ids import ID_BYTES, CommitId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.publisher import collected
from piecrust.objects.reach import reachable
from piecrust.objects.rebuild import as_it_is
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import EMPTY_STATE, State, write_state
from piecrust.objects.store import Store
from piecrust.objects.transcript import Import
from piecrust.objects.verifier.claims import ContractClaim, StateClaim
from piecrust.objects.verifier.verify import verify

IMPORT_FORMAT: Final = "bundle"

Report = Callable[[int], None]
"""Told how many bytes were read."""


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import brought.

    `tip` is the bundle's commit; for single contracts it is the commit that was made of them, and `source` the one that
    they are from. `commits` are those that the store did not have.
    """

    content: Content
    tip: CommitId
    source: CommitId
    commits: tuple[CommitId, ...]


def read_bundle(store: Store, stream: BinaryIO, *, report: Report | None = None) -> Imported:
    """Take a bundle into a store; its commits are kept until they are deleted.

    Of a bundle with single contracts a commit is made whose state has just these; its transcript names the commit that
    they are from.

    Raises:
        InvalidFormat, CorruptObject, InvalidProof: the bundle is damaged, or lies; no commit of it is there.
        UnknownRevision: the store lacks a commit that the bundle builds on.
        Conflict: garbage was collected meanwhile, and took objects of the bundle: import it again.
    """
    with ExitStack() as leases:
        importer, offset = _Importer(store, leases), 0
        try:
            for item in read_items(stream):
                offset = item.offset
                importer.take(item)
                if report is not None:
                    report(offset + len(item.body))
            return importer.end()
        except (ObjectNotFound, InvalidFormat) as error:
            if importer.is_beside_a_collection:
                raise collected(Operation(OPERATION)) from error
            if isinstance(error, InvalidFormat):
                raise
            raise InvalidFormat(WHAT, f"it lacks something: {error}", offset) from error


class _Importer:
    """What is known after some items."""

    def __init__(self, store: Store, leases: ExitStack) -> None:
        self._store, self._leases = store, leases
        self._generation = store.generation
        self._pieces = Pieces(store)
        self._header: Header | None = None
        self._commits: dict[CommitId, Commit] = {}  # with their states
        self._ancestors: dict[CommitId, Commit] = {}
        self._last: tuple[int, bytes] = (-1, b"")
        self._coming: tuple[CommitId, Commit] | None = None  # whose state comes
        self._state: IncomingState | None = None
        self._claims: dict[bytes, ContractClaim] = {}

    @property
    def is_beside_a_collection(self) -> bool:
        """Whether garbage was collected since it began: what it had published before may be gone."""
        self._store.refresh()
        return self._store.generation != self._generation

    def take(self, item: Item) -> None:
        """One item more."""
        if self._header is None:
            if item.type is not ItemType.HEADER:
                self._fail("it has no header", item)
            self._begin(Header.decode(item.body))
        elif item.type in (ItemType.COMMIT, ItemType.ANCESTOR):
            self._take_commit(self._header, item)
        elif item.type is ItemType.PROOF:
            self._take_proof(self._header, item)
        elif self._state is None:
            self._fail("something that belongs to no commit", item)
        else:
            self._state.take(item)
        self._pieces.publish_if_full()

    def end(self) -> Imported:
        """The whole bundle was read."""
        header = self._header
        if header is None:
            raise InvalidFormat(WHAT, "it is empty")
        if header.content is Content.CONTRACTS:
            return self._end_contracts(header)
        self._end_state()
        self._check_reached(header)
        kept = set(self._store.commits())
        new = [identity for identity, _ in in_order(self._commits) if identity not in kept]
        self._put_ancestors()
        for identity, commit in self._commits.items():
            self._pieces.objects.put(Kind.COMMIT, identity, commit)
        self._finish(header, new)
        return Imported(header.content, header.tip, header.tip, tuple(new))

    def _begin(self, header: Header) -> None:
        self._header = header
        for commit in header.prerequisites:
            if self._store.is_deleted(commit) or not self._store.contains(Kind.COMMIT, commit):
                error = UnknownRevision(commit.hex())
                error.add_note("the bundle builds on this commit")
                raise error
            self._leases.enter_context(self._store.lease(commit))

    def _take_commit(self, header: Header, item: Item) -> None:
        self._end_state()
        content, alone = header.content, item.type is ItemType.ANCESTOR
        identity = CommitId(item.body[:ID_BYTES])
        commit: Commit = decoded(Kind.COMMIT, item)
        if content is Content.CONTRACTS or (alone and content is Content.HISTORY):
            self._fail("a commit that has no place in it", item)
        if content is Content.STATE and (alone == (identity == header.tip) or self._commits):
            self._fail("states of other commits than its tip's", item)
        if (commit.generation, identity) <= self._last and (alone or content is Content.HISTORY):
            self._fail("commits out of order", item)
        self._last = commit.generation, identity
        self._check_place(header, commit, item)
        if alone:
            self._ancestors[identity] = commit
            return
        base = self._place_of(commit.parents[0]).state if commit.parents else EMPTY_STATE
        if content is Content.STATE:
            base = State(EMPTY_STATE.state_root, EMPTY_STATE.map_root, base.positions)
        self._coming, self._state = (identity, commit), IncomingState(self._pieces, base, item.offset)

    def _check_place(self, header: Header, commit: Commit, item: Item) -> None:
        """That a commit's place in history follows from its parents'."""
        known = self._ancestors if header.content is Content.STATE else self._commits
        for parent in commit.parents:
            if parent not in known and parent not in header.prerequisites:
                self._fail(f"the parent {parent.hex()} does not come before the commit", item)
        parents = [self._place_of(parent) for parent in commit.parents]
        place = (
            1 + max(parent.generation for parent in parents) if parents else 0,
            1 + parents[0].depth if parents else 0,
            next_jump(self._place_of, commit.parents[0]) if parents else None,
        )
        if (commit.generation, commit.depth, commit.jump) != place:
            self._fail("a commit whose place in history is not what its parents say", item)

    def _take_proof(self, header: Header, item: Item) -> None:
        if header.content is not Content.CONTRACTS or self._state is not None:
            self._fail("a proof that has no place in it", item)
        claim = verify(item.body, commit=header.tip)
        claims = claim.claims if isinstance(claim, StateClaim) else ()
        self._claims = {c.id: c for c in claims if isinstance(c, ContractClaim) and c.id is not None}
        if sorted(self._claims) != [bytes(contract) for contract in header.contracts]:
            self._fail("a proof of other contracts", item)
        self._state = IncomingState(self._pieces, EMPTY_STATE, item.offset)

    def _end_state(self) -> None:
        state, coming = self._state, self._coming
        if state is None or coming is None:
            return
        self._state = self._coming = None
        (identity, commit), objects, name = coming, self._pieces.objects, coming[0].hex()
        built = state.end()
        if (built.state_root, built.map_root) != (commit.state_root, commit.map_root):
            raise InvalidFormat(WHAT, f"commit {name} has another state than it says", state.offset)
        if commit.positions < built.positions:
            raise InvalidFormat(WHAT, f"commit {name} has too few positions", state.offset)
        needed: set[tuple[Kind, bytes]] = set()
        if commit.transcript is not None:
            needed = {(Kind.TRANSCRIPT, commit.transcript), *transcript.references(objects, commit.transcript)}
        for kind, address in needed:
            if not objects.contains(kind, address):
                raise ObjectNotFound(kind, address)
        if not state.given <= needed:
            raise InvalidFormat(WHAT, f"objects that commit {name} does not need", state.offset)
        self._commits[identity] = commit

    def _check_reached(self, header: Header) -> None:
        """That the tip comes from everything that is there, and from nothing else."""
        if header.tip not in self._commits:
            raise InvalidFormat(WHAT, "its tip is missing")
        known = self._commits | self._ancestors
        reached, outside, todo = {header.tip}, set[CommitId](), [header.tip]
        while todo:
            here = todo.pop()
            of = (
                origins(self._pieces.objects, known[here]) if header.content is Content.HISTORY else known[here].parents
            )
            for origin in of:
                if origin not in known:
                    outside.add(origin)
                elif origin not in reached:
                    reached.add(origin)
                    todo.append(origin)
        if len(reached) != len(known) or outside != set(header.prerequisites):
            raise InvalidFormat(WHAT, "it holds other commits than its tip comes from")

    def _end_contracts(self, header: Header) -> Imported:
        """A commit of the contracts, which says where they are from."""
        came = self._state
        if came is None:
            raise InvalidFormat(WHAT, "it proves nothing")
        came.end()
        records = [record for record in came.records.values() if record is not None]
        if came.given or {bytes(record.id): _told(record) for record in records} != {
            contract: _claimed(claim) for contract, claim in self._claims.items()
        }:
            raise InvalidFormat(WHAT, "it holds other contracts than it proves", came.offset)
        objects = self._pieces.objects
        state = write_state(objects, EMPTY_STATE, [as_it_is(record) for record in records])
        derivation = transcript.store(objects, Import(IMPORT_FORMAT, header.tip, frozenset(header.contracts)))
        commit = new_commit(objects, state, (), derivation)
        identity = commit_id(commit)
        new = [] if identity in set(self._store.commits()) else [identity]
        objects.put(Kind.COMMIT, identity, commit)
        self._finish(header, new)
        return Imported(header.content, identity, header.tip, tuple(new))

    def _put_ancestors(self) -> None:
        """Commits without their states are as deleted ones: they tell where others come from, and no more."""
        there = self._store.contains
        new = {i: commit for i, commit in self._ancestors.items() if not there(Kind.COMMIT, i)}
        if new:
            for identity, commit in new.items():
                self._pieces.objects.put(Kind.COMMIT, identity, commit)
            self._pieces.publish()  # only what is there can be deleted
            for identity in new:
                self._pieces.objects.delete(identity)

    def _finish(self, header: Header, new: list[CommitId]) -> None:
        objects = self._pieces.objects
        for commit in new:
            objects.keep(commit)
        if self.is_beside_a_collection:
            self._generation = self._store.generation
            self._check_still_there(new)
        objects.ahead_since = self._generation
        if new or objects.deleted or any(True for _ in objects.staged()):
            objects.publish(Operation(OPERATION, (header.tip.hex(),)))

    def _check_still_there(self, new: list[CommitId]) -> None:
        """Objects that were published before the commits that need them may have been taken for garbage."""
        objects, seen = self._pieces.objects, set[tuple[Kind, bytes]]()
        try:
            there = all(objects.contains(*o) for commit in new for o in reachable(objects, commit, seen))
        except ObjectNotFound:
            there = False
        if not there:
            raise collected(Operation(OPERATION))

    def _place_of(self, commit: CommitId) -> Commit:
        found = self._commits.get(commit) or self._ancestors.get(commit)
        if found is None:
            found = self._store.load(Kind.COMMIT, commit)
            assert isinstance(found, Commit), "what a store loads as a commit is one"
        return found

    def _fail(self, reason: str, item: Item) -> NoReturn:
        raise InvalidFormat(WHAT, reason, item.offset)


def _claimed(claim: ContractClaim) -> tuple[object, ...]:
    """What a proof says of a contract."""
    return claim.bytecode, claim.owner, claim.memory_bits, claim.memory_length, claim.pages_root, claim.position


def _told(record: ContractRecord) -> tuple[object, ...]:
    """The same of a record."""
    bits, length = int(record.memory_kind), record.memory_length
    return record.bytecode, record.owner, bits, length, record.pages_root, record.position
