"""Where bytecode comes from: bytes, files, text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from piecrust.vm.bytecode import read_bytecode
from piecrust.vm.errors import InvalidModule

EMPTY_MODULE = b"\0asm\1\0\0\0"


def test_bytes_files_and_text_give_the_same_bytecode(tmp_path: Path) -> None:
    (tmp_path / "a.wasm").write_bytes(EMPTY_MODULE)
    (tmp_path / "a.wat").write_text("(module)")
    for wasm in (EMPTY_MODULE, bytearray(EMPTY_MODULE), memoryview(EMPTY_MODULE), "(module)", ";; none\n(module)"):
        assert read_bytecode(wasm) == EMPTY_MODULE
    for path in (tmp_path / "a.wasm", str(tmp_path / "a.wasm"), tmp_path / "a.wat"):
        assert read_bytecode(path) == EMPTY_MODULE


def test_a_file_that_is_not_there_or_is_no_text_is_no_module(tmp_path: Path) -> None:
    (tmp_path / "bad.wat").write_bytes(b"\xff")
    for path in (tmp_path / "none.wasm", tmp_path, tmp_path / "bad.wat"):
        with pytest.raises(InvalidModule):
            read_bytecode(path)


@pytest.mark.parametrize("other", [5, None, 1.5, ["a"]])
def test_what_is_neither_is_refused_before_it_takes_memory(other: Any) -> None:
    with pytest.raises(TypeError):
        read_bytecode(other)
