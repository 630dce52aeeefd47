"""Receipts: what a call gives back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from piecrust.objects.ids import ContractId
from piecrust.vm.events import Event

if TYPE_CHECKING:
    from piecrust.vm.frames import Frame

Data = TypeVar("Data", covariant=True)


@dataclass(frozen=True, slots=True)
class CallTreeElement:
    """One call. `spent` leaves out its callees; `memory_length` is its contract's as the call began, in bytes."""

    contract: ContractId
    function: str
    limit: int
    spent: int
    memory_length: int
    depth: int


@dataclass(frozen=True, slots=True)
class CallTree:
    """The calls that succeeded. Each comes after its callees, and these in reverse: the top-level call is the last.

    What a failed callee cost is part of its caller's `spent`; the sum over the tree is the receipt's `gas_spent`.
    """

    elements: tuple[CallTreeElement, ...]

    def __iter__(self) -> Iterator[CallTreeElement]:
        return iter(self.elements)

    def __len__(self) -> int:
        return len(self.elements)

    def __getitem__(self, index: int) -> CallTreeElement:
        return self.elements[index]


@dataclass(frozen=True, slots=True)
class Receipt(Generic[Data]):
    """What a call gives back; `data` is bytes, or a value where a type was asked for or an interface is known."""

    data: Data
    gas_spent: int
    gas_limit: int
    events: tuple[Event, ...]
    call_tree: CallTree


@dataclass(frozen=True, slots=True)
class FailedFrame:
    """A call that failed: why, and how much gas it had used by then, callees included."""

    contract: ContractId
    function: str
    gas_limit: int
    gas_spent: int
    reason: str


def call_tree(top: Frame) -> CallTree:
    """The tree of a finished top-level call."""
    elements: list[CallTreeElement] = []
    _append(elements, top, 0)
    return CallTree(tuple(elements))


def _append(elements: list[CallTreeElement], frame: Frame, depth: int) -> None:
    own = frame.spent
    for child in reversed(frame.children):
        own -= child.spent
        _append(elements, child, depth + 1)
    elements.append(
        CallTreeElement(frame.contract.id, frame.function, frame.limit, own, frame.memory_length, depth),
    )
