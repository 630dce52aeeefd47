"""What is measured: the contracts, deployed on either side."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from pathlib import Path

import wasmtime
from piecrust.objects.ids import ContractId
from piecrust.objects.page import PAGE_BYTES
from piecrust.vm.session import Session
from reference import REFERENCE, Original

CONTRACTS = REFERENCE.parent / "contracts" / "bin"
OWNER = bytes(32)
GAS = 10**10
COUNTER, SCRIPT, OTHER, PAGES = (ContractId(bytes(31) + bytes([number])) for number in (1, 2, 3, 4))
ALL = (COUNTER, SCRIPT, OTHER)


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def pages_of(count: int) -> list[bytes]:
    """So many pages of machine code (wasmtime's library, repeated), each with its number at the start: no two equal."""
    library = next(
        path for path in Path(wasmtime.__file__).parent.rglob("*wasmtime.*") if path.suffix in (".so", ".dylib")
    )
    code = library.read_bytes()
    content = code * (1 + count * PAGE_BYTES // len(code))
    starts = range(0, count * PAGE_BYTES, PAGE_BYTES)
    return [number.to_bytes(4, "little") + content[at + 4 : at + PAGE_BYTES] for number, at in enumerate(starts)]


def bytecode(contract: ContractId) -> Path:
    """What a contract is made of; all that have no name are counters."""
    return CONTRACTS / ("script.wasm" if contract in (SCRIPT, OTHER) else "counter.wasm")


def deploy(session: Session, contracts: Iterable[ContractId]) -> None:
    for contract in contracts:
        session.deploy(bytecode(contract), OWNER, contract_id=contract)


def deploy_original(original: Original, contracts: Iterable[ContractId]) -> None:
    for contract in contracts:
        original.ask("deploy", wasm=str(bytecode(contract)), owner=OWNER.hex(), id=contract.hex())


def deploy_pages(session: Session, pages: int) -> None:
    session.deploy(CONTRACTS / "pages.wasm", OWNER, contract_id=PAGES)
    session.call_raw(PAGES, "grow", words(pages), gas_limit=GAS)


def deploy_pages_original(original: Original, pages: int) -> None:
    original.ask("deploy", wasm=str(CONTRACTS / "pages.wasm"), owner=OWNER.hex(), id=PAGES.hex())
    original.ask("call", contract=PAGES.hex(), fn="grow", arg=words(pages).hex(), gas=GAS)
