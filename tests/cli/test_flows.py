"""The flows that the system is for, through the command, and equal to one library session with the same calls."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from piecrust import VM, CallFailed, ContractId, Panic
from piecrust.rkyv import archive, bytes48, bytes96, encode, i16, i32, u64
from piecrust.vm.session import Session
from support.command import Command, contract_file
from support.fixtures import contract

OWNER = bytes([7]) * 32


def committed(session: Session, vm: VM, message: str | None = None) -> tuple[str, str]:
    commit = session.commit(message)
    return commit.hex(), vm.commit_info(commit).state_root.hex()


def by_command(answer: Any) -> tuple[str, str]:
    return answer["commit"], answer["state_root"]


def read(piecrust: Command, *options: str) -> str:
    return piecrust("query", "counter", "read_value", "--returns", "i64", *options).stdout.strip()


def test_session_commits_persist(store: Command, vm: VM) -> None:
    store("deploy", contract_file("counter"), "--alias", "counter")
    store("deploy", contract_file("box"), "--alias", "box")
    assert read(store) == str(0xFC)
    store("call", "counter", "increment")
    store("call", "box", "set", "i16:0x11")
    first = store.json("commit", "-m", "first")
    store("call", "counter", "increment")
    store("call", "box", "set", "i16:18")
    second = store.json("commit", "-m", "second")
    for commit, value, boxed in ((first, 0xFD, 0x11), (second, 0xFE, 0x12)):
        assert read(store, "--at", commit["commit"]) == str(value)
        got = store("query", "box", "get", "--returns", "Option<i16>", "--at", commit["commit"])
        assert got.stdout == f"Some({boxed})\n"

    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        box, _ = session.deploy(contract("box"), owner=OWNER)
        session.call(counter, "increment")
        session.call(box, "set", i16(0x11))
        assert by_command(first) == committed(session, vm, "first")
    with vm.session(bytes.fromhex(first["commit"])) as session:
        session.call(counter, "increment")
        session.call(box, "set", i16(0x12))
        assert by_command(second) == committed(session, vm, "second")


def test_contracts_persist(store: Command, vm: VM) -> None:
    deployed = store.json("deploy", contract_file("counter"), "--alias", "counter")
    done = store.json("commit")
    listed = store.json("contracts", done["commit"])["contracts"]
    assert [(item["contract"], item["owner"]) for item in listed] == [(deployed["contract"], OWNER.hex())]

    with vm.session() as session:
        session.deploy(contract("counter"), owner=OWNER)
        assert by_command(done) == committed(session, vm)


def test_a_dropped_working_state_leaves_nothing(counting: Command) -> None:
    before = counting.json("status")
    counting("deploy", contract_file("box"))
    counting("call", "counter", "increment")
    counting("checkout", "main", "--discard")
    after = counting.json("status")
    assert {**after, "size": None} == {**before, "size": None}
    assert read(counting) == "255"


def test_multiple_contracts_in_one_working_state(store: Command, vm: VM) -> None:
    other = "00" * 31 + "01"
    store("deploy", contract_file("counter"), "--alias", "counter")
    store("deploy", contract_file("box"), "--alias", "box")
    store("deploy", contract_file("counter"), "--id", other, "--owner", "616e6f74686572")
    store("call", "counter", "increment")
    store("call", "box", "set", "i16:-5")
    assert store("query", "box", "get", "--returns", "Option<i16>").stdout == "Some(-5)\n"
    assert store("query", other, "read_value", "--returns", "i64").stdout == "252\n"
    done = store.json("commit")

    with vm.session() as session:
        counter, _ = session.deploy(contract("counter"), owner=OWNER)
        box, _ = session.deploy(contract("box"), owner=OWNER)
        session.deploy(contract("counter"), owner=b"another", contract_id=bytes.fromhex(other))
        session.call(counter, "increment")
        session.call(box, "set", i16(-5))
        assert by_command(done) == committed(session, vm)


def test_an_error_reverts_to_the_last_good_state_and_the_work_goes_on(store: Command, vm: VM) -> None:
    store("deploy", contract_file("crossover"), "--alias", "crossover")
    store("call", "crossover", "set", "i32:1")
    root = store("root").stdout
    failed = store("call", "crossover", "set_and_panic", "i32:2", code=4)
    assert failed.stderr.startswith("Error: the contract panicked: value 2 was set in vain\n")
    assert store("root").stdout == root
    store("call", "00" * 32, "set", code=3)
    assert store("call", "crossover", "set", "i32:3", "--returns", "i32").lines[0] == "1"
    done = store.json("commit")

    with vm.session() as session:
        crossover, _ = session.deploy(contract("crossover"), owner=OWNER)
        session.call(crossover, "set", i32(1))
        with pytest.raises(Panic):
            session.call(crossover, "set_and_panic", i32(2))
        with pytest.raises(Exception, match="does not exist"):
            session.call(bytes(32), "set")
        session.call(crossover, "set", i32(3))
        assert by_command(done) == committed(session, vm)


def test_passing_data_across_contracts(store: Command, vm: VM) -> None:
    there = "00" * 31 + "01"
    store("deploy", contract_file("crossover"), "--alias", "here")
    store("deploy", contract_file("crossover"), "--id", there, "--alias", "there")
    store("deploy", contract_file("callcenter"), "--alias", "center")
    counter = store.json("deploy", contract_file("counter"), "--alias", "counter")["contract"]
    returned = store.json(
        "call", "here", "set_back_and_forth", f"hex:{there}", "i32:11", "i32:12", "--returns", "(i32, i32)"
    )
    assert returned["value"] == [11, 12]
    assert [item["depth"] for item in returned["call_tree"]] == [2, 1, 0]
    store("call", "center", "increment_counter", f"hex:{counter}")
    assert read(store) == str(0xFD)
    done = store.json("commit")

    with vm.session() as session:
        here, _ = session.deploy(contract("crossover"), owner=OWNER)
        session.deploy(contract("crossover"), owner=OWNER, contract_id=bytes.fromhex(there))
        center, _ = session.deploy(contract("callcenter"), owner=OWNER)
        number, _ = session.deploy(contract("counter"), owner=OWNER)
        session.call(here, "set_back_and_forth", ContractId(bytes.fromhex(there)), i32(11), i32(12))
        session.call(center, "increment_counter", number)
        assert by_command(done) == committed(session, vm)


def test_contracts_see_the_context_of_their_calls(store: Command, vm: VM) -> None:
    center = store.json("deploy", contract_file("callcenter"), "--alias", "center", "--meta", "block_height=u64:42")
    store("deploy", contract_file("session_data"), "--alias", "data")
    identifier = center["contract"]
    assert store("call", "center", "own_id", "--returns", "ContractId").lines[0] == f"0x{identifier}"
    assert store("call", "center", "own_owner").lines[0] == f"0x{OWNER.hex()}"
    assert store("call", "center", "calling_contract", "--returns", "Option<[u8; 32]>").lines[0] == "None"
    assert store("call", "data", "block_height", "--returns", "Option<u64>").lines[0] == "Some(42)"
    store("meta", "set", "block_height", "u64:43")
    assert store("call", "data", "block_height", "--returns", "Option<u64>").lines[0] == "Some(43)"
    done = store.json("commit")

    with vm.session(meta={"block_height": u64(42)}) as session:
        there, _ = session.deploy(contract("callcenter"), owner=OWNER)
        data, _ = session.deploy(contract("session_data"), owner=OWNER)
        for function in ("own_id", "own_owner", "calling_contract"):
            session.call(there, function)
        session.call(data, "block_height")
        session.set_meta("block_height", u64(43))
        session.call(data, "block_height")
        assert by_command(done) == committed(session, vm)


@archive
class FnData:
    signature: bytes48
    public_key: bytes96
    counter: u64


def test_a_contract_takes_a_structure(store: Command, vm: VM) -> None:
    store("deploy", contract_file("fndata"), "--alias", "mailbox")
    data = encode(FnData(b"s" * 48, b"p" * 96, 1))
    path = Path(store.directory) / "argument"
    path.write_bytes(data)
    submitted = store.json("call", "mailbox", "submit", f"@{path}", "--returns", "u64")
    assert submitted["value"] == "1"
    assert [(event["topic"], event["data"]) for event in submitted["events"]] == [("submitted", (b"p" * 96).hex())]
    failed = store("call", "mailbox", "submit", f"hex:{data.hex()}", code=4)
    assert "counter out of order" in failed.stderr
    again = store("call", "mailbox", "submit", "hex:00", code=4)
    assert "Error: the contract" in again.stderr
    done = store.json("commit")

    with vm.session() as session:
        mailbox, _ = session.deploy(contract("fndata"), owner=OWNER)
        session.call(mailbox, "submit", data)
        for wrong in (data, b"\0"):
            with pytest.raises(CallFailed):
                session.call(mailbox, "submit", wrong)
        assert by_command(done) == committed(session, vm)


def test_a_call_that_fails_is_part_of_the_history(counting: Command) -> None:
    counting("deploy", contract_file("panics"), "--alias", "panics")
    counting("call", "panics", "panic_with", "str:no", code=4)
    steps = counting.json("status")["working_state"]["steps"]
    assert steps == {"deploy": 1, "failed call": 1}


def test_a_query_writes_nothing_at_all(counting: Command) -> None:
    def content() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in (counting.directory / ".piecrust").rglob("*") if path.is_file()}

    before = content()
    assert read(counting) == "255"
    assert counting("query", "counter", "increment").exit_code == 0
    assert read(counting) == "255"
    assert content() == before


def test_two_revisions_answer_side_by_side(counting: Command) -> None:
    asked = counting("query", "counter", "read_value", "--returns", "i64", "--at", "main~2..main")
    assert asked.lines == ["main~2  253", "main    255"]
    counting("query", "counter", "read_value", "--at", "main~2..main", "--exit-code", code=1)
    same = counting.json("query", "counter", "read_value", "--at", "main..main", "--exit-code")
    assert same["equal"] is True


def test_what_a_draft_has_pending_comes_with_the_next_call(store: Command) -> None:
    store("deploy", contract_file("eventer"), "--alias", "eventer")
    store("call", "eventer", "emit_and_panic", "u32:2", code=None)
    receipt = store.json("call", "eventer", "emit_numbers", "u32:1")
    assert [event["reverted"] for event in receipt["events"]][-1] is False
    assert any(event["reverted"] for event in receipt["events"])
