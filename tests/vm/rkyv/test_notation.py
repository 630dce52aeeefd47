"""Types in Rust notation."""

from __future__ import annotations

import pytest
from piecrust.vm.errors import InvalidType
from piecrust.vm.rkyv.annotations import rust_type
from piecrust.vm.rkyv.codec import codec
from piecrust.vm.rkyv.declare import archive
from piecrust.vm.rkyv.notation import parse
from piecrust.vm.rkyv.values import u8


@archive
class Account:
    nonce: u8


READ = [
    ("u64", "u64"),
    (" ( u8 , bool , ) ", "(u8, bool)"),
    ("()", "()"),
    ("(u8,)", "(u8,)"),
    ("[[u8; 3]; 0x2]", "[[u8; 3]; 2]"),
    ("[u8; 1_000usize]", "[u8; 1000]"),
    ("std::string::String", "String"),
    ("alloc::vec::Vec<core::option::Option<u8>>", "Vec<Option<u8>>"),
    ("Result<(), Box<str>,>", "Result<(), Box<str>>"),
    ("Box<[u8]>", "Box<[u8]>"),
    ("Box<[u8; 3]>", "Box<[u8; 3]>"),
    ("Box<Box<[String]>>", "Box<Box<[String]>>"),
    ("NonZeroUsize", "NonZeroUsize"),
    ("BTreeMap<u8, BTreeSet<char>>", "BTreeMap<u8, BTreeSet<char>>"),
    ("RangeInclusive<i8>", "RangeInclusive<i8>"),
    ("ContractId", "ContractId"),
    ("crate::Account", "Account"),
]


@pytest.mark.parametrize(("text", "canonical"), READ)
def test_types_are_read(text: str, canonical: str) -> None:
    names = {"Account": rust_type(Account)}
    assert str(parse(text, names)) == canonical
    assert parse(canonical, names) == parse(text, names)


REFUSED = [
    ("", 0, "expected a type, found the end"),
    ("u65", 0, "unknown type 'u65'"),
    ("Vec", 3, "expected '<', found the end"),
    ("Vec<u8", 6, "expected ',' or '>', found the end"),
    ("Vec<u8, u8>", 8, "expected ',' or '>', found 'u8'"),
    ("Result<u8>", 9, "expected ',', found '>'"),
    ("(u8)", 3, "a tuple of one item is written"),
    ("(u8, u8", 7, r"expected '\)', found the end"),
    ("[u8]", 4, "a slice exists in a Box or Vec only"),
    ("[u8; x]", 5, "expected a length, found 'x'"),
    ("[u8; 08]", 5, "not a length"),
    ("[u8; 9999999999]", 5, "more than 16777216 items"),
    ("u8 u8", 3, "expected the end, found 'u8'"),
    ("u8!", 2, "unexpected '!'"),
    ("&str", 0, "unexpected '&'"),
    ("str", 0, "only a Box<str> or String holds text"),
    ("HashMap<u8, u8>", 0, "hash maps are not supported"),
    ("std::rc::Rc<u8>", 9, "shared pointers"),
    ("std::", 5, "expected a name"),
    ("Account", 0, "unknown type"),
]


@pytest.mark.parametrize(("text", "position", "message"), REFUSED)
def test_other_text_is_refused(text: str, position: int, message: str) -> None:
    with pytest.raises(InvalidType, match=message) as refused:
        parse(text)
    assert refused.value.position == position


def test_names_are_given_by_the_caller() -> None:
    assert rust_type("Vec<Account>", {"Account": Account}) == rust_type(list[Account])
    with pytest.raises(InvalidType, match="unknown type"):
        codec("Vec<Account>")


def test_hostile_text_is_bounded() -> None:
    for text in ["(" * 5000, "Vec<" * 70 + "u8" + ">" * 70, "[" * 100, "u8" + " " * 10_000]:
        with pytest.raises(InvalidType):
            parse(text)


def test_types_that_grow_too_large_are_refused() -> None:
    for text in ["[[[u8; 65536]; 65536]; 65536]", "[[(); 4096]; 4096]", "(u8, [u64; 16777216])"]:
        with pytest.raises(InvalidType, match="too large"):
            codec(text)
