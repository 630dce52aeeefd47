"""The interface of a contract: read strictly, written back, attached to WebAssembly, and used for arguments."""

from __future__ import annotations

import contextlib
import enum
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from piecrust.objects.ids import ContractId
from piecrust.vm.abi import (
    RAW,
    SECTION,
    Abi,
    EventType,
    Function,
    NamedValue,
    ScratchRange,
    attach,
    beside,
    detach,
    extract,
    parse,
    resolve,
    write,
)
from piecrust.vm.errors import (
    DecodeError,
    EncodeError,
    InvalidAbi,
    InvalidArgument,
    InvalidModule,
    InvalidType,
    NotInAbi,
    WrongArguments,
)
from piecrust.vm.rewrite.leb128 import encode_unsigned
from piecrust.vm.rkyv.annotations import Option, bytes32
from piecrust.vm.rkyv.codec import encode
from piecrust.vm.rkyv.declare import TaggedUnion, archive
from piecrust.vm.rkyv.values import i64, u8, u32, u64

CONTRACTS = Path(__file__).resolve().parents[2] / "fixtures" / "contracts" / "bin"
COUNTER = detach((CONTRACTS / "counter.wasm").read_bytes())
EMPTY = b"\0asm\1\0\0\0"

TOKEN = """{
  "piecrust_abi": 1,
  "name": "token",
  "doc": "Balances and transfers.",
  "types": [
    {"name": "Transfer", "doc": "A payment.", "struct": [
      {"name": "from", "type": "Option<[u8; 32]>"}, {"name": "to", "type": "[u8; 32]"},
      {"name": "note", "type": "Note"}]},
    {"name": "Note", "enum": [
      {"name": "Nothing"}, {"name": "Text", "fields": ["String"]},
      {"name": "Code", "fields": [{"name": "type", "type": "u8"}, {"name": "kind", "type": "Kind"}]}]},
    {"name": "Kind", "enum": [{"name": "Old"}, {"name": "New"}]},
    {"name": "Pair", "repr": "C", "struct": ["u8", "u64"]}
  ],
  "init": {"doc": "Gives the supply to the owner.", "arguments": [{"name": "supply", "type": "u64"}]},
  "functions": [
    {"name": "transfer", "doc": "Pays.", "arguments": [
      {"name": "to", "type": "[u8; 32]", "doc": "Who gets it."}, {"name": "amount", "type": "u64"}], "returns": "bool"},
    {"name": "total", "returns": "u64", "query": true},
    {"name": "set", "arguments": [{"name": "pair", "type": "Pair"}]},
    {"name": "echo", "arguments": "raw", "returns": "raw"}
  ],
  "events": [{"topic": "transfer", "type": "Transfer", "doc": "After each payment."}, {"topic": "log", "type": "raw"}],
  "memory": [
    {"name": "supply", "address": 1048576, "type": "u64"}, {"name": "owner", "symbol": "OWNER", "type": "[u8; 32]"}],
  "scratch": [{"address": 0, "length": 65536}]
}"""


@pytest.fixture
def token() -> Abi:
    return parse(TOKEN)


def test_what_is_written_is_read_back(token: Abi) -> None:
    assert json.loads(write(token)) == json.loads(TOKEN)
    assert write(parse(write(token, indent=2))) == write(token)


def test_several_arguments_are_a_tuple_one_is_itself_and_none_is_nothing(token: Abi) -> None:
    to = b"t" * 32
    assert token.function("transfer").encode_arguments([to, 5]) == encode((to, 5), tuple[bytes32, u64])
    assert token.function("transfer").encode_arguments([to], {"amount": 5}) == encode((to, 5), tuple[bytes32, u64])
    assert token.function("init").encode_arguments([5]) == encode(5, u64)
    assert token.function("total").encode_arguments([]) == b""
    assert token.function("echo").encode_arguments([b"as it is"]) == b"as it is"
    assert token.function("echo").encode_arguments([]) == b""
    pair = token.value_class("Pair")
    assert token.function("set").encode_arguments([pair(1, 2)]) == b"\1" + bytes(7) + b"\2" + bytes(7)
    assert token.function("transfer").decode_arguments(encode((to, 5), tuple[bytes32, u64])) == (to, 5)
    assert token.function("init").decode_arguments(encode(5, u64)) == (5,)
    assert token.function("total").decode_arguments(b"") == ()


def test_results_and_events_are_decoded(token: Abi) -> None:
    assert token.function("transfer").decode_result(b"\1") is True
    assert token.function("set").decode_result(b"") is None
    assert token.function("echo").decode_result(b"raw") == b"raw"
    assert token.event("log").decode(b"raw") == b"raw"
    note = token.value_class("Note")
    transfer = token.value_class("Transfer")
    kind = token.value_class("Kind")
    event = token.event("transfer")
    assert not isinstance(event.codec, type(RAW))
    value = transfer(None, b"t" * 32, note.Code(7, kind.New))
    assert event.decode(event.codec.encode(value)) == value
    assert event.decode(event.codec.encode({"from": b"f" * 32, "to": b"t" * 32, "note": "Nothing"})) == transfer(
        b"f" * 32, b"t" * 32, note.Nothing()
    )
    assert value.note.type == 7
    assert (transfer.__doc__, note.Text("a")) == ("A payment.", note.Text("a"))
    with pytest.raises(DecodeError):
        token.function("transfer").decode_result(b"\2")


def test_values_in_memory_are_decoded(token: Abi) -> None:
    supply = token.value("supply")
    assert (supply.address, supply.size, supply.decode(b"\5" + bytes(7))) == (1 << 20, 8, 5)
    assert token.scratch == (ScratchRange(0, 65536),)


def test_signatures_are_readable(token: Abi) -> None:
    assert str(token.function("transfer")) == "transfer(to: [u8; 32], amount: u64) -> bool"
    assert str(token.function("echo")) == "echo(raw) -> raw"
    assert str(token.function("set")) == "set(pair: Pair)"


WRONG: list[tuple[str, list[Any], dict[str, Any], type[Exception], str]] = [
    ("transfer", [b"t" * 32, "5"], {}, InvalidArgument, "^argument 2: expected u64, got str$"),
    ("transfer", [b"t" * 31, 5], {}, InvalidArgument, r"^argument 1: expected \[u8; 32\], got 31 bytes$"),
    ("transfer", [b"t" * 32], {"amount": -1}, InvalidArgument, "^argument 2: expected u64"),
    ("set", [{"0": 1, "1": -1}], {}, InvalidArgument, "^argument 1.1: expected u64"),
    ("init", ["5"], {}, InvalidArgument, "^argument 1: expected u64, got str$"),
    ("echo", ["text"], {}, InvalidArgument, "^argument 1: expected bytes, got str$"),
    ("transfer", [b"t" * 32], {}, WrongArguments, "takes 2 arguments, lacks amount"),
    ("transfer", [1, 2, 3], {}, WrongArguments, "takes 2 arguments, got 3"),
    ("transfer", [b"t" * 32, 5], {"amount": 5}, WrongArguments, "got 'amount' twice"),
    ("transfer", [b"t" * 32, 5], {"fee": 5}, WrongArguments, "has no argument 'fee'"),
    ("total", [None], {}, WrongArguments, "takes no arguments, got 1"),
    ("init", [], {}, WrongArguments, "takes 1 argument, lacks supply"),
    ("echo", [b"", b""], {}, WrongArguments, "one bytes object at most"),
]


@pytest.mark.parametrize(("function", "arguments", "named", "error", "message"), WRONG, ids=range(len(WRONG)))
def test_wrong_arguments_are_named(
    token: Abi, function: str, arguments: list[Any], named: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        token.function(function).encode_arguments(arguments, named)


def test_errors_have_fields(token: Abi) -> None:
    with pytest.raises(EncodeError) as refused:
        token.function("set").encode_arguments([{"0": "x", "1": 5}])
    error = refused.value
    assert isinstance(error, InvalidArgument)
    assert (error.function, error.position, error.name, error.path) == ("set", 1, "pair", "argument 1.0")
    with pytest.raises(NotInAbi, match="has no function 'mint'") as unknown:
        token.function("mint")
    assert unknown.value.known == ("transfer", "total", "set", "echo")
    for ask in (token.event, token.value, token.value_class):
        with pytest.raises(NotInAbi):
            ask("mint")


class Color(enum.Enum):
    RED = 0
    BLUE = 1


class Shape(TaggedUnion):
    """Something with an outline."""


class Circle(Shape):
    radius: u32


@archive(repr="C")
class Drawing:
    """Shapes of a color."""

    color: Color
    shapes: list[Shape]
    inside: Option[ContractId]


def test_interfaces_are_made_of_python_types() -> None:
    abi = Abi.of(
        Function.of("increment", doc="One more."),
        Function.of("read_value", returns=i64, query=True),
        Function.of("draw", {"drawing": Drawing, "times": u8}, returns=list[Shape]),
        Function.of("raw", RAW, RAW),
        name="counter",
        init=Function.of("init", {"start": i64}),
        events=[EventType.of("drawn", Drawing), EventType.of("log", RAW)],
        values=[NamedValue.of("value", i64, symbol="STATE")],
        scratch=[ScratchRange(0, 1024)],
    )
    assert list(abi.types) == ["Color", "Shape", "Drawing"]
    again = parse(write(abi))
    assert write(again) == write(abi)
    drawing = Drawing(Color.BLUE, [Circle(5)], ContractId(b"c" * 32))
    data = abi.function("draw").encode_arguments([drawing, 2])
    other, times = again.function("draw").decode_arguments(data)
    assert times == 2
    assert other == again.value_class("Drawing")(
        again.value_class("Color").BLUE, [again.value_class("Shape").Circle(5)], ContractId(b"c" * 32)
    )
    assert again.value_class("Shape").__doc__ == "Something with an outline."


def test_two_types_of_one_name_can_not_be_described() -> None:
    @archive
    class Drawing:
        other: u8

    with pytest.raises(InvalidAbi, match="two types are called 'Drawing'"):
        Abi.of(Function.of("f", {"a": Drawing}), Function.of("g", {"a": globals()["Drawing"]}))
    with pytest.raises(InvalidType, match="lies in memory otherwise"):
        NamedValue.of("state", Option[u8], address=0)


def described(**members: Any) -> str:
    return json.dumps({"piecrust_abi": 1, **members})


def functions(*entries: dict[str, Any]) -> str:
    return described(functions=list(entries))


def types(*entries: dict[str, Any]) -> str:
    return described(types=list(entries))


INVALID: list[tuple[str, str]] = [
    ("", "not JSON"),
    ("[]", "expected an object"),
    ("{}", "lacks 'piecrust_abi'"),
    ('{"piecrust_abi": 2}', "piecrust_abi: version 2 is not known"),
    ('{"piecrust_abi": true}', "version True is not known"),
    ('{"piecrust_abi": 1, "piecrust_abi": 1}', "a key twice"),
    ('{"piecrust_abi": NaN}', "NaN is no JSON number"),
    ('{"piecrust_abi": 1} x', "not JSON"),
    ("[" * 100_000, "not JSON"),
    ('{"piecrust_abi": ' + "1" * 5000 + "}", "not JSON"),
    (" " * 300_000, "at most 131072 are read"),
    (described(unknown=1), "unknown key 'unknown'"),
    (described(name=1), "name: expected a string"),
    (described(doc="x" * 5000), "doc: 5000 characters, at most 4096"),
    ('{"piecrust_abi": 1, "doc": "\\ud800"}', "doc: a lone surrogate"),
    (described(functions={}), "functions: expected a list"),
    (functions({}), "functions.0: lacks 'name'"),
    (functions({"name": "f"}, {"name": "f"}), "functions: 'f' twice"),
    (functions({"name": "init"}), "functions.0.name: init is described by 'init'"),
    (functions({"name": "f", "query": 1}), "functions.0.query: expected true or false"),
    (functions({"name": "f", "returns": "u65"}), "functions.0.returns: 'u65', character 1: unknown type"),
    (functions({"name": "f", "returns": "[u8; 99999999]"}), "functions.0.returns"),
    (functions({"name": "f", "returns": "Vec<" * 100}), "functions.0.returns"),
    (functions({"name": "f", "arguments": [{"name": "1st", "type": "u8"}]}), "arguments.0.name: not a name: '1st'"),
    (functions({"name": "f", "arguments": [{"name": "__class__", "type": "u8"}]}), "not a name"),
    (functions({"name": "f", "arguments": [{"name": "a", "type": "u8"}] * 2}), "arguments: 'a' twice"),
    (functions({"name": "f", "arguments": [{"name": f"a{n}", "type": "u8"} for n in range(13)]}), "at most 12"),
    (types({"name": "A"}), "expected either 'struct' or 'enum'"),
    (types({"name": "A", "struct": [], "enum": []}), "expected either 'struct' or 'enum'"),
    (types({"name": "A", "struct": []}, {"name": "A", "struct": []}), "'A' twice"),
    (types({"name": "A", "struct": [], "repr": "packed"}), "repr: expected 'Rust' or 'C'"),
    (types({"name": "A", "enum": [{"name": "X"}], "repr": "C"}), "repr: enums have none"),
    (types({"name": "A", "enum": []}), "an enum needs a variant"),
    (types({"name": "A", "enum": [{"name": "mro"}]}), "not a name: 'mro'"),
    (types({"name": "A", "enum": [{"name": "X"}, {"name": "X"}]}), "'X' twice"),
    (types({"name": "A", "struct": ["A"]}), "types.0: A: contains itself"),
    (types({"name": "A", "struct": ["B"]}, {"name": "B", "struct": ["[A; 2]"]}), "contains itself"),
    (types({"name": "A", "struct": ["Vec<Missing>"]}), "types.0.struct.0: .*unknown type 'Missing'"),
    (types({"name": "A", "struct": ["BTreeMap<f32, u8>"]}), "can not be the key of a map"),
    (
        types({"name": "A", "struct": [{"name": "from", "type": "u8"}, {"name": "from_", "type": "u8"}]}),
        "'from_' twice",
    ),
    (described(events=[{"topic": "a", "type": "u8"}] * 2), "events: 'a' twice"),
    (described(memory=[{"name": "a", "type": "u8"}]), "expected either 'address' or 'symbol'"),
    (described(memory=[{"name": "a", "type": "u8", "address": -1}]), "expected a number from 0"),
    (described(memory=[{"name": "a", "type": "String", "address": 0}]), "lies in memory otherwise"),
    (described(scratch=[{"address": 0}]), "scratch.0: lacks 'length'"),
    (described(scratch=[{"address": 0, "length": 1.0}]), "expected a number"),
]


@pytest.mark.parametrize(("text", "message"), INVALID, ids=range(len(INVALID)))
def test_documents_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidAbi, match=message):
        parse(text)


def test_types_that_double_at_each_level_are_refused_in_time() -> None:
    levels = [{"name": f"T{n}", "struct": [f"T{n + 1}", f"T{n + 1}"]} for n in range(60)]
    for leaf in ("()", "u8", "Vec<()>"):
        with pytest.raises(InvalidAbi, match="too large a type"):
            parse(types(*levels, {"name": "T60", "struct": [leaf]}))


def test_long_chains_of_types_are_read_or_refused() -> None:
    for length in (50, 500):
        chain = [{"name": f"T{n}", "struct": [f"Vec<T{n + 1}>"]} for n in range(length)]
        with contextlib.suppress(InvalidAbi):  # the longer one needs more stack than there may be
            parse(types(*chain, {"name": f"T{length}", "struct": ["u8"]}))


def test_the_interface_is_attached_and_taken_away() -> None:
    abi = Abi.of(Function.of("increment"), Function.of("read_value", returns=i64, query=True))
    assert extract(COUNTER) is None
    carrying = attach(COUNTER, abi)
    found = extract(carrying)
    assert found is not None
    assert write(found) == write(abi)
    assert attach(carrying, abi) == carrying
    assert detach(carrying) == detach(COUNTER) == COUNTER


def test_an_interface_must_fit_its_contract() -> None:
    with pytest.raises(InvalidAbi, match="functions: the contract exports no function 'mint'"):
        attach(COUNTER, Abi.of(Function.of("mint")))
    with pytest.raises(InvalidAbi, match="no function 'init'"):
        attach(COUNTER, Abi.of(init=Function.of("init")))
    with pytest.raises(InvalidAbi, match=r"memory.value: the contract exports no constant 'STATE'"):
        attach(COUNTER, Abi.of(values=[NamedValue.of("value", i64, symbol="STATE")]))


def test_symbols_are_exported_constants() -> None:
    abi = Abi.of(values=[NamedValue.of("buffer", bytes32, symbol="A"), NamedValue.of("here", i64, address=8)])
    located = resolve(COUNTER, abi)
    address = located.value("buffer").address
    assert address is not None
    assert address > 0
    assert located.value("here").address == 8
    assert abi.value("buffer").address is None


def custom(name: bytes, body: bytes) -> bytes:
    content = encode_unsigned(len(name)) + name + body
    return b"\0" + encode_unsigned(len(content)) + content


def test_two_interfaces_in_one_contract_are_refused() -> None:
    section = custom(SECTION.encode(), b'{"piecrust_abi":1}')
    assert extract(EMPTY + custom(b"name", b"x") + section) == Abi()
    with pytest.raises(InvalidAbi, match="2 sections"):
        extract(EMPTY + section + section)
    with pytest.raises(InvalidAbi, match="not JSON"):
        extract(EMPTY + custom(SECTION.encode(), b"\xff"))


BROKEN = [
    b"",
    b"\0asm",
    b"\0asm\2\0\0\0",
    EMPTY + b"\0",
    EMPTY + b"\0\5",
    EMPTY + b"\0\2\5a",
    EMPTY + b"\1\xff\xff\xff\xff\xff",
]


@pytest.mark.parametrize("wasm", BROKEN, ids=range(len(BROKEN)))
def test_what_is_no_module_is_refused(wasm: bytes) -> None:
    with pytest.raises(InvalidModule):
        extract(wasm)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60), st.binary(max_size=20))
def test_any_bytes_give_an_interface_or_an_error(tail: bytes, body: bytes) -> None:
    for wasm in (EMPTY + tail, EMPTY + custom(SECTION.encode(), body) + tail):
        try:
            extract(wasm)
        except (InvalidAbi, InvalidModule):
            continue


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from(["u8", "raw", "A", "Vec<A>", "x"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "type", "struct", "enum", "fields", "arguments", "returns", "topic", "address"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["types", "functions", "events", "memory", "scratch", "init"]), JSON))
def test_any_document_gives_an_interface_or_an_error(members: dict[str, Any]) -> None:
    try:
        abi = parse(described(**members))
    except InvalidAbi:
        return
    assert write(parse(write(abi))) == write(abi)


def test_the_file_beside_a_contract_is_found(tmp_path: Path) -> None:
    assert beside(tmp_path / "token.wasm") is None
    (tmp_path / "token.abi.json").write_text(TOKEN)
    found = beside(tmp_path / "token.wasm")
    assert found is not None
    assert found.name == "token"
