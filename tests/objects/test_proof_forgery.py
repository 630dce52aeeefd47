"""No forged proof is accepted for a false claim: the known classes by name, and many mutations of valid proofs.

`python tests/objects/test_proof_forgery.py --count 1000000 --seed 1` runs more of the latter.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
import tracemalloc
import zlib
from pathlib import Path

import pytest
from blake3 import blake3

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "lib"))  # for running it as a program

from piecrust.objects import contract_map, tree
from piecrust.objects.access import MemoryObjects
from piecrust.objects.errors import InvalidProof
from piecrust.objects.ids import ZERO, CommitId
from piecrust.objects.kinds import CONTENT_HASH, Kind
from piecrust.objects.page import PAGE_BYTES, page_hash
from piecrust.objects.place import Place
from piecrust.objects.proof import prove_state, prove_under_root
from piecrust.objects.proof_history import prove_ancestry, prove_difference
from piecrust.objects.record import MemoryKind
from piecrust.objects.shown import show
from piecrust.objects.state import EMPTY_STATE, write_state
from piecrust.objects.tree import CONTRACTS, PAGES_32, PAGES_64
from piecrust.objects.verifier.encoding import decode, encode
from piecrust.objects.verifier.tree import Limits
from piecrust.objects.verifier.verify import verify
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, RecordOf
from support.plain_verifier import Refused, check
from support.proof_mutations import cases, is_about, judged, mutated
from support.proofs import World, plain
from support.sample_objects import change, contract, noise, put_commit

NORMAL_COUNT = 20_000
COMPARED_COUNT = 1_500


def fuzz(count: int, seed: int, *, compared: int = 0) -> dict[str, int]:
    """How many mutations were refused, and how many make claims that are true or about something else."""
    draw = random.Random(seed)
    world = World.random(seed, contracts=4)
    valid = cases(world, seed)
    tally = {"refused": 0, "true": 0}
    for n in range(count):
        case = draw.choice(valid)
        proof = mutated(draw, case, valid)
        claim = judged(world, case, proof)
        tally["refused" if claim is None else "true"] += 1
        if n < compared:
            try:
                other = check(proof)
            except Refused:
                other = None
            assert other == (None if claim is None else plain(claim)), f"the verifiers disagree on {proof.hex()}"
    return tally


def test_mutated_proofs_are_not_accepted_for_false_claims():
    tally = fuzz(NORMAL_COUNT, 5, compared=COMPARED_COUNT)
    assert tally["refused"] > 0.8 * NORMAL_COUNT


def test_a_flipped_byte_is_refused_or_makes_another_true_claim():
    """The offset of a range may be flipped into that of another range of the same slice, and that is all."""
    world = World.random(3, contracts=3, commits=3)
    tried = believed = 0
    for case in cases(world, 3)[::9]:
        for at in range(0, len(case.proof), 2 if len(case.proof) < 1500 else 17):
            flipped = bytearray(case.proof)
            flipped[at] ^= 1 << at % 8
            tried += 1
            claim = judged(world, case, bytes(flipped))
            believed += claim is not None and is_about(claim, case)
    assert believed < 0.02 * tried


def test_every_dropped_doubled_or_moved_hash_is_refused():
    world = World.random(3, contracts=3, commits=3)
    for case in cases(world, 3)[::7]:
        value = decode(case.proof)
        for path in [(4, 1), (5, 1)]:
            if value[2] != 0 or not isinstance(value[path[0]], tuple):
                continue
            codes, hashes = value[path[0]]
            parts = [hashes[n : n + 32] for n in range(0, len(hashes), 32)]
            for n in range(len(parts)):
                for wrong in (parts[:n] + parts[n + 1 :], [*parts, parts[n]], [*parts[:n], parts[n], *parts[n:]]):
                    forged = (*value[: path[0]], (codes, b"".join(wrong)), *value[path[0] + 1 :])
                    with pytest.raises(InvalidProof):
                        verify(encode(forged), **case.trusted)


PAGE = noise("page")


def small_world() -> tuple[MemoryObjects, CommitId, dict[int, bytes]]:
    """A commit: contract 1 has pages 0, 1 and 300, the 64-bit contract 2 page 70000, contract 3 none."""
    objects = MemoryObjects()
    pages = {0: PAGE, 1: noise("one"), 300: noise("far")}
    changes = [change(1, pages), change(2, {70000: PAGE}, kind=MemoryKind.WASM64), change(3, {})]
    state = write_state(objects, EMPTY_STATE, changes)
    return objects, put_commit(objects, state, [], None), pages


OBJECTS, COMMIT, PAGES = small_world()
STATE = OBJECTS.load(Kind.COMMIT, COMMIT).state
RECORDS = {n: contract_map.lookup(OBJECTS, STATE.map_root, contract(n)) for n in (1, 2, 3)}


def forged(proof: bytes, path: tuple[int, ...], new: object) -> bytes:
    """The proof with one of its parts replaced."""

    def replaced(value: object, path: tuple[int, ...]) -> object:
        if not path:
            return new
        return tuple(replaced(item, path[1:]) if n == path[0] else item for n, item in enumerate(value))

    return encode(replaced(decode(proof), path))


def refused(proof: bytes, **trusted: bytes) -> None:
    with pytest.raises(InvalidProof):
        verify(proof, **(trusted or {"commit": COMMIT}))
    with pytest.raises(Refused):
        check(proof)


def entry_of(position: int) -> int:
    """Where a contract stands among the entries of a proof that has all three, which are in the order of keys."""
    keys = sorted(r.id.position_key for r in RECORDS.values())
    return keys.index(RECORDS[position].id.position_key)


def test_class_boundary_ranges():
    """The end of a page, of the address space, sums that overflow, and nothing at all."""
    proof = prove_state(OBJECTS, COMMIT, [RangeOf(contract(1), PAGE_BYTES - 32, 32)])
    ranges = (6, 0, 1, 2)
    assert verify(proof).claims[1].data == PAGE[-32:]
    for offset, length in [
        (PAGE_BYTES - 32, 33),  # into the next page, which isn't shown
        (PAGE_BYTES - 31, 32),
        (PAGE_BYTES - 1025, 32),  # the chunk before
        (PAGE_BYTES - 32, 0),
        (PAGE_BYTES << 16, 1),  # beyond the address space
        ((PAGE_BYTES << 16) - 1, 2),
        (2**64 - 1, 2),  # the sum is over 64 bits
        (2**63, 2**63),
        (0, PAGE_BYTES),
    ]:
        refused(forged(proof, ranges, ((offset, length),)))
    refused(forged(proof, ranges, ((PAGE_BYTES - 32, 32), (PAGE_BYTES - 32, 32))))
    refused(forged(proof, ranges, ()))
    inside = verify(forged(proof, ranges, ((PAGE_BYTES - 1, 1),)))  # another true claim of the same slice
    assert inside.claims[1].data == PAGE[-1:]


def test_class_empty_subtrees():
    """Something hidden below "empty", and "empty" shown where there is something."""
    page = prove_state(OBJECTS, COMMIT, [PageOf(contract(1), 0)])
    codes, hashes = decode(page)[6][0][1][0]
    for at in range(len(codes)):
        for digit in range(4):
            changed = bytearray(codes)
            changed[at] &= ~(3 << 2 * digit)
            if changed != codes:
                refused(forged(page, (6, 0, 1, 0, 0), bytes(changed)))
    absent = prove_state(OBJECTS, COMMIT, [NoPage(contract(1), 5)])
    for index in PAGES:
        refused(forged(absent, (6, 0, 1, 3), (index,)))
    # A pruned hash of zeros may not stand for an empty subtree, nor an empty tree for one that has a root.
    codes, hashes = decode(absent)[6][0][1][0]
    refused(forged(absent, (6, 0, 1, 0), (codes, bytes(32) + hashes)))
    refused(forged(absent, (6, 0, 1, 0), (b"", b"")))
    refused(forged(absent, (6, 0, 1, 0), (b"", RECORDS[1].pages_root)))
    missing = prove_state(OBJECTS, COMMIT, [NoContract(contract(9))])
    for n in (1, 2, 3):
        refused(forged(missing, (7,), (bytes(contract(n)),)))
    refused(forged(missing, (4,), (b"", b"")))
    refused(forged(missing, (4,), (b"", STATE.map_root)))


def test_class_absent_and_empty_contracts_under_a_state_root():
    """Beside a sibling, a contract without pages and no contract have one hash: neither may be claimed."""
    proof = prove_under_root(OBJECTS, STATE, [RecordOf(contract(1))])
    value = decode(proof)
    empty = RECORDS[3].position
    free = max(r.position for r in RECORDS.values()) + 1
    for position in (empty, free):
        shown = show(OBJECTS, CONTRACTS, STATE.state_root, [position], zero_leaves=True)
        for entry in ((None, bytes(32)), (32, ((b"", b""), (), (), (0,))), (64, ((b"", b""), (), (), (0,)))):
            refused(encode((*value[:5], shown, (entry,), ())), state_root=STATE.state_root)


def test_class_heights_under_a_state_root():
    """The upper levels of a 64-bit page tree as a 32-bit one, in which "absent" pages would be holes of subtrees."""
    record = RECORDS[2]
    top = show(OBJECTS, PAGES_64, record.pages_root, [5 << 10])  # position 5 eight levels below the root
    codes, hashes = top
    shorter = (codes[: len(codes)], hashes)
    proof = prove_under_root(OBJECTS, STATE, [NoPage(contract(2), 5)])
    value = decode(proof)
    for bits in (32, 64):
        refused(encode((*value[:6], ((bits, (shorter, (), (), (5,))),), ())), state_root=STATE.state_root)
    refused(forged(proof, (6, 0, 0), 32), state_root=STATE.state_root)
    refused(forged(proof, (6, 0, 0), 48), state_root=STATE.state_root)
    # Under a commit the record says how high the tree is.
    bound = prove_state(OBJECTS, COMMIT, [NoPage(contract(2), 5)])
    refused(forged(bound, (6, 0, 0, 4), 32))


def test_class_inner_nodes_as_leaves_and_pages_as_nodes():
    """A hash in the middle of a tree shown as a leaf, and a page's hash opened as if it were a node."""
    proof = prove_state(OBJECTS, COMMIT, [PageOf(contract(1), 0)])
    codes, hashes = decode(proof)[6][0][1][0]
    refused(forged(proof, (6, 0, 1, 0), (codes[:-1], hashes)))
    refused(forged(proof, (6, 0, 1, 0), (codes + b"\0", hashes)))
    refused(forged(proof, (6, 0, 1, 0), (codes[1:], hashes)))
    deep = Place.top(OBJECTS, PAGES_32, RECORDS[1].pages_root)
    for _ in range(4):
        deep = next(child for child in deep.children() if child is not None)
    inner = b"".join(c.hash if c is not None else ZERO for c in deep.children())
    refused(forged(proof, (6, 0, 1, 1, 0), (0, inner)))
    refused(forged(proof, (6, 0, 1, 1, 0), (0, inner + bytes(PAGE_BYTES - len(inner)))))


def test_class_states_inside_a_chunk():
    """Other chaining values, blocks moved within the chunk, and a range moved off the blocks that are shown."""
    offset = 5 * 1024 + 9 * 64 + 7
    proof = prove_state(OBJECTS, COMMIT, [RangeOf(contract(1), offset, 32)])
    _, siblings, data = decode(proof)[6][0][1][1][0]
    state, blocks = data[:32], data[32:]
    assert (len(siblings), len(blocks)) == (6 * 32, 7 * 64)
    path = (6, 0, 1, 1, 0, 2)
    iv = bytes.fromhex("67e6096a85ae67bb72f36e3c3af54fa57f520e518c68059babd9831f19cde05b")
    for wrong in (iv, bytes(32), state[::-1], siblings[:32], blocks[:32]):
        refused(forged(proof, path, wrong + blocks))
    for wrong in (blocks[64:] + blocks[:64], blocks[:-64] + bytes(64), bytes(64) + blocks[64:]):
        refused(forged(proof, path, state + wrong))
    for moved in (offset - 64, offset + 64, offset - 1024, offset + 1024, 5 * 1024, 5 * 1024 + 15 * 64):
        refused(forged(proof, (6, 0, 1, 2), ((moved, 32),)))
    before = decode(prove_state(OBJECTS, COMMIT, [RangeOf(contract(1), offset - 64, 32)]))[6][0][1][1][0]
    refused(forged(proof, path, before[2]))
    refused(forged(proof, path, PAGE[5 * 1024 : 6 * 1024]))


def test_class_second_preimages_across_kinds():
    """A record where a commit belongs, a state tree as a contract map, and so on."""
    proof = prove_state(OBJECTS, COMMIT, [RecordOf(contract(1))])
    value = decode(proof)
    refused(forged(proof, (3,), value[6][0][0]))
    refused(forged(proof, (6, 0, 0), value[3]))
    refused(encode((*value[:4], value[5], value[4], *value[6:])))
    refused(forged(proof, (3,), bytes(COMMIT)))
    refused(forged(proof, (3,), bytes(STATE.map_root)), state_root=STATE.state_root)
    ancestry = decode(prove_ancestry(*_line()))
    refused(encode(("piecrust proof", 1, 1, (value[3], *ancestry[3][1:]))))


def _line() -> tuple[MemoryObjects, CommitId, CommitId]:
    objects, line = MemoryObjects(), list[CommitId]()
    for n in range(30):
        line.append(put_commit(objects, EMPTY_STATE, line[-1:], None, time=n))
    return objects, line[3], line[29]


def test_class_positions():
    """Contracts and pages in the place of others."""
    proof = prove_state(OBJECTS, COMMIT, [RecordOf(contract(n)) for n in (1, 2, 3)])
    value = decode(proof)
    for a in range(3):
        for b in range(3):
            if a != b:
                entries = list(value[6])
                entries[a], entries[b] = entries[b], entries[a]
                refused(encode((*value[:6], tuple(entries), ())))
                entries = list(value[6])
                entries[a] = entries[b]
                refused(encode((*value[:6], tuple(entries), ())))
    two = prove_state(OBJECTS, COMMIT, [PageOf(contract(1), 0), PageOf(contract(1), 1)], deflate=False)
    first, second = decode(two)[6][0][1][1]
    refused(forged(two, (6, 0, 1, 1), (second, first)))
    record = decode(proof)[6][entry_of(1)][0]
    refused(forged(proof, (6, entry_of(1), 0), (*record[:7], record[7] + 1)))


def test_class_splicing():
    """Parts of valid proofs about other commits."""
    other_state = write_state(OBJECTS, STATE, [change(1, {0: noise("changed")}, root=RECORDS[1].pages_root)])
    other = put_commit(OBJECTS, other_state, [COMMIT], None)
    wanted = [RangeOf(contract(1), 100, 32)]
    mine, theirs = decode(prove_state(OBJECTS, COMMIT, wanted)), decode(prove_state(OBJECTS, other, wanted))
    for mask in range(1, 15):
        spliced = [theirs[3 + n] if mask >> n & 1 else mine[3 + n] for n in range(4)]
        proof = encode((*mine[:3], *spliced, ()))
        if proof not in (encode(mine), encode(theirs)):  # the way in the contract map is the same in both
            refused(proof, commit=other if mask & 1 else COMMIT)


def test_class_untrusted_counts():
    """Lengths without contents, deep nesting, many items, many nodes, pages that inflate: refused in little memory."""
    head = encode(("piecrust proof", 1, 0))
    bombs = [
        b"\x9b" + b"\xff" * 8,
        b"\x5b" + b"\x7f" + b"\xff" * 7,
        b"\xbb" + b"\xff" * 8,
        b"\x81" * 1_000_000,
        b"\x88" + head[1:] + b"\x9a\x00\xff\xff\xff" + b"\xf6" * 2_000_000,
        b"\xa1\x60" * 100_000,
    ]
    many_nodes = prove_state(OBJECTS, COMMIT, [NoPage(contract(1), 5)])
    bombs.append(forged(many_nodes, (6, 0, 1, 0, 0), b"\x02" * 300_000))
    bombs.append(forged(many_nodes, (4, 0), b"\x0a" * 300_000))
    long_ranges = tuple((n, 1 << 24) for n in range(20_000))
    bombs.append(forged(many_nodes, (6, 0, 1, 2), long_ranges))
    inflating = zlib.compressobj(9, wbits=-15)
    stream = inflating.compress(bytes(1 << 28)) + inflating.flush()
    page = prove_state(OBJECTS, COMMIT, [PageOf(contract(1), 0)])
    bombs.append(forged(page, (6, 0, 1, 1, 0), (1, stream)))
    tracemalloc.start()
    for bomb in bombs:
        tracemalloc.reset_peak()
        with pytest.raises(InvalidProof):
            verify(bomb)
        assert tracemalloc.get_traced_memory()[1] < (64 << 20) + 8 * len(bomb)
    tracemalloc.stop()


@pytest.mark.parametrize(
    ("what", "most"),
    [("pages", 4096), ("chunks", 2**13), ("absences", 2**16), ("nodes", 2**18), ("range bytes", 2**24)],
)
def test_all_parts_of_a_proof_share_their_limits(what, most):
    limits = Limits()
    limits.take(what, most - 1)
    limits.take(what, 1)
    with pytest.raises(InvalidProof, match=what):
        limits.take(what, 1)


def test_class_malleability():
    """The same content in other bytes, and riders that nothing is claimed of."""
    page = prove_state(OBJECTS, COMMIT, [PageOf(contract(1), 0)])
    stream = zlib.compress(PAGE, wbits=-15)
    empty_blocks = b"\0\0\0\xff\xff" * 100_000
    for padded in (stream, empty_blocks + stream):  # of the right page, and no shorter than it
        refused(forged(page, (6, 0, 1, 1, 0), (1, padded)))
    proof = prove_state(OBJECTS, COMMIT, [RangeOf(contract(1), 5, 32)])
    refused(proof + b"\0")
    refused(proof[:1] + b"\x78\x0e" + proof[2:])  # the magic's length in two bytes
    refused(forged(proof, (1,), True))
    value = decode(proof)
    tree, (sliced,), ranges, absent = value[6][0][1]
    refused(forged(proof, (6, 0, 1), (tree, (sliced, sliced), ranges, absent)))
    for part in (1, 2):
        for wrong in (sliced[part] + bytes(32), sliced[part][:-32], sliced[part][32:], b""):
            refused(forged(proof, (6, 0, 1, 1, 0, part), wrong))
    refused(forged(proof, (4, 1), value[4][1] + bytes(32)))
    refused(encode((*value, 0)))
    record = prove_state(OBJECTS, COMMIT, [RecordOf(contract(1))])
    refused(forged(record, (6, 0, 1), ((b"", bytes(RECORDS[1].pages_root)), (), (), ())))
    wide = MemoryObjects()
    full = put_commit(wide, write_state(wide, EMPTY_STATE, [change(1, dict.fromkeys(range(16), PAGE))]), [], None)
    whole = prove_state(wide, full, [NoPage(contract(1), 16)])
    codes, hashes = decode(whole)[6][0][1][0]
    below = page_hash(PAGE) * 4
    assert hashes == blake3(blake3(below).digest() * 4).digest()  # pages 0 to 15, pruned: opened, it shows four nodes
    riders = (codes[:-1] + bytes([codes[-1] ^ 3, 0x55]), blake3(below).digest() * 4)
    with pytest.raises(InvalidProof, match="shows nothing"):
        verify(forged(whole, (6, 0, 1, 0), riders), commit=full)
    refused(forged(whole, (6, 0, 1, 0), riders), commit=full)
    empty = MemoryObjects()
    nothing = put_commit(empty, EMPTY_STATE, [], None)
    missing = prove_state(empty, nothing, [NoContract(contract(1))])
    assert verify(missing, commit=nothing).claims
    refused(forged(missing, (5,), (b"", bytes(32))), commit=nothing)
    refused(encode(("piecrust proof", 1, 0, value[3], (b"", STATE.map_root), (b"", STATE.state_root), (), ())))


def test_class_ancestry():
    """Commits that aren't named, jumps that can't be, and ways in the wrong direction."""
    objects, ancestor, descendant = _line()
    proof = prove_ancestry(objects, ancestor, descendant)
    links = decode(proof)[3]
    assert verify(proof, commit=descendant).ancestor == ancestor
    for wrong in (links[:1], links[::-1], links[:1] + links[2:], links + links[-1:], (), (*links[:1], *links)):
        refused(encode(("piecrust proof", 1, 1, wrong)), commit=descendant)
    # A commit that names a stranger as its jump: the depths give it away.
    stranger = put_commit(objects, EMPTY_STATE, [], None, message="stranger")
    commit = objects.load(Kind.COMMIT, descendant)
    link = (1, commit.generation, commit.depth, tuple(map(bytes, commit.parents)), bytes(stranger), bytes(32))
    value = objects.load(Kind.COMMIT, stranger)
    last = (*value.place(), CONTENT_HASH(encode(value.content())))
    refused(encode(("piecrust proof", 1, 1, (link, last))), commit=descendant)
    with pytest.raises(InvalidProof):
        verify(encode(("piecrust proof", 1, 1, (link, last))))


def test_class_difference():
    """Differences that are left out, added, or turned round."""
    new_state = write_state(
        OBJECTS, STATE, [change(1, {0: noise("new"), 5: PAGE}, root=RECORDS[1].pages_root), change(7, {0: PAGE})]
    )
    new = put_commit(OBJECTS, new_state, [COMMIT], None)
    proof = prove_difference(OBJECTS, COMMIT, new)
    trusted = {"commit": new}
    value = decode(proof)
    assert len(verify(proof, **trusted).contracts) == 2
    refused(encode((*value[:5], (b"", STATE.map_root), (b"", STATE.state_root), ())), **trusted)
    refused(encode((*value[:5], (b"", new_state.map_root), (b"", new_state.state_root), ())), **trusted)
    for n in range(2):
        refused(forged(proof, (7,), value[7][:n] + value[7][n + 1 :]), **trusted)
    n = next(n for n in range(2) if value[7][n][0] is not None)
    _, pages = value[7][n][2][0]
    refused(forged(proof, (7, n, 2), ()), **trusted)
    refused(forged(proof, (7, n, 2, 0, 1), pages[:1]), **trusted)
    refused(forged(proof, (7, n, 2, 0, 1), ((pages[0][1], pages[0][0]), pages[1])), **trusted)
    refused(forged(proof, (7, n, 2, 0), ((b"", RECORDS[1].pages_root), ())), **trusted)
    for wrong in ((b"", STATE.state_root), (b"", new_state.state_root), (b"", b""), value[5]):
        refused(forged(proof, (6,), wrong), **trusted)
    refused(encode((*value[:3], value[4], value[3], *value[5:])), commit=COMMIT)
    # A page that is the same on both sides may not be listed as differing.
    both = tree.lookup(OBJECTS, PAGES_32, RECORDS[1].pages_root, 1)
    assert both == page_hash(PAGES[1])
    refused(forged(proof, (7, n, 2, 0, 1), ((both, both), *pages[1:])), **trusted)
    # A commit whose two roots disagree.
    mixed = put_commit(OBJECTS, new_state._replace(state_root=STATE.state_root), [COMMIT], None)
    other = (*OBJECTS.load(Kind.COMMIT, mixed).place(), OBJECTS.load(Kind.COMMIT, mixed).content())
    for tree_shown in (value[6], (b"", STATE.state_root)):
        refused(encode((*value[:4], other, value[5], tree_shown, value[7])), commit=mixed)


def main() -> None:
    parser = argparse.ArgumentParser(description="Mutates valid proofs and looks for one that is believed falsely.")
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    tally, started, step = {"refused": 0, "true": 0}, time.monotonic(), 50_000
    for n in range(0, arguments.count, step):
        some = fuzz(min(step, arguments.count - n), arguments.seed + n, compared=1000)
        tally = {key: tally[key] + some[key] for key in tally}
        print(f"{n + step:>9} mutations, {tally}, {time.monotonic() - started:.0f} s", flush=True)
    print("none was accepted for a false claim")


if __name__ == "__main__":
    main()
