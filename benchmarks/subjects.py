"""What is measured: the contracts, deployed on either side."""

from __future__ import annotations

import struct

from piecrust.objects.ids import ContractId
from piecrust.vm.session import Session
from reference import REFERENCE, Original

CONTRACTS = REFERENCE.parent / "contracts" / "bin"
OWNER = bytes(32)
GAS = 10**10
COUNTER, SCRIPT, OTHER, PAGES = (ContractId(bytes(31) + bytes([number])) for number in (1, 2, 3, 4))


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def deploy(session: Session) -> None:
    for contract, name in ((COUNTER, "counter"), (SCRIPT, "script"), (OTHER, "script")):
        session.deploy(CONTRACTS / f"{name}.wasm", OWNER, contract_id=contract)


def deploy_original(original: Original) -> None:
    for contract, name in ((COUNTER, "counter"), (SCRIPT, "script"), (OTHER, "script")):
        original.ask("deploy", wasm=str(CONTRACTS / f"{name}.wasm"), owner=OWNER.hex(), id=contract.hex())


def deploy_pages(session: Session, pages: int) -> None:
    session.deploy(CONTRACTS / "pages.wasm", OWNER, contract_id=PAGES)
    session.call_raw(PAGES, "grow", words(pages), gas_limit=GAS)


def deploy_pages_original(original: Original, pages: int) -> None:
    original.ask("deploy", wasm=str(CONTRACTS / "pages.wasm"), owner=OWNER.hex(), id=PAGES.hex())
    original.ask("call", contract=PAGES.hex(), fn="grow", arg=words(pages).hex(), gas=GAS)
