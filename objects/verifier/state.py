"""Proofs of what a state holds: contracts, pages, ranges of memory, and what isn't there."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Final

from blake3 import blake3
from piecrust.objects.verifier.claims import (
    AbsentContractClaim,
    AbsentPageClaim,
    ContractClaim,
    PageClaim,
    PartClaim,
    RangeClaim,
    StateClaim,
)
from piecrust.objects.verifier.encoding import (
    U64_MAX,
    Entries,
    an_array,
    an_integer,
    fail,
    is_number,
    rising,
    some_bytes,
)
from piecrust.objects.verifier.records import a_commit, a_record, position_key
from piecrust.objects.verifier.slices import (
    BLOCK_BYTES,
    BLOCKS,
    CHUNK_BYTES,
    CHUNKS,
    VALUE_BYTES,
    Tail,
    sliced_hash,
    touched_by,
    whole_chunk,
)
from piecrust.objects.verifier.tree import CONTRACTS, PAGES, RANGE_BYTES_MAX, ZERO, Limits, is_empty, roots_of

RAW, DEFLATED, SLICES = 0, 1, 2  # how a page is given

_PAGE_BYTES: Final = CHUNKS * CHUNK_BYTES


def state_claim(anchor: object, contract_map: object, tree: object, entries: object, absent: object) -> StateClaim:
    """Claims about one state, under a commit or a bare state root."""
    missing = [some_bytes(contract, 32) for contract in an_array(absent)]
    rising(missing)
    limits = Limits()
    limits.take("absences", len(missing))
    contracts: Sequence[_Contract]
    if isinstance(anchor, bytes):
        commit, root = None, some_bytes(anchor, 32)
        contracts = [_Contract(limits, *an_array(entry, 2)) for entry in an_array(entries)]
        if contract_map is not None or missing:
            fail("a bare state root binds no ids")
    else:
        commit = a_commit(anchor)
        root = commit.state_root
        recorded = [_RecordedContract(limits, *an_array(entry, 2)) for entry in an_array(entries)]
        _prove_records(limits, commit.map_root, contract_map, recorded, missing)
        contracts = sorted(recorded, key=lambda contract: contract.position)
    leaves = Entries(contracts, "contract")

    def leaf(position: int) -> tuple[bytes]:
        contract = leaves.take()
        contract.stands_at(position)
        return (contract.pages_root,)

    if roots_of(limits, tree, CONTRACTS, leaf)[0] != (root,):
        fail("the state tree has another root")
    leaves.end()
    claims: list[PartClaim] = [claim for contract in contracts for claim in contract.claims()]
    claims += [AbsentContractClaim(contract) for contract in missing]
    if not claims:
        fail("it claims nothing")
    return StateClaim(commit, root, tuple(claims))


def _prove_records(
    limits: Limits, root: bytes, contract_map: object, contracts: list[_RecordedContract], missing: list[bytes]
) -> None:
    """The records are in the contract map with this root, and the missing ids are not."""
    leaves, there = Entries(contracts, "record"), dict[int, bytes]()

    def leaf(key: int) -> tuple[bytes]:
        contract = leaves.take()
        if position_key(contract.id) != key:
            fail("a record in another's place")
        there[key] = contract.id
        return (contract.address,)

    roots, empty = roots_of(limits, contract_map, CONTRACTS, leaf)
    if roots != (root,):
        fail("the contract map has another root")
    leaves.end()
    for contract in missing:
        key = position_key(contract)
        if there.get(key, contract) == contract and not is_empty(empty, CONTRACTS, key):
            fail("a contract that is not shown to be absent")


class _Contract:
    """A contract under a bare state root: its page tree, or that tree's root alone."""

    def __init__(self, limits: Limits, what: object, memory: object) -> None:
        self.position = 0
        self._limits = limits
        self.pages: set[int] = set()  # those that the tree shows
        self.ranges: list[tuple[int, int]] = []
        self._touched: dict[int, dict[int, int]] = {}  # page -> chunk of it that ranges touch -> first block of that
        self._whole: dict[int, bytes] = {}  # index -> bytes
        self._chunks: dict[
            int, bytes
        ] = {}  # number of the chunk within the memory -> bytes, zeros up to the known ones
        self._absent: list[int] = []
        self._bits: int | None = None
        self.pages_root = self._read(what, memory)

    def _read(self, what: object, memory: object) -> bytes:
        root = some_bytes(memory, 32) if what is None else self._memory(an_integer(what, 64), memory)
        if root == ZERO:
            fail("a contract without pages, which can't be told from none")
        if what is not None and not self.pages:
            # The upper levels of a higher tree could be passed off as a lower one with holes in it.
            fail("no page binds the kind of the memory")
        return root

    def stands_at(self, position: int) -> None:
        """Takes or checks the position in the state tree."""
        self.position = position

    def claims(self) -> list[PartClaim]:
        """What is proven of the contract."""
        contract = self._claim()
        claims: list[PartClaim] = [contract]
        claims += [PageClaim(contract, index, data) for index, data in self._whole.items()]
        claims += [RangeClaim(contract, offset, self._bytes(offset, length)) for offset, length in self.ranges]
        return claims + [AbsentPageClaim(contract, index) for index in self._absent]

    def _claim(self) -> ContractClaim:
        return ContractClaim(self.position, self.pages_root, self._bits)

    def _memory(self, bits: int, memory: object) -> bytes:
        """The root of the page tree; the pages, ranges and absences that it shows."""
        tree, pages, ranges, absent = an_array(memory, 4)
        shape = PAGES.get(bits) or fail("no such kind of memory")
        self._bits = bits
        self._read_ranges(ranges, _PAGE_BYTES << 2 * shape[1])
        given = Entries(an_array(pages), "page")

        def leaf(index: int) -> tuple[bytes]:
            self.pages.add(index)
            return (self._page(index, given.take()),)

        (root,), empty = roots_of(self._limits, tree, shape, leaf)
        given.end()
        self._absent = [an_integer(index, U64_MAX) for index in an_array(absent)]
        rising(self._absent)
        self._limits.take("absences", len(self._absent))
        if not (self.pages or self.ranges or self._absent):
            fail("a page tree of which nothing is claimed")
        if not all(is_empty(empty, shape, index) for index in [*self._absent, *(self._touched.keys() - self.pages)]):
            fail("a page that is not shown to be absent")
        return root

    def _read_ranges(self, ranges: object, space: int) -> None:
        """Take the ranges, and which parts of pages they need."""
        for pair in an_array(ranges):
            offset, length = an_array(pair, 2)
            self.ranges.append((an_integer(offset, space - 1), an_integer(length, RANGE_BYTES_MAX)))
            self._limits.take("range bytes", self.ranges[-1][1])
            if self.ranges[-1][1] == 0 or sum(self.ranges[-1]) > space:
                fail("a range outside of the memory")
        rising(self.ranges)
        self._touched = touched_by(self.ranges)

    def _page(self, index: int, page: object) -> bytes:
        """The hash of a page that is given whole or in slices."""
        self._limits.take("pages", 1)
        encoding, *fields = an_array(page) or fail("an empty page")
        if is_number(encoding, SLICES) and len(fields) == 2:
            return sliced_hash(self._tails(index, some_bytes(fields[1])), some_bytes(fields[0]))
        if not is_number(encoding, RAW, DEFLATED) or len(fields) != 1:
            fail("a page in no known form")
        given = some_bytes(fields[0])
        self._whole[index] = some_bytes(_inflated(given) if encoding == DEFLATED else given, _PAGE_BYTES)
        return blake3(self._whole[index]).digest()

    def _tails(self, index: int, data: bytes) -> dict[int, Tail]:
        """The chunks of a page that ranges touch, each from the first block on that they touch."""
        tails: dict[int, Tail] = {}
        at, touched = 0, self._touched.get(index) or fail("a slice that no range needs")
        self._limits.take("chunks", len(touched))
        for number, start in sorted(touched.items()):
            known = (BLOCKS - start) * BLOCK_BYTES
            state, at = (data[at : at + VALUE_BYTES], at + VALUE_BYTES) if start else (None, at)
            chunk, at = data[at : at + known], at + known
            if at > len(data):
                fail("a slice of another length")
            tails[number] = whole_chunk(chunk) if state is None else Tail(state, chunk)
            self._chunks[index * CHUNKS + number] = bytes(CHUNK_BYTES - known) + chunk
        if at != len(data):
            fail("a slice of another length")
        return tails

    def _bytes(self, offset: int, length: int) -> bytes:
        """Bytes of the memory, where it is known; pages that are absent are zeros."""
        parts = []
        for number in _chunks(offset, length):
            page, at = self._whole.get(number // CHUNKS), number % CHUNKS * CHUNK_BYTES
            parts.append(self._chunks.get(number, bytes(CHUNK_BYTES)) if page is None else page[at : at + CHUNK_BYTES])
        start = offset % CHUNK_BYTES
        return b"".join(parts)[start : start + length]


class _RecordedContract(_Contract):
    """A contract under a commit: its record, which binds everything else."""

    def _read(self, what: object, memory: object) -> bytes:
        self.record, self.address = a_record(what)
        self.id, self.position = self.record.id or ZERO, self.record.position
        if memory is not None and self._memory(self.record.memory_bits or 0, memory) != self.record.pages_root:
            fail("the page tree has another root")
        if any(sum(pair) > (self.record.memory_length or 0) for pair in self.ranges):
            fail("a range beyond the memory's length")
        return self.record.pages_root

    def stands_at(self, position: int) -> None:
        if position != self.position:
            fail("a contract at another position")

    def _claim(self) -> ContractClaim:
        return self.record


def _chunks(offset: int, length: int) -> range:
    """The numbers of the chunks that a range of memory touches."""
    return range(offset // CHUNK_BYTES, (offset + length - 1) // CHUNK_BYTES + 1)


def _inflated(data: bytes) -> bytes:
    """A page out of a raw deflate stream; never more than a byte over it.

    Deflate writes the same page in many ways, empty blocks without end among them: what isn't shorter than the page is
    refused.
    """
    if len(data) >= _PAGE_BYTES:
        fail("a deflated page that is no shorter than the page")
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        page = stream.decompress(data, _PAGE_BYTES + 1)
    except zlib.error:
        fail("a page that can't be inflated")
    if not stream.eof or stream.unused_data or stream.unconsumed_tail:
        fail("a deflated page of another length")
    return page
