"""Asking a remote for whole states, level by level, so that many objects come with few requests."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Final, TypeVar

from piecrust.objects import contract_map, transcript, tree
from piecrust.objects.commit import Commit
from piecrust.objects.ids import ZERO, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.record import ContractRecord
from piecrust.objects.remote.arrival import Arrival
from piecrust.objects.tree import CONTRACTS, Shape

_BATCH: Final = 512
_T = TypeVar("_T")


def gather_states(arrival: Arrival, commits: Iterable[Commit]) -> None:
    """Have the whole states and transcripts of some commits come.

    Raises:
        ObjectNotFound: the remote lacks a part of them.
        CorruptRemote, RemoteUnavailable: as of `RemoteObjects`.
    """
    commits = list(commits)
    for _ in _leaves(arrival, [(CONTRACTS, commit.state_root) for commit in commits]):
        pass
    addresses = list(_leaves(arrival, [(CONTRACTS, commit.map_root) for commit in commits]))
    for batch in _batches(addresses):
        arrival.need((Kind.RECORD, address) for address in batch)
    gather_memories(arrival, (arrival.load(Kind.RECORD, address) for address in addresses))
    transcripts: list[bytes] = [commit.transcript for commit in commits if commit.transcript is not None]
    for batch in _batches(transcripts):
        arrival.need((Kind.TRANSCRIPT, address) for address in batch)
        for address in batch:
            arrival.need(transcript.references(arrival, address))


def gather_contracts(arrival: Arrival, commit: Commit, contracts: Iterable[ContractId]) -> set[ContractId]:
    """Have some contracts of a commit come, and what proves that they are its; those that it has not."""
    records, missing = [], set()
    for contract in contracts:
        record = contract_map.lookup(arrival, commit.map_root, contract)
        if record is None:
            missing.add(contract)
        else:
            tree.lookup(arrival, CONTRACTS, commit.state_root, record.position)
            records.append(record)
    gather_memories(arrival, records)
    return missing


def gather_memories(arrival: Arrival, records: Iterable[ContractRecord]) -> None:
    """Have the code and all pages of some contracts come."""
    roots: dict[tuple[Shape, bytes], None] = {}
    codes: dict[bytes, None] = {}
    for record in records:
        roots[record.memory_kind.shape, record.pages_root] = None
        codes[record.bytecode] = None
    for codes_batch in _batches(codes):
        arrival.need((Kind.BYTECODE, code) for code in codes_batch)
    for batch in _batches(_leaves(arrival, roots)):
        arrival.need((Kind.PAGE, page) for page in batch)


def _leaves(arrival: Arrival, roots: Iterable[tuple[Shape, bytes]]) -> Iterator[bytes]:
    """The leaves of some trees, whose nodes come level by level; each once."""
    level = {(shape, shape.height, root): None for shape, root in roots if root != ZERO}
    seen: set[bytes] = set()
    while level:
        below: dict[tuple[Shape, int, bytes], None] = {}
        for batch in _batches(level):
            arrival.need((Kind.NODE, address) for _, _, address in batch)
            for shape, height, address in batch:
                node = tree.load_node(arrival, shape, height, address)
                bottom = height - node.levels
                for child in node.children.values():
                    if bottom:
                        below[shape, bottom, child] = None
                    elif child not in seen and child != ZERO:
                        seen.add(child)
                        yield child
        level = below


def _batches(items: Iterable[_T]) -> Iterator[list[_T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, _BATCH)):
        yield batch
