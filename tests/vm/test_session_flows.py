"""The flows that the system is for, through the library."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from piecrust import VM, ContractDoesNotExist, ContractId, Panic, PiecrustError, SessionClosed
from piecrust.rkyv import Err, Ok, Option, Result, TaggedUnion, Vec, archive, bytes48, bytes96, i16, i32, i64, u32, u64
from piecrust.vm.session import Session
from support.fixtures import contract

OWNER = bytes(range(32))
OpenVM = Callable[..., VM]


class ContractError(TaggedUnion):
    """What uplink makes of a failing callee."""


class Failed(ContractError):
    """A panic."""

    message: str


class OutOfGas(ContractError):
    """The callee's gas limit did not suffice."""


class DoesNotExist(ContractError):
    """There is no such contract."""


class Unknown(ContractError):
    """Anything else."""


def read(session: Session, counter: ContractId) -> int:
    return session.query(counter, "read_value", returns=i64).data


def test_session_commits_persist(open_vm: OpenVM) -> None:
    vm = open_vm()
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        box, _ = session.deploy(contract("box"), owner=OWNER)
        assert read(session, counter) == 0xFC
        session.call(counter, "increment")
        session.call(box, "set", i16(0x11))
        first = session.commit(message="first")
    with vm.session(first) as session:
        assert read(session, counter) == 0xFD
        session.call(counter, "increment")
        session.call(box, "set", i16(0x12))
        second = session.commit(message="second")
    for commit, value, boxed in ((first, 0xFD, 0x11), (second, 0xFE, 0x12)):
        with open_vm().session(commit) as session:
            assert read(session, counter) == value
            assert session.call(box, "get", returns=Option[i16]).data == boxed


def test_contracts_persist(open_vm: OpenVM) -> None:
    vm = open_vm()
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        commit = session.commit()
    vm.close()
    with open_vm().session(commit) as session:
        assert session.contracts() == [counter]
        assert session.contract_metadata(counter).owner == OWNER
        session.call(counter, "increment")
        assert read(session, counter) == 0xFD


def test_a_dropped_session_leaves_nothing(vm: VM) -> None:
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        commit = session.commit()
    size = sum(path.stat().st_size for path in vm.root_dir.rglob("*.seg"))
    with vm.session(commit) as session:
        session.deploy(contract("box"), owner=OWNER)
        session.call(counter, "increment")
    assert vm.commits() == [commit]
    assert sum(path.stat().st_size for path in vm.root_dir.rglob("*.seg")) == size
    with vm.session(commit) as session:
        assert read(session, counter) == 0xFC
        assert session.contracts() == [counter]
    with pytest.raises(SessionClosed):
        session.root()


def test_multiple_contracts_in_one_session(vm: VM) -> None:
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        box, _ = session.deploy(contract("box"), owner=OWNER)
        other, _ = session.deploy(contract("counter"), owner=b"another", contract_id=ContractId(bytes(31) + b"\1"))
        session.call(counter, "increment")
        session.call(box, "set", i16(-5))
        assert session.call(box, "get", returns=Option[i16]).data == -5
        assert (read(session, counter), read(session, other)) == (0xFD, 0xFC)
        assert session.contracts() == sorted([counter, box, other])


def test_six_sessions_on_one_base_in_six_threads_make_six_commits(vm: VM) -> None:
    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        base = session.commit()

    def count(times: int) -> tuple[int, bytes]:
        with vm.session(base) as session:
            for _ in range(times):
                session.call(counter, "increment")
            return times, session.commit()

    with ThreadPoolExecutor(6) as pool:
        commits = dict(pool.map(count, range(1, 7)))
    assert len(set(commits.values())) == 6
    assert set(vm.commits()) == {base, *commits.values()}
    for times, commit in commits.items():
        assert vm.commit_info(commit).parents == (base,)
        with vm.session(commit) as session:
            assert read(session, counter) == 0xFC + times


def test_an_error_reverts_to_the_last_good_state_and_the_session_goes_on(vm: VM) -> None:
    with vm.session() as session:
        crossover, _ = session.deploy(contract("crossover"), owner=OWNER)
        session.call(crossover, "set", i32(1))
        root = session.root()
        with pytest.raises(Panic, match="value 2 was set in vain"):
            session.call(crossover, "set_and_panic", i32(2))
        assert session.root() == root
        with pytest.raises(ContractDoesNotExist):
            session.call(bytes(32), "set")
        assert session.call(crossover, "set", i32(3), returns=i32).data == 1
        commit = session.commit()
    with vm.session(commit) as session:
        assert session.call(crossover, "get", returns=i32).data == 3


def test_passing_data_across_contracts(vm: VM) -> None:
    with vm.session() as session:
        here, _ = session.deploy(contract("crossover"), owner=OWNER)
        there, _ = session.deploy(contract("crossover"), owner=OWNER, contract_id=ContractId(bytes(31) + b"\1"))
        center, _ = session.deploy(contract("callcenter"), owner=OWNER)
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        returned = session.call(here, "set_back_and_forth", there, i32(11), i32(12), returns=tuple[i32, i32])
        assert returned.data == (11, 12)
        assert [element.contract for element in returned.call_tree] == [here, there, here]
        session.call(center, "increment_counter", counter)
        assert read(session, counter) == 0xFD
        session.call(center, "increment_counter_with_limit", counter, u64(1_000_000))
        assert read(session, counter) == 0xFE


def test_a_failing_callee_takes_its_changes_back_everywhere(vm: VM) -> None:
    with vm.session() as session:
        here, _ = session.deploy(contract("crossover"), owner=OWNER)
        there, _ = session.deploy(contract("crossover"), owner=OWNER, contract_id=ContractId(bytes(31) + b"\1"))
        for panicking in (False, True):
            receipt = session.call(here, "set_around", there, i32(5), i32(6), panicking)
            failed, value = receipt.data
            assert isinstance(failed, Err)
            assert value == 5
            assert session.call(there, "get", returns=i32).data == 7


def test_contracts_see_the_context_of_their_calls(vm: VM) -> None:
    with vm.session(meta={"block_height": u64(42)}) as session:
        center, _ = session.deploy(contract("callcenter"), owner=OWNER)
        other, _ = session.deploy(contract("callcenter"), owner=OWNER[::-1], contract_id=ContractId(bytes(31) + b"\1"))
        data, _ = session.deploy(contract("session_data"), owner=OWNER)
        assert session.call(center, "own_id", returns=ContractId).data == center
        assert session.call(center, "own_owner").data == OWNER
        assert session.call(center, "owner_of", other, returns="Option<[u8; 32]>").data == OWNER[::-1]
        assert session.call(center, "calling_contract", returns=Option[ContractId]).data is None
        assert session.call(center, "calls_itself", returns=Result[bool, ContractError]).data == Ok(True)
        stack = session.call(center, "nested_callstack", u32(3), returns=Result[Vec[ContractId], ContractError])
        assert stack.data == Ok([center] * 3)
        assert session.call(data, "block_height", returns="Option<u64>").data == 42
        session.set_meta("block_height", u64(43))
        assert session.call(data, "block_height", returns="Option<u64>").data == 43


@archive
class FnData:
    signature: bytes48
    public_key: bytes96
    counter: u64


def test_a_contract_takes_a_structure(vm: VM) -> None:
    with vm.session() as session:
        mailbox, _ = session.deploy(contract("fndata"), owner=OWNER)
        data = FnData(b"s" * 48, b"p" * 96, 1)
        receipt = session.call(mailbox, "submit", data, returns=u64)
        assert receipt.data == 1
        assert [(event.source, event.topic, event.data) for event in receipt.events] == [
            (mailbox, "submitted", data.public_key)
        ]
        assert session.call(mailbox, "last", returns=Option[FnData]).data == data
        with pytest.raises(Panic, match="counter out of order"):
            session.call(mailbox, "submit", data)
        with pytest.raises(PiecrustError):
            session.call(mailbox, "submit", b"too short")
