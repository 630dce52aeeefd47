"""What a verified proof says: plain values, made by the rest of this package alone.

Ids and hashes are bytes of length 32. None of these is true or false: that a proof holds is told by its claims being
there at all, and what it is about stands in them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NoReturn


class Claim:
    """What a whole proof says. It has no truth value, so that `if verify(...)` can't be misread."""

    __slots__ = ()

    def __bool__(self) -> NoReturn:
        raise TypeError("a claim is not true or false: look at what it says")


@dataclass(frozen=True, slots=True)
class CommitClaim:
    """A commit, with everything that its id covers; see `piecrust.objects.commit`."""

    id: bytes
    state_root: bytes
    map_root: bytes
    positions: int
    parents: tuple[bytes, ...]
    generation: int
    depth: int
    jump: bytes | None
    transcript: bytes | None
    author: str | None
    message: str | None
    time: int | None


@dataclass(frozen=True, slots=True)
class ContractClaim:
    """A contract of the state.

    Under a bare state root nothing but its position and the root of its pages is bound, `memory_bits` only if the proof
    has a page of it; the other fields are None.
    """

    position: int
    pages_root: bytes
    memory_bits: int | None = None
    id: bytes | None = None
    bytecode: bytes | None = None
    owner: bytes | None = None
    memory_length: int | None = None


@dataclass(frozen=True, slots=True)
class PageClaim:
    """All 65,536 bytes of a page of a contract's memory."""

    contract: ContractClaim
    index: int
    data: bytes


@dataclass(frozen=True, slots=True)
class RangeClaim:
    """Bytes of a contract's memory; what lies in pages that were never written reads as zeros.

    Under a commit they lie within the memory's length, under a bare state root that isn't bound.
    """

    contract: ContractClaim
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class AbsentPageClaim:
    """A page of a contract's memory was never written."""

    contract: ContractClaim
    index: int


@dataclass(frozen=True, slots=True)
class AbsentContractClaim:
    """The state has no contract with this id."""

    id: bytes


PartClaim = ContractClaim | PageClaim | RangeClaim | AbsentPageClaim | AbsentContractClaim


@dataclass(frozen=True, slots=True)
class StateClaim(Claim):
    """What holds in one state. Without a commit, only the state root is bound: no ids, owners, lengths or bytecode."""

    commit: CommitClaim | None
    state_root: bytes
    claims: tuple[PartClaim, ...]


@dataclass(frozen=True, slots=True)
class AncestryClaim(Claim):
    """`ancestor` comes before `descendant` in history; generations count from the first commit."""

    ancestor: bytes
    descendant: bytes
    ancestor_generation: int
    descendant_generation: int
    path: tuple[bytes, ...]  # the commits on the way, both ends included, the descendant first


@dataclass(frozen=True, slots=True)
class PageDifferenceClaim:
    """A page that differs, by its hashes; None where it was never written."""

    index: int
    old: bytes | None
    new: bytes | None


@dataclass(frozen=True, slots=True)
class ContractDifferenceClaim:
    """A contract that differs, and all of its pages that do; None where there is no such contract."""

    id: bytes
    old: ContractClaim | None
    new: ContractClaim | None
    pages: tuple[PageDifferenceClaim, ...]


@dataclass(frozen=True, slots=True)
class DifferenceClaim(Claim):
    """Two commits differ in exactly these contracts, and these in exactly these pages."""

    old: CommitClaim
    new: CommitClaim
    contracts: tuple[ContractDifferenceClaim, ...]
