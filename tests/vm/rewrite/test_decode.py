from __future__ import annotations

import tracemalloc

import pytest
import wasmtime
from piecrust.vm.errors import InvalidModule
from piecrust.vm.rewrite.decode import MAGIC, decode
from piecrust.vm.rewrite.module import (
    Constant,
    DataSegment,
    ElementSegment,
    Export,
    ExternKind,
    FunctionType,
    Global,
    GlobalType,
    Import,
    MemoryType,
    TableType,
    ValueType,
)
from support.fixtures import CONTRACTS, REFERENCE
from support.metered import is_valid
from support.wasm_encoding import name, section, unsigned
from support.wasm_generator import generate

I32, I64 = ValueType.I32, ValueType.I64


def module(text: str) -> bytes:
    return bytes(wasmtime.wat2wasm(f"(module {text})"))


def raw(*sections: tuple[int, bytes]) -> bytes:
    return MAGIC + b"".join(section(identifier, body) for identifier, body in sections)


def test_all_declarations_are_found() -> None:
    decoded = decode(
        module(
            """(import "m" "f" (func (param i32) (result i64)))
            (import "m" "g" (global f32)) (import "m" "t" (table 1 2 externref)) (import "m" "n" (memory 1))
            (func $own (param i64 v128) (result funcref externref) unreachable)
            (table 3 funcref)
            (global (mut f64) (f64.const -0.5)) (global i64 (i64.const -2)) (global (mut funcref) (ref.func $own))
            (global (mut v128) (v128.const i64x2 1 2)) (global externref (ref.null extern)) (global f32 (global.get 0))
            (export "a" (func $own)) (export "b" (global 1)) (export "" (memory 0)) (export "é" (table 1))
            (start $own2) (func $own2)
            (elem (table 1) (i32.const 2) func $own) (elem declare func $own) (elem externref (ref.null extern))
            (elem (table 0) (i32.const 1) externref)
            (data "passive") (data (i32.const -1) "active")"""
        )
    )
    taking = FunctionType((I32,), (I64,))
    assert decoded.imports == (
        Import("m", "f", ExternKind.FUNCTION, taking),
        Import("m", "g", ExternKind.GLOBAL, GlobalType(ValueType.F32, mutable=False)),
        Import("m", "t", ExternKind.TABLE, TableType(ValueType.EXTERNREF, 1, 2)),
        Import("m", "n", ExternKind.MEMORY, MemoryType(is64=False, minimum=1, maximum=None)),
    )
    assert [decoded.types[index] for index in decoded.functions] == [
        taking,
        FunctionType((I64, ValueType.V128), (ValueType.FUNCREF, ValueType.EXTERNREF)),
        FunctionType((), ()),
    ]
    assert decoded.imported_functions == 1
    assert decoded.tables[1] == TableType(ValueType.FUNCREF, 3, None)
    assert [entry.initial for entry in decoded.globals] == [
        Constant(ValueType.F64, bytes.fromhex("000000000000e0bf")),
        Constant(I64, bytes.fromhex("feffffffffffffff")),
        Constant(ValueType.FUNCREF, None),
        Constant(ValueType.V128, bytes.fromhex("0100000000000000 0200000000000000")),
        Constant(ValueType.EXTERNREF, None),
        Constant(ValueType.F32, None),
    ]
    assert decoded.globals[0] == Global(GlobalType(ValueType.F64, mutable=True), decoded.globals[0].initial)
    assert len(decoded.global_types) == 7
    assert decoded.exports == (
        Export("a", ExternKind.FUNCTION, 1),
        Export("b", ExternKind.GLOBAL, 1),
        Export("", ExternKind.MEMORY, 0),
        Export("é", ExternKind.TABLE, 1),
    )
    assert decoded.start == 2
    assert decoded.elements == (
        ElementSegment(1, 2, 1),
        ElementSegment(None, None, 1),
        ElementSegment(None, None, 1),
        ElementSegment(0, 1, 0),
    )
    passive = DataSegment(active=False, offset=None, data=b"passive")
    assert decoded.segments == (passive, DataSegment(active=True, offset=0xFFFF_FFFF, data=b"active"))
    assert [decoded.data[end - 1] for _, end in decoded.bodies] == [0x0B, 0x0B]


def test_a_64_bit_memory_has_64_bit_limits_and_offsets() -> None:
    decoded = decode(module("(memory i64 5 0x1000000000000) (data (i64.const -1) 'x')".replace("'", '"')))
    assert decoded.memories == (MemoryType(is64=True, minimum=5, maximum=1 << 48),)
    assert decoded.memories[0].address is I64
    assert decoded.segments[0].offset == (1 << 64) - 1


def test_the_smallest_module_is_one() -> None:
    decoded = decode(MAGIC)
    assert decoded.sections == decoded.types == decoded.bodies == ()
    assert decoded.start is None


def test_custom_sections_are_passed_over_wherever_they_are() -> None:
    custom = (0, name("x") + b"\xff\xff")
    assert decode(raw(custom, (1, b"\0"), custom, (3, b"\0"), custom)).sections[0].id == 1


CONTRACT = module(
    '(memory (export "m") 1) (func (export "f") (param i32) (result i32) local.get 0) (data (i32.const 0) "x")'
)
TYPE, FUNCTION_TYPE = (1, b"\x01\x60\0\0"), b"\x60\0\0"
ONE_FUNCTION = [TYPE, (3, b"\x01\0")]
BODY = (10, b"\x01\x02\0\x0b")


@pytest.mark.parametrize(
    "wasm",
    [
        b"",
        b"\0asm",
        MAGIC[:7],
        b"\0asm\x02\0\0\0",
        b"\0asm\x0d\0\x01\0",
        b"(module)",
        MAGIC + b"\x01",
        MAGIC + b"\x01\x80",
        MAGIC + b"\x01\x05\x00",
        raw((13, b"\0")),
        raw((14, b"\0")),
        raw((0, b"\x05ab")),
        raw((0, b"\x01\xff")),
        raw((3, b"\0"), (1, b"\0")),
        raw((1, b"\0"), (1, b"\0")),
        raw((10, b"\0"), (12, b"\0")),
        raw((1, b"\0\0")),
        raw((1, b"\xff\xff\xff\xff\x0f")),
        raw((1, b"\x01\x61\0\0")),
        raw((1, b"\x01\x60\x01\x40\0")),
        raw((1, b"\x01\x60" + unsigned(1001) + b"\x7f" * 1001 + b"\0")),
        raw((1, b"\x01\x60\0" + unsigned(1001) + b"\x7f" * 1001)),
        raw((2, b"\x01\0\0\0\0")),
        raw((2, b"\x01\0\0\x04\0\0")),
        raw((2, b"\x01\x01\x80\0\0\0"), TYPE),
        raw(TYPE, (2, b"\x01\0\0\x03\x7f\x02")),
        raw(TYPE, (3, b"\x01\x01")),
        raw(TYPE, (3, b"\x01\0")),
        raw(TYPE, BODY),
        raw(*ONE_FUNCTION, (10, b"\x02\x02\0\x0b\x02\0\x0b")),
        raw(*ONE_FUNCTION, (10, b"\x01\x09\0\x0b")),
        raw(*ONE_FUNCTION, (10, b"\x01\x02\0\x0b\0")),
        raw(TYPE, (3, b"\x02\0\0"), (10, b"\x02\xff\xff\xff\xff\x0f\0\x0b")),
        raw(TYPE, (2, b"\x01" + name("x" * 100_001) + b"\0\0\0")),
        raw(TYPE, (3, b"\x7f\0")),
        raw((5, b"\x64\0\0")),
        raw((4, b"\x01\x7f\0\0")),
        raw((4, b"\x01\x70\x02\0")),
        raw((4, b"\x01\x70\x04\0")),
        raw((4, b"\x01\x40\0\x70\0\0")),
        raw((4, b"\x01\x70\x01\x02\x01")),
        raw((4, b"\x01\x70\0" + unsigned(10_000_001))),
        raw((4, unsigned(101) + b"\x70\0\0" * 101)),
        raw((5, b"\x01\x02\x01\x01")),
        raw((5, b"\x01\x03\x01\x01")),
        raw((5, b"\x01\x08\x01\0")),
        raw((5, b"\x01\x01\x02\x01")),
        raw((5, b"\x01\0" + unsigned(65_537))),
        raw((5, b"\x01\x01\x01" + unsigned(65_537))),
        raw((5, b"\x01\x04" + unsigned((1 << 48) + 1))),
        raw((5, unsigned(101) + b"\0\0" * 101)),
        raw((6, b"\x01\x7f\x02\x41\0\x0b")),
        raw((6, b"\x01\x7f\0\x42\0\x0b")),
        raw((6, b"\x01\x7f\0\x0b")),
        raw((6, b"\x01\x7f\0\x41\0")),
        raw((6, b"\x01\x7f\0\x41\0\x41\0\x6a\x0b")),
        raw((6, b"\x02\x7f\0\x41\0\x0b\x7f\0\x23\0\x0b")),
        raw((6, b"\x01\x7b\0\xfd\x0d" + bytes(16) + b"\x0b")),
        raw((6, b"\x01\x70\0\xd2\0\x0b")),
        raw((7, b"\x01\0\0\0")),
        raw((7, b"\x01\0\x02\0")),
        raw((5, b"\x01\0\0"), (7, b"\x01\0\x05\0")),
        raw((5, b"\x01\0\0"), (7, b"\x02\x01a\x02\0\x01a\x02\0")),
        raw((5, b"\x01\0\0"), (7, b"\x01\x02\xc3\x28\x02\0")),
        raw((8, b"\0")),
        raw((9, b"\x01\x08")),
        raw((9, b"\x01\0\x41\0\x0b\0")),
        raw((4, b"\x01\x70\0\0"), (9, b"\x01\0\x42\0\x0b\0")),
        raw((4, b"\x01\x6f\0\0"), (9, b"\x01\0\x41\0\x0b\0")),
        raw((4, b"\x01\x70\0\0"), (9, b"\x01\0\x41\0\x0b\x01\0")),
        raw((4, b"\x01\x70\0\0"), (9, b"\x01\x01\x01\0")),
        raw((9, b"\x01\x05\x70\x01\x41\0\x0b")),
        raw((11, b"\x01\0\x41\0\x0b\0")),
        raw((5, b"\x01\0\0"), (11, b"\x01\x03")),
        raw((5, b"\x01\0\0"), (11, b"\x01\0\x42\0\x0b\0")),
        raw((5, b"\x01\0\0"), (11, b"\x01\x02\x01\x41\0\x0b\0")),
        raw((5, b"\x01\0\0"), (11, b"\x01\0\x41\0\x0b\x05x")),
        raw((5, b"\x01\0\0"), (12, b"\x02"), (11, b"\x01\x01\0")),
        raw((12, b"\x01")),
        raw((12, unsigned(100_001))),
    ],
)
def test_a_malformed_module_is_refused(wasm: bytes) -> None:
    with pytest.raises(InvalidModule) as raised:
        decode(wasm)
    assert raised.value.kind == "RuntimeError"
    assert raised.value.reason


def test_what_the_engine_accepts_is_accepted() -> None:
    for path in sorted(CONTRACTS.glob("*.wasm")):
        assert decode(path.read_bytes()).bodies, path.name


@pytest.mark.parametrize("wasm", [CONTRACT, generate(1).wasm, (CONTRACTS / "counter.wasm").read_bytes()])
def test_a_truncated_module_is_refused(wasm: bytes) -> None:
    """Cut where a section ends, what is left may be a module of its own."""
    for length in range(len(wasm)):
        try:
            decode(wasm[:length])
        except InvalidModule:
            continue
        assert is_valid(wasm[:length]) or length in section_ends(wasm), length


def section_ends(wasm: bytes) -> set[int]:
    return {part.end for part in decode(wasm).sections} | {len(MAGIC), *custom_ends(wasm)}


def custom_ends(wasm: bytes) -> set[int]:
    ends, at = set(), len(MAGIC)
    while at < len(wasm):
        size, shift, at = 0, 0, at + 1
        while True:
            size |= (wasm[at] & 0x7F) << shift
            at, shift = at + 1, shift + 7
            if wasm[at - 1] < 0x80:
                break
        at += size
        ends.add(at)
    return ends


@pytest.mark.parametrize("identifier", range(1, 13))
def test_a_huge_count_takes_no_memory(identifier: int) -> None:
    for count in (b"\xff\xff\xff\xff\x0f", b"\xa0\x8d\x06", b"\xe8\x07"):
        tracemalloc.start()
        try:
            with pytest.raises(InvalidModule):
                decode(raw((identifier, count)))
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()


def test_offsets_lead_to_the_damage() -> None:
    wasm = raw((1, b"\x01\x60\x01\x40\0"))
    with pytest.raises(InvalidModule, match="invalid value type") as raised:
        decode(wasm)
    assert raised.value.offset == wasm.index(b"\x40") + 1


def test_modules_of_the_reference_decode_as_the_engine_says() -> None:
    for path in sorted((REFERENCE / "contracts" / "bad").glob("*.wasm")):
        wasm = path.read_bytes()
        try:
            decode(wasm)
        except InvalidModule:
            assert not is_valid(wasm) or path.stem == "extended_const", path.name
