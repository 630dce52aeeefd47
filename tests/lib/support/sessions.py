"""Sessions with script contracts in them, whose memory holds a text."""

from __future__ import annotations

from piecrust import ContractId, Session

from support.fixtures import contract
from support.programs import SCRATCH, Program

A, B, C = (ContractId(bytes(31) + bytes([n])) for n in (1, 2, 3))


def deploy(session: Session, *names: ContractId) -> None:
    """Deploys a script contract under each name."""
    for name in names:
        session.deploy(contract("script"), b"owner", contract_id=name)


def store(session: Session, value: str, on: ContractId = A) -> None:
    """Has a contract write a text."""
    session.call(on, "run", Program().store(SCRATCH, value).bytes())


def load(session: Session, length: int, on: ContractId = A) -> bytes:
    """What a contract has where `store` writes."""
    return session.query(on, "run", Program().load(SCRATCH, length).bytes()).data
