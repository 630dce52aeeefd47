"""Proofs about history: that one commit comes before another, and in what two commits differ."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from piecrust.objects.verifier.claims import (
    AncestryClaim,
    ContractClaim,
    ContractDifferenceClaim,
    DifferenceClaim,
    PageDifferenceClaim,
)
from piecrust.objects.verifier.encoding import Entries, an_array, fail, some_bytes
from piecrust.objects.verifier.records import a_commit, a_link, an_optional_record, keyed
from piecrust.objects.verifier.tree import CONTRACTS, PAGES, ZERO, Limits, roots_of

LINKS_MAX: Final = 4096

PageHashes = dict[int, tuple[bytes | None, bytes | None]]


def ancestry_claim(links: object) -> AncestryClaim:
    """Each commit names the next one: as a parent, or as its jump, which has to have the depth that jumps have."""
    path: list[bytes] = []
    generations: list[int] = []
    named: dict[bytes | None, int | None] = {}  # what the commit before names -> the depth that it must have, if one
    for link in an_array(links):
        generation, depth, parents, jump = a_link(link)
        here = keyed("piecrust 2026 commit", link)
        if path and (here not in named or named[here] not in (None, depth) or generation >= generations[-1]):
            fail("a commit that the one before it doesn't name")
        named = {jump: _jump_depth(depth)} | dict.fromkeys(parents[1:]) | dict.fromkeys(parents[:1], depth - 1)
        path.append(here)
        generations.append(generation)
    if not 2 <= len(path) <= LINKS_MAX:
        fail("no way from one commit to another")
    return AncestryClaim(path[-1], path[0], generations[-1], generations[0], tuple(path))


def difference_claim(old: object, new: object, contract_map: object, tree: object, entries: object) -> DifferenceClaim:
    """Both contract maps are walked at once; what isn't opened is the same in both, so what differs is complete.

    So are both state trees: the pages roots of the contracts stand in them, and nothing else differs.
    """
    before, after, limits = a_commit(old), a_commit(new), Limits()
    given, found = Entries(an_array(entries), "contract"), list[ContractDifferenceClaim]()

    def leaf(key: int) -> tuple[bytes | None, bytes | None]:
        was, now, memories = an_array(given.take(), 3)
        old_record, old_address = an_optional_record(was, key)
        new_record, new_address = an_optional_record(now, key)
        if old_address == new_address:
            fail("a contract that doesn't differ")
        found.extend(_contract_differences(limits, old_record, new_record, an_array(memories)))
        return old_address, new_address

    roots, _ = roots_of(limits, contract_map, CONTRACTS, leaf, sides=2)
    if roots != (before.map_root, after.map_root):
        fail("the contract maps have other roots")
    given.end()
    places = _places([c.old for c in found]), _places([c.new for c in found])
    positions = Entries(sorted(places[0].keys() | places[1].keys()), "contract")

    def state_leaf(position: int) -> tuple[bytes | None, bytes | None]:
        if position != positions.take():
            fail("a contract at another position")
        return places[0].get(position), places[1].get(position)

    roots, _ = roots_of(limits, tree, CONTRACTS, state_leaf, sides=2)
    if roots != (before.state_root, after.state_root):
        fail("the state trees have other roots")
    positions.end()
    return DifferenceClaim(before, after, tuple(found))


def _places(contracts: list[ContractClaim | None]) -> dict[int, bytes]:
    """The pages roots of contracts of one state, by position."""
    there = [contract for contract in contracts if contract is not None]
    places = {contract.position: contract.pages_root for contract in there}
    if len(places) != len(there):
        fail("two contracts at one position")
    return places


def _contract_differences(
    limits: Limits, old: ContractClaim | None, new: ContractClaim | None, memories: tuple[object, ...]
) -> Iterator[ContractDifferenceClaim]:
    """What differs at one place of the contract map; ids that share it are two contracts."""
    given = Entries(memories, "page tree")
    if old is not None and new is not None and old.id == new.id:
        if old.memory_bits == new.memory_bits:
            pages = _page_differences(limits, old, new, given)
        else:  # trees of different heights: each is shown whole
            went, came = _page_differences(limits, old, None, given), _page_differences(limits, None, new, given)
            pages = {i: (went.get(i, (None,))[0], came.get(i, (None, None))[1]) for i in went | came}
        yield _difference(old, new, pages)
    else:
        if old is not None:
            yield _difference(old, None, _page_differences(limits, old, None, given))
        if new is not None:
            yield _difference(None, new, _page_differences(limits, None, new, given))
    given.end()


def _page_differences(
    limits: Limits, old: ContractClaim | None, new: ContractClaim | None, memories: Entries[object]
) -> PageHashes:
    """The pages that differ between two trees of one height; one is empty where there is no contract."""
    expected = (ZERO if old is None else old.pages_root, ZERO if new is None else new.pages_root)
    if expected[0] == expected[1]:
        return {}
    tree, pages = an_array(memories.take(), 2)
    given, found = Entries(an_array(pages), "page"), PageHashes()

    def leaf(index: int) -> tuple[bytes | None, bytes | None]:
        was, now = an_array(given.take(), 2)
        if was == now or ZERO in (was, now):
            fail("a page that doesn't differ")
        found[index] = None if was is None else some_bytes(was, 32), None if now is None else some_bytes(now, 32)
        return found[index]

    bits = (old.memory_bits if old is not None else None) or (new.memory_bits if new is not None else None) or 0
    if roots_of(limits, tree, PAGES[bits], leaf, sides=2)[0] != expected:
        fail("the page trees have other roots")
    given.end()
    return found


def _difference(old: ContractClaim | None, new: ContractClaim | None, pages: PageHashes) -> ContractDifferenceClaim:
    contract = old or new
    assert contract is not None
    listed = [PageDifferenceClaim(index, *pair) for index, pair in sorted(pages.items()) if pair[0] != pair[1]]
    return ContractDifferenceClaim(contract.id or ZERO, old, new, tuple(listed))


def _jump_depth(depth: int) -> int:
    """The depth that the jump of a commit leads to: less the last term of the skew-binary number."""
    rest, term = depth, 0
    while rest:
        term = (1 << (rest + 1).bit_length() - 1) - 1
        rest -= term
    return depth - term
