"""Makes proofs of what a state holds; `piecrust.objects.proof_history` makes those about several commits.

A proof is bytes that `piecrust.objects.verifier` checks without a store; `docs/proofs.md` specifies them. Making one
reads what it shows and no more: a range of memory costs a walk down three trees and the blake3 tree of its pages, some
8 ms each.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field

from piecrust.objects import contract_map
from piecrust.objects.access import ObjectReader
from piecrust.objects.commit import Commit
from piecrust.objects.errors import InvalidProof, NotProvable
from piecrust.objects.ids import ZERO, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import ContractRecord
from piecrust.objects.shown import show
from piecrust.objects.state import State
from piecrust.objects.tree import CONTRACTS, leaves, lookup
from piecrust.objects.verifier.encoding import encode
from piecrust.objects.verifier.slices import (
    CHUNK_BYTES,
    LEVELS,
    chunk_values,
    parent_values,
    tail_of,
    touched_by,
    whole_chunk,
)
from piecrust.objects.verifier.state import DEFLATED, RAW, SLICES
from piecrust.objects.verifier.tree import ABSENCES_MAX, CHUNKS_MAX, PAGES_MAX, RANGE_BYTES_MAX
from piecrust.objects.verifier.verify import MAGIC, STATE, VERSION, verify
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, Wanted

SLICED_CHUNKS_MAX = 16  # of a page: beyond that it is given whole
SMALL_PROOF_BYTES = 1 << 17  # up to this, a proof reaches no limit that `_check_size` doesn't know


def prove_state(reader: ObjectReader, commit: CommitId, wanted: Iterable[Wanted], *, deflate: bool = True) -> bytes:
    """One proof of several things about the state of a commit.

    Pages are compressed unless `deflate` is false or it gains nothing.

    Raises:
        NotProvable: something of it isn't so.
    """
    value: Commit = reader.load(Kind.COMMIT, commit)
    parts, missing = _parts(reader, value.state, wanted)
    absent = sorted(missing)
    parts.sort(key=lambda part: part.record.id.position_key)
    keys = [contract.position_key for contract in absent] + [part.record.id.position_key for part in parts]
    state_tree = _state_tree(reader, value.state_root, parts)
    entries = [(part.record.fields(), part.memory(reader, deflate=deflate)) for part in parts]
    anchor = (*value.place(), value.content())
    return encoded(
        (
            MAGIC,
            VERSION,
            STATE,
            anchor,
            show(reader, CONTRACTS, value.map_root, keys),
            state_tree,
            entries,
            [bytes(contract) for contract in absent],
        )
    )


def prove_under_root(reader: ObjectReader, state: State, wanted: Iterable[Wanted], *, deflate: bool = True) -> bytes:
    """The same under a bare state root, as the original has them: contracts are positions, and no ids are bound.

    Where only absent pages of a contract are wanted, a byte of another page is proven too: it binds the kind of the
    memory, which the state root alone doesn't tell.

    Raises:
        NotProvable: something of it isn't so, or a state root can't tell: records, absent contracts, contracts without
            pages.
    """
    parts, missing = _parts(reader, state, wanted)
    if missing:
        raise NotProvable(f"contract {missing.pop()} is absent", "a state root binds no ids")
    parts.sort(key=lambda part: part.record.position)
    for part in parts:
        part.bind_kind(reader)
    return encoded(
        (
            MAGIC,
            VERSION,
            STATE,
            bytes(state.state_root),
            None,
            _state_tree(reader, state.state_root, parts),
            [part.bare_entry(reader, deflate=deflate) for part in parts],
            (),
        )
    )


def encoded(proof: tuple[object, ...]) -> bytes:
    """The bytes of a proof, if they are within the limits of verifiers: items, nodes and bytes are known only now."""
    made = encode(proof)
    if len(made) > SMALL_PROOF_BYTES:
        try:
            verify(made)
        except InvalidProof as error:
            raise NotProvable("all of it", f"it is too much for one proof ({error.reason})") from None
    return made


@dataclass
class _Part:
    """What is wanted of one contract."""

    record: ContractRecord
    pages: set[int] = field(default_factory=set)
    ranges: set[tuple[int, int]] = field(default_factory=set)
    absent: set[int] = field(default_factory=set)

    def add(self, reader: ObjectReader, wanted: Wanted) -> None:
        """Take a wish, if it can be fulfilled."""
        shape = self.record.memory_kind.shape
        match wanted:
            case PageOf(_, index):
                if not 0 <= index < shape.positions or self._address(reader, index) is None:
                    raise NotProvable(str(wanted), "the page was never written")
                self.pages.add(index)
            case NoPage(_, index):
                if not 0 <= index < shape.positions:
                    raise NotProvable(str(wanted), "the memory has no such page")
                if self._address(reader, index) is not None:
                    raise NotProvable(str(wanted), "the page was written")
                self.absent.add(index)
            case RangeOf(_, offset, length):
                if offset < 0 or length <= 0 or offset + length > shape.positions * PAGE_BYTES:
                    raise NotProvable(str(wanted), "it reaches out of the address space, or is empty")
                if offset + length > self.record.memory_length:
                    reason = f"the memory has {self.record.memory_length:,} bytes"
                    raise NotProvable(str(wanted), reason)
                self.ranges.add((offset, length))
            case _:
                pass  # the record is part of the proof anyway

    def _address(self, reader: ObjectReader, index: int) -> bytes | None:
        return lookup(reader, self.record.memory_kind.shape, self.record.pages_root, index)

    def touched(self) -> dict[int, dict[int, int]]:
        """The pages that ranges touch, with the numbers of their chunks and the first block of each that is needed."""
        return touched_by(self.ranges)

    def bind_kind(self, reader: ObjectReader) -> None:
        """Have at least one page in the proof, if anything of the memory is."""
        claims_nothing = not (self.pages or self.ranges or self.absent)
        if self.record.pages_root == ZERO:
            raise NotProvable(
                f"contract {self.record.id}", "a state root doesn't tell a contract without pages from none"
            )
        if claims_nothing or self.pages or any(self._address(reader, index) for index in self.touched()):
            return
        first, _ = next(leaves(reader, self.record.memory_kind.shape, self.record.pages_root))
        self.ranges.add((first * PAGE_BYTES, 1))

    def memory(self, reader: ObjectReader, *, deflate: bool) -> tuple[object, ...] | None:
        """The pages, ranges and absences as they stand in the proof."""
        if not (self.pages or self.ranges or self.absent):
            return None
        chunks, given = self.touched(), []
        for index in sorted(self.pages | chunks.keys()):
            address = self._address(reader, index)
            if address is None:
                continue  # a range reads zeros there; the tree shows that
            page: bytes = reader.load(Kind.PAGE, address)
            if index in self.pages or len(chunks[index]) > SLICED_CHUNKS_MAX:
                given.append(_whole(page, deflate=deflate))
            else:
                given.append(_sliced(page, chunks[index]))
        positions = self.pages | chunks.keys() | self.absent
        tree = show(reader, self.record.memory_kind.shape, self.record.pages_root, positions)
        return tree, given, sorted(self.ranges), sorted(self.absent)

    def bare_entry(self, reader: ObjectReader, *, deflate: bool) -> tuple[object, object]:
        """The entry under a bare state root."""
        memory = self.memory(reader, deflate=deflate)
        if memory is None:
            return None, bytes(self.record.pages_root)
        return int(self.record.memory_kind), memory


def _parts(reader: ObjectReader, state: State, wanted: Iterable[Wanted]) -> tuple[list[_Part], set[ContractId]]:
    """What is wanted, by contract; and the contracts that are to be absent."""
    parts: dict[ContractId, _Part] = {}
    missing: set[ContractId] = set()
    for wish in wanted:
        record = contract_map.at_key(reader, state.map_root, wish.contract.position_key)
        here = record is not None and record.id == wish.contract
        if here == isinstance(wish, NoContract):
            raise NotProvable(str(wish), "it is there" if here else "there is no such contract")
        if isinstance(wish, NoContract):
            missing.add(wish.contract)
        if record is not None:  # another contract in the place of an absent one is shown, too
            parts.setdefault(record.id, _Part(record)).add(reader, wish)
    if not parts and not missing:
        raise NotProvable("nothing", "nothing is wanted")
    _check_size(list(parts.values()), len(missing))
    return list(parts.values()), missing


def _check_size(parts: list[_Part], absent: int) -> None:
    """Refuse what verifiers would find too much."""
    much = sum(length for part in parts for _, length in part.ranges) > RANGE_BYTES_MAX
    if not much:
        touched = [part.touched() for part in parts]
        pages = sum(len(part.pages | chunks.keys()) for part, chunks in zip(parts, touched, strict=True))
        counts = [len(numbers) for chunks in touched for numbers in chunks.values()]
        sliced = sum([count for count in counts if count <= SLICED_CHUNKS_MAX])
        much = (
            pages > PAGES_MAX or sliced > CHUNKS_MAX or absent + sum(len(part.absent) for part in parts) > ABSENCES_MAX
        )
    if much:
        raise NotProvable("all of it", "it is too much for one proof")


def _state_tree(reader: ObjectReader, root: bytes, parts: list[_Part]) -> tuple[bytes, bytes]:
    return show(reader, CONTRACTS, root, [part.record.position for part in parts], zero_leaves=True)


def _whole(page: bytes, *, deflate: bool) -> tuple[object, ...]:
    if deflate:
        stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        data = stream.compress(page) + stream.flush()
        if len(data) < len(page):
            return DEFLATED, data
    return RAW, page


def _sliced(page: bytes, known: dict[int, int]) -> tuple[object, ...]:
    """Some chunks of a page, each from a block on, with the chaining values beside them."""
    chunks = [page[at : at + CHUNK_BYTES] for at in range(0, PAGE_BYTES, CHUNK_BYTES)]
    level = list(chunk_values({n: whole_chunk(chunk) for n, chunk in enumerate(chunks)}).values())
    here, siblings = sorted(known), list[bytes]()
    for _ in range(LEVELS):
        siblings += [level[n ^ 1] for n in here if n ^ 1 not in here]
        here = sorted({n >> 1 for n in here})
        level = parent_values([level[n] + level[n + 1] for n in range(0, len(level), 2)], root=False)
    tails = [(start, tail_of(n, chunks[n], start)) for n, start in sorted(known.items())]
    data = [part for start, tail in tails for part in ((tail.state, tail.data) if start else (tail.data,))]
    return SLICES, b"".join(siblings), b"".join(data)
