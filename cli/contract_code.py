"""What can be told of a contract's bytecode without running it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from piecrust.vm import abi
from piecrust.vm.rewrite.decode import decode
from piecrust.vm.rewrite.module import ExternKind

if TYPE_CHECKING:
    from piecrust.vm.abi_model import Abi


def exported_functions(wasm: bytes) -> list[str]:
    """The names of the functions that a contract exports, sorted; `init` runs at deployment only and is left out."""
    module = decode(wasm)
    return sorted(
        export.name for export in module.exports if export.kind is ExternKind.FUNCTION and export.name != "init"
    )


def interface_of(wasm: bytes) -> Abi | None:
    """The interface that a contract carries, its symbols found; None if it carries none.

    Raises:
        InvalidAbi: it carries one that makes no sense, or that is another contract's.
    """
    found = abi.extract(wasm)
    return None if found is None else abi.resolve(wasm, found)
