"""What is measured: the contracts, deployed on either side."""

from __future__ import annotations

import struct
from collections.abc import Iterable

from piecrust.objects.ids import ContractId
from piecrust.vm.session import Session
from reference import REFERENCE, Original

CONTRACTS = REFERENCE.parent / "contracts" / "bin"
OWNER = bytes(32)
GAS = 10**10
COUNTER, SCRIPT, OTHER, PAGES = (ContractId(bytes(31) + bytes([number])) for number in (1, 2, 3, 4))
NAMES = {COUNTER: "counter", SCRIPT: "script", OTHER: "script"}
ALL = tuple(NAMES)


def words(*values: int) -> bytes:
    return struct.pack(f"<{len(values)}I", *values)


def deploy(session: Session, contracts: Iterable[ContractId]) -> None:
    for contract in contracts:
        session.deploy(CONTRACTS / f"{NAMES[contract]}.wasm", OWNER, contract_id=contract)


def deploy_original(original: Original, contracts: Iterable[ContractId]) -> None:
    for contract in contracts:
        path = str(CONTRACTS / f"{NAMES[contract]}.wasm")
        original.ask("deploy", wasm=path, owner=OWNER.hex(), id=contract.hex())


def deploy_pages(session: Session, pages: int) -> None:
    session.deploy(CONTRACTS / "pages.wasm", OWNER, contract_id=PAGES)
    session.call_raw(PAGES, "grow", words(pages), gas_limit=GAS)


def deploy_pages_original(original: Original, pages: int) -> None:
    original.ask("deploy", wasm=str(CONTRACTS / "pages.wasm"), owner=OWNER.hex(), id=PAGES.hex())
    original.ask("call", contract=PAGES.hex(), fn="grow", arg=words(pages).hex(), gas=GAS)
