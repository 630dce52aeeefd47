"""Receipts tell the nested calls that failed, and where."""

from __future__ import annotations

from piecrust import VM, ContractId
from piecrust.rkyv import ByteVec, i32
from support.fixtures import contract

OWNER = bytes(32)
THERE = ContractId(bytes(31) + b"\1")


def test_a_call_without_failures_has_none(vm: VM) -> None:
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), OWNER)
        assert session.call(counter, "increment").failed_calls == ()


def test_a_failed_callee_is_told_with_its_reason_and_its_place(vm: VM) -> None:
    with vm.session() as session:
        here, _ = session.deploy(contract("crossover"), OWNER)
        session.deploy(contract("crossover"), OWNER, contract_id=THERE)
        receipt = session.call(here, "set_around", THERE, i32(5), i32(6), True)
        failed, undone = receipt.failed_calls
        assert (failed.contract, failed.function, failed.depth) == (THERE, "set_caller_and_panic", 1)
        assert failed.reason == "panic: the caller's value 6 was set in vain"
        assert 0 < failed.spent < failed.limit
        assert (undone.contract, undone.function, undone.depth, undone.reason) == (here, "set", 2, None)
        assert (failed.position, undone.position) == (1, 1)
        assert all(element.contract != THERE for element in receipt.call_tree)
        assert session.call(here, "get").failed_calls == ()


def test_calls_that_are_taken_back_with_their_caller_are_told_without_a_reason(vm: VM) -> None:
    with vm.session() as session:
        center, _ = session.deploy(contract("callcenter"), OWNER)
        here, _ = session.deploy(contract("crossover"), OWNER)
        inner = session.call(center, "delegate", here, "set_and_panic", ByteVec(b"\7\0\0\0"))
        assert [(call.function, call.reason is not None) for call in inner.failed_calls] == [("set_and_panic", True)]
        assert inner.failed_calls[0].position == len(inner.call_tree)
