"""Where the bytecode of a contract to be deployed comes from: bytes, a file, or text."""

from __future__ import annotations

from pathlib import Path

from blake3 import blake3
from piecrust.objects.ids import ContractId
from piecrust.vm.engine import to_wasm
from piecrust.vm.errors import InvalidModule

TEXT_SUFFIX = ".wat"


def read_bytecode(wasm: bytes | bytearray | memoryview | str | Path) -> bytes:
    """The bytecode: bytes as they are, the content of a .wasm file, or what text assembles to.

    Text is the content of a .wat file, or a string that begins with a parenthesis or a comment. Other strings are
    paths.

    Raises:
        InvalidModule: There is no such file, or the text is no module.
    """
    if isinstance(wasm, str):
        if _is_text(wasm):
            return to_wasm(wasm)
        wasm = Path(wasm)
    if isinstance(wasm, Path):
        try:
            content = wasm.read_bytes()
        except OSError as error:
            raise InvalidModule(f"{wasm}: {error.strerror}") from error
        return _assemble(wasm, content) if wasm.suffix == TEXT_SUFFIX else content
    return bytes(memoryview(wasm))  # a number is no bytecode, and makes no zeros


def file_of(wasm: object) -> Path | None:
    """The file that `read_bytecode` reads, None if it reads none."""
    if isinstance(wasm, Path):
        return wasm
    return Path(wasm) if isinstance(wasm, str) and not _is_text(wasm) else None


def _is_text(wasm: str) -> bool:
    return wasm.lstrip().startswith(("(", ";;"))


def default_contract_id(bytecode: bytes) -> ContractId:
    """The id of a contract that is deployed without one: the blake3 hash of its bytecode."""
    return ContractId(blake3(bytecode).digest())


def _assemble(path: Path, content: bytes) -> bytes:
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise InvalidModule(f"{path} is not UTF-8", error.start) from None
    return to_wasm(text)
