"""The flows that the system is for, through the library."""

from __future__ import annotations

from collections.abc import Callable

from piecrust import VM
from piecrust.vm.rkyv.values import i64
from support.fixtures import contract

OWNER = b"the owner of all contracts here.."
OpenVM = Callable[..., VM]


def test_session_commits_persist(open_vm: OpenVM) -> None:
    vm = open_vm()
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        assert session.call(counter, "read_value", returns=i64).data == 0xFC
        session.call(counter, "increment")
        assert session.call(counter, "read_value", returns=i64).data == 0xFD
        first = session.commit()
    with vm.session(first) as session:
        assert session.call(counter, "read_value", returns=i64).data == 0xFD
        session.call(counter, "increment")
        assert session.call(counter, "read_value", returns=i64).data == 0xFE
        second = session.commit()
    again, third = open_vm(), open_vm()
    with again.session(first) as session:
        assert session.call(counter, "read_value", returns=i64).data == 0xFD
    with third.session(second) as session:
        assert session.call(counter, "read_value", returns=i64).data == 0xFE
