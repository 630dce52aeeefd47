"""Typed arguments and results: by their own types, and by the interface that a contract carries."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from piecrust import VM, DecodeError, EncodeError, InvalidAbi
from piecrust.rkyv import ByteVec, Typed, archive, i64, u8, u32, u64
from piecrust.vm import abi
from piecrust.vm.engine import to_wasm
from piecrust.vm.errors import InvalidArgument, WrongArguments
from support.fixtures import contract

OWNER = bytes(range(32))
TO = bytes([7]) * 32
OpenVM = Callable[..., VM]

ECHO = """(module (memory (export "memory") 1) (global (export "A") i32 (i32.const 0))
  (func (export "echo") (param i32) (result i32) local.get 0)
  (func (export "raw") (param i32) (result i32) local.get 0)
  (func (export "name") (param i32) (result i32) local.get 0)
  (func (export "id") (param i32) (result i32) local.get 0)
  (func (export "init") (param i32) (result i32) local.get 0))"""

INTERFACE = abi.Abi.of(
    abi.Function.of("echo", {"first": "u32", "second": "Option<String>"}, "(u32, Option<String>)", doc="Again."),
    abi.Function.of("raw", abi.RAW, abi.RAW),
    abi.Function.of("name", {"text": "Vec<u8>"}, "Vec<u8>", query=True),
    abi.Function.of("id", {"own": "[u8; 32]"}, "[u8; 32]"),
    init=abi.Function.of("init", {"a": "u64", "b": "bool"}, "(u64, bool)"),
)


def echo(interface: abi.Abi | None = INTERFACE) -> bytes:
    wasm = to_wasm(ECHO)
    return wasm if interface is None else abi.attach(wasm, interface)


def test_an_interface_makes_types_unnecessary(vm: VM) -> None:
    with vm.session() as session:
        token, _ = session.deploy(contract("token"), OWNER, init=100)
        session.call(token, "transfer", TO, 30)
        assert session.call(token, "balance_of", TO).data == 30
        assert session.query(token, "total_supply").data == 100
        with pytest.raises(InvalidArgument, match="argument 2") as caught:
            session.call(token, "transfer", TO, "30")
        assert (caught.value.expected, caught.value.got) == ("u64", "str")
        with pytest.raises(WrongArguments):
            session.call(token, "transfer", TO, 30, 1)
        assert session.call(token, "balance_of", TO).data == 30


def test_explicit_types_win_over_the_interface(vm: VM) -> None:
    with vm.session() as session:
        name, _ = session.deploy(echo(), OWNER, init=(1, True))
        assert session.call(name, "echo", 5, "text").data == (5, "text")
        assert session.call_raw(name, "echo", b"\1\2\3").data == b"\1\2\3"
        assert session.call(name, "echo", u8(1), u8(2), returns="(u8, u8)").data == (1, 2)
        assert session.call(name, "echo", Typed("(u8, u8)", (1, 2)), returns="[u8; 2]").data == b"\1\2"
        with pytest.raises(DecodeError):
            session.call(name, "echo", u8(1))
        assert session.call(name, "echo", b"\1\2\3\4", returns=u32).data == 0x04030201


def test_bytes_are_given_as_they_are_unless_the_function_takes_bytes(vm: VM) -> None:
    with vm.session() as session:
        name, _ = session.deploy(echo(), OWNER, init=(1, True))
        assert session.call(name, "raw", b"abc").data == b"abc"
        assert session.call(name, "raw").data == b""
        assert session.call(name, "name", b"abc").data == b"abc"
        assert session.call_raw(name, "name", b"abc").data == b"abc"
        assert session.call(name, "name", ByteVec(b"abc"), returns=bytes).data == b"abc"
        assert session.call(name, "id", name).data == name
        plain, _ = session.deploy(echo(None), OWNER)
        assert session.call(plain, "name", b"abc").data == b"abc"


def test_values_need_types_where_there_is_no_interface(vm: VM) -> None:
    with vm.session() as session:
        plain, _ = session.deploy(echo(None), OWNER)
        with pytest.raises(EncodeError, match="u64"):
            session.call(plain, "echo", 5)
        assert session.call(plain, "echo", u64(5), returns=u64).data == 5
        assert session.call(plain, "echo", u64(5), "text", True).data != b""
        bound = session.contract(plain)
        assert bound.interface is None
        with pytest.raises(TypeError, match="no names"):
            bound.echo(first=1)


def test_functions_are_methods_with_docstrings_and_named_arguments(vm: VM) -> None:
    with vm.session() as session:
        name, _ = session.deploy(echo(), OWNER, init=(1, True))
        bound = session.contract(name, gas_limit=10**6)
        assert {"echo", "raw", "name"} <= set(dir(bound))
        assert bound.echo.__doc__ == "echo(first: u32, second: Option<String>) -> (u32, Option<String>)\n\nAgain."
        assert bound.echo.__name__ == "echo"
        receipt = bound.echo(second=None, first=3)
        assert (receipt.data, receipt.gas_limit) == ((3, None), 10**6)
        assert bound.echo(3, second="x", gas_limit=5000).gas_limit == 5000
        assert bound.id == name
        assert bound["id"](name).data == name
        assert bound.name(text=b"abc").data == b"abc"
        assert "Contract" in repr(bound)


def test_methods_of_query_functions_leave_no_trace(vm: VM) -> None:
    with vm.session() as session:
        name, _ = session.deploy(echo(), OWNER, init=(1, True))
        before = session.root(), session.steps
        assert session.contract(name).name(b"abc").data == b"abc"
        assert (session.root(), session.steps) == before
        session.contract(name).raw(b"abc")
        assert session.steps != before[1]


def test_init_takes_its_arguments_by_the_interface(vm: VM) -> None:
    with vm.session() as session:
        _, receipt = session.deploy(echo(), OWNER, init=(7, True))
        assert receipt is not None
        assert receipt.data == (7, True)
        with pytest.raises(WrongArguments):
            session.deploy(echo(), OWNER, contract_id=bytes(32), init=7)
        assert len(session.contracts()) == 1


def test_an_interface_may_lie_beside_the_file(open_vm: OpenVM, tmp_path: Path) -> None:
    path = tmp_path / "echo.wat"
    path.write_text(ECHO)
    (tmp_path / "echo.abi.json").write_text(abi.write(INTERFACE))
    with open_vm().session() as session:
        for number, file in enumerate((path, str(path))):
            name, receipt = session.deploy(file, OWNER, contract_id=bytes(31) + bytes([number]), init=(1, False))
            assert receipt is not None
            assert session.call(name, "echo", 5, None).data == (5, None)
    (tmp_path / "echo.abi.json").write_text("{}")
    with open_vm().session() as session, pytest.raises(InvalidAbi):
        session.deploy(path, OWNER)


def test_an_interface_that_makes_no_sense_hinders_nobody_but_who_needs_it(vm: VM) -> None:
    section = b"\x0cpiecrust-abinonsense"
    wasm = echo(None) + b"\0" + bytes([len(section)]) + section
    with vm.session() as session:
        name, _ = session.deploy(wasm, OWNER)
        assert session.call(name, "echo", u32(5), returns=u32).data == 5
        for _ in range(2):
            with pytest.raises(InvalidAbi):
                session.contract(name)


@archive
class Pair:
    left: u64
    right: i64


def test_a_result_that_is_not_of_its_type_is_an_error_after_the_call(vm: VM) -> None:
    with vm.session() as session:
        name, _ = session.deploy(echo(None), OWNER)
        pair = Pair(left=1, right=-1)
        assert session.call(name, "echo", pair, returns=Pair).data == pair
        with pytest.raises(DecodeError):
            session.call(name, "echo", b"short", returns=Pair)
        assert len(session.steps) == 3
