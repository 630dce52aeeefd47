"""What rkyv itself said of generated types: fixtures/vectors/rkyv_shapes.jsonl, written by fixtures/rkyv/compare.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from piecrust.vm.abi import parse as parse_abi
from piecrust.vm.errors import DecodeError
from piecrust.vm.rkyv.codec import Codec
from piecrust.vm.rkyv.layout import Layouts
from piecrust.vm.rkyv.notation import parse
from piecrust.vm.rkyv.types import NamedType, TupleType

VECTORS = Path(__file__).resolve().parents[3] / "fixtures" / "vectors" / "rkyv_shapes.jsonl"
HEADER, *ENTRIES = map(json.loads, VECTORS.read_text().splitlines())


@pytest.fixture(scope="module")
def names() -> dict[str, NamedType]:
    return dict(parse_abi(json.dumps({"piecrust_abi": 1, "types": HEADER["types"]})).types)


def test_structs_are_laid_out_as_rustc_does(names: dict[str, NamedType]) -> None:
    for name, (size, align, *offsets) in HEADER["shapes"].items():
        layout = Layouts().of(names[name])
        assert (layout.size, layout.align, *layout.offsets) == (size, align, *offsets), name


@pytest.mark.parametrize("entry", ENTRIES, ids=range(len(ENTRIES)))
def test_archives_are_those_of_rkyv(entry: dict[str, Any], names: dict[str, NamedType]) -> None:
    rust = parse(entry["type"], names)
    codec = Codec[Any](rust)
    size, align, *offsets = entry["shape"]
    assert (codec.layout.size, codec.layout.align) == (size, align)
    if isinstance(rust, TupleType):
        assert list(codec.layout.offsets) == offsets
    for data in map(bytes.fromhex, entry["archives"]):
        assert codec.encode(codec.decode(data)) == data
    for data in map(bytes.fromhex, entry["valid"]):
        codec.decode(data)
    for data in map(bytes.fromhex, entry["refused"]):
        with pytest.raises(DecodeError):
            codec.decode(data)
