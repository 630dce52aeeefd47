"""Forges proofs: takes valid ones apart, changes something, and puts them together again, canonically or not."""

from __future__ import annotations

import random
from dataclasses import dataclass

from piecrust.objects import contract_map
from piecrust.objects.errors import InvalidProof
from piecrust.objects.ids import ContractId
from piecrust.objects.page import page_hash
from piecrust.objects.proof import prove_state, prove_under_root
from piecrust.objects.proof_history import prove_ancestry, prove_difference
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
from piecrust.objects.verifier.encoding import decode, encode
from piecrust.objects.verifier.verify import verify
from piecrust.objects.wanted import NoContract, NoPage, RangeOf, RecordOf

from support.proofs import World

Path = tuple[int, ...]


@dataclass(frozen=True)
class Case:
    """A valid proof, and what a verifier trusts who is shown a forged one: a commit, or a state root."""

    proof: bytes
    trusted: dict[str, bytes]


def cases(world: World, seed: int) -> list[Case]:
    """Valid proofs of all kinds about all commits of a world, most of them small."""
    draw, found = random.Random(seed), []
    for at, commit in enumerate(world.commits):
        names = sorted(world.memories[at])
        state = world.states[at]
        for name in names[:4]:
            pages = world.memories[at][name]
            base = (min(pages) if pages else 3) << 16
            absent = next(i for i in range(1 << 16) if i not in pages)
            wishes = [RecordOf(name), NoPage(name, absent), RangeOf(name, base + draw.choice([0, 1000, 65490]), 40)]
            found += [Case(prove_state(world.objects, commit, [wish]), {"commit": commit}) for wish in wishes]
            if pages:
                bare = [prove_under_root(world.objects, state, [wish]) for wish in wishes]
                found += [Case(proof, {"state_root": state.state_root}) for proof in bare]
        missing = NoContract(ContractId(draw.randbytes(32)))
        found.append(Case(prove_state(world.objects, commit, [missing, RecordOf(names[0])]), {"commit": commit}))
        found.append(Case(prove_state(world.objects, commit, world.wishes(at, draw, 3)), {"commit": commit}))
        for other in world.commits[:at]:
            if other in world.ancestors[commit]:
                found.append(Case(prove_ancestry(world.objects, other, commit), {"commit": commit}))
            found.append(Case(prove_difference(world.objects, other, commit), {"commit": commit}))
    return found


def mutated(draw: random.Random, case: Case, others: list[Case]) -> bytes:
    """The proof with something changed."""
    kind = draw.randrange(10)
    if kind < 3:
        return _bytes_changed(draw, case.proof)
    value = decode(case.proof)
    if kind == 3:
        other = decode(draw.choice(others).proof)
        path = draw.choice(paths(other))
        donor = at_path(other, path)
        target = path if kind == 3 and draw.random() < 0.7 and _has(value, path) else draw.choice(paths(value))
        return _encoded(replaced(value, target, donor))
    for _ in range(draw.choice([1, 1, 1, 2, 3])):
        path = draw.choice(paths(value))
        value = replaced(value, path, _changed(draw, at_path(value, path)))
        if not isinstance(value, tuple):
            break
    return _encoded(value)


def _bytes_changed(draw: random.Random, data: bytes) -> bytes:
    made = bytearray(data)
    at = draw.randrange(len(made))
    match draw.randrange(6):
        case 0 | 1:
            made[at] ^= 1 << draw.randrange(8)
        case 2:
            made[at] = draw.randrange(256)
        case 3:
            del made[at : at + draw.choice([1, 2, 32, 33])]
        case 4:
            made[at:at] = draw.randbytes(draw.choice([1, 2, 32]))
        case _:
            other = draw.randrange(len(made))
            length = draw.choice([1, 32, 34])
            made[at : at + length] = data[other : other + length]
    return bytes(made)


def paths(value: object, path: Path = ()) -> list[Path]:
    """Every place of a decoded proof."""
    if isinstance(value, dict):
        return [path]
    found = [path] if path else []
    if isinstance(value, tuple):
        for n, item in enumerate(value):
            found += paths(item, (*path, n))
    return found


def at_path(value: object, path: Path) -> object:
    for n in path:
        value = value[n]
    return value


def _has(value: object, path: Path) -> bool:
    for n in path:
        if not isinstance(value, tuple) or n >= len(value):
            return False
        value = value[n]
    return True


def replaced(value: object, path: Path, new: object) -> object:
    if not path:
        return new
    return tuple(replaced(item, path[1:], new) if n == path[0] else item for n, item in enumerate(value))


def _changed(draw: random.Random, value: object) -> object:
    match value:
        case bool() | None:
            return draw.choice([None, True, False, 0, b"", bytes(32), ()])
        case int():
            near = [value + 1, max(value - 1, 0), value ^ 1, value * 2, value // 2, value + 1024, value + 65536]
            return draw.choice([*near, 0, 1, 2, 32, 64, 8, 13, 2**16, 2**32, 2**64 - 1, value << 2, None])
        case str():
            return draw.choice([value + "x", "", value[:-1], b"", None])
        case bytes():
            return _string_changed(draw, value)
        case tuple():
            return _array_changed(draw, value)
        case _:
            return draw.choice([{}, {"message": "x"}, {"time": 5}, None])


def _string_changed(draw: random.Random, value: bytes) -> bytes | None:
    """Bytes with a part dropped, doubled, moved, emptied or flipped; hashes and chunks are kept whole mostly."""
    unit = draw.choice([1, 32, 32, 1024])
    parts = [value[n : n + unit] for n in range(0, len(value), unit)]
    match draw.randrange(9):
        case 0 | 1 if value:
            made = bytearray(value)
            made[draw.randrange(len(made))] ^= 1 << draw.randrange(8)
            return bytes(made)
        case 2 if parts:
            del parts[draw.randrange(len(parts))]
        case 3 if parts:
            n = draw.randrange(len(parts))
            parts.insert(n, parts[n])
        case 4 if parts:
            draw.shuffle(parts)
        case 5 if parts:
            parts[draw.randrange(len(parts))] = bytes(unit)
        case 6:
            parts.insert(draw.randint(0, len(parts)), draw.randbytes(unit))
        case 7:
            return draw.choice([None, b"", bytes(32), bytes(len(value))])
        case _:
            if parts:
                # A state of a child changed: empty, pruned and opened take turns.
                made = bytearray(value)
                made[draw.randrange(len(made))] ^= draw.choice([1, 2, 3]) << draw.choice([0, 2, 4, 6])
                return bytes(made)
    return b"".join(parts)


def _array_changed(draw: random.Random, value: tuple) -> object:
    items = list(value)
    match draw.randrange(6):
        case 0 if items:
            del items[draw.randrange(len(items))]
        case 1 if items:
            n = draw.randrange(len(items))
            items.insert(n, items[n])
        case 2 if len(items) > 1:
            a, b = draw.sample(range(len(items)), 2)
            items[a], items[b] = items[b], items[a]
        case 3:
            items.reverse()
        case 4:
            items.append(draw.choice([0, b"", bytes(32), None, ()]))
        case _:
            return draw.choice([None, (), b""])
    return tuple(items)


def _encoded(value: object) -> bytes:
    try:
        return encode(value)
    except ValueError:  # a number over 64 bits
        return b""


class Believed(AssertionError):
    """A verifier took a forged proof for what it trusts, and what it claims isn't so."""


def judged(world: World, case: Case, proof: bytes) -> StateClaim | AncestryClaim | DifferenceClaim | None:
    """What the verifier makes of a proof: a claim, None if it refuses it; raises `Believed`."""
    try:
        claim = verify(proof)
    except InvalidProof:
        return None
    if is_about(claim, case) and not is_so(world, claim):
        raise Believed(f"{proof.hex()} is believed by who trusts {case.trusted}")
    return claim


def is_about(claim: StateClaim | AncestryClaim | DifferenceClaim, case: Case) -> bool:
    """Whether a claim is about the commit or state root that is trusted."""
    if isinstance(claim, StateClaim):
        about = {"state_root": claim.state_root} if claim.commit is None else {"commit": claim.commit.id}
    else:
        about = {"commit": claim.descendant if isinstance(claim, AncestryClaim) else claim.new.id}
    return all(about.get(key) == value for key, value in case.trusted.items())


def is_so(world: World, claim: StateClaim | AncestryClaim | DifferenceClaim) -> bool:
    """Whether a claim about a commit or state root of this world is true."""
    if isinstance(claim, AncestryClaim):
        return claim.ancestor in world.ancestors[claim.descendant]
    if isinstance(claim, DifferenceClaim):
        return _difference_is_so(world, claim)
    roots = [state.state_root for state in world.states]
    at = roots.index(claim.state_root) if claim.commit is None else world.commits.index(claim.commit.id)
    return all(_part_is_so(world, at, part, bound=claim.commit is not None) for part in claim.claims)


def _part_is_so(world: World, at: int, part: object, *, bound: bool) -> bool:
    if isinstance(part, AbsentContractClaim):
        return bound and part.id not in world.memories[at]
    about = part if isinstance(part, ContractClaim) else part.contract
    records = {r.position: r for r in contract_map.items(world.objects, world.states[at].map_root)}
    record = records.get(about.position)
    if record is None or about.pages_root != record.pages_root:
        return False
    if about.memory_bits is not None and about.memory_bits != record.memory_kind:
        return False
    fields = (about.id, about.bytecode, about.owner, about.memory_length)
    if fields != ((record.id, record.bytecode, record.owner, record.memory_length) if bound else (None,) * 4):
        return False
    pages = world.memories[at][record.id]
    match part:
        case PageClaim(_, index, data):
            return pages.get(index) == data
        case RangeClaim(_, offset, data):
            return world.memory(at, record.id, offset, len(data)) == data
        case AbsentPageClaim(_, index):
            return index not in pages
    return True


def _difference_is_so(world: World, claim: DifferenceClaim) -> bool:
    if claim.old.id not in world.commits:
        return True  # about a commit that nobody trusts
    old, new = world.commits.index(claim.old.id), world.commits.index(claim.new.id)
    found = {c.id: {p.index: (p.old, p.new) for p in c.pages} for c in claim.contracts}
    before, after = world.memories[old], world.memories[new]
    for name in before | after:
        a, b = before.get(name, {}), after.get(name, {})
        pages = {
            i: tuple(None if page is None else page_hash(page) for page in (a.get(i), b.get(i)))
            for i in a | b
            if a.get(i) != b.get(i)
        }
        if found.pop(name, {}) != pages:
            return False
    return not found
