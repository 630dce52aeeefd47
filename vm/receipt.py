"""Receipts: what a call gives back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from piecrust.objects.ids import ContractId
from piecrust.vm.events import Event

if TYPE_CHECKING:
    from piecrust.vm.frame import Frame

Data = TypeVar("Data", covariant=True)

CaughtFailure = tuple["Frame", int, "Frame"]
"""The caller, how many of its callees had succeeded by then, and the callee that failed."""


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
class FailedCall:
    """A nested call that is not in the call tree: it failed, or was taken back with a caller that did (no `reason`).

    `position` says how many calls of the tree began before it; `depth` is as in the tree. `spent` is what it used,
    callees included; to its caller a failed call costs its whole `limit`.
    """

    contract: ContractId
    function: str
    limit: int
    spent: int
    depth: int
    position: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class Receipt(Generic[Data]):
    """What a call gives back; `data` is bytes, or a value where a type was asked for or an interface is known.

    `failed_calls` are the nested calls that failed although this one did not, in the order in which they began.
    """

    data: Data
    gas_spent: int
    gas_limit: int
    events: tuple[Event, ...]
    call_tree: CallTree
    failed_calls: tuple[FailedCall, ...] = ()


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


def failed_calls(top: Frame, caught: list[CaughtFailure]) -> tuple[FailedCall, ...]:
    """The failed calls below a top-level call that succeeded."""
    failed: dict[int, list[tuple[int, Frame]]] = {}
    for caller, position, callee in caught:
        failed.setdefault(id(caller), []).append((position, callee))
    found: list[FailedCall] = []
    _visit(top, 0, failed, found, began=0, lost=False)
    return tuple(found)


def _visit(
    frame: Frame,
    depth: int,
    failed: dict[int, list[tuple[int, Frame]]],
    found: list[FailedCall],
    *,
    began: int,
    lost: bool,
) -> int:
    """Walks calls in the order in which they began; how many of the tree have begun after `frame`'s."""
    if lost:
        name, reason = frame.function, frame.reason or None
        found.append(FailedCall(frame.contract.id, name, frame.limit, frame.spent, depth, began, reason))
    else:
        began += 1
    callees = [(index, 1, child, lost) for index, child in enumerate(frame.children)]
    callees += [(index, 0, callee, True) for index, callee in failed.get(id(frame), ())]
    for _, _, callee, is_lost in sorted(callees, key=lambda entry: entry[:2]):
        began = _visit(callee, depth + 1, failed, found, began=began, lost=is_lost)
    return began
