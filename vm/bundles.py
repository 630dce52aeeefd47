"""Commits in files: exported whole, with or without history, or contract by contract, and imported again."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import BinaryIO

from piecrust.objects import bundle_reader, bundle_writer, contract_map
from piecrust.objects.bundle import MAGIC, WHAT
from piecrust.objects.bundle_reader import Imported
from piecrust.objects.errors import Conflict, InvalidFormat, ObjectNotFound, StoreIOError
from piecrust.objects.ids import CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.oplog import Operation
from piecrust.objects.record import ContractRecord
from piecrust.objects.refs import BRANCHES, Symbolic, check_ref_name
from piecrust.objects.store import Store
from piecrust.vm.errors import ContractDoesNotExist

BUFFER_BYTES = 1 << 20
REST_BYTES = 32 << 20  # written between two rests of the store


def export_bundle(
    store: Store,
    tip: CommitId,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    since: CommitId | None = None,
    contracts: Collection[ContractId] = (),
    history: bool = True,
    report: Callable[[int, int], None] | None = None,
) -> int:
    """Write a commit to a file or stream; the bytes written. The same commit gives the same bytes everywhere.

    With its whole history, or what it has and `since` has not; without history its state alone; with `contracts` only
    these, proven to be the commit's. A file is there whole or not at all. `report` is told how many of how many commits
    are done.

    Raises:
        ContractDoesNotExist: The commit has no such contract.
        ObjectNotFound: The state of a commit is gone: it was deleted.
        StoreIOError: The file can not be written.
    """
    store.refresh()
    if contracts:
        _check_contracts(store, tip, contracts)
    with _output(file) as output, store.lease(tip):
        stream = _Resting(output, store)
        if contracts:
            return bundle_writer.write_contracts(store, tip, contracts, stream)
        if not history:
            return bundle_writer.write_state_alone(store, tip, stream)
        try:
            return bundle_writer.write_history(
                store, tip, stream, since=() if since is None else (since,), report=report
            )
        except ObjectNotFound as error:
            error.add_note(
                "a commit of the history is here without its state: export the state alone, or what came later"
            )
            raise


def import_bundle(
    store: Store,
    file: str | os.PathLike[str] | BinaryIO,
    *,
    branch: str | None = None,
    report: Callable[[int], None] | None = None,
) -> Imported:
    """Take a bundle into a store, everything in it checked before a commit is there; its commits are kept.

    `branch` is made, or moved on to the bundle's commit, afterwards. An import that was cut off is repeated; what it
    had brought is not written again. `report` is told how many bytes were read.

    Raises:
        InvalidFormat, CorruptObject, InvalidProof: The bundle is damaged, or lies; the store has nothing of it.
        UnknownRevision: The store lacks a commit that the bundle builds on.
        Conflict: The branch is not at an ancestor of the commit; or garbage was collected meanwhile.
        StoreIOError: The file can not be read.
    """
    ref = None if branch is None else check_ref_name(BRANCHES + branch)
    store.refresh()
    with _input(file) as stream:
        imported = bundle_reader.read_bundle(store, stream, report=report)
    if ref is not None:
        _move_on(store, ref, imported.tip)
    return imported


def is_bundle(file: str | os.PathLike[str]) -> bool:
    """Whether a file can be read and begins like a bundle."""
    try:
        with Path(file).open("rb") as stream:
            return stream.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def read_contract(
    file: str | os.PathLike[str] | BinaryIO, contract: ContractId | None = None
) -> tuple[ContractRecord, bytes]:
    """The record and the bytecode of a contract in a bundle's commit, all of the bundle checked.

    `contract` may be left out where there is only one.

    Raises:
        ContractDoesNotExist: There is no such contract.
        InvalidFormat: There are several contracts, and none was named; or as `import_bundle`, like the others.
        CorruptObject, InvalidProof, UnknownRevision: as `import_bundle`.
    """
    with TemporaryDirectory(prefix="piecrust-") as folder, Store.open(Path(folder), create=True, sync=False) as store:
        state = store.load(Kind.COMMIT, import_bundle(store, file).tip).state
        records = {record.id: record for record in contract_map.items(store, state.map_root)}
        if contract is None and len(records) == 1:
            (contract,) = records
        if contract is None:
            raise InvalidFormat(WHAT, f"it has {len(records)} contracts, and none of them was named")
        if contract not in records:
            raise ContractDoesNotExist(contract)
        bytecode: bytes = store.load(Kind.BYTECODE, records[contract].bytecode)
        return records[contract], bytecode


def _check_contracts(store: Store, tip: CommitId, contracts: Collection[ContractId]) -> None:
    state = store.load(Kind.COMMIT, tip).state
    for contract in contracts:
        if contract_map.lookup(store, state.map_root, contract) is None:
            raise ContractDoesNotExist(contract)


def _move_on(store: Store, ref: str, tip: CommitId) -> None:
    old = store.refs().get(ref)
    if old == tip:
        return
    if isinstance(old, Symbolic) or (old is not None and not store.is_ancestor(old, tip)):
        raise Conflict(ref, tip, old)
    transaction = store.transaction()
    transaction.set_ref(ref, tip, expected=old)
    transaction.publish(Operation("import", (ref, tip.hex())))


class _Resting:
    """A stream; whenever much was written to it, the store gives the memory back that reading it took."""

    def __init__(self, stream: BinaryIO, store: Store) -> None:
        self._stream, self._store, self._written = stream, store, 0

    def write(self, data: bytes, /) -> int:
        """Write all of it."""
        self._written += len(data)
        if self._written > REST_BYTES:
            self._store.rest()
            self._written = 0
        return self._stream.write(data)


@contextmanager
def _output(file: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    """The stream, or a new file that takes its name when it is whole."""
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    path = Path(file)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with unfinished.open("wb", buffering=BUFFER_BYTES) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StoreIOError(path, "write", error.errno) from error
    finally:
        unfinished.unlink(missing_ok=True)


@contextmanager
def _input(file: str | os.PathLike[str] | BinaryIO) -> Iterator[BinaryIO]:
    if not isinstance(file, str | os.PathLike):
        yield file
        return
    try:
        stream = Path(file).open("rb", buffering=BUFFER_BYTES)  # noqa: SIM115  (an error in the block is not one of opening)
    except OSError as error:
        raise StoreIOError(file, "open", error.errno) from error
    with stream:
        yield stream
