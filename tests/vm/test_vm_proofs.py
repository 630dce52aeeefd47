"""Proofs of what contracts left in their memory, and the original's openings of the same pages."""

from __future__ import annotations

import pytest
from piecrust import VM
from piecrust.objects.errors import NotProvable
from piecrust.proofs import NoContract, PageOf, RangeOf, RecordOf, verify, verify_opening
from support.fixtures import contract

PAGE_BYTES = 65536


@pytest.fixture
def counted(vm: VM):
    """A VM with two commits of a counter."""
    with vm.session(branch="main") as session:
        counter, _ = session.deploy(contract("counter"), b"owner")
        first = session.commit()
    with vm.session("main") as session:
        session.call(counter, "increment")
        length = session.memory_len(counter)
        pages = {index: page for index, page, _ in session.memory_pages(counter)}
        second = session.commit(message="incremented")
    return vm, counter, first, second, length, pages


def test_memory_is_proven_as_the_contract_left_it(counted):
    vm, counter, _, second, length, pages = counted
    index = min(pages)
    wanted = [RecordOf(counter), PageOf(counter, index), RangeOf(counter, index * PAGE_BYTES + 500, 600)]
    claim = verify(vm.prove("main", wanted), commit=second)
    record, page, part = claim.claims
    assert (record.id, record.owner, record.memory_length) == (counter, b"owner", length)
    assert page.data == pages[index]
    assert part.data == pages[index][500:1100]
    assert claim.commit.message == "incremented"


def test_what_a_contract_changed_is_proven(counted):
    vm, counter, first, second, _, pages = counted
    claim = verify(vm.prove_difference(first, second), commit=second)
    (difference,) = claim.contracts
    assert difference.id == counter
    changed = {index for index, page in pages.items() if page != page_of(vm, first, counter, index)}
    assert {page.index for page in difference.pages} == changed
    assert verify(vm.prove_ancestry(first, "main")).ancestor == first


def page_of(vm: VM, commit, counter, index: int) -> bytes | None:
    with vm.session(commit) as session:
        session.memory_len(counter)  # loads the contract, without which it has no pages to show
        return {i: page for i, page, _ in session.memory_pages(counter)}.get(index)


def test_openings_and_proofs_under_a_state_root_say_the_same(counted):
    vm, counter, _, second, _, _ = counted
    root = vm.commit_info(second).state_root
    with vm.session(second) as session:
        session.memory_len(counter)
        opened = list(session.memory_pages(counter))
    for index, page, opening in opened:
        claim = verify_opening(page, opening.page.encode(), opening.contract.encode(), state_root=root)
        assert verify(vm.prove(second, [PageOf(counter, index)], under_root=True), state_root=root) == claim


def test_what_is_not_so_is_not_provable(counted):
    vm, counter, first, second, _, _ = counted
    with pytest.raises(NotProvable):
        vm.prove("main", [NoContract(counter)])
    with pytest.raises(NotProvable):
        vm.prove_ancestry(second, first)
