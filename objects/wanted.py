"""What a proof of a state is wanted of."""

from __future__ import annotations

from dataclasses import dataclass

from piecrust.objects.ids import ContractId


@dataclass(frozen=True, slots=True)
class RecordOf:
    """A contract: its bytecode, owner, length of memory and the root of its pages."""

    contract: ContractId

    def __str__(self) -> str:
        return f"contract {self.contract.hex()}"


@dataclass(frozen=True, slots=True)
class PageOf:
    """All of a page of a contract's memory."""

    contract: ContractId
    index: int

    def __str__(self) -> str:
        return f"page {self.index} of contract {self.contract.hex()}"


@dataclass(frozen=True, slots=True)
class RangeOf:
    """Bytes of a contract's memory, within its length; where it was never written it reads as zeros."""

    contract: ContractId
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.length:,} bytes at {self.offset:#x} of contract {self.contract.hex()}"


@dataclass(frozen=True, slots=True)
class NoPage:
    """That a page of a contract's memory was never written."""

    contract: ContractId
    index: int

    def __str__(self) -> str:
        return f"that page {self.index} of contract {self.contract.hex()} is absent"


@dataclass(frozen=True, slots=True)
class NoContract:
    """That the state has no such contract."""

    contract: ContractId

    def __str__(self) -> str:
        return f"that contract {self.contract.hex()} is absent"


Wanted = RecordOf | PageOf | RangeOf | NoPage | NoContract
