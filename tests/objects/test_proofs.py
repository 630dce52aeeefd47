"""Proofs that are made are verified, by two verifiers, and claim what is so."""

from __future__ import annotations

import ast
import dataclasses
import json
import random
import shutil
import subprocess
import sys
from pathlib import Path

import blake3
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects import contract_map
from piecrust.objects.access import MemoryObjects
from piecrust.objects.errors import InvalidProof, NotProvable
from piecrust.objects.ids import ZERO, CommitId, ContractId
from piecrust.objects.kinds import Kind
from piecrust.objects.page import PAGE_BYTES, page_hash
from piecrust.objects.place import opening
from piecrust.objects.proof import prove_state, prove_under_root
from piecrust.objects.proof_history import prove_ancestry, prove_difference
from piecrust.objects.record import MemoryKind
from piecrust.objects.state import EMPTY_STATE, write_state
from piecrust.objects.tree import CONTRACTS
from piecrust.objects.verifier import encoding
from piecrust.objects.verifier.claims import (
    AbsentContractClaim,
    AbsentPageClaim,
    ContractClaim,
    PageClaim,
    RangeClaim,
)
from piecrust.objects.verifier.opening import opening_bytes, verify_opening
from piecrust.objects.verifier.verify import verify
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, RecordOf, Wanted
from support.fixtures import FIXTURES, ROOT
from support.plain_verifier import check
from support.proofs import World, plain
from support.sample_objects import change, contract, noise, put_commit, sample

GOLDEN = FIXTURES / "golden" / "proofs.jsonl"
WORLD = World.random(1)
LAST = len(WORLD.commits) - 1
SPACE_32 = PAGE_BYTES << 16


@settings(max_examples=25, deadline=None)
@given(st.integers(0, LAST), st.integers(0, 2**32), st.integers(1, 5), st.booleans())
def test_what_is_wanted_is_claimed_and_so(at, seed, count, deflate):
    wishes = WORLD.wishes(at, random.Random(seed), count)
    proof = prove_state(WORLD.objects, WORLD.commits[at], wishes, deflate=deflate)
    claim = verify(proof, commit=WORLD.commits[at], state_root=WORLD.states[at].state_root)
    assert plain(claim) == check(proof)
    claimed = set()
    for part in claim.claims:
        match part:
            case ContractClaim(id=name):
                record = contract_map.lookup(WORLD.objects, WORLD.states[at].map_root, ContractId(name))
                assert (part.position, part.pages_root) == (record.position, record.pages_root)
                assert (part.bytecode, part.owner) == (record.bytecode, record.owner)
                assert (part.memory_bits, part.memory_length) == (record.memory_kind, record.memory_length)
                claimed.add(RecordOf(name))
            case PageClaim(about, index, data):
                assert data == WORLD.memories[at][about.id][index]
                claimed.add(PageOf(about.id, index))
            case RangeClaim(about, offset, data):
                assert data == WORLD.memory(at, about.id, offset, len(data))
                claimed.add(RangeOf(about.id, offset, len(data)))
            case AbsentPageClaim(about, index):
                assert index not in WORLD.memories[at][about.id]
                claimed.add(NoPage(about.id, index))
            case AbsentContractClaim(name):
                assert name not in WORLD.memories[at]
                claimed.add(NoContract(name))
    assert set(wishes) <= claimed


@settings(max_examples=15, deadline=None)
@given(st.integers(0, LAST), st.integers(0, 2**32), st.integers(1, 4))
def test_the_same_holds_under_a_bare_state_root(at, seed, count):
    names = {contract(0)}
    wishes = [w for w in WORLD.wishes(at, random.Random(seed), count * 2) if not isinstance(w, NoContract)]
    wishes = [w for w in wishes if w.contract not in names] or [RecordOf(contract(2))]
    state = WORLD.states[at]
    proof = prove_under_root(WORLD.objects, state, wishes)
    claim = verify(proof, state_root=state.state_root)
    assert plain(claim) == check(proof)
    assert claim.commit is None
    by_position = {r.position: r.id for r in contract_map.items(WORLD.objects, state.map_root)}
    for part in claim.claims:
        about = part if isinstance(part, ContractClaim) else part.contract
        name = by_position[about.position]
        assert (about.id, about.owner, about.bytecode, about.memory_length) == (None,) * 4
        match part:
            case PageClaim(_, index, data):
                assert data == WORLD.memories[at][name][index]
            case RangeClaim(_, offset, data):
                assert data == WORLD.memory(at, name, offset, len(data))
            case AbsentPageClaim(_, index):
                assert index not in WORLD.memories[at][name]
    with pytest.raises(InvalidProof, match="no commit"):
        verify(proof, commit=WORLD.commits[at])


@pytest.mark.parametrize(
    ("old", "new"), [(a, b) for a in range(LAST + 1) for b in range(LAST + 1) if a != b], ids=lambda n: str(n)
)
def test_a_difference_is_exact_in_both_directions(old, new):
    proof = prove_difference(WORLD.objects, WORLD.commits[old], WORLD.commits[new])
    claim = verify(proof, commit=WORLD.commits[new])
    assert plain(claim) == check(proof)
    assert (claim.old.id, claim.new.id) == (WORLD.commits[old], WORLD.commits[new])
    found = {c.id: c for c in claim.contracts}
    before, after = WORLD.memories[old], WORLD.memories[new]
    for name in before | after:
        a, b = before.get(name, {}), after.get(name, {})
        pages = {i: (a.get(i), b.get(i)) for i in a | b if a.get(i) != b.get(i)}
        hashes = {i: tuple(None if p is None else page_hash(p) for p in pair) for i, pair in pages.items()}
        if name in found:
            assert {p.index: (p.old, p.new) for p in found[name].pages} == hashes
            assert (found[name].old is None, found[name].new is None) == (name not in before, name not in after)
        else:
            assert not hashes
            assert name in before
            assert name in after


def test_a_difference_of_memory_kinds_and_of_contracts_that_share_a_key():
    objects = MemoryObjects()
    twin = ContractId(contract(5)[4:] + contract(5)[:4])
    page = noise("page")
    old = write_state(objects, EMPTY_STATE, [change(4, {0: page, 1: page}), change(5, {0: page})])
    other = dataclasses.replace(change(6, {}), id=twin)
    new = write_state(objects, EMPTY_STATE, [change(4, {0: page, 2: page}, kind=MemoryKind.WASM64), other])
    a, b = put_commit(objects, old, [], None), put_commit(objects, new, [], None, message="other")
    proof = prove_difference(objects, a, b)
    claim = verify(proof)
    assert plain(claim) == check(proof)
    found = {c.id: c for c in claim.contracts}
    digest = page_hash(page)
    assert [(p.index, p.old, p.new) for p in found[contract(4)].pages] == [(1, digest, None), (2, None, digest)]
    assert [(p.index, p.old, p.new) for p in found[contract(5)].pages] == [(0, digest, None)]
    assert found[contract(5)].new is None
    assert found[twin].old is None
    assert found[twin].pages == ()


def test_commits_that_do_not_differ_are_proven_not_to():
    objects = MemoryObjects()
    state = write_state(objects, EMPTY_STATE, [change(1, {0: noise("x")})])
    a = put_commit(objects, state, [], None)
    b = put_commit(objects, state, [a], None)
    proof = prove_difference(objects, a, b)
    assert verify(proof).contracts == ()
    assert check(proof)[3] == ()


def test_a_difference_binds_the_state_roots_and_positions():
    """Positions that come, go, move to another contract, or have no pages on either side."""
    objects = MemoryObjects()
    pages = [noise(f"{n}") for n in range(4)]
    states = [
        EMPTY_STATE,
        write_state(objects, EMPTY_STATE, [change(1, {})]),
        write_state(objects, EMPTY_STATE, [change(1, {}), change(2, {}), change(3, {})]),
        write_state(objects, EMPTY_STATE, [change(1, {0: pages[0]}), change(2, {}), change(3, {5: pages[1]})]),
        write_state(objects, EMPTY_STATE, [change(2, {0: pages[0]})]),
        write_state(
            objects, EMPTY_STATE, [change(3, {}), change(2, {1: pages[2]}), change(1, {0: pages[0]}, length=1)]
        ),
    ]
    commits = [put_commit(objects, state, [], None, time=n) for n, state in enumerate(states)]
    for old, before in zip(commits, states, strict=True):
        for new, after in zip(commits, states, strict=True):
            proof = prove_difference(objects, old, new)
            claim = verify(proof, commit=new, state_root=after.state_root)
            assert plain(claim) == check(proof)
            records = [{r.id: r for r in contract_map.items(objects, state.map_root)} for state in (before, after)]
            differ = {name for name in {*records[0], *records[1]} if records[0].get(name) != records[1].get(name)}
            assert {contract.id for contract in claim.contracts} == differ
            for contract_claim in claim.contracts:
                for side, found in ((0, contract_claim.old), (1, contract_claim.new)):
                    record = records[side].get(contract_claim.id)
                    assert (record is None) == (found is None)
                    assert record is None or (record.position, record.pages_root) == (found.position, found.pages_root)


def test_a_state_tree_that_differs_where_the_contract_map_does_not_is_not_provable():
    objects = MemoryObjects()
    a, b = [write_state(objects, EMPTY_STATE, [change(1, {0: noise(name)}), change(2, {})]) for name in "ab"]
    mixed = a._replace(state_root=b.state_root)
    commits = [put_commit(objects, state, [], None) for state in (a, mixed)]
    with pytest.raises(NotProvable, match="disagree"):
        prove_difference(objects, *commits)


def history() -> tuple[MemoryObjects, list[CommitId], list[CommitId], CommitId]:
    """A line, a side branch that leaves it at the tenth commit, and a merge of both; then the line goes on."""
    objects, line, side = MemoryObjects(), [], []
    for n in range(60):
        line.append(put_commit(objects, EMPTY_STATE, line[-1:], None, time=n))
        if n >= 10 and n < 30:
            side.append(put_commit(objects, EMPTY_STATE, side[-1:] or [line[10]], None, time=1000 + n))
    merge = put_commit(objects, EMPTY_STATE, [line[-1], side[-1]], None, message="merge")
    head = merge
    for n in range(40):
        head = put_commit(objects, EMPTY_STATE, [head], None, time=2000 + n)
    return objects, line, side, head


OBJECTS, LINE, SIDE, HEAD = history()


@pytest.mark.parametrize("n", range(0, 60, 7))
def test_every_ancestor_is_proven(n):
    for ancestor in (LINE[n], SIDE[n % len(SIDE)]):
        proof = prove_ancestry(OBJECTS, ancestor, HEAD)
        claim = verify(proof, commit=HEAD)
        assert plain(claim) == check(proof)
        assert (claim.ancestor, claim.descendant) == (ancestor, HEAD)
        assert len(proof) < 4096


def test_what_is_no_ancestor_is_not_provable():
    for ancestor, descendant in [(SIDE[0], LINE[-1]), (HEAD, LINE[0]), (LINE[20], SIDE[-1]), (HEAD, HEAD)]:
        with pytest.raises(NotProvable):
            prove_ancestry(OBJECTS, ancestor, descendant)


def test_a_proof_is_about_one_commit():
    proof = prove_state(WORLD.objects, WORLD.commits[1], [RecordOf(contract(2))])
    with pytest.raises(InvalidProof, match=WORLD.commits[1].hex()):
        verify(proof, commit=WORLD.commits[0])
    with pytest.raises(InvalidProof, match="state root"):
        verify(proof, state_root=WORLD.states[0].state_root)
    with pytest.raises(InvalidProof, match="state root"):
        verify(prove_ancestry(OBJECTS, LINE[3], HEAD), state_root=ZERO)
    assert verify(proof).commit.message == "step 1"


def test_a_state_root_alone_does_not_do_for_a_proof_about_a_commit():
    """A made-up commit has the root that is trusted, and ids, owners and lengths that it never had."""
    objects, pages = MemoryObjects(), {0: noise("x")}
    true = write_state(objects, EMPTY_STATE, [change(1, pages)])
    false = write_state(objects, EMPTY_STATE, [change(2, pages, length=1 << 32)])
    assert true.state_root == false.state_root
    made_up = put_commit(objects, false, [], None)
    proof = prove_state(objects, made_up, [RangeOf(contract(2), 0, 32)])
    difference = prove_difference(objects, put_commit(objects, EMPTY_STATE, [], None), made_up)
    for about_a_commit in (proof, difference):
        with pytest.raises(InvalidProof, match="which a state root doesn't bind"):
            verify(about_a_commit, state_root=true.state_root)
        verify(about_a_commit, state_root=true.state_root, commit=made_up)


def test_what_a_claim_starts_from_is_compared():
    proof = prove_difference(WORLD.objects, *WORLD.commits[:2])
    assert verify(proof, commit=WORLD.commits[1], base=WORLD.commits[0]).old.id == WORLD.commits[0]
    ancestry = prove_ancestry(OBJECTS, LINE[3], HEAD)
    assert verify(ancestry, commit=HEAD, base=LINE[3]).ancestor == LINE[3]
    state = prove_state(WORLD.objects, WORLD.commits[1], [RecordOf(contract(2))])
    for other in (proof, ancestry, state):
        with pytest.raises(InvalidProof, match="older commit"):
            verify(other, base=WORLD.commits[2])


def test_a_claim_is_not_a_boolean():
    for proof in (
        prove_state(WORLD.objects, WORLD.commits[1], [RecordOf(contract(2))]),
        prove_ancestry(OBJECTS, LINE[0], HEAD),
        prove_difference(WORLD.objects, *WORLD.commits[:2]),
    ):
        with pytest.raises(TypeError):
            bool(verify(proof))


TOP = max(WORLD.memories[LAST][contract(2)])


@pytest.mark.parametrize(
    "wanted",
    [
        RecordOf(contract(99)),
        PageOf(contract(99), 0),
        PageOf(contract(2), 65000),
        PageOf(contract(2), 1 << 16),
        PageOf(contract(2), -1),
        NoPage(contract(2), TOP),
        NoPage(contract(2), 1 << 16),
        NoContract(contract(2)),
        RangeOf(contract(2), 0, 0),
        RangeOf(contract(2), -1, 5),
        RangeOf(contract(2), SPACE_32 - 1, 2),
    ],
    ids=lambda w: f"{type(w).__name__}-{getattr(w, 'index', getattr(w, 'offset', ''))}-{w.contract.short()}",
)
def test_what_is_not_so_is_not_provable(wanted):
    with pytest.raises(NotProvable):
        prove_state(WORLD.objects, WORLD.commits[LAST], [wanted])


def test_what_is_too_much_for_a_verifier_is_not_made():
    objects, commit = WORLD.objects, WORLD.commits[LAST]
    for wanted in (
        [RangeOf(contract(2), 0, (1 << 24) + 1)],
        [RangeOf(contract(2), n, 1 << 22) for n in range(5)],
        [RangeOf(contract(2), n * PAGE_BYTES, 1) for n in range(4097)],
        [RangeOf(contract(2), n * PAGE_BYTES, 16 * 1024) for n in range(1025)],
    ):
        with pytest.raises(NotProvable, match="too much"):
            prove_state(objects, commit, wanted)
    most = prove_state(objects, commit, [RangeOf(contract(2), 0, 1 << 24)])
    assert len(verify(most).claims[-1].data) == 1 << 24


@pytest.mark.parametrize("limit", [("PROOF_BYTES_MAX", 1 << 17), ("ITEMS_MAX", 30)], ids=lambda limit: limit[0])
def test_what_is_too_long_for_a_verifier_is_not_made(monkeypatch, limit):
    pages = {n: noise(f"long {n}") for n in range(3)}
    objects = MemoryObjects()
    commit = put_commit(objects, write_state(objects, EMPTY_STATE, [change(1, pages)]), [], None)
    wanted = [PageOf(contract(1), n) for n in pages]
    assert len(verify(prove_state(objects, commit, wanted), commit=commit).claims) == 1 + len(pages)
    monkeypatch.setattr(encoding, *limit)
    with pytest.raises(NotProvable, match="too much"):
        prove_state(objects, commit, wanted)


def test_a_state_root_binds_no_absences_of_contracts_and_no_empty_contracts():
    for wanted in (NoContract(contract(99)), RecordOf(contract(0)), NoPage(contract(0), 1)):
        with pytest.raises(NotProvable):
            prove_under_root(WORLD.objects, WORLD.states[LAST], [wanted])
    with pytest.raises(NotProvable):
        prove_state(WORLD.objects, WORLD.commits[LAST], [])


def test_the_last_bytes_of_the_address_space():
    objects = MemoryObjects()
    page = noise("last")
    state = write_state(objects, EMPTY_STATE, [change(1, {65535: page}, length=SPACE_32)])
    commit = put_commit(objects, state, [], None)
    proof = prove_state(objects, commit, [RangeOf(contract(1), SPACE_32 - 32, 32), RangeOf(contract(1), 0, 1)])
    data = {c.offset: c.data for c in verify(proof).claims if isinstance(c, RangeClaim)}
    assert data == {SPACE_32 - 32: page[-32:], 0: b"\0"}


def test_an_absent_contract_whose_place_another_one_has():
    objects = MemoryObjects()
    state = write_state(objects, EMPTY_STATE, [change(1, {0: noise("x")})])
    commit = put_commit(objects, state, [], None)
    twin = ContractId(contract(1)[4:] + contract(1)[:4])
    proof = prove_state(objects, commit, [NoContract(twin)])
    assert plain(verify(proof)) == check(proof)
    assert verify(proof).claims[-1] == AbsentContractClaim(twin)


def test_the_empty_state_has_no_contract():
    objects = MemoryObjects()
    commit = put_commit(objects, EMPTY_STATE, [], None)
    proof = prove_state(objects, commit, [NoContract(contract(1))])
    assert verify(proof).claims == (AbsentContractClaim(contract(1)),)
    assert check(proof)[3] == (("no contract", contract(1)),)


def openings(at: int, name: ContractId, index: int) -> tuple[bytes, bytes, bytes]:
    state = WORLD.states[at]
    record = contract_map.lookup(WORLD.objects, state.map_root, name)
    inner = opening(WORLD.objects, record.memory_kind.shape, record.pages_root, index)
    outer = opening(WORLD.objects, CONTRACTS, state.state_root, record.position)
    return WORLD.memories[at][name][index], inner.encode(), outer.encode()


def test_openings_of_the_original_are_verified():
    state = WORLD.states[LAST]
    for name in (contract(1), contract(2), contract(3)):
        for index in WORLD.memories[LAST][name]:
            page, inner, outer = openings(LAST, name, index)
            claim = verify_opening(page, inner, outer, state_root=state.state_root)
            position = contract_map.lookup(WORLD.objects, state.map_root, name).position
            assert claim.claims[1].index == index
            assert claim.claims[0].position == position
            assert verify(prove_under_root(WORLD.objects, state, [PageOf(name, index)])) == claim


def test_flipped_openings_of_the_original_are_refused():
    index = min(WORLD.memories[LAST][contract(2)])
    page, inner, outer = openings(LAST, contract(2), index)
    assert len(inner) == opening_bytes((4, 8)) == 1088
    assert len(outer) == opening_bytes((2, 32)) == 2208
    root = WORLD.states[LAST].state_root
    for part, data in enumerate((inner, outer)):
        for at in range(0, len(data), 3):
            flipped = bytearray(data)
            flipped[at] ^= 1 << at % 8
            parts = [inner, outer]
            parts[part] = bytes(flipped)
            with pytest.raises(InvalidProof):
                verify_opening(page, *parts, state_root=root)
    with pytest.raises(InvalidProof):
        verify_opening(bytes(PAGE_BYTES), inner, outer)
    with pytest.raises(InvalidProof):
        verify_opening(page, inner[:-1], outer)
    with pytest.raises(InvalidProof):
        verify_opening(page, inner, outer, state_root=ZERO)
    for parts in ((None, inner, outer), (page, "x", outer), (page, inner, None)):
        with pytest.raises(InvalidProof, match="are bytes"):
            verify_opening(*parts)


def golden() -> dict[str, tuple[bytes, CommitId | None]]:
    """A proof of each kind, and the commit that it is about."""
    made = sample()
    objects, merge, one = made.objects, made.merge, contract(1)
    state = objects.load(Kind.COMMIT, merge).state

    def under_commit(*wanted: Wanted) -> tuple[bytes, CommitId]:
        return prove_state(objects, merge, wanted, deflate=False), merge

    return {
        "record": under_commit(RecordOf(one)),
        "range": under_commit(RangeOf(one, PAGE_BYTES + 1000, 40)),
        "range over absent pages": under_commit(RangeOf(contract(3), 5 * PAGE_BYTES - 8, 16)),
        "absent page": under_commit(NoPage(one, 2)),
        "absent contract": under_commit(NoContract(contract(9))),
        "several": under_commit(RecordOf(contract(2)), RangeOf(contract(4), 0, 8), NoPage(contract(3), 0)),
        "deflated page": (prove_state(objects, merge, [PageOf(one, 1)]), merge),
        "state root": (
            prove_under_root(objects, state, [RangeOf(one, 1023, 2), RecordOf(contract(4))]),
            None,
        ),
        "ancestry": (prove_ancestry(objects, made.first, merge), merge),
        "difference": (prove_difference(objects, made.theirs, merge), merge),
    }


def golden_lines() -> list[str]:
    return [
        json.dumps({"name": name, "proof": proof.hex(), "commit": commit and commit.hex()})
        for name, (proof, commit) in golden().items()
    ]


def test_proofs_are_those_that_were_made_before():
    for ours, theirs in zip(map(json.loads, golden_lines()), golden_entries(), strict=True):
        if ours["name"] != "deflated page":  # which depends on zlib
            assert ours == theirs


def golden_entries() -> list[dict[str, str]]:
    return [json.loads(line) for line in GOLDEN.read_text().splitlines()]


def test_old_proofs_are_verified():
    for entry in golden_entries():
        proof, commit = bytes.fromhex(entry["proof"]), entry["commit"]
        claim = verify(proof, commit=commit and bytes.fromhex(commit))
        assert plain(claim) == check(proof)


def test_small_proofs_are_small():
    objects = MemoryObjects()
    changes = [change(n, {k: noise(f"{n} {k}") for k in range(3)}) for n in range(40)]
    state = write_state(objects, EMPTY_STATE, changes)
    commit = put_commit(objects, state, [], None)
    proof = prove_state(objects, commit, [RangeOf(contract(7), 65536 + 1000, 24)])
    assert len(proof) < 3072
    pages = [PageOf(contract(n), k) for n in range(40) for k in range(3)]
    together = prove_state(objects, commit, pages, deflate=False)
    alone = sum(len(prove_state(objects, commit, [page], deflate=False)) for page in pages)
    data = len(pages) * PAGE_BYTES
    assert (len(together) - data) < 0.6 * (alone - data)


def test_the_verifier_imports_blake3_and_the_standard_library():
    allowed = {"blake3", *sys.stdlib_module_names}
    for path in (ROOT / "objects" / "verifier").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                inside = name.startswith("piecrust.objects.verifier") or name == "piecrust.objects.errors"
                assert inside or name.split(".")[0] in allowed, f"{path.name} imports {name}"


def test_importing_the_verifier_loads_neither_store_nor_engine():
    code = (
        "import sys; import piecrust.proofs\n"
        "print(sorted(m for m in sys.modules if m in ('wasmtime', 'cbor2', 'zstandard', 'piecrust.objects.store')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


def test_a_copy_of_the_verifier_needs_nothing_but_blake3(tmp_path):
    """The folder and `errors.py`, in a process that finds the standard library, blake3, and no more of the project."""
    copied = tmp_path / "piecrust" / "objects"
    shutil.copytree(ROOT / "objects" / "verifier", copied / "verifier", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "objects" / "errors.py", copied)
    shutil.copytree(Path(blake3.__file__).parent, tmp_path / "blake3")
    code = (
        "import json, sys\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "from piecrust.objects.verifier.verify import verify\n"
        f"entries = [json.loads(line) for line in open({str(GOLDEN)!r})]\n"
        "for entry in entries:\n"
        "    verify(bytes.fromhex(entry['proof']), commit=entry['commit'] and bytes.fromhex(entry['commit']))\n"
        "print(len(entries), sorted({name.split('.')[0] for name in sys.modules} - sys.stdlib_module_names))\n"
    )
    command = [sys.executable, "-I", "-S", "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, cwd=tmp_path)
    assert done.stdout.strip() == f"{len(golden_entries())} ['__main__', 'blake3', 'piecrust']"


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_a_proof_is_anything_that_holds_bytes(kind):
    proof = prove_state(WORLD.objects, WORLD.commits[1], [RecordOf(contract(2))])
    assert verify(kind(proof), commit=WORLD.commits[1]) == verify(proof)
    with pytest.raises(InvalidProof, match="too long"):
        verify(kind(bytes(encoding.PROOF_BYTES_MAX + 1)))


@pytest.mark.parametrize("wrong", [None, "proof", 7, [1], b"", bytearray(), memoryview(b"")], ids=repr)
def test_what_is_no_proof_is_refused(wrong):
    with pytest.raises(InvalidProof):
        verify(wrong)


@pytest.mark.parametrize("wrong", ["ab" * 32, b"ab", 7, bytes(33)], ids=repr)
def test_what_is_no_id_is_refused(wrong):
    proof = prove_state(WORLD.objects, WORLD.commits[1], [RecordOf(contract(2))])
    for trusted in ({"commit": wrong}, {"state_root": wrong}, {"base": wrong}):
        with pytest.raises(InvalidProof, match="32 bytes"):
            verify(proof, **trusted)


def test_a_range_ends_within_the_memory():
    """What lies beyond its length can't be read by the contract, and doesn't pass for zeros."""
    objects, length = MemoryObjects(), 3 * PAGE_BYTES
    state = write_state(objects, EMPTY_STATE, [change(1, {0: noise("x")}, length=length)])
    commit = put_commit(objects, state, [], None)
    proof = prove_state(objects, commit, [RangeOf(contract(1), length - 32, 32)])
    assert verify(proof, commit=commit).claims[-1].data == bytes(32)
    for offset in (length - 31, length, SPACE_32 - 32):
        with pytest.raises(NotProvable, match="196,608"):
            prove_state(objects, commit, [RangeOf(contract(1), offset, 32)])
        with pytest.raises(NotProvable, match="196,608"):
            prove_under_root(objects, state, [RangeOf(contract(1), offset, 32)])
        value = encoding.decode(proof)
        tree, pages, _, absent = value[6][0][1]
        entry = (value[6][0][0], (tree, pages, ((offset, 32),), absent))
        with pytest.raises(InvalidProof, match="beyond the memory"):
            verify(encoding.encode((*value[:6], (entry,), ())))


def test_the_second_verifier_shares_no_code():
    source = Path(ROOT / "tests" / "lib" / "support" / "plain_verifier.py").read_text()
    assert "piecrust" not in source.replace("piecrust 2026", "").replace("piecrust proof", "")


if __name__ == "__main__":  # writes the golden file anew
    GOLDEN.write_text("\n".join(golden_lines()) + "\n")
