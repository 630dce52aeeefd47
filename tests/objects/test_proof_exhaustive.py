"""One small proof of each kind, damaged in every place: none is believed for what isn't so."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from piecrust.objects.proof import prove_state, prove_under_root
from piecrust.objects.proof_history import prove_ancestry, prove_difference
from piecrust.objects.verifier.claims import DifferenceClaim
from piecrust.objects.verifier.encoding import decode, encode
from piecrust.objects.verifier.verify import ANCESTRY, STATE, verify
from piecrust.objects.wanted import NoContract, NoPage, PageOf, RangeOf, RecordOf
from support.proof_mutations import Case, at_path, is_about, judged, paths, replaced
from support.proofs import World
from support.sample_objects import contract

WORLD = World.random(3, contracts=3, commits=4)
LAST = WORLD.commits[-1]
PAGES = {n: WORLD.memories[-1][contract(n)] for n in (1, 2)}
FIRST = {n: min(pages) << 16 for n, pages in PAGES.items()}
GAP = next(n for n in range(1 << 16) if n not in PAGES[2])
ZEROS = next((n, i) for n, pages in PAGES.items() for i, page in pages.items() if len(set(page)) < 200)


def under_commit(*wanted: object) -> Case:
    return Case(prove_state(WORLD.objects, LAST, wanted), {"commit": LAST})


def under_root(*wanted: object) -> Case:
    root = WORLD.states[-1].state_root
    return Case(prove_under_root(WORLD.objects, WORLD.states[-1], wanted), {"state_root": root})


KINDS = {
    "record": under_commit(RecordOf(contract(0))),
    "page": under_commit(PageOf(contract(ZEROS[0]), ZEROS[1])),
    "range": under_commit(RangeOf(contract(2), FIRST[2] + 2000, 40)),
    "range of a 64-bit memory": under_commit(RangeOf(contract(1), FIRST[1] + 65530, 12)),
    "absent page": under_commit(NoPage(contract(2), GAP)),
    "absent contract": under_commit(NoContract(contract(99))),
    "several": under_commit(RecordOf(contract(0)), RangeOf(contract(2), FIRST[2], 1), NoPage(contract(1), 3)),
    "memory root under a state root": under_root(RecordOf(contract(2))),
    "range under a state root": under_root(RangeOf(contract(2), FIRST[2] + 1000, 1)),
    "absent page under a state root": under_root(NoPage(contract(2), GAP)),
    "ancestry by a merge": Case(prove_ancestry(WORLD.objects, WORLD.commits[2], LAST), {"commit": LAST}),
    "ancestry by a jump": Case(prove_ancestry(WORLD.objects, WORLD.commits[0], LAST), {"commit": LAST}),
    "difference": Case(prove_difference(WORLD.objects, WORLD.commits[0], LAST), {"commit": LAST}),
    "difference of branches": Case(prove_difference(WORLD.objects, WORLD.commits[2], LAST), {"commit": LAST}),
}
each_kind = pytest.mark.parametrize("case", KINDS.values(), ids=KINDS.keys())


def other_claims(case: Case, proofs: Iterator[bytes]) -> int:
    """How many claim something else about what is trusted; raises `Believed` if that isn't so.

    The same may be claimed in other bytes by a deflated page alone.
    """
    claims = [judged(WORLD, case, proof) for proof in proofs if proof != case.proof]
    assert claims
    true = verify(case.proof, **case.trusted)
    others = [claim for claim in claims if claim is not None and is_about(claim, case) and claim != true]
    if isinstance(true, DifferenceClaim):  # from a commit that nobody knows: only the newer one is trusted
        others = [claim for claim in others if claim.old.id == true.old.id]
    return len(others)


def may_claim_others(case: Case) -> bool:
    """Whether other true claims are a small change away: of other ranges, absences or ancestors."""
    value = decode(case.proof)
    if value[2] != STATE:
        return value[2] == ANCESTRY
    return bool(value[7]) or any(memory[2] or memory[3] for what, memory in value[6] if what and memory)


@each_kind
def test_every_flipped_byte_is_noticed(case):
    def flipped() -> Iterator[bytes]:
        for at in range(len(case.proof)):
            yield case.proof[:at] + bytes([case.proof[at] ^ 1 << at % 8]) + case.proof[at + 1 :]

    assert other_claims(case, flipped()) == 0 or may_claim_others(case)


@each_kind
def test_every_dropped_repeated_or_moved_node_is_noticed(case):
    """Entries of all arrays, and the codes, hashes and blocks in all byte strings."""

    def moved(items: list) -> Iterator[list]:
        for n, item in enumerate(items):
            yield items[:n] + items[n + 1 :]
            yield [*items[:n], item, *items[n:]]
            for other in {0, n - 1} - {n, -1}:  # swapped with the first and with the one before
                yield [*items[:other], item, *items[other + 1 : n], items[other], *items[n + 1 :]]

    def damaged() -> Iterator[bytes]:
        value = decode(case.proof)
        for path in paths(value):
            part, beside = at_path(value, path), at_path(value, path[:-1])
            if isinstance(part, tuple):
                yield from (encode(replaced(value, path, tuple(items))) for items in moved(list(part)))
            elif isinstance(part, bytes):
                codes = path[-1] == 0 and len(beside) == 2 and isinstance(beside[1], bytes)
                units = [
                    part[at : at + 1] if codes else part[at : at + 32] for at in range(0, len(part), 1 if codes else 32)
                ]
                yield from (encode(replaced(value, path, b"".join(items))) for items in moved(units))

    assert other_claims(case, damaged()) == 0 or may_claim_others(case)
