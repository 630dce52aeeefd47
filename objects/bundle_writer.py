"""Writes bundles: the items of `piecrust.objects.bundle`, in the one order that a commit gives.

Memory: what the store's cache takes, the ids of the commits, and the addresses of the objects that were written, about
130 bytes each.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

from piecrust.objects import contract_map, encoding, transcript, tree
from piecrust.objects.access import ObjectReader
from piecrust.objects.bundle import (
    PATCH_BYTES_MAX,
    Content,
    Header,
    ItemType,
    ItemWriter,
    Output,
    PageForm,
    page_item,
    sparse,
)
from piecrust.objects.commit import Commit
from piecrust.objects.ids import ZERO, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import ZERO_PAGE_HASH
from piecrust.objects.patch import make_patch
from piecrust.objects.proof import prove_state
from piecrust.objects.record import ContractRecord
from piecrust.objects.state import EMPTY_STATE, State
from piecrust.objects.transcript import Restore
from piecrust.objects.wanted import RecordOf

Report = Callable[[int, int], None]
"""Told how many of how many commits are done."""


def write_history(
    reader: ObjectReader,
    tip: CommitId,
    stream: Output,
    *,
    since: Collection[CommitId] = (),
    report: Report | None = None,
) -> int:
    """Write a commit with all that it came from, but what `since` came from or is; the bytes written.

    What a commit was restored from counts as one that it came from, so that all of it can be derived again.

    Raises:
        ObjectNotFound: a part of it is missing.
    """
    excluded: dict[CommitId, Commit] = {}
    for other in since:
        _collect(reader, other, excluded, excluded)
    commits: dict[CommitId, Commit] = {}
    _collect(reader, tip, commits, excluded)
    order = in_order(commits)
    before = {origin for commit in commits.values() for origin in origins(reader, commit)} - commits.keys()
    items = ItemWriter(stream)
    items.write(ItemType.HEADER, Header(Content.HISTORY, tip, tuple(sorted(before))).encode())
    states = _StateWriter(reader, items)
    for done, (identity, commit) in enumerate(order, 1):
        items.write(ItemType.COMMIT, identity, commit.encode())
        base: Commit | None = reader.load(Kind.COMMIT, commit.parents[0]) if commit.parents else None
        states.write(EMPTY_STATE if base is None else base.state, commit)
        if report is not None:
            report(done, len(order))
    items.end()
    return items.bytes_written


def write_state_alone(reader: ObjectReader, tip: CommitId, stream: Output) -> int:
    """Write the state and the transcript of one commit; of its ancestors the commits alone. The bytes written.

    Raises:
        ObjectNotFound: a part of it is missing.
    """
    commits: dict[CommitId, Commit] = {}
    todo = [tip]
    while todo:
        here = todo.pop()
        if here not in commits:
            commits[here] = reader.load(Kind.COMMIT, here)
            todo += commits[here].parents
    value = commits.pop(tip)
    items = ItemWriter(stream)
    items.write(ItemType.HEADER, Header(Content.STATE, tip).encode())
    for identity, commit in in_order(commits):
        items.write(ItemType.ANCESTOR, identity, commit.encode())
    items.write(ItemType.COMMIT, tip, value.encode())
    _StateWriter(reader, items).write(EMPTY_STATE, value)
    items.end()
    return items.bytes_written


def write_contracts(reader: ObjectReader, tip: CommitId, contracts: Collection[ContractId], stream: Output) -> int:
    """Write some contracts of a commit with the proof that they are its; the bytes written.

    Raises:
        NotProvable: the commit has no such contract.
        ObjectNotFound: a part of it is missing.
    """
    chosen = tuple(sorted(set(contracts)))
    items = ItemWriter(stream)
    items.write(ItemType.HEADER, Header(Content.CONTRACTS, tip, contracts=chosen).encode())
    items.write(ItemType.PROOF, prove_state(reader, tip, [RecordOf(contract) for contract in chosen]))
    state: State = reader.load(Kind.COMMIT, tip).state
    states = _StateWriter(reader, items)
    for contract in sorted(chosen, key=lambda c: c.position_key):
        record = contract_map.lookup(reader, state.map_root, contract)
        assert record is not None, "it was just proven"
        states.write_contract(None, record)
    items.end()
    return items.bytes_written


def origins(reader: ObjectReader, commit: Commit) -> Iterator[CommitId]:
    """The parents of a commit, and what it was restored from."""
    yield from commit.parents
    if commit.transcript is not None and _is_restore(reader.load(Kind.TRANSCRIPT, commit.transcript)):
        derivation = transcript.load(reader, commit.transcript)
        if isinstance(derivation, Restore):
            yield derivation.source


def in_order(commits: dict[CommitId, Commit]) -> list[tuple[CommitId, Commit]]:
    """Commits by generation, then by id: every one after its parents, whatever happened when."""
    return sorted(commits.items(), key=lambda item: (item[1].generation, item[0]))


class _StateWriter:
    """Writes what differs between states; an object that was written once is not written again."""

    def __init__(self, reader: ObjectReader, items: ItemWriter) -> None:
        self._reader, self._items = reader, items
        self._written: tuple[set[bytes], ...] = tuple(set() for _ in range(max(Kind) + 1))
        self._written[Kind.PAGE].add(ZERO_PAGE_HASH)

    def write(self, base: State, commit: Commit) -> None:
        """What the state has that `base` has not, then the transcript."""
        reader = self._reader
        for contract, old, new in contract_map.diff(reader, base.map_root, commit.map_root):
            if new is None:
                self._items.write(ItemType.GONE, contract)
            else:
                self.write_contract(old, new)
        if commit.transcript is not None and self._is_new(Kind.TRANSCRIPT, commit.transcript):
            self._write_object(ItemType.TRANSCRIPT, Kind.TRANSCRIPT, commit.transcript)
            for kind, address in transcript.references(reader, commit.transcript):
                if self._is_new(kind, address):
                    item = ItemType.BLOB if kind is Kind.BLOB else ItemType.BYTECODE
                    self._write_object(item, kind, address)

    def write_contract(self, old: ContractRecord | None, new: ContractRecord) -> None:
        """A contract, and what its memory has that `old` has not."""
        reader, items = self._reader, self._items
        items.write(ItemType.CONTRACT, new.encode())
        if (old is None or old.bytecode != new.bytecode) and self._is_new(Kind.BYTECODE, new.bytecode):
            self._write_object(ItemType.BYTECODE, Kind.BYTECODE, new.bytecode)
        old_root = pages_before(old, new)
        for index, was, now in tree.diff(reader, new.memory_kind.shape, old_root, new.pages_root):
            if now is None:
                items.write(ItemType.GONE_PAGE, index.to_bytes(4, "little"))
            elif self._is_new(Kind.PAGE, now):
                items.write(ItemType.PAGE, self._page(index, was, now))
            else:
                items.write(ItemType.PAGE, page_item(index, now, PageForm.KNOWN))

    def _page(self, index: int, was: bytes | None, now: bytes) -> bytes:
        page: bytes = self._reader.load(Kind.PAGE, now)
        if was is not None:
            patch = make_patch(self._reader.load(Kind.PAGE, was), page, None, PATCH_BYTES_MAX)
            if patch is not None:
                return page_item(index, now, PageForm.PATCH, patch)
        return page_item(index, now, PageForm.SPARSE, sparse(page))

    def _write_object(self, item: ItemType, kind: Kind, address: bytes) -> None:
        self._items.write(item, address, self._reader.load(kind, address))

    def _is_new(self, kind: Kind, address: bytes) -> bool:
        written = self._written[kind]
        if address in written:
            return False
        written.add(bytes(address))
        return True


def pages_before(old: ContractRecord | None, new: ContractRecord) -> bytes:
    """The page tree that a contract's is compared with: its own in the state before, if it has the same shape."""
    return old.pages_root if old is not None and old.memory_kind is new.memory_kind else ZERO


def _collect(
    reader: ObjectReader, tip: CommitId, into: dict[CommitId, Commit], excluded: dict[CommitId, Commit]
) -> None:
    todo = [tip]
    while todo:
        here = todo.pop()
        if here not in into and here not in excluded:
            commit: Commit = reader.load(Kind.COMMIT, here)
            into[here] = commit
            todo += origins(reader, commit)


def _is_restore(body: bytes) -> bool:
    """Whether a transcript's body is that of a restore; most are not, and long."""
    fields = encoding.decode("transcript", body)
    return isinstance(fields, tuple) and len(fields) > 1 and fields[1] == 2
