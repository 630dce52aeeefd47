"""States to prove things about, what is true of them, and claims in a form that verifiers can be compared in."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

from piecrust.objects import contract_map
from piecrust.objects.access import MemoryObjects
from piecrust.objects.ids import ZERO, CommitId, ContractId
from piecrust.objects.page import PAGE_BYTES
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, State, write_state
from piecrust.objects.verifier.claims import (
    AbsentContractClaim,
    AbsentPageClaim,
    AncestryClaim,
    ContractClaim,
    DifferenceClaim,
    PageClaim,
    RangeClaim,
    StateClaim,
)
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, RecordOf, Wanted

from support.sample_objects import change, contract, noise, put_commit

INDICES = [0, 1, 2, 3, 5, 63, 64, 255, 256, 65535]


@dataclass
class World:
    """Commits with a branch and a merge, their ancestors, and the memories that each of them has."""

    objects: MemoryObjects = field(default_factory=MemoryObjects)
    commits: list[CommitId] = field(default_factory=list)
    memories: list[dict[ContractId, dict[int, bytes]]] = field(default_factory=list)
    states: list[State] = field(default_factory=list)
    ancestors: dict[CommitId, set[CommitId]] = field(default_factory=dict)

    @classmethod
    def random(cls, seed: int, *, contracts: int = 6, commits: int = 4) -> World:
        """Commits that each change some pages of some contracts; contract 0 has no pages, contract 1 is 64-bit.

        Of each three, the second branches off where the first did, and the third merges both.
        """
        world, draw = cls(), random.Random(seed)
        for step in range(commits):
            parents = [step - 2, step - 1] if step and step % 3 == 0 else [step - (2 if step % 3 == 2 else 1)]
            state, memories = (world.states[parents[0]], world.memories[parents[0]]) if step else (EMPTY_STATE, {})
            chosen = range(contracts) if step == 0 else draw.sample(range(1, contracts + 2), 2)
            changes = []
            for n in chosen:
                pages = {
                    draw.choice(INDICES) * (1000 if n == 1 else 1): world._page(draw)
                    for _ in range(draw.randint(1, 3) if n else 0)
                }
                record = contract_map.lookup(world.objects, state.map_root, contract(n))
                root = ZERO if record is None else record.pages_root
                kind = MemoryKind.WASM64 if n == 1 else MemoryKind.WASM32
                length = PAGE_BYTES << 26 if n == 1 else PAGE_BYTES << 16
                changes.append(change(n, pages, root=root, kind=kind, length=length))
                memories = memories | {contract(n): memories.get(contract(n), {}) | pages}
            state = write_state(world.objects, state, changes)
            note = {"message": f"step {step}"} if step % 2 else {}
            before = [world.commits[n] for n in parents] if step else []
            world.commits.append(put_commit(world.objects, state, before, None, **note))
            world.ancestors[world.commits[-1]] = {*before}.union(*[world.ancestors[parent] for parent in before])
            world.memories.append(memories)
            world.states.append(state)
        return world

    @staticmethod
    def _page(draw: random.Random) -> bytes:
        kind = draw.randrange(4)
        if kind == 0:
            return bytes(PAGE_BYTES)
        if kind == 1:
            return bytes(4000) + noise(str(draw.random()), 100) + bytes(PAGE_BYTES - 4100)
        return noise(str(draw.random()))

    def memory(self, at: int, name: ContractId, offset: int, length: int) -> bytes:
        """Bytes as they are in a commit."""
        pages = self.memories[at][name]
        zero = bytes(PAGE_BYTES)
        first, last = offset // PAGE_BYTES, (offset + length - 1) // PAGE_BYTES
        joined = b"".join(pages.get(n, zero) for n in range(first, last + 1))
        return joined[offset % PAGE_BYTES :][:length]

    def wishes(self, at: int, draw: random.Random, count: int) -> list[Wanted]:
        """Things that are so in a commit."""
        wishes: list[Wanted] = []
        names = sorted(self.memories[at])
        while len(wishes) < count:
            name = draw.choice(names)
            pages = self.memories[at][name]
            scale = 1000 if name == contract(1) else 1
            match draw.randrange(5):
                case 0:
                    wishes.append(RecordOf(name))
                case 1 if pages:
                    wishes.append(PageOf(name, draw.choice(sorted(pages))))
                case 2:
                    near = draw.choice(INDICES[:-1]) * scale * PAGE_BYTES
                    at_edge = draw.choice([0, 1000, 1024, 3990, PAGE_BYTES - 16, draw.randrange(PAGE_BYTES)])
                    wishes.append(RangeOf(name, near + at_edge, draw.choice([1, 32, 1025, 3000])))
                case 3:
                    index = draw.choice([4, 7, 62, 66, 65534])
                    wishes.append(NoPage(name, index))
                case 4:
                    wishes.append(NoContract(contract(draw.randint(100, 200))))
        return wishes


def plain(claim: StateClaim | AncestryClaim | DifferenceClaim) -> tuple:
    """A claim as the second verifier gives it."""
    if isinstance(claim, AncestryClaim):
        return ("ancestry", claim.ancestor, claim.descendant)
    if isinstance(claim, DifferenceClaim):
        found = []
        for c in claim.contracts:
            pages = tuple((p.index, p.old, p.new) for p in c.pages)
            found.append((c.id, c.old is not None, c.new is not None, pages))
        return ("difference", claim.old.id, claim.new.id, tuple(found))
    commit = None if claim.commit is None else claim.commit.id
    return ("state", commit, claim.state_root, tuple(map(_part, claim.claims)))


def _part(claim) -> tuple:
    match claim:
        case ContractClaim(id=None):
            return ("position", claim.position, claim.pages_root, claim.memory_bits)
        case ContractClaim():
            fields = (claim.id, claim.bytecode, claim.owner, claim.memory_bits, claim.memory_length)
            return ("contract", (*fields, claim.pages_root, claim.position))
        case PageClaim(about, index, data):
            return ("page", _about(about), index, data)
        case RangeClaim(about, offset, data):
            return ("range", _about(about), offset, data)
        case AbsentPageClaim(about, index):
            return ("no page", _about(about), index)
        case AbsentContractClaim(name):
            return ("no contract", name)


def _about(claim: ContractClaim) -> object:
    return claim.position if claim.id is None else claim.id
